package http1

import (
	"io"
	"sync/atomic"
)

// AnswerReader guards the client side of an HTTP/1.1 connection for a client that is less strict, such as
// net/http's: it reads responses from a backend and lets through what this package accepts, with heads written
// anew. Hop-by-hop fields are gone, the framing is restated, and a connection that must not go on says close.
//
// A refused head never arrives; in its place comes a line that is no HTTP, so that the client does not take the
// loss of the connection for a reason to ask again. A body whose framing is broken ends in a read error, an *Error,
// and so does whatever comes unasked. One request is answered at a time: Sent tells of each.
//
// Read is for one goroutine at a time; Sent may be called by another one.
type AnswerReader struct {
	src   io.Reader
	lim   Limits
	asked atomic.Uint32 // 1 + verb of the request that is being answered; 0 = none
	state answerState
	resp  Response
	chunk Chunked
	left  int64
	hold  []byte // head that is not complete
	in    []byte // read, not looked at
	out   []byte // cleared, not yet asked for
	buf   []byte // backing of in
	obuf  []byte // backing of out
	err   error  // once out is empty, for ever
}

type answerState uint8

const (
	answerHead answerState = iota
	answerLength
	answerChunked
	answerPass // up to the end of the connection
)

const answerBuffer = 16 << 10

// NewAnswerReader makes a reader for a new connection.
func NewAnswerReader(src io.Reader, lim Limits) *AnswerReader {
	return &AnswerReader{src: src, lim: lim}
}

// AnswerLimits bounds responses whose head may have this many bytes.
func AnswerLimits(head int) Limits {
	l := DefaultLimits()
	l.Head, l.Fields = max(head, l.Line+4), 256
	return l
}

// Sent tells of bytes that are written to the backend. Those of a new request must begin with its method.
func (r *AnswerReader) Sent(p []byte) {
	if r.asked.Load() != 0 {
		return // the rest of a request
	}
	end := 0
	for end < len(p) && end <= maxMethod && p[end] != ' ' {
		end++
	}
	r.asked.Store(1 + uint32(VerbOf(p[:end])))
}

// Read reads cleared bytes. An error of the source passes through.
func (r *AnswerReader) Read(p []byte) (int, error) {
	for {
		switch {
		case len(r.out) > 0:
			n := copy(p, r.out)
			r.out = r.out[n:]
			return n, nil
		case r.err != nil:
			return 0, r.err
		case len(r.in) > 0:
			if n := r.take(p); n > 0 {
				return n, nil
			}
			continue
		case r.state == answerPass:
			return r.src.Read(p)
		}
		if r.buf == nil {
			r.buf = make([]byte, answerBuffer)
		}
		n, err := r.src.Read(r.buf)
		r.in = r.buf[:n]
		if n == 0 && err != nil {
			if len(r.hold) == 0 {
				return 0, err
			}
			// Part of a head: the client must not think that the backend said nothing, and ask again.
			r.out, r.hold, r.err = r.hold[:1], nil, err
		}
		// An error that came with bytes comes again without.
	}
}

// take clears some of the input, into p or r.out.
func (r *AnswerReader) take(p []byte) (n int) {
	switch r.state {
	case answerHead:
		r.head()
	case answerLength:
		n = copy(p[:min(int64(len(p)), r.left)], r.in)
		r.in = r.in[n:]
		if r.left -= int64(n); r.left == 0 {
			r.done()
		}
	case answerChunked:
		k, keep, why := r.chunk.NextFramed(r.in)
		r.out = append(r.obuf[:0], keep...)
		r.in = r.in[k:]
		switch {
		case why.Refused():
			r.in, r.err = nil, why.Err()
		case why == OK:
			r.out = append(r.out, r.chunk.section...)
			r.done()
		}
		r.obuf = r.out
	case answerPass:
		n = copy(p, r.in)
		r.in = r.in[n:]
	}
	return n
}

// done ends an answer. What came along with it is nobody's, and must be gone before the next request is sent: it
// would be taken for that one's answer.
func (r *AnswerReader) done() {
	r.state = answerHead
	if len(r.in) > 0 {
		r.in, r.err = nil, UnaskedResponse.Err()
	}
	r.asked.Store(0)
}

// head waits for a complete head and writes it anew.
func (r *AnswerReader) head() {
	asked := r.asked.Load()
	if asked == 0 {
		r.refuse(UnaskedResponse)
		return
	}
	buf, held := r.in, len(r.hold)
	if held > 0 {
		r.hold = append(r.hold, r.in...)
		buf = r.hold
	}
	n, why := r.resp.Parse(buf, Verb(asked-1), &r.lim)
	switch {
	case why == More:
		if held == 0 {
			r.hold = append(r.hold, r.in...)
		}
		r.in = nil
		return
	case why != OK:
		r.refuse(why)
		return
	case r.resp.Status == 101 && (r.resp.flags&manyUpgrades != 0 || !equalFold(r.resp.UpgradeTo(), "websocket")):
		r.refuse(BadUpgrade)
		return
	}
	c := Conn(0)
	switch {
	case r.resp.Status == 101:
		c = Switch
	case !r.resp.Interim() && !r.resp.KeepAlive():
		c = Close
	}
	r.out, why = r.resp.Append(r.obuf[:0], c)
	r.obuf = r.out
	if why != OK {
		r.refuse(why)
		return
	}
	r.in = r.in[n-held:]
	r.hold = nil
	switch r.resp.Body {
	case ByLength:
		r.state, r.left = answerLength, r.resp.Length
	case ByChunks:
		r.state = answerChunked
		r.chunk.Reset(&r.lim)
	case UntilClose, Tunnel:
		r.state = answerPass
	default:
		if !r.resp.Interim() {
			r.done()
		}
	}
}

// refuse ends the stream with something that is no HTTP.
func (r *AnswerReader) refuse(why Reason) {
	r.in, r.hold, r.err = nil, nil, why.Err()
	r.out = append(r.obuf[:0], "refused: "+why.String()+"\r\n\r\n"...)
	r.obuf = r.out
}
