//go:build linux

package engine

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/lbnode/lbnode/proxy"
	"github.com/lbnode/lbnode/proxy/portable"
	"github.com/lbnode/lbnode/proxy/proxyproto"
)

// Config is what an Engine needs.
type Config struct {
	Proxy    *proxy.Proxy
	Addrs    []string // plain listeners, host:port; ":0" takes any port
	TLSAddrs []string // TLS listeners
	// Certificate gives the certificate for a handshake; see portable.Config.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	TLS         *tls.Config // instead of it; see portable.Config
	// ProxyFrom are the peers that send a PROXY header on every connection, before TLS.
	ProxyFrom proxyproto.Trust
	Limits    Limits
	Loops     int // 1..1024; 0 = GOMAXPROCS - 1, at least 1
	Logger    *slog.Logger
}

// Limits bounds what clients may do: those of the portable engine, which also hold for connections that are
// handed to it, and the loops' own.
type Limits struct {
	portable.Limits
	LingerTime time.Duration // how long the rest of what a client sends is read after its last answer
	ExpectWait time.Duration // how long a backend has to send 100 before the body is asked for in its name
}

// DefaultLimits are the limits of the product.
func DefaultLimits() Limits {
	return Limits{Limits: portable.DefaultLimits(), LingerTime: time.Second, ExpectWait: time.Second}
}

// Validate names the first field that cannot be used.
func (c Config) Validate() error {
	l := c.Limits
	switch {
	case c.Proxy == nil:
		return errors.New("engine: config: Proxy is nil")
	case c.Logger == nil:
		return errors.New("engine: config: Logger is nil")
	case len(c.TLSAddrs) > 0 && c.Certificate == nil && c.TLS == nil:
		return errors.New("engine: config: TLSAddrs without Certificate")
	case c.Loops < 0 || c.Loops > 1024:
		return fmt.Errorf("engine: config: Loops must be between 0 and 1024, got %d", c.Loops)
	case l.Conns < 1:
		return fmt.Errorf("engine: config: Limits.Conns must be at least 1, got %d", l.Conns)
	case l.LingerTime <= 0:
		return fmt.Errorf("engine: config: Limits.LingerTime must be greater than 0, got %s", l.LingerTime)
	case l.ExpectWait <= 0:
		return fmt.Errorf("engine: config: Limits.ExpectWait must be greater than 0, got %s", l.ExpectWait)
	case l.Head.Head > readSize/2:
		return fmt.Errorf("engine: config: Limits.Head.Head must be at most %d, got %d", readSize/2, l.Head.Head)
	}
	return nil
}
