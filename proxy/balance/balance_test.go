package balance

import (
	"fmt"
	"log/slog"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/lbnode/lbnode/proxy/internal/viewtest"
	"github.com/lbnode/lbnode/proxy/upstream"
	"github.com/lbnode/lbnode/state"
	"github.com/lbnode/lbnode/stats"
)

// fleet is a set of available backends "b0000", "b0001", … with the given weights.
type fleet struct {
	set     *upstream.Set
	members []Member
}

func newFleet(t testing.TB, weights ...int) *fleet {
	t.Helper()
	reg, err := stats.New(stats.Config{Now: stats.DefaultConfig().Now, Shards: 1})
	if err != nil {
		t.Fatal(err)
	}
	cfg := upstream.DefaultConfig()
	cfg.Logger, cfg.Stats = slog.New(slog.DiscardHandler), reg
	f := &fleet{}
	if f.set, err = upstream.NewSet(cfg); err != nil {
		t.Fatal(err)
	}
	docs := make([]string, len(weights))
	for i, w := range weights {
		docs[i] = fmt.Sprintf(`{"id":"b%04d","address":"10.0.%d.%d:80","weight":%d}`, i, i/250, i%250+1, w)
	}
	f.set.Update(viewtest.New(t).Put(state.KindBackend, docs...).Verdict(state.VerdictUp).View())
	for i, w := range weights {
		f.members = append(f.members, Member{f.set.Get(fmt.Sprintf("b%04d", i)), w})
	}
	return f
}

func (f *fleet) down(ids ...int) {
	for _, i := range ids {
		f.set.SetLocal(f.members[i].Upstream.ID(), true, "test")
	}
}

func (f *fleet) up(i int) { f.set.SetLocal(f.members[i].Upstream.ID(), false, "") }

func (f *fleet) index(u *upstream.Upstream) int {
	return slices.IndexFunc(f.members, func(m Member) bool { return m.Upstream == u })
}

// begin puts n requests on a member.
func (f *fleet) begin(t testing.TB, i, n int) (end func()) {
	t.Helper()
	var list []upstream.Attempt
	for range n {
		a, ok := f.members[i].Upstream.Begin(upstream.New)
		if !ok {
			t.Fatal("Begin = false")
		}
		list = append(list, a)
	}
	return func() {
		for _, a := range list {
			a.End(upstream.Outcome{Status: 200})
		}
	}
}

func forAll(t *testing.T, f func(t *testing.T, alg state.Algorithm)) {
	for _, alg := range state.Algorithms() {
		t.Run(string(alg), func(t *testing.T) {
			t.Parallel()
			f(t, alg)
		})
	}
}

// shares checks that picks are spread by weight over the members in want: within 2 %, which takes many picks.
func (f *fleet) shares(t *testing.T, p Picker, m upstream.Mode, tried *upstream.Tried, want []int) {
	t.Helper()
	byUpstream := map[*upstream.Upstream]int{}
	for k := range picks {
		byUpstream[p.Pick(uint64(k), m, tried)]++
	}
	total := 0
	for _, i := range want {
		total += f.members[i].Weight
	}
	seen := 0
	for _, i := range want {
		n := byUpstream[f.members[i].Upstream]
		seen += n
		expected := float64(picks) * float64(f.members[i].Weight) / float64(total)
		if off := math.Abs(float64(n)-expected) / expected; off > tolerance {
			t.Errorf("member %d of weight %d got %d picks, want %.0f (%.1f %% off)", i, f.members[i].Weight, n, expected, 100*off)
		}
	}
	if seen != picks {
		t.Errorf("%d of %d picks went elsewhere: %v", picks-seen, picks, byUpstream)
	}
}

func TestConformance_weights(t *testing.T) {
	t.Parallel()
	forAll(t, func(t *testing.T, alg state.Algorithm) {
		for _, weights := range [][]int{{1}, {1, 1, 1}, {1, 2, 3, 10}, {5, 1, 1}, {300, 700, 1000}, {0, 7, 0, 3}, slices.Repeat([]int{2, 4}, 10)} {
			f := newFleet(t, weights...)
			var want []int
			for i, w := range weights {
				if w > 0 {
					want = append(want, i)
				}
			}
			f.shares(t, New(alg, f.members), upstream.New, nil, want)
		}
	})
}

