package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lbnode/lbnode/proxy/http1"
	"github.com/lbnode/lbnode/proxy/upstream"
)

// Causes with which an attempt's context is cancelled.
var (
	errConnectTimeout   = errors.New("connect timeout")
	errFirstByteTimeout = errors.New("first byte timeout")
	errTotalTimeout     = errors.New("total timeout")
	errEnded            = errors.New("attempt ended")
	errTooManyInterim   = errors.New("too many interim responses")
	errBadStatus        = errors.New("status is none of HTTP")
	errUpgrade          = errors.New("101 that does not answer what was asked")
)

// maxInterim bounds 1xx responses to one request.
const maxInterim = 16

// phase is how far an attempt has come.
type phase = int32

const (
	connecting phase = iota
	connected
	waiting // the request is sent
	answered
	timedOut
)

// attempt is one request to one backend while its answer is awaited.
type attempt struct {
	s      *serving
	cancel context.CancelCauseFunc
	phase  atomic.Int32
	late   atomic.Bool // a connection came after the connect timeout
	dial   *time.Timer // nil = no timeout
	cut    upstream.Running
	idle   *idleTimer // nil = no timeout

	mu      sync.Mutex  // guards the rest, which interim responses and the timers' start use
	first   *time.Timer // nil = no timeout
	over    bool
	interim int
}

// attempt sends the request to a backend and passes the answer on. done means that an answer was begun;
// otherwise the kind says why there was none.
func (s *serving) attempt(a upstream.Attempt) (k upstream.Kind, done bool) {
	ctx, cancel := context.WithCancelCause(s.ctx)
	t := &attempt{s: s, cancel: cancel}
	a.Upstream.Track(&t.cut, cancel)
	if d := s.x.Target.Connect; d > 0 {
		t.dial = time.AfterFunc(d, func() { t.expire(connecting, errConnectTimeout) })
	}
	t.idle = newIdleTimer(s.x.Target.Idle, cancel)
	s.body.idle.Store(t.idle)
	resp, err := a.Endpoint.Transport.RoundTrip(s.outgoing(t.trace(ctx), a))
	t.settle()
	o := upstream.Outcome{FirstByte: a.Elapsed()}
	switch {
	case err != nil:
		o.FirstByte = 0
		o.Kind, o.Err = t.classify(ctx, err), err
		s.partial = errors.Is(err, io.ErrUnexpectedEOF) // a part of an answer has come
	case resp.StatusCode == http.StatusSwitchingProtocols:
		t.idle.stop()
		if o.Err = s.upgrade(ctx, cancel, a.Upstream, resp); o.Err == nil {
			o.Status, o.Duration, done = s.status, -1, true
			break
		}
		o.Kind = upstream.BadResponse
		resp.Body.Close()
	case resp.StatusCode < 200 || resp.StatusCode > 599 || resp.ProtoMajor > 2:
		o.Kind, o.Err = upstream.BadResponse, errBadStatus
		resp.Body.Close()
	case s.x.RetryStatus(resp.StatusCode, s.body.replayable()):
		o.Status = resp.StatusCode
		resp.Body.Close()
	default:
		o.Status, done = resp.StatusCode, true
		s.setCookie(a.Upstream, resp)
		o.Kind, o.Err = s.respond(ctx, t, resp)
	}
	t.idle.stop()
	a.Upstream.Untrack(&t.cut)
	cancel(errEnded)
	o.BytesIn, o.BytesOut = s.body.read.Load(), s.bytesOut
	s.last = spent{a.Endpoint.HostPort, a.Elapsed(), o.FirstByte}
	a.End(o)
	if !done {
		return o.Kind, false
	}
	s.kind = o.Kind.Stats()
	if o.Kind != upstream.OK {
		// The client must see that the answer is not complete: RFC 9112 §8.
		panic(http.ErrAbortHandler)
	}
	return o.Kind, true
}

// outgoing makes the request for a backend. The path and query go as they came, byte for byte, after the
// base path of the backend's address.
func (s *serving) outgoing(ctx context.Context, a upstream.Attempt) *http.Request {
	out := s.outgoingTo(a)
	s.body.attach(out)
	if a.Endpoint.Proxy != "" {
		src, dst := s.addrs()
		ctx = upstream.WithClient(ctx, src, dst)
	}
	return out.WithContext(ctx)
}

