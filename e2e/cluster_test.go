package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/fsm"
	"github.com/lbnode/lbnode/state"
)

// formTime is how long a cluster may take to form, a node to rejoin, or a proxy to serve, on a busy machine.
const formTime = 30 * time.Second

// cluster is a set of nodes of one test.
type cluster struct {
	t     *testing.T
	nodes []*node
}

// newCluster starts a cluster of size nodes, n1 to n<size>: the first forms it, the others join the first.
func newCluster(t *testing.T, size int, flags ...string) *cluster {
	t.Helper()
	c := &cluster{t: t}
	for i := range size {
		c.nodes = append(c.nodes, newNode(t, fmt.Sprintf("n%d", i+1), flags...))
		if i > 0 {
			c.nodes[i].flags = append([]string{"--join", c.nodes[0].cluster}, flags...)
		}
	}
	for _, n := range c.nodes {
		n.start()
	}
	c.formed(c.nodes...)
	return c
}

// formed waits until each of the nodes is ready and sees all of them as live voters under one leader.
func (c *cluster) formed(nodes ...*node) {
	c.t.Helper()
	for _, n := range nodes {
		eventually(c.t, formTime, n.name+" is ready and sees the whole cluster", func() error {
			if err := n.ready(); err != nil {
				return err
			}
			st, err := n.status()
			if err != nil {
				return err
			}
			if st.Leader == nil || !st.Healthy || st.Stale || st.LiveVoters != len(c.nodes) || len(st.Voters) != len(c.nodes) {
				return fmt.Errorf("%s sees %+v", n.name, st)
			}
			members, err := n.members()
			if err != nil {
				return err
			}
			for _, other := range c.nodes {
				if m := members[other.name]; m.Status != "alive" {
					return fmt.Errorf("%s sees %s as %q", n.name, other.name, m.Status)
				}
			}
			return nil
		})
	}
}

// leader waits until the nodes that run agree on who of them leads.
func (c *cluster) leader() *node {
	c.t.Helper()
	var found *node
	eventually(c.t, formTime, "the nodes agree on a leader that runs", func() error {
		found = nil
		for _, n := range c.alive() {
			st, err := n.status()
			if err != nil {
				return err
			}
			if st.Leader == nil {
				return fmt.Errorf("%s knows no leader", n.name)
			}
			l := c.node(st.Leader.ID)
			if l == nil || !l.running() || found != nil && found != l {
				return fmt.Errorf("%s says that %s leads", n.name, st.Leader.ID)
			}
			found = l
		}
		return nil
	})
	return found
}

// followers are the running nodes that do not lead.
func (c *cluster) followers() []*node {
	c.t.Helper()
	return c.except(c.leader())
}

// except returns the running nodes but those.
func (c *cluster) except(those ...*node) []*node {
	var out []*node
next:
	for _, n := range c.alive() {
		for _, not := range those {
			if n == not {
				continue next
			}
		}
		out = append(out, n)
	}
	return out
}

func (c *cluster) alive() []*node {
	var out []*node
	for _, n := range c.nodes {
		if n.running() {
			out = append(out, n)
		}
	}
	return out
}

func (c *cluster) node(id string) *node {
	for _, n := range c.nodes {
		if n.name == id {
			return n
		}
	}
	return nil
}

// quickPool is a pool whose health checks decide within a second.
func quickPool(id string) api.PoolInput {
	return api.PoolInput{ID: id, OnEmpty: "fail", Health: &api.HealthCheckInput{Interval: "200ms", Timeout: "300ms", Rise: 2, Fall: 2}}
}

// serve starts count sample backends b1, b2, … and routes everything to them. It returns when every node's
// proxy reaches every backend.
func (c *cluster) serve(count int) []*backend {
	c.t.Helper()
	n := c.alive()[0]
	n.must(2, http.MethodPut, "/pools/web", quickPool("web"))
	var backends []*backend
	for i := range count {
		b := newBackend(c.t, fmt.Sprintf("b%d", i+1))
		backends = append(backends, b)
		n.must(2, http.MethodPost, "/backends", api.BackendInput{ID: b.id, Address: b.addr, Pool: "web"})
	}
	n.must(2, http.MethodPut, "/routes/all", api.RouteInput{
		ID: "all", BackendPool: "web", Match: api.MatchInput{Path: "/"}, Timeouts: &api.TimeoutsInput{FirstByte: "2s"},
	})
	c.reach(backends, c.alive()...)
	return backends
}

