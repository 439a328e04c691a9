//go:build linux

package engine

import (
	"bytes"

	"github.com/lbnode/lbnode/proxy"
	"github.com/lbnode/lbnode/proxy/http1"
	"github.com/lbnode/lbnode/proxy/http2"
	"github.com/lbnode/lbnode/proxy/upstream"
)

// upStream is a request on an HTTP/2 connection to a backend. To its exchange it is a server of its own, whose answer
// comes in HTTP/1.1: what is different hides behind the functions of this file.
type upStream struct {
	u           *server // the server that the exchange sees; made once with the stream
	conn        *server // the connection; nil = there is none yet, or the stream is closed there
	pool        *upPool // in whose queue it waits for a connection; nil = does not
	id          uint32
	next        *upStream // with the same bucket
	waits       bool      // for a window, or for the connection's output
	after, prev *upStream
	woken       bool // something has come for it; stands in loop.wokenUp

	// The request.
	sendWin int64
	last    bool   // what is pending is the end of the body
	tail    []byte // the trailer section behind it, in lines
	ended   bool   // END_STREAM is sent

	// The answer.
	in      []byte // what has come and is not taken, from off on
	off     int
	chunkAt int // where the last chunk in it begins, if chunk > 0
	chunk   int // that chunk's length
	recvWin int64
	taken   int // of the window, for what is in in
	owed    int // taken by the exchange and not given back
	framing http2.Framing
	left    int64 // what content-length promises of the body that has not come; -1 = nothing is promised
	interim int
	headed  bool // the final head has come
	bare    bool // it has ended the answer, and says no length
	end     bool // END_STREAM has come

	broken bool // no more comes than is in in
	given  bool // up by the backend: RST_STREAM CANCEL
	lost   bool // because the connection has ended
	kind   upstream.Kind
	err    error
}

func (l *loop) newUpStream(e *exchange) *upStream {
	var us *upStream
	if n := len(l.freeUp); n > 0 {
		us = l.freeUp[n-1]
		l.freeUp = l.freeUp[:n-1]
	} else {
		us = &upStream{u: &server{}}
		us.u.timer.fire = func() { l.serverTimeout(us.u) }
	}
	u := us.u
	u.us, u.fd, u.idx, u.ep, u.idleAt = us, streamFD, l.takeSlot(slot{u: u}), e.at.Endpoint, -1
	us.left = -1
	u.e, e.u = e, u
	return us
}

// sendUp is send for endpoints of HTTP/2.
func (l *loop) sendUp(e *exchange, rest []byte, parsed bool) ([]byte, bool) {
	if p := l.ups[e.at.Endpoint]; p != nil && p.first == nil {
		if conn := p.room(); conn != nil {
			l.openUp(l.newUpStream(e), conn)
			if out, ok := l.sendRequest(e, rest, parsed); ok {
				return out, true
			}
			l.dropServer(e)
			l.endAttempt(e, upstream.ConnectFailed, errHead)
			return rest, false
		}
	}
	if err := l.awaitRoom(e); err != nil {
		l.endAttempt(e, upstream.ConnectFailed, err)
		return rest, false
	}
	return rest, true
}

// openUp gives a stream its number on a connection that has room.
func (l *loop) openUp(us *upStream, conn *server) {
	h := conn.h2
	us.conn, us.id = conn, h.next
	us.u.reused = h.next > 1
	h.next += 2
	us.sendWin, us.recvWin = h.peerInit, windowUp
	b := h.bucket(us.id)
	us.next, *b = *b, us
	h.n++
	h.phase = phaseNone
}

// detach takes a stream off its connection, where it has ended.
func (l *loop) detach(us *upStream) {
	conn := us.conn
	if conn == nil {
		return
	}
	h := conn.h2
	for p := h.bucket(us.id); *p != nil; p = &(*p).next {
		if *p == us {
			*p = us.next
			break
		}
	}
	l.unwaitUp(us)
	us.conn, us.next = nil, nil
	if h.n--; h.n == 0 || h.pool.first != nil {
		l.soilUp(conn) // its clock, its end, or those who wait
	}
}

