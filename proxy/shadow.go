package proxy

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lbnode/lbnode/proxy/shape"
	"github.com/lbnode/lbnode/proxy/upstream"
	"github.com/lbnode/lbnode/stats"
)

const (
	// HeaderShadow marks a copy of a request; its value is the route's id.
	HeaderShadow = "X-Lbnode-Shadow"
	// MaxShadowBody is the largest body that is copied, in bytes. A request with a larger one is not mirrored.
	MaxShadowBody = 64 << 10
	// MaxShadows is how many copies a node may have under way. Further ones are not sent.
	MaxShadows    = 256
	shadowTimeout = 10 * time.Second
	shadowAnswer  = 1 << 20 // read of an answer, so that its connection can be used again
)

// shadows are the copies of requests that are under way.
type shadows struct {
	n      atomic.Int64
	mu     sync.Mutex // guards the rest
	closed bool
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// start runs one copy on a goroutine of its own; false if there are too many.
func (s *shadows) start(f func(context.Context)) bool {
	if s.n.Add(1) > MaxShadows {
		s.n.Add(-1)
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		s.n.Add(-1)
		return false
	}
	if s.ctx == nil {
		s.ctx, s.cancel = context.WithCancel(context.Background())
	}
	ctx := s.ctx
	s.wg.Go(func() {
		defer s.n.Add(-1)
		f(ctx)
	})
	return true
}

func (s *shadows) close() {
	s.mu.Lock()
	s.closed = true
	if s.cancel != nil {
		s.cancel()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// shadow is the copy of one request while its body passes. A nil shadow takes everything and does nothing.
type shadow struct {
	s    *serving
	body []byte
	over bool // the body is too large
	sent atomic.Bool
}

// newShadow decides whether a request is mirrored, and sends the copy of one without a body.
func (s *serving) newShadow() *shadow {
	m := s.x.Target.Mirror
	if m == nil || s.socket != "" || !shape.Chance(m.Percent) {
		return nil
	}
	d := &shadow{s: s}
	if s.body.length > MaxShadowBody {
		d.over = true
	}
	if s.body.src == nil {
		d.send()
	}
	return d
}

// take copies what passes. It is called by one goroutine.
func (d *shadow) take(p []byte, end bool) {
	if d == nil || d.sent.Load() {
		return
	}
	if len(d.body)+len(p) > MaxShadowBody {
		d.over, d.body = true, nil
	}
	if !d.over {
		d.body = append(d.body, p...)
	}
	if end && !d.over {
		d.send()
	}
}

// end counts a copy that was not sent, as its body was too large or never complete.
func (d *shadow) end() {
	if d != nil && d.sent.CompareAndSwap(false, true) {
		d.s.x.Target.Stats.Count(stats.MirrorSkipped)
	}
}

// send sends the copy. Whatever comes of it, the request itself never waits for it or hears of it.
func (d *shadow) send() {
	if !d.sent.CompareAndSwap(false, true) {
		return
	}
	s := d.s
	kind, group, key := stats.MirrorSkipped, s.x.MirrorGroup(), s.x.Target.Mirror.Target.Key(&s.req)
	defer func() { s.x.Target.Stats.Count(kind) }()
	u, mode := group.Pick(key, nil)
	if u == nil {
		return
	}
	a, ok := u.Begin(mode)
	if !ok {
		return
	}
	if a.Endpoint == nil {
		a.End(upstream.Outcome{Kind: upstream.ConnectFailed, Err: errNoEndpoint})
		return
	}
	out := s.outgoingTo(a)
	out.Header = maps.Clone(out.Header)
	out.Header[HeaderShadow] = []string{s.x.Target.RouteID}
	out.Body, out.ContentLength, out.Trailer = nil, 0, nil
	if len(d.body) > 0 {
		out.Body, out.ContentLength = io.NopCloser(bytes.NewReader(d.body)), int64(len(d.body))
	}
	size := len(d.body)
	if !s.p.shadows.start(func(ctx context.Context) { mirror(ctx, a, out, size) }) {
		a.End(upstream.Outcome{Kind: upstream.ClientGone})
		return
	}
	kind = stats.Mirrored
}

// mirror sends a copy and throws the answer away.
func mirror(ctx context.Context, a upstream.Attempt, out *http.Request, size int) {
	ctx, cancel := context.WithTimeout(ctx, shadowTimeout)
	defer cancel()
	o := upstream.Outcome{BytesIn: uint64(size)}
	defer func() { a.End(o) }()
	resp, err := a.Endpoint.Transport.RoundTrip(out.WithContext(ctx))
	if err != nil {
		o.Kind, o.Err = upstream.Reset, err
		if ctx.Err() != nil {
			o.Kind = upstream.TotalTimeout
		}
		return
	}
	defer resp.Body.Close()
	o.Status, o.FirstByte = resp.StatusCode, a.Elapsed()
	n, _ := io.CopyN(io.Discard, resp.Body, shadowAnswer) // whatever ends it
	o.BytesOut = uint64(n)
}
