package e2e

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/lbnode/lbnode/api"
)

// A backend that dies costs at most the requests that were on it, and comes back by itself.
func TestHealth_backendKilled(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	backends := c.serve(3)
	victim := backends[0]
	l := startLoad(t, "/", c.nodes...)
	l.more(t, 50, c.nodes...)
	victim.down()
	c.health(10*time.Second, victim.id, api.Unhealthy)
	noticed := time.Now()
	for _, n := range c.nodes {
		b, err := n.backend(victim.id)
		if err != nil || b.NodeState != "error" || b.AdminState != "ready" || b.Routable || len(b.Reasons) == 0 {
			t.Errorf("%s: GET = %+v, error %v, want error/ready, not routable, with reasons", n.name, b, err)
		}
	}
	var verbose api.VerboseHealth
	c.nodes[0].read("/backends/health?verbose", &verbose)
	if obs := verbose[victim.id].Observations; len(obs) != 3 || verbose[victim.id].Health != api.Unhealthy {
		t.Errorf("GET /backends/health?verbose = %+v, want what each of three nodes saw", verbose[victim.id])
	}
	l.more(t, 50, c.nodes...)
	victim.up()
	c.health(10*time.Second, victim.id, api.Healthy)
	c.reach(backends, c.nodes...)
	l.stop()
	// A request that a connection carried when it was cut may not be sent again unless it never began.
	l.wantAtMost(t, l.workers, time.Time{}, c.nodes...)
	l.wantAtMost(t, 0, noticed, c.nodes...)
	c.same()
}

// A backend that takes requests and answers none is left alone once that is known.
func TestHealth_backendHangs(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	backends := c.serve(3)
	victim := backends[1]
	l := startLoad(t, "/", c.nodes...)
	l.more(t, 50, c.nodes...)
	victim.set(modeHang)
	c.health(10*time.Second, victim.id, api.Unhealthy)
	// Requests that are on it now end by the route's first_byte of 2 s.
	eventually(t, 10*time.Second, "the stuck requests have ended", func() error {
		for _, n := range c.nodes {
			if b, err := n.backend(victim.id); err != nil || b.InFlight > 0 {
				return fmt.Errorf("%s: in flight %d, error %v", n.name, b.InFlight, err)
			}
		}
		return nil
	})
	noticed := time.Now()
	l.more(t, 100, c.nodes...)
	victim.set(modeOK)
	c.health(10*time.Second, victim.id, api.Healthy)
	c.reach(backends, c.nodes...)
	l.stop()
	l.wantAtMost(t, 2*l.workers, time.Time{}, c.nodes...)
	l.wantAtMost(t, 0, noticed, c.nodes...)
}

// A backend that flaps writes little to the log, however long it does.
func TestHealth_backendFlaps(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	backends := c.serve(3)
	c.nodes[0].must(200, http.MethodPatch, "/pools/web", `{"health":{"interval":"100ms","timeout":"100ms","rise":1,"fall":1}}`)
	c.same()
	lastIndex := func() uint64 {
		st, err := c.leader().status()
		if err != nil {
			t.Fatal(err)
		}
		return st.LastIndex
	}
	l := startLoad(t, "/", c.nodes...)
	before := lastIndex()
	const flips = 40
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for i := range flips {
		<-tick.C
		if i%2 == 0 {
			backends[2].down()
		} else {
			backends[2].up()
		}
	}
	grown := lastIndex() - before
	t.Logf("%d flips in %s grew the log by %d entries", flips, flips*250*time.Millisecond, grown)
	if grown > flips/2 {
		t.Errorf("%d flips of one backend grew the log by %d entries, want at most %d", flips, grown, flips/2)
	}
	l.stop()
	// Each death may cost the requests that were on the backend at that moment, on each node.
	l.wantAtMost(t, flips/2*3, time.Time{}, c.nodes...)
	c.health(30*time.Second, "b3", api.Healthy)
	c.reach(backends, c.nodes...)
	c.same()
}

// Bad answers to live traffic are one node's business until the probes agree; a pool whose backends all fail
// says so.
func TestHealth_allDown(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	backends := c.serve(2)
	n := c.nodes[0]
	for _, b := range backends {
		b.set(modeFail)
	}
	for _, b := range backends {
		c.health(10*time.Second, b.id, api.Unhealthy)
	}
	if a, err := n.get("/"); err != nil || a.status != http.StatusServiceUnavailable {
		t.Errorf("with on_empty fail and no healthy backend, GET / = %s, error %v, want 503", a, err)
	}
	n.must(200, http.MethodPatch, "/pools/web", `{"on_empty":"panic"}`)
	eventually(t, 10*time.Second, "with on_empty panic the failing backends are used", func() error {
		a, err := n.get("/")
		if err == nil && a.status != http.StatusInternalServerError {
			err = fmt.Errorf("GET / = %s, want the backend's own 500", a)
		}
		return err
	})
	for _, b := range backends {
		b.set(modeOK)
	}
	c.reach(backends, n)
}
