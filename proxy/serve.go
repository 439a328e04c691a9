package proxy

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/lbnode/lbnode/proxy/http1"
	"github.com/lbnode/lbnode/proxy/route"
	"github.com/lbnode/lbnode/proxy/upstream"
	"github.com/lbnode/lbnode/stats"
)

// serving is one request on its way through the handler.
type serving struct {
	p      *Proxy
	w      http.ResponseWriter
	r      *http.Request
	start  time.Time
	client Client
	req    route.Request
	x      Exchange
	routed bool // x.Finish is due
	body   *requestBody
	header http.Header // what goes to the backend
	url    url.URL     // but for scheme and host
	socket string      // the Sec-WebSocket-Key, if it is a request for a WebSocket
	ctx    context.Context
	total  *totalTimer

	backend  string
	status   int
	kind     stats.Kind
	reason   string // of an answer of our own
	trail    Trail
	id       string // of the request and its trace, once they are known
	trace    string
	last     spent
	bytesOut uint64
	tunnel   bool
	partial  bool // the last attempt ended within an answer
	handed   chan handed
}

// ServeHTTP forwards a request to a backend, or answers it with a refusal.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s := &serving{p: p, w: w, r: r, start: time.Now(), kind: stats.Internal}
	p.cfg.Stats.Total().Begin()
	defer s.finish() // also when the answer is aborted by a panic
	if f := s.check(); f != nil {
		s.refuse(f)
		return
	}
	if f := p.Route(&s.x, &s.req); f != nil {
		s.refuse(f)
		return
	}
	s.routed = true
	if f := p.Admit(&s.x, &s.req, &s.client); f != nil {
		s.refuse(f)
		return
	}
	if h := (*p.mounted.Load())[s.x.Target.Kind]; h != nil {
		s.mount(h)
		return
	}
	s.forward()
}

// finish counts the request.
func (s *serving) finish() {
	if s.total != nil {
		s.total.stop()
	}
	var in uint64
	if s.body != nil {
		in = s.body.end(s.w, s.r)
		s.body.shadow.end()
	}
	d := time.Since(s.start)
	counted := d
	if s.tunnel {
		counted = -1
	}
	o := outcome(s.status, s.kind, counted, in, s.bytesOut)
	if s.routed {
		s.x.Finish(o)
	}
	s.p.cfg.Stats.Total().Record(o)
	if log := s.p.cfg.AccessLog; log != nil && log.Wants(s.status) {
		log.Log(s.entry(d, in))
	}
}

// spent is the time that the last attempt took.
type spent struct {
	address          string
	whole, firstByte time.Duration
}

// entry is the request as the access log wants it.
func (s *serving) entry(d time.Duration, in uint64) Entry {
	if !s.client.Addr.IsValid() { // refused before anybody asked
		s.client = s.p.client(s.r.RemoteAddr, s.r.TLS != nil, nil)
	}
	if s.id == "" { // it was not forwarded
		s.id, s.trace = s.trail.MarkHeader(RequestHeader(s.r.Header, s.r.Host, s.client))
	}
	e := Entry{
		Start: s.start, Duration: d, Client: s.client.Addr, Proto: s.r.Proto, Method: s.r.Method, Host: Clip(s.r.Host),
		Path: Clip(s.req.Path), Status: s.status, Result: s.kind, Reason: s.reason, Backend: s.backend, Address: s.last.address,
		Attempts: s.x.Attempts(), Upstream: s.last.whole, FirstByte: s.last.firstByte,
		BytesIn: in, BytesOut: s.bytesOut, Frontend: s.x.Frontend, RequestID: s.id, TraceID: s.trace,
	}
	if s.routed {
		e.Route, e.Pool = s.x.Target.RouteID, s.x.Group.Pool
	}
	return e
}

func (s *serving) refuse(f *Refusal) {
	s.status, s.kind, s.reason = f.Status, f.Kind, f.Code
	if s.body != nil && s.body.mustClose(s.r) {
		s.w.Header()["Connection"] = []string{"close"}
	}
	s.bytesOut = f.write(s.w, s.r, s.p.cfg.NodeID)
}

