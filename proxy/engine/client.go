//go:build linux

package engine

import (
	"bytes"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"github.com/lbnode/lbnode/proxy"
	"github.com/lbnode/lbnode/proxy/http1"
	"github.com/lbnode/lbnode/proxy/http2"
	"github.com/lbnode/lbnode/proxy/route"
	"github.com/lbnode/lbnode/proxy/upstream"
	"github.com/lbnode/lbnode/stats"
)

const maxDrain = 256 << 10 // thrown away after the last answer

func (l *loop) newClient(fd int32) *client {
	var c *client
	if n := len(l.freeCl); n > 0 {
		c = l.freeCl[n-1]
		l.freeCl = l.freeCl[:n-1]
	} else {
		c = &client{}
		c.timer.fire = func() { l.clientTimeout(c) }
	}
	idx, ok := l.addSlot(fd, slot{c: c}, interest)
	if !ok {
		closeFD(fd)
		l.freeCl = append(l.freeCl, c)
		return nil
	}
	c.fd, c.idx = fd, idx
	l.clients[c] = struct{}{}
	l.arm(&c.timer, l.lim.HeadTimeout)
	c.state = stHead
	return c
}

func (l *loop) arm(t *timer, d time.Duration) { l.wheel.set(t, l.now+int64(d)) }

// closeClient closes a connection on which no exchange runs, unless it is one of HTTP/2, whose streams end too.
func (l *loop) closeClient(c *client) {
	switch {
	case c.fd < 0:
		return
	case c.st != nil:
		l.resetStream(c.st, http2.Cancel, endedByUs)
		return
	case c.h2 != nil:
		l.endStreams(c, upstream.ClientGone)
		l.dropH2(c)
	}
	l.closeSock(&c.sock)
	l.e.leave(l.e.clientOf(c))
	l.forget(c)
}

// forget drops a client whose descriptor is closed or given away.
func (l *loop) forget(c *client) {
	delete(l.clients, c)
	*c = client{sock: sock{fd: -1, timer: timer{fire: c.timer.fire}}}
	l.freeCl = append(l.freeCl, c)
	if l.stage == stageQuiet && len(l.clients) == 0 {
		l.idle()
	}
}

func (l *loop) clientEvent(c *client, ev uint32) {
	if ev&(syscall.EPOLLERR|syscall.EPOLLHUP) != 0 && ev&epollRDHUP == 0 || ev&syscall.EPOLLERR != 0 {
		l.abort(c, upstream.ClientGone)
		return
	}
	gen := l.slots[c.idx].gen
	if ev&epollRDHUP != 0 {
		c.hup = true
	}
	if ev&(syscall.EPOLLIN|epollRDHUP) != 0 {
		c.readable = true // first: what follows may return, and the event does not come again
	}
	if ev&syscall.EPOLLOUT != 0 && len(c.pend) > 0 {
		if !l.clientWritable(c) {
			return
		}
	}
	if ev&(syscall.EPOLLIN|epollRDHUP) != 0 && l.slots[c.idx].gen == gen && c.fd >= 0 {
		l.readClient(c)
	}
}

// clientWritable goes on where a full socket had stopped. false: the connection is gone.
func (l *loop) clientWritable(c *client) bool {
	done, ok := l.flush(&c.sock)
	if !ok {
		l.abort(c, upstream.ClientGone)
		return false
	}
	if !done {
		l.arm(&c.timer, l.lim.StallTimeout)
		return true
	}
	c.timer.deadline = 0
	switch c.state {
	case stClosing:
		l.closeGently(c)
		return false
	case stH2:
		l.soil(c)
		l.clockH2(c)
		if c.readable { // what came meanwhile makes no event any more
			l.later(c.idx, &c.queued)
		}
		return true
	case stBusy:
		e := c.e
		l.clientWait(e)
		if e.tunnel {
			l.tunnelFlushed(e)
			return false // readClient is done there
		}
		if e.u != nil {
			l.readServer(e.u)
		}
		return c.e == e
	}
	l.nextRequest(c)
	return false
}