// outgoingTo is outgoing without the body.
func (s *serving) outgoingTo(a upstream.Attempt) *http.Request {
	u, ep, sent, host := s.url, a.Endpoint, s.req.Path, s.r.Host
	if x := s.x.shaped; x != nil {
		sent = x.path
		if h := x.hostFor(ep); h != "" {
			host = h
		}
	}
	u.Scheme, u.Host = ep.Scheme, ep.HostPort
	path := ep.Base + sent
	if sent == "*" {
		path = "*"
	}
	if strings.HasPrefix(path, "//") {
		// Opaque would be taken for an authority. Path and RawPath give the same bytes for all paths that
		// are escaped as net/url would, and equivalent ones for the rest.
		u.RawPath = path
		if u.Path, _ = url.PathUnescape(path); u.Path == "" {
			u.Path = path
		}
	} else {
		u.Opaque = path
	}
	out := &http.Request{
		Method: s.r.Method, URL: &u, Host: host, Header: s.x.forwardHeader(s.header, a.Upstream.ID()),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	if out.Host == "" { // HTTP/1.0 without Host: RFC 9112 §3.2 wants one from us
		out.Host = ep.HostPort
	}
	return out
}

// trace follows the attempt through the transport.
func (t *attempt) trace(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) {
			// A second one: the transport found a kept-alive connection closed and starts over.
			if t.phase.CompareAndSwap(connected, connecting) && t.dial != nil {
				t.dial.Reset(t.s.x.Target.Connect)
			}
		},
		GotConn: func(httptrace.GotConnInfo) {
			if !t.phase.CompareAndSwap(connecting, connected) {
				t.late.Store(true)
			}
			if t.dial != nil {
				t.dial.Stop()
			}
		},
		WroteRequest: func(i httptrace.WroteRequestInfo) {
			if d := t.s.x.Target.FirstByte; d > 0 && i.Err == nil && t.phase.CompareAndSwap(connected, waiting) {
				t.mu.Lock()
				defer t.mu.Unlock()
				if !t.over {
					t.first = time.AfterFunc(d, func() { t.expire(waiting, errFirstByteTimeout) })
				}
			}
		},
		Got1xxResponse: t.forwardInterim,
	})
}

// expire ends the attempt if it is still in the phase that took too long.
func (t *attempt) expire(in phase, cause error) {
	if t.phase.CompareAndSwap(in, timedOut) {
		t.cancel(cause)
	}
}

// settle stops the timers once there is an answer or an error.
func (t *attempt) settle() {
	if t.dial != nil {
		t.dial.Stop()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = true
	if t.first != nil {
		t.first.Stop()
	}
	if t.phase.Load() == waiting {
		t.phase.CompareAndSwap(waiting, answered)
	}
}

// classify says what an error of the transport means.
func (t *attempt) classify(ctx context.Context, err error) upstream.Kind {
	if f := t.s.body.failure(); f != nil {
		if t.s.body.broken() {
			return upstream.BadRequest
		}
		return upstream.ClientGone
	}
	switch context.Cause(ctx) {
	case nil:
	case errConnectTimeout:
		if t.late.Load() {
			return upstream.FirstByteTimeout // not connect: something may have been sent
		}
		return upstream.ConnectTimeout
	case errFirstByteTimeout:
		return upstream.FirstByteTimeout
	case errTotalTimeout:
		return upstream.TotalTimeout
	case upstream.ErrDrained:
		return upstream.DrainClosed
	case errIdleTimeout:
		return upstream.IdleTimeout
	default:
		return upstream.ClientGone
	}
	switch {
	case t.phase.Load() == connecting:
		return upstream.ConnectFailed
	case malformed(err):
		return upstream.BadResponse
	}
	return upstream.Reset
}

// malformed tells a backend that breaks HTTP from one that breaks off. net/http has hardly any types for
// it, so this goes by its words; a wrong guess changes the code in the answer, not the status.
func malformed(err error) bool {
	var proto textproto.ProtocolError
	var strict *http1.Error
	if errors.As(err, &strict) || errors.As(err, &proto) || errors.Is(err, errTooManyInterim) {
		return true
	}
	text := err.Error()
	for _, word := range []string{"malformed", "invalid", "unsupported", "multiple", "exceeded", "too many", "too large", "bad ", "PROTOCOL_ERROR"} {
		if strings.Contains(text, word) {
			return true
		}
	}
	return false
}

// forwardInterim passes a 1xx response on, such as 103 Early Hints. 100 is between us and the backend: the
// server sends its own once the body is read.
func (t *attempt) forwardInterim(status int, h textproto.MIMEHeader) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.interim++; t.interim > maxInterim {
		return errTooManyInterim
	}
	s := t.s
	if t.over || status == http.StatusContinue || status < 102 || status > 199 || !s.r.ProtoAtLeast(1, 1) {
		return nil
	}
	out := s.w.Header()
	own := out["Connection"] // an engine that drains has said close, which is for the final response
	delete(out, "Connection")
	ResponseHeader(out, http.Header(h))
	s.w.WriteHeader(status)
	clear(out)
	if own != nil {
		out["Connection"] = own
	}
	return nil
}

// totalTimer bounds a whole exchange.
type totalTimer struct {
	timer  *time.Timer
	cancel context.CancelCauseFunc
}

func newTotalTimer(parent context.Context, d time.Duration) (context.Context, *totalTimer) {
	ctx, cancel := context.WithCancelCause(parent)
	return ctx, &totalTimer{time.AfterFunc(d, func() { cancel(errTotalTimeout) }), cancel}
}

// release lifts the bound.
func (t *totalTimer) release() { t.timer.Stop() }

func (t *totalTimer) stop() {
	t.timer.Stop()
	t.cancel(errEnded)
}
