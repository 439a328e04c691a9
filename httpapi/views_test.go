package httpapi_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/httpapi"
	"github.com/lbnode/lbnode/httpapi/apitest"
	"github.com/lbnode/lbnode/state"
	"github.com/lbnode/lbnode/stats"
)

func TestBackendsHealth(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for _, target := range []string{"/backends/health", "/backends/health?verbose=true"} {
		if r := h.do(http.MethodGet, target, "").want(http.StatusOK); r.body != "{}\n" {
			t.Errorf("GET %s of nothing = %q, want {}", target, r.body)
		}
	}
	for _, b := range []string{"users-v1", "users-v2", "users-v3"} {
		h.do(http.MethodPost, "/backends", fmt.Sprintf(`{"id":%q,"address":"%s:80","pool":"p"}`, b, b)).want(http.StatusCreated)
	}
	h.do(http.MethodPost, "/backends", `{"id":"other","address":"other:80"}`).want(http.StatusCreated)
	for id, v := range map[string]state.Verdict{"users-v1": state.VerdictUp, "users-v2": state.VerdictDown} {
		if err := h.store.SetVerdict(id, v, "connection refused"); err != nil {
			t.Fatal(err)
		}
	}
	if r := h.do(http.MethodGet, "/backends/health?pool=p", "").want(http.StatusOK); r.body != `{"users-v1":"healthy","users-v2":"unhealthy","users-v3":"unknown"}`+"\n" {
		t.Errorf("GET /backends/health?pool=p = %s", r.body)
	}
	since := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	h.fake.Update(func(f *apitest.Fake) {
		f.Runtimes["users-v2"] = httpapi.BackendRuntime{Standing: state.Standing{Vetoed: true, VetoReason: "3 connect failures", VetoSince: since}}
		f.Seen["users-v2"] = []httpapi.Observation{
			{Node: "n2", Status: state.VerdictUp, Latency: 1500 * time.Microsecond, InFlight: 4, Seq: 9},
			{Node: "n1", Status: state.VerdictDown, Error: "connection refused", Since: since, Age: 2 * time.Second, Seq: 7},
		}
	})
	var got api.VerboseHealth
	h.do(http.MethodGet, "/backends/health?verbose", "").want(http.StatusOK).into(&got)
	want := api.BackendHealth{
		Health: "unhealthy", Text: "connection refused", Since: got["users-v2"].Since, Vetoed: true, VetoReason: "3 connect failures", VetoSince: &since,
		Observations: []api.Observation{
			{Node: "n1", Status: "down", Error: "connection refused", Since: &since, Age: "2s", Seq: 7},
			{Node: "n2", Status: "up", LatencyMS: 1.5, InFlight: 4, Seq: 9},
		},
	}
	if diff := cmp.Diff(want, got["users-v2"]); diff != "" || len(got) != 4 || got["other"].Observations == nil {
		t.Errorf("GET /backends/health?verbose: %d backends (-want +got)\n%s", len(got), diff)
	}
	h.do(http.MethodGet, "/backends/health?verbose=maybe", "").problem(http.StatusBadRequest, api.CodeInvalid)
	h.do(http.MethodGet, "/backends/health?pool=p&verbos", "").problem(http.StatusBadRequest, api.CodeInvalid)
}

