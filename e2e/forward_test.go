package e2e

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/lbnode/lbnode/api"
)

// Any node takes a write and shows it in its very next answer, with the index that others can wait for.
func TestForward_readYourWrites(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	leader := c.leader()
	for round := range 20 {
		for _, n := range c.nodes {
			id := fmt.Sprintf("f-%s-%d", n.name, round)
			w := n.must(201, http.MethodPost, "/frontends", api.FrontendInput{ID: id, Hosts: []string{id + ".example.org"}})
			var f api.Frontend
			r := n.read("/frontends/"+id, &f)
			if f.ID != id || f.ModifyIndex != w.index(t) || r.header.Get("ETag") != api.ETag(f.ModifyIndex) || r.index(t) < w.index(t) {
				t.Errorf("%s: GET after POST = %s with headers %v, want modify_index and ETag %d", n.name, r, r.header, w.index(t))
			}
			if loc := w.header.Get("Location"); loc != "/frontends/"+id {
				t.Errorf("%s: Location of POST = %q, want /frontends/%s", n.name, loc, id)
			}
			for _, other := range c.except(n) {
				other.read(fmt.Sprintf("/frontends/%s?min_index=%d", id, w.index(t)), &f)
			}
			for _, a := range []answer{w, r} {
				if a.header.Get(api.HeaderNode) != n.name || a.header.Get(api.HeaderLeader) != leader.name || a.header.Get(api.HeaderRequestID) == "" || a.header.Get(api.HeaderStale) != "" {
					t.Errorf("%s: headers = %v, want node %s, leader %s, a request id, and nothing stale", n.name, a.header, n.name, leader.name)
				}
			}
		}
	}
	c.same()
}

func TestForward_ifMatchAndIdempotency(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	for _, n := range c.nodes {
		path := "/routes/r-" + n.name
		n.must(201, http.MethodPut, path, `{"backend_pool":"p","match":{"path":"/a"}}`)
		var r api.Route
		tag := n.read(path, &r).header.Get("ETag")
		n.must(200, http.MethodPatch, path, `{"priority":1}`, "If-Match", tag)
		p := n.must(412, http.MethodPatch, path, `{"priority":2}`, "If-Match", tag).problem(t)
		if p.Code != api.CodeMismatch || p.Outcome != api.OutcomeNotApplied {
			t.Errorf("%s: PATCH with an old tag = %+v, want code %s, outcome %s", n.name, p, api.CodeMismatch, api.OutcomeNotApplied)
		}
		n.must(412, http.MethodDelete, path, nil, "If-Match", tag)
		n.read(path, &r)
		if r.Priority != 1 {
			t.Errorf("%s: priority = %d, want 1", n.name, r.Priority)
		}

		// The same key at another node has its effect once and gets the same answer.
		other := c.except(n)[0]
		key, body := "key-"+n.name, `{"backend_pool":"p","match":{"path":"/`+n.name+`"}}`
		first := n.must(201, http.MethodPost, "/routes", body, "Idempotency-Key", key)
		again := other.must(2, http.MethodPost, "/routes", body, "Idempotency-Key", key)
		if got := again.header.Get(api.HeaderRequestID); got != key {
			t.Errorf("request id = %q, want the key %q", got, key)
		}
		var a, b api.Route
		first.decode(t, &a)
		again.decode(t, &b)
		if a.ID == "" || a.ID != b.ID || a.ModifyIndex != b.ModifyIndex {
			t.Errorf("the same POST twice made %+v and %+v, want one route", a, b)
		}
		if p := other.must(422, http.MethodPost, "/routes", `{"backend_pool":"q"}`, "Idempotency-Key", key).problem(t); p.Code != api.CodeReused {
			t.Errorf("another request with the same key = %+v, want code %s", p, api.CodeReused)
		}
	}
	c.same()
}

// A leader that is frozen is replaced; when it wakes up, what it answers to a write is true.
func TestForward_pausedLeader(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	old := c.leader()
	old.pause()
	rest := c.except(old)
	for i, n := range rest {
		if took := put(t, n, fmt.Sprintf("while-paused-%d", i), 20*time.Second); took > 5*time.Second {
			t.Errorf("a write through %s took %s with the leader frozen, want it to go to the next leader", n.name, took)
		}
	}
	old.resume()
	old.must(2, http.MethodPut, "/frontends/after", api.FrontendInput{Hosts: []string{"after.example.org"}})
	c.everywhere("/frontends/while-paused-0")
	c.formed(c.nodes...)
	c.same()
}

// put writes a frontend through the node until that succeeds, and returns how long it took.
func put(t *testing.T, n *node, id string, within time.Duration) time.Duration {
	t.Helper()
	start := time.Now()
	eventually(t, within, "a write through "+n.name, func() error {
		a, err := n.call(http.MethodPut, "/frontends/"+id, api.FrontendInput{Key: id})
		if err != nil {
			return err
		}
		if a.status/100 != 2 {
			return fmt.Errorf("PUT = %s", a)
		}
		return nil
	})
	return time.Since(start)
}
