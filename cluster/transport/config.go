package transport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"time"
)

// Config is what Listen needs. The zero value of a duration or limit means its
// default.
type Config struct {
	// Addr is where to listen, host:port; port 0 takes a free one.
	Addr string
	// Advertise is the host or host:port that other nodes dial. "" derives it
	// from the bound address.
	Advertise string
	// Keys are the valid cluster keys; the first one issues our certificate.
	// None means LabKey: no secret, for loopback labs only.
	Keys []Key
	// Identity says who this node is. The node id must not change; the cluster
	// id may, from "" to the cluster that was joined. It is called for every
	// connection and request, from many goroutines, and must not block.
	Identity func() Identity
	// Dial makes the TCP connections to other nodes; nil means the system's.
	// For fault injection in tests.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// Logger gets what an operator should know; nil discards it.
	Logger *slog.Logger

	// HandshakeTimeout bounds a connection from accept or dial until the hello
	// is through. Default 5 s.
	HandshakeTimeout time.Duration
	// CallTimeout bounds a Call whose context has no deadline, and for a server
	// the time to read one request or to write one answer. Default 30 s.
	CallTimeout time.Duration
	// IdleTimeout closes pooled rpc connections. Default 90 s.
	IdleTimeout time.Duration
	// MaxBody bounds an rpc request and an answer, in bytes. Default 16 MiB,
	// at most 1 GiB.
	MaxBody int64
	// MaxConns bounds accepted connections, by all peers together. Default 4096.
	MaxConns int
	// MaxPending bounds connections that have not shown a valid certificate and
	// hello yet; beyond it the oldest is dropped, so that idlers cannot keep
	// honest peers out. Default 256.
	MaxPending int
	// MaxCallsPerPeer bounds rpc connections to one address, and thereby calls
	// at the same time; further calls wait. Default 64.
	MaxCallsPerPeer int
}

// DefaultConfig has every limit filled in; Addr and Identity are the caller's.
func DefaultConfig() Config {
	return Config{
		HandshakeTimeout: 5 * time.Second,
		CallTimeout:      30 * time.Second,
		IdleTimeout:      90 * time.Second,
		MaxBody:          16 << 20,
		MaxConns:         4096,
		MaxPending:       256,
		MaxCallsPerPeer:  64,
	}
}

// withDefaults fills what was left zero.
func (c Config) withDefaults() Config {
	d := DefaultConfig()
	setZero(&c.HandshakeTimeout, d.HandshakeTimeout)
	setZero(&c.CallTimeout, d.CallTimeout)
	setZero(&c.IdleTimeout, d.IdleTimeout)
	setZero(&c.MaxBody, d.MaxBody)
	setZero(&c.MaxConns, d.MaxConns)
	setZero(&c.MaxPending, d.MaxPending)
	setZero(&c.MaxCallsPerPeer, d.MaxCallsPerPeer)
	if c.Dial == nil {
		c.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
			d := net.Dialer{KeepAliveConfig: keepAlive()}
			return d.DialContext(ctx, "tcp", addr)
		}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func setZero[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// Validate names the first field that is out of bounds.
func (c Config) Validate() error {
	if _, _, err := net.SplitHostPort(c.Addr); err != nil {
		return fmt.Errorf("cluster address %q: want host:port: %w", c.Addr, err)
	}
	if c.Identity == nil {
		return errors.New("cluster transport: Identity is missing")
	}
	if id := c.Identity(); id.NodeID == "" || len(id.NodeID) > maxID || len(id.ClusterID) > maxID {
		return fmt.Errorf("cluster transport: node id %q and cluster id %q: want 1 and 0 to %d bytes", id.NodeID, id.ClusterID, maxID)
	}
	if id := c.Identity(); id.NodeID != printable(id.NodeID) || id.ClusterID != printable(id.ClusterID) {
		return fmt.Errorf("cluster transport: node id %q or cluster id %q has unprintable characters", id.NodeID, id.ClusterID)
	}
	for _, d := range []struct {
		name string
		v    time.Duration
	}{
		{"HandshakeTimeout", c.HandshakeTimeout},
		{"CallTimeout", c.CallTimeout},
		{"IdleTimeout", c.IdleTimeout},
	} {
		if d.v < 0 {
			return fmt.Errorf("cluster transport: %s %v is negative", d.name, d.v)
		}
	}
	if c.MaxBody < 0 || c.MaxBody > 1<<30 {
		return fmt.Errorf("cluster transport: MaxBody %d is outside 0..%d", c.MaxBody, 1<<30)
	}
	if c.MaxConns < 0 || c.MaxPending < 0 || c.MaxCallsPerPeer < 0 {
		return errors.New("cluster transport: a connection limit is negative")
	}
	return nil
}

// advertised completes the configured address, or derives one: the bound
// address, or when that is a wildcard, the host's first private or else first
// public address.
func advertised(configured string, bound *net.TCPAddr, hostAddrs func() ([]net.Addr, error)) (string, error) {
	port := strconv.Itoa(bound.Port)
	if configured != "" {
		host, p, err := net.SplitHostPort(configured)
		if err != nil {
			host, p = configured, port
			if ip, err := netip.ParseAddr(trimBrackets(host)); err == nil {
				host = ip.String()
			}
		}
		if p == "0" || p == "" {
			p = port
		}
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 || host == "" {
			return "", fmt.Errorf("advertise address %q: want host or host:port", configured)
		}
		if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
			return "", fmt.Errorf("advertise address %q: other nodes cannot dial a wildcard", configured)
		}
		return net.JoinHostPort(host, p), nil
	}
	ip := bound.AddrPort().Addr().Unmap()
	if ip.IsValid() && !ip.IsUnspecified() {
		return net.JoinHostPort(ip.String(), port), nil
	}
	addrs, err := hostAddrs()
	if err != nil {
		return "", fmt.Errorf("derive the advertise address: %w (set --advertise-addr)", err)
	}
	return net.JoinHostPort(pickAddr(addrs, !ip.IsValid() || ip.Is6()).String(), port), nil
}

func trimBrackets(s string) string {
	if len(s) > 1 && s[0] == '[' && s[len(s)-1] == ']' {
		return s[1 : len(s)-1]
	}
	return s
}

// pickAddr prefers private over public and IPv4 over IPv6; without either the
// node talks to itself only.
func pickAddr(addrs []net.Addr, v6 bool) netip.Addr {
	best, rank := netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		ip := p.Addr().Unmap()
		if !ip.IsGlobalUnicast() || (ip.Is6() && !v6) {
			continue
		}
		r := 1
		if ip.Is4() {
			r += 2
		}
		if ip.IsPrivate() {
			r++
		}
		if r > rank {
			best, rank = ip, r
		}
	}
	return best
}
