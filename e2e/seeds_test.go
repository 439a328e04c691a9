package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/lbnode/lbnode/api"
)

// The walk through backends, health, routes and stats that the API was designed from.
func TestSeed_usersService(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	n := c.nodes[0]
	v1, v2 := newBackend(t, "users-v1"), newBackend(t, "users-v2")

	n.must(2, http.MethodPut, "/pools/users-service", quickPool("users-service"))
	var b api.Backend
	created := c.nodes[1].must(201, http.MethodPost, "/backends", `{"id":"users-v1","address":"`+v1.addr+`","weight":3,"pool":"users-service"}`)
	created.decode(t, &b)
	if b.ID != "users-v1" || b.Address != v1.addr || b.Weight != 3 || b.AdminState != "ready" || b.Tags == nil || b.Reasons == nil {
		t.Errorf("POST /backends = %s, want users-v1 with weight 3, ready, and no null lists", created)
	}
	n.must(201, http.MethodPost, "/backends", `{"id":"users-v2","address":"`+v2.addr+`","pool":"users-service"}`)
	n.must(201, http.MethodPost, "/backends", `{"id":"lone","address":"10.0.1.15:8080","weight":3}`)

	var r api.Route
	n.must(201, http.MethodPost, "/routes",
		`{"match":{"path":"/users","method":"GET"},"backend_pool":"users-service","algorithm":"least_connections"}`).decode(t, &r)
	if r.ID == "" || r.Match.Path != "/users" || r.Match.Method != "GET" || r.BackendPool != "users-service" || r.Algorithm != "least_connections" {
		t.Errorf("POST /routes made %+v", r)
	}

	var list []api.Backend
	n.read("/backends", &list)
	if len(list) != 3 || list[0].ID != "lone" || list[1].ID != "users-v1" || list[2].ID != "users-v2" {
		t.Errorf("GET /backends = %+v, want lone, users-v1, users-v2 in this order", list)
	}
	c.health(formTime, "users-v1", api.Healthy)
	c.health(formTime, "users-v2", api.Healthy)
	v2.down()
	c.health(formTime, "users-v2", api.Unhealthy)
	if b, err := n.backend("users-v2"); err != nil || b.NodeState != "error" || b.AdminState != "ready" || b.Routable || len(b.Reasons) == 0 {
		t.Errorf("GET /backends/users-v2 = %+v, error %v, want error/ready, not routable, with reasons", b, err)
	}
	v2.up()
	c.health(formTime, "users-v2", api.Healthy)

	for path, want := range map[string]int{"/users": 200, "/users/7?x=1": 200, "/users2": 404, "/": 404} {
		for _, n := range c.nodes {
			if a, err := n.get(path); err != nil || a.status != want {
				t.Errorf("%s: GET %s through the proxy = %s, error %v, want %d", n.name, path, a, err, want)
			}
		}
	}
	a, err := exchange(n.plain, http.MethodPost, "http://"+n.proxy+"/users", "x")
	if err != nil || a.status != http.StatusNotFound {
		t.Errorf("POST /users through the proxy = %s, error %v, want 404: the route takes GET", a, err)
	}
	stats(t, c, r.ID)

	t.Run("delete_drains", func(t *testing.T) { deleteDrains(t, c, v1, v2) })
	c.same()
}

// GET /stats on any node counts what all of them did.
func stats(t *testing.T, c *cluster, route string) {
	t.Helper()
	l := startLoad(t, "/users", c.nodes...)
	l.more(t, 150, c.nodes...)
	for _, n := range c.nodes {
		eventually(t, 10*time.Second, n.name+" answers the cluster's stats", func() error {
			a, err := n.call(http.MethodGet, "/stats", nil)
			if err != nil {
				return err
			}
			var s api.Stats
			if err := json.Unmarshal(a.body, &s); err != nil {
				return err
			}
			if s.RPS <= 0 || s.ActiveConnections < int64(l.workers) || s.P95LatencyMS <= 0 || s.P50LatencyMS > s.P95LatencyMS || s.P95LatencyMS > s.P99LatencyMS ||
				s.Scope != api.ScopeCluster || len(s.Nodes) != 3 || len(s.Missing) != 0 || s.Responses["2xx"] < 450 ||
				s.Routes[route].Requests < 450 || s.Backends["users-v1"].Requests == 0 || s.BytesOut == 0 {
				return fmt.Errorf("GET /stats = %s", a)
			}
			return nil
		})
		var own api.Stats
		n.read("/stats?scope=node", &own)
		if own.Scope != api.ScopeNode || len(own.Nodes) != 1 || own.Nodes[0] != n.name || own.Requests < 150 {
			t.Errorf("%s: GET /stats?scope=node = %+v, want its own counters alone", n.name, own)
		}
	}
	l.stop()
	l.wantAtMost(t, 0, time.Time{}, c.nodes...)
}

// DELETE lets running requests finish, takes no new ones, and then the backend is gone.
func deleteDrains(t *testing.T, c *cluster, kept, gone *backend) {
	through, asked := c.nodes[0], c.nodes[2]
	var long *held
	for gone.holds.Load() == 0 { // least_connections: the second at the latest goes to the other one
		long = through.hold("/users/hold", kept, gone)
	}
	a := asked.must(2, http.MethodDelete, "/backends/"+gone.id, nil)
	b, err := asked.backend(gone.id)
	if err != nil || b.AdminState != "decommissioned" || !b.Draining {
		t.Errorf("after DELETE = %s: GET = %+v, error %v, want decommissioned and draining", a, b, err)
	}
	eventually(t, formTime, "no node sends it new requests", func() error {
		before := gone.served.Load()
		counts(t, 30, "/users", c.nodes, nil)
		if got := gone.served.Load() - before; got > 0 {
			return fmt.Errorf("%d of 30 went there", got)
		}
		return nil
	})
	if _, err := asked.backend(gone.id); err != nil {
		t.Errorf("the backend is gone while a request runs on it: %v", err)
	}
	kept.release()
	gone.release()
	long.finished(t)
	for _, n := range c.nodes {
		eventually(t, formTime, n.name+" has removed it", func() error {
			a, err := n.call(http.MethodGet, "/backends/"+gone.id, nil)
			if err == nil && a.status != http.StatusNotFound {
				err = fmt.Errorf("GET = %s", a)
			}
			return err
		})
	}
}