// What this node and the others measure shows in a backend.
func TestBackend_runtime(t *testing.T) {
	t.Parallel()
	h := prepared(t)
	h.fake.Update(func(f *apitest.Fake) {
		f.Runtimes["b"] = httpapi.BackendRuntime{InFlight: 3, Meetings: 2, Attendees: 17}
		f.Seen["b"] = []httpapi.Observation{{Node: "n1", InFlight: 99, Latency: 92546 * time.Microsecond}, {Node: "n2", InFlight: 4}}
	})
	if b := h.backend("b"); b.InFlight != 7 || b.LatencyMS != 92.546 || b.Meetings != 2 || b.Attendees != 17 {
		t.Errorf("GET = %+v, want 3+4 in flight and the probe's latency", b)
	}
	h.fake.Update(func(f *apitest.Fake) { f.Runtimes["b"] = httpapi.BackendRuntime{Latency: 5 * time.Millisecond} })
	if b := h.backend("b"); b.LatencyMS != 5 {
		t.Errorf("latency_ms = %v, want that of traffic", b.LatencyMS)
	}

	// One dead backend is not routable, but a dead pool is.
	h.do(http.MethodPost, "/backends", `{"id":"b2","address":"10.0.0.2:80","pool":"p"}`).want(http.StatusCreated)
	routable := func() string { return fmt.Sprint(h.backend("b").Routable, h.backend("b2").Routable) }
	for _, tt := range []struct {
		id   string
		to   state.Verdict
		want string
	}{{"b", state.VerdictUp, "true false"}, {"b2", state.VerdictDown, "true false"}, {"b", state.VerdictDown, "true true"}, {"b2", state.VerdictUp, "false true"}} {
		if err := h.store.SetVerdict(tt.id, tt.to, ""); err != nil {
			t.Fatal(err)
		}
		if got := routable(); got != tt.want {
			t.Errorf("after %s is %s: routable %s, want %s", tt.id, tt.to, got, tt.want)
		}
	}
}

func TestStats(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	series := func(requests uint64, conns int64, latency time.Duration) stats.Series {
		var hist stats.Hist
		for range requests {
			hist.Record(latency)
		}
		s := stats.Series{Conns: conns, Active: 2, RateMilli: 12_000_000, Latency: hist.Snapshot()}
		s.Classes[2] = requests
		return s
	}
	h.fake.Update(func(f *apitest.Fake) {
		f.Counters = stats.Snapshot{
			Nodes: []string{"n2", "n1"}, Total: series(10, 830, 18*time.Millisecond),
			Routes: map[string]stats.Series{"r": series(3, 0, time.Millisecond)}, Backends: map[string]stats.Series{"b": series(4, 1, time.Millisecond)},
		}
		f.Missing = []string{"n9", "n3"}
	})
	var got api.Stats
	h.do(http.MethodGet, "/stats", "").want(http.StatusOK).into(&got)
	if got.Scope != "cluster" || fmt.Sprint(got.Nodes, got.Missing) != "[n1 n2] [n3 n9]" {
		t.Errorf("GET /stats: scope %s, nodes %v, missing %v", got.Scope, got.Nodes, got.Missing)
	}
	if got.RPS != 12000 || got.ActiveConnections != 830 || got.Requests != 10 || got.Responses["2xx"] != 10 || got.Errors == nil || got.ActiveRequests != 2 {
		t.Errorf("GET /stats = %+v", got.Summary)
	}
	for _, p := range []float64{got.P50LatencyMS, got.P95LatencyMS, got.P99LatencyMS} {
		if p < 17.8 || p > 18.2 {
			t.Errorf("percentile %v ms, want 18", p)
		}
	}
	if got.Backends["b"].Requests != 4 || got.Routes["r"].Requests != 3 {
		t.Errorf("breakdown = %+v, %+v", got.Backends, got.Routes)
	}
	h.do(http.MethodGet, "/stats?scope=node", "").want(http.StatusOK).into(&got)
	if got.Scope != "node" || len(got.Missing) != 0 {
		t.Errorf("GET /stats?scope=node: scope %s, missing %v", got.Scope, got.Missing)
	}
	h.do(http.MethodGet, "/stats?scope=world", "").problem(http.StatusBadRequest, api.CodeInvalid)
	if r := newHarness(t).do(http.MethodGet, "/stats", ""); !strings.Contains(r.body, `"rps":0`) || !strings.Contains(r.body, `"backends":{}`) {
		t.Errorf("GET /stats without traffic = %s, want zeros", r.body)
	}
}

