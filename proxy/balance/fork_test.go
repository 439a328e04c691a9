package balance

import (
	"math/rand/v2"
	"testing"

	"github.com/lbnode/lbnode/proxy/upstream"
	"github.com/lbnode/lbnode/state"
)

// TestFork_isWhatIsPickedNext asks who is next before each pick, for every algorithm, with members failing and
// coming back and requests of different length running: the answer must be right each time, and asking must not
// move anything.
func TestFork_isWhatIsPickedNext(t *testing.T) {
	t.Parallel()
	forAll(t, func(t *testing.T, alg state.Algorithm) {
		f := newFleet(t, 3, 1, 2, 4, 1, 0, 7)
		p := New(alg, f.members)
		r := rand.New(rand.NewPCG(1, uint64(len(alg))))
		var open []upstream.Attempt
		for k := range 2000 {
			if i := r.IntN(40); i < 5 {
				f.down(i)
			} else if i < 12 {
				f.up(i % 5)
			}
			key := r.Uint64()
			want := p.Fork().Pick(key, upstream.New, nil)
			for range r.IntN(3) {
				p.Fork().Pick(r.Uint64(), upstream.New, nil)
			}
			got := p.Pick(key, upstream.New, nil)
			if got != want {
				t.Fatalf("pick %d = %s, the fork said %s", k, got.ID(), want.ID())
			}
			if got == nil {
				continue
			}
			if a, ok := got.Begin(upstream.New); ok {
				open = append(open, a)
			}
			if len(open) > 12 || r.IntN(3) == 0 && len(open) > 0 {
				open[0].End(upstream.Outcome{Status: 200})
				open = open[1:]
			}
		}
	})
}

func TestFork_empty(t *testing.T) {
	t.Parallel()
	forAll(t, func(t *testing.T, alg state.Algorithm) {
		if u := New(alg, nil).Fork().Pick(1, upstream.New, nil); u != nil {
			t.Errorf("Pick = %s, want nil", u.ID())
		}
	})
}
