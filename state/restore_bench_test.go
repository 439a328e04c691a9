package state

import (
	"fmt"
	"testing"
)

// large is a view with so many backends in ten pools, a route for every tenth, and a frontend for every hundredth.
func large(t testing.TB, backends int) *View {
	t.Helper()
	v := NewView()
	var ops []Op
	flush := func() {
		next, res := Apply(v, v.Index+1, 1, Command{Type: TypeTxn, At: at, Ops: ops})
		if res.Refusal != nil {
			t.Fatal(res.Refusal)
		}
		v, ops = next, nil
	}
	put := func(k Kind, id, value string) {
		ops = append(ops, Op{Verb: VerbPut, Kind: k, ID: id, Value: []byte(value)})
		if len(ops) == 500 {
			flush()
		}
	}
	for i := range backends {
		put(KindBackend, fmt.Sprintf("b%05d", i), fmt.Sprintf(`{"address":"10.%d.%d.%d:80","pool":"p%d","tags":["a","b"]}`, i>>16, i>>8&255, i&255, i%10))
		if i%10 == 0 {
			put(KindRoute, fmt.Sprintf("r%05d", i), fmt.Sprintf(`{"match":{"path":"/r%d"},"backend_pool":"p%d"}`, i, i%10))
		}
		if i%100 == 0 {
			put(KindFrontend, fmt.Sprintf("f%05d", i), fmt.Sprintf(`{"hosts":["f%d.example.org"],"key":"k%d"}`, i, i))
		}
	}
	flush()
	return v
}

func BenchmarkRestore(b *testing.B) {
	for name, change := range map[string]int{"same": 0, "all": 1} {
		b.Run(name, func(b *testing.B) {
			v := large(b, 10_000)
			r := restoration(b, v)
			if change == 1 {
				v = NewView()
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, res := Apply(v, v.Index+1, 1, Command{Type: TypeRestore, At: at, Restore: r}); res.Refusal != nil {
					b.Fatal(res.Refusal)
				}
			}
		})
	}
}
