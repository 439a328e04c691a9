package state

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestApply_repeatedRequest(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	put := Command{Type: TypeTxn, RequestID: "r1", Actor: "ann", Ops: parseAll(t, `create backend a {"address":"h:1"}`)}
	first := l.do(put)
	l.must(parse(t, `delete! backend a`))

	put.Actor = "bob" // who and when do not make it another request
	if d := cmp.Diff(first, l.do(put)); d != "" {
		t.Errorf("a repeat has another result: %s", d)
	}
	if _, ok := l.view.Backend("a"); ok {
		t.Error("a repeat had its effect again")
	}

	other := put
	other.Ops = parseAll(t, `create backend b {"address":"h:1"}`)
	if res := l.do(other); res.Refusal == nil || res.Refusal.Code != CodeReused {
		t.Errorf("another request with the same id: %+v, want %s", res, CodeReused)
	}
	if d := cmp.Diff(first, l.do(put)); d != "" {
		t.Errorf("after a reuse a repeat has another result: %s", d)
	}

	// A refusal is remembered too: the answer to a question does not change when it is asked again.
	no := Command{Type: TypeTxn, RequestID: "r2", Ops: parseAll(t, `patch backend c {"weight":1}`)}
	refused := l.do(no)
	l.must(parse(t, `put backend c {"address":"h:3","weight":7}`))
	if d := cmp.Diff(refused, l.do(no)); d != "" || refused.Refusal == nil {
		t.Errorf("the repeat of a refused request has another result: %s", d)
	}

	// And all of that outlives a snapshot.
	l.view = restored(t, l.view)
	if d := cmp.Diff(first, l.do(put)); d != "" {
		t.Errorf("after a restore a repeat has another result: %s", d)
	}
}

func TestApply_dedupWindow(t *testing.T) {
	t.Parallel()
	v := NewView()
	cmd := func(i int) Command {
		return Command{Type: TypeTxn, RequestID: fmt.Sprintf("r%d", i), At: at, Ops: []Op{{
			Verb: VerbPut, Kind: KindBackend, ID: "a", Value: fmt.Appendf(nil, `{"address":"h:1","weight":%d}`, i%1000),
		}}}
	}
	var other *View // a replica that was restored half way
	for i := range maxResults + 100 {
		c := cmd(i)
		v, _ = Apply(v, v.Index+1, 1, c)
		if i == maxResults/2 {
			other = restored(t, v)
		} else if other != nil {
			other, _ = Apply(other, other.Index+1, 1, c)
		}
		v, _ = Apply(v, v.Index+1, 1, Command{Type: TypeInit}) // entries without an id take no place
		if other != nil {
			other, _ = Apply(other, other.Index+1, 1, Command{Type: TypeInit})
			if i == maxResults/2 {
				continue
			}
		}
	}
	if v.results.Len() != maxResults || v.byResult.Len() != maxResults {
		t.Errorf("%d and %d results kept, want %d", v.results.Len(), v.byResult.Len(), maxResults)
	}
	if Hash(v) != Hash(other) {
		t.Error("a replica that was restored in between forgets differently")
	}
	if _, ok := v.results.Get([]byte("r99")); ok {
		t.Error("r99 is still known, want the hundred oldest forgotten")
	}
	if _, res := Apply(v, v.Index+1, 1, cmd(100)); res.Index != 201 {
		t.Errorf("r100 has its result from index %d, want 201", res.Index)
	}
}
