package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lbnode/lbnode/api"
)

// drainWith disables b1 on a node while another one is silent: first 202 names the silent one, and once its fence
// has certainly closed, 200 says so.
func (c *cluster) drainWith(asked, silent *node, since time.Time, after time.Duration) {
	c.t.Helper()
	var w api.WaitResult
	asked.must(202, http.MethodPost, "/backends/b1/disable?wait=applied&timeout=100ms", nil).decode(c.t, &w)
	if !slices.Contains(w.Unconfirmed, silent.name) || w.Reached {
		c.t.Errorf("%s: wait=applied with %s silent = %+v, want it unconfirmed", asked.name, silent.name, w)
	}
	eventually(c.t, formTime, silent.name+" counts as fenced", func() error {
		a, err := asked.call(http.MethodGet, "/backends/b1/wait?wait=applied&timeout=5s", nil)
		if err != nil {
			return err
		}
		a.decode(c.t, &w)
		if a.status != http.StatusOK || !slices.Contains(w.Fenced, silent.name) {
			return fmt.Errorf("wait=applied = %s", a)
		}
		return nil
	})
	if took := time.Since(since); took < after {
		c.t.Errorf("%s counts as fenced %s after it fell silent, before fence_after (%s)", silent.name, took, after)
	}
	asked.must(200, http.MethodPost, "/backends/b1/enable", nil)
}

// A killed node, be it a follower or the leader, counts as fenced once its fence_after has passed, and serves
// again after its restart only when a leader has confirmed it.
func TestFence_killed(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	backends := c.serve(2)
	c.nodes[0].must(200, http.MethodPatch, "/settings", `{"fence_after":"3s"}`)
	for _, victim := range []func() *node{func() *node { return c.followers()[0] }, c.leader} {
		n := victim()
		c.everywhereFenced()
		asked := c.except(n)[0]
		killed := time.Now()
		n.kill()
		put(t, asked, "after-"+n.name, 20*time.Second)
		c.drainWith(asked, n, killed, 2*time.Second)
		n.start()
		c.formed(c.nodes...)
		c.reach(backends, n)
	}
	c.same()
}

// everywhereFenced waits until every node is known to keep to fence_after.
func (c *cluster) everywhereFenced() {
	c.t.Helper()
	for _, n := range c.alive() {
		eventually(c.t, formTime, n.name+" knows that all keep to fence_after", func() error {
			members, err := n.members()
			for _, m := range members {
				if !m.Fences {
					return fmt.Errorf("GET /nodes shows %+v", m)
				}
			}
			return err
		})
	}
}

// fenced wants a node's proxy to refuse, and to say why; healed wants it to serve again.
func (n *node) fenced(within time.Duration) {
	n.t.Helper()
	eventually(n.t, within, n.name+" is fenced", func() error {
		a, err := n.get("/")
		if err == nil && (a.status != http.StatusServiceUnavailable || !strings.Contains(string(a.body), `"fenced"`)) {
			err = fmt.Errorf("GET / = %s", a)
		}
		return err
	})
	if err := n.ready(); err == nil || !strings.Contains(err.Error(), "fence_after") {
		n.t.Errorf("%s is fenced and /readyz says %v", n.name, err)
	}
}
