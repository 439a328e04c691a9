package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/lbnode/lbnode/api"
)

// Every form of output, of a small cluster in which something is wrong.
func TestGolden(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, line string }{
		{"backends", "lbctl show backends"},
		{"backends-table", "lbctl show backends -o table"},
		{"backends-wide", "lbctl show backends -o wide"},
		{"backends-name", "lbctl show backends -o name"},
		{"backends-filtered", "lbctl show backends --pool users --node-state error -o table"},
		{"backend-missing", "lbctl show backend users-v1 nope users-v3 -o name"},
		{"backend-some-name", "lbctl show backend users-v1 users-v3 -o name"},
		{"pools", "lbctl show pools"},
		{"pools-wide", "lbctl show pools -o wide"},
		{"pool", "lbctl show pool users"},
		{"routes", "lbctl show routes"},
		{"routes-wide", "lbctl show routes -o wide"},
		{"route", "lbctl show route users"},
		{"route-yaml", "lbctl show route users -o yaml"},
		{"frontends", "lbctl show frontends"},
		{"frontends-wide", "lbctl show frontends -o wide"},
		{"frontend", "lbctl show frontend shop"},
		{"health", "lbctl show health"},
		{"health-verbose", "lbctl show health -v"},
		{"health-json", "lbctl show health -o json"},
		{"health-table", "lbctl show health -o table"},
		{"health-name", "lbctl show health -o name"},
		{"stats", "lbctl show stats"},
		{"stats-wide", "lbctl show stats -o wide"},
		{"explain", "lbctl explain http://www.example.org/users?v=1 -X POST -H 'X-Env: prod'"},
		{"explain-all", "lbctl explain /users --all-nodes"},
		{"explain-name", "lbctl explain /users -o name"},
		{"nodes", "lbctl show nodes"},
		{"nodes-wide", "lbctl show nodes -o wide"},
		{"nodes-name", "lbctl show nodes -o name"},
		{"cluster", "lbctl cluster status"},
		{"top", "lbctl top --once"},
		{"top-wide", "lbctl top --once -o wide --pool users"},

		{"add-backend", "lbctl add backend 10.0.1.99:80 --id new"},
		{"add-backend-wide", "lbctl add backend 10.0.1.99:80 --id new -o wide"},
		{"add-invalid", "lbctl add backend nowhere --id Bad! --weight 2000"},
		{"add-invalid-json", "lbctl add backend nowhere --id Bad! --weight 2000 --json --request-id r1"},
		{"set-backend", "lbctl set backend users-v1 --weight 4"},
		{"set-unchanged", "lbctl set backend users-v1 --weight 3"},
		{"set-unknown-field", `lbctl set backend users-v1 -j '{"wieght":3,"node_state":"ready"}'`},
		{"set-missing", "lbctl set backend nope --weight 3"},
		{"disable-backend", "lbctl disable backend users-v1"},
		{"disable-again", "lbctl disable backend users-v3"},
		{"disable-several", "lbctl disable backend users-v1 nope users-v3"},
		{"delete-backend", "lbctl delete backend users-v1"},
		{"delete-force", "lbctl delete --force backend users-v1"},
		{"delete-in-use", "lbctl delete pool users"},
		{"delete-in-use-json", "lbctl delete pool users -o json --request-id r2"},
		{"remove-node", "lbctl node remove n3"},
		{"transfer", "lbctl cluster transfer-leader n2"},
		{"keys", "lbctl cluster key list"},
		{"key-install", "lbctl cluster key install"},
		{"key-use", "lbctl cluster key use 1badcafe"},
		{"key-missing", "lbctl cluster keys remove 0badc0de"},
		{"dry-add", "lbctl --dry add route --path /a&b --header X-A --header X-B=1 --pool p"},
		{"dry-set", `lbctl set --dry backend -j '{"tags":[]}' https://node22.bbb.example.org/`},
		{"dry-delete", "lbctl delete --dry backend --force users-v1"},
		{"dry-enable", "lbctl enable --dry backend users-v1 users-v3 --wait"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.populate()
			got := w.line(tt.line)
			text := fmt.Sprintf("$ %s\nexit %d\n", tt.line, got.code)
			if got.stdout != "" {
				text += "--- stdout\n" + got.stdout
			}
			if got.stderr != "" {
				text += "--- stderr\n" + got.stderr
			}
			for l := range strings.Lines(text) {
				if strings.ContainsAny(l, "\x1b\r\x00") {
					t.Errorf("control characters in %q", l)
				}
			}
			golden(t, tt.name, text)
		})
	}
}