// reach waits until each of the nodes' proxies reaches each of the backends.
func (c *cluster) reach(backends []*backend, nodes ...*node) {
	c.t.Helper()
	for _, n := range nodes {
		seen := map[string]bool{}
		eventually(c.t, formTime, n.name+" reaches every backend", func() error {
			for range len(backends) {
				a, err := n.get("/")
				if err != nil {
					return err
				}
				if a.status != http.StatusOK {
					return fmt.Errorf("GET / = %s", a)
				}
				seen[a.header.Get(backendHeader)] = true
			}
			for _, b := range backends {
				if !seen[b.id] {
					return fmt.Errorf("not yet %s, only %v", b.id, seen)
				}
			}
			return nil
		})
	}
}

// everywhere waits until every running node answers GET path with 200.
func (c *cluster) everywhere(path string) {
	c.t.Helper()
	for _, n := range c.alive() {
		eventually(c.t, formTime, n.name+" has "+path, func() error {
			a, err := n.call(http.MethodGet, path, nil)
			if err == nil && a.status != http.StatusOK {
				err = fmt.Errorf("GET = %s", a)
			}
			return err
		})
	}
}

// health waits until GET /backends/health on every running node says this of a backend.
func (c *cluster) health(within time.Duration, id, want string) {
	c.t.Helper()
	for _, n := range c.alive() {
		eventually(c.t, within, fmt.Sprintf("%s says that %s is %s", n.name, id, want), func() error {
			var h api.Health
			a, err := n.call(http.MethodGet, "/backends/health", nil)
			if err != nil {
				return err
			}
			if err := json.Unmarshal(a.body, &h); err != nil {
				return err
			}
			if h[id] != want {
				return fmt.Errorf("GET /backends/health = %s", a)
			}
			return nil
		})
	}
}

// listPaths are the collections of everything that operators configure.
var listPaths = []string{"/backends", "/pools", "/routes", "/frontends"}

// config is what a node answers for every collection, without what it measures itself and what health
// checks decide.
func (n *node) config(t testing.TB, minIndex uint64) string {
	t.Helper()
	var b strings.Builder
	for _, path := range listPaths {
		a := n.must(200, http.MethodGet, fmt.Sprintf("%s?min_index=%d", path, minIndex), nil)
		fmt.Fprintf(&b, "%s\n", path)
		var list []map[string]any
		a.decode(t, &list)
		for _, o := range list {
			for _, k := range observed {
				delete(o, k)
			}
			line, err := json.Marshal(o)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&b, "  %s\n", line)
		}
	}
	return b.String()
}

// observed are the fields of a backend that move without an operator.
var observed = []string{
	"node_state", "draining", "drained", "verdict", "verdict_text", "state_since", "state_index", "routable", "reasons",
	"latency_ms", "in_flight", "meetings", "attendees",
}

// same wants all running nodes to answer the same configuration at the newest index, and to have the same
// state on disk, by its hash at the same index.
func (c *cluster) same() {
	c.t.Helper()
	nodes := c.alive()
	var newest uint64
	for _, n := range nodes {
		var cl api.Cluster
		n.read("/cluster", &cl)
		newest = max(newest, cl.Index)
	}
	first := nodes[0].config(c.t, newest)
	for _, n := range nodes[1:] {
		if diff := cmp.Diff(first, n.config(c.t, newest)); diff != "" {
			c.t.Errorf("%s and %s answer differently (-%s +%s):\n%s", nodes[0].name, n.name, nodes[0].name, n.name, diff)
		}
	}
	eventually(c.t, formTime, "all nodes keep the same state on disk", func() error {
		seen := map[uint64]string{}
		for _, n := range nodes {
			v, err := fsm.ViewFile{Path: n.viewFile()}.Load()
			if err != nil {
				return err
			}
			if v.Index < newest {
				return fmt.Errorf("%s has index %d on disk, want %d", n.name, v.Index, newest)
			}
			h := state.Hash(v)
			if other, ok := seen[v.Index]; ok && other != h {
				c.t.Fatalf("at index %d, %s has state %s, another node has %s", v.Index, n.name, h, other)
			}
			seen[v.Index] = h
		}
		if len(seen) > 1 {
			return fmt.Errorf("the nodes are at different indexes: %v", seen)
		}
		return nil
	})
}

func (n *node) viewFile() string { return n.dir + "/view.snap" }

// normal is JSON in one canonical form, for comparing answers.
func normal(t testing.TB, raw []byte, edit func(map[string]any)) string {
	t.Helper()
	if len(bytes.TrimSpace(raw)) == 0 {
		return ""
	}
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatalf("no JSON: %s", raw)
	}
	walk(v, edit)
	out, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// walk calls edit for every object in v.
func walk(v any, edit func(map[string]any)) {
	switch x := v.(type) {
	case []any:
		for _, e := range x {
			walk(e, edit)
		}
	case map[string]any:
		edit(x)
		for _, e := range x {
			walk(e, edit)
		}
	}
}
