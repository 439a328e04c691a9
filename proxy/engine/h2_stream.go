//go:build linux

package engine

import (
	"time"

	"github.com/lbnode/lbnode/proxy"
	"github.com/lbnode/lbnode/proxy/http1"
	"github.com/lbnode/lbnode/proxy/http2"
	"github.com/lbnode/lbnode/proxy/upstream"
	"github.com/lbnode/lbnode/stats"
)

// streamFD stands for the descriptor that a stream does not have.
const streamFD = 1<<31 - 1

// stream is a request of an HTTP/2 connection. To its exchange it is a client of its own, whose requests come in
// HTTP/1.1: what is different hides behind fill, write and the functions of this file.
type stream struct {
	c    *client // the client that the exchange sees; made once with the stream
	conn *client // the connection
	id   uint32
	next *stream // with the same bucket

	waits       bool // for a window, or for the connection's output
	after, prev *stream
	woken       bool // something has come for it; stands in loop.woken
	fresh       bool // its exchange has not begun

	sendWin int64
	recvWin int64
	taken   int   // received and not done with
	owed    int   // done with and not given back to the client's window
	left    int64 // what content-length promises of the body that has not come; -1 = nothing is promised
	end     bool  // the client has ended its side
	deaf    bool  // nothing more is wanted of the client
	trailer []byte

	last bool   // what is pending is the end of the answer
	tail []byte // its trailer section, in lines

	guest *guest // the portable engine serves it
}

func (h *h2conn) bucket(id uint32) **stream { return &h.tab[id>>1%buckets] }

func (h *h2conn) stream(id uint32) *stream {
	for st := *h.bucket(id); st != nil; st = st.next {
		if st.id == id {
			return st
		}
	}
	return nil
}

func (h *h2conn) remember(how uint32) {
	h.ended[h.endedN%remembered] = how
	h.endedN++
}

// how says how a stream has ended, if it is one of the last.
func (h *h2conn) how(id uint32) (uint32, bool) {
	for _, x := range h.ended {
		if x&endedMask == id {
			return x &^ endedMask, true
		}
	}
	return 0, false
}

// freshStream opens a stream, of which length bytes are promised.
func (l *loop) freshStream(conn *client, id uint32, end http2.Stream, length int64) *stream {
	var st *stream
	if n := len(l.freeSt); n > 0 {
		st = l.freeSt[n-1]
		l.freeSt = l.freeSt[:n-1]
	} else {
		st = &stream{c: &client{}}
		st.c.timer.fire = func() { l.clientTimeout(st.c) }
	}
	h, c := conn.h2, st.c
	c.fd, c.idx, c.st, c.state, c.peer, c.used = streamFD, l.takeSlot(slot{c: c}), st, stHead, conn.peer, true
	*st = stream{c: c, conn: conn, id: id, sendWin: h.peerInit, recvWin: windowStream, left: length, end: end == http2.Ended, fresh: true}
	b := h.bucket(id)
	st.next, *b = *b, st
	h.n++
	l.wake(st)
	return st
}

func (l *loop) wake(st *stream) {
	if !st.woken {
		st.woken = true
		l.woken = append(l.woken, st)
	}
}

// freeStream forgets a stream whose exchange has ended; how tells what to make of frames that still come for it.
func (l *loop) freeStream(st *stream, how uint32) {
	conn, c := st.conn, st.c
	h := conn.h2
	for p := h.bucket(st.id); *p != nil; p = &(*p).next {
		if *p == st {
			*p = st.next
			break
		}
	}
	h.n--
	h.remember(st.id&endedMask | how)
	l.unwait(st)
	l.giveBack(conn, st.taken)
	l.bufs.put(st.trailer)
	l.bufs.put(st.tail)
	l.wheel.drop(&c.timer)
	l.release(&c.sock)
	l.freeSlot(c.idx)
	*c = client{sock: sock{fd: -1, timer: timer{fire: c.timer.fire}}}
	woken := st.woken // it still stands in the list
	*st = stream{c: c}
	if woken {
		for i, w := range l.woken {
			if w == st {
				l.woken[i] = &l.nobody
			}
		}
	}
	l.freeSt = append(l.freeSt, st)
	if h.n == 0 {
		l.soil(conn) // its clock, and perhaps its end
	}
}

