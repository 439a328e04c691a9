package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lbnode/lbnode/state"
	"github.com/lbnode/lbnode/stats"
)

// Config says how backends are reached and who hears of outcomes.
type Config struct {
	Logger *slog.Logger
	Stats  *stats.Registry // where attempts are counted, by backend id
	// Observe hears of each failed attempt (Outcome.Failed), and of the first success after one. It is
	// called on the request path by many goroutines, must not block, and may be nil.
	Observe func(backendID string, o Outcome)
	// Dial makes TCP connections; nil = the system's. For tests.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// IdleTimeout is how long an unused backend connection is kept. Below what backends keep theirs, or a
	// request may meet a connection that is just being closed.
	IdleTimeout time.Duration
	// MaxIdlePerBackend and MaxIdle bound the unused connections, to one address and in all.
	MaxIdlePerBackend, MaxIdle int
	// ClientCertificate gives the certificate with an id, for backends that ask for one. It is called for each
	// handshake, by many goroutines; nil = there are none.
	ClientCertificate func(id string) (*tls.Certificate, error)
	// MaxHeaderBytes bounds a response head.
	MaxHeaderBytes int64
	// StickyKeys make the tokens of sticky cookies, see Upstream.Tokens; none = they are made without a secret. They
	// are those of the start, see Set.SetStickyKeys.
	StickyKeys [][]byte
}

// DefaultConfig has every default but Logger and Stats, which have none.
func DefaultConfig() Config {
	return Config{IdleTimeout: 4 * time.Second, MaxIdlePerBackend: 256, MaxIdle: 8192, MaxHeaderBytes: 64 << 10}
}

// Validate names the first field that cannot be used.
func (c Config) Validate() error {
	switch {
	case c.Logger == nil:
		return errors.New("upstream: config: Logger is nil")
	case c.Stats == nil:
		return errors.New("upstream: config: Stats is nil")
	case c.IdleTimeout <= 0:
		return errors.New("upstream: config: IdleTimeout must be greater than 0")
	case c.MaxIdlePerBackend < 1 || c.MaxIdle < 1:
		return errors.New("upstream: config: MaxIdlePerBackend and MaxIdle must be at least 1")
	case c.MaxHeaderBytes < 1024:
		return errors.New("upstream: config: MaxHeaderBytes must be at least 1024")
	}
	return nil
}

// Set is the runtime of all backends, by id. All methods may be called by any number of goroutines; those
// of the request path are on Upstream and take no lock.
type Set struct {
	cfg     Config
	start   time.Time
	applied atomic.Uint64
	lease   atomic.Int64 // by clock; see SetLease

	sticky    atomic.Pointer[stickyKeys]
	stickyGen atomic.Uint64

	mu         sync.RWMutex // guards the rest and what Upstream says it guards
	byID       map[string]*Upstream
	transports map[transportKey]*http.Transport
	early      map[string]veto // vetoes for backends that no view has named yet
	pools      map[string]*Pool
	view       *state.View          // the one applied; what it shares with the next one is not looked at
	leaving    map[*Upstream]bool   // removed while requests are on them
	users      map[transportKey]int // upstreams with an endpoint on the transport
	warm       bool                 // a view with backends has been applied: one that comes up now really does

	ejectMu sync.Mutex // after mu; guards what Upstream says it guards, and closed
	closed  bool
	logs    sync.WaitGroup
}

// NewSet makes an empty set.
func NewSet(cfg Config) (*Set, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Set{
		cfg: cfg, start: time.Now(), pools: map[string]*Pool{}, view: state.NewView(),
		leaving: map[*Upstream]bool{}, users: map[transportKey]int{},
		byID: map[string]*Upstream{}, transports: map[transportKey]*http.Transport{}, early: map[string]veto{},
	}
	s.SetStickyKeys(cfg.StickyKeys)
	s.SetLease(time.Time{})
	return s, nil
}

// clock is monotonic time since the set was made.
func (s *Set) clock() time.Duration { return time.Since(s.start) }

// allow puts what configuration and health say of a backend in force. One that becomes usable starts slowly, if
// it may.
func (s *Set) allow(u *Upstream, slowly bool) {
	if u.expired {
		return
	}
	w := flagsOf(u.backend, u.pool, u.veto.down)
	if slowly && u.pool != nil && !u.Allowed(New) && allowed(w|u.flags.Load()&ownBits, New) {
		u.slowStart(time.Duration(u.pool.SlowStart)) // first: nobody may see it at its full share
	}
	u.configure(w)
}

