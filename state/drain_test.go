package state

import (
	"bytes"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A drain's parameters are kept as long as the backend is out of use, whichever way it is written.
func TestDrain_parameters(t *testing.T) {
	t.Parallel()
	closing := DrainSpec{Deadline: "2026-01-02T03:14:05Z", OnDeadline: DeadlineClose, Sticky: StickyRelease}
	stop := `patch backend a {"admin_state":"stopped","drain":{"deadline":"2026-01-02T04:14:05+01:00","on_deadline":"close","sticky":"release"}}`
	for _, tt := range []struct {
		name  string
		ops   []string
		admin AdminState
		want  DrainSpec
	}{
		{"stopped", []string{stop}, AdminStopped, closing},
		{"stopped again without them", []string{stop, `patch backend a {"admin_state":"stopped"}`}, AdminStopped, closing},
		{"one of them changed", []string{stop, `patch backend a {"drain":{"sticky":"keep"}}`}, AdminStopped, DrainSpec{Deadline: closing.Deadline, OnDeadline: DeadlineClose}},
		{"taken back", []string{stop, `patch backend a {"drain":null}`}, AdminStopped, DrainSpec{}},
		{"replaced without admin_state", []string{stop, `put backend a {"address":"h:2"}`}, AdminStopped, closing},
		{"replaced with admin_state", []string{stop, `put backend a {"address":"h:2","admin_state":"stopped"}`}, AdminStopped, DrainSpec{}},
		{"enabled", []string{stop, `patch backend a {"admin_state":"ready"}`}, AdminReady, DrainSpec{}},
		{"enabled and stopped", []string{stop, `patch backend a {"admin_state":"ready"}`, `patch backend a {"admin_state":"stopped"}`}, AdminStopped, DrainSpec{}},
		{"defaults are not stored", []string{`patch backend a {"admin_state":"stopped","drain":{"on_deadline":"keep","sticky":"keep"}}`}, AdminStopped, DrainSpec{}},
		{"deleted", []string{stop, `delete backend a`}, AdminDecommissioned, closing},
		{"deleted with them", []string{`delete backend a {"drain":{"deadline":"2026-01-02T03:14:05Z","on_deadline":"close"}}`}, AdminDecommissioned, DrainSpec{Deadline: closing.Deadline, OnDeadline: DeadlineClose}},
		{"deleted once more", []string{`delete backend a`, `delete backend a {"drain":{"deadline":"2026-01-02T03:14:05Z"}}`}, AdminDecommissioned, DrainSpec{Deadline: closing.Deadline}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := newLog(t)
			l.must(parse(t, `put backend a {"address":"h:1"}`))
			for _, op := range tt.ops {
				l.must(parse(t, op))
			}
			if b := l.backend("a"); b.AdminState != tt.admin || b.Drain != tt.want {
				t.Errorf("%s with %+v, want %s with %+v", b.AdminState, b.Drain, tt.admin, tt.want)
			}
		})
	}
}

func TestDrain_repeatChangesNothing(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	l.must(parse(t, `put backend a {"address":"h:1"}`))
	for i, want := range []Effect{EffectUpdated, EffectUnchanged} {
		res := l.must(parse(t, `delete backend a {"drain":{"deadline":"2026-01-02T03:14:05Z"}}`))
		if res.Ops[0].Effect != want {
			t.Errorf("delete number %d: %s, want %s", i+1, res.Ops[0].Effect, want)
		}
	}
}

