//go:build linux

package engine

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/lbnode/lbnode/proxy/http1"
	"github.com/lbnode/lbnode/proxy/http2"
)

// This file is about requests that a loop cannot serve, as their backends speak TLS or HTTP/2, say, on connections
// whose other streams it does serve. The portable engine handles them, each on a goroutine of its own; their frames
// stay with the loop.

const (
	// guestOut is how much of an answer the loop holds for a guest before the guest has to wait.
	guestOut = 64 << 10
	// guestStep is how much of a body a guest takes before the client is given it back.
	guestStep = 16 << 10
)

var (
	errStreamGone = errors.New("the stream has ended")
	errNoBody     = http.ErrBodyNotAllowed
)

// guest is a request between a loop and the goroutine of its handler.
type guest struct {
	l      *loop
	st     *stream // the loop's
	id     uint32  // the stream may have gone and be another one by now
	cancel context.CancelFunc
	noBody bool // HEAD: the loop's

	mu       sync.Mutex // guards the rest
	moved    sync.Cond
	in       []byte
	inEnd    bool
	took     int // of in, since the loop was told
	gone     bool
	late     bool // the handler's deadline for reading has passed
	deadline *time.Timer
	out      int // bytes on their way to the loop, or held there
	trailer  http.Header
}

// invite has a request served by the portable engine. head is the whole of it in HTTP/1.1, body what has come.
func (l *loop) invite(st *stream, head, body []byte) {
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(bytes.Clone(head))))
	if err != nil { // it was parsed by the stricter parser
		l.resetStream(st, http2.ProtocolError, endedByUs)
		return
	}
	ctx, cancel := context.WithCancel(l.e.ctx)
	g := &guest{l: l, st: st, id: st.id, cancel: cancel, noBody: r.Method == http.MethodHead}
	g.moved.L = &g.mu
	st.guest, st.c.state = g, stHead
	conn := st.conn
	peer, local := endsOf(conn.fd)
	if peer.Addr() != conn.peer {
		peer = netip.AddrPortFrom(conn.peer, 0) // a proxy before us has said who the client is
	}
	if local.IsValid() {
		ctx = context.WithValue(ctx, http.LocalAddrContextKey, net.TCPAddrFromAddrPort(local))
	}
	r = r.WithContext(ctx)
	r.Proto, r.ProtoMajor, r.ProtoMinor, r.RemoteAddr = protoHTTP2, 2, 0, peer.String()
	r.TransferEncoding = nil
	delete(r.Header, "Connection") // says TE, which is HTTP/1.1's
	if conn.tls != nil {
		s := conn.tls.conn.ConnectionState()
		r.TLS = &s
	}
	g.trailer = r.Trailer
	if st.end && len(body) == 0 && len(st.trailer) == 0 {
		r.Body = http.NoBody
	} else {
		r.Body = &guestBody{g}
		g.in, g.inEnd = bytes.Clone(body), st.end
	}
	l.e.wg.Go(func() { g.serve(r) })
}

// endGuest tells a guest that its stream is no more.
func (l *loop) endGuest(st *stream) {
	g := st.guest
	if g == nil {
		return
	}
	st.guest = nil
	g.cancel()
	g.mu.Lock()
	g.gone = true
	g.mu.Unlock()
	g.moved.Broadcast()
}

// feed gives a guest what has come of its body.
func (g *guest) feed(p []byte, end bool) {
	g.mu.Lock()
	g.in = append(g.in, p...) // bounded by the stream's window
	if end {
		if len(g.st.trailer) > 0 && !g.inEnd {
			g.takeTrailer(g.st.trailer)
		}
		g.inEnd = true
	}
	g.mu.Unlock()
	g.moved.Broadcast()
}