// nextRequest waits for a request, or takes one that has been sent already.
func (l *loop) nextRequest(c *client) {
	if len(c.pend) > 0 {
		return
	}
	c.state = stIdle
	l.arm(&c.timer, l.lim.IdleTimeout)
	if len(c.in) > 0 {
		l.feed(c, l.input(&c.sock))
	}
	if c.fd >= 0 && c.readable { // also in a body: what came meanwhile makes no event any more
		l.later(c.idx, &c.queued)
	}
}

// readClient reads as long as there is input and somebody to take it.
func (l *loop) readClient(c *client) {
	for turn := 0; c.fd >= 0 && c.readable; turn++ {
		if turn == budget {
			l.later(c.idx, &c.queued)
			return
		}
		switch c.state {
		case stIdle, stHead:
			if len(c.pend) > 0 {
				return
			}
			b, r := l.fill(&c.sock)
			switch r {
			case readSome:
				l.feed(c, b)
			case readAgain:
				return
			default:
				l.closeClient(c)
				return
			}
		case stBusy:
			if !l.readBusy(c) {
				return
			}
		case stH2:
			if !l.readH2(c) {
				return
			}
		case stClosing:
			return
		case stLinger:
			n, e := recv(c.fd, l.buf[headroom:], 0)
			if e == syscall.EAGAIN {
				c.readable = false
				return
			}
			if c.drain += n; e != 0 || n == 0 || c.drain > maxDrain {
				l.closeClient(c)
				return
			}
		}
	}
}

// feed takes input between two requests.
func (l *loop) feed(c *client, b []byte) {
	if c.awaits {
		if b = l.proxyHeader(c, b); c.awaits || c.fd < 0 {
			return
		}
	}
	for len(b) > 0 && (c.state == stIdle || c.state == stHead) && len(c.pend) == 0 {
		if !c.used && c.tls == nil && b[0] == 'P' {
			k := min(len(b), len(http2.Preface))
			if string(b[:k]) == http2.Preface[:k] {
				if k == len(http2.Preface) {
					l.openH2(c)
					l.takeFrames(c, l.ownFrames(b))
					return
				}
				if k > len("PRI ") {
					break
				}
			}
		}
		if c.seen > 0 && len(b) < l.lim.Head.Line && bytes.IndexByte(b[c.seen:], '\n') < 0 {
			break
		}
		l.req.Reset()
		n, why := l.req.Parse(b, &l.lim.Head)
		if why == http1.More {
			break
		}
		c.seen = 0
		c.used = true
		if why != http1.OK {
			l.refuseHead(c, proxy.RefuseReason(why))
			return
		}
		b = l.begin(c, b[:n], b[n:])
		if c.fd < 0 || b == nil {
			return
		}
	}
	if c.fd < 0 {
		return
	}
	if c.state == stIdle && len(b) > 0 {
		c.state = stHead
		l.arm(&c.timer, l.lim.HeadTimeout)
	}
	if c.state == stHead {
		c.seen = len(b)
	}
	if c.state == stClosing || c.state == stLinger {
		b = nil
	}
	l.setInput(&c.sock, b)
}

// text views bytes as a string for as long as they stay what they are.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// headerValues lets routes look at the fields of the request that is being matched.
type headerValues struct {
	req    *http1.Request
	values []string
}

// Values implements route.Header. The result is good until the next call.
func (h *headerValues) Values(name string) []string {
	h.values = h.values[:0]
	fields := h.req.Fields()
	for i := range fields {
		if f := &fields[i]; len(f.Name()) == len(name) && strings.EqualFold(text(f.Name()), name) {
			h.values = append(h.values, text(f.Value()))
		}
	}
	return h.values
}