// closeUp forgets a stream, which its backend is told if it has not ended.
func (l *loop) closeUp(us *upStream) {
	if us.pool != nil {
		p := us.pool
		p.unlink(us)
		l.dropPool(p)
	}
	if conn := us.conn; conn != nil {
		if !us.end || !us.ended {
			l.roomUp(conn.h2, 13)
			conn.h2.out = http2.AppendReset(conn.h2.out, us.id, http2.Cancel)
			l.soilUp(conn)
		}
		l.detach(us)
	}
	u := us.u
	l.bufs.put(us.in)
	l.bufs.put(us.tail)
	l.wheel.drop(&u.timer)
	l.release(&u.sock)
	l.freeSlot(u.idx)
	*u = server{sock: sock{fd: -1, timer: timer{fire: u.timer.fire}}}
	if us.woken { // it still stands in the list
		for i, w := range l.wokenUp {
			if w == us {
				l.wokenUp[i] = &l.noUp
			}
		}
	}
	*us = upStream{u: u}
	l.freeUp = append(l.freeUp, us)
}

// leave ends a stream whose exchange has the whole answer.
func (l *loop) leave(us *upStream, up *upstream.Upstream) {
	if conn := us.conn; conn != nil && up.Endpoint() != us.u.ep {
		conn.h2.away = true // the backend is reached in another way now
	}
	if us.conn != nil && !us.end && us.ended {
		l.arm(&us.u.timer, trailingWait) // END_STREAM comes in a frame of its own
		return
	}
	l.closeUp(us)
}

// breakUp says that no more of an answer comes, and why.
func (l *loop) breakUp(us *upStream, k upstream.Kind, err error) {
	if us.u.e == nil {
		l.closeServer(us.u)
		return
	}
	us.broken, us.kind, us.err = true, k, err
	l.wakeUp(us)
}

// refuseUp ends a stream on which the backend breaks the protocol.
func (l *loop) refuseUp(us *upStream, code http2.ErrCode) {
	h := us.conn.h2
	l.roomUp(h, 13)
	h.out = http2.AppendReset(h.out, us.id, code)
	l.soilUp(us.conn)
	l.detach(us)
	l.breakUp(us, upstream.BadResponse, errBadAnswer)
}

func (l *loop) wakeUp(us *upStream) {
	if !us.woken {
		us.woken = true
		l.wokenUp = append(l.wokenUp, us)
	}
}

// wakeUps lets the exchanges go on for which something came.
func (l *loop) wakeUps() {
	for i := 0; i < len(l.wokenUp); i++ {
		us := l.wokenUp[i]
		if !us.woken { // it has ended meanwhile
			continue
		}
		us.woken = false
		us.u.readable = true
		l.readServer(us.u)
	}
	l.wokenUp = l.wokenUp[:0]
}

// brokenUp ends, or sends again, a request of whose answer no more comes.
func (l *loop) brokenUp(u *server) {
	us := u.us
	switch us.kind {
	case upstream.BadResponse:
		l.fail(u.e, us.kind, us.err)
	case upstream.ConnectFailed:
		l.notTaken(u.e, us.err)
	default:
		if e := u.e; us.given && e.c.st != nil && !e.begun {
			l.giveUp(e, us.err)
			return
		}
		l.serverGone(u, us.err)
	}
}

// giveUp passes on that a backend has given a request up, to a client that can be told so. A gRPC server does so when a
// call's deadline has come, and a client that gets a 502 instead takes the service for down.
func (l *loop) giveUp(e *exchange, err error) {
	st := e.c.st
	l.endAttempt(e, upstream.Reset, err)
	l.dropServer(e)
	e.kind = upstream.Reset.Stats()
	l.account(e)
	l.resetStream(st, http2.Cancel, endedByUs)
}

// notTaken sends a request again of which a backend has said that nothing was taken up: once to the same backend, as
// one that is restarted says so of its old connection, and then to others as after a connection that was refused.
func (l *loop) notTaken(e *exchange, err error) {
	if !e.replayable() {
		l.fail(e, upstream.Reset, err)
		return
	}
	if !e.again {
		e.again = true
		l.dropServer(e)
		l.resumeThere(e, err)
		return
	}
	if e.x.Retry(upstream.ConnectFailed, true) {
		l.endAttempt(e, upstream.Reset, err)
		l.dropServer(e)
		e.last = upstream.Reset
		l.resume(e)
		return
	}
	l.fail(e, upstream.Reset, err)
}

