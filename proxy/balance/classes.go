package balance

import (
	"math/bits"
	"sync/atomic"
)

// classes is weighted round robin in O(1) without a lock. Weights, divided by their greatest common
// divisor, are cut into their bits: class b holds the members whose weight has bit b, each with share 2^b.
// One counter steps through all shares in strides near the golden section, which visits every share once
// in each round and spreads those of a class evenly; within a class members simply take turns. So over a
// round each member gets exactly its weight, evenly spread, and equal weights are plain round robin. The
// memory is a few words per member, where an unrolled sequence could need a thousand.
type classes struct {
	list   []class
	round  uint64 // sum of all shares
	stride uint64 // coprime to round
	at     *atomic.Uint64
}

type class struct {
	upTo    uint64 // end of its shares in [0, round)
	members []int32
	turn    *atomic.Uint64
}

func newClasses(members []Member) classes {
	if len(members) == 0 {
		return classes{}
	}
	div := 0
	for _, m := range members {
		div = gcd(m.Weight, div)
	}
	c := classes{at: new(atomic.Uint64)}
	for b := bits.Len(uint(maxWeight(members)/div)) - 1; b >= 0; b-- {
		cl := class{turn: new(atomic.Uint64)}
		for i, m := range members {
			if m.Weight/div>>b&1 == 1 {
				cl.members = append(cl.members, int32(i))
			}
		}
		if len(cl.members) == 0 {
			continue
		}
		c.round += uint64(len(cl.members)) << b
		cl.upTo = c.round
		c.list = append(c.list, cl)
	}
	c.stride = max(uint64(float64(c.round)*0.6180339887498949), 1)
	for gcd64(c.stride, c.round) != 1 {
		c.stride++ // ends: round+1 is coprime to round, and next reduces it to 1
	}
	return c
}

func maxWeight(members []Member) int {
	w := 0
	for _, m := range members {
		w = max(w, m.Weight)
	}
	return w
}

// next gives the index of the member whose turn it is.
func (c *classes) next() int {
	i := 0
	if len(c.list) > 1 {
		// The remainder keeps the product within 64 bits: a round has fewer than 2^32 shares.
		p := (c.at.Add(1) - 1) % c.round * c.stride % c.round
		for p >= c.list[i].upTo { // at most ten classes; ends, because the last one ends at round
			i++
		}
	}
	k := &c.list[i]
	return int(k.members[(k.turn.Add(1)-1)%uint64(len(k.members))])
}

func gcd(a, b int) int { return int(gcd64(uint64(a), uint64(b))) }

func gcd64(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
