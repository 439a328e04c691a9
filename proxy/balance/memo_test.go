package balance

import (
	"slices"
	"testing"

	"github.com/lbnode/lbnode/state"
)

// TestMemo_changesNothing asks for homes of keys, many times and in groups around the memo's bounds, and compares
// them with what is worked out.
func TestMemo_changesNothing(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 16, 17, 31, 32, 300} {
		f := newFleet(t, slices.Repeat([]int{1, 2, 5}, (n+2)/3)[:n]...)
		p := newHRW(newGroup(f.members))
		if got := len(p.memo.words) > 0; got != (n >= memoFrom) {
			t.Errorf("%d members: memo %t", n, got)
		}
		for range 2 {
			// Few enough keys that many come again, with others between that have the same place.
			for i := range uint64(5000) {
				key := i&15 | i>>4<<40
				if got, want := p.home(key), p.work(key); got != want {
					t.Fatalf("%d members: home of key %#x = %d, want %d", n, key, got, want)
				}
			}
		}
	}
}

func TestMemo(t *testing.T) {
	t.Parallel()
	m := newMemo(1000)
	if got := m.get(0); got != -1 {
		t.Errorf("an empty memo gives %d for key 0", got)
	}
	m.put(0, 999)
	if got := m.get(0); got != 999 {
		t.Errorf("get(0) = %d, want 999", got)
	}
	other := uint64(len(m.words)) // the same place
	if got := m.get(other); got != -1 {
		t.Errorf("another key at the same place gives %d", got)
	}
	m.put(other, 0)
	if a, b := m.get(0), m.get(other); a != -1 || b != 0 {
		t.Errorf("after another key: %d and %d, want -1 and 0", a, b)
	}
}

func BenchmarkPick_clients(b *testing.B) {
	for _, n := range []int{3, 10_000} {
		f := newFleet(b, slices.Repeat([]int{1, 2, 5}, (n+2)/3)[:n]...)
		p := New(state.ConsistentHash, f.members)
		b.Run(map[int]string{3: "3", 10_000: "10000"}[n], func(b *testing.B) {
			k := uint64(0)
			for b.Loop() { // of 50,000 clients
				k++
				p.Pick(k%50_000, 0, nil)
			}
		})
	}
}
