package client

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/lbnode/lbnode/api"
)

// DefaultPort is the port of an address that names neither scheme nor port.
const DefaultPort = "9080"

// Config is what a Client is made of. All fields but Token are needed; [DefaultConfig] fills all but URLs.
type Config struct {
	// URLs are the API addresses of nodes, as [ParseURLs] returns them, in the order in which they are tried.
	URLs []string
	// Token is sent as bearer token; "" = none.
	Token     string
	UserAgent string
	// Consistency is what every read asks for: one of api's Read constants; "" = stale.
	Consistency string
	// Timeout bounds one call with all its attempts; a deadline of the context that is earlier wins.
	Timeout time.Duration
	// LeaderWait bounds how long a call goes on trying while every node says that there is no leader.
	LeaderWait time.Duration
	// MaxAnswer bounds an answer's body in bytes.
	MaxAnswer int64
	// Transport makes the connections. It belongs to the client, which closes its idle ones.
	Transport *http.Transport
	// NewKey makes the Idempotency-Key of a write that brings none.
	NewKey func() string
}

// DefaultConfig waits up to 30 seconds for an answer, of which 5 for an election.
func DefaultConfig() Config {
	dialer := net.Dialer{Timeout: 3 * time.Second, KeepAlive: 15 * time.Second}
	return Config{
		UserAgent: "lbnode-client", Timeout: 30 * time.Second, LeaderWait: 5 * time.Second, MaxAnswer: 64 << 20,
		NewKey: rand.Text,
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext, ForceAttemptHTTP2: true,
			TLSHandshakeTimeout: 5 * time.Second, MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute,
			MaxResponseHeaderBytes: 64 << 10,
		},
	}
}

// Validate names every field that is missing or out of bounds.
func (c Config) Validate() error {
	var errs []error
	need := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("client config: "+format, args...))
		}
	}
	need(len(c.URLs) > 0, "URLs must name at least one node")
	for _, u := range c.URLs {
		_, err := parseURL(u)
		need(err == nil, "URLs: %w", err)
	}
	need(!strings.ContainsFunc(c.Token, func(r rune) bool { return r <= ' ' || r >= 0x7f }), "Token must be visible ASCII")
	need(c.UserAgent != "", "UserAgent must be set")
	need(slices.Contains([]string{"", api.ReadStale, api.ReadLeader, api.ReadLinearizable}, c.Consistency), "Consistency must be stale, leader or linearizable, got %q", c.Consistency)
	need(c.Timeout > 0, "Timeout must be positive, got %s", c.Timeout)
	need(c.LeaderWait >= 0, "LeaderWait must not be negative, got %s", c.LeaderWait)
	need(c.MaxAnswer > 0, "MaxAnswer must be positive, got %d", c.MaxAnswer)
	need(c.Transport != nil, "Transport must be set")
	need(c.NewKey != nil, "NewKey must be set")
	return errors.Join(errs...)
}

// ParseURLs reads a comma list of API addresses. The scheme may be left out (http), and then the port too
// (9080); a path is kept, for an API behind a reverse proxy.
func ParseURLs(list string) ([]string, error) {
	var out []string
	for part := range strings.SplitSeq(list, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		u, err := parseURL(part)
		if err != nil {
			return nil, err
		}
		out = append(out, u)
	}
	if len(out) == 0 {
		return nil, errors.New("no API address: write http://host:port, several separated by commas")
	}
	return out, nil
}

func parseURL(s string) (string, error) {
	raw, bare := s, !strings.Contains(s, "://")
	if bare {
		if strings.Count(s, ":") > 1 && !strings.Contains(s, "[") {
			return "", fmt.Errorf("API address %q: an IPv6 address needs brackets: [%s]:%s", s, s, DefaultPort)
		}
		raw = "http://" + s
	}
	u, err := url.Parse(raw)
	if err != nil {
		return "", fmt.Errorf("API address %q is no URL: write http://host:port", s)
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return "", fmt.Errorf("API address %q: the scheme must be http or https", s)
	case u.Hostname() == "":
		return "", fmt.Errorf("API address %q has no host: write http://host:port", s)
	case u.User != nil:
		return "", fmt.Errorf("API address of %s must not hold a user or password: use a token", u.Host)
	case u.RawQuery != "" || u.Fragment != "" || u.ForceQuery:
		return "", fmt.Errorf("API address %q must not hold a query or fragment", s)
	}
	if bare && u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), DefaultPort)
	}
	return u.Scheme + "://" + u.Host + strings.TrimRight(u.EscapedPath(), "/"), nil
}
