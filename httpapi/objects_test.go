package httpapi_test

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/state"
)

// The bodies of the seed's description of the API.
const (
	seedBackend = `{
  "id": "users-v1",
  "address": "10.0.1.15:8080",
  "weight": 3
}`
	seedRoute = `{
  "match": {
    "path": "/users",
    "method": "GET"
  },
  "backend_pool": "users-service",
  "algorithm": "least_connections"
}`
)

func TestBackend_create(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	var got api.Backend
	r := h.do(http.MethodPost, "/backends", seedBackend).want(http.StatusCreated).into(&got)
	want := api.Backend{
		ID: "users-v1", Address: "10.0.1.15:8080", Pool: "default", Weight: 3, Tags: []string{}, AdminState: "ready", LoadFactor: 1,
		Drain: api.Drain{OnDeadline: "keep", Sticky: "keep"}, NodeState: "init", Verdict: "unknown", CreateIndex: 2, ModifyIndex: 2, StateIndex: 2, AdminIndex: 2, Gen: 2,
		Reasons: []api.Reason{
			{Source: "admin", Text: "admin_state is ready: it takes traffic when healthy"},
			{Source: "quorum", Text: "no verdict yet: no majority of the voters has said up or down"},
			{Source: "pool", Text: `pool "default" has initial "down": it takes no traffic before the first verdict`},
		},
	}
	ignore := cmp.Options{cmpopts.IgnoreFields(api.Backend{}, "AdminSince", "StateSince"), cmpopts.IgnoreFields(api.Reason{}, "Since")}
	if diff := cmp.Diff(want, got, ignore); diff != "" {
		t.Errorf("POST /backends (-want +got)\n%s", diff)
	}
	if got.AdminSince.IsZero() || got.Reasons[0].Since == nil {
		t.Errorf("POST /backends = %+v, want times", got)
	}
	for name, want := range map[string]string{
		"Location": "/backends/users-v1", "ETag": `"2"`, api.HeaderIndex: "2", api.HeaderNode: "n1", api.HeaderLeader: "n1",
		api.HeaderStale: "", "Content-Type": "application/json",
	} {
		if got := r.header.Get(name); got != want {
			t.Errorf("POST /backends: header %s = %q, want %q", name, got, want)
		}
	}

	// The same again changes nothing; a different one with the id is refused.
	if r := h.do(http.MethodPost, "/backends", seedBackend).want(http.StatusOK); r.header.Get("ETag") != `"2"` || r.header.Get("Location") != "" {
		t.Errorf("POST again: headers %v, want the old ETag and no Location", r.header)
	}
	h.do(http.MethodPost, "/backends", `{"id":"users-v1","address":"10.0.1.15:8080","weight":4}`).problem(http.StatusConflict, api.CodeExists)
	if b := h.backend("users-v1"); b.Weight != 3 || b.ModifyIndex != 2 {
		t.Errorf("after a refused POST: %+v, want it unchanged", b)
	}
	if r := h.do(http.MethodPost, "/v1/backends", `{"id":"b2","address":"10.0.1.16:8080"}`).want(http.StatusCreated); r.header.Get("Location") != "/v1/backends/b2" {
		t.Errorf("POST /v1/backends: Location = %q, want it under /v1", r.header.Get("Location"))
	}
}

var uuidV4 = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

