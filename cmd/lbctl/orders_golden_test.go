package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/lbnode/lbnode/httpapi"
	"github.com/lbnode/lbnode/httpapi/apitest"
	"github.com/lbnode/lbnode/state"
)

// Sequences of commands in one cluster, each with all that it prints; DIR stands for a directory of files.
func TestGolden_sequences(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		world func(*world)
		lines []string
	}{
		{"node-orders", nil, []string{
			"lbctl node drain n2", "lbctl show nodes", "lbctl node undrain n2", "lbctl node drain n2 -o json", "lbctl node drain nope", "lbctl node drain",
			"lbctl node leave n3", "lbctl node leave nope", "lbctl node remove n3", "lbctl node remove n3", "lbctl node remove", "lbctl --dry node leave n2",
			"lbctl --dry node remove n2 --force", "lbctl nodes", "lbctl node evict n2",
		}},
		{"node-unsafe", func(w *world) {
			w.fake.Update(func(f *apitest.Fake) {
				f.ClusterErr = fmt.Errorf("%w: without n2 1 of 2 voters would be left", httpapi.ErrNotSafe)
			})
		}, []string{"lbctl node drain n2", "lbctl node leave n2", "lbctl node remove n2", "lbctl node remove n2 -o json --request-id r1", "lbctl node remove --force n2"}},
		{"drain-flags", nil, []string{
			"lbctl disable backend users-v1 --deadline 10m --on-deadline close --sticky release", "lbctl show backend users-v1",
			"lbctl disable backend users-v1 --on-deadline keep", "lbctl disable backend users-v1 --on-deadline keep",
			"lbctl --dry disable backend users-v1 --deadline 2026-05-04T12:00:00Z --wait idle", "lbctl enable backend users-v1", "lbctl show backend users-v1",
			"lbctl disable backend users-v1 --deadline soon", "lbctl disable backend users-v1 --on-deadline kill", "lbctl disable backend users-v1 --sticky forever",
			"lbctl enable backend users-v1 --deadline 10m", "lbctl delete backend users-v2 --deadline 1h --on-deadline close", "lbctl delete backend bbb22 --force --deadline 1h",
		}},
		{"delete-others", nil, []string{
			"lbctl delete frontend shop customer-1", "lbctl delete route users", "lbctl delete pool users", "lbctl delete pool users --force", "lbctl delete route users web",
			"lbctl delete frontend shop --wait",
		}},
		{"settings", nil, []string{
			"lbctl show settings", "lbctl show settings -o wide", "lbctl set settings --fence-after 5s", "lbctl set settings --fence-after 5s", "lbctl show settings -o json",
			"lbctl set settings", "lbctl set settings --fence-after 1ms", "lbctl set settings -j '{\"fence\":\"5s\"}'", "lbctl --dry set settings --fence-after 0s", "lbctl set settings --fence-after 0s",
		}},
		{"callbacks", callbacks, []string{
			"lbctl show callbacks", "lbctl callback list -o wide", "lbctl show callbacks -o name", "lbctl callbacks list -o json",
			"lbctl callback retry c2", "lbctl callback drop c1 c9", "lbctl callback retry c9", "lbctl callback retry", "lbctl --dry callback drop c2", "lbctl show callbacks",
		}},
		{"meetings", twoTenants, []string{
			"lbctl show meetings", "lbctl show meetings --frontend uni-key -o wide", "lbctl show meetings --backend https://bbb.example.org -o name", "lbctl show meetings --frontend uni -o json",
			"lbctl show meeting room --frontend uni", "lbctl show meeting room", "lbctl show meeting abc-1 -o yaml", "lbctl show meetings --backend none", "lbctl show meeting room --backend one",
			"lbctl end meeting none", "lbctl end meeting room", "lbctl --dry end meeting room --frontend uni", "lbctl end meeting room --frontend uni", "lbctl end meeting", "lbctl end meetings",
			"lbctl end meetings two", "lbctl end meetings --frontend uni", "lbctl end meetings --backend one", "lbctl end meetings --backend one", "lbctl end meetings one --backend one",
			"lbctl show meetings", "lbctl end",
		}},
		{"import", nil, []string{
			"lbctl import b3scale DIR/backends.json DIR/frontends.json --dry", "lbctl import b3scale DIR/backends.json DIR/frontends.json", "lbctl show backend 9e0f6c3a-3b57-4a75-9a7c-6a3a3f5f2d10",
			"lbctl import b3scale DIR/backends.json DIR/frontends.json", "lbctl import b3scale DIR/none.json", "lbctl import b3scale DIR/damaged.json", "lbctl import b3scale", "lbctl import",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.populate()
			if tt.world != nil {
				tt.world(w)
			}
			golden(t, tt.name, w.transcript(b3Files(t), tt.lines))
		})
	}
}

