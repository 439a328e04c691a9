package proxy

import (
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"github.com/lbnode/lbnode/proxy/http1"
	"github.com/lbnode/lbnode/proxy/upstream"
	"github.com/lbnode/lbnode/stats"
)

// This file is for engines that do not stand on net/http: the same decisions on the messages of package
// http1, without an allocation.

// NodeID is the id shown in answers of our own.
func (p *Proxy) NodeID() string { return p.cfg.NodeID }

// BodyTimeout is how long a request's body may stand still. 0 = for ever.
func (p *Proxy) BodyTimeout() time.Duration { return p.cfg.BodyTimeout }

// BodyRate is how fast a request's body must come; see Config.
func (p *Proxy) BodyRate() int { return p.cfg.BodyRate }

// AccessLog is where requests are logged; nil = nowhere.
func (p *Proxy) AccessLog() AccessLog { return p.cfg.AccessLog }

// Upstream says how backends are reached.
func (p *Proxy) Upstream() upstream.Config { return p.cfg.Upstream }

// Mounted says whether a handler is mounted for a kind.
func (p *Proxy) Mounted(kind string) bool {
	m := *p.mounted.Load()
	return len(m) > 0 && m[kind] != nil
}

// Abandon takes a request back that Route has counted, because another engine is going to route it again.
func (x *Exchange) Abandon() { x.Target.Stats.Abandon() }

// Outcome is what is counted of a request in the end. Shard is 1 + the number of the event loop.
func Outcome(status int, k stats.Kind, d time.Duration, in, out uint64, shard int) stats.Outcome {
	o := outcome(status, k, d, in, out)
	o.Shard = shard
	return o
}

// RefuseReason is the answer to a request that breaks HTTP/1.1.
func RefuseReason(why http1.Reason) *Refusal { return refuseReason(why) }

// RefuseVerb is the answer to requests that are never forwarded, nil for all others.
func RefuseVerb(v http1.Verb) *Refusal {
	if v == http1.CONNECT || v == http1.TRACE {
		return refuseMethod
	}
	return nil
}

// RefuseSlowBody is the answer to a request whose body stalls, if there is none from a backend yet.
func RefuseSlowBody() *Refusal { return refuseSlowBody }

// Append appends the whole HTTP/1.1 answer to a request: head, and a body unless the request was a HEAD.
func (f *Refusal) Append(dst []byte, node string, verb http1.Verb, c http1.Conn) []byte {
	var buf [512]byte
	body := f.AppendBody(buf[:0], node)
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(f.Status), 10)
	dst = append(dst, ' ')
	dst = append(dst, http.StatusText(f.Status)...)
	if f.Location != "" {
		dst = append(append(dst, "\r\nLocation: "...), f.Location...)
	} else {
		dst = append(dst, "\r\nContent-Type: application/problem+json\r\nCache-Control: no-store"...)
	}
	dst = append(dst, "\r\nContent-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(body)), 10)
	dst = append(dst, "\r\n"+HeaderNode+": "...)
	dst = append(dst, node...)
	dst = append(dst, "\r\n"...)
	if n := f.retryAfter(); n > 0 {
		dst = append(strconv.AppendInt(append(dst, "Retry-After: "...), int64(n), 10), "\r\n"...)
	}
	if f.Status == http.StatusMethodNotAllowed {
		dst = append(dst, "Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n"...)
	}
	switch {
	case c&http1.Close != 0:
		dst = append(dst, "Connection: close\r\n"...)
	case c&http1.Persist != 0:
		dst = append(dst, "Connection: keep-alive\r\n"...)
	}
	dst = append(dst, "\r\n"...)
	if verb == http1.HEAD {
		return dst
	}
	return append(dst, body...)
}

// TrailerAllowed says whether a trailer field may go on.
func TrailerAllowed(f *http1.Field) bool {
	name := f.Name()
	if len(name) > 0 && f.ID() == http1.Other {
		for _, n := range [...]string{"Content-Location", "Age", "Expires", "Date", "Location", "Vary", "Retry-After"} {
			if len(n) == len(name) && strings.EqualFold(n, text(name)) {
				return false
			}
		}
	}
	return true
}

// text views bytes as a string for as long as they stay what they are.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// ClientOf finds out who sent a request, from the connection's other end and, if that is trusted, from the
// forwarding fields.
func (p *Proxy) ClientOf(peer netip.Addr, tls bool, r *http1.Request) Client {
	c := Client{Peer: peer, Addr: peer, TLS: tls}
	if len(p.cfg.TrustedProxies) == 0 || !p.trusts(peer) {
		return c
	}
	c.Trusted = true
	fields := r.Fields()
	for i := len(fields) - 1; i >= 0; i-- {
		if !genuine(&fields[i], http1.XForwardedFor) {
			continue
		}
		var more bool
		if c.Addr, more = p.hops(c.Addr, text(fields[i].Value())); !more {
			break
		}
	}
	return c
}

