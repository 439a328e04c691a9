package e2e

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lbnode/lbnode/api"
)

// soakOnly skips what takes a minute and more.
func soakOnly(t *testing.T) {
	t.Helper()
	if os.Getenv("SOAK_SECONDS") == "" {
		t.Skip("part of make soak")
	}
}

// raftTerm is the term of Raft that a node is in.
func (n *node) raftTerm() uint64 {
	n.t.Helper()
	var c api.Cluster
	n.read("/cluster", &c)
	return c.Term
}

// goroutines is how many a node has, by its metrics.
func (n *node) goroutines() int {
	n.t.Helper()
	a := n.must(200, http.MethodGet, "/metrics", nil)
	for line := range strings.Lines(string(a.body)) {
		if v, ok := strings.CutPrefix(line, "go_goroutines "); ok {
			count, err := strconv.Atoi(strings.TrimSpace(v))
			if err != nil {
				n.t.Fatal(err)
			}
			return count
		}
	}
	n.t.Fatal("/metrics has no go_goroutines")
	return 0
}

// Leadership is handed on 200 times under traffic and writes; no transfer is in the way of the next.
func TestSoak_transfers(t *testing.T) {
	soakOnly(t)
	c := newCluster(t, 3)
	c.serve(2)
	traffic := startLoad(t, "/", c.nodes...)
	var took []time.Duration
	refused := 0
	for i := range 200 {
		asked := c.nodes[i%3]
		begun := time.Now()
		eventually(t, 10*time.Second, "a transfer of leadership", func() error {
			a, err := asked.call(http.MethodPost, "/cluster/transfer-leader", nil)
			if err == nil && a.status/100 != 2 {
				refused++
				err = fmt.Errorf("POST = %s", a)
			}
			return err
		})
		if since := time.Since(begun); since > 2*time.Second {
			t.Logf("transfer %d took %s", i, since)
		}
		took = append(took, put(t, c.nodes[(i+1)%3], fmt.Sprintf("transfer-%d", i%10), 10*time.Second))
	}
	traffic.stop()
	traffic.wantAtMost(t, 0, time.Time{}, c.nodes...)
	slices.Sort(took)
	t.Logf("200 transfers, %d refused at first: writes after it took %s at the median, %s at p99, %s at most", refused, took[100], took[198], took[199])
	c.same()
}

// The leader dies ten times in a row, each time as soon as there is one and its predecessor is back.
func TestSoak_leadersDie(t *testing.T) {
	soakOnly(t)
	c := newCluster(t, 3)
	c.serve(2)
	before := c.leader().goroutines()
	begun := time.Now()
	took := killLeaders(t, c, 10)
	slices.Sort(took)
	t.Logf("ten leaders died in %s: writes were back after %s at the median, %s at most", time.Since(begun).Round(time.Second), took[5], took[9])
	for _, n := range c.nodes {
		eventually(t, formTime, n.name+" has no more goroutines than at the start", func() error {
			if now := n.goroutines(); now > before+30 {
				return fmt.Errorf("%d goroutines, the leader had %d at the start", now, before)
			}
			return nil
		})
	}
	c.same()
}

// A leader that is frozen for 20 s has missed an election and many writes.
func TestSoak_leaderFrozenLong(t *testing.T) {
	soakOnly(t)
	c := newCluster(t, 3)
	c.serve(2)
	leader := c.leader()
	rest := c.except(leader)
	traffic := startLoad(t, "/", rest...)
	traffic.more(t, 20, rest...)
	leader.pause()
	t.Logf("leader frozen for 20 s: write again after %s", put(t, rest[0], "first", formTime).Round(time.Millisecond))
	<-time.After(20 * time.Second)
	put(t, rest[1], "last", formTime)
	leader.resume()
	leader.must(200, http.MethodGet, "/frontends/last?consistency=linearizable&timeout=20s", nil)
	traffic.more(t, 20, rest...)
	traffic.stop()
	traffic.wantAtMost(t, 0, time.Time{}, rest...)
	c.formed(c.nodes...)
	c.same()
}

// Random bytes arrive at every port for 5 s, with and without TLS's first byte.
func TestSoak_randomBytes(t *testing.T) {
	soakOnly(t)
	c := newCluster(t, 3)
	c.serve(2)
	traffic := startLoad(t, "/", c.nodes...)
	term := c.leader().raftTerm()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	sent := 0
	for ctx.Err() == nil {
		for _, n := range c.nodes {
			for _, addr := range []string{n.cluster, n.api, n.proxy} {
				junk := make([]byte, 1+sent%3000)
				rand.Read(junk)
				if sent%2 == 0 {
					junk[0] = 0x16 // a record of TLS's handshake
				}
				throw(ctx, t, "tcp", addr, junk)
				if addr == n.cluster {
					throw(ctx, t, "udp", addr, junk[:min(len(junk), 1400)])
				}
				sent++
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
	if sent < 100 {
		t.Errorf("only %d pieces were sent", sent)
	}
	for i, n := range c.nodes {
		put(t, n, fmt.Sprintf("after-%d", i), 5*time.Second)
		if now := n.raftTerm(); now != term {
			t.Errorf("%s is in term %d, was in %d: random bytes made an election", n.name, now, term)
		}
	}
	traffic.stop()
	traffic.wantAtMost(t, 0, time.Time{}, c.nodes...)
	c.formed(c.nodes...)
	c.same()
	t.Logf("%d pieces of junk: no request failed, no election", sent)
}

// throw sends bytes to an address. That the other side hangs up is its right.
func throw(ctx context.Context, t *testing.T, network, addr string, p []byte) {
	t.Helper()
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, network, addr)
	if err != nil {
		if !errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			t.Errorf("%s %s: %v", network, addr, err)
		}
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	_, _ = conn.Write(p)
}

// A follower that gets 5 % of a core for a minute makes no election and costs the others nothing.
func TestSoak_starvedFollower(t *testing.T) {
	soakOnly(t)
	group := fmt.Sprintf("/sys/fs/cgroup/cpu/lbnode-e2e-%d", os.Getpid())
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Skipf("needs cgroup v1 for CPU time: %v", err)
	}
	c := newCluster(t, 3)
	c.serve(2)
	follower := c.followers()[0]
	rest := c.except(follower)
	write := func(file, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(group, file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("cpu.cfs_period_us", "100000")
	write("cpu.cfs_quota_us", "5000")
	term := rest[0].raftTerm()
	t.Cleanup(func() {
		follower.kill()
		if err := os.Remove(group); err != nil {
			t.Errorf("remove the cgroup: %v", err)
		}
	})
	traffic := startLoad(t, "/", rest...)
	write("cgroup.procs", strconv.Itoa(follower.cmd.Process.Pid))
	var worst time.Duration
	for i, begun := 0, time.Now(); time.Since(begun) < time.Minute; i++ {
		worst = max(worst, put(t, rest[i%2], fmt.Sprintf("starved-%d", i%10), 5*time.Second))
		traffic.more(t, 20, rest...)
	}
	traffic.stop()
	traffic.wantAtMost(t, 0, time.Time{}, rest...)
	for _, n := range rest {
		if now := n.raftTerm(); now != term {
			t.Errorf("%s is in term %d, was in %d: the starved follower made an election", n.name, now, term)
		}
	}
	write("cpu.cfs_quota_us", "-1")
	c.formed(c.nodes...)
	c.same()
	t.Logf("a minute with 5 %% of a core at one follower: writes took %s at most", worst)
}