// A cluster without anything in it, and one that is well.
func TestGolden_empty(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var b strings.Builder
	for _, line := range []string{
		"lbctl show backends", "lbctl show backends -o table", "lbctl show backends -o name", "lbctl show backends -o json", "lbctl show backends -o yaml",
		"lbctl show routes", "lbctl show health", "lbctl show health -o json", "lbctl show stats", "lbctl show nodes", "lbctl cluster status",
	} {
		got := w.line(line)
		fmt.Fprintf(&b, "$ %s\nexit %d\n%s%s\n", line, got.code, got.stdout, got.stderr)
	}
	golden(t, "empty", b.String())
}

// A described backend with everything that can be said of one.
func TestGolden_describeBackend(t *testing.T) {
	t.Parallel()
	since := epoch.Add(time.Minute)
	b := api.Backend{
		ID: "b1", Address: "10.0.0.1:80", Pool: "users", Weight: 3, Tags: []string{"a", "b"}, AdminState: "stopped", LoadFactor: 0.5,
		NodeState: "ready", Draining: true, Verdict: "up", VerdictText: "200 OK", StateSince: epoch, LatencyMS: 0.25, InFlight: 1, ModifyIndex: 7,
		Reasons: []api.Reason{{Source: api.SourceAdmin, Text: "admin_state is stopped", Since: &since}, {Source: api.SourceDrain, Text: "1 request\x1b[2J"}},
	}
	var out bytes.Buffer
	a := newApp(nil, &out, &out, nil)
	describeBackend(a, b)
	fmt.Fprintln(&out)
	describeBackend(a, api.Backend{ID: "b2", NodeState: "init", AdminState: "ready", Routable: true, Verdict: "unknown"})
	golden(t, "describe-backend", out.String())
}

// -o json is the API's answer, but for its indentation; -o yaml says the same.
func TestOutput_isTheAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.populate()
	for _, tt := range []struct{ line, path string }{
		{"lbctl show backends", "/backends"},
		{"lbctl show backends --tag eu --tag fast", "/backends?tag=eu&tag=fast"},
		{"lbctl show backend https://node22.bbb.example.org", "/backends/bbb22"},
		{"lbctl show pools", "/pools"},
		{"lbctl show pool users", "/pools/users"},
		{"lbctl show routes", "/routes"},
		{"lbctl show frontends", "/frontends"},
		{"lbctl show frontend customer-1", "/frontends/customer-1"},
		{"lbctl show health", "/backends/health"},
		{"lbctl show health --verbose", "/backends/health?verbose=true"},
		{"lbctl show stats", "/stats"},
		{"lbctl show stats --scope node", "/stats?scope=node"},
		{"lbctl show nodes", "/nodes"},
		{"lbctl cluster status", "/cluster"},
	} {
		resp, err := http.Get(w.srv.URL + tt.path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("GET %s = %d, %v", tt.path, resp.StatusCode, err)
		}
		var want bytes.Buffer
		if err := json.Indent(&want, bytes.TrimSpace(body), "", "  "); err != nil {
			t.Fatal(err)
		}
		got := w.line(tt.line + " -o json")
		if diff := cmp.Diff(want.String()+"\n", got.stdout); diff != "" || got.code != 0 || got.stderr != "" {
			t.Errorf("%s = exit %d, %q (-API +lbctl):\n%s", tt.line, got.code, got.stderr, diff)
		}
		var fromYAML, fromJSON any
		got = w.line("lbctl -o yaml" + strings.TrimPrefix(tt.line, "lbctl"))
		if err := yaml.Unmarshal([]byte(got.stdout), &fromYAML); err != nil {
			t.Fatalf("%s -o yaml: %v\n%s", tt.line, err, got.stdout)
		}
		again, err := json.Marshal(fromYAML)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(json.Unmarshal(again, &fromYAML), json.Unmarshal(body, &fromJSON)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(fromJSON, fromYAML); diff != "" {
			t.Errorf("%s -o yaml (-API +lbctl):\n%s", tt.line, diff)
		}
	}
}

