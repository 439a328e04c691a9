package state

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// told is a change in a line: what it says of each object, without the objects.
func told(c *Change) string {
	s := fmt.Sprintf("%d %s", c.Index, c.Summary)
	for _, o := range c.Objects {
		s += fmt.Sprintf(" | %s %s/%s %v", o.Effect, o.Kind, o.ID, o.Fields())
	}
	return s
}

func TestHistory(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	l.do(Command{Type: TypeTxn, RequestID: "r1", Actor: "ann", Ops: parseAll(t, `put backend a {"address":"h:1"}`)})
	l.must(parse(t, `patch backend a {"weight":7,"tags":["x"]}`))
	l.must(parse(t, `patch backend a {"weight":7}`)) // changes nothing
	l.ops(parse(t, `delete backend nope`))           // refused
	l.do(Command{Type: TypeTxn, RequestID: "r1", Ops: parseAll(t, `put backend a {"address":"h:1"}`)})
	l.states(StateChange{ID: "a", Gen: 1, From: VerdictUnknown, To: VerdictUp}) // health is no change of the configuration
	l.do(Command{Type: TypeTxn, Note: "rollback of 9", Ops: parseAll(t, `put pool p {}`, `put backend b {"address":"h:2","pool":"p"}`, `put route r {"backend_pool":"p"}`,
		`patch route r {"match":{"path":"/x"}}`, `patch backend a {"weight":1}`, `patch backend a {"weight":7}`)})
	l.must(parse(t, `delete backend a`))
	l.states(StateChange{ID: "a", Drained: 8})
	l.must(parse(t, `delete route r`), parse(t, `delete! pool p`))
	want := []string{
		"1 created backend a, created pool default | created backend/a [] | created pool/default []",
		"2 updated backend a: tags, weight | updated backend/a [/tags /weight]",
		"7 rollback of 9: created backend b, created pool p, created route r | created backend/b [] | created pool/p [] | created route/r []",
		"8 updated backend a: admin_state | updated backend/a [/admin_state]",
		"9 deleted backend a | deleted backend/a []",
		"10 deleted backend b, deleted pool p, deleted route r | deleted backend/b [] | deleted pool/p [] | deleted route/r []",
	}
	for _, v := range []*View{l.view, restored(t, l.view)} {
		var got, back []string
		for c := range v.ChangesAfter(0) {
			got = append(got, told(c))
		}
		for c := range v.ChangesBefore(0) {
			back = append(back, told(c))
		}
		slices.Reverse(back)
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
		if d := cmp.Diff(want, back); d != "" {
			t.Errorf("backwards: %s", d)
		}
		if v.historySize != l.view.historySize {
			t.Errorf("the restored history has %d bytes, want %d", v.historySize, l.view.historySize)
		}
	}
	c, ok := l.view.Change(1)
	if !ok || c.Actor != "ann" || c.RequestID != "r1" || !c.At.Equal(at) || c.Objects[0].Before != nil || !strings.Contains(string(c.Objects[0].After), `"address":"h:1"`) {
		t.Errorf("Change(1) = %+v", c)
	}
	if _, ok := l.view.Change(3); ok {
		t.Error("an operation that changed nothing is in the history")
	}
	var some []uint64
	for c := range l.view.ChangesBefore(8) {
		some = append(some, c.Index)
	}
	if d := cmp.Diff([]uint64{7, 2, 1}, some); d != "" {
		t.Errorf("before 8: %s", d)
	}
	some = nil
	for c := range l.view.ChangesAfter(8) {
		some = append(some, c.Index)
	}
	if d := cmp.Diff([]uint64{9, 10}, some); d != "" {
		t.Errorf("after 8: %s", d)
	}
	if res, ok := l.view.ResultOf("r1"); !ok || res.Index != 1 {
		t.Errorf("ResultOf(r1) = %+v, %t", res, ok)
	}
}

