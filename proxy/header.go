package proxy

import (
	"net/http"
	"net/netip"
	"net/textproto"
	"slices"
	"strings"

	"github.com/lbnode/lbnode/proxy/http1"
)

// Client is who sent a request.
type Client struct {
	Peer    netip.Addr // the other end of the connection
	Addr    netip.Addr // Peer, or whom a trusted peer says it speaks for
	Trusted bool       // Peer is in a trusted network
	TLS     bool
}

// client finds out who sent a request, from the connection's remote address and, if that is trusted, from
// the forwarding fields.
func (p *Proxy) client(remote string, tls bool, h http.Header) Client {
	c := Client{TLS: tls}
	if ap, err := netip.ParseAddrPort(remote); err == nil {
		c.Peer = ap.Addr().Unmap().WithZone("")
	}
	c.Addr = c.Peer
	if len(p.cfg.TrustedProxies) == 0 || !p.trusts(c.Peer) {
		return c
	}
	c.Trusted = true
	// From the nearest hop outwards: the first one that is not ours is the client. What is left of it may
	// be invented.
	lines := h["X-Forwarded-For"]
	for i := len(lines) - 1; i >= 0; i-- {
		var more bool
		if c.Addr, more = p.hops(c.Addr, lines[i]); !more {
			break
		}
	}
	return c
}

func (p *Proxy) trusts(a netip.Addr) bool {
	return slices.ContainsFunc(p.cfg.TrustedProxies, func(n netip.Prefix) bool { return n.Contains(a) })
}

// parseHop takes an address as proxies write it: plain, with a port, in brackets.
func parseHop(s string) (netip.Addr, bool) {
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return a.Unmap(), true
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap(), true
	}
	return netip.Addr{}, false
}

// RequestHeader makes the fields that go to the backend from those that came: without what ends at this hop
// (RFC 9110 §7.6.1, first, so that no Connection option can remove what is set here), and with forwarding
// fields that tell the truth. in is not changed; values are shared with it.
func RequestHeader(in http.Header, host string, c Client) http.Header {
	out := make(http.Header, len(in)+6)
	listed := connectionOptions(in)
	for name, values := range in {
		id := http1.Identify(name)
		switch {
		case id.IsHop() || id == http1.Host || id == http1.ContentLength || id == http1.TransferEncoding || id == http1.Trailer:
			continue
		case slices.Contains(listed, name):
			continue
		case forwarding(name, id) && (!c.Trusted || strings.IndexByte(name, '_') >= 0):
			continue
		case framingTwin(name):
			continue
		}
		out[name] = values
	}
	if tokens(in["Te"], "trailers") {
		out["Te"] = []string{"trailers"}
	}
	if _, ok := out["User-Agent"]; !ok {
		out["User-Agent"] = []string{""} // keeps net/http from sending its own
	}
	setForwarding(out, host, c)
	return out
}

// mountedHeader makes the fields that a mounted handler gets from those that came: all of them, but for forwarding
// fields that nobody vouches for, and with X-Forwarded-Proto for the scheme of the URL that the client used.
func mountedHeader(in http.Header, scheme string, trusted bool) http.Header {
	out := make(http.Header, len(in)+1)
	for name, values := range in {
		if !forwarding(name, http1.Identify(name)) || trusted && strings.IndexByte(name, '_') < 0 {
			out[name] = values
		}
	}
	out["X-Forwarded-Proto"] = []string{scheme}
	return out
}

// setForwarding says who the client is. Behind a trusted proxy the chain grows; otherwise it begins here.
func setForwarding(out http.Header, host string, c Client) {
	peer := "unknown"
	if c.Peer.IsValid() {
		peer = c.Peer.String()
	}
	proto := "http"
	if c.TLS {
		proto = "https"
	}
	chain := peer
	if prior := out["X-Forwarded-For"]; len(prior) > 0 {
		chain = strings.Join(prior, ", ") + ", " + peer
	}
	out["X-Forwarded-For"] = []string{chain}
	setIfNone(out, "X-Forwarded-Proto", proto)
	setIfNone(out, "X-Forwarded-Host", host)
	real := peer
	if c.Addr.IsValid() {
		real = c.Addr.String()
	}
	out["X-Real-Ip"] = []string{real}
	if prior := out["Forwarded"]; len(prior) > 0 { // only from trusted peers: RFC 7239
		node := peer
		if c.Peer.Is6() {
			node = `"[` + peer + `]"`
		}
		out["Forwarded"] = []string{strings.Join(prior, ", ") + ", for=" + node + ";proto=" + proto}
	}
}

func setIfNone(h http.Header, name, value string) {
	if len(h[name]) == 0 && value != "" {
		h[name] = []string{value}
	}
}

// forwarding says that a field tells of the client: the known ones, whatever else begins like them, and
// their twins with underscores, which CGI-like backends cannot tell apart.
func forwarding(name string, id http1.ID) bool {
	const prefix = "x-forwarded-"
	if id >= http1.Forwarded && id <= http1.XRealIP {
		return true
	}
	if len(name) < len(prefix) {
		return false
	}
	for i := range len(prefix) {
		b := name[i] | 0x20
		if name[i] == '_' || name[i] == '-' {
			b = '-'
		}
		if b != prefix[i] {
			return false
		}
	}
	return true
}

// framingTwin says that a backend may take the field for Content-Length or Transfer-Encoding.
func framingTwin(name string) bool {
	if strings.IndexByte(name, '_') < 0 {
		return false
	}
	id := http1.Identify(strings.ReplaceAll(name, "_", "-"))
	return id == http1.ContentLength || id == http1.TransferEncoding
}

// ResponseHeader copies the fields of a response that go on to the client into out.
func ResponseHeader(out, in http.Header) {
	listed := connectionOptions(in)
	for name, values := range in {
		id := http1.Identify(name)
		if id.IsHop() || id == http1.TransferEncoding || id == http1.Trailer || slices.Contains(listed, name) {
			continue
		}
		out[name] = values
	}
}

// connectionOptions lists the fields that Connection names, in canonical form.
func connectionOptions(h http.Header) []string {
	var out []string
	for _, line := range h["Connection"] {
		for item := range strings.SplitSeq(line, ",") {
			if item = textproto.TrimString(item); item != "" {
				out = append(out, textproto.CanonicalMIMEHeaderKey(item))
			}
		}
	}
	return out
}

// tokens says whether a comma-separated list holds a token, whatever its case and parameters.
func tokens(lines []string, token string) bool {
	for _, line := range lines {
		for item := range strings.SplitSeq(line, ",") {
			item, _, _ = strings.Cut(item, ";")
			if strings.EqualFold(textproto.TrimString(item), token) {
				return true
			}
		}
	}
	return false
}

// trailerAllowed says whether a field may be a trailer: not if it frames, routes or authorises (RFC 9110
// §6.5.1).
func trailerAllowed(name string) bool {
	switch id := http1.Identify(name); id {
	case http1.Other:
		return !framingTwin(name) && name != "Content-Location" && name != "Age" && name != "Expires" && name != "Date" && name != "Location" && name != "Vary" && name != "Retry-After"
	case http1.IdempotencyKey:
		return true
	}
	return false
}