// takeTrailer fills in the trailers that were announced, as net/http does.
func (g *guest) takeTrailer(section []byte) {
	for line := range strings.Lines(string(section)) {
		name, value, ok := strings.Cut(strings.TrimSuffix(line, "\r\n"), ": ")
		name = http.CanonicalHeaderKey(name)
		if _, announced := g.trailer[name]; ok && announced {
			g.trailer[name] = append(g.trailer[name], value)
		}
	}
}

// serve runs the handler.
func (g *guest) serve(r *http.Request) {
	w := &guestWriter{g: g, header: http.Header{}}
	defer g.cancel()
	defer func() {
		g.stopDeadline()
		if v := recover(); v != nil {
			if v != any(http.ErrAbortHandler) {
				g.l.e.cfg.Logger.Error("handler panicked", "panic", v)
			}
			g.post(func(st *stream) { g.l.resetStream(st, http2.InternalError, endedByUs) })
			return
		}
		w.finish()
	}()
	g.l.e.portable.ServeHTTP(w, r)
}

// post runs f on the loop, if the stream is still there then.
func (g *guest) post(f func(*stream)) {
	g.l.post(func() {
		if g.st.guest == g && g.st.id == g.id {
			f(g.st)
		}
	})
}

// guestFlushed tells a guest that the loop holds nothing of its answer any more.
func (l *loop) guestFlushed(st *stream) {
	g := st.guest
	g.mu.Lock()
	g.out = 0
	g.mu.Unlock()
	g.moved.Broadcast()
}

// guestBody is the body of a guest's request.
type guestBody struct{ g *guest }

func (b *guestBody) Read(p []byte) (int, error) {
	g := b.g
	g.mu.Lock()
	defer g.mu.Unlock()
	for len(g.in) == 0 && !g.inEnd && !g.gone && !g.late {
		g.moved.Wait()
	}
	switch {
	case g.gone:
		return 0, errStreamGone
	case g.late:
		return 0, os.ErrDeadlineExceeded
	case len(g.in) == 0:
		return 0, io.EOF
	}
	n := copy(p, g.in)
	if g.in = g.in[n:]; len(g.in) == 0 {
		g.in = nil
	}
	if g.took += n; g.took >= guestStep || g.in == nil {
		took := g.took
		g.took = 0
		g.post(func(st *stream) { g.l.credit(st, took) })
	}
	return n, nil
}

func (b *guestBody) Close() error { return nil }

func (g *guest) stopDeadline() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.deadline != nil {
		g.deadline.Stop()
	}
}

// guestWriter takes a guest's answer. Its methods are called by one goroutine, but for interim answers.
type guestWriter struct {
	g      *guest
	header http.Header
	status int         // of the final head; 0 = there is none yet
	fields http.Header // of the final head while it waits for what follows; nil = it is on its way
	silent bool        // no body may follow
}

// Header implements http.ResponseWriter.
func (w *guestWriter) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter. A final head waits until it is known whether anything follows: gRPC
// tells an answer that is a head alone by the flag that it ends with.
func (w *guestWriter) WriteHeader(status int) {
	if w.status != 0 {
		return
	}
	fields := http.Header{}
	for name, values := range w.header {
		if !strings.HasPrefix(name, http.TrailerPrefix) && !http1.Identify(name).IsHop() {
			fields[name] = append([]string(nil), values...) // the handler may go on changing them
		}
	}
	if status < 200 {
		w.g.sendHead(status, fields, http2.Open)
		return
	}
	w.status, w.fields = status, fields
	w.silent = w.g.noBody || status == http.StatusNoContent || status == http.StatusNotModified
}

// release sends the final head, if it is still here.
func (w *guestWriter) release(end http2.Stream) {
	w.WriteHeader(http.StatusOK)
	if w.fields != nil {
		w.g.sendHead(w.status, w.fields, end)
		w.fields = nil
	}
}

