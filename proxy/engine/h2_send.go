//go:build linux

package engine

import (
	"bytes"

	"github.com/lbnode/lbnode/proxy"
	"github.com/lbnode/lbnode/proxy/http1"
	"github.com/lbnode/lbnode/proxy/http2"
	"github.com/lbnode/lbnode/proxy/upstream"
)

// This file is about what streams send, and about the windows that bound it.

const (
	// headAtOnce is how much of an answer is read from a backend before its head is known, whatever the windows.
	headAtOnce = 8 << 10
	fieldRoom  = 16 // what a field can take beyond its name and value
)

// headers appends a HEADERS frame with whatever continues it.
func (l *loop) headers(st *stream, status int, fields []http1.Field, length int64, end http2.Stream) {
	h := st.conn.h2
	size := 64
	for i := range fields {
		size += len(fields[i].Name()) + len(fields[i].Value()) + fieldRoom
	}
	l.makeRoom(h, size+size/h.peerMax*http2.HeaderSize)
	at := len(h.out)
	flags := uint8(http2.FlagEndHeaders)
	if end == http2.Ended {
		flags |= http2.FlagEndStream
	}
	out := http2.AppendFrameHeader(h.out, http2.FrameHeader{Type: http2.Headers, Flags: flags, Stream: st.id})
	out = h.enc.Begin(out)
	if status > 0 {
		out = h.enc.Status(out, status)
	}
	for i := range fields {
		if f := &fields[i]; goesOn(f) {
			out = h.enc.Field(out, f.Name(), f.Value())
		}
	}
	if length >= 0 {
		l.number = appendDecimal(l.number[:0], length)
		out = h.enc.Field(out, nameLength, l.number)
	}
	h.out = out
	if n := len(out) - at - http2.HeaderSize; n <= h.peerMax {
		http2.SetLength(out[at:], n)
	} else {
		l.splitBlock(st, at, flags)
	}
	l.soil(st.conn)
}

// goesOn says that a field of an HTTP/1.1 answer is one in HTTP/2 (RFC 9113 §8.2.2).
func goesOn(f *http1.Field) bool {
	switch id := f.ID(); id {
	case http1.ContentLength, http1.TransferEncoding, http1.Host:
		return false // the length is said anew
	default:
		return !f.Hop() && !id.IsHop()
	}
}

var nameLength = []byte("content-length") // read only

func appendDecimal(dst []byte, n int64) []byte {
	if n >= 10 {
		dst = appendDecimal(dst, n/10)
	}
	return append(dst, byte('0'+n%10))
}

// splitBlock makes a HEADERS frame that is too long, and stands at the end of the output, several.
func (l *loop) splitBlock(st *stream, at int, flags uint8) {
	h := st.conn.h2
	block := append(l.bufs.get(len(h.out)-at), h.out[at+http2.HeaderSize:]...)
	h.out = h.out[:at]
	typ, flags := http2.Headers, flags&^http2.FlagEndHeaders
	for rest := block; len(rest) > 0; {
		k := min(len(rest), h.peerMax)
		if k == len(rest) {
			flags |= http2.FlagEndHeaders
		}
		h.out = http2.AppendFrameHeader(h.out, http2.FrameHeader{Length: k, Type: typ, Flags: flags, Stream: st.id})
		h.out = append(h.out, rest[:k]...)
		rest = rest[k:]
		typ, flags = http2.Continuation, 0
	}
	l.bufs.put(block)
}

// data appends as much of p as the windows allow, in DATA frames, and gives how much that is. The last one ends
// the stream if that is wanted and all of p went.
func (l *loop) data(st *stream, p []byte, end http2.Stream) int {
	h := st.conn.h2
	k := int(min(int64(len(p)), max(min(st.sendWin, h.sendWin), 0)))
	st.sendWin -= int64(k)
	h.sendWin -= int64(k)
	ends := end == http2.Ended && k == len(p)
	if k == 0 && !ends {
		return 0
	}
	l.makeRoom(h, k+(k/h.peerMax+1)*http2.HeaderSize)
	h.effort.earn(effortPerUse*(k/h.peerMax+1), effortMost)
	for rest := p[:k]; ; {
		n := min(len(rest), h.peerMax)
		f := http2.FrameHeader{Length: n, Type: http2.Data, Stream: st.id}
		if ends && n == len(rest) {
			f.Flags = http2.FlagEndStream
		}
		h.out = append(http2.AppendFrameHeader(h.out, f), rest[:n]...)
		if rest = rest[n:]; len(rest) == 0 {
			break
		}
	}
	l.soil(st.conn)
	return k
}

