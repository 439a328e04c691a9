//go:build linux

package engine

import (
	"errors"

	"github.com/lbnode/lbnode/proxy/http1"
	"github.com/lbnode/lbnode/proxy/http2"
	"github.com/lbnode/lbnode/proxy/upstream"
)

// maxInterim bounds 1xx responses to one request.
const maxInterim = 16

// answerHead reads a response head. It gives the bytes of an interim response, which is dealt with; minus
// those of the final one, which is in l.out; or false if there is none yet, or never.
func (l *loop) answerHead(e *exchange, b []byte) (int, bool) {
	u, r := e.u, &l.resp
	r.Reset()
	n, why := r.Parse(b, e.verb, &l.e.answer)
	switch {
	case why == http1.More:
		l.setInput(&u.sock, b)
		return 0, false
	case why != http1.OK:
		l.fail(e, upstream.BadResponse, why.Err())
		return 0, false
	case r.Status == 101:
		l.switching(e, b, n)
		return 0, false
	case r.Interim():
		return n, l.interim(e)
	}
	if l.instead(e, r.Status) {
		return 0, false
	}
	e.first = e.at.ElapsedAt(l.moment())
	u.timer.deadline = 0
	e.status, e.rbody, e.rleft = r.Status, r.Body, r.Length
	e.reusable = r.KeepAlive()
	e.close = !e.keep || !e.done || l.e.draining.Load()
	e.coding = codingSame
	switch {
	case r.Body == http1.UntilClose && e.minor == 1:
		e.coding = codingWrap
		r.Body = http1.ByChunks
	case r.Body == http1.UntilClose:
		e.close = true
	case r.Body == http1.ByChunks && e.minor == 0:
		e.coding, e.close = codingUnwrap, true
		r.Body = http1.UntilClose
	}
	if e.rbody == http1.ByChunks {
		e.rchunk.Reset(&l.lim.Head)
	}
	if e.c.st != nil {
		r.Body = e.rbody
		e.x.Answer(r, e.at.Upstream.ID())
		l.tie(e, r)
		l.answerStream(e, r)
		return -n, true
	}
	opts := http1.Conn(0)
	switch {
	case e.close:
		opts = http1.Close
	case e.minor == 0:
		opts = http1.Persist
	}
	e.x.Answer(r, e.at.Upstream.ID())
	l.tie(e, r)
	if l.out, why = r.Append(l.out[:0], opts); why != http1.OK {
		l.fail(e, upstream.BadResponse, why.Err())
		return 0, false
	}
	l.bodyAt = cap(l.buf[headroom:]) - cap(b) + n
	e.begun = true
	return -n, true
}

// interim passes a 1xx response on, such as 103 Early Hints.
func (l *loop) interim(e *exchange) bool {
	if e.interim++; e.interim > maxInterim {
		l.fail(e, upstream.BadResponse, errors.New("too many interim responses"))
		return false
	}
	r := &l.resp
	if r.Status == 100 {
		if e.expect && !e.done {
			u := e.u
			l.tellContinue(e)
			return e.u == u && u.e == e
		}
		return true
	}
	if e.minor == 0 {
		return true
	}
	if e.c.st != nil {
		l.headers(e.c.st, r.Status, r.Fields(), -1, http2.Open)
		return true
	}
	var why http1.Reason
	if l.out, why = r.Append(l.out[:0], 0); why != http1.OK {
		return true // nothing that the client needs
	}
	if !l.write(&e.c.sock, l.out) {
		l.fail(e, upstream.ClientGone, nil)
		return false
	}
	return true
}

// finish ends an exchange whose answer is complete.
func (l *loop) finish(e *exchange) {
	c, u := e.c, e.u
	e.kind = upstream.OK.Stats()
	l.endAttempt(e, upstream.OK, nil)
	e.u, u.e = nil, nil
	if u.us != nil {
		l.leave(u.us, e.at.Upstream)
	} else if e.reusable && u.ep.Proxy == "" && e.done && len(u.pend) == 0 && len(u.in) == 0 && !u.hup {
		l.keepServer(u, e.at.Upstream)
	} else {
		l.closeServer(u)
	}
	last, own := e.close || !e.done, !e.keep
	l.account(e)
	if st := c.st; st != nil {
		st.deaf = true
		l.endStream(st)
		return
	}
	if last {
		if own && len(c.pend) == 0 && !c.readable && c.tls == nil {
			l.closeClient(c) // it asked for this and has nothing more to say
			return
		}
		l.closeGently(c)
		return
	}
	c.state = stIdle
	if len(c.pend) > 0 {
		l.arm(&c.timer, l.lim.StallTimeout)
		return
	}
	l.nextRequest(c)
}
