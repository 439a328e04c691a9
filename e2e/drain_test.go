package e2e

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/lbnode/lbnode/api"
)

// inState waits until every running node shows the backend so.
func (c *cluster) inState(id, what string, want func(api.Backend) bool) {
	c.t.Helper()
	for _, n := range c.alive() {
		eventually(c.t, formTime, fmt.Sprintf("%s shows %s as %s", n.name, id, what), func() error {
			b, err := n.backend(id)
			if err == nil && !want(b) {
				err = fmt.Errorf("it shows %+v", b)
			}
			return err
		})
	}
}

// A stopped backend finishes what runs, shows ready and draining meanwhile, then stopped; enable brings it
// back; decommissioned it finishes and is removed.
func TestDrain_lifecycle(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	backends := c.serve(2)
	through, asked := c.nodes[0], c.nodes[1]
	b1, b2 := backends[0], backends[1]
	l := startLoad(t, "/", c.nodes...)

	var long *held
	for b1.holds.Load() == 0 {
		long = through.hold("/hold", b1, b2)
	}
	asked.must(200, http.MethodPost, "/backends/b1/disable", nil)
	c.inState("b1", "ready, stopped, draining", func(b api.Backend) bool {
		return b.NodeState == "ready" && b.AdminState == "stopped" && b.Draining && !b.Drained && !b.Routable
	})
	c.without(b1)
	c.inState("b1", "still draining", func(b api.Backend) bool { return b.NodeState == "ready" && b.Draining })
	if probes := b1.probes.Load(); probes == 0 {
		t.Error("the backend was never probed")
	}
	b1.release()
	b2.release()
	long.finished(t)
	c.inState("b1", "stopped", func(b api.Backend) bool {
		return b.NodeState == "stopped" && b.AdminState == "stopped" && !b.Draining && b.Drained
	})

	// Probes go on: a stopped backend that dies shows it, and so does its return.
	b1.down()
	c.inState("b1", "error", func(b api.Backend) bool { return b.NodeState == "error" && b.AdminState == "stopped" })
	b1.up()
	c.inState("b1", "stopped again", func(b api.Backend) bool { return b.NodeState == "stopped" })

	asked.must(200, http.MethodPost, "/backends/b1/enable", nil)
	c.inState("b1", "ready", func(b api.Backend) bool {
		return b.NodeState == "ready" && b.AdminState == "ready" && b.Routable && !b.Drained
	})
	c.reach(backends, c.nodes...)

	b1.holdAgain()
	b2.holdAgain()
	for b1.holds.Load() == 0 {
		long = through.hold("/hold", b1, b2)
	}
	asked.must(200, http.MethodPatch, "/backends/b1", `{"admin_state":"decommissioned"}`)
	c.without(b1)
	if b, err := asked.backend("b1"); err != nil || b.AdminState != "decommissioned" || !b.Draining {
		t.Errorf("decommissioned with a request on it = %+v, error %v, want it draining", b, err)
	}
	b1.release()
	b2.release()
	long.finished(t)
	for _, n := range c.nodes {
		eventually(t, formTime, n.name+" has removed it", func() error {
			a, err := n.call(http.MethodGet, "/backends/b1", nil)
			if err == nil && a.status != http.StatusNotFound {
				err = fmt.Errorf("GET = %s", a)
			}
			return err
		})
	}
	l.stop()
	l.wantAtMost(t, 0, time.Time{}, c.nodes...) // b1 was down only while it was stopped
	c.same()
}

// A drain that is under way when the leader dies goes on under the next one.
func TestDrain_survivesLeader(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	backends := c.serve(2)
	old := c.leader()
	through := c.except(old)[0]
	b1, b2 := backends[0], backends[1]
	var long *held
	for b1.holds.Load() == 0 {
		long = through.hold("/hold", b1, b2)
	}
	old.must(200, http.MethodPost, "/backends/b1/disable", nil)
	c.without(b1)
	old.kill()
	c.leader()
	c.inState("b1", "still draining", func(b api.Backend) bool { return b.Draining && b.AdminState == "stopped" })
	b1.release()
	b2.release()
	long.finished(t)
	c.inState("b1", "stopped", func(b api.Backend) bool { return b.NodeState == "stopped" && b.Drained })
	old.start()
	c.formed(c.nodes...)
	c.inState("b1", "stopped", func(b api.Backend) bool { return b.NodeState == "stopped" && b.Drained })
	c.same()
}