// The inspection of a backup file needs no cluster.
func TestGolden_inspect(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.populate()
	dir := t.TempDir()
	w.must("lbctl snapshot save " + filepath.Join(dir, "all.lbbackup"))
	if err := os.WriteFile(filepath.Join(dir, "other.txt"), []byte("hello\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.srv.Close()
	text := w.transcript(dir, []string{
		"lbctl snapshot inspect DIR/all.lbbackup", "lbctl snapshot inspect DIR/all.lbbackup -o json", "lbctl snapshot inspect DIR/other.txt",
		"lbctl snapshot inspect DIR/none.lbbackup", "lbctl snapshot inspect",
	})
	// Sealing is never twice the same.
	golden(t, "inspect", regexp.MustCompile(`[0-9a-f]{64}`).ReplaceAllString(text, "SHA256"))
}

// transcript runs command lines one after the other and returns what a terminal would show.
func (w *world) transcript(dir string, lines []string) string {
	w.t.Helper()
	var b strings.Builder
	for _, line := range lines {
		got := w.line(strings.ReplaceAll(line, "DIR", dir))
		fmt.Fprintf(&b, "$ %s\nexit %d\n", line, got.code)
		if got.stdout != "" {
			b.WriteString("--- stdout\n" + strings.ReplaceAll(got.stdout, dir, "DIR"))
		}
		if got.stderr != "" {
			b.WriteString("--- stderr\n" + strings.ReplaceAll(got.stderr, dir, "DIR"))
		}
		b.WriteString("\n")
	}
	if strings.ContainsAny(b.String(), "\x1b\r\x00") {
		w.t.Errorf("control characters in %q", b.String())
	}
	return b.String()
}

func b3Files(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, text := range map[string]string{"backends.json": b3Backends, "frontends.json": b3Frontends, "damaged.json": `[{"id":`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// twoTenants has two tenants with meetings on two servers, one of which does not answer.
func twoTenants(w *world) {
	w.must("lbctl add backend https://bbb.example.org/bigbluebutton/api --id one --pool meetings")
	w.must("lbctl add backend https://other.example.org/bigbluebutton/api --id two --pool meetings")
	w.must("lbctl add frontend uni-key --id uni")
	w.must("lbctl add frontend school")
	for _, m := range []struct{ frontend, id, backend string }{{"uni", "room", "one"}, {"uni", "x/y z", "two"}, {"school", "room", "one"}} {
		c := state.BBB(state.BBBOp{Bind: &state.BindMeeting{Frontend: m.frontend, ID: m.id, ServerID: "on-server-" + m.frontend + "-" + m.id, BackendID: m.backend, Attempt: "x"}})
		if m.frontend == "school" {
			c.BBB = append(c.BBB, state.BBBOp{Confirm: &state.ConfirmMeeting{Frontend: m.frontend, ID: m.id, ServerID: "on-server-school-room", BackendID: m.backend, InternalID: "abc-1"}})
		}
		c.At = epoch
		if _, err := w.store.Do(w.t.Context(), c); err != nil {
			w.t.Fatal(err)
		}
	}
	w.fake.Update(func(f *apitest.Fake) {
		f.Listed = map[string]httpapi.MeetingSeen{"one/on-server-school-room": {Name: "Maths", Running: true, Attendees: 5, Moderators: 1}}
		f.Silent = map[string]bool{"two": true}
	})
}

// callbacks puts one callback that waits and one that was given up into the queue.
func callbacks(w *world) {
	one := state.Callback{ID: "c1", Kind: state.CallbackEnd, Frontend: "shop", MeetingID: "room", Method: "GET", URL: "https://lms.example.org/end"}
	two := one
	two.ID = "c2"
	next := epoch.Add(5 * time.Minute)
	var errs []error
	for _, op := range []state.BBBOp{
		{Enqueue: &state.EnqueueCallbacks{Callbacks: []state.Callback{one, two}}},
		{Finish: &state.FinishCallbacks{IDs: []string{"c2"}, Outcome: state.CallbackFailed, Tries: 20, Error: "the receiver answers 500"}},
	} {
		c := state.BBB(op)
		c.At = epoch
		_, err := w.store.Do(w.t.Context(), c)
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		w.t.Fatal(err)
	}
	w.fake.Update(func(f *apitest.Fake) {
		f.Tried = map[string]httpapi.CallbackProgress{"c1": {Tries: 3, Next: next, Error: "connection refused"}}
	})
}