// fillUp is fillInto for a stream.
func (l *loop) fillUp(us *upStream, buf []byte) ([]byte, readResult) {
	u := us.u
	k := len(u.in)
	n := copy(buf[k:], us.in[us.off:])
	if n == 0 {
		u.readable = false
		if us.broken {
			return nil, readError
		}
		return nil, readAgain
	}
	us.chunk = 0
	if us.off += n; us.off == len(us.in) {
		l.bufs.put(us.in)
		us.in, us.off = nil, 0
		l.creditUp(us, us.taken)
	} else {
		l.creditUp(us, min(n, us.taken))
	}
	return l.before(&u.sock, buf[:k+n]), readSome
}

// creditUp gives n received bytes back to the stream's window.
func (l *loop) creditUp(us *upStream, n int) {
	us.taken -= n
	us.owed += n
	if us.owed < windowUp/2 || us.end || us.conn == nil {
		return
	}
	h := us.conn.h2
	l.roomUp(h, 13)
	h.out = http2.AppendWindowUpdate(h.out, us.id, uint32(us.owed))
	us.recvWin += int64(us.owed)
	us.owed = 0
	l.soilUp(us.conn)
}

// keepUp keeps a piece of an answer until its exchange takes it.
func (l *loop) keepUp(us *upStream, p []byte) {
	l.growUp(us, len(p))
	us.in = append(us.in, p...)
}

func (l *loop) growUp(us *upStream, n int) {
	if need := len(us.in) + n; cap(us.in) < need {
		b := append(l.bufs.get(need-us.off), us.in[us.off:]...)
		l.bufs.put(us.in)
		us.chunkAt -= us.off
		us.in, us.off = b, 0
	}
}

// bodyFrom keeps a piece of a body. If it has to be chunked and there is a chunk already, that one grows: a backend that
// sends single bytes would otherwise have us keep many times as much.
func (l *loop) bodyFrom(us *upStream, p []byte) {
	if len(p) == 0 {
		return
	}
	if us.framing != http2.Unlimited {
		l.keepUp(us, p)
		return
	}
	l.growUp(us, len(p)+16)
	old := us.chunk
	us.chunk += len(p)
	l.number = http1.AppendChunkHead(l.number[:0], us.chunk)
	if old == 0 {
		us.chunkAt = len(us.in)
		us.in = append(us.in, l.number...)
	} else {
		from, to := len(us.in)-len(crlf)-old, us.chunkAt+len(l.number)
		us.in = us.in[:to+old]
		if from != to { // its length has one more digit
			copy(us.in[to:], us.in[from:from+old])
		}
		copy(us.in[us.chunkAt:], l.number)
	}
	us.in = append(append(us.in, p...), crlf...)
}

// lastUp ends a body. section is its trailer section with the blank line behind it, which only a chunked one has.
func (l *loop) lastUp(us *upStream, section []byte) {
	if us.framing != http2.Unlimited {
		return
	}
	l.keepUp(us, lastChunkHead)
	l.keepUp(us, section)
}

// requestUp sends the head, and the body as far as it has come.
func (l *loop) requestUp(e *exchange, rest []byte, opts http1.Conn) []byte {
	us, r := e.u.us, &l.req
	if !l.headUp(us, r, opts, e.done) {
		l.endAttempt(e, upstream.BadRequest, nil)
		l.dropServer(e)
		return l.refuseAtOnce(e, proxy.RefuseReason(http1.HeadTooLarge), rest)
	}
	if e.expect && len(rest) > 0 {
		e.expect = false // the client does not wait
	}
	e.sent = true
	l.moved(e)
	n := 0
	if !e.done && !e.expect && len(rest) > 0 {
		var out []byte
		var why http1.Reason
		if out, n, why = l.requestBody(e, rest); why.Refused() {
			l.endAttempt(e, upstream.BadRequest, why.Err())
			l.dropServer(e)
			return l.refuseAtOnce(e, proxy.RefusalOf(upstream.BadRequest), nil)
		}
		l.bodyTo(us, out, e.done)
	}
	l.requestSent(e)
	return rest[n:]
}

