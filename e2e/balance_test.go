package e2e

import (
	"fmt"
	"math"
	"net/http"
	"testing"

	"github.com/lbnode/lbnode/api"
)

// counts sends requests through the nodes in turn and counts who answered.
func counts(t *testing.T, requests int, path string, nodes []*node, header func(i int) string) map[string]int {
	t.Helper()
	got := map[string]int{}
	for i := range requests {
		h := ""
		if header != nil {
			h = header(i)
		}
		a, err := nodes[i%len(nodes)].get(path, "X-Key", h)
		if err != nil || a.status != http.StatusOK {
			t.Fatalf("GET %s = %s, error %v", path, a, err)
		}
		got[a.header.Get(backendHeader)]++
	}
	return got
}

func TestBalance_weights(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	backends := c.serve(3)
	weights := map[string]int{"b1": 5, "b2": 3, "b3": 2}
	var last answer
	for id, w := range weights {
		last = c.nodes[1].must(200, http.MethodPatch, "/backends/"+id, fmt.Sprintf(`{"weight":%d}`, w))
	}
	for _, n := range c.nodes {
		n.must(200, http.MethodGet, fmt.Sprintf("/routes?min_index=%d", last.index(t)), nil)
	}
	check := func(what string, nodes ...*node) {
		const requests = 1000
		got := counts(t, requests, "/", nodes, nil)
		for id, w := range weights {
			want := float64(requests * w / 10)
			if math.Abs(float64(got[id])-want) > 0.1*want {
				t.Errorf("%s: %s got %d of %d requests, want %.0f within 10 %%: %v", what, id, got[id], requests, want, got)
			}
		}
	}
	check("one node", c.nodes[0])
	check("three nodes", c.nodes...)

	// Weight 0 takes nothing new.
	c.nodes[2].must(200, http.MethodPatch, "/backends/b1", `{"weight":0}`)
	c.without(backends[0])
}

// without waits until no node sends the backend anything, seen over as many requests as would find it.
func (c *cluster) without(b *backend) {
	c.t.Helper()
	for _, n := range c.alive() {
		eventually(c.t, formTime, n.name+" leaves "+b.id+" alone", func() error {
			before := b.served.Load()
			for range 20 {
				if a, err := n.get("/"); err != nil || a.status != http.StatusOK {
					return fmt.Errorf("GET / = %s, error %v", a, err)
				}
			}
			if got := b.served.Load() - before; got > 0 {
				return fmt.Errorf("%d of 20 requests went there", got)
			}
			return nil
		})
	}
}

func TestBalance_algorithms(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	backends := c.serve(3)
	var last answer
	for _, alg := range []string{"round_robin", "least_connections", "random", "ip_hash", "consistent_hash", "least_latency"} {
		in := api.RouteInput{ID: alg, BackendPool: "web", Algorithm: alg, Match: api.MatchInput{Path: "/" + alg}}
		if alg == "consistent_hash" {
			in.Hash = &api.HashKey{Source: "header", Name: "X-Key"}
		}
		last = c.nodes[0].must(201, http.MethodPost, "/routes", in)
	}
	for _, n := range c.nodes {
		eventually(t, formTime, n.name+" has the routes in force", func() error {
			a, err := n.get("/least_latency")
			if err == nil && a.status != http.StatusOK {
				err = fmt.Errorf("GET = %s", a)
			}
			return err
		})
		n.must(200, http.MethodGet, fmt.Sprintf("/routes?min_index=%d", last.index(t)), nil)
	}
	t.Run("round_robin", func(t *testing.T) {
		for id, n := range counts(t, 300, "/round_robin", c.nodes[:1], nil) {
			if n != 100 {
				t.Errorf("%s got %d of 300, want 100", id, n)
			}
		}
	})
	t.Run("least_connections", func(t *testing.T) { leastConnections(t, c, backends) })
	t.Run("random", func(t *testing.T) {
		got := counts(t, 300, "/random", c.nodes, nil)
		for _, b := range backends {
			if got[b.id] < 50 || got[b.id] > 150 {
				t.Errorf("random gave %v of 300, want about 100 each", got)
			}
		}
	})
	t.Run("ip_hash", func(t *testing.T) {
		if got := counts(t, 60, "/ip_hash", c.nodes, nil); len(got) != 1 {
			t.Errorf("one client was sent to %v, want one backend, the same on all nodes", got)
		}
	})
	t.Run("consistent_hash", func(t *testing.T) { consistentHash(t, c, backends) })
	t.Run("least_latency", func(t *testing.T) {
		backends[0].set(modeSlow)
		defer backends[0].set(modeOK)
		counts(t, 30, "/least_latency", c.nodes[:1], nil) // learn
		if got := counts(t, 100, "/least_latency", c.nodes[:1], nil); got["b1"] > 10 {
			t.Errorf("the slow backend got %d of 100: %v", got["b1"], got)
		}
	})
}

// A backend that is busy with a long request is the last choice.
func leastConnections(t *testing.T, c *cluster, backends []*backend) {
	n := c.nodes[0]
	var long []*held
	for range 2 {
		long = append(long, n.hold("/least_connections/hold", backends...))
	}
	free := map[string]bool{}
	for _, b := range backends {
		if b.holds.Load() == 0 {
			free[b.id] = true
		}
	}
	if len(free) != 1 {
		t.Errorf("two long requests left %v free, want them on two backends", free)
	}
	for id, count := range counts(t, 30, "/least_connections", c.nodes[:1], nil) {
		if !free[id] {
			t.Errorf("%s, busy with a long request, got %d of 30", id, count)
		}
	}
	for _, b := range backends {
		b.release()
	}
	for _, h := range long {
		h.finished(t)
	}
	for _, b := range backends {
		b.holdAgain()
	}
}

// A key keeps its backend on every node, and loses it only with that backend.
func consistentHash(t *testing.T, c *cluster, backends []*backend) {
	const keys = 40
	owner := func() []string {
		owners := make([]string, keys)
		for i := range keys {
			got := counts(t, len(c.nodes), "/consistent_hash", c.nodes, func(int) string { return fmt.Sprint("key", i) })
			if len(got) != 1 {
				t.Errorf("key %d was sent to %v, want one backend on all nodes", i, got)
			}
			for id := range got {
				owners[i] = id
			}
		}
		return owners
	}
	before := owner()
	used := map[string]bool{}
	for _, id := range before {
		used[id] = true
	}
	if len(used) != len(backends) {
		t.Errorf("%d keys use %v, want every backend", keys, used)
	}
	gone := backends[2]
	c.nodes[1].must(200, http.MethodPost, "/backends/"+gone.id+"/disable", nil)
	c.without(gone)
	for i, id := range owner() {
		if before[i] != gone.id && id != before[i] {
			t.Errorf("key %d moved from %s to %s although its backend is there", i, before[i], id)
		}
	}
	c.nodes[1].must(200, http.MethodPost, "/backends/"+gone.id+"/enable", nil)
	c.reach(backends, c.nodes...)
}
