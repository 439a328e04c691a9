package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/lbnode/lbnode/api"
)

// Killing the leader costs the others' traffic nothing, and writes come back.
func TestFailover_leaderKilledUnderTraffic(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	c.serve(3)
	kills := killLeaders(t, c, 3)
	t.Logf("time to write again: %v", kills)
	c.same()
}

// TestFailover_timeToWrite measures what a release note says; it runs with -e2e.kills=20.
func TestFailover_timeToWrite(t *testing.T) {
	if *killsFlag == 0 {
		t.Skip("a measurement: -e2e.kills=20 runs it")
	}
	c := newCluster(t, 3)
	c.serve(3)
	kills := killLeaders(t, c, *killsFlag)
	slices.Sort(kills)
	t.Logf("time to write again after %d leader kills under traffic: median %s, max %s, all %v",
		len(kills), kills[len(kills)/2], kills[len(kills)-1], kills)
}

// killLeaders kills the leader and brings it back, that many times under traffic, and returns how long it
// took each time until a write through a survivor had succeeded.
func killLeaders(t *testing.T, c *cluster, times int) []time.Duration {
	t.Helper()
	var took []time.Duration
	for i := range times {
		leader := c.leader()
		rest := c.except(leader)
		l := startLoad(t, "/", rest...)
		l.more(t, 50, rest...)
		leader.kill()
		took = append(took, put(t, rest[i%2], fmt.Sprintf("kill-%d", i), 20*time.Second).Round(time.Millisecond))
		l.more(t, 50, rest...)
		leader.start()
		c.formed(c.nodes...)
		c.everywhere(fmt.Sprintf("/frontends/kill-%d", i))
		l.more(t, 50, rest...)
		l.stop()
		l.wantAtMost(t, 0, time.Time{}, rest...)
	}
	return took
}

// A follower's death disturbs nobody; back again, it catches up and serves.
func TestFailover_followerKilledAndBack(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	backends := c.serve(3)
	victim := c.followers()[0]
	rest := c.except(victim)
	l := startLoad(t, "/", rest...)
	l.more(t, 50, rest...)
	victim.kill()
	for i := range 50 {
		n := rest[i%2]
		if took := n.must(201, http.MethodPost, "/frontends", api.FrontendInput{ID: fmt.Sprintf("f%d", i), Key: fmt.Sprint(i)}).took; took > 2*time.Second {
			t.Errorf("write %d with a dead follower took %s", i, took)
		}
	}
	for _, n := range rest {
		eventually(t, formTime, n.name+" sees it dead", func() error {
			st, err := n.status()
			if err == nil && (st.LiveVoters != 2 || st.FailureTolerance != 0 || !st.Healthy || st.Leader == nil) {
				err = fmt.Errorf("GET /cluster = %+v", st)
			}
			return err
		})
	}
	l.more(t, 50, rest...)
	victim.start()
	c.formed(c.nodes...)
	c.everywhere("/frontends/f49")
	c.reach(backends, victim)
	l.stop()
	l.wantAtMost(t, 0, time.Time{}, rest...)
	c.same()
}

// All nodes at once lose power and come back with what they had.
func TestFailover_allRestartedAtOnce(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	backends := c.serve(3)
	n := c.nodes[0]
	last := n.must(201, http.MethodPost, "/frontends", api.FrontendInput{ID: "before", Hosts: []string{"*.example.org"}, RequiredTags: []string{}})
	before := n.config(t, last.index(t))
	var was api.Cluster
	n.read("/cluster", &was)
	for _, n := range c.nodes {
		n.kill()
	}
	for _, n := range c.nodes {
		n.start()
	}
	c.formed(c.nodes...)
	c.reach(backends, c.nodes...)
	for _, n := range c.nodes {
		if after := n.config(t, last.index(t)); after != before {
			t.Errorf("%s: configuration after the restart:\n%swant:\n%s", n.name, after, before)
		}
		var is api.Cluster
		n.read("/cluster", &is)
		if is.ID != was.ID {
			t.Errorf("%s: cluster id %s after the restart, want %s", n.name, is.ID, was.ID)
		}
	}
	put(t, n, "after", 10*time.Second)
	c.same()
}

// Without a quorum the proxy goes on, even after a restart from disk alone; writes say 503 and when to retry.
func TestFailover_quorumLostAndBack(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	backends := c.serve(3)
	c.nodes[0].must(201, http.MethodPost, "/frontends", api.FrontendInput{ID: "kept"})
	c.same() // all of it is on every disk
	survivor, lost := c.nodes[2], c.nodes[:2]
	l := startLoad(t, "/", survivor)
	l.more(t, 50, survivor)
	for _, n := range lost {
		n.kill()
	}
	refusesWrites(t, survivor)
	l.more(t, 100, survivor)
	stale := survivor.must(200, http.MethodGet, "/frontends/kept", nil)
	if stale.header.Get(api.HeaderStale) != "true" {
		t.Errorf("a read without a leader has headers %v, want %s", stale.header, api.HeaderStale)
	}
	l.stop()
	l.wantAtMost(t, 0, time.Time{}, survivor)

	survivor.kill()
	survivor.start()
	c.reach(backends, survivor)
	if err := survivor.ready(); err != nil {
		t.Errorf("alone, restarted from disk: %v", err)
	}
	survivor.must(200, http.MethodGet, "/frontends/kept", nil)
	refusesWrites(t, survivor)
	// Its own health checks go on steering its own traffic.
	backends[0].down()
	c.without(backends[0])
	backends[0].up()

	for _, n := range lost {
		n.start()
	}
	c.formed(c.nodes...)
	put(t, survivor, "again", 10*time.Second)
	c.everywhere("/frontends/again")
	c.reach(backends, c.nodes...)
	c.same()
}

// refusesWrites wants every write to be answered in bounded time with 503, Retry-After and a problem that
// says that nothing was done.
func refusesWrites(t *testing.T, n *node) {
	t.Helper()
	eventually(t, 15*time.Second, n.name+" has noticed that the quorum is gone", func() error {
		a, err := n.call(http.MethodPut, "/frontends/lost", `{}`)
		if err == nil && a.status != http.StatusServiceUnavailable {
			err = fmt.Errorf("PUT = %s, want 503", a)
		}
		return err
	})
	a := n.must(503, http.MethodPut, "/frontends/lost2", `{}`)
	p := a.problem(t)
	if secs, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || secs < 1 || secs > 60 {
		t.Errorf("Retry-After = %q, want some seconds", a.header.Get("Retry-After"))
	}
	if p.Code != api.CodeNoLeader || p.Outcome != api.OutcomeNotApplied || a.took > 6*time.Second {
		t.Errorf("a write without quorum = %s after %s, want code %s, outcome %s, within 6s", a, a.took, api.CodeNoLeader, api.OutcomeNotApplied)
	}
}
