//go:build linux

package engine

import (
	"errors"
	"net/netip"

	"github.com/lbnode/lbnode/proxy"
	"github.com/lbnode/lbnode/proxy/http1"
	"github.com/lbnode/lbnode/proxy/upstream"
)

// This file is about requests that wait for a backend, or go to another one.

var nameSetCookie = []byte("Set-Cookie") // read only

var errIdle = errors.New("idle timeout")

// enqueue keeps an exchange until a backend has room for it. Its input stays where it is.
func (l *loop) enqueue(e *exchange) {
	e.parked = true
	l.arm(&e.c.timer, e.x.Target.Runtime.QueueWait())
}

// unpark goes on with an exchange that was given an attempt.
func (l *loop) unpark(e *exchange, t *upstream.Ticket, a upstream.Attempt) {
	if !e.x.Resume(t, a) {
		return // it has ended meanwhile, and e may be another one by now
	}
	e.parked = false
	e.c.timer.deadline = 0
	l.resume(e)
}

func (l *loop) queueTimeout(e *exchange) {
	e.parked = false
	e.x.Leave()
	l.refuse(e, e.x.QueueTimeout())
}

// elsewhere tries another backend after one has failed before a byte of its answer; false: that is not to be.
func (l *loop) elsewhere(e *exchange, k upstream.Kind, err error) bool {
	if e.begun || e.interim > 0 || !e.running || !e.x.Retry(k, e.replayable()) {
		return false
	}
	l.endAttempt(e, k, err)
	l.dropServer(e)
	e.last = k
	l.resume(e)
	return true
}

// instead tries another backend in the place of one whose answer is better not sent on; false: there is none.
func (l *loop) instead(e *exchange, status int) bool {
	if !e.x.RetryStatus(status, e.replayable()) {
		return false
	}
	e.running = false
	e.at.End(upstream.Outcome{Status: status, FirstByte: e.at.Elapsed(), BytesIn: e.in})
	l.dropServer(e) // with the rest of the answer
	e.last = upstream.Reset
	l.resume(e)
	return true
}

// replayable says that another backend can get all of the request's body.
func (e *exchange) replayable() bool { return !e.taken || e.keeps }

// resume begins the next attempt of an exchange, outside of the reading of its request.
func (l *loop) resume(e *exchange) {
	c := e.c
	if rest, ok := l.rewind(e); ok {
		l.goOn(c, l.try(e, rest, false))
	}
}

// resumeThere sends a request to the backend of its attempt once more.
func (l *loop) resumeThere(e *exchange, cause error) {
	c := e.c
	rest, ok := l.rewind(e)
	if !ok {
		return
	}
	if out, ok := l.send(e, rest, false); ok {
		l.goOn(c, out)
		return
	}
	l.setInput(&c.sock, rest)
	l.connectFailed(e, upstream.ConnectFailed, cause)
}

// rewind gives the input from the beginning of the body on; false: it cannot be had, and the request is refused.
func (l *loop) rewind(e *exchange) ([]byte, bool) {
	rest := l.input(&e.c.sock)
	if e.taken {
		if rest = l.unread(e, rest); rest == nil {
			l.endAttempt(e, upstream.Reset, nil)
			l.refuse(e, proxy.RefusalOf(upstream.Reset))
			return nil, false
		}
	}
	e.sent = false
	return rest, true
}

// goOn takes the input that an attempt has left.
func (l *loop) goOn(c *client, rest []byte) {
	if c.fd < 0 || rest == nil || c.state == stClosing || c.state == stLinger {
		return
	}
	l.setInput(&c.sock, rest)
	if c.state == stIdle && len(rest) > 0 || c.readable {
		l.later(c.idx, &c.queued)
	}
}

// keepBody notes a piece of a request's body before it is changed in place; keptBody how much of it was used.
func (l *loop) keepBody(e *exchange, b []byte) (before int) {
	before = len(e.kept)
	b = b[:min(len(b), proxy.MaxReplay-before+1)]
	if need := before + len(b); cap(e.kept) < need {
		buf := append(l.bufs.get(need), e.kept...)
		l.bufs.put(e.kept)
		e.kept = buf
	}
	e.kept = append(e.kept, b...)
	return before
}

func (l *loop) keptBody(e *exchange, before, n int) {
	if before+n > proxy.MaxReplay {
		l.bufs.put(e.kept)
		e.keeps, e.kept = false, nil
		return
	}
	e.kept = e.kept[:before+n]
}

// unread puts what was taken of a request's body back before the rest of the input; nil: it is not kept.
func (l *loop) unread(e *exchange, rest []byte) []byte {
	k := len(e.kept)
	if !e.keeps || k+len(rest) > readSize {
		return nil
	}
	buf := l.buf[headroom : headroom+k+len(rest)]
	copy(buf[k:], rest) // rest may lie in the same buffer
	copy(buf, e.kept)
	e.kept = e.kept[:0]
	e.taken, e.done, e.left, e.in = false, e.body == http1.NoBody, e.length, 0
	if e.body == http1.ByChunks {
		e.chunk.Reset(&l.lim.Head)
	}
	return buf
}

// moved says that a byte came on one of the connections of an exchange.
func (l *loop) moved(e *exchange) {
	d := e.x.Target.Idle
	if e.tunnel {
		d = e.x.Target.Upgraded
	}
	if d > 0 {
		l.arm(&e.idle, d)
	}
}

func (l *loop) idleTimeout(e *exchange) {
	switch {
	case e.parked: // the queue has a bound of its own
	case e.tunnel:
		l.endTunnel(e, upstream.IdleTimeout)
	default:
		l.fail(e, upstream.IdleTimeout, errIdle)
	}
}

// tie sets the sticky cookie in the head of an answer.
func (l *loop) tie(e *exchange, r *http1.Response) {
	if v := e.x.AppendCookie(l.scratch[:0], e.at.Upstream); len(v) > 0 {
		l.scratch = v
		r.Add(nameSetCookie, v) // cannot be refused: state has checked what it is made of
	}
}

// announce begins a connection with the header of the PROXY protocol. false: it is dead.
func (l *loop) announce(e *exchange) bool {
	v := e.at.Endpoint.Proxy
	if v == "" {
		return true
	}
	src, dst := endsOf(e.c.link().fd)
	if src.Addr() != e.c.peer {
		src = netip.AddrPortFrom(e.c.peer, 0) // a proxy before us has said who the client is
	}
	l.scratch = upstream.AppendProxyHeader(l.scratch[:0], v, src, dst)
	return l.write(&e.u.sock, l.scratch)
}
