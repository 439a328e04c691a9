package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lbnode/lbnode/proxy/http1"
)

const (
	// lingerTime is how long the rest of a body is waited for once the answer is complete: a client that
	// is just finishing gets to read the answer, one that goes on for ever is cut off.
	lingerTime = time.Second
	// deadlineStep is how much of BodyTimeout may pass before the deadline is set anew, so that a fast
	// upload does not set it with every read.
	deadlineStep = 8
)

// Guarded is a client connection whose input a http1.Reader guards.
type Guarded interface{ Refused() http1.Reason }

type guardedKey struct{}

// WithGuarded tells the requests of a connection which one it is.
func WithGuarded(ctx context.Context, c Guarded) context.Context {
	return context.WithValue(ctx, guardedKey{}, c)
}

// requestBody is the body of a client's request while it is being forwarded. The transport reads it on a
// goroutine of its own, perhaps even after the answer is complete.
type requestBody struct {
	src     io.ReadCloser
	length  int64 // -1 = unknown
	timeout time.Duration
	rate    int  // see Config.BodyRate
	pace    Pace // if there is a rate; belongs to the reader
	ctl     *http.ResponseController
	shadow  *shadow // gets a copy; may be nil
	conn    Guarded // nil = the connection is not known

	read  atomic.Uint64
	begun atomic.Bool
	eof   atomic.Bool
	err   atomic.Pointer[error] // what reading from the client failed with
	keep  *replay               // nil = the body goes to one backend at most
	idle  atomic.Pointer[idleTimer]

	from http.Header // where the client's trailers turn up
	to   http.Header // where the backend's request wants them, filled before EOF is returned

	mu    sync.Mutex // guards the rest: no deadline may be set once the request has ended
	ended bool
	armed time.Time
}

func newRequestBody(r *http.Request, ctl *http.ResponseController, timeout time.Duration, rate int) *requestBody {
	b := &requestBody{src: r.Body, length: r.ContentLength, timeout: timeout, rate: rate, ctl: ctl}
	b.conn, _ = r.Context().Value(guardedKey{}).(Guarded)
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		b.src, b.length = nil, 0
		b.eof.Store(true)
		return b
	}
	if r.ProtoMajor == 1 {
		// Else net/http would read the whole body before it lets an early answer out.
		_ = ctl.EnableFullDuplex() // only fails on writers of tests, which need none
	}
	for name := range r.Trailer {
		if trailerAllowed(name) {
			if b.to == nil {
				b.to = http.Header{}
			}
			b.to[name] = nil // announced
		}
	}
	b.from = r.Trailer
	return b
}

// replayable says that another backend could get all of the body.
func (b *requestBody) replayable() bool {
	return !b.begun.Load() || b.keep != nil && b.failure() == nil && b.keep.intact()
}

// mustClose says that an answer that begins now has to announce the end of an HTTP/1.1 connection: if the body
// is not complete it may never be, and net/http in full duplex would take what comes later for a request.
func (b *requestBody) mustClose(r *http.Request) bool { return r.ProtoMajor == 1 && !b.eof.Load() }

// failure is what reading from the client failed with, or nil.
func (b *requestBody) failure() error {
	if e := b.err.Load(); e != nil {
		return *e
	}
	return nil
}

// timedOut says that the client's body stood still for too long.
func (b *requestBody) timedOut() bool { return errors.Is(b.failure(), os.ErrDeadlineExceeded) }

// broken says that the client's body is not what its framing promised, as opposed to a client that left.
func (b *requestBody) broken() bool {
	var e *http1.Error
	f := b.failure()
	// net/http hides what it met in a trailer section: ask the connection.
	return errors.As(f, &e) || b.timedOut() || f != nil && b.conn != nil && b.conn.Refused() != http1.OK
}

// attach gives the body for one attempt.
func (b *requestBody) attach(out *http.Request) {
	if b.src == nil {
		return
	}
	out.Body, out.ContentLength = &attemptBody{b: b}, b.length
	if b.length < 0 {
		out.Trailer = b.to
	}
}

// end is called when the request has ended, and gives the number of bytes read. Whoever still reads gets
// little time.
func (b *requestBody) end(w http.ResponseWriter, r *http.Request) uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = true
	if !b.eof.Load() && r.ProtoMajor == 1 {
		_ = b.ctl.SetReadDeadline(time.Now().Add(lingerTime)) // a closed connection needs none
	}
	return b.read.Load()
}

// arm moves the deadline of the next read.
func (b *requestBody) arm() {
	d := b.pace.Patience(b.timeout, b.rate)
	if d == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if b.ended || b.rate == 0 && now.Sub(b.armed) < d/deadlineStep {
		return
	}
	b.armed = now
	_ = b.ctl.SetReadDeadline(now.Add(d)) // fails only where there are no deadlines
}

// disarm takes the deadline away, as after the body it would hit the wait for the backend.
func (b *requestBody) disarm() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.ended && !b.armed.IsZero() {
		_ = b.ctl.SetReadDeadline(time.Time{})
	}
}

func (b *requestBody) Read(p []byte) (int, error) {
	b.begun.Store(true)
	b.arm()
	n, err := b.paced(p)
	b.read.Add(uint64(n))
	b.shadow.take(p[:n], err == io.EOF)
	if n > 0 {
		b.idle.Load().touch()
	}
	switch {
	case err == io.EOF:
		for name, values := range b.from {
			if trailerAllowed(name) && b.to != nil {
				b.to[name] = values
			}
		}
		b.eof.Store(true)
		b.disarm()
	case err != nil:
		b.err.CompareAndSwap(nil, &err)
	}
	return n, err
}

// paced reads once, and notes how long that took if there is a rate to keep.
func (b *requestBody) paced(p []byte) (int, error) {
	if b.rate == 0 {
		return b.src.Read(p)
	}
	from := time.Now()
	n, err := b.src.Read(p)
	b.pace.Add(n, time.Since(from))
	return n, err
}

// attemptBody is the body as one attempt sees it: closing it ends that attempt's reading and nothing else.
type attemptBody struct {
	b      *requestBody
	at     int // with requestBody.keep: bytes that this attempt has had
	closed atomic.Bool
}

func (a *attemptBody) Read(p []byte) (int, error) {
	if a.closed.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	if a.b.keep == nil {
		return a.b.Read(p)
	}
	n, err := a.b.keep.from(a.b, a.at, p)
	a.at += n
	return n, err
}

func (a *attemptBody) Close() error {
	a.closed.Store(true)
	return nil
}
