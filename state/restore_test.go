package state

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// specsOf is what operators say, by kind/id.
func specsOf(v *View) map[string]Spec {
	out := map[string]Spec{}
	for s := range v.Specs() {
		out[string(s.Kind())+"/"+s.ObjectID()] = s
	}
	return out
}

func pack(t testing.TB, objects iter.Seq[Spec]) *Restoration {
	t.Helper()
	r, err := NewRestoration(objects)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func restoration(t testing.TB, v *View) *Restoration {
	t.Helper()
	return pack(t, v.Specs())
}

// before is a state with every kind of objects.
func before(t testing.TB) *log {
	t.Helper()
	l := newLog(t)
	l.do(Command{Type: TypeInit, ClusterID: "c"})
	l.must(parseAll(t,
		`put certificate mtls {`+somePEM+`}`,
		`put pool users {"algorithm":"least_connections","tls":{"client_certificate":"mtls"}}`,
		`put backend a {"address":"h:1","pool":"users","weight":3,"tags":["x"]}`,
		`put backend b {"address":"h:2","pool":"users","admin_state":"stopped"}`,
		`put route r {"match":{"path":"/users"},"backend_pool":"users","retries":0}`,
		`put frontend f {"hosts":["f.example.org"],"key":"f","secret":"s1"}`,
		`put frontend g {"hosts":["g.example.org"],"key":"g","secret":"s2"}`,
		`put token root {"role":"admin",`+someHash+`}`,
	)...)
	return l
}

func TestRestore_makesAllAsItWas(t *testing.T) {
	t.Parallel()
	l := before(t)
	want, backup := specsOf(l.view), restoration(t, l.view)
	l.states(StateChange{ID: "a", Gen: l.backend("a").Gen, From: VerdictUnknown, To: VerdictUp})
	l.must(parseAll(t,
		`patch backend a {"weight":1}`,
		`patch backend b {"admin_state":"ready","address":"h:22"}`,
		`put backend new {"address":"h:9","pool":"other"}`,
		`delete route r`,
		`patch frontend f {"hosts":["x.example.org"],"key":"x","secret":"s9"}`,
		`patch frontend g {"hosts":["f.example.org"],"key":"f"}`, // the host that f had
		`patch pool users {"tls":{"client_certificate":null}}`,
		`delete certificate mtls`,
		`put token second {"role":"admin",`+someHash+`}`,
	)...)
	res := l.do(Command{Type: TypeRestore, RequestID: "r1", Actor: "ann", Note: "restore", Restore: backup})
	if res.Refusal != nil {
		t.Fatal(res.Refusal)
	}
	if d := cmp.Diff(want, specsOf(l.view)); d != "" {
		t.Errorf("what operators say after the restore (-want +got): %s", d)
	}
	if b := l.backend("a"); b.Verdict != VerdictUp || b.CreateIndex != 2 || b.ModifyIndex != l.view.Index {
		t.Errorf("backend a: %+v, want its verdict and create_index kept, and modify_index moved", b)
	}
	if b := l.backend("b"); b.Verdict != VerdictUnknown || b.AdminState != AdminStopped {
		t.Errorf("backend b: %+v, want it stopped, at its old address of which nothing is known", b)
	}
	ch, ok := l.view.Change(l.view.Index)
	if !ok || ch.Actor != "ann" || !strings.HasPrefix(ch.Summary, "restore: ") || len(ch.Objects) != 10 {
		t.Errorf("history: %+v, want one change of ten objects", ch)
	}
	if Hash(restored(t, l.view)) != Hash(l.view) {
		t.Error("a snapshot does not give the view back")
	}
	at := l.view.Index
	if again := l.do(Command{Type: TypeRestore, RequestID: "r1", Actor: "ann", Note: "restore", Restore: backup}); again.Index != at {
		t.Errorf("the repeated request had its effect at %d, want %d", again.Index, at)
	}
	gen := l.view.ConfigGen
	if res := l.do(Command{Type: TypeRestore, Restore: backup}); res.Refusal != nil || l.view.ConfigGen != gen {
		t.Errorf("restoring what is there: %v, and the configuration moved from %d to %d", res.Refusal, gen, l.view.ConfigGen)
	}
}

func TestRestore_canLeaveTokensAlone(t *testing.T) {
	t.Parallel()
	l := before(t)
	backup := restoration(t, l.view)
	l.must(parse(t, `put token second {`+someHash+`}`), parse(t, `delete backend a`))
	backup.Keep = []Kind{KindToken}
	if res := l.do(Command{Type: TypeRestore, Restore: backup}); res.Refusal != nil {
		t.Fatal(res.Refusal)
	}
	if _, ok := l.view.Token("second"); !ok || l.backend("a").AdminState != AdminReady {
		t.Error("the token is gone, or the backend did not come back")
	}
}

func TestRestore_refuses(t *testing.T) {
	t.Parallel()
	lines := func(s string) *Restoration {
		var buf bytes.Buffer
		w := gzip.NewWriter(&buf)
		_, _ = w.Write([]byte(s))
		_ = w.Close()
		return &Restoration{Data: buf.Bytes()}
	}
	noAdmin := func(yield func(Spec) bool) { yield(&PoolSpec{ID: "p"}) }
	for name, tc := range map[string]struct {
		r    *Restoration
		code Code
		text string
	}{
		"nothing":               {nil, CodeInvalid, "nothing to restore"},
		"no gzip":               {&Restoration{Data: []byte("x")}, CodeInvalid, "unpacked"},
		"cut short":             {&Restoration{Data: pack(t, before(t).view.Specs()).Data[:99]}, CodeInvalid, ""},
		"no JSON":               {lines("x\n"), CodeInvalid, "object 1"},
		"an unknown kind":       {lines(`{"kind":"cat","spec":{"id":"a"}}`), CodeInvalid, `"cat"`},
		"an invalid object":     {lines(`{"kind":"backend","spec":{"id":"a","address":"h:1","weight":-5}}`), CodeInvalid, "/weight"},
		"an object twice":       {lines(strings.Repeat(`{"kind":"pool","spec":{"id":"a"}}`+"\n", 2)), CodeInvalid, "twice"},
		"a host twice":          {lines(`{"kind":"frontend","spec":{"id":"a","hosts":["h"]}}` + "\n" + `{"kind":"frontend","spec":{"id":"b","hosts":["h"]}}`), CodeInvalid, "same host"},
		"a missing certificate": {lines(`{"kind":"pool","spec":{"id":"a","tls":{"client_certificate":"none"}}}`), CodeInvalid, `"a"`},
		"a kind that must not be kept": {
			&Restoration{Keep: []Kind{KindBackend}, Data: lines("").Data}, CodeInvalid, "kept",
		},
		"no admin": {pack(t, noAdmin), CodeInUse, "admin"},
	} {
		l := before(t)
		want := specsOf(l.view)
		res := l.do(Command{Type: TypeRestore, Restore: tc.r})
		if res.Refusal == nil || res.Refusal.Code != tc.code || !strings.Contains(res.Refusal.Message, tc.text) {
			t.Errorf("%s: %+v, want %s with %q", name, res.Refusal, tc.code, tc.text)
		}
		if d := cmp.Diff(want, specsOf(l.view)); d != "" {
			t.Errorf("%s: refused, and yet something changed: %s", name, d)
		}
	}
	l := before(t)
	forced := pack(t, noAdmin)
	forced.Force = true
	if res := l.do(Command{Type: TypeRestore, Restore: forced}); res.Refusal != nil || len(specsOf(l.view)) != 1 {
		t.Errorf("forced: %v, %d objects left, want one", res.Refusal, len(specsOf(l.view)))
	}
}

// Compression differs from one Go to the next, so the golden file is only read.
func TestGolden_restore(t *testing.T) {
	t.Parallel()
	const name = "v3/restore-command.bin"
	l := before(t)
	if *update {
		b, err := Encode(Command{Type: TypeRestore, RequestID: "req-1", Actor: "ann", At: at, Note: "restore of b.lbbackup", Restore: restoration(t, l.view)})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join("testdata", name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	stored, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	c, err := Decode(stored)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := Encode(c); err != nil || !bytes.Equal(again, stored) {
		t.Errorf("the command is written differently now: %v", err)
	}
	v, res := Apply(NewView(), 1, 1, c)
	if res.Refusal != nil {
		t.Fatal(res.Refusal)
	}
	if d := cmp.Diff(specsOf(l.view), specsOf(v)); d != "" {
		t.Errorf("the golden restoration gives (-want +got): %s", d)
	}
}

func TestView_renamed(t *testing.T) {
	t.Parallel()
	v := before(t).view
	next := v.Renamed("d").Renamed("e")
	back := restored(t, next)
	if back.ClusterID != "e" || !slices.Equal(back.FormerIDs, []string{"c", "d"}) || v.ClusterID != "c" || len(v.FormerIDs) != 0 {
		t.Errorf("ids %s %v, and of the old view %s %v", back.ClusterID, back.FormerIDs, v.ClusterID, v.FormerIDs)
	}
}

// tenThousand is a large configuration.
func tenThousand(yield func(Spec) bool) {
	for i := range 10_000 {
		b := &BackendSpec{
			ID: fmt.Sprintf("backend-%05d.example.org", i), Address: fmt.Sprintf("10.%d.%d.%d:8080", i/2500, i/50%50, i%50+1),
			Pool: fmt.Sprintf("pool-%03d", i%200), Weight: 1 + i%7, LoadFactor: 1, AdminState: AdminReady, Tags: []string{"zone-a", "gen-7"},
		}
		b.Normalize()
		if !yield(b) {
			return
		}
	}
	for i := range 1000 {
		r := &RouteSpec{ID: fmt.Sprintf("route-%04d", i), Match: Match{Host: fmt.Sprintf("site-%d.example.org", i), Path: "/api"}, BackendPool: fmt.Sprintf("pool-%03d", i%200)}
		r.Normalize()
		if !yield(r) {
			return
		}
	}
}

// The largest configuration that is aimed at fits into one log entry, and its restore into the history.
func TestRestore_tenThousandBackends(t *testing.T) {
	t.Parallel()
	r := pack(t, tenThousand)
	c := Command{Type: TypeRestore, RequestID: "r", At: at, Restore: r}
	b, err := Encode(c)
	if err != nil {
		t.Fatal(err)
	}
	if len(b) > 1<<20 {
		t.Errorf("the command has %d bytes, want less than the 1 MiB that leaves room for four times as much", len(b))
	}
	begun := time.Now()
	v, res := Apply(NewView(), 1, 1, c)
	took := time.Since(begun)
	if res.Refusal != nil || v.Len(KindBackend) != 10_000 || v.Len(KindRoute) != 1000 || v.Len(KindPool) != 200 {
		t.Fatalf("refusal %v, %d backends, %d routes, %d pools", res.Refusal, v.Len(KindBackend), v.Len(KindRoute), v.Len(KindPool))
	}
	ch, ok := v.Change(1)
	if !ok || ch.Truncated {
		t.Error("the change is too large for the history")
	}
	// The costliest one: every object is different.
	changed := func(yield func(Spec) bool) {
		for s := range tenThousand {
			if b, ok := s.(*BackendSpec); ok {
				b.Weight++
			}
			if !yield(s) {
				return
			}
		}
	}
	v, res = Apply(v, 2, 1, Command{Type: TypeRestore, At: at, Restore: pack(t, changed)})
	if ch, ok := v.Change(2); res.Refusal != nil || !ok || ch.Truncated {
		t.Errorf("refusal %v; the change of every backend is in the history: %v", res.Refusal, ok && !ch.Truncated)
	}
	t.Logf("%d bytes in the log, applied in %v", len(b), took)
}

func FuzzRestoration(f *testing.F) {
	good, err := NewRestoration(tenThousandSome)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good.Data)
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		v, res := Apply(NewView(), 1, 1, Command{Type: TypeRestore, Restore: &Restoration{Data: data}})
		if res.Refusal != nil && len(specsOf(v)) > 0 {
			t.Error("refused, and yet something changed")
		}
		for s := range v.Specs() {
			if errs := s.Validate(); len(errs) > 0 {
				b, _ := json.Marshal(s)
				t.Errorf("an invalid object got in: %s: %v", b, errs)
			}
		}
	})
}

func tenThousandSome(yield func(Spec) bool) {
	n := 0
	for s := range tenThousand {
		if n++; n > 3 || !yield(s) {
			return
		}
	}
}
