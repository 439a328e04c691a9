package state

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// different is Changed as anybody would write it who has the time.
func different(a, b *View, k Kind) []string {
	ids := map[string]bool{}
	for o := range a.All(k) {
		ids[o.ObjectID()] = b.Get(k, o.ObjectID()) != o
	}
	for o := range b.All(k) {
		ids[o.ObjectID()] = a.Get(k, o.ObjectID()) != o
	}
	var out []string
	for id, differs := range ids {
		if differs {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

func TestView_changed(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	id := func() string { // many share a beginning, and some are the beginning of others
		s := "b"
		for range 1 + r.IntN(4) {
			s += []string{"0", "1", "a", "node", "-x"}[r.IntN(5)]
		}
		return s
	}
	views := []*View{NewView()}
	for range 60 {
		v := views[len(views)-1]
		var ops []Op
		for range 1 + r.IntN(1<<r.UintN(8)) {
			id := id()
			switch {
			case r.IntN(3) > 0:
				ops = append(ops, Op{Verb: VerbPut, Kind: KindBackend, ID: id, Value: fmt.Appendf(nil, `{"address":"h:%d"}`, 1+r.IntN(9))})
			case v.Get(KindBackend, id) != nil && !slices.ContainsFunc(ops, func(o Op) bool { return o.ID == id }):
				ops = append(ops, Op{Verb: VerbDelete, Kind: KindBackend, ID: id, Force: true})
			}
		}
		next, res := Apply(v, v.Index+1, 1, Command{Type: TypeTxn, Ops: ops})
		if len(ops) > 0 && res.Refusal != nil {
			t.Fatalf("Apply was refused: %+v", res.Refusal)
		}
		views = append(views, next)
	}
	views = append(views, restored(t, views[len(views)-1])) // shares nothing
	for i, a := range views {
		for j, b := range views {
			for _, k := range []Kind{KindBackend, KindRoute} {
				if diff := cmp.Diff(different(a, b, k), b.Changed(a, k)); diff != "" {
					t.Fatalf("Changed from view %d to %d, %s (-want +got):\n%s", i, j, k, diff)
				}
			}
		}
	}
}

// TestView_changedLooksAtFew: the work grows with the changes and hardly with the number of objects.
func TestView_changedLooksAtFew(t *testing.T) {
	t.Parallel()
	for _, n := range []int{10, 1000, 20_000} {
		v := NewView()
		var ops []Op
		for i := range n {
			ops = append(ops, Op{Verb: VerbPut, Kind: KindBackend, ID: fmt.Sprintf("backend-%05d", i), Value: []byte(`{"address":"h:1"}`)})
		}
		v, _ = Apply(v, 1, 1, Command{Type: TypeTxn, Ops: ops})
		next, _ := Apply(v, 2, 1, Command{Type: TypeTxn, Ops: []Op{{Verb: VerbPatch, Kind: KindBackend, ID: fmt.Sprintf("backend-%05d", n/2), Value: []byte(`{"weight":7}`)}}})
		d := differ{a: v.trees[KindBackend].Root(), b: next.trees[KindBackend].Root(), steps: 16}
		if !d.under("") || len(d.ids) != 1 {
			t.Errorf("of %d objects one changed: %v found after a look at %d prefixes, want 1 and at most 16", n, d.ids, 16-d.steps)
		}
	}
}

func BenchmarkView_changed(b *testing.B) {
	v := NewView()
	var ops []Op
	for i := range 10_000 {
		ops = append(ops, Op{Verb: VerbPut, Kind: KindBackend, ID: fmt.Sprintf("b%05d", i), Value: []byte(`{"address":"h:1"}`)})
	}
	v, _ = Apply(v, 1, 1, Command{Type: TypeTxn, Ops: ops})
	for _, n := range []int{1, 100, 10_000} {
		var some []Op
		for i := range n {
			some = append(some, Op{Verb: VerbPatch, Kind: KindBackend, ID: fmt.Sprintf("b%05d", i*(10_000/n)), Value: []byte(`{"weight":7}`)})
		}
		next, _ := Apply(v, 2, 1, Command{Type: TypeTxn, Ops: some})
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				if len(next.Changed(v, KindBackend)) != n {
					b.Fatal("not all are found")
				}
			}
		})
	}
	b.Run("all looked at", func(b *testing.B) {
		next, n := v, 0
		for b.Loop() {
			for x := range next.Backends() {
				if x.Weight == 7 {
					n++
				}
			}
		}
	})
}
