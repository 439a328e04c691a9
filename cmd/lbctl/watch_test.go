package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/state"
)

func TestWatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must(`lbctl add backend 10.0.0.1:80 --id a --pool p`) // 2
	w.must(`lbctl set backend a --weight 7`)                // 3
	w.verdict("a", state.VerdictUp, "200 OK")               // 4
	w.must(`lbctl disable backend a`)                       // 5
	for _, tt := range []struct {
		line           string
		code           int
		stdout, stderr string
	}{
		{
			`lbctl watch --from 2 --count 3`, 0,
			"10:00:00       3  updated backend a: weight  (local)\n" +
				"10:00:00       5  backend a: ready, draining  (200 OK)\n" +
				"10:00:00       5  updated backend a: admin_state  (local)\n", "lbctl: watching http://node after index 2\n",
		},
		{`lbctl watch --from 2 --count 1 --types config -o wide`, 0, "10:00:00       3  updated backend a: weight  (local)\n~ backend a\n    weight: 1 -> 7\n", "watching"},
		{`lbctl watch --from 1 --kinds pool --count 1`, 0, "10:00:00       2  created backend a, created pool p  (local)\n", "watching"},
		{`lbctl watch --timeout 50ms`, 0, "", "after index 5"},
		{`lbctl watch --types verdicts`, 8, "", "takes some of config, state"},
		{`lbctl watch -o name`, 2, "", "takes -o wide or -o json"},
		{`lbctl watch now`, 2, "", `takes no "now"`},
	} {
		got := w.line(tt.line)
		if got.code != tt.code || got.stdout != tt.stdout || !strings.Contains(got.stderr, tt.stderr) {
			t.Errorf("%s: exit %d, want %d\n%s%s\nwant\n%s%s", tt.line, got.code, tt.code, got.stdout, got.stderr, tt.stdout, tt.stderr)
		}
	}
	var e struct {
		Event string
		Data  api.Change
	}
	if got := w.must(`lbctl watch --from 2 --count 1 -o json`); json.Unmarshal([]byte(got.stdout), &e) != nil || e.Event != api.EventChange || e.Data.Index != 3 {
		t.Errorf("as JSON: %q", got.stdout)
	}
}

// Ctrl-C is the way to end it, and no failure.
func TestWatch_interrupted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	a, stdout, _ := w.app()
	r, out := io.Pipe()
	a.stderr = out // the first line says that it watches
	go func() {
		_, _ = r.Read(make([]byte, 100))
		cancel()
		_, _ = io.Copy(io.Discard, r)
	}()
	if code := a.run(ctx, []string{"watch"}); code != 0 || stdout.String() != "" {
		t.Errorf("exit %d, %q", code, stdout)
	}
	out.Close()
}

// What the history does not have any more is said, and the watch goes on from now.
func TestWatch_compacted(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 1 {
			w.Header().Set("Content-Type", api.ContentProblem)
			w.WriteHeader(http.StatusGone)
			fmt.Fprint(w, `{"code":"compacted","detail":"the history begins after index 70"}`)
			return
		}
		if r.Header.Get(api.HeaderLastEventID) != "" {
			t.Errorf("it goes on after %s", r.Header.Get(api.HeaderLastEventID))
		}
		w.Header().Set("Content-Type", api.ContentEvents)
		fmt.Fprint(w, "event: start\nid: 90\ndata: {}\n\nevent: change\nid: 91\ndata: {\"index\":91,\"summary\":\"s\"}\n\n")
	}))
	defer srv.Close()
	w := newWorld(t)
	w.env = []string{envAPI + "=" + srv.URL}
	got := w.line(`lbctl watch --from 3 --count 1`)
	if got.code != 0 || !strings.Contains(got.stdout, "91  s  (unknown)") || !strings.Contains(got.stderr, "begins after index 70; it starts anew") {
		t.Errorf("%+v", got)
	}
}

func TestStateText(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	w := &watcher{app: &app{stdout: &out, now: func() time.Time { return epoch }}, seen: map[string]string{}}
	for _, s := range []api.BackendState{
		{ID: "a", Index: 1, NodeState: "init", Verdict: "unknown"},
		{ID: "a", Index: 2, NodeState: "ready", VerdictText: "200 OK"},
		{ID: "a", Index: 3, NodeState: "ready", VerdictText: "204 No Content"}, // the same to an operator
		{ID: "a", Index: 4, NodeState: "error", VerdictText: "refused"},
	} {
		s.Since = epoch
		w.printState(s)
	}
	const want = "10:00:00       2  backend a: init -> ready  (200 OK)\n10:00:00       4  backend a: ready -> error  (refused)\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

// Without a terminal frames come one below the other, each at its interval, until the time is up.
func TestTop(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must(`lbctl add backend 10.0.0.1:80 --id a`)
	got := w.line(`lbctl top --interval 100ms --timeout 2s`)
	if got.code != 0 || strings.Count(got.stdout, "NODE  ROLE") < 2 || strings.Contains(got.stdout, "\x1b") {
		t.Errorf("exit %d\n%s%s", got.code, got.stdout, got.stderr)
	}
	for line, code := range map[string]int{`lbctl top -o json`: 2, `lbctl top --interval 1ms`: 2, `lbctl top x`: 2, `lbctl top --once --api 127.0.0.1:1`: 1} {
		if got := w.line(line); got.code != code {
			t.Errorf("%s: exit %d, want %d: %s", line, got.code, code, got.stderr)
		}
	}
}

// What needs somebody is on the screen, however little room there is.
func TestTop_height(t *testing.T) {
	t.Parallel()
	tp := &top{app: &app{}, last: &frame{at: epoch.Add(-2 * time.Second)}}
	fr := &frame{at: epoch, nodes: []api.Node{{ID: "n1"}}}
	for i := range 50 {
		fr.backends = append(fr.backends, api.Backend{ID: fmt.Sprintf("b%02d", i), NodeState: "ready", Routable: true})
	}
	fr.stats.Responses = map[string]uint64{"2xx": 90, "5xx": 7}
	if got := tp.failed(fr); got != "3.5/s" {
		t.Errorf("failed = %s, want 7 in 2 seconds", got)
	}
	fr.backends[40].NodeState, fr.backends[40].VerdictText = "error", "refused"
	lines := tp.lines(fr, 20)
	if len(lines) > 20 || !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, "b40") }) || !strings.HasPrefix(lines[len(lines)-1], "and ") {
		t.Errorf("%d lines:\n%s", len(lines), strings.Join(lines, "\n"))
	}
	s := &screen{colour: true}
	for i, want := range map[int]string{0: styleBold + styleRed, 3: styleBold} {
		if got := s.styled(i, lines[i]); !strings.HasPrefix(got, want) {
			t.Errorf("line %d %q is styled %q", i, lines[i], got)
		}
	}
	if got := s.styled(8, "b40  p  error  refused"); got != styleRed+"b40  p  error  refused"+styleOff {
		t.Errorf("a failing backend is %q", got)
	}
	if cut("äöü", 2) != "äö" {
		t.Errorf("cut = %q", cut("äöü", 2))
	}
}