func TestBackend_createWithoutID(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	const address = "https://node23.bbb.example.org/bigbluebutton/api/"
	body := fmt.Sprintf(`{"address":%q}`, address)
	var first, second, other api.Backend
	h.do(http.MethodPost, "/backends", body).want(http.StatusCreated).into(&first)
	if !uuidV4.MatchString(first.ID) || first.Address != address {
		t.Errorf("POST = %+v, want a random UUID and the address as written", first)
	}
	h.do(http.MethodPost, "/backends", `{"address":"https://NODE23.bbb.example.org:443/bigbluebutton/api/"}`).problem(http.StatusConflict, api.CodeExists)
	h.do(http.MethodPost, "/backends", body).want(http.StatusOK).into(&second)
	if first.ID != second.ID {
		t.Errorf("POST twice made %s and %s, want one backend", first.ID, second.ID)
	}
	h.do(http.MethodPost, "/backends", fmt.Sprintf(`{"address":%q,"pool":"other"}`, address)).want(http.StatusCreated).into(&other)
	if other.ID == first.ID {
		t.Error("POST of the address in another pool changed the first backend")
	}

	// A repeat with the same key finds its own backend, and a different request with it is refused.
	var keyed, again api.Backend
	h.do(http.MethodPost, "/backends", `{"address":"10.9.9.9:80"}`, "Idempotency-Key: k1").want(http.StatusCreated).into(&keyed)
	h.do(http.MethodPost, "/backends", `{"id":"a-twin","address":"10.9.9.9:80"}`).want(http.StatusCreated)
	r := h.do(http.MethodPost, "/backends", `{"address":"10.9.9.9:80"}`, "Idempotency-Key: k1").want(http.StatusCreated).into(&again)
	if keyed.ID != again.ID || r.header.Get(api.HeaderRequestID) != "k1" {
		t.Errorf("POST twice with one key made %s and %s, want one", keyed.ID, again.ID)
	}
	h.do(http.MethodPost, "/backends", `{"address":"10.9.9.9:80","weight":9}`, "Idempotency-Key: k1").problem(http.StatusUnprocessableEntity, api.CodeReused)
}

func TestBackend_put(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	r := h.do(http.MethodPut, "/backends/a", `{"address":"10.0.0.1:80","weight":2,"tags":["x"]}`).want(http.StatusCreated)
	if r.header.Get("Location") != "/backends/a" {
		t.Errorf("PUT: Location = %q", r.header.Get("Location"))
	}
	h.do(http.MethodPost, "/backends/a/disable", "").want(http.StatusOK)
	var b api.Backend
	h.do(http.MethodPut, "/backends/a", `{"id":"a","address":"10.0.0.1:80"}`).want(http.StatusOK).into(&b)
	if b.Weight != 1 || len(b.Tags) != 0 || b.AdminState != "stopped" {
		t.Errorf("PUT = %+v, want defaults, and the drain to go on", b)
	}

	// What was read can be written back, and nothing moves.
	was := h.do(http.MethodGet, "/backends/a", "").want(http.StatusOK)
	is := h.do(http.MethodPut, "/backends/a", was.body).want(http.StatusOK)
	if is.header.Get("ETag") != was.header.Get("ETag") || is.body != was.body {
		t.Errorf("PUT of what was read: %s\nwas %s", is.body, was.body)
	}
	h.do(http.MethodPut, "/backends/a", `{"id":"b","address":"10.0.0.1:80"}`).want(http.StatusBadRequest).at("/id", `must be "a" as in the path`)
	h.do(http.MethodPut, "/backends/NO", `{"address":"10.0.0.1:80"}`).want(http.StatusBadRequest).at("/id", "must be 1 to 63")
	h.do(http.MethodPut, "/backends/health", `{"address":"10.0.0.1:80"}`).want(http.StatusBadRequest).at("/id", "reserved")
}

func TestBackend_patch(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.do(http.MethodPut, "/backends/a", `{"address":"10.0.0.1:80","weight":2,"tags":["x","y"]}`).want(http.StatusCreated)
	var b api.Backend
	h.do(http.MethodPatch, "/backends/a", `{"weight":5}`, "Content-Type: ", "Content-Type: application/merge-patch+json").want(http.StatusOK).into(&b)
	if b.Weight != 5 || len(b.Tags) != 2 {
		t.Errorf("PATCH = %+v, want weight 5 and the tags kept", b)
	}
	h.do(http.MethodPatch, "/backends/a", `{"weight":null,"tags":null}`).want(http.StatusOK).into(&b)
	if b.Weight != 1 || len(b.Tags) != 0 {
		t.Errorf("PATCH with null = %+v, want defaults", b)
	}
	before := b.ModifyIndex
	h.do(http.MethodPatch, "/backends/a", `{}`).want(http.StatusOK).into(&b)
	if b.ModifyIndex != before {
		t.Errorf("an empty PATCH moved modify_index from %d to %d", before, b.ModifyIndex)
	}
	for _, tt := range []struct{ body, pointer, text string }{
		{`{"wieght":1}`, "/wieght", `did you mean "weight"`},
		{`{"weight":"1"}`, "/weight", "must be an integer"},
		{`{"weight":-1}`, "/weight", "between 0 and 1000"},
		{`{"modify_index":9}`, "/modify_index", "read-only"},
		{`{"node_state":"ready"}`, "/node_state", "read-only"},
		{`{"id":"b"}`, "/id", `must be "a"`},
		{`{"address":"nope"}`, "/address", "no port"},
		{`{"tags":["zz","b ad","a"]}`, "/tags/1", "letters, digits"},
		{`[]`, "", "must be a JSON object"},
		{`null`, "", "must be a JSON object"},
		{``, "", "body is empty"},
	} {
		h.do(http.MethodPatch, "/backends/a", tt.body).want(http.StatusBadRequest).at(tt.pointer, tt.text)
	}
	if got := h.backend("a"); got.ModifyIndex != before {
		t.Errorf("a refused PATCH changed %+v", got)
	}
	h.do(http.MethodPatch, "/backends/nope", `{"weight":1}`).problem(http.StatusNotFound, api.CodeNotFound)
}

