package balance

import (
	"slices"
	"strings"
	"sync/atomic"

	"github.com/lbnode/lbnode/proxy/upstream"
	"github.com/lbnode/lbnode/state"
)

// Picker picks one member for a request. It never blocks or allocates and may be called by any number of
// goroutines.
type Picker interface {
	// Pick returns a member that is available in the mode and not in tried (which may be nil), or nil if
	// there is none. key is the hash of what the request is to be tied to; only hashing algorithms use it.
	Pick(key uint64, m upstream.Mode, tried *upstream.Tried) *upstream.Upstream
	// Fork returns a picker that goes on from here by itself: see fork.go.
	Fork() Picker
}

// Member is a backend with its share.
type Member struct {
	Upstream *upstream.Upstream
	Weight   int // 0..state.MaxWeight; a member of weight 0 is never picked
}

// New makes a picker. The order of members does not matter. An unknown algorithm is round_robin.
func New(alg state.Algorithm, members []Member) Picker {
	g := newGroup(members)
	switch alg {
	case state.LeastConnections:
		return &least{group: g, load: connections}
	case state.Random:
		return newRandom(g)
	case state.LeastLatency:
		return &least{group: g, load: latency, timed: true}
	case state.LeastLoad:
		return &least{group: g, load: reported, counted: true}
	case state.IPHash:
		return newHRW(g)
	case state.ConsistentHash:
		h := newHRW(g)
		h.bounded = true
		return h
	}
	return &roundRobin{g}
}

// UsesKey says whether an algorithm looks at the key, so that others need not compute it.
func UsesKey(alg state.Algorithm) bool { return alg == state.IPHash || alg == state.ConsistentHash }

// group is what all pickers start from: the members that can ever be picked, by id.
type group struct {
	members []Member
	total   int // sum of weights
	order   classes
	random  source
}

func newGroup(members []Member) *group {
	g := &group{}
	for _, m := range members {
		if m.Weight > 0 {
			g.members = append(g.members, m)
			g.total += m.Weight
		}
	}
	// By id, so that every node has the same order.
	slices.SortFunc(g.members, func(a, b Member) int { return strings.Compare(a.Upstream.ID(), b.Upstream.ID()) })
	g.order = newClasses(g.members)
	return g
}

// admits says whether a member takes the turn that it has: in slow start it takes only its share of them.
func (g *group) admits(u *upstream.Upstream) bool {
	s := u.Share()
	return s == upstream.FullShare || g.random.next()%upstream.FullShare < s
}

func usable(u *upstream.Upstream, m upstream.Mode, tried *upstream.Tried) bool {
	return u.Available(m) && !tried.Has(u)
}

// turn takes the next member in weighted round robin that is usable, as an index, or -1. Members that are
// not usable lose their turn, so the others keep their shares among themselves. When so few are left that
// turns are mostly lost, it draws from those exactly, by weight.
func (g *group) turn(m upstream.Mode, tried *upstream.Tried) int {
	for range min(2*len(g.members), 64) {
		if i := g.order.next(); usable(g.members[i].Upstream, m, tried) && g.admits(g.members[i].Upstream) {
			return i
		}
	}
	return g.draw(m, tried)
}

// draw picks among the usable members at random by weight in one pass (reservoir sampling).
func (g *group) draw(m upstream.Mode, tried *upstream.Tried) int {
	found, sum := -1, uint64(0)
	r := g.random.next()
	for i := range g.members {
		if !usable(g.members[i].Upstream, m, tried) {
			continue
		}
		w := uint64(g.members[i].Weight)
		sum += w
		r = mix(r)
		if below(r, sum) < w {
			found = i
		}
	}
	return found
}

// roundRobin is smooth weighted round robin.
type roundRobin struct{ *group }

func (p *roundRobin) Pick(_ uint64, m upstream.Mode, tried *upstream.Tried) *upstream.Upstream {
	if i := p.turn(m, tried); i >= 0 {
		return p.members[i].Upstream
	}
	return nil
}

// source is a random number generator for any number of goroutines: a counter whose values are mixed
// (splitmix64). It is for balancing, not for secrets.
type source struct{ n atomic.Uint64 }

func (s *source) next() uint64 { return mix(s.n.Add(0x9E3779B97F4A7C15)) }

// mix is splitmix64's finalizer: every bit of the result depends on every bit of x.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xBF58476D1CE4E5B9
	x ^= x >> 27
	x *= 0x94D049BB133111EB
	return x ^ x>>31
}