// writeStream sends a piece of an answer and keeps what the windows do not allow.
func (l *loop) writeStream(st *stream, p []byte, end http2.Stream) {
	c := st.c
	if len(c.pend) == 0 {
		n := l.data(st, p, end)
		if n == len(p) {
			return
		}
		p = p[n:]
	}
	l.keepPending(&c.sock, p)
	l.await(st)
}

// endStream ends our side, once all of the answer is out, and with it the stream.
func (l *loop) endStream(st *stream) {
	st.last = true
	if len(st.c.pend) > 0 {
		st.c.state = stClosing
		l.arm(&st.c.timer, l.lim.StallTimeout)
		return
	}
	l.streamEnded(st)
}

// streamEnded frees a stream whose END_STREAM is out.
func (l *loop) streamEnded(st *stream) {
	if !st.end { // RFC 9113 §8.1: the answer does not depend on the rest of the request
		l.resetStream(st, http2.NoError, endedByUs)
		return
	}
	l.freeStream(st, endedWell)
}

// trailers sends the trailer section of an answer, which ends it.
func (l *loop) trailers(st *stream, section []byte) {
	l.ours.Reset()
	for line := range bytes.Lines(section) {
		name, value, _ := bytes.Cut(line[:len(line)-2], []byte(": "))
		l.ours.Add(name, value) // was accepted before
	}
	l.headers(st, 0, l.ours.Fields(), -1, http2.Ended)
}

// await puts a stream into the list of those that are to go on when they can.
func (l *loop) await(st *stream) {
	if st.waits {
		return
	}
	h := st.conn.h2
	st.waits, st.prev, st.after = true, h.lastly, nil
	if h.lastly != nil {
		h.lastly.after = st
	} else {
		h.first = st
	}
	h.lastly = st
	h.queued++
	if st.c.timer.deadline == 0 { // else it has waited already, and nothing has moved since
		l.arm(&st.c.timer, l.lim.StallTimeout)
	}
}

func (l *loop) unwait(st *stream) {
	if !st.waits {
		return
	}
	h := st.conn.h2
	if st.prev != nil {
		st.prev.after = st.after
	} else {
		h.first = st.after
	}
	if st.after != nil {
		st.after.prev = st.prev
	} else {
		h.lastly = st.prev
	}
	st.waits, st.prev, st.after = false, nil, nil
	h.queued--
}

// room is how much of an answer may be read for a stream; 0 = nothing, and it waits.
func (l *loop) room(st *stream, begun bool) int {
	h := st.conn.h2
	if len(st.conn.pend) > 0 || len(h.out) >= maxOut {
		h.full = true
		l.await(st)
		return 0
	}
	w := min(st.sendWin, h.sendWin)
	if !begun {
		w = max(w, headAtOnce)
	}
	if w <= 0 || len(st.c.pend) > 0 {
		l.await(st)
		return 0
	}
	return int(min(w, readSize))
}

// resumeStreams gives each stream that waits a turn.
func (l *loop) resumeStreams(c *client) {
	h := c.h2
	for n := h.queued; n > 0 && c.fd >= 0 && c.h2 == h && h.first != nil; n-- {
		st := h.first
		l.unwait(st)
		l.resumeStream(st)
	}
}