func TestBackend_delete(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.do(http.MethodPost, "/backends", seedBackend).want(http.StatusCreated)
	var b api.Backend
	h.do(http.MethodDelete, "/backends/users-v1", "").want(http.StatusAccepted).into(&b)
	if b.AdminState != "decommissioned" || !b.Draining || b.Routable {
		t.Errorf("DELETE = %+v, want it decommissioned and draining", b)
	}
	h.do(http.MethodDelete, "/backends/users-v1", "").want(http.StatusAccepted)
	if err := h.store.SetDrained("users-v1"); err != nil {
		t.Fatal(err)
	}
	h.do(http.MethodGet, "/backends/users-v1", "").problem(http.StatusNotFound, api.CodeNotFound)
	h.do(http.MethodDelete, "/backends/users-v1", "").problem(http.StatusNotFound, api.CodeNotFound)

	h.do(http.MethodPost, "/backends", seedBackend).want(http.StatusCreated)
	if r := h.do(http.MethodDelete, "/backends/users-v1?force=true", "").want(http.StatusNoContent); r.body != "" {
		t.Errorf("DELETE ?force=true has the body %q", r.body)
	}
	h.do(http.MethodGet, "/backends/users-v1", "").want(http.StatusNotFound)
}

func TestBackend_enableDisable(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.do(http.MethodPost, "/backends", seedBackend).want(http.StatusCreated)
	var b api.Backend
	for _, tt := range []struct{ verb, body, want string }{{"disable", "", "stopped"}, {"disable", "{}", "stopped"}, {"enable", "", "ready"}} {
		h.do(http.MethodPost, "/backends/users-v1/"+tt.verb, tt.body).want(http.StatusOK).into(&b)
		if b.AdminState != tt.want {
			t.Errorf("%s: admin_state = %s, want %s", tt.verb, b.AdminState, tt.want)
		}
	}
	h.do(http.MethodPost, "/backends/users-v1/disable", `{"wait":"idle"}`).problem(http.StatusBadRequest, api.CodeInvalid)
	h.do(http.MethodPost, "/backends/users-v1/disable?hold=idle", "").problem(http.StatusBadRequest, api.CodeInvalid)
	h.do(http.MethodPost, "/backends/nope/enable", "").problem(http.StatusNotFound, api.CodeNotFound)
	h.do(http.MethodPost, "/backends/users-v1/disable", "", `If-Match: "99"`).problem(http.StatusPreconditionFailed, api.CodeMismatch)
	if got := h.backend("users-v1"); got.AdminState != "ready" {
		t.Errorf("a refused disable left admin_state %s, want ready", got.AdminState)
	}
}

