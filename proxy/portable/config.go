package portable

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/lbnode/lbnode/proxy"
	"github.com/lbnode/lbnode/proxy/door"
	"github.com/lbnode/lbnode/proxy/http1"
	"github.com/lbnode/lbnode/proxy/proxyproto"
)

// Config is what an Engine needs.
type Config struct {
	Proxy    *proxy.Proxy
	Addrs    []string // plain listeners, host:port; ":0" takes any port
	TLSAddrs []string // TLS listeners
	// Certificate gives the certificate for a handshake. It may be called by any number of goroutines, and
	// each new connection gets what it returns then. Needed if there are TLSAddrs.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// TLS is used instead of Certificate if it is set: one configuration for all listeners, never copied, so that
	// the keys of session tickets can be changed in it.
	TLS *tls.Config
	// ProxyFrom are the peers that send a PROXY header on every connection, before TLS.
	ProxyFrom proxyproto.Trust
	Limits    Limits
	// Door counts client connections, together with those of another engine; nil = one of its own.
	Door   *door.Door
	Logger *slog.Logger
}

// Limits bounds what clients may do. All durations must be greater than 0.
type Limits struct {
	Head             http1.Limits  // sizes of HTTP/1.1 heads; Head.Head also bounds those of HTTP/2
	HandshakeTimeout time.Duration // for TLS
	HeadTimeout      time.Duration // for a whole request head
	IdleTimeout      time.Duration // between requests
	StallTimeout     time.Duration // for a client that does not take what it asked for
	Conns            int           // client connections; further ones are closed at once. At least 1
	ClientConns      int           // of them from one client; 0 = all
	Streams          int           // concurrent requests on one HTTP/2 connection, 1..10000
	// QuietTime is how long Shutdown leaves idle connections open, so that a request that is on its way
	// still gets an answer. Longer than a round trip.
	QuietTime time.Duration
}

// DefaultLimits are the limits of the product.
func DefaultLimits() Limits {
	return Limits{
		Head: http1.DefaultLimits(), HandshakeTimeout: 10 * time.Second, HeadTimeout: 10 * time.Second,
		IdleTimeout: 75 * time.Second, StallTimeout: time.Minute, Conns: 100_000, Streams: 100, QuietTime: 300 * time.Millisecond,
	}
}

// Validate names the first field that cannot be used.
func (c Config) Validate() error {
	switch {
	case c.Proxy == nil:
		return errors.New("portable: config: Proxy is nil")
	case c.Logger == nil:
		return errors.New("portable: config: Logger is nil")
	case len(c.TLSAddrs) > 0 && c.Certificate == nil && c.TLS == nil:
		return errors.New("portable: config: TLSAddrs without Certificate")
	}
	l := c.Limits
	for _, d := range []struct {
		name string
		v    time.Duration
	}{
		{"HandshakeTimeout", l.HandshakeTimeout},
		{"HeadTimeout", l.HeadTimeout},
		{"IdleTimeout", l.IdleTimeout},
		{"StallTimeout", l.StallTimeout},
		{"QuietTime", l.QuietTime},
	} {
		if d.v <= 0 {
			return fmt.Errorf("portable: config: Limits.%s must be greater than 0, got %s", d.name, d.v)
		}
	}
	if l.Conns < 1 {
		return fmt.Errorf("portable: config: Limits.Conns must be at least 1, got %d", l.Conns)
	}
	if l.ClientConns < 0 {
		return fmt.Errorf("portable: config: Limits.ClientConns must not be negative, got %d", l.ClientConns)
	}
	if l.Streams < 1 || l.Streams > 10_000 {
		return fmt.Errorf("portable: config: Limits.Streams must be between 1 and 10000, got %d", l.Streams)
	}
	if err := l.Head.Validate(); err != nil {
		return fmt.Errorf("portable: config: Limits.Head: %w", err)
	}
	return nil
}
