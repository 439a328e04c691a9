package state

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"
	"time"
)

var at = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// log applies commands one after the other, as the replicated log does, and checks what must always hold.
type log struct {
	t    testing.TB
	view *View
}

func newLog(t testing.TB) *log { return &log{t: t, view: NewView()} }

// do passes a command through its encoding and applies it at the next index.
func (l *log) do(c Command) Result {
	l.t.Helper()
	if c.At.IsZero() {
		c.At = at.Add(time.Duration(l.view.Index) * time.Second)
	}
	b, err := Encode(c)
	if err != nil {
		l.t.Fatal(err)
	}
	decoded, err := Decode(b)
	if err != nil {
		l.t.Fatal(err)
	}
	before := Hash(l.view)
	next, res := Apply(l.view, l.view.Index+1, 1, decoded)
	if after := Hash(l.view); after != before {
		l.t.Fatal("Apply changed the old view")
	}
	again, _ := Apply(l.view, l.view.Index+1, 1, decoded)
	if Hash(again) != Hash(next) {
		l.t.Fatal("Apply is not deterministic")
	}
	l.view = next
	return res
}

func (l *log) ops(ops ...Op) Result {
	l.t.Helper()
	return l.do(Command{Type: TypeTxn, Ops: ops})
}

// must applies operations that are not to be refused.
func (l *log) must(ops ...Op) Result {
	l.t.Helper()
	res := l.ops(ops...)
	if res.Refusal != nil {
		l.t.Fatalf("refused: %v %+v", res.Refusal, res.Refusal.Errors)
	}
	return res
}

func (l *log) states(changes ...StateChange) { l.do(Command{Type: TypeStates, Changes: changes}) }

func (l *log) backend(id string) *Backend {
	l.t.Helper()
	b, ok := l.view.Backend(id)
	if !ok {
		l.t.Fatalf("there is no backend %q", id)
	}
	return b
}

// parse reads "put backend a {json}"; kind, id and value are separated by single spaces, and verbs may
// carry "!" for force and "@n" for if_match.
func parse(t testing.TB, s string) Op {
	t.Helper()
	var o Op
	parts := bytes.SplitN([]byte(s), []byte(" "), 4)
	if len(parts) < 3 {
		t.Fatalf("operation %q", s)
	}
	verb := parts[0]
	if v, index, ok := bytes.Cut(verb, []byte("@")); ok {
		verb = v
		if _, err := fmt.Sscan(string(index), &o.IfMatch); err != nil {
			t.Fatal(err)
		}
	}
	if v, ok := bytes.CutSuffix(verb, []byte("!")); ok {
		verb, o.Force = v, true
	}
	o.Verb, o.Kind, o.ID = Verb(verb), Kind(parts[1]), string(parts[2])
	if len(parts) == 4 {
		o.Value = json.RawMessage(parts[3])
	}
	return o
}

func parseAll(t testing.TB, lines ...string) []Op {
	t.Helper()
	ops := make([]Op, len(lines))
	for i, s := range lines {
		ops[i] = parse(t, s)
	}
	return ops
}

// restored passes a view through a snapshot.
func restored(t testing.TB, v *View) *View {
	t.Helper()
	var buf bytes.Buffer
	if err := WriteSnapshot(&buf, v); err != nil {
		t.Fatal(err)
	}
	out, err := ReadSnapshot(&buf)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
