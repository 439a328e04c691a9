package shape

import (
	"hash/maphash"
	"math"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lbnode/lbnode/state"
)

// Limit lets a rate of requests through, with bursts. It is the generic cell rate algorithm: one number for each
// bucket, the time at which it will be empty again. All methods may be called by any number of goroutines.
type Limit struct {
	Status int
	Per    state.HashKey // source "" = one bucket for the route

	interval int64 // nanoseconds for one request
	slack    int64 // how far ahead of time a bucket may be: (burst-1) intervals
	route    atomic.Int64
	id       string
	clients  *Clients
}

func newLimit(routeID string, l state.RateLimit, clients *Clients) *Limit {
	interval := int64(float64(time.Second) / l.RequestsPerSecond)
	out := &Limit{Status: l.Status, interval: max(interval, 1), id: routeID, clients: clients}
	out.slack = int64(min(float64(l.Burst-1)*float64(out.interval), math.MaxInt64/4))
	if l.Per != state.PerRoute {
		out.Per, _ = state.KeyOf(l.Per) // Apply has checked it
	}
	return out
}

// take says whether a bucket that is empty at tat lets a request through now, when it is empty then, and how
// long to wait if not.
func (l *Limit) take(tat, now int64) (next int64, wait time.Duration) {
	tat = max(tat, now)
	if ahead := tat - now; ahead > l.slack {
		return tat, time.Duration(ahead - l.slack)
	}
	return tat + l.interval, 0
}

// Allow says how long to wait before the request may come again; 0 lets it through. now is the time since any
// fixed moment, key what Key gave.
func (l *Limit) Allow(key string, now time.Duration) time.Duration {
	if l.Per.Source == "" {
		for {
			tat := l.route.Load()
			next, wait := l.take(tat, int64(now))
			if wait > 0 || l.route.CompareAndSwap(tat, next) {
				return wait
			}
		}
	}
	return l.clients.allow(l, key, int64(now))
}

// ClientKey is what tells one client from another: its address, or for IPv6 its /64, which is what one
// subscriber has (RFC 6177).
func ClientKey(a netip.Addr) string {
	a = a.Unmap()
	if !a.Is6() {
		b := a.AsSlice()
		return string(b)
	}
	b := a.As16()
	return string(b[:8])
}

const (
	clientShards = 256
	clientSets   = 32 // in each shard
	clientWays   = 8  // entries that a key may stand in
	// MaxClients is how many clients all limits of a node tell apart at a time.
	MaxClients = clientShards * clientSets * clientWays
)

// Clients is the buckets of clients, of all routes together: a table of fixed size, so that no number of
// clients takes more memory. It is made at the first use.
//
// A client has its place in a set of 8. When a new one finds its set full, the entry goes whose bucket is
// nearest to empty. So what is forgotten first is what makes no difference, and who is over a limit, being
// the fullest, is forgotten last: to get rid of such an entry takes 8 others as busy in the same set, and
// which clients share a set is decided by a secret seed.
type Clients struct {
	seed   maphash.Seed
	once   sync.Once
	shards *[clientShards]clientShard
}

type clientShard struct {
	mu   sync.Mutex // guards sets
	sets [clientSets][clientWays]client
	_    [64]byte
}

type client struct {
	key uint64 // 0 = free
	tat int64
}

// NewClients makes an empty table.
func NewClients() *Clients { return &Clients{seed: maphash.MakeSeed()} }

func (c *Clients) allow(l *Limit, key string, now int64) time.Duration {
	c.once.Do(func() { c.shards = new([clientShards]clientShard) })
	var h maphash.Hash
	h.SetSeed(c.seed)
	_, _ = h.WriteString(l.id)
	_ = h.WriteByte(0)
	_, _ = h.WriteString(key)
	sum := h.Sum64()
	s := &c.shards[sum>>56]
	set := &s.sets[sum>>48%clientSets]
	sum |= 1 // never 0
	s.mu.Lock()
	defer s.mu.Unlock()
	at := 0
	for i := range set {
		if set[i].key == sum {
			at = i
			break
		}
		if set[i].tat < set[at].tat {
			at = i
		}
	}
	e := &set[at]
	if e.key != sum {
		*e = client{key: sum}
	}
	var wait time.Duration
	e.tat, wait = l.take(e.tat, now)
	return wait
}