// goesUp says that a field of a request goes to a backend of HTTP/2 (RFC 9113 §8.2.2).
func goesUp(f *http1.Field, body http1.Body) bool {
	switch id := f.ID(); id {
	case http1.ContentLength, http1.TransferEncoding, http1.Host:
		return false // is said in another way
	case http1.Trailer:
		return body == http1.ByChunks && !f.Hop()
	default:
		return !f.Hop() && !id.IsHop()
	}
}

// headUp appends the HEADERS of a request; false: the backend does not take so many fields.
func (l *loop) headUp(us *upStream, r *http1.Request, opts http1.Conn, ends bool) bool {
	h := us.conn.h2
	fields := r.Fields()
	l.scratchPath = append(l.scratchPath[:0], r.Path...)
	if r.HasQuery {
		l.scratchPath = append(append(l.scratchPath, '?'), r.Query...)
	}
	size := 256 + len(r.Method) + len(r.Host) + len(l.scratchPath)
	for i := range fields {
		size += len(fields[i].Name()) + len(fields[i].Value()) + 32
	}
	if size > int(h.peerList) {
		return false
	}
	l.roomUp(h, size+size/h.peerMax*http2.HeaderSize)
	at := len(h.out)
	out := http2.AppendFrameHeader(h.out, http2.FrameHeader{Type: http2.Headers, Stream: us.id})
	out = h.enc.Request(h.enc.Begin(out), r.Method, us.u.ep.Scheme, r.Host, l.scratchPath)
	for i := range fields {
		if f := &fields[i]; goesUp(f, r.Body) {
			out = h.enc.Field(out, f.Name(), f.Value())
		}
	}
	if r.Body != http1.ByChunks && r.Length >= 0 {
		l.number = appendDecimal(l.number[:0], r.Length)
		out = h.enc.Field(out, nameLength, l.number)
	}
	if opts&http1.AskTrailers != 0 {
		out = h.enc.Field(out, nameTE, valueTrailers)
	}
	h.out = out
	l.endBlock(us, at, ends)
	return true
}

// Read only.
var (
	nameTE        = []byte("te")
	valueTrailers = []byte("trailers")
)

// endBlock completes the HEADERS frame that begins at at with the end of the output, and makes it several if it is too
// long for one.
func (l *loop) endBlock(us *upStream, at int, ends bool) {
	h := us.conn.h2
	flags := uint8(http2.FlagEndHeaders)
	if ends {
		flags |= http2.FlagEndStream
		us.ended = true
	}
	l.soilUp(us.conn)
	if n := len(h.out) - at - http2.HeaderSize; n <= h.peerMax {
		http2.SetLength(h.out[at:], n)
		h.out[at+4] = flags
		return
	}
	block := append(l.bufs.get(len(h.out)-at), h.out[at+http2.HeaderSize:]...)
	h.out = http2.AppendBlock(h.out[:at], us.id, flags, block, h.peerMax)
	l.bufs.put(block)
}

// plainBody is requestBody for a body without a length that goes to a backend of HTTP/2.
func (l *loop) plainBody(e *exchange, b []byte) (out []byte, n int, why http1.Reason) {
	before := 0
	if e.keeps {
		before = l.keepBody(e, b)
	}
	st := e.c.st
	l.fields = l.fields[:0]
	switch {
	case st == nil:
		if out, n, why = unframed(&e.chunk, b); why == http1.OK {
			l.passTrailers(&e.chunk)
		}
	case st.end:
		out, n, why = b, len(b), l.streamTrailers(e)
	default:
		out, n, why = b, len(b), http1.More
	}
	if e.keeps {
		l.keptBody(e, before, n)
	}
	if why == http1.OK && len(l.fields) > 0 {
		l.spill = http1.AppendTrailers(l.spill[:0], l.fields)
		us := e.u.us
		us.tail = append(l.bufs.get(len(l.spill)), l.spill[:len(l.spill)-len(crlf)]...)
	}
	e.done = why == http1.OK
	e.pace.Add(n, 0)
	e.in += uint64(len(out))
	return out, n, why
}

