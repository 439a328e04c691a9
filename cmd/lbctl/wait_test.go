package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/lbnode/lbnode/httpapi"
	"github.com/lbnode/lbnode/httpapi/apitest"
	"github.com/lbnode/lbnode/state"
)

// between runs something at the n-th request of the API that follows, before it is answered.
func (w *world) between(steps map[int64]func()) {
	inner := w.srv.Config.Handler
	var n atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if step := steps[n.Add(1)]; step != nil {
			step()
		}
		inner.ServeHTTP(rw, r)
	}))
	w.t.Cleanup(srv.Close)
	w.env = []string{envAPI + "=" + srv.URL, "TERM=xterm"}
}

func (w *world) inFlight(id string, n int64) func() {
	return func() { w.fake.Update(func(f *apitest.Fake) { f.Runtimes[id] = httpapi.BackendRuntime{InFlight: n} }) }
}

func (w *world) drained(id string) func() {
	return func() {
		w.inFlight(id, 0)()
		if err := w.store.SetDrained(id); err != nil {
			w.t.Error(err)
		}
	}
}

func (w *world) admin(id string, to state.AdminState) func() {
	return func() {
		op := state.Op{Verb: state.VerbPatch, Kind: state.KindBackend, ID: id, Value: []byte(`{"admin_state":"` + string(to) + `"}`)}
		if _, err := w.store.Do(context.Background(), state.Command{Type: state.TypeTxn, Ops: []state.Op{op}}); err != nil {
			w.t.Error(err)
		}
	}
}

// The requests of a switch or removal: 1 looks the backend up, 2 changes it, 3 and on look how far it is.
func TestWait(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, line string
		steps      func(*world) map[int64]func()
		code       int
		stdout     string
		stderr     string
	}{
		{"idle", "lbctl disable backend b1 --wait", func(w *world) map[int64]func() {
			return map[int64]func(){1: w.inFlight("b1", 3), 5: w.drained("b1")}
		}, 0, "disabled backend: b1 (3 requests in flight)\nbackend b1 is idle\n", ""},
		{"idle by name, failing backend", "lbctl disable --wait idle backend a:1", func(w *world) map[int64]func() {
			return map[int64]func(){4: func() { w.verdict("b1", state.VerdictDown, "refused"); w.drained("b1")() }}
		}, 0, "disabled backend: b1\nbackend b1 is idle\n", ""},
		{"several", "lbctl disable backends b1 b2 --wait", func(w *world) map[int64]func() {
			return map[int64]func(){6: w.drained("b2"), 9: w.drained("b1")}
		}, 0, "disabled backend: b1\ndisabled backend: b2\nbackend b1 is idle\nbackend b2 is idle\n", ""},
		{"several, one missing", "lbctl disable backends b1 nope --wait", func(w *world) map[int64]func() {
			return map[int64]func(){4: w.drained("b1")}
		}, 3, "disabled backend: b1\nbackend b1 is idle\n", "lbctl: there is no backend \"nope\"\n"},
		{"was disabled", "lbctl disable backend stopped --wait", func(w *world) map[int64]func() {
			return map[int64]func(){4: w.drained("stopped")}
		}, 0, "no changes: backend stopped is already disabled\nbackend stopped is idle\n", ""},
		{"committed", "lbctl disable backend b1 --wait=committed", nil, 0, "disabled backend: b1\n", ""},
		{"committed, was disabled", "lbctl disable backend stopped --wait=committed", nil, 64, "no changes: backend stopped is already disabled\n", ""},
		{"no wait", "lbctl disable backend b1 --wait=false", nil, 0, "disabled backend: b1\n", ""},
		{"ready", "lbctl enable backend stopped --wait", func(w *world) map[int64]func() {
			return map[int64]func(){4: func() { w.verdict("stopped", state.VerdictUp, "200 OK") }}
		}, 0, "enabled backend: stopped\nbackend stopped is ready\n", ""},
		{"applied", "lbctl disable backend b1 --wait applied", func(w *world) map[int64]func() {
			return map[int64]func(){4: func() {
				w.fake.Update(func(f *apitest.Fake) {
					f.ClusterStatus.AppliedIndex = 1000
					f.Nodes[0].AppliedIndex = 1000
				})
			}}
		}, 0, "disabled backend: b1\nbackend b1 is in effect on every live node\n", ""},
		{"removed", "lbctl delete backend b1 --wait", func(w *world) map[int64]func() {
			return map[int64]func(){5: w.drained("b1")}
		}, 0, "backend marked for decommissioning: b1 (removed once nothing runs on it)\nbackend b1 is removed\n", ""},
		{"forced", "lbctl delete backend b1 --force --wait", nil, 0, "deleted backend: b1\nbackend b1 is removed\n", ""},
		{"enabled meanwhile", "lbctl disable backend b1 --wait", func(w *world) map[int64]func() {
			return map[int64]func(){4: w.admin("b1", state.AdminReady)}
		}, 1, "disabled backend: b1\n", "lbctl: backend b1 is now ready: somebody else changed its admin_state\n"},
		{
			"too long", "lbctl disable backend b1 --wait --timeout 200ms", func(w *world) map[int64]func() {
				return map[int64]func(){1: w.inFlight("b1", 1)}
			}, 7, "disabled backend: b1 (1 request in flight)\n",
			"lbctl: after 200ms: backend b1 is not yet idle: 1 request in flight; the drain goes on, `lbctl show backend b1` shows how far it is\n",
		},
		{"never healthy", "lbctl enable backend stopped --wait --timeout 200ms", func(w *world) map[int64]func() {
			return map[int64]func(){3: func() { w.verdict("stopped", state.VerdictDown, "refused") }}
		}, 7, "enabled backend: stopped\n", "lbctl: after 200ms: backend stopped is not yet ready: error, refused; it stays enabled, `lbctl show backend stopped` shows how far it is\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.must("lbctl add backend a:1 --id b1")
			w.must("lbctl add backend a:2 --id b2")
			w.must("lbctl add backend a:3 --id stopped --admin-state stopped")
			if tt.steps != nil {
				w.between(tt.steps(w))
			}
			got := w.line(tt.line)
			if got.code != tt.code || got.stdout != tt.stdout || got.stderr != tt.stderr {
				t.Errorf("%s\nexit %d, want %d\nstdout %q\n  want %q\nstderr %q\n  want %q", tt.line, got.code, tt.code, got.stdout, tt.stdout, got.stderr, tt.stderr)
			}
		})
	}
}