func TestBackend_byAddress(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.do(http.MethodPost, "/backends", `{"id":"node23","address":"https://node23.bbb.example.org/bigbluebutton/api/"}`).want(http.StatusCreated)
	h.do(http.MethodPost, "/backends", `{"id":"plain","address":"10.0.1.15:8080"}`).want(http.StatusCreated)
	var b api.Backend
	for _, ref := range []string{
		"https%3A%2F%2Fnode23.bbb.example.org%2Fbigbluebutton%2Fapi%2F", "https%3a%2f%2fnode23.bbb.example.org%2Fbigbluebutton%2Fapi",
		"https:%2F%2FNODE23.bbb.example.org:443", url.PathEscape("https://node23.bbb.example.org"),
	} {
		h.do(http.MethodGet, "/backends/"+ref, "").want(http.StatusOK).into(&b)
		if b.ID != "node23" {
			t.Errorf("GET /backends/%s = %s, want node23", ref, b.ID)
		}
	}
	escaped := url.PathEscape("https://node23.bbb.example.org")
	h.do(http.MethodPatch, "/v1/backends/"+escaped, `{"tags":["bbb_26"]}`).want(http.StatusOK).into(&b)
	if b.ID != "node23" || len(b.Tags) != 1 || b.Tags[0] != "bbb_26" {
		t.Errorf("PATCH by address = %+v", b)
	}
	h.do(http.MethodPost, "/backends/"+escaped+"/disable", "").want(http.StatusOK)
	h.do(http.MethodPut, "/backends/"+escaped, `{"address":"https://node23.bbb.example.org/bigbluebutton/api/","weight":7}`).want(http.StatusOK).into(&b)
	if b.ID != "node23" || b.Weight != 7 || b.AdminState != "stopped" {
		t.Errorf("PUT by address = %+v", b)
	}
	h.do(http.MethodGet, "/backends/10.0.1.15:8080", "").want(http.StatusOK).into(&b)
	if b.ID != "plain" {
		t.Errorf("GET by host:port = %s, want plain", b.ID)
	}
	h.do(http.MethodPut, "/backends/10.0.1.99:8080", `{"address":"10.0.1.99:8080"}`).problem(http.StatusNotFound, api.CodeNotFound)
	h.do(http.MethodGet, "/backends/https%3A%2F%2Fnode99.example.org", "").problem(http.StatusNotFound, api.CodeNotFound)
	p := h.do(http.MethodGet, "/backends/https://node23.bbb.example.org", "").problem(http.StatusNotFound, api.CodeNotFound)
	if !strings.Contains(p.Detail, "percent-encoded") {
		t.Errorf("GET of an address that is not encoded: %q, want a hint", p.Detail)
	}

	h.do(http.MethodPost, "/backends", `{"id":"node23-b","address":"https://node23.bbb.example.org/other/"}`).want(http.StatusCreated)
	for _, method := range []string{http.MethodGet, http.MethodDelete} {
		p = h.do(method, "/backends/"+escaped, "").problem(http.StatusConflict, api.CodeAmbiguous)
		if diff := cmp.Diff([]string{"backend/node23", "backend/node23-b"}, p.Refs); diff != "" || !strings.Contains(p.Detail, "node23-b") {
			t.Errorf("%s of an ambiguous address = %+v, want the ids", method, p)
		}
	}
	h.do(http.MethodDelete, "/backends/https%3A%2F%2Fnode23.bbb.example.org%2Fother%2F?force", "").want(http.StatusNoContent)
}

func TestPreconditions(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	put := func(status int, extra ...header) reply {
		t.Helper()
		return h.do(http.MethodPut, "/backends/a", `{"address":"10.0.0.1:80","weight":7}`, extra...).want(status)
	}
	put(http.StatusNotFound, `If-Match: "5"`)
	put(http.StatusPreconditionFailed, `If-Match: *`)
	put(http.StatusCreated, `If-None-Match: *`)
	put(http.StatusPreconditionFailed, `If-None-Match: *`)
	h.do(http.MethodPut, "/backends/a", `{"address":"10.0.0.2:80"}`, `If-None-Match: *`).problem(http.StatusPreconditionFailed, api.CodeMismatch)
	put(http.StatusBadRequest, `If-None-Match: "2"`)
	put(http.StatusBadRequest, `If-None-Match: *`, `If-Match: "2"`)

	etag := h.do(http.MethodGet, "/backends/a", "").header.Get("ETag")
	h.do(http.MethodPatch, "/backends/a", `{"weight":8}`, "If-Match: "+header(etag)).want(http.StatusOK)
	for _, bad := range []header{header(etag), `"0"`, `W/` + header(etag), `nonsense`, `"999"`, `"998", "999"`} {
		h.do(http.MethodPatch, "/backends/a", `{"weight":9}`, "If-Match: "+bad).problem(http.StatusPreconditionFailed, api.CodeMismatch)
	}
	now := h.do(http.MethodGet, "/backends/a", "").header.Get("ETag")
	h.do(http.MethodPatch, "/backends/a", `{"weight":9}`, `If-Match: "1", `+header(now)).want(http.StatusOK)
	h.do(http.MethodPatch, "/backends/a", `{"weight":10}`, `If-Match: *`).want(http.StatusOK)
	h.do(http.MethodDelete, "/backends/a", "", "If-Match: "+header(now)).problem(http.StatusPreconditionFailed, api.CodeMismatch)
	h.do(http.MethodPost, "/backends", seedBackend, `If-Match: "1"`).problem(http.StatusBadRequest, api.CodeInvalid)
	h.do(http.MethodPost, "/backends", seedBackend, `If-None-Match: *`).problem(http.StatusBadRequest, api.CodeInvalid)

	// A verdict moves state_index but not the ETag: health never breaks an If-Match.
	was := h.backend("a")
	if err := h.store.SetVerdict("a", state.VerdictUp, ""); err != nil {
		t.Fatal(err)
	}
	is := h.backend("a")
	if is.ModifyIndex != was.ModifyIndex || is.StateIndex == was.StateIndex || is.NodeState != "ready" {
		t.Errorf("after a verdict: %+v, want modify_index %d, another state_index, node_state ready", is, was.ModifyIndex)
	}
}