// bodyTo sends a piece of a body and keeps what the windows do not allow. end says that it is the last one.
func (l *loop) bodyTo(us *upStream, p []byte, end bool) {
	if us.conn == nil || us.ended { // the backend wants no more of it
		return
	}
	u := us.u
	if len(u.pend) == 0 {
		n := l.dataUp(us, p, end)
		if p = p[n:]; len(p) == 0 {
			if end {
				l.endUp(us)
			}
			return
		}
	}
	us.last = us.last || end
	l.keepPending(&u.sock, p)
	l.awaitUp(us)
}

// endUp ends the request's side of a stream, unless the last DATA frame has done so.
func (l *loop) endUp(us *upStream) {
	if us.ended {
		return
	}
	h := us.conn.h2
	l.roomUp(h, len(us.tail)+64)
	at := len(h.out)
	if len(us.tail) == 0 {
		h.out = http2.AppendFrameHeader(h.out, http2.FrameHeader{Type: http2.Data, Flags: http2.FlagEndStream, Stream: us.id})
		us.ended = true
		l.soilUp(us.conn)
		return
	}
	out := h.enc.Begin(http2.AppendFrameHeader(h.out, http2.FrameHeader{Type: http2.Headers, Stream: us.id}))
	for line := range bytes.Lines(us.tail) {
		name, value, _ := bytes.Cut(line[:len(line)-len(crlf)], []byte(": "))
		out = h.enc.Field(out, name, value)
	}
	h.out = out
	l.endBlock(us, at, true)
}

// dataUp appends as much of p as the windows allow, and gives how much that is.
func (l *loop) dataUp(us *upStream, p []byte, end bool) int {
	conn := us.conn
	h := conn.h2
	if len(p) > 0 && (len(conn.pend) > 0 || len(h.out) >= maxOut) {
		h.full = true
		return 0
	}
	k := int(min(int64(len(p)), max(min(us.sendWin, h.sendWin), 0)))
	if k == 0 {
		return 0
	}
	us.sendWin -= int64(k)
	h.sendWin -= int64(k)
	ends := end && k == len(p) && len(us.tail) == 0
	l.roomUp(h, k+(k/h.peerMax+1)*http2.HeaderSize)
	h.effort.earn(effortPerUse*(k/h.peerMax+1), effortMost)
	for rest := p[:k]; len(rest) > 0; {
		n := min(len(rest), h.peerMax)
		f := http2.FrameHeader{Length: n, Type: http2.Data, Stream: us.id}
		if ends && n == len(rest) {
			f.Flags = http2.FlagEndStream
			us.ended = true
		}
		h.out = append(http2.AppendFrameHeader(h.out, f), rest[:n]...)
		rest = rest[n:]
	}
	l.soilUp(conn)
	return k
}

// awaitUp puts a stream into the list of those that are to go on when they can.
func (l *loop) awaitUp(us *upStream) {
	if us.waits {
		return
	}
	h := us.conn.h2
	us.waits, us.prev, us.after = true, h.lastly, nil
	if h.lastly != nil {
		h.lastly.after = us
	} else {
		h.first = us
	}
	h.lastly = us
	h.queued++
}

func (l *loop) unwaitUp(us *upStream) {
	if !us.waits {
		return
	}
	h := us.conn.h2
	if us.prev != nil {
		us.prev.after = us.after
	} else {
		h.first = us.after
	}
	if us.after != nil {
		us.after.prev = us.prev
	} else {
		h.lastly = us.prev
	}
	us.waits, us.prev, us.after = false, nil, nil
	h.queued--
}

// resumeUps gives each stream that waits a turn.
func (l *loop) resumeUps(u *server) {
	h := u.h2
	for n := h.queued; n > 0 && h.first != nil; n-- {
		us := h.first
		l.unwaitUp(us)
		l.resumeUp(us)
	}
}

func (l *loop) resumeUp(us *upStream) {
	u := us.u
	n := l.dataUp(us, u.pend, us.last)
	if n > 0 {
		l.arm(&u.timer, l.lim.StallTimeout)
	}
	if u.pend = u.pend[n:]; len(u.pend) > 0 {
		l.awaitUp(us)
		return
	}
	l.bufs.put(u.pbuf)
	u.pbuf, u.pend = nil, nil
	if us.last {
		l.endUp(us)
	}
	if e := u.e; e != nil {
		l.requestSent(e)
		l.readClient(e.c)
	}
}