func TestConformance_unavailable(t *testing.T) {
	t.Parallel()
	forAll(t, func(t *testing.T, alg state.Algorithm) {
		f := newFleet(t, 3, 1, 2, 4, 1)
		p := New(alg, f.members)
		f.down(0, 4)
		f.shares(t, p, upstream.New, nil, []int{1, 2, 3})
		f.shares(t, p, upstream.Panic, nil, []int{0, 1, 2, 3, 4}) // panic ignores the veto
		f.down(1, 2)
		f.shares(t, p, upstream.New, nil, []int{3})
		f.down(3)
		if u := p.Pick(1, upstream.New, nil); u != nil {
			t.Errorf("all down: Pick = %s, want nil", u.ID())
		}
		f.up(2)
		f.shares(t, p, upstream.New, nil, []int{2})
	})
}

func TestConformance_tried(t *testing.T) {
	t.Parallel()
	forAll(t, func(t *testing.T, alg state.Algorithm) {
		f := newFleet(t, 3, 1, 2, 4)
		p := New(alg, f.members)
		var tried upstream.Tried
		tried.Add(f.members[3].Upstream)
		f.shares(t, p, upstream.New, &tried, []int{0, 1, 2})
		for _, m := range f.members[:3] {
			tried.Add(m.Upstream)
		}
		if u := p.Pick(1, upstream.New, &tried); u != nil {
			t.Errorf("all tried: Pick = %s, want nil", u.ID())
		}
	})
}

func TestConformance_fewLeftOfMany(t *testing.T) {
	t.Parallel()
	forAll(t, func(t *testing.T, alg state.Algorithm) {
		f := newFleet(t, slices.Repeat([]int{1, 3}, 50)...)
		for i := range f.members {
			if i != 10 && i != 11 {
				f.down(i)
			}
		}
		f.shares(t, New(alg, f.members), upstream.New, nil, []int{10, 11})
	})
}

// TestConformance_property picks with random weights, flags and tried sets: nil exactly if nobody is left.
func TestConformance_property(t *testing.T) {
	t.Parallel()
	forAll(t, func(t *testing.T, alg state.Algorithm) {
		rapid.Check(t, func(r *rapid.T) {
			weights := rapid.SliceOfN(rapid.IntRange(0, 50), 0, 40).Draw(r, "weights")
			f := newFleet(t, weights...)
			var tried upstream.Tried
			left := 0
			for i := range weights {
				isDown := rapid.Bool().Draw(r, "down")
				isTried := rapid.IntRange(0, 4).Draw(r, "tried") == 0 && tried.Len() < state.MaxRetries
				if isDown {
					f.down(i)
				}
				if isTried {
					tried.Add(f.members[i].Upstream)
				}
				if weights[i] > 0 && !isDown && !isTried {
					left++
				}
			}
			p := New(alg, f.members)
			for k := range uint64(30) {
				u := p.Pick(k*0x9E37, upstream.New, &tried)
				if (u == nil) != (left == 0) {
					r.Fatalf("Pick = %v with %d members left", u, left)
				}
				if u != nil && (!u.Available(upstream.New) || tried.Has(u)) {
					r.Fatalf("Pick = %s, which is down or tried", u.ID())
				}
			}
		})
	})
}

func TestConformance_allocs(t *testing.T) {
	for _, alg := range state.Algorithms() {
		f := newFleet(t, slices.Repeat([]int{1, 3}, 100)...)
		p := New(alg, f.members)
		f.down(1, 2, 3)
		var tried upstream.Tried
		tried.Add(f.members[0].Upstream)
		k := uint64(0)
		if n := testing.AllocsPerRun(1000, func() {
			k++
			p.Pick(k, upstream.New, &tried)
		}); n > 0 {
			t.Errorf("%s: Pick allocates %v times, want 0", alg, n)
		}
	}
}

func TestConformance_empty(t *testing.T) {
	t.Parallel()
	forAll(t, func(t *testing.T, alg state.Algorithm) {
		f := newFleet(t, 0)
		for _, members := range [][]Member{nil, f.members} {
			if u := New(alg, members).Pick(1, upstream.Panic, nil); u != nil {
				t.Errorf("Pick of an empty group = %s, want nil", u.ID())
			}
		}
	})
}

