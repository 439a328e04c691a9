package upstream

import "math"

// Loads are fixed-point numbers of 1/loadUnit.
const (
	loadUnit = 1024
	maxLoad  = 1 << 30
)

// load is what a backend reported of itself.
type load struct {
	value    uint64 // × load_factor, in 1/loadUnit
	expected uint64 // picks between the two last reports
	base     uint64 // picks when it was reported
}

// SetLoad notes what a backend reports as its load, in any unit that is the same for all backends of a pool. A
// negative one takes back what was reported. It is forgotten when the backend is removed.
func (s *Set) SetLoad(id string, value float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.byID[id]
	if u == nil || u.backend == nil {
		return
	}
	if value < 0 || math.IsNaN(value) {
		u.load.Store(nil)
		return
	}
	next := &load{value: uint64(min(value*u.backend.LoadFactor*loadUnit, maxLoad)), base: u.picks.Load()}
	if old := u.load.Load(); old != nil {
		next.expected = next.base - old.base
	}
	u.load.Store(next)
}

// Pick counts a pick for LoadNow.
func (u *Upstream) Pick() { u.picks.Add(1) }

// LoadNow is the load that a backend is expected to have: what it reported last, and more with each pick since
// then, so that a figure that is getting old does not draw everybody: when it was picked as often as between the
// two last reports, it counts double. Without a report it is the requests in flight.
func (u *Upstream) LoadNow() uint64 {
	l := u.load.Load()
	if l == nil {
		return min(uint64(max(u.inflight.Load(), 0))*loadUnit, 1<<40)
	}
	return expect(l, u.picks.Load()-l.base)
}

func expect(l *load, picks uint64) uint64 {
	usual := l.expected + 1
	return min((l.value+1)*(usual+min(picks, 1<<20))/usual, 1<<40)
}