// What YAML would take for something else stays a string.
func TestPrintYAML(t *testing.T) {
	t.Parallel()
	const in = `{"a":"yes","b":"1.0","c":"","d":null,"e":[],"f":{},"g":18446744073709551615,"h":1e3,"i":"x: y\n\u001b","j":[[1],{"k":true}],"l":"\ud83d\ude00","~":"#"}`
	var out bytes.Buffer
	if err := printYAML(&out, []byte(in)); err != nil {
		t.Fatal(err)
	}
	golden(t, "yaml", out.String())
	for _, bad := range []string{``, `{`, `{"a":}`, `[1,`} {
		if err := printYAML(io.Discard, []byte(bad)); err == nil {
			t.Errorf("printYAML(%q) = nil, want an error", bad)
		}
	}
}

// The first line of show health, cluster status and show nodes says what matters.
func TestSummaries(t *testing.T) {
	t.Parallel()
	health := func(states ...string) string {
		h := api.VerboseHealth{}
		for i, s := range states {
			h[fmt.Sprint("b", i)] = api.BackendHealth{Health: s}
		}
		return healthSummary(healthLines(h))
	}
	leader, two := &api.Leader{ID: "n1"}, []string{"n1", "n2"}
	for got, want := range map[string]string{
		health():                                        "There are no backends.",
		health(api.Healthy):                             "The one backend is healthy.",
		health(api.Unhealthy):                           "1 of 1 backend UNHEALTHY.",
		health(api.Healthy, api.Healthy):                "All 2 backends healthy.",
		health(api.Healthy, api.Unknown):                "1 of 2 backends healthy, 1 without a verdict yet.",
		health(api.Healthy, api.Unhealthy, api.Unknown): "1 of 3 backends UNHEALTHY, 1 without a verdict yet.",

		clusterSummary(api.Cluster{}):                                                                              "NOT FORMED: this node belongs to no cluster yet.",
		clusterSummary(api.Cluster{ID: "c"}):                                                                       "NO LEADER: traffic goes on as configured, nothing can be changed.",
		clusterSummary(api.Cluster{ID: "c", Leader: leader}):                                                       "UNHEALTHY: too few voters are alive; traffic goes on as configured, nothing can be changed.",
		clusterSummary(api.Cluster{ID: "c", Leader: leader, Healthy: true, Stale: true}):                           "STALE: this node answers from its disk; no leader has confirmed it yet.",
		clusterSummary(api.Cluster{ID: "c", Leader: leader, Healthy: true, Voters: two, LiveVoters: 1}):            "DEGRADED: 1 of 2 voters alive; 0 more may fail.",
		clusterSummary(api.Cluster{ID: "c", Leader: leader, Healthy: true, Voters: two[:1], LiveVoters: 1}):        "Healthy, but a single voter: its failure stops changes. Join two more nodes.",
		clusterSummary(api.Cluster{ID: "c", Leader: leader, Healthy: true, Voters: two, LiveVoters: 2}):            "Healthy: all 2 voters alive, 0 may fail.",
		nodesSummary([]api.Node{{ID: "n1", Status: "alive", Leader: true}}):                                        "1 node, alive: n1 leads.",
		nodesSummary([]api.Node{{ID: "n1", Status: "alive", Leader: true}, {ID: "n2", Status: "alive"}}):           "All 2 nodes alive, n1 leads.",
		nodesSummary([]api.Node{{ID: "n1", Status: "alive"}, {ID: "n2", Status: "dead"}, {ID: "n3", Status: "x"}}): "Of 3 nodes, 1 alive: n2 is dead, n3 is x, there is no leader.",
	} {
		if got != want {
			t.Errorf("summary = %q, want %q", got, want)
		}
	}
}
