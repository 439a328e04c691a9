package http1

import (
	"bytes"
	"net/netip"
	"unsafe"
)

// Form is the form of a request target (RFC 9112 §3.2).
type Form uint8

// The four forms.
const (
	OriginForm    Form = iota // /path?query
	AbsoluteForm              // http://host/path?query
	AuthorityForm             // host:port, with CONNECT only
	AsteriskForm              // *, with OPTIONS only
)

// Read only; what an absolute-form target without a path stands for (RFC 9112 §3.2.1, §3.2.4).
var (
	slash    = []byte("/")
	asterisk = []byte("*")
)

// parseTarget splits r.Target into its parts. Its bytes are known to be fit for a target.
func (r *Request) parseTarget() Reason {
	t := r.Target
	switch {
	case r.Verb == CONNECT:
		r.Form = AuthorityForm
		if bytes.IndexByte(t, '@') >= 0 {
			return UserInfo
		}
		if host, port := splitPort(t); !validHost(t) || len(host) == 0 || len(port) == 0 {
			return BadTarget
		}
		r.Host = t
		return OK
	case t[0] == '/':
		r.Form = OriginForm
		return r.splitPath(t)
	case len(t) == 1 && t[0] == '*':
		if r.Verb != OPTIONS {
			return BadTarget
		}
		r.Form, r.Path = AsteriskForm, t
		return OK
	}
	r.Form = AbsoluteForm
	k := bytes.Index(t, []byte("://"))
	if k < 0 || !equalFold(t[:k], "http") && !equalFold(t[:k], "https") {
		return BadTarget
	}
	r.Scheme = t[:k]
	rest := t[k+3:]
	end := bytes.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	r.Host = rest[:end]
	if bytes.IndexByte(r.Host, '@') >= 0 {
		return UserInfo
	}
	if !validHost(r.Host) {
		return BadHost
	}
	if rest = rest[end:]; len(rest) > 0 && rest[0] == '/' {
		return r.splitPath(rest)
	}
	if len(rest) == 0 && r.Verb == OPTIONS {
		r.Path = asterisk
		return OK
	}
	r.Path = slash
	if len(rest) > 0 {
		r.Query, r.HasQuery = rest[1:], true
	}
	return OK
}

// splitPath takes the path and query of a target apart. A '%' in the path must begin an escape: what two
// parsers would decode to two different paths is routed by neither.
func (r *Request) splitPath(t []byte) Reason {
	r.Path = t
	if k := bytes.IndexByte(t, '?'); k >= 0 {
		r.Path, r.Query, r.HasQuery = t[:k], t[k+1:], true
	}
	if !validEscapes(r.Path) {
		return BadTarget
	}
	return OK
}

func validEscapes(p []byte) bool {
	for {
		k := bytes.IndexByte(p, '%')
		if k < 0 {
			return true
		}
		if k+2 >= len(p) || class[p[k+1]]&class[p[k+2]]&isHex == 0 {
			return false
		}
		p = p[k+3:]
	}
}

// ValidPath tells whether s can be written as the path of a target: it begins with '/' or is "*", holds
// only bytes that a target may hold, no '?', and '%' only in escapes.
func ValidPath[T text](s T) bool { return validPath(bytesOf(s)) }

func validPath(b []byte) bool {
	if len(b) == 1 && b[0] == '*' {
		return true
	}
	return len(b) > 0 && b[0] == '/' && scanTarget(b, 0) == len(b) && bytes.IndexByte(b, '?') < 0 && validEscapes(b)
}

// ValidQuery tells whether s can be written as the query of a target.
func ValidQuery[T text](s T) bool { return scanTarget(bytesOf(s), 0) == len(s) }

// ValidHost tells whether s is a host with an optional port, as Host and :authority carry it (RFC 9110 §7.2).
// It takes names of letters, digits, '-', '.', '_' and '~', IPv4 addresses and IPv6 addresses in brackets.
// Escapes and the other characters that RFC 3986 would allow in a name are refused: no DNS name has them,
// and backends differ in what they make of them. So is an empty port.
func ValidHost[T text](s T) bool { return validHost(bytesOf(s)) }

func validHost(b []byte) bool {
	if len(b) > 0 && b[0] == '[' {
		return validIPv6(b)
	}
	i := 0
	for i < len(b) && class[b[i]]&isHost != 0 {
		i++
	}
	return i > 0 && i <= 255 && validPort(b[i:])
}

func validIPv6(b []byte) bool {
	end := bytes.IndexByte(b, ']')
	if end < 0 || end > 46 || !validPort(b[end+1:]) {
		return false
	}
	for _, c := range b[1:end] {
		if class[c]&isHex == 0 && c != ':' && c != '.' {
			return false // a zone, among others: it means nothing to another host
		}
	}
	addr, err := netip.ParseAddr(unsafe.String(&b[0], len(b))[1:end])
	return err == nil && addr.Is6()
}

// validPort takes nothing, or a colon and a number up to 65535.
func validPort(b []byte) bool {
	if len(b) == 0 {
		return true
	}
	if b[0] != ':' || len(b) < 2 || len(b) > 6 {
		return false
	}
	n := 0
	for _, c := range b[1:] {
		if c-'0' > 9 {
			return false
		}
		n = n*10 + int(c-'0')
	}
	return n <= 65535
}

// SplitHost cuts a valid host and port apart; port is empty if there is none. Brackets stay with the host.
func SplitHost[T text](s T) (host, port T) {
	h, p := splitPort(bytesOf(s))
	return s[:len(h)], s[len(s)-len(p):]
}

func splitPort(b []byte) (host, port []byte) {
	i := len(b)
	for i > 0 && class[b[i-1]]&isDigit != 0 {
		i--
	}
	if i > 0 && b[i-1] == ':' {
		return b[:i-1], b[i:]
	}
	return b, b[len(b):]
}

// sameHost compares the authority of a target with Host: case and the scheme's own port make no difference.
func sameHost(a, b []byte, scheme []byte) bool {
	defaultPort := "80"
	if len(scheme) == 5 {
		defaultPort = "443"
	}
	ah, ap := splitPort(a)
	bh, bp := splitPort(b)
	if scheme != nil {
		if string(ap) == defaultPort {
			ap = nil
		}
		if string(bp) == defaultPort {
			bp = nil
		}
	}
	return equalFoldBytes(ah, bh) && string(ap) == string(bp)
}
