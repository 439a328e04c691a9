package balance

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/lbnode/lbnode/proxy/upstream"
	"github.com/lbnode/lbnode/state"
)

func upstreamDuration(ns float64) time.Duration { return time.Duration(ns) }

func (f *fleet) homes(p Picker) []string {
	out := make([]string, keys)
	for k := range out {
		out[k] = p.Pick(uint64(k)*0x9E3779B97F4A7C15, upstream.New, nil).ID()
	}
	return out
}

var hashing = []state.Algorithm{state.IPHash, state.ConsistentHash}

func TestHash_orderDoesNotMatter(t *testing.T) {
	t.Parallel()
	for _, alg := range hashing {
		f := newFleet(t, slices.Repeat([]int{1, 2, 3}, 50)...)
		want := f.homes(New(alg, f.members))
		slices.Reverse(f.members)
		if got := f.homes(New(alg, f.members)); !slices.Equal(got, want) {
			t.Errorf("%s: another order of members moved keys", alg)
		}
	}
}

// TestHash_golden pins the mapping: nodes of different versions must agree, or a rolling upgrade would tear
// every session from its backend.
func TestHash_golden(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1, 2, 3, 4, 5)
	p := New(state.ConsistentHash, f.members)
	got := ""
	for k := range uint64(40) {
		got += fmt.Sprint(f.index(p.Pick(k, upstream.New, nil)))
	}
	const want = "2333143032420433332444423441344412132023"
	if got != want {
		t.Errorf("homes of keys 0..39 = %q, want %q", got, want)
	}
}

func TestHash_minimalMovement(t *testing.T) {
	t.Parallel()
	for _, alg := range hashing {
		for _, n := range []int{3, 10, 100} {
			f := newFleet(t, slices.Repeat([]int{2}, n+1)...)
			all, fewer := f.homes(New(alg, f.members)), f.homes(New(alg, f.members[:n]))
			newcomer := f.members[n].Upstream.ID()
			moved, strays := 0, 0
			for k := range all {
				if all[k] != fewer[k] {
					moved++
					if all[k] != newcomer {
						strays++
					}
				}
			}
			ideal := float64(keys) / float64(n+1)
			// Strays are keys that moved between members that stayed: only those drawn to the newcomer's
			// shelf, and with few members shelves are rarely shared.
			if float64(moved) > 1.2*ideal+200 || float64(moved) < 0.8*ideal-200 || float64(strays) > 0.6*ideal {
				t.Errorf("%s, %d→%d members: %d of %d keys moved, %d between members that stayed; ideal is %.0f and 0", alg, n, n+1, moved, keys, strays, ideal)
			}
		}
	}
}

func TestHash_weightChangeMovesOneWay(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 5, 5, 5, 5)
	before := f.homes(New(state.IPHash, f.members))
	f.members[0].Weight = 6
	after := f.homes(New(state.IPHash, f.members))
	moved := 0
	for k := range before {
		if before[k] == after[k] {
			continue
		}
		moved++
		if after[k] != f.members[0].Upstream.ID() {
			t.Fatalf("key %d moved from %s to %s, want only moves to the heavier member", k, before[k], after[k])
		}
	}
	if want := keys * (6.0/21 - 5.0/20); math.Abs(float64(moved)-want) > want/4 {
		t.Errorf("%d keys moved, want about %.0f", moved, want)
	}
}

func TestHash_failureMovesOnlyItsKeysAndBack(t *testing.T) {
	t.Parallel()
	for _, alg := range hashing {
		f := newFleet(t, 1, 1, 1, 1, 1)
		p := New(alg, f.members)
		before := f.homes(p)
		f.down(2)
		during := f.homes(p)
		to := map[string]int{}
		for k := range before {
			if before[k] != f.members[2].Upstream.ID() {
				if during[k] != before[k] {
					t.Fatalf("%s: key %d moved from %s, which is up, to %s", alg, k, before[k], during[k])
				}
				continue
			}
			to[during[k]]++
		}
		for id, n := range to {
			if float64(n) < keys/5/4*0.7 {
				t.Errorf("%s: %s took over only %d keys: the load of a failed member must spread", alg, id, n)
			}
		}
		f.up(2)
		if after := f.homes(p); !slices.Equal(after, before) {
			t.Errorf("%s: keys did not come back", alg)
		}
	}
}

func TestConsistentHash_bounded(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1, 1, 1, 1)
	const key = 42
	bounded, strict := New(state.ConsistentHash, f.members), New(state.IPHash, f.members)
	home := f.index(strict.Pick(key, upstream.New, nil))
	for range 100 {
		a, ok := bounded.Pick(key, upstream.New, nil).Begin(upstream.New)
		if !ok {
			t.Fatal("Begin = false")
		}
		defer a.End(upstream.Outcome{})
	}
	// 100 requests of one key: at most 1.25 times the mean of 25, and one for rounding.
	for i, m := range f.members {
		if n := m.Upstream.InFlight(); n > 33 {
			t.Errorf("member %d has %d requests, want at most 33", i, n)
		}
	}
	if n := f.members[home].Upstream.InFlight(); n < 25 {
		t.Errorf("home has %d requests, want its full share", n)
	}
	if got := f.index(strict.Pick(key, upstream.New, nil)); got != home {
		t.Errorf("ip_hash under load = member %d, want %d", got, home)
	}
}

func TestNegLog2(t *testing.T) {
	t.Parallel()
	for _, x := range []uint64{1, 2, 3, 1 << 20, 1<<63 - 1, 1 << 63, 3 << 62, math.MaxUint64, 0xDEADBEEFCAFEBABE} {
		got := float64(negLog2(x)) / (1 << 26)
		want := 64 - math.Log2(float64(x|1))
		if math.Abs(got-want) > 1e-5 {
			t.Errorf("negLog2(%#x) = %v, want %v", x, got, want)
		}
	}
}

func BenchmarkPick(b *testing.B) {
	for _, alg := range state.Algorithms() {
		for _, n := range []int{3, 100, 10_000} {
			f := newFleet(b, slices.Repeat([]int{1, 2, 5}, (n+2)/3)[:n]...)
			p := New(alg, f.members)
			b.Run(fmt.Sprintf("%s/%d", alg, n), func(b *testing.B) {
				b.ReportAllocs()
				k := uint64(0)
				for b.Loop() {
					k++
					p.Pick(k, upstream.New, nil)
				}
			})
		}
	}
}

func BenchmarkNew(b *testing.B) {
	f := newFleet(b, slices.Repeat([]int{1, 2, 5}, 10_000/3)...)
	for _, alg := range state.Algorithms() {
		b.Run(string(alg), func(b *testing.B) {
			for b.Loop() {
				New(alg, f.members)
			}
		})
	}
}
