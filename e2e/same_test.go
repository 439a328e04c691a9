package e2e

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// step is one call of a script. match names a path whose current ETag is sent as If-Match, or is a tag itself.
type step struct {
	method, path, body, match string
}

// script touches every collection, with successes and every kind of refusal. Backends have no health check
// and nothing listens there: what is compared is what operators said. Their ids sort behind generated ones.
var script = []step{
	{"GET", "/livez", "", ""},
	{"GET", "/readyz", "", ""},
	{"GET", "/backends", "", ""},
	{"GET", "/backends/none", "", ""},
	{"POST", "/pools", `{"id":"p","health":{"type":"none"}}`, ""},
	{"POST", "/pools", `{"id":"p","health":{"type":"none"}}`, ""},
	{"POST", "/pools", `{"id":"p","algorithm":"random"}`, ""},
	{"POST", "/pools", `{"id":"q","algorithm":"fastest"}`, ""},
	{"GET", "/pools/p", "", ""},
	{"POST", "/backends", `{"id":"h1","address":"127.0.0.1:1","pool":"p","weight":3,"tags":["z","a"]}`, ""},
	{"POST", "/backends", `{"id":"h2","address":"http://127.0.0.1:2/base","pool":"p"}`, ""},
	{"POST", "/backends", `{"address":"127.0.0.1:3","pool":"p"}`, ""},
	{"POST", "/backends", `{"address":"127.0.0.1:3","pool":"p"}`, ""},
	{"POST", "/backends", `{"id":"h1","address":"127.0.0.1:9","pool":"p"}`, ""},
	{"POST", "/backends", `{"id":"h4","address":"not an address"}`, ""},
	{"POST", "/backends", `{"id":"h4","adress":"127.0.0.1:4"}`, ""},
	{"GET", "/backends", "", ""},
	{"GET", "/backends?limit=2", "", ""},
	{"GET", "/backends?limit=2&after=h1", "", ""},
	{"GET", "/backends/127.0.0.1:1", "", ""},
	{"PATCH", "/backends/h1", `{"weight":5}`, "/backends/h1"},
	{"PATCH", "/backends/h1", `{"weight":6}`, `"1"`},
	{"PATCH", "/backends/h1", `{"weight":-1}`, ""},
	{"PATCH", "/backends/h9", `{"weight":1}`, ""},
	{"PUT", "/backends/h2", `{"address":"127.0.0.1:22","pool":"p","weight":7}`, ""},
	{"PUT", "/backends/h5", `{"address":"127.0.0.1:5","pool":"new-pool","admin_state":"init"}`, ""},
	{"POST", "/backends/h5/enable", "", ""},
	{"POST", "/backends/h9/enable", "", ""},
	{"GET", "/pools", "", ""},
	{"POST", "/routes", `{"id":"r1","match":{"path":"/users","method":"GET"},"backend_pool":"p","algorithm":"least_connections"}`, ""},
	{"POST", "/routes", `{"match":{"host":"*.example.org","path":"/x"},"backend_pool":"p","priority":5}`, ""},
	{"POST", "/routes", `{"id":"r2","match":{"path":"("},"backend_pool":"p"}`, ""},
	{"POST", "/routes", `{"id":"r2"}`, ""},
	{"GET", "/routes/r1", "", ""},
	{"DELETE", "/pools/p", "", ""},
	{"POST", "/frontends", `{"id":"f1","hosts":["A.example.org"],"secret":"s3cret","required_tags":["a"]}`, ""},
	{"POST", "/frontends", `{"id":"f2","hosts":["a.example.org"]}`, ""},
	{"GET", "/frontends", "", ""},
	{"DELETE", "/frontends/f1", "", ""},
	{"DELETE", "/frontends/f1", "", ""},
	{"DELETE", "/routes/r1", "", "/routes/r1"},
	{"DELETE", "/backends/h2?force=true", "", ""},
	{"GET", "/backends/h2", "", ""},
	{"POST", "/backends", `{"id":`, ""},
	{"PUT", "/backends", `{}`, ""},
	{"GET", "/nothing", "", ""},
	{"GET", "/v1/backends/h1", "", ""},
	{"GET", "/routes", "", ""},
}

// One node or three, whichever of them is asked: the same calls get the same answers.
func TestSame_oneNodeAndThree(t *testing.T) {
	t.Parallel()
	one := newCluster(t, 1).play()
	three := newCluster(t, 3)
	many := three.play()
	for i, s := range script {
		if diff := cmp.Diff(one[i], many[i]); diff != "" {
			t.Errorf("step %d, %s %s %s: one node and three answer differently (-one +three):\n%s", i, s.method, s.path, s.body, diff)
		}
	}
	three.same()
}

// play runs the script, each step on the next node, and returns the answers without what must differ.
func (c *cluster) play() []string {
	c.t.Helper()
	var out []string
	var newest uint64
	for i, s := range script {
		n := c.nodes[i%len(c.nodes)]
		at := func(path string) string { // a node that was not asked before may be behind
			if strings.Contains(path, "?") {
				return fmt.Sprintf("%s&min_index=%d", path, newest)
			}
			return fmt.Sprintf("%s?min_index=%d", path, newest)
		}
		path, headers := s.path, []string(nil)
		if s.method == http.MethodGet && newest > 0 && s.path != "/livez" && s.path != "/readyz" && s.path != "/nothing" {
			path = at(path)
		}
		if tag := s.match; tag != "" {
			if tag[0] == '/' {
				tag = n.must(200, http.MethodGet, at(tag), nil).header.Get("ETag")
			}
			headers = []string{"If-Match", tag}
		}
		var body any
		if s.body != "" {
			body = s.body
		}
		a, err := n.call(s.method, path, body, headers...)
		if err != nil {
			c.t.Fatalf("step %d on %s: %s %s: %v", i, n.name, s.method, s.path, err)
		}
		if a.status/100 == 5 {
			c.t.Errorf("step %d on %s: %s %s = %s, want no 5xx", i, n.name, s.method, s.path, a)
		}
		if a.header.Get("X-Lbnode-Index") != "" {
			newest = max(newest, a.index(c.t))
		}
		out = append(out, c.plain(a))
	}
	return out
}

var (
	uuids   = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	indexes = regexp.MustCompile(`(modify_index |not )\d+|min_index=\d+`)
	moving  = append([]string{"create_index", "modify_index", "admin_index", "gen", "admin_since", "request_id", "version"}, observed...)
)

// plain is an answer without indexes, times, generated ids and what nodes measure.
func (c *cluster) plain(a answer) string {
	c.t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "%d %s\n", a.status, a.header.Get("Content-Type"))
	for _, h := range []string{"Location", "Allow", "Link"} {
		if v := a.header.Get(h); v != "" {
			fmt.Fprintf(&b, "%s: %s\n", h, v)
		}
	}
	for _, h := range []string{"ETag", "Retry-After"} {
		if a.header.Get(h) != "" {
			fmt.Fprintf(&b, "%s is set\n", h)
		}
	}
	b.WriteString(normal(c.t, a.body, func(o map[string]any) {
		for k := range o {
			if slices.Contains(moving, k) {
				delete(o, k)
			}
		}
	}))
	return indexes.ReplaceAllString(uuids.ReplaceAllString(b.String(), "UUID"), "${1}N")
}