// startStream begins the exchange of a stream whose head is the beginning of its input.
func (l *loop) startStream(st *stream) {
	c := st.c
	b := l.input(&c.sock)
	if len(b) == 0 {
		l.refuseHeadOf(st, proxy.RefuseReason(http1.HeadTooLarge))
		return
	}
	r := &l.req
	r.Reset()
	n, why := r.Parse(b, &l.lim.Head)
	switch {
	case why == http1.More: // cannot be: the head is whole
		why = http1.BadRequestLine
		fallthrough
	case why != http1.OK && why.Status() == 400:
		l.malformed(st.conn)
		l.resetStream(st, http2.ProtocolError, endedByUs)
		return
	case why != http1.OK:
		l.refuseHeadOf(st, proxy.RefuseReason(why))
		return
	}
	id := st.id
	rest := l.begin(c, b[:n], b[n:])
	if st.id != id || c.fd < 0 || st.guest != nil || st.deaf {
		return
	}
	l.setInput(&c.sock, rest)
	c.readable = true
	l.readClient(c)
}

// malformed counts a request that is answered by the end of its stream only.
func (l *loop) malformed(c *client) {
	l.total.Begin()
	l.total.Record(proxy.Outcome(0, stats.BadRequest, 0, 0, 0, l.shard))
	if log := l.e.log; log != nil && log.Wants(0) {
		log.Log(proxy.Entry{Start: time.Now(), Client: c.peer, Proto: protoHTTP2, Result: stats.BadRequest, Reason: "malformed"})
	}
}

// protoHTTP2 is how the access log names the protocol.
const protoHTTP2 = "HTTP/2.0"

// refuseHeadOf answers a stream of which there is no request.
func (l *loop) refuseHeadOf(st *stream, f *proxy.Refusal) {
	l.total.Begin()
	l.out = f.Append(l.out[:0], l.p.NodeID(), http1.OtherVerb, 0)
	l.total.Record(proxy.Outcome(f.Status, f.Kind, 0, 0, bodyOf(l.out), l.shard))
	if log := l.e.log; log != nil && log.Wants(f.Status) {
		log.Log(proxy.Entry{Start: time.Now(), Client: st.c.peer, Proto: protoHTTP2, Status: f.Status, Result: f.Kind, Reason: f.Code, BytesOut: bodyOf(l.out)})
	}
	l.answerOurs(st, l.out, http1.OtherVerb)
}

// keepInput keeps a piece of a body until it is wanted.
func (l *loop) keepInput(st *stream, p []byte) {
	if len(p) == 0 {
		return
	}
	if st.guest != nil {
		st.guest.feed(p, st.end)
		return
	}
	s := &st.c.sock
	if need := len(s.in) + len(p); cap(s.in) < need {
		b := append(l.bufs.get(need), s.in...)
		l.bufs.put(s.in)
		s.in = b
	}
	s.in = append(s.in, p...)
}

// streamInput lets an exchange have what has come.
func (l *loop) streamInput(st *stream) {
	if st.guest != nil {
		st.guest.feed(nil, st.end)
		return
	}
	if st.c.state == stBusy {
		st.c.readable = true
		l.readClient(st.c)
	}
}

// fillStream is fill for a stream: all that has come, or nothing but the end.
func (l *loop) fillStream(st *stream) ([]byte, readResult) {
	s := &st.c.sock
	if len(s.in) == 0 && !st.end {
		s.readable = false
		return nil, readAgain
	}
	return l.input(s), readSome
}

// streamBody is requestBody for a body without a length: b is all that has come of it. It is chunked for the backend.
func (l *loop) streamBody(e *exchange, b []byte) (out []byte, n int, why http1.Reason) {
	st := e.c.st
	n = len(b)
	e.in += uint64(n)
	e.pace.Add(n, 0)
	if e.keeps {
		l.keptBody(e, l.keepBody(e, b), n)
	}
	l.spill = l.spill[:0]
	if n > 0 {
		l.spill = append(append(http1.AppendChunkHead(l.spill, n), b...), "\r\n"...)
	}
	if !st.end {
		return l.spill, n, http1.More
	}
	e.done = true
	if why := l.streamTrailers(e); why != http1.OK {
		return l.spill, n, why
	}
	l.spill = http1.AppendLastChunk(l.spill, l.fields)
	return l.spill, n, http1.OK
}