func TestRoute(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	var got, again api.Route
	h.do(http.MethodPost, "/routes", seedRoute).want(http.StatusCreated).into(&got)
	want := api.Route{
		ID: got.ID, Match: api.Match{Path: "/users", PathType: "prefix", Method: "GET", Headers: map[string]string{}, Query: map[string]string{}},
		BackendPool: "users-service", Algorithm: "least_connections", Timeouts: api.Timeouts{Connect: "2s", FirstByte: "0s", Total: "0s", Idle: "0s", UpgradedIdle: "0s"}, Retries: 2,
		RequestHeaders: noHeaderOps, ResponseHeaders: noHeaderOps, Rewrite: api.Rewrite{Host: "preserve"}, Split: []api.Share{}, SplitBy: "random",
		Mirror: api.Mirror{Percent: 100}, RateLimit: api.RateLimit{Per: "route", Status: 429},
		CreateIndex: 2, ModifyIndex: 2,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("POST /routes (-want +got)\n%s", diff)
	}
	h.do(http.MethodPost, "/routes", seedRoute).want(http.StatusOK).into(&again)
	if again.ID != got.ID {
		t.Errorf("POST twice made %s and %s, want one route", got.ID, again.ID)
	}
	h.do(http.MethodGet, "/pools/users-service", "").want(http.StatusOK)
	h.do(http.MethodPut, "/routes/r2", `{"match":{"path":"/x","headers":{"X-A":"1"}},"backend_pool":"p2","timeouts":{"total":"30s"},"retries":0}`).want(http.StatusCreated)
	h.do(http.MethodPatch, "/routes/r2", `{"match":{"headers":{"X-A":null,"X-B":"*"}},"timeouts":{"total":null}}`).want(http.StatusOK).into(&got)
	if got.Match.Path != "/x" || len(got.Match.Headers) != 1 || got.Match.Headers["X-B"] != "*" || got.Timeouts.Total != "0s" || got.Retries != 0 {
		t.Errorf("PATCH = %+v, want the maps merged", got)
	}
	var list []api.Route
	h.do(http.MethodGet, "/routes?pool=p2", "").want(http.StatusOK).into(&list)
	if len(list) != 1 || list[0].ID != "r2" {
		t.Errorf("GET /routes?pool=p2 = %+v, want r2", list)
	}
	h.do(http.MethodDelete, "/routes/r2", "").want(http.StatusNoContent)
	h.do(http.MethodDelete, "/routes/r2", "").problem(http.StatusNotFound, api.CodeNotFound)
	h.do(http.MethodGet, "/routes/Not%20An%20Id", "").problem(http.StatusNotFound, api.CodeNotFound)
	h.do(http.MethodDelete, "/routes/Not%20An%20Id", "").problem(http.StatusNotFound, api.CodeNotFound)
}

