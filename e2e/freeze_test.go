package e2e

import (
	"fmt"
	"net/http"
	"testing"
	"time"
)

// A leader that is frozen costs the others' traffic nothing, and when it goes on it shows nobody an old state,
// although for a moment it may still believe that it leads.
func TestFailover_leaderFrozen(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	c.serve(2)
	for i, lasts := range []time.Duration{500 * time.Millisecond, 3 * time.Second, 6 * time.Second} {
		id := fmt.Sprintf("frozen-%d", i)
		leader := c.leader()
		rest := c.except(leader)
		l := startLoad(t, "/", rest...)
		l.more(t, 20, rest...)
		leader.pause()
		begun := time.Now()
		took := put(t, rest[i%2], id, formTime)
		t.Logf("leader frozen for %s: write again after %s", lasts, took.Round(time.Millisecond))
		<-time.After(lasts - time.Since(begun))
		leader.resume()
		a := leader.must(200, http.MethodGet, "/frontends/"+id+"?consistency=linearizable&timeout=20s", nil)
		if since := a.took; since > formTime {
			t.Errorf("a linearizable read on the old leader took %s", since)
		}
		l.more(t, 20, rest...)
		l.stop()
		l.wantAtMost(t, 0, time.Time{}, rest...)
		c.formed(c.nodes...)
	}
	c.same()
}