// hops walks one line of X-Forwarded-For from the nearest hop outwards; more says that all hops so far are ours.
func (p *Proxy) hops(addr netip.Addr, line string) (client netip.Addr, more bool) {
	for rest := line; rest != ""; {
		hop := rest
		if k := strings.LastIndexByte(rest, ','); k >= 0 {
			rest, hop = rest[:k], rest[k+1:]
		} else {
			rest = ""
		}
		a, ok := parseHop(strings.TrimSpace(hop))
		if !ok {
			return addr, false
		}
		if addr = a; !p.trusts(a) {
			return addr, false
		}
	}
	return addr, true
}

// genuine tells a field from its underscore twin, which has the same ID.
func genuine(f *http1.Field, id http1.ID) bool {
	return f.ID() == id && strings.IndexByte(text(f.Name()), '_') < 0
}

// Read only.
var (
	nameFor       = http1.NewName("X-Forwarded-For")
	nameProto     = http1.NewName("X-Forwarded-Proto")
	nameHost      = http1.NewName("X-Forwarded-Host")
	nameReal      = http1.NewName("X-Real-Ip")
	nameForwarded = http1.NewName("Forwarded")
	protoHTTP     = []byte("http")
	protoHTTPS    = []byte("https")
)

// Forward makes of a parsed request what goes to a backend, but for what the codec's Append does: forwarding
// fields that tell the truth (see RequestHeader), the base path of the backend's address, and a Host for
// clients that sent none. New values are appended to scratch, which must live as long as r is used.
func (c *Client) Forward(r *http1.Request, ep *upstream.Endpoint, scratch []byte) []byte {
	peer, scratch := appendAddr(scratch, c.Peer)
	s, chain := len(scratch), peer
	kept := struct{ proto, host, forwarded bool }{}
	if c.Trusted {
		scratch = appendPrior(scratch, r, http1.XForwardedFor)
		if len(scratch) > s {
			scratch = append(scratch, peer...)
			chain = scratch[s:len(scratch):len(scratch)]
		}
		s = len(scratch)
		if scratch = appendPrior(scratch, r, http1.Forwarded); len(scratch) > s {
			kept.forwarded = true
			scratch = c.appendForwarded(scratch, peer)
		}
	}
	forwarded := scratch[s:len(scratch):len(scratch)]
	r.DropFunc(func(f *http1.Field) bool {
		if f.ID() == http1.Other && len(f.Name()) < len("x-forwarded-") {
			return false
		}
		name := text(f.Name())
		if !forwarding(name, f.ID()) {
			return false
		}
		if !c.Trusted || strings.IndexByte(name, '_') >= 0 || f.Hop() {
			return true
		}
		switch f.ID() {
		case http1.XForwardedFor, http1.XRealIP, http1.Forwarded:
			return true
		case http1.XForwardedProto:
			kept.proto = true
		case http1.XForwardedHost:
			kept.host = true
		}
		return false
	})
	// Refused is only a value that is not valid, and all of these are.
	r.AddNamed(nameFor, chain)
	if !kept.proto {
		proto := protoHTTP
		if c.TLS {
			proto = protoHTTPS
		}
		r.AddNamed(nameProto, proto)
	}
	if !kept.host && len(r.Host) > 0 {
		r.AddNamed(nameHost, r.Host)
	}
	real := peer
	if c.Addr != c.Peer && c.Addr.IsValid() {
		real, scratch = appendAddr(scratch, c.Addr)
	}
	r.AddNamed(nameReal, real)
	if kept.forwarded {
		r.AddNamed(nameForwarded, forwarded)
	}
	if len(r.Host) == 0 { // HTTP/1.0 without Host: RFC 9112 §3.2 wants one from us
		s = len(scratch)
		scratch = append(scratch, ep.HostPort...)
		r.Host = scratch[s:len(scratch):len(scratch)]
	}
	if ep.Base != "" && r.Path[0] == '/' {
		s = len(scratch)
		scratch = append(append(scratch, ep.Base...), r.Path...)
		r.Path = scratch[s:len(scratch):len(scratch)]
	}
	return scratch
}

func appendAddr(dst []byte, a netip.Addr) (text, all []byte) {
	s := len(dst)
	if a.IsValid() {
		dst = a.AppendTo(dst)
	} else {
		dst = append(dst, "unknown"...)
	}
	return dst[s:len(dst):len(dst)], dst
}

// appendPrior joins the values of a field, each with a comma after it.
func appendPrior(dst []byte, r *http1.Request, id http1.ID) []byte {
	fields := r.Fields()
	for i := range fields {
		if f := &fields[i]; genuine(f, id) && !f.Hop() {
			dst = append(append(dst, f.Value()...), ", "...)
		}
	}
	return dst
}

// appendForwarded appends the element of RFC 7239 for this hop.
func (c *Client) appendForwarded(dst, peer []byte) []byte {
	dst = append(dst, "for="...)
	if c.Peer.Is6() {
		dst = append(append(append(dst, `"[`...), peer...), `]"`...)
	} else {
		dst = append(dst, peer...)
	}
	if c.TLS {
		return append(dst, ";proto=https"...)
	}
	return append(dst, ";proto=http"...)
}