func TestCompose(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	l.must(parse(t, `put pool default {}`), parse(t, `put backend a {"address":"h:1"}`), parse(t, `put backend b {"address":"h:2"}`), parse(t, `put backend z {"address":"h:9"}`))
	l.must(parse(t, `patch backend a {"weight":2}`), parse(t, `delete! backend b`), parse(t, `patch backend z {"weight":2}`))
	l.must(parse(t, `patch backend a {"weight":3}`), parse(t, `put backend c {"address":"h:3"}`), parse(t, `put backend d {"address":"h:4"}`), parse(t, `patch backend z {"weight":1}`))
	l.must(parse(t, `delete! backend d`), parse(t, `put pool p {}`))
	got, truncated := Compose(l.view.ChangesAfter(1))
	var lines []string
	for _, o := range got {
		lines = append(lines, fmt.Sprintf("%s %s/%s %v", o.Effect, o.Kind, o.ID, o.Fields()))
	}
	want := []string{"updated backend/a [/weight]", "deleted backend/b []", "created backend/c []", "created pool/p []"}
	if d := cmp.Diff(want, lines); d != "" || truncated != nil {
		t.Errorf("%s, truncated %v", d, truncated)
	}
	if !strings.Contains(string(got[0].Before), `"weight":1`) || !strings.Contains(string(got[0].After), `"weight":3`) {
		t.Errorf("a goes from %s to %s", got[0].Before, got[0].After)
	}
}

// The history is bounded by number and size, and the newest entries are those that stay.
func TestHistory_bounds(t *testing.T) {
	t.Parallel()
	v := NewView()
	change := func(i int, value string) {
		t.Helper()
		raw, err := json.Marshal(map[string]any{"address": fmt.Sprintf("h:%d", i%60000+1), "tags": []string{value}})
		if err != nil {
			t.Fatal(err)
		}
		var res Result
		v, res = Apply(v, v.Index+1, 1, Command{Type: TypeTxn, At: at, Ops: []Op{{Verb: VerbPut, Kind: KindBackend, ID: "a", Value: raw}}})
		if res.Refusal != nil {
			t.Fatal(res.Refusal)
		}
	}
	for i := range maxHistory + 50 {
		change(i, "x")
	}
	if n := v.history.Len(); n != maxHistory || v.HistoryBase() != 50 {
		t.Errorf("%d entries after %d, want %d after 50", n, v.HistoryBase(), maxHistory)
	}
	if Hash(restored(t, v)) != Hash(v) {
		t.Error("a full history does not survive a snapshot")
	}
	secret := strings.Repeat("s", maxPattern)
	for v.HistoryBase() < 400 { // by size now
		ops := make([]Op, 200)
		for i := range ops {
			raw, err := json.Marshal(map[string]string{"secret": secret[:1000] + fmt.Sprint(v.Index)})
			if err != nil {
				t.Fatal(err)
			}
			ops[i] = Op{Verb: VerbPut, Kind: KindFrontend, ID: fmt.Sprintf("f%d", i), Value: raw}
		}
		v, _ = Apply(v, v.Index+1, 1, Command{Type: TypeTxn, At: at, Ops: ops})
	}
	sum := 0
	for c := range v.ChangesAfter(0) {
		sum += c.size
	}
	if sum != v.historySize || sum > maxHistoryBytes || v.history.Len() >= maxHistory {
		t.Errorf("%d entries of %d bytes, counted as %d; want at most %d", v.history.Len(), sum, v.historySize, maxHistoryBytes)
	}
	if _, ok := v.Change(v.Index); !ok {
		t.Error("the newest change is not in the history")
	}
}

// A change that is larger than the history may be keeps the names of the objects.
func TestHistory_tooLarge(t *testing.T) {
	t.Parallel()
	v := NewView()
	const objects = 40
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: make([]byte, 180<<10)}))
	raw, err := json.Marshal(map[string]any{"tls": map[string]string{"ca": ca}})
	if err != nil {
		t.Fatal(err)
	}
	var all []Op
	for i := range objects {
		id := fmt.Sprintf("p%d", i)
		v, _ = Apply(v, v.Index+1, 1, Command{Type: TypeTxn, At: at, Ops: []Op{{Verb: VerbPut, Kind: KindPool, ID: id, Value: raw}}})
		all = append(all, Op{Verb: VerbDelete, Kind: KindPool, ID: id})
	}
	v, _ = Apply(v, v.Index+1, 1, Command{Type: TypeTxn, At: at, Ops: all})
	c, ok := v.Change(v.Index)
	if !ok || !c.Truncated || len(c.Objects) != objects || c.Objects[0].Before != nil || !strings.Contains(c.Summary, "and 37 more") {
		t.Fatalf("the change of everything is %t %+v", ok, c)
	}
	if _, truncated := Compose(v.ChangesAfter(c.Index - 1)); truncated != c {
		t.Error("a truncated change was put together with others")
	}
	if Hash(restored(t, v)) != Hash(v) {
		t.Error("it does not survive a snapshot")
	}
}
