package state

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// Address is a parsed backend address.
type Address struct {
	Scheme string // http or https
	Host   string // name or IP literal, lower case, without brackets
	Port   uint16
	Base   string // path prefix of the backend, "" or "/x/y" without a trailing slash
}

// HostPort returns what to dial.
func (a Address) HostPort() string { return net.JoinHostPort(a.Host, strconv.Itoa(int(a.Port))) }

// ParseAddress reads a backend address: host:port (http), or an http or https URL with an optional port
// and base path. Names are compared in lower case; user info, query and fragment are refused.
func ParseAddress(s string) (Address, error) {
	if s == "" {
		return Address{}, fmt.Errorf("must not be empty; write host:port or http(s)://host[:port]")
	}
	if len(s) > 1024 {
		return Address{}, fmt.Errorf("must be at most 1024 bytes long")
	}
	scheme, rest, isURL := strings.Cut(s, "://")
	if !isURL {
		scheme, rest = "http", s
		if strings.ContainsAny(rest, "/?#") {
			return Address{}, fmt.Errorf("has a path but no scheme; write http://%s", rest)
		}
	}
	if scheme = strings.ToLower(scheme); scheme != "http" && scheme != "https" {
		return Address{}, fmt.Errorf("has scheme %q; use http or https", scheme)
	}
	u, err := url.Parse(scheme + "://" + rest)
	if err != nil {
		return Address{}, fmt.Errorf("is not a host:port or URL: %s", strings.TrimPrefix(err.Error(), "parse "))
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.ForceQuery {
		return Address{}, fmt.Errorf("must not have user info, a query or a fragment")
	}
	host := strings.ToLower(u.Hostname())
	if err := checkHost(host); err != nil {
		return Address{}, err
	}
	port, err := parsePort(u.Port(), scheme, isURL)
	if err != nil {
		return Address{}, err
	}
	base := strings.TrimRight(u.EscapedPath(), "/")
	for segment := range strings.SplitSeq(strings.TrimPrefix(base, "/"), "/") {
		if base != "" && (segment == "" || segment == "." || segment == "..") {
			return Address{}, fmt.Errorf("has a base path with empty or dot segments: %q", base)
		}
	}
	return Address{Scheme: scheme, Host: host, Port: port, Base: base}, nil
}

func parsePort(p, scheme string, isURL bool) (uint16, error) {
	if p == "" {
		switch {
		case !isURL:
			return 0, fmt.Errorf("has no port; write host:port, or http://host for port 80")
		case scheme == "https":
			return 443, nil
		}
		return 80, nil
	}
	n, err := strconv.ParseUint(p, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("has port %q; ports go from 1 to 65535", p)
	}
	return uint16(n), nil
}

// checkHost takes an IP address or a DNS name (RFC 1123 §2.1, underscores allowed as found in practice).
func checkHost(h string) error {
	if h == "" {
		return fmt.Errorf("has no host")
	}
	if _, err := netip.ParseAddr(h); err == nil {
		return nil
	}
	if strings.Contains(h, ":") {
		return fmt.Errorf("has host %q, which is no valid IPv6 address", h)
	}
	if len(h) > 253 {
		return fmt.Errorf("has a host name longer than 253 bytes")
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(h, "."), ".") {
		if !isLabel(label) {
			return fmt.Errorf("has host %q, which is no valid name", h)
		}
	}
	return nil
}

func isLabel(l string) bool {
	if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' {
		return false
	}
	for i := range len(l) {
		c := l[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// addressKey is the form under which an address is looked up: without regard to case of the host, default
// ports or trailing slashes.
func addressKey(s string) string {
	a, err := ParseAddress(s)
	if err != nil {
		return ""
	}
	// A zone (RFC 6874 §2) is the only percent sign that a host may have.
	return a.Scheme + "://" + strings.ReplaceAll(a.HostPort(), "%", "%25") + a.Base
}
