package proxy

import (
	"net/http"
	"net/textproto"
	"strings"
	"time"

	"github.com/lbnode/lbnode/proxy/http1"
	"github.com/lbnode/lbnode/proxy/route"
	"github.com/lbnode/lbnode/proxy/shape"
	"github.com/lbnode/lbnode/proxy/upstream"
	"github.com/lbnode/lbnode/state"
	"github.com/lbnode/lbnode/stats"
)

// shaped is what the shape of a route makes of one request. It refers to none of the request's memory.
type shaped struct {
	*shape.Shape
	path string // to send
	vars shape.Vars
}

// Admit does what a route does to a request before a backend is chosen: it may refuse it, as too much for a
// rate limit, or answer it with a redirect. It is called once after Route, by the engine that serves the request.
func (p *Proxy) Admit(x *Exchange, r *route.Request, c *Client) *Refusal {
	s := x.Target.Shape
	if s == nil {
		return nil
	}
	if l := s.Limit; l != nil {
		key := ""
		if l.Per.Source != "" {
			key = route.Part(r, l.Per)
		}
		if wait := l.Allow(key, time.Since(p.start)); wait > 0 {
			f := refusal(l.Status, "rate_limited", "there are more requests than the route's rate limit lets through", stats.RateLimited, false)
			f.Retry = int((wait + time.Second - 1) / time.Second)
			return f
		}
	}
	path, f := rewritten(s, r.Path)
	if f != nil {
		return f
	}
	x.shaped = &shaped{Shape: s, path: strings.Clone(path), vars: shape.Vars{
		Client: c.Addr, Host: strings.Clone(r.Host), Path: strings.Clone(r.Path), Route: x.Target.RouteID,
	}}
	if s.Redirect == nil {
		return nil
	}
	to, here, ok := s.Redirect.Location(shape.From{
		Scheme: c.scheme(r), Host: r.Host, Path: r.Path, To: path, Query: r.Query, Vars: &x.shaped.vars,
	})
	switch {
	case !ok:
		return refuseRewrite
	case here:
		return nil // at its goal already: the route's pool serves it
	}
	f = refusal(s.Redirect.Status, "redirect", "", stats.OK, false)
	f.Location = to
	return f
}

// rewritten is the path that a route sends. A path with several readings is not rewritten but refused, and so is
// a result with several: what is cut off and put together here must mean the same to the backend.
func rewritten(s *shape.Shape, path string) (string, *Refusal) {
	if !s.Rewrites() {
		return path, nil
	}
	if !route.SameReading(path) {
		return "", refuseAmbiguous
	}
	out, ok := s.Path(path)
	if !ok || !route.SameReading(out) {
		return "", refuseRewrite
	}
	return out, nil
}

// scheme is that of the URL which the client used.
func (c *Client) scheme(r *route.Request) string {
	if c.Trusted && r.Header != nil {
		if v := r.Header.Values("X-Forwarded-Proto"); len(v) == 1 && (v[0] == "http" || v[0] == "https") {
			return v[0]
		}
	}
	if c.TLS {
		return "https"
	}
	return "http"
}

// name tells the id of a request whose fields are those of package net/http.
func (x *Exchange) name(id string) {
	if x.shaped != nil {
		x.shaped.vars.RequestID = id
	}
}

// on gives the variables of an attempt. A copy: that of a mirrored request is made by another goroutine.
func (s *shaped) on(backend string) *shape.Vars {
	v := s.vars
	v.Backend = backend
	return &v
}

// hostFor is the Host for a backend, "" for the request's own.
func (s *shaped) hostFor(ep *upstream.Endpoint) string {
	if s.Host != state.HostBackend {
		return s.Host
	}
	host := ep.HostPort
	h, port := http1.SplitHost(host)
	if ep.Scheme == "http" && port == "80" || ep.Scheme == "https" && port == "443" {
		return h
	}
	return host
}

// headerFields are those of package net/http.
type headerFields http.Header

// Remove implements shape.Fields.
func (h headerFields) Remove(name string) { delete(h, textproto.CanonicalMIMEHeaderKey(name)) }

// Add implements shape.Fields.
func (h headerFields) Add(name, value string) {
	name = textproto.CanonicalMIMEHeaderKey(name)
	// A new slice: values may be shared with another message.
	h[name] = append(h[name][:len(h[name]):len(h[name])], value)
}

// wireFields are those of package http1.
type wireFields struct{ *http1.Head }

// Remove implements shape.Fields.
func (w wireFields) Remove(name string) {
	w.DropFunc(func(f *http1.Field) bool { return strings.EqualFold(text(f.Name()), name) })
}

// Add implements shape.Fields.
func (w wireFields) Add(name, value string) { w.Head.Add([]byte(name), []byte(value)) }

// Forward makes of a parsed request what goes to a backend: what the route's shape makes of it, and what
// Client.Forward says.
func (x *Exchange) Forward(c *Client, r *http1.Request, a upstream.Attempt, scratch []byte) []byte {
	s := x.shaped
	if s == nil {
		return c.Forward(r, a.Endpoint, scratch)
	}
	s.vars.RequestID = string(r.Get(http1.XRequestID)) // Trail.Mark has seen to it
	r.Path = []byte(s.path)
	scratch = c.Forward(r, a.Endpoint, scratch)
	if host := s.hostFor(a.Endpoint); host != "" {
		r.Host = []byte(host)
	}
	if s.Request != nil {
		s.Request.Apply(wireFields{&r.Head}, s.on(a.Upstream.ID()))
	}
	return scratch
}

// Answer changes the fields of a backend's final answer as the route's shape says.
func (x *Exchange) Answer(r *http1.Response, backend string) {
	if s := x.shaped; s != nil && s.Response != nil {
		s.Response.Apply(wireFields{&r.Head}, s.on(backend))
	}
}

// forwardHeader is Forward for fields of package net/http; in is not changed.
func (x *Exchange) forwardHeader(in http.Header, backend string) http.Header {
	s := x.shaped
	if s == nil || s.Request == nil {
		return in
	}
	out := make(http.Header, len(in)+4)
	for name, values := range in {
		out[name] = values
	}
	s.Request.Apply(headerFields(out), s.on(backend))
	if _, ok := out["User-Agent"]; !ok {
		out["User-Agent"] = []string{""} // keeps net/http from sending its own
	}
	return out
}

// answerHeader is Answer for fields of package net/http.
func (x *Exchange) answerHeader(out http.Header, backend string) {
	s := x.shaped
	if s == nil || s.Response == nil {
		return
	}
	s.Response.Apply(headerFields(out), s.on(backend))
	if _, ok := out["Date"]; !ok && s.Response.Removes("Date") {
		out["Date"] = nil // keeps net/http from making one
	}
}
