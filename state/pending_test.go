package state

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// confirmed is a change that must be confirmed within 5 minutes.
func (l *log) confirmed(ops ...Op) Result {
	l.t.Helper()
	res := l.do(Command{Type: TypeTxn, Ops: ops, ConfirmWithin: Duration(5 * time.Minute)})
	if res.Refusal != nil {
		l.t.Fatalf("refused: %v", res.Refusal)
	}
	return res
}

func (l *log) settle(index uint64, revert bool) Result {
	l.t.Helper()
	return l.do(Command{Type: TypeTxn, Actor: "lbnode@n1", Settle: &Settlement{Index: index, Revert: revert}})
}

// specs is what operators have said of everything, a line for each object.
func specs(v *View) []string {
	var out []string
	for _, k := range Kinds() {
		for o := range v.All(k) {
			out = append(out, fmt.Sprintf("%s %s", k, specJSON(o)))
		}
	}
	return out
}

func last(v *View) *Change {
	for c := range v.ChangesBefore(0) {
		return c
	}
	return nil
}

const (
	setup = `put pool p {}
put pool gone {"algorithm":"random"}
put backend a {"address":"h:1","pool":"p","weight":3}
put backend b {"address":"h:2","pool":"p","tags":["x"]}
put route r {"backend_pool":"p","match":{"path":"/x"}}
put frontend f1 {"hosts":["one.example.org"],"secret":"s1"}
put frontend f2 {"hosts":["two.example.org"]}
put frontend f3 {"hosts":["three.example.org"]}`
	// edit changes, creates and deletes something of each kind; the frontends pass a host on.
	edit = `patch backend a {"weight":7}
delete backend b
put backend c {"address":"h:3","pool":"new"}
delete pool gone
delete route r
put route r2 {"backend_pool":"new"}
patch frontend f1 {"hosts":["zero.example.org"],"secret":"s2"}
patch frontend f2 {"hosts":["one.example.org"]}
delete frontend f3
put frontend f4 {"hosts":["two.example.org","three.example.org"]}`
)

func lines(t testing.TB, s string) []Op { return parseAll(t, strings.Split(s, "\n")...) }

func TestPending_revert(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		between string // what others do meanwhile
		drained string // backends whose drain ends meanwhile
		differs []string
		note    []string
	}{
		{
			name: "untouched", differs: []string{`+backend c`, `+pool new`},
			note: []string{"revert of 2, which was not confirmed by 2026-01-02T03:09:06Z; kept, as still in use: pool/new: "},
		},
		{
			name: "a drain is over", drained: "b", differs: []string{`+backend c`, `+pool new`},
		},
		{
			name: "others changed objects", between: `patch backend a {"weight":8}
put route r {"backend_pool":"p","match":{"path":"/y"}}
patch frontend f1 {"secret":"s3"}`,
			differs: []string{`+backend c`, `+pool new`, `~backend a`, `~frontend f1`, `~route r`},
			note:    []string{"left alone, as changed since: backend/a, route/r, frontend/f1; kept"},
		},
		{
			name: "others use what was created", between: `put route mine {"backend_pool":"new"}
delete! backend c`,
			differs: []string{`+pool new`, `+route mine`}, note: []string{"changed since: backend/c", "in use: pool/new"},
		},
		{
			name: "others took what was freed", between: `patch frontend f4 {"hosts":["four.example.org"]}
put frontend mine {"hosts":["two.example.org"]}`,
			// f1 cannot have its host back as long as f2 cannot
			differs: []string{`+backend c`, `+frontend f4`, `+frontend mine`, `+pool new`, `~frontend f1`, `~frontend f2`},
			note:    []string{"changed since: frontend/f4, frontend/f1, frontend/f2"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			l := newLog(t)
			l.must(lines(t, setup)...)
			was := l.view
			l.confirmed(lines(t, edit)...)
			if tc.between != "" {
				l.must(lines(t, tc.between)...)
			}
			if tc.drained != "" {
				l.states(StateChange{ID: tc.drained, Drained: 2})
				if _, ok := l.view.Backend(tc.drained); ok {
					t.Fatalf("backend %s has not drained", tc.drained)
				}
			}
			l.view = restored(t, l.view) // as a node that joined meanwhile has it
			if res := l.settle(2, true); res.Refusal != nil {
				t.Fatal(res.Refusal)
			}
			if d := cmp.Diff(tc.differs, differences(was, l.view)); d != "" {
				t.Errorf("what differs from before the change: %s", d)
			}
			c := last(l.view)
			for _, s := range tc.note {
				if !strings.Contains(c.Summary, s) {
					t.Errorf("summary = %q, want %q in it", c.Summary, s)
				}
			}
			if res := l.settle(2, true); res.Refusal == nil || res.Refusal.Code != CodeNotFound {
				t.Errorf("a second revert = %+v, want not_found", res)
			}
			for range l.view.Pendings() {
				t.Error("it still waits")
			}
		})
	}
}

