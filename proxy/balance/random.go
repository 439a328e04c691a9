package balance

import "github.com/lbnode/lbnode/proxy/upstream"

// random is "the power of two choices": two members drawn by weight, the one with fewer requests per weight
// wins, the first on a tie. Draws come from an alias table (Vose's method), so a pick is O(1).
type random struct {
	*group
	alias []slot
}

// slot covers 1/n of all draws: share of them (in 2^32ths) go to its own member, the rest to other.
type slot struct {
	share uint64
	other int32
}

func newRandom(g *group) *random {
	n := len(g.members)
	p := &random{group: g, alias: make([]slot, n)}
	// Integers scaled by n make the table exact and equal on every machine.
	left := make([]uint64, n)
	var small, large []int32
	total := uint64(g.total)
	for i, m := range g.members {
		left[i] = uint64(m.Weight) * uint64(n)
		if left[i] < total {
			small = append(small, int32(i))
		} else {
			large = append(large, int32(i))
		}
	}
	for len(small) > 0 && len(large) > 0 {
		s, l := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		p.alias[s] = slot{share: left[s] << 32 / total, other: l}
		left[l] -= total - left[s]
		if left[l] < total {
			large = large[:len(large)-1]
			small = append(small, l)
		}
	}
	for _, i := range append(small, large...) {
		p.alias[i] = slot{share: 1 << 32, other: i}
	}
	return p
}

// sample draws a member by weight.
func (p *random) sample() int {
	r := p.random.next()
	i := below(r, uint64(len(p.alias)))
	s := p.alias[i]
	if mix(r)>>32 < s.share {
		return int(i)
	}
	return int(s.other)
}

func (p *random) Pick(_ uint64, m upstream.Mode, tried *upstream.Tried) *upstream.Upstream {
	first := p.choose(-1, m, tried)
	if first < 0 {
		return nil
	}
	second := p.choose(first, m, tried)
	if second < 0 {
		return p.members[first].Upstream
	}
	a, b := p.members[first], p.members[second]
	if b.Upstream.InFlight()*a.part() < a.Upstream.InFlight()*b.part() {
		return b.Upstream
	}
	return a.Upstream
}

// part is a member's weight as far as slow start lets it have it.
func (m Member) part() int64 { return int64(m.Weight) * int64(m.Upstream.Share()) }

// choose draws until it meets a usable member other than not. For the second choice (not ≥ 0) it gives up
// early: a second choice is a refinement, and in a group with one usable member there is none.
func (p *random) choose(not int, m upstream.Mode, tried *upstream.Tried) int {
	if len(p.members) == 0 {
		return -1
	}
	tries := min(2*len(p.members), 64)
	if not >= 0 {
		tries = 4
	}
	for range tries {
		if i := p.sample(); i != not && usable(p.members[i].Upstream, m, tried) && p.admits(p.members[i].Upstream) {
			return i
		}
	}
	if not >= 0 {
		return -1
	}
	return p.draw(m, tried)
}
