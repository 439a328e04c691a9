package balance

import (
	"math/rand/v2"
	"testing"
)

// plain is winner without its shortcut.
func plain(key uint64, nodes []node) int {
	at := 0
	for i := range nodes {
		if i > 0 && score(key, nodes[i]).beats(score(key, nodes[at])) {
			at = i
		}
	}
	return at
}

func TestWinner_passesOverNobodyWhoWins(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	evaluated, all := 0, 0
	for range 300 {
		nodes := make([]node, 1+r.IntN(150))
		most, scale := uint64(0), 1+r.Uint64N(1<<r.UintN(17))
		for i := range nodes {
			nodes[i] = node{r.Uint64(), 1 + r.Uint64N(scale)}
			most = max(most, nodes[i].weight)
		}
		for range 300 {
			key := r.Uint64()
			if got, want := winner(key, nodes, most), plain(key, nodes); got != want {
				t.Fatalf("winner(%#x, %v) = %d, want %d", key, nodes, got, want)
			}
			floor := score(key, nodes[plain(key, nodes)]).floor(most)
			for _, n := range nodes {
				if all++; mix(key^n.seed) >= floor {
					evaluated++
				}
			}
		}
	}
	// The winner itself and those that only a lighter weight keeps from winning.
	if evaluated*4 > all {
		t.Errorf("%d of %d nodes are beyond the floor of the winner: the shortcut shortens nothing", evaluated, all)
	}
}

// TestFloor checks the bound at its edge: whatever is below it does not beat the score, for all exponents.
func TestFloor(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4))
	for range 200_000 {
		best := scored{r.Uint64N(1 << (1 + r.UintN(33))), 1 + r.Uint64N(1000)}
		most := best.weight + r.Uint64N(1000)
		floor := best.floor(most)
		if floor == 0 {
			continue
		}
		if c := (scored{negLog2(floor - 1), most}); c.beats(best) {
			t.Fatalf("%+v: x = %#x is below the floor and beats it with weight %d", best, floor-1, most)
		}
	}
}