func TestDrain_refused(t *testing.T) {
	t.Parallel()
	for op, pointer := range map[string]string{
		`patch backend a {"admin_state":"stopped","drain":{"on_deadline":"close"}}`: "/drain/deadline",
		`patch backend a {"admin_state":"stopped","drain":{"on_deadline":"kill"}}`:  "/drain/on_deadline",
		`patch backend a {"admin_state":"stopped","drain":{"sticky":"no"}}`:         "/drain/sticky",
		`patch backend a {"admin_state":"stopped","drain":{"deadline":"10m"}}`:      "/drain/deadline",
		`delete backend a {"drain":{"sticky":"no"}}`:                                "/drain/sticky",
		`delete backend a {"drain":7}`:                                              "",
		`delete backend a 7`:                                                        "",
	} {
		l := newLog(t)
		l.must(parse(t, `put backend a {"address":"h:1"}`))
		res := l.ops(parse(t, op))
		if res.Refusal == nil || res.Refusal.Code != CodeInvalid || len(res.Refusal.Errors) != 1 || res.Refusal.Errors[0].Pointer != pointer {
			t.Errorf("%s: %+v, want it refused at %q", op, res.Refusal, pointer)
		}
	}
}

// The settings are there before they are written, and a patch of what was never written starts from the defaults.
func TestSettings(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	if s := l.view.Settings(); s.ID != SettingsID || s.FenceAfter != 0 || s.ModifyIndex != 0 {
		t.Errorf("before the first write: %+v", s)
	}
	for _, tt := range []struct {
		op   string
		want string
		code Code
	}{
		{`patch settings cluster {"fence_after":"5s"}`, "5s", ""},
		{`patch settings cluster {"fence_after":null}`, "0s", ""},
		{`put settings cluster {"fence_after":"1s"}`, "1s", ""},
		{`put settings cluster {"fence_after":"999ms"}`, "1s", CodeInvalid},
		{`put settings other {}`, "1s", CodeInvalid},
		{`patch@1 settings cluster {"fence_after":"9s"}`, "1s", CodeMismatch},
		{`put settings cluster {}`, "0s", ""},
		{`patch settings cluster {"fence_after":"24h0m1s"}`, "0s", CodeInvalid},
		{`delete settings cluster`, "0s", ""},
	} {
		res := l.ops(parse(t, tt.op))
		got := Code("")
		if res.Refusal != nil {
			got = res.Refusal.Code
		}
		if got != tt.code || l.view.Settings().FenceAfter.String() != tt.want {
			t.Errorf("%s: refused with %q, fence_after %s, want %q and %s", tt.op, got, l.view.Settings().FenceAfter, tt.code, tt.want)
		}
	}
	if l.view.Len(KindSettings) != 0 {
		t.Error("deleted settings are still stored")
	}
}

func TestGolden_drain(t *testing.T) {
	t.Parallel()
	commands := []Command{
		{Type: TypeTxn, RequestID: "r1", Actor: "ann", At: at, Ops: parseAll(t, `put backend a {"address":"h:1"}`, `put backend b {"address":"h:2"}`, `put settings cluster {"fence_after":"5s"}`)},
		{Type: TypeTxn, RequestID: "r2", At: at, Ops: parseAll(t, `patch backend a {"admin_state":"stopped","drain":{"deadline":"2026-01-02T03:14:05Z","on_deadline":"close","sticky":"release"}}`)},
		{Type: TypeTxn, RequestID: "r3", At: at, Ops: parseAll(t, `delete backend b {"drain":{"deadline":"2026-01-02T03:14:05Z"}}`)},
	}
	v := NewView()
	var all []byte
	for i, c := range commands {
		b, err := Encode(c)
		if err != nil {
			t.Fatal(err)
		}
		all = append(append(all, b...), '\n')
		decoded, err := Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		v, _ = Apply(v, uint64(i+1), 1, decoded)
	}
	var snap bytes.Buffer
	if err := WriteSnapshot(&snap, v); err != nil {
		t.Fatal(err)
	}
	golden(t, "v3/drain-commands.bin", all)
	golden(t, "v3/drain-snapshot.jsonl", snap.Bytes())
	golden(t, "v3/drain-hash.txt", []byte(Hash(v)+"\n"))
	f, err := os.Open("testdata/v3/drain-snapshot.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	back, err := ReadSnapshot(f)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(v.Settings(), back.Settings()); d != "" || Hash(back) != Hash(v) {
		t.Errorf("the snapshot reads as something else: %s", d)
	}
}