func TestPool(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	var got api.Pool
	h.do(http.MethodPost, "/pools", `{"id":"web","health":{"path":"/healthz","interval":"500ms"}}`).want(http.StatusCreated).into(&got)
	want := api.Pool{
		ID: "web", Algorithm: "round_robin", Hash: api.HashKey{Source: "client_ip"}, Protocol: "auto", OnEmpty: "panic", Initial: "down",
		Health:    api.HealthCheck{Type: "http", Method: "GET", Path: "/healthz", Interval: "500ms", Timeout: "1s", Rise: 2, Fall: 3},
		SlowStart: "0s", Queue: api.Queue{Timeout: "5s"}, Retry: api.Retry{On: []string{"connect_failure"}, BudgetPercent: 20, BudgetMin: 10},
		Outlier: api.Outlier{BaseEjection: "30s", MaxEjection: "5m0s", MaxPercent: 10}, Sticky: api.Sticky{TTL: "0s", SameSite: "lax", Path: "/"},
		ProxyProtocol: "none", BBB: api.PoolBBB{MoveAfter: "1m0s", Poll: "10s", YoungAttendees: 15, YoungFor: "15m0s"}, CreateIndex: 2, ModifyIndex: 2,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("POST /pools (-want +got)\n%s", diff)
	}
	h.do(http.MethodPatch, "/pools/web", `{"retry":{"on":["reset","503"]},"sticky":{"cookie":"LB"},"outlier":{"consecutive_errors":5},"queue":{"size":9}}`).want(http.StatusOK).into(&got)
	if got.Retry.On[1] != "503" || got.Sticky.Cookie != "LB" || got.Outlier.ConsecutiveErrors != 5 || got.Queue.Size != 9 {
		t.Errorf("PATCH of what protects = %+v", got)
	}
	h.do(http.MethodPatch, "/pools/web", `{"retry":{"on":["teapot"]}}`).want(http.StatusBadRequest).at("/retry/on/0", "must be one of")
	h.do(http.MethodPost, "/pools", `{"algorithm":"random"}`).want(http.StatusBadRequest).at("/id", "must not be empty")
	h.do(http.MethodPatch, "/pools/web", `{"health":{"interval":"1m30s"}}`).want(http.StatusOK).into(&got)
	if got.Health.Interval != "1m30s" || got.Health.Path != "/healthz" {
		t.Errorf("PATCH = %+v", got)
	}
	h.do(http.MethodPost, "/routes", `{"id":"r","match":{"path":"/"},"backend_pool":"web"}`).want(http.StatusCreated)
	h.do(http.MethodPost, "/backends", `{"id":"b","address":"10.0.0.1:80","pool":"web"}`).want(http.StatusCreated)
	p := h.do(http.MethodDelete, "/pools/web", "").problem(http.StatusConflict, api.CodeInUse)
	if diff := cmp.Diff([]string{"route/r", "backend/b"}, p.Refs); diff != "" || !strings.Contains(p.Detail, "route/r") {
		t.Errorf("DELETE of a used pool = %+v, want the route and the backend", p)
	}
	h.do(http.MethodDelete, "/pools/web?force=1", "").want(http.StatusNoContent)
	h.do(http.MethodGet, "/backends/b", "").want(http.StatusNotFound)
}

func TestFrontend(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	var got, again api.Frontend
	const secret = "do-not-show"
	body := fmt.Sprintf(`{"hosts":["Moodle.example.org"],"key":"moodle","secret":%q,"required_tags":["bbb_28"]}`, secret)
	r := h.do(http.MethodPost, "/frontends", body).want(http.StatusCreated).into(&got)
	want := api.Frontend{ID: got.ID, Hosts: []string{"moodle.example.org"}, Key: "moodle", SecretSet: true, RequiredTags: []string{"bbb_28"}, CreateIndex: 2, ModifyIndex: 2}
	none := map[string]string{}
	want.BBB = api.FrontendBBB{CreateDefault: none, CreateOverride: none, JoinDefault: none, JoinOverride: none, MaxDuration: "0s"}
	if diff := cmp.Diff(want, got); diff != "" || !uuidV4.MatchString(got.ID) {
		t.Errorf("POST /frontends, id %s (-want +got)\n%s", got.ID, diff)
	}
	h.do(http.MethodPost, "/frontends", body).want(http.StatusOK).into(&again)
	if again.ID != got.ID {
		t.Errorf("POST twice made %s and %s", got.ID, again.ID)
	}
	for _, r := range []reply{
		r, h.do(http.MethodGet, "/frontends", ""), h.do(http.MethodGet, "/frontends/"+got.ID, ""),
		h.do(http.MethodPut, "/frontends/"+got.ID, r.body),
	} {
		if strings.Contains(r.body, secret) || !strings.Contains(r.body, `"secret_set":true`) {
			t.Errorf("%s shows the secret, or lost it: %s", r.name, r.body)
		}
	}
	if f, ok := h.store.View().Frontend(got.ID); !ok || f.Secret != secret {
		t.Errorf("PUT without the secret left %+v, want it kept", f)
	}
	p := h.do(http.MethodPost, "/frontends", `{"id":"other","hosts":["a.example.org","moodle.example.org"]}`).problem(http.StatusConflict, api.CodeInUse)
	if len(p.Errors) != 1 || p.Errors[0].Pointer != "/hosts/1" {
		t.Errorf("POST of a taken host = %+v, want it at /hosts/1", p)
	}
	h.do(http.MethodPatch, "/frontends/"+got.ID, `{"secret":null}`).want(http.StatusOK).into(&got)
	if got.SecretSet {
		t.Error("PATCH with a null secret left secret_set true")
	}
	h.do(http.MethodPatch, "/frontends/"+got.ID, `{"secret_set":true}`).want(http.StatusBadRequest).at("/secret_set", "read-only")
	h.do(http.MethodDelete, "/frontends/"+got.ID, "").want(http.StatusNoContent)
}

