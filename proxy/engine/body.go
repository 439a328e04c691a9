//go:build linux

package engine

import (
	"syscall"

	"github.com/lbnode/lbnode/proxy"
	"github.com/lbnode/lbnode/proxy/http1"
	"github.com/lbnode/lbnode/proxy/upstream"
)

// requestBody takes the next piece of a request's body from b: n bytes are done with, of which out, made in
// place, is to be sent. Refused reasons end the request.
func (l *loop) requestBody(e *exchange, b []byte) (out []byte, n int, why http1.Reason) {
	if len(b) > 0 {
		e.taken = true
	}
	if e.body == http1.ByLength {
		n = int(min(int64(len(b)), e.left))
		e.left -= int64(n)
		e.done = e.left == 0
		e.in += uint64(n)
		e.pace.Add(n, 0)
		if e.keeps {
			l.keptBody(e, l.keepBody(e, b[:n]), n)
		}
		return b[:n], n, http1.OK
	}
	if e.u.us != nil {
		return l.plainBody(e, b)
	}
	if e.c.st != nil {
		return l.streamBody(e, b)
	}
	before := 0
	if e.keeps {
		before = l.keepBody(e, b)
	}
	out, n, why = l.framed(&e.chunk, b)
	if e.keeps {
		l.keptBody(e, before, n)
	}
	e.done = why == http1.OK
	e.pace.Add(n, 0)
	e.in += uint64(len(out))
	return out, n, why
}

// framed clears a piece of a chunked body for sending on, in its own framing but without extensions. The
// pieces that stay are moved together, and what ends the body is written behind them if there is room.
func (l *loop) framed(ch *http1.Chunked, b []byte) (out []byte, n int, why http1.Reason) {
	w := 0
	for why = http1.More; why == http1.More && n < len(b); {
		var k int
		var keep []byte
		k, keep, why = ch.NextFramed(b[n:])
		w += copy(b[w:], keep)
		n += k
	}
	if why != http1.OK {
		return b[:w], n, why
	}
	l.passTrailers(ch)
	if len(l.fields) == 0 && w+2 <= n {
		return append(b[:w:n], "\r\n"...), n, why
	}
	l.spill = http1.AppendTrailers(append(l.spill[:0], b[:w]...), l.fields)
	return l.spill, n, why
}

// passTrailers gathers the trailer fields that go on in l.fields.
func (l *loop) passTrailers(ch *http1.Chunked) {
	l.fields = l.fields[:0]
	for _, f := range ch.Trailers() {
		if !f.Hop() && proxy.TrailerAllowed(&f) {
			l.fields = append(l.fields, f)
		}
	}
}

// unframed decodes a piece of a chunked body in place.
func unframed(ch *http1.Chunked, b []byte) (out []byte, n int, why http1.Reason) {
	w := 0
	for why = http1.More; why == http1.More && n < len(b); {
		var k int
		var data []byte
		k, data, why = ch.Next(b[n:])
		w += copy(b[w:], data)
		n += k
	}
	return b[:w], n, why
}

// readBusy reads from a client whose exchange runs. false: there is nothing more to do now.
func (l *loop) readBusy(c *client) bool {
	e := c.e
	switch {
	case e.tunnel:
		return l.pumpUp(e)
	case e.done || e.expect && !e.clientAhead(l):
		// Nothing is wanted of the client. Its end still means that nobody waits for the answer.
		if c.hup {
			l.checkGone(c)
		}
		return false
	case e.u == nil || !e.sent || e.u.connecting || len(e.u.pend) > 0:
		if c.hup && (e.u != nil || e.parked) {
			l.checkGone(c)
		}
		return false
	}
	b, r := l.fill(&c.sock)
	switch r {
	case readAgain:
		return false
	case readEnd, readError:
		l.fail(e, upstream.ClientGone, nil)
		return false
	}
	l.moved(e)
	out, n, why := l.requestBody(e, b)
	if why.Refused() {
		l.fail(e, upstream.BadRequest, why.Err())
		return false
	}
	l.setInput(&c.sock, b[n:])
	if us := e.u.us; us != nil {
		l.bodyTo(us, out, e.done)
	} else if len(out) > 0 && !l.write(&e.u.sock, out) {
		l.bodyRefused(e)
		return false
	}
	l.requestSent(e)
	return true
}

// clientAhead says that a client that asked to wait for a 100 sends its body all the same.
func (e *exchange) clientAhead(l *loop) bool {
	if !e.sent || e.u == nil || e.u.connecting {
		return false
	}
	if st := e.c.st; st != nil {
		e.expect = len(st.c.in) == 0 && !st.end
		return !e.expect
	}
	var b [1]byte
	if n, _ := recv(e.c.fd, b[:], msgPeek); n <= 0 || e.c.tls != nil {
		return false
	}
	e.expect = false
	return true
}

// bodyRefused handles a backend that no longer takes the body. It may have said why: RFC 9112 §9.3.
func (l *loop) bodyRefused(e *exchange) {
	u := e.u
	u.readable = true
	l.readServer(u)
	if u.e == e && e.u == u && !e.begun {
		l.serverGone(u, syscall.EPIPE)
	}
}

// checkGone ends the exchange of a client that has closed. A client that has merely closed its sending side
// looks the same; like other servers we take it as gone.
func (l *loop) checkGone(c *client) {
	if c.tls != nil {
		if len(c.in) > readSize/2 {
			return
		}
		switch b, r := l.fill(&c.sock); r {
		case readSome:
			l.setInput(&c.sock, b)
		case readAgain:
		default:
			l.fail(c.e, upstream.ClientGone, nil)
		}
		return
	}
	var b [1]byte
	n, e := recv(c.fd, b[:], msgPeek)
	if n == 0 && e == 0 || e != 0 && e != syscall.EAGAIN {
		l.fail(c.e, upstream.ClientGone, nil)
	}
}

