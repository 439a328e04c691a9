package shape

import (
	"math/rand/v2"

	"github.com/cespare/xxhash/v2"

	"github.com/lbnode/lbnode/state"
)

// Deal picks one of several shares by their weights.
type Deal struct {
	By   state.HashKey // source "" = by chance
	ends []uint64      // cumulative weights
	salt string
}

// NewDeal makes a deal for a route's split; nil if it has none.
func NewDeal(r *state.RouteSpec) *Deal {
	if len(r.Split) == 0 {
		return nil
	}
	d := &Deal{salt: r.ID, ends: make([]uint64, len(r.Split))}
	d.By, _ = state.KeyOf(r.SplitBy) // "" gives none
	sum := uint64(0)
	for i, s := range r.Split {
		sum += uint64(max(s.Weight, 0))
		d.ends[i] = sum
	}
	return d
}

// Random picks by chance.
func (d *Deal) Random() int { return d.at(rand.Uint64()) }

// Keyed picks the same share for the same key, on every node.
func (d *Deal) Keyed(key string) int {
	var h xxhash.Digest
	h.Reset()
	_, _ = h.WriteString(d.salt)
	_, _ = h.WriteString("\x00")
	_, _ = h.WriteString(key)
	return d.at(h.Sum64())
}

// at maps a number that is spread over all of uint64 to a share.
func (d *Deal) at(x uint64) int {
	sum := d.ends[len(d.ends)-1]
	if sum == 0 {
		return 0
	}
	x = (x >> 32) * sum >> 32
	for i, end := range d.ends {
		if x < end {
			return i
		}
	}
	return len(d.ends) - 1
}

// Chance says whether a share of percent of all requests has come.
func Chance(percent float64) bool { return percent >= 100 || rand.Float64()*100 < percent }