// sendHead has the loop send a head. fields are the loop's from now on.
func (g *guest) sendHead(status int, fields http.Header, end http2.Stream) {
	g.post(func(st *stream) {
		l, length := g.l, int64(-1)
		l.ours.Reset()
		for name, values := range fields {
			for _, v := range values {
				if http1.Identify(name) != http1.ContentLength {
					l.ours.Add([]byte(name), []byte(strings.Trim(v, " \t"))) // what is not valid is left out
				} else if status >= 200 {
					length = parseDecimal(v)
				}
			}
		}
		l.headers(st, status, l.ours.Fields(), length, end)
	})
}

func parseDecimal(s string) int64 {
	n := int64(0)
	for _, c := range []byte(s) {
		if c-'0' > 9 || n > 1<<56 {
			return -1
		}
		n = n*10 + int64(c-'0')
	}
	return n
}

// Write implements http.ResponseWriter. It waits while the client does not take what was written.
func (w *guestWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.silent {
		return 0, errNoBody
	}
	if len(p) == 0 {
		return 0, nil
	}
	w.release(http2.Open)
	g := w.g
	g.mu.Lock()
	for g.out >= guestOut && !g.gone {
		g.moved.Wait()
	}
	gone := g.gone
	g.out += len(p)
	g.mu.Unlock()
	if gone {
		return 0, errStreamGone
	}
	b := bytes.Clone(p)
	g.post(func(st *stream) {
		g.l.writeStream(st, b, http2.Open)
		if len(st.c.pend) == 0 {
			g.l.guestFlushed(st)
		}
	})
	return len(p), nil
}

// Flush implements http.Flusher: what is written goes out at once anyway.
func (w *guestWriter) Flush() {
	if w.WriteHeader(http.StatusOK); !w.silent {
		w.release(http2.Open)
	}
}

// SetReadDeadline is for http.ResponseController.
func (w *guestWriter) SetReadDeadline(t time.Time) error {
	g := w.g
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.deadline != nil {
		g.deadline.Stop()
		g.deadline, g.late = nil, false
	}
	if !t.IsZero() {
		g.deadline = time.AfterFunc(time.Until(t), func() {
			g.mu.Lock()
			g.late = true
			g.mu.Unlock()
			g.moved.Broadcast()
		})
	}
	return nil
}

// finish ends the answer, with the trailers that the handler has set.
func (w *guestWriter) finish() {
	w.WriteHeader(http.StatusOK)
	tail := http.Header{}
	for name, values := range w.header {
		if real, ok := strings.CutPrefix(name, http.TrailerPrefix); ok {
			tail[real] = values
		}
	}
	for _, line := range w.header["Trailer"] {
		for name := range strings.SplitSeq(line, ",") {
			name = http.CanonicalHeaderKey(strings.TrimSpace(name))
			if v := w.header[name]; len(v) > 0 {
				tail[name] = v
			}
		}
	}
	if w.fields != nil && len(tail) == 0 {
		w.release(http2.Ended)
		w.g.post(func(st *stream) {
			w.g.leave()
			w.g.l.endStream(st)
		})
		return
	}
	w.release(http2.Open)
	w.g.post(func(st *stream) { w.g.l.endAnswer(st, tail) })
}

// endAnswer ends a guest's answer.
func (l *loop) endAnswer(st *stream, tail http.Header) {
	l.ours.Reset()
	for name, values := range tail {
		for _, v := range values {
			l.ours.Add([]byte(name), []byte(strings.Trim(v, " \t"))) // what is not valid is left out
		}
	}
	l.fields = append(l.fields[:0], l.ours.Fields()...)
	st.guest.leave()
	switch {
	case len(l.fields) == 0:
		l.writeStream(st, nil, http2.Ended)
	case len(st.c.pend) == 0:
		l.headers(st, 0, l.fields, -1, http2.Ended)
	default:
		l.keepTail(st)
	}
	l.endStream(st)
}

// leave takes a guest from its stream, which wants nothing more of the client.
func (g *guest) leave() {
	g.st.guest, g.st.deaf = nil, true
	g.mu.Lock()
	defer g.mu.Unlock()
	g.in, g.gone = nil, true
}
