package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lbnode/lbnode/proxy/route"
	"github.com/lbnode/lbnode/proxy/upstream"
	"github.com/lbnode/lbnode/state"
	"github.com/lbnode/lbnode/stats"
)

// HeaderNode is the field that tells which node made an answer of our own.
const HeaderNode = "X-Lbnode-Node"

// Observer hears how attempts on backends end: each one that speaks against the backend, and the first
// success after one. It is called on the request path by many goroutines and must not block.
type Observer interface {
	Outcome(backendID string, o upstream.Outcome)
}

// Engine accepts connections and serves what arrives on them with a Proxy.
type Engine interface {
	// Start listens and serves. It returns once every listener is bound, or an error with none left bound.
	Start() error
	// Addrs and TLSAddrs are the bound addresses, in the order of the configuration.
	Addrs() []net.Addr
	TLSAddrs() []net.Addr
	// Drain asks clients to go elsewhere with their next request, while all requests are still served.
	Drain()
	// Undrain takes Drain back. It must not be called during or after Shutdown.
	Undrain()
	// CutOff breaks off the requests that run on a backend, upgraded connections included. Those that begin
	// meanwhile may escape.
	CutOff(backendID string)
	// Shutdown accepts nothing new, waits for what runs until ctx ends, then cuts off the rest. It returns
	// nil if nothing had to be cut off.
	Shutdown(ctx context.Context) error
}

// Config is what a Proxy needs.
type Config struct {
	NodeID string // shown in answers of our own
	Logger *slog.Logger
	Stats  *stats.Registry
	// Upstream says how backends are reached. Its Logger, Stats and Observe are set by New.
	Upstream upstream.Config
	Observer Observer // may be nil
	// TrustedProxies are the networks of peers whose X-Forwarded-* and Forwarded fields are believed.
	TrustedProxies []netip.Prefix
	// BodyTimeout is how long a request's body may stand still. 0 = for ever.
	BodyTimeout time.Duration
	// BodyRate is how many bytes a second a request's body must bring on the average, after its first 10 seconds and
	// while the client is waited for. 0 = any.
	BodyRate  int
	AccessLog AccessLog // nil = none
}

// DefaultConfig has every default; NodeID, Logger and Stats have none.
func DefaultConfig() Config {
	return Config{Upstream: upstream.DefaultConfig(), BodyTimeout: time.Minute}
}

// Validate names the first field that cannot be used.
func (c Config) Validate() error {
	switch {
	case c.NodeID == "":
		return errors.New("proxy: config: NodeID is empty")
	case c.Logger == nil:
		return errors.New("proxy: config: Logger is nil")
	case c.Stats == nil:
		return errors.New("proxy: config: Stats is nil")
	case c.BodyTimeout < 0:
		return errors.New("proxy: config: BodyTimeout is negative")
	case c.BodyRate < 0:
		return errors.New("proxy: config: BodyRate is negative")
	}
	for _, p := range c.TrustedProxies {
		if !p.IsValid() {
			return fmt.Errorf("proxy: config: TrustedProxies holds an invalid network %q", p)
		}
	}
	return nil
}

// Proxy routes and forwards requests. All methods may be called by any number of goroutines.
type Proxy struct {
	cfg     Config
	set     *upstream.Set
	table   atomic.Pointer[route.Table] // nil before the first Update
	mounted atomic.Pointer[map[string]http.Handler]
	buffers sync.Pool // of *[]byte
	start   time.Time // of rate limits' clock
	shadows shadows

	mu       sync.Mutex // guards the rest
	compiler *route.Compiler
	compiled uint64 // ConfigGen of the table
	sticky   uint64 // the set's StickyGen that it was compiled with
}

// New makes a Proxy. It answers 503 until the first Update.
func New(cfg Config) (*Proxy, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	up := cfg.Upstream
	up.Logger, up.Stats = cfg.Logger, cfg.Stats
	if cfg.Observer != nil {
		up.Observe = cfg.Observer.Outcome
	}
	set, err := upstream.NewSet(up)
	if err != nil {
		return nil, err
	}
	p := &Proxy{cfg: cfg, set: set, compiler: route.NewCompiler(set, cfg.Stats), start: time.Now()}
	p.buffers.New = func() any {
		b := make([]byte, 32<<10)
		return &b
	}
	p.mounted.Store(&map[string]http.Handler{})
	return p, nil
}

// Update puts a view in force: flags of backends always, the routing table if an operator's change has made
// a new one necessary. When it returns, no request starts on a backend that the view takes out. Running
// requests go on as they began. A view older than the last one changes nothing.
func (p *Proxy) Update(v *state.View) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if v.Index < p.set.Applied() {
		return nil
	}
	p.set.Update(v)
	if keys := p.set.StickyGen(); p.table.Load() == nil || v.ConfigGen != p.compiled || keys != p.sticky {
		p.table.Store(p.compiler.Compile(v))
		p.compiled, p.sticky = v.ConfigGen, keys
	}
	return nil
}

// SetStickyKeys makes other keys those of sticky cookies, the one that makes new cookies first. They are in force for
// new cookies at once, and for those that come in with the next Update: let the keys of before stay among them
// until then.
func (p *Proxy) SetStickyKeys(keys [][]byte) { p.set.SetStickyKeys(keys) }

// Handle mounts a handler for all routes into pools of a kind, which is the pool's health check type; nil
// takes it away. The handler gets the request after it was matched, without the forwarding fields of peers that are
// not trusted; X-Forwarded-Proto is always there and true. Its answer is counted.
func (p *Proxy) Handle(kind string, h http.Handler) {
	p.mu.Lock()
	defer p.mu.Unlock()
	next := maps.Clone(*p.mounted.Load())
	next[kind] = h
	if h == nil {
		delete(next, kind)
	}
	p.mounted.Store(&next)
}

// Set is the runtime of the backends.
func (p *Proxy) Set() *upstream.Set { return p.set }

// Table is the routing table in force, nil before the first Update.
func (p *Proxy) Table() *route.Table { return p.table.Load() }

// Stats is where requests are counted.
func (p *Proxy) Stats() *stats.Registry { return p.cfg.Stats }

// Close breaks off the mirroring of requests and closes unused backend connections, once no request runs any
// more.
func (p *Proxy) Close() {
	p.shadows.close()
	p.set.Close()
}
