package e2e

import (
	"net/http"
	"strings"
	"testing"

	"github.com/lbnode/lbnode/api"
)

// bad is a request that must be refused. pointer is where the problem says it is wrong; "-" is a problem
// that is not about a place in the body.
type bad struct {
	name, method, path, body string
	headers                  []string
	status                   int
	code, pointer            string
}

var badInputs = []bad{
	{"unknown field", "POST", "/backends", `{"id":"x","address":"127.0.0.1:1","wieght":3}`, nil, 400, api.CodeInvalid, "/wieght"},
	{"unknown nested field", "POST", "/routes", `{"match":{"pathh":"/"},"backend_pool":"p"}`, nil, 400, api.CodeInvalid, "/match/pathh"},
	{"wrong type", "POST", "/backends", `{"id":"x","address":"127.0.0.1:1","weight":"3"}`, nil, 400, api.CodeInvalid, "/weight"},
	{"fraction", "POST", "/backends", `{"id":"x","address":"127.0.0.1:1","weight":1.5}`, nil, 400, api.CodeInvalid, "/weight"},
	{"huge number", "POST", "/backends", `{"id":"x","address":"127.0.0.1:1","weight":1e99}`, nil, 400, api.CodeInvalid, "/weight"},
	{"list for a string", "POST", "/backends", `{"id":["x"],"address":"127.0.0.1:1"}`, nil, 400, api.CodeInvalid, "/id"},
	{"string for a list", "POST", "/backends", `{"id":"x","address":"127.0.0.1:1","tags":"a"}`, nil, 400, api.CodeInvalid, "/tags"},
	{"bad tag", "POST", "/backends", `{"id":"x","address":"127.0.0.1:1","tags":["ok","not ok"]}`, nil, 400, api.CodeInvalid, "/tags/1"},
	{"bad id", "POST", "/backends", `{"id":"Bad Id!","address":"127.0.0.1:1"}`, nil, 400, api.CodeInvalid, "/id"},
	{"reserved id", "POST", "/backends", `{"id":"health","address":"127.0.0.1:1"}`, nil, 400, api.CodeInvalid, "/id"},
	{"long id", "POST", "/backends", `{"id":"` + strings.Repeat("a", 64) + `","address":"127.0.0.1:1"}`, nil, 400, api.CodeInvalid, "/id"},
	{"other id in the body", "PUT", "/backends/kept", `{"id":"other","address":"127.0.0.1:1"}`, nil, 400, api.CodeInvalid, "/id"},
	{"bad address", "POST", "/backends", `{"id":"x","address":"not an address"}`, nil, 400, api.CodeInvalid, "/address"},
	{"port out of range", "POST", "/backends", `{"id":"x","address":"127.0.0.1:70000"}`, nil, 400, api.CodeInvalid, "/address"},
	{"other scheme", "POST", "/backends", `{"id":"x","address":"ftp://127.0.0.1"}`, nil, 400, api.CodeInvalid, "/address"},
	{"no address", "POST", "/backends", `{"id":"x"}`, nil, 400, api.CodeInvalid, "/address"},
	{"negative weight", "POST", "/backends", `{"id":"x","address":"127.0.0.1:1","weight":-1}`, nil, 400, api.CodeInvalid, "/weight"},
	{"negative weight by PATCH", "PATCH", "/backends/kept", `{"weight":-1}`, nil, 400, api.CodeInvalid, "/weight"},
	{"read-only field by PATCH", "PATCH", "/backends/kept", `{"node_state":"ready"}`, nil, 400, api.CodeInvalid, "/node_state"},
	{"error is no admin state", "PATCH", "/backends/kept", `{"admin_state":"error"}`, nil, 400, api.CodeInvalid, "/admin_state"},
	{"load factor", "PATCH", "/backends/kept", `{"load_factor":-1}`, nil, 400, api.CodeInvalid, "/load_factor"},
	{"load factor 0", "PATCH", "/backends/kept", `{"load_factor":0}`, nil, 400, api.CodeInvalid, "/load_factor"},
	{"unknown pool algorithm", "POST", "/pools", `{"id":"x","algorithm":"fastest"}`, nil, 400, api.CodeInvalid, "/algorithm"},
	{"unknown route algorithm", "POST", "/routes", `{"backend_pool":"p","algorithm":"fastest"}`, nil, 400, api.CodeInvalid, "/algorithm"},
	{"bad duration", "POST", "/pools", `{"id":"x","health":{"interval":"soon"}}`, nil, 400, api.CodeInvalid, "/health/interval"},
	{"number for a duration", "POST", "/pools", `{"id":"x","health":{"interval":5}}`, nil, 400, api.CodeInvalid, "/health/interval"},
	{"interval too short", "POST", "/pools", `{"id":"x","health":{"interval":"1ms"}}`, nil, 400, api.CodeInvalid, "/health/interval"},
	{"bad statuses", "POST", "/pools", `{"id":"x","health":{"statuses":"2xx"}}`, nil, 400, api.CodeInvalid, "/health/statuses"},
	{"no pool", "POST", "/routes", `{"match":{"path":"/"}}`, nil, 400, api.CodeInvalid, "/backend_pool"},
	{"path without slash", "POST", "/routes", `{"match":{"path":"users"},"backend_pool":"p"}`, nil, 400, api.CodeInvalid, "/match/path"},
	{"bad expression", "POST", "/routes", `{"match":{"path":"(","path_type":"regex"},"backend_pool":"p"}`, nil, 400, api.CodeInvalid, "/match/path"},
	{"bad method", "POST", "/routes", `{"match":{"path":"/","method":"G T"},"backend_pool":"p"}`, nil, 400, api.CodeInvalid, "/match/method"},
	{"too many retries", "POST", "/routes", `{"backend_pool":"p","retries":99}`, nil, 400, api.CodeInvalid, "/retries"},
	{"host with port", "POST", "/frontends", `{"id":"x","hosts":["a.example.org:80"]}`, nil, 400, api.CodeInvalid, "/hosts/0"},
	{"malformed JSON", "POST", "/backends", `{"id":"x","address":`, nil, 400, api.CodeInvalid, ""},
	{"trailing data", "POST", "/backends", `{"id":"x","address":"127.0.0.1:1"} {}`, nil, 400, api.CodeInvalid, ""},
	{"no object", "POST", "/backends", `["x"]`, nil, 400, api.CodeInvalid, ""},
	{"null", "POST", "/backends", `null`, nil, 400, api.CodeInvalid, ""},
	{"empty body", "POST", "/backends", ``, nil, 400, api.CodeInvalid, ""},
	{"not UTF-8", "POST", "/backends", "{\"id\":\"\xff\"}", nil, 400, api.CodeInvalid, ""},
	{"repeated key", "POST", "/backends", `{"id":"x","id":"y","address":"127.0.0.1:1"}`, nil, 400, api.CodeInvalid, "/id"},
	{"very deep", "POST", "/backends", `{"id":` + strings.Repeat("[", 100_000), nil, 400, api.CodeInvalid, "-"},
	{"oversized body", "POST", "/backends", `{"id":"` + strings.Repeat("a", api.MaxBody+1) + `"}`, nil, 413, api.CodeTooLarge, "-"},
	{"media type", "POST", "/backends", `id=x`, []string{"Content-Type", "text/plain"}, 415, api.CodeMediaType, "-"},
	{"bad If-Match", "PATCH", "/backends/kept", `{"weight":1}`, []string{"If-Match", "five"}, 412, api.CodeMismatch, "-"},
	{"bad key", "POST", "/backends", `{"id":"x","address":"127.0.0.1:1"}`, []string{"Idempotency-Key", strings.Repeat("k", 500)}, 400, api.CodeInvalid, "-"},
	{"bad limit", "GET", "/backends?limit=many", ``, nil, 400, api.CodeInvalid, ""},
	{"bad min_index", "GET", "/backends?min_index=-1", ``, nil, 400, api.CodeInvalid, ""},
	{"duplicate id", "POST", "/backends", `{"id":"kept","address":"127.0.0.1:99"}`, nil, 409, api.CodeExists, "-"},
	{"host of another", "POST", "/frontends", `{"id":"x","hosts":["kept.example.org"]}`, nil, 409, api.CodeInUse, "/hosts/0"},
	{"pool in use", "DELETE", "/pools/kept", ``, nil, 409, api.CodeInUse, "-"},
	{"not there", "PATCH", "/backends/nobody", `{"weight":1}`, nil, 404, api.CodeNotFound, "-"},
	{"delete what is not there", "DELETE", "/routes/nothing", ``, nil, 404, api.CodeNotFound, "-"},
	{"no such path", "POST", "/backendz", `{}`, nil, 404, api.CodeNotFound, "-"},
	{"method not allowed", "DELETE", "/backends", ``, nil, 405, api.CodeMethodNotAllowed, "-"},
	{"other site", "POST", "/backends", `{"id":"x","address":"127.0.0.1:1"}`, []string{"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"}, 403, api.CodeCrossOrigin, "-"},
}