// streamTrailers gathers the trailer fields of a stream that has ended in l.fields.
func (l *loop) streamTrailers(e *exchange) http1.Reason {
	l.fields = l.fields[:0]
	st := e.c.st
	if len(st.trailer) == 0 {
		return http1.OK
	}
	e.chunk.Reset(&l.lim.Head)
	if _, _, why := e.chunk.Next(lastChunkHead); why != http1.More {
		return http1.ForbiddenTrailer // cannot be
	}
	if _, _, why := e.chunk.Next(st.trailer); why != http1.OK {
		return http1.ForbiddenTrailer
	}
	l.passTrailers(&e.chunk)
	return http1.OK
}

var lastChunkHead = []byte("0\r\n") // read only

// doneWith opens the client's windows for what its backend has taken.
func (l *loop) doneWith(st *stream) {
	if st.taken == 0 || len(st.c.in) > 0 {
		return
	}
	l.credit(st, st.taken)
}

// credit gives n received bytes back to the windows.
func (l *loop) credit(st *stream, n int) {
	n = min(n, st.taken)
	st.taken -= n
	st.owed += n
	l.giveBack(st.conn, n)
	if st.owed < windowStream/2 || st.end {
		return
	}
	h := st.conn.h2
	l.makeRoom(h, 13)
	h.out = http2.AppendWindowUpdate(h.out, st.id, uint32(st.owed))
	st.recvWin += int64(st.owed)
	st.owed = 0
	l.soil(st.conn)
}

// giveBack is credit for the connection's window.
func (l *loop) giveBack(conn *client, n int) {
	h := conn.h2
	if h.owed += n; h.owed < windowConn/2 {
		return
	}
	l.makeRoom(h, 13)
	h.out = http2.AppendWindowUpdate(h.out, 0, uint32(h.owed))
	h.recvWin += int64(h.owed)
	h.owed = 0
	l.soil(conn)
}

// breakStream ends a stream on which the client breaks the protocol. The result ends the connection of a client
// that does so all the time (CVE-2025-8671).
func (l *loop) breakStream(st *stream, code http2.ErrCode) http2.ErrCode {
	h := st.conn.h2
	if e := st.c.e; e != nil {
		e.kind = stats.BadRequest
		l.breakOff(e, upstream.BadRequest)
	}
	l.resetStream(st, code, endedByUs)
	if !h.resets.spend(1, resetsMost, resetsPerSec, l.now) {
		return http2.EnhanceYourCalm
	}
	return http2.NoError
}

// cancelStream ends a stream that its client does not want any more, and what runs for it.
func (l *loop) cancelStream(st *stream, k upstream.Kind) {
	if e := st.c.e; e != nil {
		e.kind = k.Stats()
		l.breakOff(e, k)
	}
	l.endGuest(st)
	l.freeStream(st, endedByPeer)
}

// breakOff ends an exchange without an answer, or in the middle of one.
func (l *loop) breakOff(e *exchange, k upstream.Kind) {
	l.endAttempt(e, k, nil)
	l.dropServer(e)
	l.account(e)
}

// resetStream ends a stream by RST_STREAM. Its exchange has ended.
func (l *loop) resetStream(st *stream, code http2.ErrCode, how uint32) {
	l.endGuest(st)
	l.appendReset(st.conn, st.id, code)
	l.freeStream(st, how)
}

// endStreams ends all streams of a connection without a word.
func (l *loop) endStreams(c *client, k upstream.Kind) {
	h := c.h2
	for i := range h.tab {
		for h.tab[i] != nil {
			l.cancelStream(h.tab[i], k)
		}
	}
}

// resetCode is what a client is told of an exchange that could not be completed.
func resetCode(k upstream.Kind) http2.ErrCode {
	switch k {
	case upstream.ClientGone:
		return http2.Cancel
	case upstream.BadRequest:
		return http2.ProtocolError
	}
	return http2.InternalError
}