func TestRoundRobin_smooth(t *testing.T) {
	t.Parallel()
	for _, weights := range [][]int{{1, 1, 1}, {5, 1, 1}, {10, 10}, {7, 3, 2, 1}, {100, 1}, {64, 33, 5}} {
		f := newFleet(t, weights...)
		p := New(state.RoundRobin, f.members)
		total, div := 0, 0
		for _, w := range weights {
			total += w
			div = gcd(w, div)
		}
		// Over one round each member gets exactly its weight, and never waits much longer than its
		// even distance: three distances, as a weight of two classes can have no better worst case.
		last := make([]int, len(weights))
		count := make([]int, len(weights))
		round := total / div
		for k := 1; k <= 4*round; k++ {
			i := f.index(p.Pick(0, upstream.New, nil))
			if gap, even := k-last[i], float64(total)/float64(weights[i]); float64(gap) > 3*even+1 {
				t.Errorf("weights %v: member %d waited %d picks, even distance is %.1f", weights, i, gap, even)
			}
			last[i] = k
			count[i]++
		}
		for i, w := range weights {
			if want := 4 * w / div; count[i] != want {
				t.Errorf("weights %v: member %d got %d of %d picks, want exactly %d", weights, i, count[i], 4*round, want)
			}
		}
	}
}

func TestRoundRobin_alternatesWithoutFailed(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1, 1, 1)
	f.down(1)
	p := New(state.RoundRobin, f.members)
	last := f.index(p.Pick(0, upstream.New, nil))
	for range 100 {
		i := f.index(p.Pick(0, upstream.New, nil))
		if i == last {
			t.Fatalf("member %d got two picks in a row", i)
		}
		last = i
	}
}

func TestLeastConnections_picksLeast(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1, 2, 4)
	p := New(state.LeastConnections, f.members)
	defer f.begin(t, 0, 3)()
	defer f.begin(t, 1, 4)()
	defer f.begin(t, 2, 9)()
	// 3/1, 4/2, 9/4: the second
	for range 10 {
		if i := f.index(p.Pick(0, upstream.New, nil)); i != 1 {
			t.Fatalf("Pick = member %d, want 1", i)
		}
	}
}

func TestLeastConnections_evensOut(t *testing.T) {
	t.Parallel()
	for _, n := range []int{3, 300} {
		f := newFleet(t, slices.Repeat([]int{1}, n)...)
		p := New(state.LeastConnections, f.members)
		for range 20 * n {
			a, ok := p.Pick(0, upstream.New, nil).Begin(upstream.New)
			if !ok {
				t.Fatal("Begin = false")
			}
			defer a.End(upstream.Outcome{})
		}
		for i, m := range f.members {
			if got := m.Upstream.InFlight(); got < 18 || got > 22 {
				t.Errorf("%d members: member %d has %d requests, want about 20", n, i, got)
			}
		}
	}
}

func TestRandom_prefersLessLoaded(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1, 1)
	p := New(state.Random, f.members)
	defer f.begin(t, 0, 5)()
	n := 0
	for range 1000 {
		if f.index(p.Pick(0, upstream.New, nil)) == 0 {
			n++
		}
	}
	if n > 100 {
		t.Errorf("the loaded one of two members got %d of 1000 picks", n)
	}
}

func TestLeastLatency(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1, 1, 1)
	p := New(state.LeastLatency, f.members)
	// The first picks go to members that have not answered yet, one request each.
	var open []upstream.Attempt
	seen := map[int]bool{}
	for range 3 {
		u := p.Pick(0, upstream.New, nil)
		a, _ := u.Begin(upstream.New)
		open = append(open, a)
		seen[f.index(u)] = true
	}
	if len(seen) != 3 {
		t.Fatalf("first picks went to %v, want each member once", seen)
	}
	for _, a := range open {
		d := 20e6 // ns
		if f.index(a.Upstream) == 2 {
			d = 1e6
		}
		a.End(upstream.Outcome{Status: 200, FirstByte: upstreamDuration(d)})
	}
	for range 10 {
		if i := f.index(p.Pick(0, upstream.New, nil)); i != 2 {
			t.Fatalf("Pick = member %d, want the fast one", i)
		}
	}
	defer f.begin(t, 2, 100)() // 101 ms of work waits there
	if i := f.index(p.Pick(0, upstream.New, nil)); i == 2 {
		t.Error("Pick = the fast member with a long queue, want another")
	}
}
