package balance

import (
	"math"
	"math/bits"
	"time"

	"github.com/lbnode/lbnode/proxy/upstream"
)

const (
	// scanAll is the largest group in which every member is compared.
	scanAll = 128
	// sample is how many members of a larger group are compared. The best of 32 random ones is among the
	// best 3 % of the group 62 times in 100, and far from the worst always.
	sample = 32
)

// least picks the member with the lowest load per weight, ties in weighted round robin.
type least struct {
	*group
	load  func(u *upstream.Upstream, now time.Duration) uint64
	timed bool // load looks at the clock
	// counted says that load looks at picks.
	counted bool
}

// maxLoad bounds loads, so that the product with a weight stays within 64 bits.
const maxLoad = math.MaxUint32 << 16

// reported is the load of least_load: what backends report of themselves, ties by requests in flight.
func reported(u *upstream.Upstream, _ time.Duration) uint64 {
	return u.LoadNow()<<8 | uint64(min(max(u.InFlight(), 0), 255))
}

// at is the load of a member. In slow start the same load weighs more, as it has less of its weight.
func (p *least) at(u *upstream.Upstream, now time.Duration) uint64 {
	l := p.load(u, now)
	if s := u.Share(); s != upstream.FullShare {
		return min(l*upstream.FullShare/s, maxLoad)
	}
	return l
}

// connections is the load of least_connections: the requests in flight.
func connections(u *upstream.Upstream, _ time.Duration) uint64 { return uint64(max(u.InFlight(), 0)) }

// latency is the load of least_latency: the expected time to work off what is in flight and one more.
// A backend that has not answered yet is idle or out of reach: it gets one request, and the next when the
// answer is there.
func latency(u *upstream.Upstream, now time.Duration) uint64 {
	l, n := u.LatencyAt(now), uint64(max(u.InFlight(), 0))
	if l == 0 {
		if n == 0 {
			return 0
		}
		return maxLoad + n
	}
	return min((uint64(l/time.Microsecond)+1)*(n+1), maxLoad)
}

func (p *least) Pick(_ uint64, m upstream.Mode, tried *upstream.Tried) *upstream.Upstream {
	u := p.pick(m, tried)
	if p.counted && u != nil {
		u.Pick()
	}
	return u
}

func (p *least) pick(m upstream.Mode, tried *upstream.Tried) *upstream.Upstream {
	first := p.turn(m, tried)
	if first < 0 {
		return nil
	}
	var now time.Duration
	u := p.members[first].Upstream
	if p.timed {
		now = u.Clock()
	}
	load := p.at(u, now)
	if load == 0 {
		return u // nothing is less loaded, and it has its turn
	}
	b := best{load: load, weight: uint64(p.members[first].Weight), at: first}
	if len(p.members) <= scanAll {
		// From the one whose turn it is onwards, so that ties do not all go to the first.
		for i := first + 1; i < len(p.members); i++ {
			p.offer(&b, i, now, m, tried)
		}
		for i := range first {
			p.offer(&b, i, now, m, tried)
		}
		return p.members[b.at].Upstream
	}
	r := p.random.next()
	for range sample {
		r = mix(r + 1)
		p.offer(&b, int(below(r, uint64(len(p.members)))), now, m, tried)
	}
	return p.members[b.at].Upstream
}

// best is the lowest load seen. The member whose turn it was stays in place on a tie.
type best struct {
	load, weight uint64
	at           int
}

func (p *least) offer(b *best, i int, now time.Duration, m upstream.Mode, tried *upstream.Tried) {
	u := p.members[i].Upstream
	if !usable(u, m, tried) || i != b.at && !p.admits(u) {
		return
	}
	load, w := p.at(u, now), uint64(p.members[i].Weight)
	// load/w < b.load/b.weight without a division.
	if load*b.weight < b.load*w {
		*b = best{load, w, i}
	}
}

// below maps a random 64-bit number to [0, n).
func below(r, n uint64) uint64 {
	hi, _ := bits.Mul64(r, n)
	return hi
}
