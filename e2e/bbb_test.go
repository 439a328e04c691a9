package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/bbb/bbbtest"
	"github.com/lbnode/lbnode/bbb/ids"
	"github.com/lbnode/lbnode/bbb/sign"
)

// campus is a cluster with a tenant, and BigBlueButton servers that run in the test.
type campus struct {
	*cluster
	servers []*bbbtest.Server
	urls    []string
}

// newCampus returns once every node would create a meeting on any of the servers.
func newCampus(t *testing.T, servers int) *campus {
	t.Helper()
	c := &campus{cluster: newCluster(t, 3)}
	n := c.nodes[0]
	n.must(2, http.MethodPut, "/pools/bbb", map[string]any{
		"health": map[string]any{"type": "bbb", "interval": "200ms", "timeout": "1s", "rise": 1, "fall": 2},
		"bbb":    map[string]any{"move_after": "2s", "poll": "1s"},
	})
	for i := range servers {
		s := bbbtest.New(bbbtest.Config{Name: fmt.Sprintf("bbb%d", i), Secrets: []string{serverSecret}})
		h := httptest.NewServer(s)
		t.Cleanup(func() { h.Close(); s.Wait() })
		c.servers, c.urls = append(c.servers, s), append(c.urls, h.URL)
		n.must(2, http.MethodPut, "/backends/"+backendOf(i), map[string]any{"address": h.URL, "pool": "bbb", "bbb": map[string]any{"secrets": []string{serverSecret}}})
	}
	n.must(2, http.MethodPut, "/frontends/uni", map[string]any{"key": "uni", "secret": tenantSecret})
	n.must(2, http.MethodPut, "/routes/bbb", map[string]any{"match": map[string]any{"path": "/bbb"}, "backend_pool": "bbb"})
	c.everywhere("/routes/bbb")
	for i := range servers {
		c.health(formTime, backendOf(i), api.Healthy)
	}
	return c
}

func backendOf(server int) string { return fmt.Sprintf("bbb%d", server) }