func TestLists(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for _, path := range []string{"/backends", "/pools", "/routes", "/frontends"} {
		if r := h.do(http.MethodGet, path, "").want(http.StatusOK); r.body != "[]\n" {
			t.Errorf("GET %s of nothing = %q, want []", path, r.body)
		}
	}
	for _, b := range []string{
		`{"id":"c","address":"10.0.0.3:80","tags":["x","y"]}`, `{"id":"a","address":"10.0.0.1:80","pool":"p1","tags":["x"]}`,
		`{"id":"b","address":"10.0.0.2:80","pool":"p1","admin_state":"stopped"}`, `{"id":"d","address":"10.0.0.4:80","tags":["y"]}`,
	} {
		h.do(http.MethodPost, "/backends", b).want(http.StatusCreated)
	}
	if err := h.store.SetVerdict("a", state.VerdictUp, ""); err != nil {
		t.Fatal(err)
	}
	ids := func(target string) (string, http.Header) {
		t.Helper()
		var list []api.Backend
		r := h.do(http.MethodGet, target, "").want(http.StatusOK).into(&list)
		s := ""
		for _, b := range list {
			s += b.ID
		}
		return s, r.header
	}
	for _, tt := range []struct{ query, want string }{
		{"", "abcd"},
		{"?pool=p1", "ab"},
		{"?pool=none", ""},
		{"?tag=x", "ac"},
		{"?tag=x&tag=y", "c"},
		{"?admin_state=stopped", "b"},
		{"?node_state=ready", "a"},
		{"?pool=p1&tag=x", "a"},
		{"?after=b", "cd"},
		{"?after=bb", "cd"},
		{"?after=z", ""},
		{"?limit=10000", "abcd"},
		{"?limit=4", "abcd"},
	} {
		got, header := ids("/backends" + tt.query)
		if got != tt.want || header.Get("Link") != "" {
			t.Errorf("GET /backends%s = %q with Link %q, want %q and none", tt.query, got, header.Get("Link"), tt.want)
		}
	}
	for _, base := range []string{"/backends", "/v1/backends"} {
		seen, target := "", base+"?limit=1&tag=y&min_index=1"
		for range 5 {
			got, header := ids(target)
			seen += got + ","
			if api.NextCursor(header) == "" {
				break
			}
			target = strings.TrimSuffix(strings.TrimPrefix(header.Get("Link"), "<"), `>; rel="next"`)
			if !strings.HasPrefix(target, base+"?") || !strings.Contains(target, "tag=y") {
				t.Fatalf("the next page is at %q, want it to keep path and filters", target)
			}
		}
		if seen != "c,d," {
			t.Errorf("pages of %s = %q, want c and d", base, seen)
		}
	}
	for _, query := range []string{"limit=0", "limit=10001", "limit=x", "limit=-1", "limit=1&limit=2", "limti=1", "admin_state=error", "node_state=x", "tag=%zz", "force"} {
		h.do(http.MethodGet, "/backends?"+query, "").problem(http.StatusBadRequest, api.CodeInvalid)
	}
	p := h.do(http.MethodGet, "/backends?limti=1", "").problem(http.StatusBadRequest, api.CodeInvalid)
	if len(p.Errors) != 1 || !strings.Contains(p.Errors[0].Message, `did you mean "limit"`) {
		t.Errorf("GET ?limti = %+v, want a suggestion", p)
	}
}
