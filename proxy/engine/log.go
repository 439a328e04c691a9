//go:build linux

package engine

import (
	"time"

	"github.com/lbnode/lbnode/proxy"
	"github.com/lbnode/lbnode/proxy/http1"
)

// entry is an exchange that has ended as the access log wants it. Only requests that are logged come here: what
// was parsed at the beginning is parsed once more, so that all others need not keep it.
func (l *loop) entry(e *exchange, d time.Duration) proxy.Entry {
	r := &l.req
	r.Reset()
	if _, why := r.Parse(e.raw, &l.lim.Head); why != http1.OK {
		r.Reset() // cannot be: it was parsed before
	}
	out := proxy.Entry{
		Start: time.Now().Add(-d), Duration: d, Client: e.who.Addr, Proto: "HTTP/1.1",
		Method: string(r.Method), Host: proxy.Clip(r.Host), Path: proxy.Clip(r.Path),
		Status: e.status, Result: e.kind, Reason: e.reason, Attempts: e.x.Attempts(), Upstream: e.spent, FirstByte: e.first,
		BytesIn: e.in, BytesOut: e.out, Frontend: e.x.Frontend,
	}
	if !out.Client.IsValid() {
		out.Client = e.c.peer
	}
	out.RequestID, out.TraceID = e.trail.RequestOf(r)
	switch {
	case e.c.st != nil:
		out.Proto = protoHTTP2
	case e.minor == 0:
		out.Proto = "HTTP/1.0"
	}
	if e.routed {
		out.Route, out.Pool = e.x.Target.RouteID, e.x.Group.Pool
	}
	if e.at.Upstream != nil {
		out.Backend = e.at.Upstream.ID()
		if e.at.Endpoint != nil {
			out.Address = e.at.Endpoint.HostPort
		}
	}
	return out
}