// ask makes a call of the tenant. location is where it redirects to.
func (n *node) ask(call string, pairs ...string) (doc, location string, err error) {
	var p sign.Params
	for i := 0; i < len(pairs); i += 2 {
		p = append(p, sign.Param{Name: pairs[i], Value: pairs[i+1]})
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.proxy+"/bbb/uni/bigbluebutton/api/"+call+"?"+sign.Query(call, p, tenantSecret, sign.SHA256), nil)
	if err != nil {
		return "", "", err
	}
	client := *n.plain
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := client.Do(req)
	if err != nil {
		return "", "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return string(b), resp.Header.Get("Location"), err
}

// create has a meeting created, and is an error if it was not.
func (n *node) create(id string) error {
	doc, _, err := n.ask("create", "name", "A meeting", "meetingID", id)
	if err == nil && !strings.Contains(doc, "<returncode>SUCCESS<") {
		err = fmt.Errorf("create of %s on %s: %s", id, n.name, doc)
	}
	return err
}

// joined wants the node to send people to the server.
func (c *campus) joined(n *node, id string, server int) {
	c.t.Helper()
	eventually(c.t, formTime, n.name+" has people join "+id, func() error {
		doc, location, err := n.ask("join", "meetingID", id, "fullName", "Ada", "role", "VIEWER")
		if err == nil && !strings.HasPrefix(location, c.urls[server]+"/") {
			err = fmt.Errorf("join on %s leads to %q, want %s: %s", n.name, location, c.urls[server], doc)
		}
		return err
	})
}

// copies are the servers that have a copy of the tenant's meeting running.
func (c *campus) copies(id string) []int {
	var out []int
	for i, s := range c.servers {
		if slices.Contains(s.Meetings(), ids.Encode("uni", id)) {
			out = append(out, i)
		}
	}
	return out
}

// only wants one copy of a meeting, and returns where it is.
func (c *campus) only(id string) int {
	c.t.Helper()
	on := c.copies(id)
	if len(on) != 1 {
		c.t.Fatalf("%s runs on the servers %v, want one", id, on)
	}
	return on[0]
}

// Whatever fails, a meeting runs once, and its people get to it from any node.
func TestBBB_oneCopy(t *testing.T) {
	t.Parallel()
	c := newCampus(t, 4)
	c.sameMeeting()
	c.leaderDies()
	c.drains()
	c.serverDies()
	c.same()
}

// sameMeeting has each meeting created on all nodes at once.
func (c *campus) sameMeeting() {
	var wg sync.WaitGroup
	for i := range 8 {
		for _, n := range c.nodes {
			wg.Go(func() {
				if err := n.create(fmt.Sprintf("same-%d", i)); err != nil {
					c.t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	for i := range 8 {
		id := fmt.Sprintf("same-%d", i)
		c.joined(c.nodes[i%3], id, c.only(id))
	}
}

// leaderDies holds two creates at their servers, one that came to the leader and one that came to a follower, and
// kills the leader meanwhile.
func (c *campus) leaderDies() {
	l := c.leader()
	f := c.followers()
	gate := make(chan struct{})
	for _, s := range c.servers {
		s.Inject(bbbtest.Fault{Call: "create", Gate: gate})
	}
	asked := func() (n int) {
		for _, s := range c.servers {
			n += len(s.Calls("create"))
		}
		return n
	}
	before := asked()
	lost, kept := make(chan error, 1), make(chan error, 1)
	go func() { lost <- l.create("of-leader") }()
	go func() { kept <- f[0].create("of-follower") }()
	eventually(c.t, formTime, "both creates are at their servers", func() error {
		if n := asked() - before; n < 2 {
			return fmt.Errorf("%d are", n)
		}
		return nil
	})
	l.kill()
	if err := <-lost; err == nil {
		c.t.Error("the client of the dead leader has an answer")
	}
	close(gate)
	for _, s := range c.servers {
		s.Heal()
	}
	if err := <-kept; err != nil {
		c.t.Errorf("the client of the follower: %v", err)
	}
	eventually(c.t, formTime, "the client tries again on another node", func() error { return f[1].create("of-leader") })
	for _, id := range []string{"of-leader", "of-follower"} {
		c.joined(f[0], id, c.only(id))
	}
	l.start()
	c.formed(c.nodes...)
	c.joined(l, "of-leader", c.only("of-leader"))
}

// drains wants a server that is taken out to keep what it has, to take people, and to get nothing new.
func (c *campus) drains() {
	on := c.only("same-0")
	had := c.servers[on].Meetings()
	c.nodes[0].must(2, http.MethodPost, "/backends/"+backendOf(on)+"/disable?wait=applied", nil)
	for i := range 9 {
		id, next := fmt.Sprintf("later-%d", i), c.nodes[(i+1)%3]
		if err := c.nodes[i%3].create(id); err != nil {
			c.t.Error(err)
		} else if doc, _, err := next.ask("getMeetingInfo", "meetingID", id); err != nil || !strings.Contains(doc, "<meetingID>"+id+"<") {
			c.t.Errorf("getMeetingInfo on %s at once: %s, %v", next.name, doc, err)
		}
	}
	if got := c.servers[on].Meetings(); !slices.Equal(got, had) {
		c.t.Errorf("the drained server has %v, had %v", got, had)
	}
	for _, n := range c.nodes {
		c.joined(n, "same-0", on)
	}
	c.nodes[0].must(2, http.MethodPost, "/backends/"+backendOf(on)+"/enable?wait=applied", nil)
}

// serverDies has a meeting created again while its server is cut off; the copy there must end once it is back.
func (c *campus) serverDies() {
	on := c.only("same-1")
	c.servers[on].Down(true)
	eventually(c.t, formTime, "the meeting is created elsewhere", func() error { return c.nodes[1].create("same-1") })
	copies := c.copies("same-1")
	if len(copies) != 2 {
		c.t.Fatalf("%v have the meeting, want the dead server and another one", copies)
	}
	now := copies[0] + copies[1] - on
	for _, n := range c.nodes {
		c.joined(n, "same-1", now)
	}
	c.servers[on].Down(false)
	eventually(c.t, formTime, "the copy of before is ended", func() error {
		if got := c.copies("same-1"); !slices.Equal(got, []int{now}) {
			return fmt.Errorf("%v have it", got)
		}
		return nil
	})
	if got := c.copies("same-0"); len(got) != 1 {
		c.t.Errorf("another meeting runs on %v", got)
	}
}