// check validates what net/http leaves to its handlers, above all what came by HTTP/2, and fills s.req.
func (s *serving) check() *Refusal {
	r := s.r
	if r.ProtoMajor == 1 {
		if why, ok := http1.RefusedRequest(r.Method, r.URL.Path); ok {
			return refuseReason(why)
		}
	}
	switch {
	case r.Method == http.MethodConnect || r.Method == http.MethodTrace:
		return refuseMethod
	case !http1.ValidMethod(r.Method):
		return refuseBadMethod
	case r.URL.User != nil:
		return refuseUserInfo
	case r.Host != "" && !http1.ValidHost(r.Host):
		return refuseHost
	}
	path, query, hasQuery := splitTarget(r.RequestURI)
	if !http1.ValidPath(path) || !http1.ValidQuery(query) {
		return refuseTarget
	}
	s.client = s.p.client(r.RemoteAddr, r.TLS != nil, r.Header)
	s.req = route.Request{Method: r.Method, Host: r.Host, Path: path, Query: query, Header: r.Header, Client: s.client.Addr}
	s.url.RawQuery, s.url.ForceQuery = query, hasQuery
	return nil
}

// splitTarget takes a request target apart without changing a byte of its path or query. An absolute-form
// target loses its scheme and host, which are in Request.Host.
func splitTarget(t string) (path, query string, hasQuery bool) {
	if !strings.HasPrefix(t, "/") && t != "*" {
		if _, rest, ok := strings.Cut(t, "://"); ok {
			t = "/"
			if k := strings.IndexAny(rest, "/?"); k >= 0 {
				if t = rest[k:]; t[0] == '?' {
					t = "/" + t
				}
			}
		}
	}
	return strings.Cut(t, "?")
}

// forward tries backends until one answers.
func (s *serving) forward() {
	s.prepare()
	var last upstream.Kind
	for {
		a, f := s.next()
		if f == refuseGone {
			s.answer(upstream.ClientGone)
			return
		}
		if f != nil && s.x.Attempts() == 0 {
			s.refuse(f)
			return
		}
		if f != nil {
			s.refuse(RefusalOf(last)) // nobody else is left, or has room
			return
		}
		s.backend = a.Upstream.ID()
		k, done := s.attempt(a)
		if done {
			return
		}
		if k != upstream.OK && !s.x.Retry(k, !s.partial && s.body.replayable()) {
			s.answer(k)
			return
		}
		last = k
	}
}

// answer tells the client why it gets no answer from a backend, before anything was sent to it.
func (s *serving) answer(k upstream.Kind) {
	if f := RefusalOf(k); f != nil {
		if k == upstream.BadRequest && s.body.timedOut() {
			f = refuseSlowBody
		}
		s.refuse(f)
		return
	}
	// The client is gone: nobody reads an answer.
	s.kind = k.Stats()
	panic(http.ErrAbortHandler)
}

// prepare makes what all attempts share.
func (s *serving) prepare() {
	s.socket = webSocketKey(s.r)
	s.header = RequestHeader(s.r.Header, s.r.Host, s.client)
	s.id, s.trace = s.trail.MarkHeader(s.header)
	s.x.name(s.id)
	if s.socket != "" {
		s.header["Connection"], s.header["Upgrade"] = []string{"Upgrade"}, []string{"websocket"}
	}
	s.x.stripCookie(s.header)
	s.body = newRequestBody(s.r, http.NewResponseController(s.w), s.p.cfg.BodyTimeout, s.p.cfg.BodyRate)
	if s.body.src != nil && s.x.Keeps() {
		s.body.keep = &replay{}
	}
	s.ctx = s.r.Context()
	if d := s.x.Target.Total; d > 0 {
		s.ctx, s.total = newTotalTimer(s.ctx, d)
	}
	s.body.shadow = s.newShadow()
}

// mount lets a mounted handler answer.
func (s *serving) mount(h http.Handler) {
	c := &countingWriter{ResponseWriter: s.w}
	r := new(http.Request)
	*r = *s.r
	r.Header = mountedHeader(s.r.Header, s.client.scheme(&s.req), s.client.Trusted)
	h.ServeHTTP(c, r)
	s.status, s.bytesOut, s.kind = c.status, c.bytes, stats.OK
	if s.status == 0 {
		s.status = http.StatusOK
	}
}

// countingWriter counts what a mounted handler writes.
type countingWriter struct {
	http.ResponseWriter
	status int
	bytes  uint64
}

func (c *countingWriter) WriteHeader(status int) {
	if c.status == 0 && status >= 200 {
		c.status = status
	}
	c.ResponseWriter.WriteHeader(status)
}

func (c *countingWriter) Write(b []byte) (int, error) {
	if c.status == 0 {
		c.status = http.StatusOK
	}
	n, err := c.ResponseWriter.Write(b)
	c.bytes += uint64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach flushing, deadlines and hijacking.
func (c *countingWriter) Unwrap() http.ResponseWriter { return c.ResponseWriter }
