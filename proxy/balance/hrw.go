package balance

import (
	"math/bits"

	"github.com/cespare/xxhash/v2"

	"github.com/lbnode/lbnode/proxy/upstream"
)

const (
	// shelves is the number of first-level groups, fixed for all sizes: a number that followed the number
	// of members would move nearly every key whenever it changed.
	shelves = 128
	// rehashes is how often a key looks for another place before all members are compared.
	rehashes = 16
	// boundFloor is the number of requests up to which a member is never too loaded to get one of its keys.
	boundFloor = 4
	// floorFrom is from how many nodes on it is worth a division to pass over those that cannot win.
	floorFrom = 48
)

// hrw is weighted rendezvous hashing (highest random weight) in two levels. Each member sits on one of 128
// shelves by the hash of its id. A key scores every shelf that is not empty by the shelf's weight, takes
// the best, and then does the same with the members on it. That is 10 scores for 10 members and about 200
// for 10,000, with no table to build; the homes of keys that come again are remembered, see memo.
//
// Adding, removing or re-weighting a member changes that member's score and its shelf's, no other. So a
// key moves only to the newcomer or its shelf, or away from the one that left, on every node alike.
//
// A key whose member is not usable is hashed again and takes the whole way anew, so that the load of a
// failed member spreads over all others by weight and comes back when it does. Integers only: floating
// point may round differently on another machine.
type hrw struct {
	*group
	bounded bool
	shelves []shelf
	heads   []node // of the shelves, side by side
	most    uint64 // weight of the heaviest shelf
	memo    memo
}

// node is something that a key scores.
type node struct {
	seed   uint64
	weight uint64
}

type shelf struct {
	node
	members []node
	at      []int32 // indexes into group.members
	most    uint64  // weight of the heaviest member
}

func newHRW(g *group) *hrw {
	p := &hrw{group: g, memo: newMemo(len(g.members))}
	var all [shelves]shelf
	for i, m := range g.members {
		seed := xxhash.Sum64String(m.Upstream.ID())
		s := &all[seed%shelves]
		s.seed = mix(seed % shelves)
		s.weight += uint64(m.Weight)
		s.members = append(s.members, node{seed, uint64(m.Weight)})
		s.at = append(s.at, int32(i))
		s.most = max(s.most, uint64(m.Weight))
	}
	for _, s := range all {
		if s.weight > 0 {
			p.shelves, p.heads = append(p.shelves, s), append(p.heads, s.node)
			p.most = max(p.most, s.weight)
		}
	}
	return p
}

func (p *hrw) Pick(key uint64, m upstream.Mode, tried *upstream.Tried) *upstream.Upstream {
	if len(p.members) == 0 {
		return nil
	}
	k := mix(key)
	var full *upstream.Upstream // the first one that is usable but has its fill
	for range rehashes {
		i := p.home(k)
		u := p.members[i].Upstream
		if usable(u, m, tried) && grown(u, k, i) {
			if !p.bounded || !p.loaded(i, m) {
				return u
			}
			if full == nil {
				full = u
			}
		}
		k = mix(k + 0x9E3779B97F4A7C15)
	}
	if full != nil {
		return full // the rest is unusable or full as well, so the key may as well stay at home
	}
	return p.flat(k, m, tried)
}

// grown says whether a key may go to its member already: in slow start only a part of its keys do, always the same
// ones, and more as it goes on.
func grown(u *upstream.Upstream, key uint64, member int) bool {
	s := u.Share()
	return s == upstream.FullShare || mix(key+uint64(member))%upstream.FullShare < s
}

// home is the member that a key belongs to.
func (p *hrw) home(key uint64) int {
	if i := p.memo.get(key); i >= 0 {
		return i
	}
	i := p.work(key)
	p.memo.put(key, i)
	return i
}

// work works out the home of a key.
func (p *hrw) work(key uint64) int {
	s := &p.shelves[winner(key, p.heads, p.most)]
	return int(s.at[winner(key, s.members, s.most)])
}

