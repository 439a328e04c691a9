//go:build linux

package engine

import (
	"github.com/lbnode/lbnode/proxy/http1"
	"github.com/lbnode/lbnode/proxy/upstream"
)

// switching turns the exchange into a tunnel after a 101 that answers what was asked.
func (l *loop) switching(e *exchange, b []byte, n int) {
	c, u, r := e.c, e.u, &l.resp
	var accept []byte
	if e.ws {
		accept = e.accept[:]
	}
	if why := r.CheckUpgrade(accept); why != http1.OK {
		l.fail(e, upstream.BadResponse, why.Err())
		return
	}
	e.first = e.at.Elapsed()
	e.status, e.begun, e.tunnel = 101, true, true
	e.kind = upstream.OK.Stats()
	e.total.deadline, e.idle.deadline = 0, 0 // an upgraded connection may last
	l.moved(e)
	l.tie(e, r)
	u.timer.deadline, c.timer.deadline = 0, 0
	l.out, _ = r.Append(l.out[:0], http1.Switch) // cannot fail on what was parsed
	l.out = append(l.out, b[n:]...)
	e.out += uint64(len(b) - n)
	if !l.write(&c.sock, l.out) {
		l.fail(e, upstream.ClientGone, nil)
		return
	}
	if len(c.in) > 0 {
		early := l.input(&c.sock)
		e.in += uint64(len(early))
		if !l.write(&u.sock, early) {
			l.fail(e, upstream.Reset, nil)
			return
		}
	}
	if c.readable || c.hup {
		c.readable = true
		l.later(c.idx, &c.queued)
	}
}

// pumpUp moves bytes from the client to the backend. false: nothing more to do now.
func (l *loop) pumpUp(e *exchange) bool {
	if e.upEnd || len(e.u.pend) > 0 {
		return false
	}
	b, r := l.fill(&e.c.sock)
	switch r {
	case readAgain:
		return false
	case readError:
		l.endTunnel(e, upstream.OK)
		return false
	case readEnd:
		e.upEnd, e.c.readable = true, false
		shutdownWrite(e.u.fd)
		l.maybeEnd(e)
		return false
	}
	e.in += uint64(len(b))
	l.moved(e)
	if !l.write(&e.u.sock, b) {
		l.endTunnel(e, upstream.OK)
		return false
	}
	return true
}

// pumpDown moves bytes from the backend to the client. false: nothing more to do now.
func (l *loop) pumpDown(e *exchange) bool {
	if e.downEnd || len(e.c.pend) > 0 {
		return false
	}
	b, r := l.fill(&e.u.sock)
	switch r {
	case readAgain:
		return false
	case readError:
		l.endTunnel(e, upstream.OK)
		return false
	case readEnd:
		e.downEnd, e.u.readable = true, false
		if e.c.tls != nil {
			e.c.tls.closeNotify(l, &e.c.sock)
		} else {
			shutdownWrite(e.c.fd)
		}
		l.maybeEnd(e)
		return false
	}
	e.out += uint64(len(b))
	l.moved(e)
	if !l.write(&e.c.sock, b) {
		l.endTunnel(e, upstream.OK)
		return false
	}
	if len(e.c.pend) > 0 {
		l.arm(&e.c.timer, l.lim.StallTimeout)
	}
	return true
}

// tunnelFlushed goes on after one of the two sockets has taken everything.
func (l *loop) tunnelFlushed(e *exchange) {
	c, u := e.c, e.u
	if len(c.pend) == 0 {
		c.timer.deadline = 0
		l.readServer(u)
	}
	if c.e == e && len(u.pend) == 0 {
		u.timer.deadline = 0
		l.readClient(c)
	}
}

func (l *loop) maybeEnd(e *exchange) {
	if e.upEnd && e.downEnd {
		l.endTunnel(e, upstream.OK)
	}
}

// endTunnel closes both ends.
func (l *loop) endTunnel(e *exchange, k upstream.Kind) {
	c := e.c
	l.endAttempt(e, k, nil)
	l.dropServer(e)
	l.account(e)
	l.closeClient(c)
}