func (l *loop) resumeStream(st *stream) {
	c, h := st.c, st.conn.h2
	if len(c.pend) > 0 {
		if len(h.out) >= maxOut {
			h.full = true
			l.await(st)
			return
		}
		end := http2.Open
		if st.last && len(st.tail) == 0 {
			end = http2.Ended
		}
		n := l.data(st, c.pend, end)
		if n > 0 {
			c.timer.deadline = 0
		}
		if c.pend = c.pend[n:]; len(c.pend) > 0 {
			l.await(st)
			return
		}
		l.bufs.put(c.pbuf)
		c.pbuf, c.pend = nil, nil
		if st.last {
			if len(st.tail) > 0 {
				l.trailers(st, st.tail)
			}
			l.streamEnded(st)
			return
		}
	}
	if min(st.sendWin, h.sendWin) <= 0 {
		l.await(st)
		return
	}
	c.timer.deadline = 0
	if st.guest != nil {
		l.guestFlushed(st)
		return
	}
	if e := c.e; e != nil {
		l.clientWait(e)
		if e.u != nil {
			l.readServer(e.u)
		}
	}
}

// answerStream sends the head of a backend's answer.
func (l *loop) answerStream(e *exchange, r *http1.Response) {
	st := e.c.st
	e.coding, e.close = codingSame, false
	if r.Body == http1.ByChunks {
		e.coding = codingUnwrap
	}
	end := http2.Open
	if r.Body == http1.NoBody {
		end = http2.Ended
	}
	length := r.Length
	if us := e.u.us; r.Status == 204 || us != nil && us.bare {
		length = -1
	}
	l.headers(st, r.Status, r.Fields(), length, end)
	e.begun = true
}

// answerPiece sends a piece of a body on, and ends the answer with the last one.
func (l *loop) answerPiece(e *exchange, out []byte, why http1.Reason) {
	st := e.c.st
	if why != http1.OK {
		if len(out) > 0 {
			l.writeStream(st, out, http2.Open)
		}
		if why.Refused() {
			l.fail(e, upstream.BadResponse, why.Err())
		} else {
			l.clientWait(e)
		}
		return
	}
	l.fields = l.fields[:0]
	if e.rbody == http1.ByChunks {
		l.passTrailers(&e.rchunk)
	}
	l.lastPiece(e, out)
	l.finish(e)
}

// lastPiece sends the end of a body, and the trailer fields in l.fields.
func (l *loop) lastPiece(e *exchange, out []byte) {
	st := e.c.st
	switch {
	case len(l.fields) == 0:
		if e.rbody != http1.NoBody {
			l.writeStream(st, out, http2.Ended)
		}
	default:
		if len(out) > 0 {
			l.writeStream(st, out, http2.Open)
		}
		if len(st.c.pend) == 0 {
			l.headers(st, 0, l.fields, -1, http2.Ended)
			return
		}
		l.keepTail(st)
	}
}

// keepTail keeps the trailer fields in l.fields until what is pending before them is out.
func (l *loop) keepTail(st *stream) {
	l.spill = http1.AppendTrailers(l.spill[:0], l.fields)
	section := l.spill[:len(l.spill)-2] // but for the blank line
	st.tail = append(l.bufs.get(len(section)), section...)
}

// answerOurs sends an answer of ours, which was written in HTTP/1.1, and ends the stream.
func (l *loop) answerOurs(st *stream, message []byte, verb http1.Verb) {
	r := &l.ours
	r.Reset()
	n, why := r.Parse(message, verb, &l.e.answer)
	if why != http1.OK { // cannot be: we made it
		l.resetStream(st, http2.InternalError, endedByUs)
		return
	}
	body := message[n:]
	end := http2.Open
	if len(body) == 0 {
		end = http2.Ended
	}
	l.headers(st, r.Status, r.Fields(), r.Length, end)
	if end == http2.Open {
		l.writeStream(st, body, http2.Ended)
	}
	l.endStream(st)
}

// refuseExchange is refuse for a stream.
func (l *loop) refuseExchange(e *exchange, f *proxy.Refusal) {
	st, verb := e.c.st, e.verb
	l.out = f.Append(l.out[:0], l.p.NodeID(), verb, 0)
	e.status, e.kind, e.reason, e.out = f.Status, f.Kind, f.Code, bodyOf(l.out)
	st.deaf = true
	l.account(e)
	l.answerOurs(st, l.out, verb)
}
