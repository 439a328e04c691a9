package node

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/state"
)

func TestNextDue(t *testing.T) {
	t.Parallel()
	v, at := state.NewView(), time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if p := nextDue(v); p != nil {
		t.Errorf("nextDue of nothing = %+v", p)
	}
	for i, within := range []time.Duration{time.Hour, time.Minute, 2 * time.Minute} {
		var res state.Result
		v, res = state.Apply(v, uint64(i+1), 1, state.Command{Type: state.TypeTxn, At: at, ConfirmWithin: state.Duration(within), Ops: []state.Op{
			{Verb: state.VerbPut, Kind: state.KindPool, ID: fmt.Sprint("p", i), Value: []byte(`{}`)},
		}})
		if res.Refusal != nil {
			t.Fatal(res.Refusal)
		}
	}
	if p := nextDue(v); p == nil || p.Index != 2 {
		t.Errorf("nextDue = %+v, want change 2", p)
	}
}

// apply makes a change that must be confirmed, and returns its index.
func apply(t *testing.T, n *Node, doc string, within time.Duration) uint64 {
	t.Helper()
	s, body := call(t, "POST", apiOf(n)+"/apply?confirm_within="+within.String(), doc)
	var out api.ApplyResult
	if err := json.Unmarshal([]byte(body), &out); err != nil || s != http.StatusOK || !out.Applied || out.ConfirmBy == nil {
		t.Fatalf("apply = %d %s, want it applied with a time to confirm", s, body)
	}
	return out.Index
}

func reverts(n *Node, index uint64) (count int) {
	for c := range n.Store().View().ChangesAfter(index) {
		if strings.HasPrefix(c.Summary, fmt.Sprintf("revert of %d,", index)) {
			count++
		}
	}
	return count
}

// What is confirmed in time stays, the rest is undone once, also by a leader that was none when it was made.
func TestConfirm_acrossLeaders(t *testing.T) {
	t.Parallel()
	nodes, stops := []*Node{}, map[*Node]func(){}
	for i := range 3 {
		cfg := testConfig(t, fmt.Sprintf("n%d", i+1))
		if i > 0 {
			cfg.Join = []string{nodes[0].ClusterAddr()}
		}
		n, stop := runNode(t, cfg)
		nodes, stops[n] = append(nodes, n), stop
	}
	for _, n := range nodes {
		eventually(t, "three voters on "+n.ID(), func() bool { return len(n.cluster.Voters()) == 3 && len(n.cluster.Live()) == 3 })
	}
	leader := leaderOf(t, nodes)
	var rest []*Node
	for _, n := range nodes {
		if n != leader {
			rest = append(rest, n)
		}
	}
	if s, body := call(t, "PUT", apiOf(rest[0])+"/pools/p", `{"algorithm":"random"}`); s != http.StatusCreated {
		t.Fatalf("PUT = %d %s", s, body)
	}
	stays := apply(t, rest[0], `{"pools":[{"id":"q"}]}`, 4*time.Second)
	goes := apply(t, rest[0], `{"pools":[{"id":"p","algorithm":"ip_hash"},{"id":"new"}]}`, 4*time.Second)
	if s, body := call(t, "POST", fmt.Sprintf("%s/apply/confirm?index=%d", apiOf(rest[1]), stays), ""); s != http.StatusOK {
		t.Fatalf("confirm = %d %s", s, body)
	}
	stops[leader]()
	for _, n := range rest {
		eventually(t, "the revert on "+n.ID(), func() bool { _, waits := n.Store().View().Pending(goes); return !waits })
		v := n.Store().View()
		p, _ := v.Pool("p")
		_, hasNew := v.Pool("new")
		_, hasQ := v.Pool("q")
		if p.Algorithm != state.Random || hasNew || !hasQ || reverts(n, goes) != 1 || reverts(n, stays) != 0 {
			t.Errorf("%s: p has %s, new %t, q %t, %d reverts; want random, false, true, one", n.ID(), p.Algorithm, hasNew, hasQ, reverts(n, goes))
		}
	}
	if s, body := call(t, "POST", fmt.Sprintf("%s/apply/confirm?index=%d", apiOf(rest[0]), goes), ""); s != http.StatusNotFound {
		t.Errorf("a confirmation that is too late = %d %s, want 404", s, body)
	}
}

// Several deadlines are kept, each in its turn, and a short one that comes later is not missed.
func TestConfirm_deadlines(t *testing.T) {
	t.Parallel()
	n, _ := runNode(t, testConfig(t, "one"))
	eventually(t, "readiness", func() bool { s, _ := call(t, "GET", apiOf(n)+"/readyz", ""); return s == http.StatusOK })
	eventually(t, "a leader", func() bool {
		s, _ := call(t, "GET", apiOf(n)+"/pools?consistency=leader", "")
		return s == http.StatusOK
	})
	late := apply(t, n, `{"pools":[{"id":"late"}]}`, time.Hour)
	first := apply(t, n, `{"pools":[{"id":"first"}]}`, 2*time.Second)
	second := apply(t, n, `{"pools":[{"id":"second"}]}`, time.Second)
	for _, index := range []uint64{second, first} {
		eventually(t, "a revert", func() bool { return reverts(n, index) == 1 })
	}
	if _, waits := n.Store().View().Pending(late); !waits {
		t.Error("the one with time left was settled too")
	}
}