func threeNodes(f *apitest.Fake) {
	f.ClusterStatus = httpapi.ClusterStatus{
		ClusterID: "c", NodeID: "n1", LeaderID: "n2", LeaderAddr: "10.0.0.2:7946", State: "follower", Term: 4, CommitIndex: 50,
		AppliedIndex: 48, LastIndex: 51, Voters: 2, LiveVoters: 2, Healthy: true, LastContact: 20 * time.Millisecond,
	}
	f.Nodes = []httpapi.Member{
		{ID: "n3", Addr: "10.0.0.3:7946", Status: "dead", LastContact: -1},
		{ID: "n1", Addr: "10.0.0.1:7946", Voter: true, Self: true, Status: "alive"},
		{ID: "n2", Addr: "10.0.0.2:7946", API: "10.0.0.2:9080", Proxy: "10.0.0.2:8080", Version: "1", Voter: true, Leader: true, Status: "alive", LastContact: 5 * time.Millisecond, AppliedIndex: 50},
	}
}

func TestCluster(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.fake.Update(threeNodes)
	var got api.Cluster
	h.do(http.MethodGet, "/cluster", "").want(http.StatusOK).into(&got)
	want := api.Cluster{
		ID: "c", Node: "n1", State: "follower", Leader: &api.Leader{ID: "n2", API: "10.0.0.2:9080", Proxy: "10.0.0.2:8080"}, Healthy: true,
		Index: 1, Term: 4, CommitIndex: 50, LastIndex: 51, Voters: []string{"n1", "n2"}, LiveVoters: 2, LastContact: "20ms",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("GET /cluster (-want +got)\n%s", diff)
	}
	h.fake.Update(func(f *apitest.Fake) {
		f.ClusterStatus = httpapi.ClusterStatus{State: "candidate", LastContact: -1}
	})
	h.store.SetStale(true)
	r := h.do(http.MethodGet, "/cluster", "").want(http.StatusOK).into(&got)
	if got.Leader != nil || got.Healthy || got.ID != "test-cluster" || got.LastContact != "" || !got.Stale {
		t.Errorf("GET /cluster without a leader = %+v", got)
	}
	if _, ok := r.header[api.HeaderLeader]; ok || r.header.Get(api.HeaderStale) != "true" {
		t.Errorf("headers without a leader = %v", r.header)
	}
}

