package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/lbnode/lbnode/httpapi"
	"github.com/lbnode/lbnode/httpapi/apitest"
	"github.com/lbnode/lbnode/state"
	"github.com/lbnode/lbnode/stats"
)

var update = flag.Bool("update", false, "write the golden files")

// envMain makes the test binary be lbctl: for tests that need a process of its own.
const envMain = "LBCTL_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(envMain) != "" {
		main()
	}
	goleak.VerifyTestMain(m)
}

var epoch = time.Date(2026, 5, 4, 10, 0, 0, 0, time.UTC)

// world is the whole API over a store in memory.
type world struct {
	t     *testing.T
	store *apitest.Store
	fake  *apitest.Fake
	srv   *httptest.Server
	env   []string
	tty   bool
	stdin string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, store: apitest.NewStore(), fake: apitest.NewFake()}
	cfg := apitest.NewConfig(w.store, w.fake)
	var ids atomic.Int64
	cfg.Now = func() time.Time { return epoch }
	cfg.NewID = func() string { return fmt.Sprintf("id-%d", ids.Add(1)) }
	api, err := httpapi.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.srv = httptest.NewServer(api)
	t.Cleanup(w.srv.Close)
	w.env = []string{envAPI + "=" + w.srv.URL, "TERM=xterm"}
	return w
}

type outcome struct {
	code           int
	stdout, stderr string
}

// app is a run of lbctl in this world: its clock stands, and it does not wait long.
func (w *world) app() (*app, *bytes.Buffer, *bytes.Buffer) {
	var stdout, stderr bytes.Buffer
	a := newApp(strings.NewReader(w.stdin), &stdout, &stderr, w.env)
	a.now = func() time.Time { return epoch.Add(90 * time.Second) }
	a.pollPause, a.tty = time.Millisecond, w.tty
	return a, &stdout, &stderr
}

// run runs lbctl with arguments as they are.
func (w *world) run(args ...string) outcome { return w.runIn(w.t.Context(), args...) }

func (w *world) runIn(ctx context.Context, args ...string) outcome {
	a, stdout, stderr := w.app()
	code := a.run(ctx, args)
	return outcome{code, stdout.String(), strings.ReplaceAll(stderr.String(), w.srv.URL, "http://node")}
}

// line runs a command line as typed into a shell.
func (w *world) line(line string) outcome {
	w.t.Helper()
	args := split(line)
	if args[0] != "lbctl" {
		w.t.Fatalf("%q does not begin with lbctl", line)
	}
	return w.run(args[1:]...)
}

// must runs a command line that has to succeed.
func (w *world) must(line string) outcome {
	w.t.Helper()
	got := w.line(line)
	if got.code != 0 {
		w.t.Fatalf("%s\nexit %d\n%s%s", line, got.code, got.stdout, got.stderr)
	}
	return got
}

// split takes a line apart as a shell does, as far as single quotes go.
func split(line string) []string {
	var out []string
	word, quoted, some := "", false, false
	for _, r := range line {
		switch {
		case r == '\'':
			quoted, some = !quoted, true
		case r == ' ' && !quoted:
			if some {
				out = append(out, word)
			}
			word, some = "", false
		default:
			word, some = word+string(r), true
		}
	}
	if some {
		out = append(out, word)
	}
	return out
}