// What is wrong is refused on leader and follower alike, says where and why, and changes nothing.
func TestBadInput(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2)
	n := c.nodes[0]
	n.must(201, http.MethodPost, "/backends", `{"id":"kept","address":"127.0.0.1:1","pool":"kept"}`)
	n.must(201, http.MethodPost, "/routes", `{"id":"kept","backend_pool":"kept"}`)
	last := n.must(201, http.MethodPost, "/frontends", `{"id":"kept","hosts":["kept.example.org"]}`)
	before := n.config(t, last.index(t))
	for _, tc := range badInputs {
		for _, n := range c.nodes {
			var body any
			if tc.body != "" {
				body = tc.body
			}
			a, err := n.call(tc.method, tc.path, body, tc.headers...)
			if err != nil {
				t.Errorf("%s: %s on %s: %v", tc.name, tc.path, n.name, err)
				continue
			}
			if a.status != tc.status {
				t.Errorf("%s on %s: %s, want %d", tc.name, n.name, a, tc.status)
				continue
			}
			p := a.problem(t)
			if p.Code != tc.code || p.Detail == "" {
				t.Errorf("%s on %s: %s, want code %s and a detail", tc.name, n.name, a, tc.code)
			}
			if tc.pointer != "-" && !points(p, tc.pointer) {
				t.Errorf("%s on %s: errors %v, want one at %q with a message", tc.name, n.name, p.Errors, tc.pointer)
			}
		}
	}
	for _, n := range c.nodes {
		if after := n.config(t, last.index(t)); after != before {
			t.Errorf("%s: after only refused requests it answers:\n%swant as before:\n%s", n.name, after, before)
		}
	}
	c.same()
}

func points(p api.Problem, pointer string) bool {
	for _, e := range p.Errors {
		if e.Pointer == pointer && e.Message != "" {
			return true
		}
	}
	return false
}
