package node

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/lbnode/lbnode/api"
)

// fourNodes runs three voters and a non-voter.
func fourNodes(t *testing.T) []*Node {
	t.Helper()
	all := threeNodes(t)
	cfg := testConfig(t, "n4")
	cfg.NonVoter, cfg.Join = true, []string{all[0].ClusterAddr()}
	n, _ := runNode(t, cfg)
	eventually(t, "the non-voter follows", func() bool { return len(n.cluster.Members()) == 4 && n.cluster.Status().LeaderID != "" })
	return append(all, n)
}

func leaderOf(t *testing.T, all []*Node) (leader *Node) {
	t.Helper()
	eventually(t, "a leader", func() bool {
		for _, n := range all {
			if n.cluster.IsLeader() {
				leader = n
				return true
			}
		}
		return false
	})
	return leader
}

// A linearizable read shows the write that was acknowledged just before, on every node, non-voters included, and
// also while leadership moves. So does a read of level leader as long as it does not.
func TestReads_linearizable(t *testing.T) {
	t.Parallel()
	all := fourNodes(t)
	read := func(n *Node, id, level string) {
		t.Helper()
		s, body := 0, ""
		eventually(t, "an answer of "+n.ID(), func() bool { // 503 while there is no leader is an honest one
			s, body = call(t, "GET", apiOf(n)+"/pools/"+id+"?consistency="+level, "")
			return s != http.StatusServiceUnavailable && s != http.StatusGatewayTimeout
		})
		if s != http.StatusOK {
			t.Errorf("%s, consistency=%s: %d %s, but the write was acknowledged", n.ID(), level, s, body)
		}
	}
	for round := range 4 {
		id := fmt.Sprintf("p%d", round)
		writer := all[round]
		eventually(t, "a write", func() bool {
			s, _ := call(t, "PUT", apiOf(writer)+"/pools/"+id, `{}`)
			return s == http.StatusCreated || s == http.StatusOK
		})
		if round%2 == 1 {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			if err := leaderOf(t, all).cluster.Transfer(ctx, ""); err != nil {
				t.Logf("transfer: %v", err)
			}
			cancel()
		}
		for _, n := range all {
			read(n, id, api.ReadLinearizable)
			if round%2 == 0 {
				read(n, id, api.ReadLeader)
			}
		}
	}
}

// The newest entry after an election is Raft's own, which no view shows: waiting for it by number must end.
func TestReads_minIndexCountsAllEntries(t *testing.T) {
	t.Parallel()
	n, _ := runNode(t, testConfig(t, "one"))
	eventually(t, "a leader", func() bool { return n.Store().View().ClusterID != "" })
	commit := n.cluster.Status().CommitIndex
	for _, query := range []string{fmt.Sprintf("min_index=%d", commit), "consistency=linearizable", "consistency=leader"} {
		if s, body := call(t, "GET", apiOf(n)+"/pools?"+query, ""); s != http.StatusOK {
			t.Errorf("GET /pools?%s = %d %s", query, s, body)
		}
	}
}

// Without its majority a node answers stale reads only, and says how long ago it heard of a leader.
func TestReads_withoutQuorum(t *testing.T) {
	t.Parallel()
	first, _ := runNode(t, testConfig(t, "n1"))
	cfg := testConfig(t, "n2")
	cfg.Join = []string{first.ClusterAddr()}
	second, stop := runNode(t, cfg)
	eventually(t, "two voters", func() bool { return len(first.cluster.Voters()) == 2 && second.cluster.Status().LeaderID != "" })
	stop()
	eventually(t, "the leader's end", func() bool { return first.cluster.Status().LeaderID == "" })
	for level, want := range map[string]int{api.ReadStale: http.StatusOK, api.ReadLeader: http.StatusServiceUnavailable, api.ReadLinearizable: http.StatusServiceUnavailable} {
		if s, body := call(t, "GET", apiOf(first)+"/pools?timeout=1s&consistency="+level, ""); s != want {
			t.Errorf("consistency=%s = %d %s, want %d", level, s, body, want)
		}
	}
}
