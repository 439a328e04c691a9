package upstream

import (
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/lbnode/lbnode/state"
	"github.com/lbnode/lbnode/stats"
)

// Mode says under which rules a request may go to a backend.
type Mode uint8

// The modes.
const (
	// New is any request without a tie to a backend: the operator wants the backend used, its weight is not
	// 0, its verdict is good and this node has no veto.
	New Mode = iota
	// Sticky is a request of a session that lives on the backend: as New, but stopped backends serve it too,
	// unless their drain releases sessions, and so do those of weight 0.
	Sticky
	// Panic is New without regard to verdict and veto, for pools that failing health has emptied.
	Panic
)

// cacheLine keeps what every request writes away from what every request reads.
const cacheLine = 64

// Upstream is the runtime of one backend. All methods may be called by any number of goroutines.
type Upstream struct {
	id    string
	stats *stats.Handle
	set   *Set

	flags    atomic.Uint64 // see word.go
	endpoint atomic.Pointer[Endpoint]
	home     atomic.Pointer[Pool] // nil before the first Update that knows the backend
	load     atomic.Pointer[load] // nil = not reported
	slowAt   atomic.Int64         // when the slow start began, by Set.clock
	slowFor  atomic.Int64
	failed   atomic.Bool // the last attempt that says anything about health failed
	_        [cacheLine]byte

	inflight atomic.Int64
	_        [cacheLine - 8]byte
	latency  ewma
	picks    atomic.Uint64 // see LoadNow
	errors   atomic.Int32  // failures in a row, if the pool ejects outliers

	tokens atomic.Pointer[tokens] // nil = nobody has asked

	// Guarded by Set.ejectMu.
	ejections    ejections
	ejectedFrom  *Pool // nil = not ejected
	ejectedAt    time.Time
	ejectedEnd   time.Time
	ejectedTimes uint64
	readmission  *time.Timer

	// What the flag word is computed from; guarded by Set.mu.
	backend *state.Backend // nil = not in the view
	pool    *state.Pool
	veto    veto
	expired bool // see Set.Expire

	running running
}

// veto is this node's own opinion that a backend is dead.
type veto struct {
	down   bool
	reason string
	since  time.Time
}

// Endpoint is where a backend's connections go. It is immutable; a change of address, protocol or TLS
// settings makes a new one, and running requests stay with theirs.
type Endpoint struct {
	state.Address
	HostPort  string     // what to dial
	IP        netip.Addr // Host, if it is an address and no name; else invalid
	Protocol  state.Protocol
	TLS       state.BackendTLS
	Transport http.RoundTripper // shared by all backends with the same protocol, TLS settings and PROXY protocol
	// Proxy is the PROXY protocol in which each connection says who it is made for; "" = none. Such a connection
	// is good for one client.
	Proxy state.ProxyProtocol
}

// ID is the backend's id.
func (u *Upstream) ID() string { return u.id }

// InFlight is the number of requests on the backend from this node, upgraded connections included.
func (u *Upstream) InFlight() int64 { return u.inflight.Load() }

// Stats is the handle under which the backend is counted.
func (u *Upstream) Stats() *stats.Handle { return u.stats }

// Endpoint is where a request that starts now goes; nil before the first Update that knows the backend.
func (u *Upstream) Endpoint() *Endpoint { return u.endpoint.Load() }

// Latency is the peak-sensitive moving average of the time to the response head, decayed for the time
// since the last answer; 0 = none yet.
func (u *Upstream) Latency() time.Duration { return u.latency.at(u.set.clock()) }

// Clock is the time that LatencyAt wants, so that a picker reads it once for many backends.
func (u *Upstream) Clock() time.Duration { return u.set.clock() }

// LatencyAt is Latency at a time that Clock gave.
func (u *Upstream) LatencyAt(now time.Duration) time.Duration { return u.latency.at(now) }

// Begin starts an attempt if the backend takes requests in the mode and has room. Exactly one End must follow a
// true.
func (u *Upstream) Begin(m Mode) (Attempt, bool) {
	a, ok, counted := u.begin(m)
	if counted && !ok {
		u.release()
	}
	return a, ok
}

// begin is Begin, but leaves a request that was counted in vain to the caller, who counts it out.
func (u *Upstream) begin(m Mode) (a Attempt, ok, counted bool) {
	// Count first, look second: see the package comment.
	if limit := u.flags.Load() >> limitShift; limit == 0 {
		u.inflight.Add(1)
	} else if !u.take(int64(limit)) {
		return Attempt{}, false, false
	}
	a, ok = u.start(m)
	return a, ok, true
}

// start starts an attempt that is counted as in flight already; false: the backend does not take it.
func (u *Upstream) start(m Mode) (Attempt, bool) {
	now := u.set.clock()
	if !allowed(u.flags.Load(), m) || u.set.lapsed(now) {
		return Attempt{}, false
	}
	u.stats.Begin()
	return Attempt{Upstream: u, Endpoint: u.endpoint.Load(), start: now}, true
}

// Attempt is one request on one backend. It is a value; its owner calls End once.
type Attempt struct {
	Upstream *Upstream
	Endpoint *Endpoint
	start    time.Duration
}

// Elapsed is the time since Begin.
func (a Attempt) Elapsed() time.Duration { return a.Upstream.set.clock() - a.start }

// ElapsedAt is Elapsed for whoever has looked at the clock already.
func (a Attempt) ElapsedAt(now time.Time) time.Duration {
	return now.Sub(a.Upstream.set.start) - a.start
}

// End ends the attempt: in-flight falls, latency and counters are recorded, and the observer hears of a
// failure, or of the first success after one.
func (a Attempt) End(o Outcome) {
	u := a.Upstream
	var now time.Duration
	if o.At.IsZero() {
		now = u.set.clock()
	} else {
		now = o.At.Sub(u.set.start)
	}
	if o.Duration == 0 {
		o.Duration = now - a.start
	}
	if o.FirstByte > 0 {
		u.latency.record(now, o.FirstByte)
	} else if o.Kind == FirstByteTimeout {
		// A backend that never answers must not look fast.
		u.latency.record(now, now-a.start)
	}
	u.stats.Record(stats.Outcome{
		Status: o.Status, Kind: o.Kind.Stats(), Duration: o.Duration, BytesIn: o.BytesIn, BytesOut: o.BytesOut, End: o.At,
	})
	if observe := u.set.cfg.Observe; observe != nil {
		failed := o.Failed()
		neutral := !failed && o.Kind != OK
		if failed || !neutral && u.failed.Load() {
			u.failed.Store(failed)
			observe(u.id, o)
		}
	}
	if u.flags.Load()&bitWatched != 0 {
		u.watch(o)
	}
	// Last: whoever reads 0 may rely on everything above being done.
	u.release()
}

// Tried is the set of backends that a request has been to. The zero value is empty. It belongs to one
// request and is not safe for concurrent use.
type Tried struct {
	n    int
	list [state.MaxRetries + 1]*Upstream
}

// Add notes a backend. Beyond the most attempts that a route can allow it does nothing.
func (t *Tried) Add(u *Upstream) {
	if t.n < len(t.list) {
		t.list[t.n] = u
		t.n++
	}
}

// Has says whether the backend was noted. A nil set has none.
func (t *Tried) Has(u *Upstream) bool {
	if t == nil {
		return false
	}
	for _, x := range t.list[:t.n] {
		if x == u {
			return true
		}
	}
	return false
}

// Len is the number of backends noted. A nil set has none.
func (t *Tried) Len() int {
	if t == nil {
		return 0
	}
	return t.n
}
