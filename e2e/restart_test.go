package e2e

import (
	"fmt"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/lbnode/lbnode/api"
)

// SIGTERM: not ready, leadership handed over, the running request finished, exit 0; a restart rejoins.
func TestRestart_sigterm(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, "--drain-timeout", "20s")
	backends := c.serve(2)
	old := c.leader()
	rest := c.except(old)
	l := startLoad(t, "/", rest...)
	l.more(t, 30, rest...)
	long := old.hold("/hold", backends...)

	start := time.Now()
	old.signal(syscall.SIGTERM)
	eventually(t, 5*time.Second, "the others have another leader", func() error {
		for _, n := range rest {
			st, err := n.status()
			if err != nil {
				return err
			}
			if st.Leader == nil || st.Leader.ID == old.name {
				return fmt.Errorf("%s sees leader %+v", n.name, st.Leader)
			}
		}
		return nil
	})
	put(t, rest[0], "handed-over", 5*time.Second)
	t.Logf("leadership handed over and written after %s", time.Since(start).Round(time.Millisecond))
	if a, err := old.call(http.MethodGet, "/readyz", nil); err != nil || a.status != http.StatusServiceUnavailable {
		t.Errorf("GET /readyz while draining = %s, error %v, want 503", a, err)
	}
	for _, b := range backends {
		b.release()
	}
	long.finished(t)
	if code := old.wait(10 * time.Second); code != 0 {
		t.Errorf("exit code %d, want 0:\n%s", code, old.tail(20))
	}
	for _, n := range rest {
		eventually(t, formTime, n.name+" sees that it left", func() error {
			members, err := n.members()
			if m := members[old.name]; err == nil && m.Status != "left" && m.Status != "dead" {
				err = fmt.Errorf("GET /nodes shows %+v", m)
			}
			return err
		})
		if members, err := n.members(); err != nil || !members[old.name].Voter {
			t.Errorf("%s: GET /nodes = %v, error %v; want it still a member", n.name, members, err)
		}
	}
	old.start()
	c.formed(c.nodes...)
	c.reach(backends, old)
	l.stop()
	l.wantAtMost(t, 0, time.Time{}, rest...)
	c.same()
}

// A request that outlasts the drain timeout is cut off; the node ends with 0 in time all the same.
func TestRestart_drainTimeout(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, "--drain-timeout", "1s")
	backends := c.serve(1)
	n := c.nodes[0]
	long := n.hold("/hold", backends...)
	start := time.Now()
	n.term(10 * time.Second)
	if took := time.Since(start); took < 900*time.Millisecond {
		t.Errorf("it ended after %s, want it to wait for the request for 1s", took)
	}
	select {
	case <-long.done:
	case <-time.After(5 * time.Second):
		t.Error("the request hangs although its node is gone")
	}
	n.start()
	c.formed(n)
	c.reach(backends, n)
}

// One node after the other, with traffic on all: a client that keeps to HTTP loses nothing on the others.
func TestRestart_rolling(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	c.serve(2)
	for _, n := range c.nodes {
		rest := c.except(n)
		l := startLoad(t, "/", c.nodes...)
		l.more(t, 30, c.nodes...)
		before := time.Now()
		n.signal(syscall.SIGTERM)
		if code := n.wait(20 * time.Second); code != 0 {
			t.Errorf("%s: exit code %d, want 0:\n%s", n.name, code, n.tail(20))
		}
		l.more(t, 30, rest...)
		n.start()
		c.formed(c.nodes...)
		l.more(t, 30, c.nodes...)
		l.stop()
		l.wantAtMost(t, 0, time.Time{}, rest...)
		for _, f := range l.since(before, n) { // refused while it was gone, never cut off
			if !containsAll(f.reason, []string{"connection refused"}) {
				t.Errorf("%s was restarted and a client got: %s", n.name, f)
			}
		}
	}
	c.same()
}

// A node keeps its place when its cluster address changes, be it one's or the leader's.
func TestRestart_otherAddress(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	backends := c.serve(2)
	for _, pick := range []func() *node{func() *node { return c.followers()[0] }, c.leader} {
		n := pick()
		n.term(20 * time.Second)
		n.cluster, n.api, n.proxy = freeAddr(t), freeAddr(t), freeAddr(t)
		n.start()
		c.formed(c.nodes...)
		for _, other := range c.nodes {
			eventually(t, formTime, other.name+" shows the new addresses", func() error {
				members, err := other.members()
				if m := members[n.name]; err == nil && (m.Address != n.cluster || m.API != n.api || m.Proxy != n.proxy) {
					err = fmt.Errorf("GET /nodes shows %+v, want cluster %s, API %s, proxy %s", m, n.cluster, n.api, n.proxy)
				}
				return err
			})
		}
		c.reach(backends, n)
		put(t, n, "at-"+n.name, 10*time.Second)
	}
	// The new addresses last: a cluster that forgets nothing finds itself again.
	for _, n := range c.nodes {
		n.kill()
	}
	for _, n := range c.nodes {
		n.start()
	}
	c.formed(c.nodes...)
	var members []api.Node
	c.nodes[0].read("/nodes", &members)
	if len(members) != 3 {
		t.Errorf("GET /nodes = %+v, want three members", members)
	}
	c.same()
}