// populate makes a small cluster with something of everything.
func (w *world) populate() {
	w.t.Helper()
	for _, line := range []string{
		"lbctl add pool users --algorithm consistent_hash --hash-source header --hash-name X-User --health-path /ping --interval 1s",
		"lbctl add backend 10.0.1.15:8080 --id users-v1 --weight 3 --pool users --tag eu --tag fast",
		"lbctl add backend 10.0.1.16:8080 --id users-v2 --pool users",
		"lbctl add backend https://node22.bbb.example.org/bigbluebutton/api/ --id bbb22 --tag bbb_25",
		"lbctl add backend 10.0.1.17:8080 --id users-v3 --pool users --admin-state stopped",
		"lbctl add route users --path /users --method GET,POST --pool users --algorithm least_connections --header X-Env=prod --query v=~[12] --retries 1 --timeout-total 30s",
		"lbctl add route web --host *.example.org --pool default --priority -5 --path-type exact --path /",
		"lbctl add frontend shop --host shop.example.org --host www.example.org --tag eu --secret s3cret",
		"lbctl add frontend customer-1",
	} {
		w.must(line)
	}
	w.verdict("users-v1", state.VerdictUp, "200 OK")
	w.verdict("users-v2", state.VerdictDown, "connection refused")
	w.verdict("bbb22", state.VerdictUp, "200 OK")
	w.fake.SetExplanations(explained()...)
	w.fake.Update(func(f *apitest.Fake) {
		f.Runtimes["bbb22"] = httpapi.BackendRuntime{InFlight: 1, Latency: 92546636, Meetings: 2, Attendees: 31}
		f.Runtimes["users-v1"] = httpapi.BackendRuntime{InFlight: 2, Latency: 1500 * time.Microsecond, Standing: state.Standing{Vetoed: true, VetoReason: "3 connect failures", VetoSince: epoch.Add(time.Minute)}}
		f.Runtimes["users-v3"] = httpapi.BackendRuntime{InFlight: 4}
		f.Seen["users-v2"] = []httpapi.Observation{
			{Node: "n1", Status: state.VerdictDown, Error: "connection refused", Since: epoch.Add(30 * time.Second), Seq: 4},
			{Node: "n2", Status: state.VerdictDown, Error: "timeout\x1b[31m", Latency: time.Second, InFlight: 3, Seq: 9},
		}
		f.Nodes = []httpapi.Member{
			{ID: "n1", Addr: "10.0.0.1:7946", API: "10.0.0.1:9080", Proxy: "10.0.0.1:8080", Version: "v1", Voter: true, Leader: true, Self: true, Status: "alive", AppliedIndex: 20},
			{ID: "n2", Addr: "10.0.0.2:7946", API: "10.0.0.2:9080", Proxy: "10.0.0.2:8080", Version: "v1", Voter: true, Status: "suspect", LastContact: 3 * time.Second, AppliedIndex: 12},
			{ID: "n3", Addr: "10.0.0.3:7946", API: "10.0.0.3:9080", Proxy: "10.0.0.3:8080", Version: "v1", Draining: true, Status: "alive", LastContact: -1},
		}
		f.ClusterStatus.CommitIndex, f.ClusterStatus.LastIndex, f.ClusterStatus.Voters, f.ClusterStatus.FailureTolerance = 20, 21, 2, 0
		f.Missing = []string{"n2"}
		f.Counters = stats.Snapshot{
			Nodes:    []string{"n1", "n3"},
			Total:    stats.Series{Classes: [6]uint64{1, 0, 900, 0, 40, 7}, Errors: map[string]uint64{"connect": 7}, BytesIn: 1 << 20, BytesOut: 5 << 30, Active: 3, Conns: 830, ConnsOpened: 4000, RateMilli: 12_000_000},
			Backends: map[string]stats.Series{"users-v1": {Classes: [6]uint64{0, 0, 900}, RateMilli: 1500}, "users-v2": {Classes: [6]uint64{0, 0, 0, 0, 0, 7}, Errors: map[string]uint64{"connect": 7}}},
			Routes:   map[string]stats.Series{"users": {Classes: [6]uint64{0, 0, 900, 0, 40, 7}, BytesIn: 2048}},
		}
	})
}

func (w *world) verdict(id string, to state.Verdict, text string) {
	w.t.Helper()
	b, ok := w.store.View().Backend(id)
	if !ok {
		w.t.Fatalf("there is no backend %q", id)
	}
	change := state.StateChange{ID: id, Gen: b.Gen, From: b.Verdict, To: to, Text: text}
	if _, err := w.store.Do(w.t.Context(), state.Command{Type: state.TypeStates, At: epoch.Add(time.Minute), Changes: []state.StateChange{change}}); err != nil {
		w.t.Fatal(err)
	}
}

// golden compares with a file below testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v (go test -update writes it)", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}
