package auth

import (
	"net/netip"
	"sync"
	"time"
)

// LimiterConfig bounds failures: so many at once, and one more each so often, from one client and from all.
type LimiterConfig struct {
	Now         func() time.Time
	ClientBurst int
	ClientEvery time.Duration
	TotalBurst  int
	TotalEvery  time.Duration
	Clients     int // remembered at most; those beyond are bound only by what is for all
}

// DefaultLimiter lets a client fail 10 times, then once in 6 seconds; all of them 200 times, then 20 a second.
func DefaultLimiter() LimiterConfig {
	return LimiterConfig{Now: time.Now, ClientBurst: 10, ClientEvery: 6 * time.Second, TotalBurst: 200, TotalEvery: 50 * time.Millisecond, Clients: 4096}
}

// Limiter counts failures. It may be used by any number of goroutines, and never holds more than it was told.
type Limiter struct {
	cfg LimiterConfig

	mu      sync.Mutex
	total   time.Time                // when all failures so far are forgotten (GCRA's theoretical arrival time)
	clients map[netip.Addr]time.Time // the same of each client
}

// NewLimiter returns a limiter that has seen nothing.
func NewLimiter(cfg LimiterConfig) *Limiter {
	return &Limiter{cfg: cfg, clients: map[netip.Addr]time.Time{}}
}

// Fail counts a failure of a client. It returns 0, or how long the client is to wait when it has failed too often;
// then the failure is not counted. An IPv6 client is its /64, which is what one customer has.
func (l *Limiter) Fail(client netip.Addr) time.Duration {
	client = client.Unmap().WithZone("")
	if client.Is6() {
		client = netip.PrefixFrom(client, 64).Masked().Addr()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.cfg.Now()
	total, wait := next(l.total, now, l.cfg.TotalBurst, l.cfg.TotalEvery)
	own, ownWait := next(l.clients[client], now, l.cfg.ClientBurst, l.cfg.ClientEvery)
	if wait = max(wait, ownWait); wait > 0 {
		return wait
	}
	l.total = total
	if _, known := l.clients[client]; known || l.room(now) {
		l.clients[client] = own
	}
	return 0
}

// next is the arrival time after one more event, or how long that has to wait.
func next(tat, now time.Time, burst int, every time.Duration) (time.Time, time.Duration) {
	if tat.Before(now) {
		tat = now
	}
	tat = tat.Add(every)
	return tat, max(0, tat.Sub(now)-time.Duration(burst)*every)
}

// room says whether a client more can be remembered, forgetting those that have waited long enough.
func (l *Limiter) room(now time.Time) bool {
	if len(l.clients) < l.cfg.Clients {
		return true
	}
	for c, tat := range l.clients {
		if tat.Before(now) {
			delete(l.clients, c)
		}
	}
	return len(l.clients) < l.cfg.Clients
}
