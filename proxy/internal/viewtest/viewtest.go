// Package viewtest builds views for the tests of the data path, through state.Apply, so that a test sees
// what a node would.
package viewtest

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/lbnode/lbnode/state"
)

// Builder holds the newest of a series of views.
type Builder struct {
	t testing.TB
	v *state.View
}

// New starts with an empty view.
func New(t testing.TB) *Builder { return &Builder{t: t, v: state.NewView()} }

// View is the newest view.
func (b *Builder) View() *state.View { return b.v }

func (b *Builder) apply(c state.Command) {
	b.t.Helper()
	c.At = time.Unix(1_700_000_000, 0)
	next, res := state.Apply(b.v, b.v.Index+1, 1, c)
	if res.Refusal != nil {
		b.t.Fatalf("Apply(%+v) was refused: %+v", c, res.Refusal)
	}
	b.v = next
}

// Put stores objects, each given as its JSON document, in one transaction.
func (b *Builder) Put(k state.Kind, docs ...string) *Builder {
	b.t.Helper()
	var ops []state.Op
	for _, d := range docs {
		var id struct{ ID string }
		if err := json.Unmarshal([]byte(d), &id); err != nil {
			b.t.Fatalf("document %s: %v", d, err)
		}
		ops = append(ops, state.Op{Verb: state.VerbPut, Kind: k, ID: id.ID, Value: json.RawMessage(d)})
	}
	b.apply(state.Command{Type: state.TypeTxn, Ops: ops})
	return b
}

// Delete removes an object at once.
func (b *Builder) Delete(k state.Kind, id string) *Builder {
	b.t.Helper()
	b.apply(state.Command{Type: state.TypeTxn, Ops: []state.Op{{Verb: state.VerbDelete, Kind: k, ID: id, Force: true}}})
	return b
}

// Admin sets the admin state of backends.
func (b *Builder) Admin(s state.AdminState, ids ...string) *Builder {
	b.t.Helper()
	var ops []state.Op
	for _, id := range ids {
		ops = append(ops, state.Op{
			Verb: state.VerbPatch, Kind: state.KindBackend, ID: id,
			Value: json.RawMessage(`{"admin_state":"` + string(s) + `"}`),
		})
	}
	b.apply(state.Command{Type: state.TypeTxn, Ops: ops})
	return b
}

// Verdict sets the verdict of backends; without ids, of all that have another.
func (b *Builder) Verdict(to state.Verdict, ids ...string) *Builder {
	b.t.Helper()
	if len(ids) == 0 {
		for x := range b.v.Backends() {
			ids = append(ids, x.ID)
		}
	}
	var changes []state.StateChange
	for _, id := range ids {
		x, ok := b.v.Backend(id)
		if !ok {
			b.t.Fatalf("no backend %q", id)
		}
		if x.Verdict != to {
			changes = append(changes, state.StateChange{ID: id, Gen: x.Gen, From: x.Verdict, To: to})
		}
	}
	b.apply(state.Command{Type: state.TypeStates, Changes: changes})
	return b
}