// readServer reads an answer as long as there is input and the client takes it.
func (l *loop) readServer(u *server) {
	if u.h2 != nil {
		l.readUp(u)
		return
	}
	e := u.e
	for turn := 0; u.fd >= 0 && u.e == e && e != nil && u.readable && !u.connecting; turn++ {
		if turn == budget {
			l.later(u.idx, &u.queued)
			return
		}
		if len(e.c.pend) > 0 {
			return // the client's socket is full; goes on when it has room
		}
		if e.tunnel {
			if !l.pumpDown(e) {
				return
			}
			continue
		}
		limit := readSize
		if st := e.c.st; st != nil {
			if limit = l.room(st, e.begun); limit == 0 {
				return
			}
			limit += len(u.in)
		}
		b, r := l.fillServer(u, l.buf[headroom:headroom+min(limit, readSize)])
		l.at = l.clock() // once for all that is noted about these bytes
		switch r {
		case readAgain:
			return
		case readEnd:
			l.serverEnd(u)
			return
		case readError:
			if u.us != nil {
				l.brokenUp(u)
				return
			}
			l.serverGone(u, syscall.ECONNRESET)
			return
		}
		u.gotByte = true
		l.moved(e)
		l.answer(e, b)
	}
}

// fillServer is fillInto for a backend's answer.
func (l *loop) fillServer(u *server, buf []byte) ([]byte, readResult) {
	if u.us != nil {
		return l.fillUp(u.us, buf)
	}
	return l.fillInto(&u.sock, buf)
}

// serverEnd handles the end of what a backend sends.
func (l *loop) serverEnd(u *server) {
	e := u.e
	if !e.begun || e.rbody != http1.UntilClose {
		l.serverGone(u, errClosed)
		return
	}
	if e.c.st != nil {
		l.fields = l.fields[:0]
		l.lastPiece(e, nil)
	} else if e.coding == codingWrap {
		l.endAttempt(e, upstream.OK, nil)
		if !l.write(&e.c.sock, lastChunk) {
			l.fail(e, upstream.ClientGone, nil)
			return
		}
	}
	l.finish(e)
}

var lastChunk = []byte("0\r\n\r\n") // read only

// answer takes a piece of what the backend sends.
func (l *loop) answer(e *exchange, b []byte) {
	for !e.begun {
		n, ok := l.answerHead(e, b)
		if !ok {
			return
		}
		if n < 0 { // the final head: body and head go out together
			l.answerBody(e, b[-n:], len(l.out))
			return
		}
		if b = b[n:]; len(b) == 0 {
			return
		}
	}
	l.answerBody(e, b, 0)
}

// answerBody sends the next piece of a body on, after the head of headLen bytes in l.out.
func (l *loop) answerBody(e *exchange, b []byte, headLen int) {
	var out []byte
	var n int
	why := http1.More
	switch e.rbody {
	case http1.NoBody:
		why = http1.OK
	case http1.ByLength:
		n = int(min(int64(len(b)), e.rleft))
		if e.rleft -= int64(n); e.rleft == 0 {
			why = http1.OK
		}
		out = b[:n]
	case http1.ByChunks:
		if e.coding == codingUnwrap {
			out, n, why = unframed(&e.rchunk, b)
		} else {
			out, n, why = l.framed(&e.rchunk, b)
		}
	case http1.UntilClose:
		out, n = b, len(b)
	}
	e.out += uint64(len(out))
	if n < len(b) && !why.Refused() {
		e.reusable = false // bytes after the answer are nobody's
	}
	if e.c.st != nil {
		l.answerPiece(e, out, why)
		return
	}
	if e.coding == codingWrap && len(out) > 0 {
		l.spill = http1.AppendChunkHead(l.spill[:0], len(out))
		l.spill = append(append(l.spill, out...), "\r\n"...)
		out = l.spill
	}
	if why.Refused() {
		// What is good so far goes out, and then the client sees the end.
		if l.sendAnswer(e, out, headLen, n) {
			l.fail(e, upstream.BadResponse, why.Err())
		}
		return
	}
	if why == http1.OK {
		// Before the client has the end: its next request, perhaps on another loop, must find the backend idle.
		l.endAttempt(e, upstream.OK, nil)
	}
	if !l.sendAnswer(e, out, headLen, n) {
		l.fail(e, upstream.ClientGone, nil)
		return
	}
	if why == http1.OK {
		l.finish(e)
	} else if len(e.c.pend) > 0 {
		l.clientWait(e)
	}
}

// sendAnswer sends head and body in one piece if the head fits in front of the body.
func (l *loop) sendAnswer(e *exchange, out []byte, headLen, n int) bool {
	switch {
	case headLen == 0:
		return len(out) == 0 || l.write(&e.c.sock, out)
	case len(out) <= 4<<10:
		l.out = append(l.out, out...)
		return l.write(&e.c.sock, l.out)
	case headLen > headroom || &out[0] != &l.buf[headroom+l.bodyAt]:
		return l.write(&e.c.sock, l.out) && l.write(&e.c.sock, out)
	}
	at := headroom + l.bodyAt
	copy(l.buf[at-headLen:at], l.out)
	return l.write(&e.c.sock, l.buf[at-headLen:at+len(out)])
}