// winner is the node with the best score, the first of equals. most is the weight of the heaviest one.
//
// Hardly any node can win, and most need no logarithm to be told so: what cannot win even with the heaviest weight
// is passed over by its random number alone.
func winner(key uint64, nodes []node, most uint64) int {
	at := 0
	if len(nodes) == 1 {
		return at
	}
	best := score(key, nodes[0])
	if len(nodes) < floorFrom {
		for i := 1; i < len(nodes); i++ {
			if c := score(key, nodes[i]); c.beats(best) {
				best, at = c, i
			}
		}
		return at
	}
	floor := best.floor(most)
	for i := 1; i < len(nodes); i++ {
		n := nodes[i]
		x := mix(key ^ n.seed)
		if x < floor {
			continue
		}
		if c := (scored{negLog2(x), n.weight}); c.beats(best) {
			best, at = c, i
			floor = c.floor(most)
		}
	}
	return at
}

// floor is a random number below which no node of at most this weight beats a: 0 if it is not worth knowing.
//
// To win, a node's -log2(x/2^64) has to be below e = a.exp·most/a.weight. As 2^-e > 1 - e·ln 2, x has to be above
// (1 - e·ln 2)·2^64. The constants are rounded against the node by more than the error of negLog2.
func (a scored) floor(most uint64) uint64 {
	const one, slack, ln2 = 1 << 26, 1 << 10, 46516320 // ln 2 · 2^26 is 46516319.6
	hi, lo := bits.Mul64(a.exp, most)
	if hi >= a.weight {
		return 0
	}
	e, _ := bits.Div64(hi, lo, a.weight)
	if e >= one {
		return 0
	}
	drop := ((e+slack)*ln2)>>26 + 1 // in 2^-26ths
	if drop >= one {
		return 0
	}
	return (one - drop) << 38
}

// flat compares all usable members in one level, for groups of which hardly any is left.
func (p *hrw) flat(key uint64, m upstream.Mode, tried *upstream.Tried) *upstream.Upstream {
	var found *upstream.Upstream
	var b scored
	for i := range p.shelves {
		s := &p.shelves[i]
		for j := range s.members {
			u := p.members[s.at[j]].Upstream
			if !usable(u, m, tried) {
				continue
			}
			if c := score(key, s.members[j]); found == nil || c.beats(b) {
				b, found = c, u
			}
		}
	}
	return found
}

// loaded says that a member has more than 1.25 times its share of the requests in flight, by weight and
// among the members that are available. Large groups are judged by a sample.
func (p *hrw) loaded(i int, m upstream.Mode) bool {
	mine := p.members[i].Upstream.InFlight() + 1
	if mine <= boundFloor {
		return false
	}
	var sum, weight int64
	step := max(len(p.members)/64, 1)
	for j := i % step; j < len(p.members); j += step { // meets i itself too
		if u := p.members[j].Upstream; u.Available(m) {
			sum += u.InFlight()
			weight += p.members[j].part()
		}
	}
	return mine*weight*4 > (sum+1)*p.members[i].part()*5
}

// scored is a score as a fraction: an exponentially distributed number over the weight. The lowest wins,
// and wins in proportion to weight.
type scored struct{ exp, weight uint64 }

func (a scored) beats(b scored) bool { return a.exp*b.weight < b.exp*a.weight }

func score(key uint64, n node) scored { return scored{negLog2(mix(key ^ n.seed)), n.weight} }

// negLog2 is -log2 of x/2^64 in 26 fractional bits: below 2^33, so that a product with any sum of weights
// stays within 64 bits. The error of the interpolation is below 2^-18.
func negLog2(x uint64) uint64 {
	x |= 1 // log of 0
	lead := uint64(bits.LeadingZeros64(x))
	frac := x << lead << 1 // the bits after the leading one
	i := frac >> 56
	rest := frac >> 30 & (1<<26 - 1)
	lo, hi := log2Table[i], log2Table[i+1]
	return (lead+1)<<26 - (lo + (hi-lo)*rest>>26)
}