func TestNodes(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.fake.Update(threeNodes)
	lag := func(n uint64) *uint64 { return &n }
	var got []api.Node
	h.do(http.MethodGet, "/nodes", "").want(http.StatusOK).into(&got)
	want := []api.Node{
		{ID: "n1", Address: "10.0.0.1:7946", Status: "alive", Voter: true, Self: true, LastContact: "0s", AppliedIndex: 48, Lag: lag(2)},
		{ID: "n2", Address: "10.0.0.2:7946", API: "10.0.0.2:9080", Proxy: "10.0.0.2:8080", Version: "1", Status: "alive", Voter: true, Leader: true, LastContact: "5ms", AppliedIndex: 50, Lag: lag(0)},
		{ID: "n3", Address: "10.0.0.3:7946", Status: "dead"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("GET /nodes (-want +got)\n%s", diff)
	}
	r := h.do(http.MethodGet, "/nodes?limit=2", "").want(http.StatusOK).into(&got)
	if len(got) != 2 || api.NextCursor(r.header) != "n2" {
		t.Errorf("GET /nodes?limit=2: %d nodes, next %q", len(got), api.NextCursor(r.header))
	}
	h.do(http.MethodDelete, "/nodes/nope", "").problem(http.StatusNotFound, api.CodeNotFound)
	for _, tt := range []struct {
		err    error
		status int
		code   string
	}{
		{fmt.Errorf("%w: n3 is the last voter alive", httpapi.ErrNotSafe), 409, api.CodeNotSafe},
		{httpapi.ErrBusy, 503, api.CodeBusy},
		{state.ErrNoLeader, 503, api.CodeNoLeader},
		{state.ErrOutcomeUnknown, 504, api.CodeOutcomeUnknown},
		{errors.New("x"), 500, api.CodeInternal},
	} {
		h.fake.Update(func(f *apitest.Fake) { f.ClusterErr = tt.err })
		h.do(http.MethodDelete, "/nodes/n3", "").problem(tt.status, tt.code)
		h.do(http.MethodPost, "/cluster/transfer-leader", "").problem(tt.status, tt.code)
	}
	h.do(http.MethodDelete, "/nodes/n3?force", "").want(http.StatusNoContent)
	h.fake.Update(func(f *apitest.Fake) { f.ClusterErr = nil })
	h.do(http.MethodPost, "/cluster/transfer-leader", "").want(http.StatusOK)
	h.do(http.MethodPost, "/cluster/transfer-leader", `{"to":"n1"}`).want(http.StatusOK)
	h.do(http.MethodPost, "/cluster/transfer-leader", `{"to":"n7"}`).problem(http.StatusNotFound, api.CodeNotFound)
	h.do(http.MethodPost, "/cluster/transfer-leader", `{"node":"n1"}`).want(http.StatusBadRequest).at("/node", "unknown field")
	h.fake.Update(func(f *apitest.Fake) {
		if fmt.Sprint(f.Removed, f.Transferred) != "[n3] [ n1]" {
			t.Errorf("removed %v, transferred to %q", f.Removed, f.Transferred)
		}
	})
}

func TestProbes(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	if r := h.do(http.MethodGet, "/livez?cache=buster;%zz", "").want(http.StatusOK); r.body != `{"status":"ok"}`+"\n" {
		t.Errorf("GET /livez = %s", r.body)
	}
	if r := h.do(http.MethodGet, "/readyz", "").want(http.StatusOK); r.body != `{"ready":true,"reasons":[]}`+"\n" {
		t.Errorf("GET /readyz = %s", r.body)
	}
	h.fake.Update(func(f *apitest.Fake) { f.NotReady = []string{"draining", "no view yet"} })
	var got api.NotReady
	h.do(http.MethodGet, "/v1/readyz", "").want(http.StatusServiceUnavailable).into(&got)
	if got.Ready || fmt.Sprint(got.Reasons) != "[draining no view yet]" || got.Code != api.CodeNotReady || !strings.Contains(got.Detail, "draining; no view yet") {
		t.Errorf("GET /readyz = %+v", got)
	}
	if r := h.do(http.MethodGet, "/metrics", "").want(http.StatusOK); r.body != "lb_up 1\n" || !strings.HasPrefix(r.header.Get("Content-Type"), "text/plain") {
		t.Errorf("GET /metrics = %q", r.body)
	}
}

func TestStats_ofOneNode(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.fake.Update(func(f *apitest.Fake) {
		f.Nodes = append(f.Nodes, httpapi.Member{ID: "n2", Voter: true, Status: "alive"}, httpapi.Member{ID: "n3", Voter: true, Status: "dead"})
		f.Missing = []string{"n3"}
	})
	for query, want := range map[string][2]string{"": {"n1"}, "&node=n1": {"n1"}, "&node=n2": {"n2"}, "&node=n3": {"", "n3"}} {
		var st api.Stats
		h.do(http.MethodGet, "/stats?scope=node"+query, "").want(http.StatusOK).into(&st)
		if st.Scope != api.ScopeNode || strings.Join(st.Nodes, " ") != want[0] || strings.Join(st.Missing, " ") != want[1] {
			t.Errorf("scope=node%s: nodes %v, missing %v, want %v", query, st.Nodes, st.Missing, want)
		}
	}
	h.do(http.MethodGet, "/stats?scope=node&node=n9", "").problem(http.StatusNotFound, api.CodeNotFound)
	h.do(http.MethodGet, "/stats?node=n1", "").at("", "goes with scope=node only")
}