// A node that goes away for a moment does not end a wait.
func TestWait_nodeGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must("lbctl add backend a:1 --id b1")
	inner := w.srv.Config.Handler
	var n atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch n.Add(1) {
		case 3, 4:
			rw.WriteHeader(http.StatusBadGateway)
			return
		case 5:
			w.drained("b1")()
		}
		inner.ServeHTTP(rw, r)
	}))
	defer srv.Close()
	w.env = []string{envAPI + "=" + srv.URL}
	if got := w.line("lbctl disable backend b1 --wait"); got.code != 0 || !strings.Contains(got.stdout, "is idle") {
		t.Errorf("wait = %+v, want success", got)
	}
}

// Ctrl-C ends the wait, says that the drain goes on, and leaves the backend disabled.
func TestWait_interrupted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must("lbctl add backend a:1 --id b1")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w.between(map[int64]func(){1: w.inFlight("b1", 2), 6: cancel})
	got := w.runIn(ctx, "disable", "backend", "b1", "--wait")
	if got.code != exitUnknown || !strings.Contains(got.stderr, "interrupted: backend b1 is not yet idle: 2 requests in flight; the drain goes on") {
		t.Errorf("interrupted wait = %+v, want exit %d and what goes on", got, exitUnknown)
	}
	if b, _ := w.store.View().Backend("b1"); b.AdminState != state.AdminStopped {
		t.Errorf("admin_state = %s, want stopped", b.AdminState)
	}
}

// On a terminal the wait draws over one line; elsewhere it is silent.
func TestWait_progress(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.tty = true
	w.must("lbctl add backend a:1 --id b1")
	w.between(map[int64]func(){1: w.inFlight("b1", 2), 5: w.drained("b1")})
	got := w.line("lbctl disable backend b1 --wait")
	if got.code != 0 || !strings.HasPrefix(got.stderr, "\r\x1b[Kwaiting: b1: 2 requests in flight") || !strings.HasSuffix(got.stderr, "\r\x1b[K") || strings.Contains(got.stderr, "\n") {
		t.Errorf("stderr = %q, want one line drawn over and wiped", got.stderr)
	}
	if strings.Contains(got.stdout, "waiting") {
		t.Errorf("stdout = %q, want no progress in it", got.stdout)
	}
}

// A change that is interrupted before its answer is of unknown outcome.
func TestInterrupted_write(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must("lbctl add backend a:1 --id b1")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var once sync.Once
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			w.srv.Config.Handler.ServeHTTP(rw, r)
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		once.Do(cancel)
		<-r.Context().Done()
	}))
	defer srv.Close()
	w.env = []string{envAPI + "=" + srv.URL}
	got := w.runIn(ctx, "set", "backend", "b1", "--weight", "2")
	if got.code != exitUnknown || !strings.Contains(got.stderr, "repeat the command with --request-id") {
		t.Errorf("interrupted write = %+v, want exit %d and how to repeat", got, exitUnknown)
	}
}

// An answer that may be old is marked, and not on standard output.
func TestShow_stale(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must("lbctl add backend a:1 --id b1")
	w.store.SetStale(true)
	got := w.must("lbctl show backends -o name")
	if got.stdout != "b1\n" || !strings.Contains(got.stderr, "may be old") {
		t.Errorf("show = %+v, want the id, and a note", got)
	}
}

func TestIsTerminal(t *testing.T) {
	t.Parallel()
	if isTerminal(&bytes.Buffer{}) {
		t.Error("a buffer is a terminal")
	}
}