// differences names what two views say differently, "+" for what only the second has.
func differences(a, b *View) []string {
	out := []string{}
	for _, k := range Kinds() {
		for o := range a.All(k) {
			switch n := b.Get(k, o.ObjectID()); {
			case n == nil:
				out = append(out, "-"+string(k)+" "+o.ObjectID())
			case !bytes.Equal(specJSON(o), specJSON(n)):
				out = append(out, "~"+string(k)+" "+o.ObjectID())
			}
		}
		for n := range b.All(k) {
			if a.Get(k, n.ObjectID()) == nil {
				out = append(out, "+"+string(k)+" "+n.ObjectID())
			}
		}
	}
	slices.Sort(out)
	return out
}

// Every kind of object is undone, and no revert takes the last admin away.
func TestPending_revertsAllKinds(t *testing.T) {
	t.Parallel()
	hash := func(c string) string { return strings.Repeat(c, 64) }
	l := newLog(t)
	l.must(lines(t, `put token root {"role":"admin","hash":"`+hash("a")+`"}
put token eve {"role":"admin","hash":"`+hash("b")+`"}
put pool p {}`)...)
	was := l.view
	l.confirmed(lines(t, `patch settings cluster {"fence_after":"5s"}
patch token eve {"role":"viewer"}
put token new {"role":"operator","hash":"`+hash("c")+`"}
patch pool p {"algorithm":"random"}`)...)
	l.settle(2, true)
	if d := differences(was, l.view); len(d) != 0 {
		t.Errorf("after the revert there differ %v", d)
	}
	for _, k := range Kinds() {
		if !slices.Contains(revertedKinds(), k) {
			t.Errorf("a revert leaves objects of kind %s out", k)
		}
	}
	l = newLog(t)
	l.must(lines(t, `put token eve {"role":"viewer","hash":"`+hash("b")+`"}`)...)
	l.confirmed(lines(t, `patch token eve {"role":"admin"}`)...)
	l.settle(2, true)
	if tok, _ := l.view.Token("eve"); tok.Role != RoleAdmin || !strings.Contains(last(l.view).Summary, "token/eve") {
		t.Errorf("eve is %s, history: %s", tok.Role, last(l.view).Summary)
	}
}

func TestPending_confirm(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	l.must(lines(t, setup)...)
	l.confirmed(lines(t, edit)...)
	p, ok := l.view.Pending(2)
	if !ok || !p.Deadline.Equal(at.Add(time.Second+5*time.Minute)) || p.Change.Index != 2 {
		t.Fatalf("Pending(2) = %+v, %t", p, ok)
	}
	was := specs(l.view)
	if res := l.settle(2, false); res.Refusal != nil {
		t.Fatal(res.Refusal)
	}
	if d := cmp.Diff(was, specs(l.view)); d != "" {
		t.Errorf("a confirmation changed something: %s", d)
	}
	if c := last(l.view); c.Summary != "confirmed change 2" || c.Actor != "lbnode@n1" || len(c.Objects) != 0 {
		t.Errorf("history = %+v", c)
	}
	for _, revert := range []bool{true, false} {
		if res := l.settle(2, revert); res.Refusal == nil || res.Refusal.Code != CodeNotFound {
			t.Errorf("settled again with revert %t = %+v, want not_found", revert, res)
		}
	}
	if d := cmp.Diff(was, specs(l.view)); d != "" {
		t.Errorf("a late revert changed something: %s", d)
	}
}

func TestPending_refused(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	l.must(lines(t, setup)...)
	l.confirmed(parse(t, `patch backend a {"weight":7}`)) // 2
	pend := func(within time.Duration, when time.Time, op string) Result {
		return l.do(Command{Type: TypeTxn, Ops: parseAll(t, op), ConfirmWithin: Duration(within), At: when})
	}
	for name, tc := range map[string]struct {
		res  Result
		code Code
		refs []string
	}{
		"about the same object": {pend(time.Minute, at, `patch backend a {"weight":8}`), CodeInUse, []string{"backend/a"}},
		"no time":               {pend(-1, at, `patch backend b {"weight":8}`), CodeInvalid, nil},
		"too late for JSON":     {pend(time.Hour, time.Date(9999, 12, 31, 23, 59, 0, 0, time.UTC), `patch backend b {"weight":8}`), CodeInvalid, nil},
	} {
		if r := tc.res.Refusal; r == nil || r.Code != tc.code || !slices.Equal(r.Refs, tc.refs) {
			t.Errorf("%s: %+v, want %s", name, r, tc.code)
		}
	}
	if l.backend("b").Weight != 1 || l.backend("a").Weight != 7 {
		t.Error("a refused command had an effect")
	}
	// What changes nothing has nothing to wait for.
	if res := pend(time.Minute, at, `patch backend b {"weight":1}`); res.Refusal != nil {
		t.Errorf("refused: %v", res.Refusal)
	}
	for i := range maxPending - 1 {
		if res := pend(time.Minute, at, fmt.Sprintf(`put pool p%d {}`, i)); res.Refusal != nil {
			t.Fatalf("pending change %d: %v", i+2, res.Refusal)
		}
	}
	if res := pend(time.Minute, at, `put pool more {}`); res.Refusal == nil || res.Refusal.Code != CodeInUse {
		t.Errorf("one too many: %+v, want %s", res, CodeInUse)
	}
	l.must(parse(t, `patch backend a {"weight":9}`)) // without confirm_within that is everybody's right
}