// begin starts the exchange of the request in l.req, and gives what is left of the input; nil: it is taken care of.
func (l *loop) begin(c *client, head, rest []byte) []byte {
	r := &l.req
	l.total.Begin()
	e := l.newExchange(c, head)
	if f := proxy.RefuseVerb(r.Verb); f != nil {
		return l.refuseAtOnce(e, f, rest)
	}
	e.who = l.p.ClientOf(c.peer, c.secure(), r)
	l.values.req = r
	l.match = route.Request{
		Method: text(r.Method), Host: text(r.Host), Path: text(r.Path), Query: text(r.Query), Header: &l.values, Client: e.who.Addr,
	}
	if f := l.p.Route(&e.x, &l.match); f != nil {
		return l.refuseAtOnce(e, f, rest)
	}
	e.routed = true
	if l.foreign(e) {
		e.x.Abandon()
		l.total.Abandon()
		whole := head[: len(head)+len(rest) : len(head)+len(rest)] // rest follows head
		l.freeExchange(e)
		c.e = nil
		if c.st != nil {
			l.invite(c.st, whole[:len(head)], whole[len(head):])
			return nil
		}
		l.handOver(c, whole)
		return nil
	}
	if f := l.p.Admit(&e.x, &l.match, &e.who); f != nil {
		return l.refuseAtOnce(e, f, rest)
	}
	e.keeps = !e.done && e.x.Keeps()
	if d := e.x.Target.Total; d > 0 {
		l.arm(&e.total, d)
	}
	c.state = stBusy
	c.timer.deadline = 0
	return l.try(e, rest, true)
}

// refuseAtOnce answers a request before it went anywhere.
func (l *loop) refuseAtOnce(e *exchange, f *proxy.Refusal, rest []byte) []byte {
	c := e.c
	l.refuse(e, f)
	if c.fd < 0 || c.state == stClosing || c.state == stLinger {
		return nil
	}
	return rest
}

// refuseHead answers what is no request.
func (l *loop) refuseHead(c *client, f *proxy.Refusal) {
	l.setInput(&c.sock, nil)
	l.out = f.Append(l.out[:0], l.p.NodeID(), http1.OtherVerb, http1.Close)
	l.total.Begin()
	l.total.Record(proxy.Outcome(f.Status, f.Kind, 0, 0, bodyOf(l.out), l.shard))
	if log := l.e.log; log != nil && log.Wants(f.Status) {
		log.Log(proxy.Entry{Start: time.Now(), Client: c.peer, Proto: "HTTP/1.1", Status: f.Status, Result: f.Kind, Reason: f.Code, BytesOut: bodyOf(l.out)})
	}
	l.lastWords(c, l.out)
}

// lastWords sends an answer after which the connection closes.
func (l *loop) lastWords(c *client, b []byte) {
	if !l.write(&c.sock, b) {
		l.closeClient(c)
		return
	}
	l.closeGently(c)
}

// closeGently closes once everything is sent, so that no RST overtakes the last answer.
func (l *loop) closeGently(c *client) {
	if len(c.pend) > 0 {
		c.state = stClosing
		l.arm(&c.timer, l.lim.StallTimeout)
		return
	}
	if c.tls != nil {
		c.tls.closeNotify(l, &c.sock)
	}
	if c.hup {
		l.closeClient(c)
		return
	}
	l.setInput(&c.sock, nil)
	shutdownWrite(c.fd)
	c.state = stLinger
	l.arm(&c.timer, l.lim.LingerTime)
	if c.readable {
		l.later(c.idx, &c.queued)
	}
}

// abort ends a connection and what runs on it, visibly incomplete.
func (l *loop) abort(c *client, k upstream.Kind) {
	if c.fd < 0 {
		return
	}
	if e := c.e; e != nil {
		l.fail(e, k, nil)
		return
	}
	l.closeClient(c)
}

func (l *loop) clientTimeout(c *client) {
	switch {
	case c.fd < 0:
	case c.state == stH2:
		l.h2Timeout(c)
	case c.state != stBusy:
		switch {
		case c.awaits:
			l.total.Count(stats.BadProxyHeader)
		case c.state == stHead && c.seen > 0:
			l.total.Count(stats.ClientTimeout)
		}
		l.closeClient(c)
	case c.stalled():
		c.e.kind = stats.ClientTimeout
		if c.st == nil {
			resetOnClose(c.fd) // or the kernel would go on trying to deliver what it holds
		}
		l.fail(c.e, upstream.ClientGone, nil)
	case c.e.parked:
		l.queueTimeout(c.e)
	default:
		l.bodyTimeout(c.e)
	}
}