// reach gives an upstream the endpoint that its configuration asks for.
func (s *Set) reach(u *Upstream, b *state.Backend, pool *state.Pool) {
	old := u.endpoint.Load()
	key := transportKey{protocol: state.ProtocolAuto}
	if pool != nil {
		key = transportKey{protocol: pool.Protocol, tls: pool.TLS, proxy: pool.ProxyProtocol}
	}
	addr, err := state.ParseAddress(b.Address)
	if err != nil { // Apply lets no such address in; without an endpoint the backend takes no traffic
		s.cfg.Logger.Error("backend address cannot be used", "backend", b.ID, "error", err)
		s.goTo(u, nil)
		return
	}
	if old != nil && old.Address == addr && old.Protocol == key.protocol && old.TLS == key.tls && old.Proxy == key.proxy {
		return
	}
	if old != nil && old.Address != addr {
		u.latency.reset() // another server
	}
	ip, _ := netip.ParseAddr(addr.Host)
	s.goTo(u, &Endpoint{
		Address: addr, HostPort: addr.HostPort(), IP: ip.Unmap(), Protocol: key.protocol, TLS: key.tls, Transport: s.transport(key), Proxy: key.proxy,
	})
}

// flagsOf is the flag word as far as configuration and health decide it.
func flagsOf(b *state.Backend, pool *state.Pool, vetoed bool) uint64 {
	f := uint64(b.MaxConnections)
	if f == 0 && pool != nil {
		f = uint64(pool.MaxConnections)
	}
	f = f<<limitShift | flagsFor(state.HurdlesOf(b, pool, vetoed))
	if pool != nil && pool.Outlier.ConsecutiveErrors > 0 {
		f |= bitWatched
	}
	return f
}

// Applied is the index of the view that the flags are in line with.
func (s *Set) Applied() uint64 { return s.applied.Load() }

// Get returns the runtime of a backend that a view has named, or nil. It is kept after the backend is
// removed until no request is on it.
func (s *Set) Get(id string) *Upstream {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.byID[id]
}

// InFlight is the number of requests on a backend from this node, removed or not.
func (s *Set) InFlight(id string) int64 {
	if u := s.Get(id); u != nil {
		return u.InFlight()
	}
	return 0
}

// SetLocal sets or takes back this node's veto on a backend. It may come before the view that names the
// backend, and is forgotten when the backend is removed.
func (s *Set) SetLocal(id string, down bool, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := veto{}
	if down {
		next = veto{down: true, reason: reason, since: time.Now()}
	}
	u := s.byID[id]
	if u == nil || u.backend == nil {
		if down {
			s.early[id] = next
		} else {
			delete(s.early, id)
		}
		return
	}
	if down && u.veto.down {
		next.since = u.veto.since
	}
	u.veto = next
	s.allow(u, s.warm)
	if p := u.home.Load(); p != nil {
		p.hand(u)
	}
}

// Runtime is what the admin API shows of a backend on this node.
type Runtime struct {
	InFlight   int64
	Routable   bool // takes new requests
	Vetoed     bool
	VetoReason string
	VetoSince  time.Time
	Latency    time.Duration // see Upstream.Latency

	Limit        int64 // requests that may be in flight at a time; 0 = no bound
	Full         bool  // they are
	Ejected      bool  // taken out as an outlier
	EjectedAt    time.Time
	EjectedUntil time.Time
	Ejections    int // lately, as they count for the next one
	// EjectionsTotal is how often it was ejected since the node knows it.
	EjectionsTotal uint64
	Share          float64 // of its weight; below 1 in slow start
}

// Runtime returns the runtime of a backend; false if this node knows none.
func (s *Set) Runtime(id string) (Runtime, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	u := s.byID[id]
	if u == nil {
		return Runtime{}, false
	}
	return s.runtime(u), true
}

// Protected yields the runtime of the backends that have a bound on their requests, may be ejected or start slowly.
func (s *Set) Protected() iter.Seq2[string, Runtime] {
	return func(yield func(string, Runtime) bool) {
		s.mu.RLock()
		defer s.mu.RUnlock()
		for id, u := range s.byID {
			w := u.flags.Load()
			if w>>limitShift == 0 && w&(bitWatched|bitEjected|bitSlow) == 0 {
				continue
			}
			if !yield(id, s.runtime(u)) {
				return
			}
		}
	}
}

func (s *Set) runtime(u *Upstream) Runtime {
	r := Runtime{
		InFlight: u.InFlight(), Routable: u.Available(New), Vetoed: u.veto.down,
		VetoReason: u.veto.reason, VetoSince: u.veto.since, Latency: u.Latency(),
		Limit: int64(u.flags.Load() >> limitShift), Full: u.Full(), Share: float64(u.Share()) / FullShare,
	}
	s.ejectMu.Lock()
	defer s.ejectMu.Unlock()
	r.Ejections, r.EjectionsTotal = u.ejections.count, u.ejectedTimes
	if r.Ejected = u.ejectedFrom != nil; r.Ejected {
		r.EjectedAt, r.EjectedUntil = u.ejectedAt, u.ejectedEnd
	}
	return r
}

// Close closes the unused connections. Requests that run go on; nobody may begin new ones.
func (s *Set) Close() {
	s.ejectMu.Lock()
	s.closed = true
	s.ejectMu.Unlock()
	s.logs.Wait()
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, t := range s.transports {
		t.CloseIdleConnections()
	}
	for _, u := range s.byID {
		u.readmit(0) // ends its timer
	}
}
