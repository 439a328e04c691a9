package node

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/cluster"
)

func draining(t *testing.T, by *Node, id string) bool {
	t.Helper()
	_, body := call(t, "GET", apiOf(by)+"/nodes", "")
	var nodes []api.Node
	if err := json.Unmarshal([]byte(body), &nodes); err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		if n.ID == id {
			return n.Draining
		}
	}
	return false
}

// A drained node says so everywhere, gives leadership away, serves what still comes and asks it to go elsewhere,
// also after a restart; until it is brought back, by any node.
func TestNodeDrain(t *testing.T) {
	t.Parallel()
	backend := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer backend.Close()
	first, _ := runNode(t, testConfig(t, "n1"))
	cfg2, cfg3 := testConfig(t, "n2"), testConfig(t, "n3")
	cfg2.Join, cfg3.Join = []string{first.ClusterAddr()}, []string{first.ClusterAddr()}
	second, _ := runNode(t, cfg2)
	third, stopThird := runNode(t, cfg3)
	all := []*Node{first, second, third}
	for _, n := range all {
		eventually(t, "three voters on "+n.ID(), func() bool { return len(n.cluster.Voters()) == 3 && len(n.cluster.Live()) == 3 })
	}
	putAll(t, first, "/pools/p", `{"initial":"up","health":{"type":"none"}}`, "/backends/a", `{"address":"`+backend.Listener.Addr().String()+`","pool":"p"}`,
		"/routes/r", `{"match":{"path":"/"},"backend_pool":"p"}`)
	eventually(t, "an answer", serves(t, third))
	if s, body := call(t, "POST", apiOf(first)+"/cluster/transfer-leader", `{"to":"n3"}`); s != http.StatusOK {
		t.Fatalf("transfer = %d %s", s, body)
	}
	eventually(t, "n3 leads", third.cluster.IsLeader)

	if s, body := call(t, "POST", apiOf(first)+"/nodes/n3/drain", ""); s != http.StatusOK {
		t.Fatalf("drain = %d %s", s, body)
	}
	if third.cluster.IsLeader() {
		t.Error("the drained node still leads")
	}
	eventually(t, "n1 shows the drain", func() bool { return draining(t, first, "n3") })
	if s, body := call(t, "GET", apiOf(third)+"/readyz", ""); s != http.StatusServiceUnavailable || !strings.Contains(body, "operator") {
		t.Errorf("/readyz of a drained node = %d %s", s, body)
	}
	closes := func(n *Node) bool {
		resp, err := http.Get("http://" + n.ProxyAddrs()[0].String() + "/")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("a drained node answers %d, want 200", resp.StatusCode)
		}
		return resp.Close
	}
	if !closes(third) {
		t.Error("a drained node does not say close")
	}
	// Leadership that comes all the same is given away again.
	if err := second.cluster.Transfer(t.Context(), "n3"); err != nil {
		t.Logf("transfer to the drained node: %v", err)
	}
	eventually(t, "a leader that is not drained", func() bool { return leaderOf(t, all) != third })

	stopThird()
	cfg3.Join = nil
	third, _ = runNode(t, cfg3)
	eventually(t, "the restarted node serves", serves(t, third))
	if s, _ := call(t, "GET", apiOf(third)+"/readyz", ""); s != http.StatusServiceUnavailable || !closes(third) {
		t.Errorf("after a restart /readyz = %d, want 503 until it is brought back", s)
	}
	eventually(t, "n2 undrains n3", func() bool {
		s, _ := call(t, "POST", apiOf(second)+"/nodes/n3/undrain", "")
		return s == http.StatusOK
	})
	eventually(t, "readiness", func() bool { s, _ := call(t, "GET", apiOf(third)+"/readyz", ""); return s == http.StatusOK })
	if closes(third) {
		t.Error("a node that is back in use still says close")
	}
	eventually(t, "n1 shows that it is back", func() bool { return !draining(t, first, "n3") })
	if s, _ := call(t, "POST", apiOf(first)+"/nodes/nobody/drain", ""); s != http.StatusNotFound {
		t.Errorf("drain of nobody = %d, want 404", s)
	}
}

// A node that leaves ends without an error and is no member any more; the leader may go too. What would cost
// the quorum is refused.
func TestNodeLeave(t *testing.T) {
	t.Parallel()
	first, _ := runNode(t, testConfig(t, "n1"))
	all := []*Node{first}
	done := map[string]chan error{}
	for _, name := range []string{"n2", "n3"} {
		cfg := testConfig(t, name)
		cfg.Join = []string{first.ClusterAddr()}
		n, err := New(cfg, testOptions())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		t.Cleanup(cancel)
		done[name] = make(chan error, 1)
		go func() { done[name] <- n.Run(ctx) }()
		all = append(all, n)
	}
	for _, n := range all {
		eventually(t, "three voters on "+n.ID(), func() bool { return len(n.cluster.Voters()) == 3 && len(n.cluster.Live()) == 3 })
	}
	if s, body := call(t, "POST", apiOf(first)+"/cluster/transfer-leader", `{"to":"n2"}`); s != http.StatusOK {
		t.Fatalf("transfer = %d %s", s, body)
	}
	eventually(t, "n2 leads", all[1].cluster.IsLeader)
	if s, body := call(t, "POST", apiOf(all[2])+"/nodes/n2/leave", ""); s != http.StatusAccepted {
		t.Fatalf("leave = %d %s", s, body)
	}
	if err := <-done["n2"]; err != nil {
		t.Errorf("Run of the node that left = %v, want nil", err)
	}
	eventually(t, "two members", func() bool { return len(first.cluster.Members()) == 2 })
	eventually(t, "a leader", func() bool { return first.cluster.IsLeader() || all[2].cluster.IsLeader() })
	putAll(t, first, "/pools/p", `{}`)
	eventually(t, "n3 leaves as well", func() bool {
		s, _ := call(t, "POST", apiOf(all[2])+"/nodes/n3/leave", "")
		return s == http.StatusAccepted
	})
	if err := <-done["n3"]; err != nil {
		t.Errorf("Run of the node that left = %v, want nil", err)
	}
	eventually(t, "one member", func() bool { return len(first.cluster.Members()) == 1 })
	if s, body := call(t, "POST", apiOf(first)+"/nodes/n1/leave", ""); s != http.StatusConflict || !strings.Contains(body, api.CodeNotSafe) {
		t.Errorf("the last one leaves = %d %s, want 409", s, body)
	}
}

func TestSuccessor(t *testing.T) {
	t.Parallel()
	m := func(id string, applied uint64, change func(*cluster.Member)) cluster.Member {
		out := cluster.Member{ID: id, Voter: true, Status: "alive", AppliedIndex: applied}
		change(&out)
		return out
	}
	same := func(*cluster.Member) {}
	members := []cluster.Member{
		m("a", 9, func(m *cluster.Member) { m.Self = true }),
		m("b", 8, func(m *cluster.Member) { m.Draining = true }),
		m("c", 8, func(m *cluster.Member) { m.Status = "dead" }),
		m("d", 8, func(m *cluster.Member) { m.Voter = false }),
		m("e", 3, same), m("f", 5, same),
	}
	if got := successor(members); got != "f" {
		t.Errorf("successor = %q, want f", got)
	}
	if got := successor(members[:4]); got != "" {
		t.Errorf("successor = %q, want none", got)
	}
}