// A repeat has its effect once; the same request id for another time is another request.
func TestPending_repeated(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	c := Command{Type: TypeTxn, RequestID: "r", Ops: parseAll(t, `put pool p {}`), ConfirmWithin: Duration(time.Minute)}
	first := l.do(c)
	c.At = at.Add(time.Hour)
	if again := l.do(c); again.Refusal != nil || again.Index != first.Index {
		t.Errorf("the repeat = %+v, want %+v", again, first)
	}
	if p, ok := l.view.Pending(first.Index); !ok || !p.Deadline.Equal(at.Add(time.Minute)) {
		t.Errorf("after the repeat: %+v, %t, want the first deadline", p, ok)
	}
	c.ConfirmWithin = Duration(time.Hour)
	if other := l.do(c); other.Refusal == nil || other.Refusal.Code != CodeReused {
		t.Errorf("another time = %+v, want %s", other, CodeReused)
	}
}

// goldenPending has a change that waits, one that was confirmed and one that was undone.
func goldenPending(t testing.TB) []Command {
	t.Helper()
	within := Duration(5 * time.Minute)
	return []Command{
		{Type: TypeTxn, RequestID: "req-1", Actor: "ann", At: at, Ops: parseAll(t, `put backend a {"address":"h:1"}`, `put frontend f {"key":"k","secret":"s"}`)},
		{Type: TypeTxn, RequestID: "req-2", Actor: "ann", At: at, Note: "apply", ConfirmWithin: within, Ops: parseAll(t, `patch backend a {"weight":2}`)},
		{Type: TypeTxn, RequestID: "req-3", Actor: "ann", At: at, ConfirmWithin: within, Ops: parseAll(t, `patch frontend f {"secret":"t"}`)},
		{Type: TypeTxn, RequestID: "req-4", Actor: "ann", At: at, ConfirmWithin: within, Ops: parseAll(t, `put pool p {}`)},
		{Type: TypeTxn, RequestID: "req-5", Actor: "bob", At: at, Settle: &Settlement{Index: 2}},
		{Type: TypeTxn, RequestID: "req-6", Actor: "lbnode@n1", At: at, Settle: &Settlement{Index: 4, Revert: true}},
	}
}

func TestGolden_pending(t *testing.T) {
	t.Parallel()
	v := NewView()
	var all []byte
	for i, c := range goldenPending(t) {
		b, err := Encode(c)
		if err != nil {
			t.Fatal(err)
		}
		if want := min(byte(i)+1, 2); b[2] != want {
			t.Errorf("command %d has version %d, want %d", i, b[2], want)
		}
		all = append(all, b...)
		all = append(all, '\n')
		decoded, err := Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(c, decoded); d != "" {
			t.Errorf("command %d reads as another one: %s", i, d)
		}
		var res Result
		if v, res = Apply(v, uint64(i+1), 3, decoded); res.Refusal != nil {
			t.Fatalf("command %d: %v", i, res.Refusal)
		}
	}
	var snap bytes.Buffer
	if err := WriteSnapshot(&snap, v); err != nil {
		t.Fatal(err)
	}
	golden(t, "v3/pending-commands.bin", all)
	golden(t, "v3/pending-snapshot.jsonl", snap.Bytes())
	golden(t, "v3/pending-hash.txt", []byte(Hash(v)+"\n"))
	if back := restored(t, v); Hash(back) != Hash(v) {
		t.Error("the restored view has another hash")
	} else if p, ok := back.Pending(3); !ok || p.Change.size == 0 {
		t.Errorf("the restored view has Pending(3) = %+v", p)
	}
	bad := bytes.Replace(snap.Bytes(), []byte(`{"pending":{"index":3`), []byte(`{"pending":{"index":3,"x":{}},"x":{"y":3`), 1)
	if _, err := ReadSnapshot(bytes.NewReader(bad)); !errors.Is(err, ErrSnapshot) {
		t.Errorf("a pending change without content = %v, want ErrSnapshot", err)
	}
}
