package httpapi_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lbnode/lbnode/api"
)

var noHeaderOps = api.HeaderOps{Set: map[string]string{}, Add: map[string]string{}, Remove: []string{}}

func TestRouteShape_roundTrip(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	var got, back api.Route
	h.do(http.MethodPost, "/routes", `{"id":"s","match":{"path":"/api"},"split":[{"pool":"a","weight":9},{"pool":"b","weight":1}],
		"request_headers":{"set":{"X-Client":"{client_ip}"},"remove":["X-Debug"]},"rewrite":{"strip_prefix":"/api","host":"backend"},
		"mirror":{"pool":"m"},"rate_limit":{"requests_per_second":5,"per":"client_ip"}}`).want(http.StatusCreated).into(&got)
	want := api.RateLimit{RequestsPerSecond: 5, Burst: 5, Per: "client_ip", Status: 429}
	if got.RateLimit != want || got.Mirror.Percent != 100 || got.Rewrite.StripPrefix != "/api" || len(got.Split) != 2 || got.BackendPool != "" {
		t.Errorf("route = %+v", got)
	}
	// What was read can be written back and changes nothing.
	doc, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	h.do(http.MethodPut, "/routes/s", string(doc)).want(http.StatusOK).into(&back)
	if d := cmp.Diff(got, back); d != "" {
		t.Errorf("PUT of what GET said changed it: %s", d)
	}
	back = api.Route{} // or maps would be added to
	h.do(http.MethodPatch, "/routes/s", `{"mirror":{"percent":10},"request_headers":{"set":{"X-Client":null,"X-New":"1"}},"rate_limit":null}`).
		want(http.StatusOK).into(&back)
	if back.Mirror != (api.Mirror{Pool: "m", Percent: 10}) || back.RateLimit.RequestsPerSecond != 0 || len(back.RequestHeaders.Set) != 1 || back.RequestHeaders.Set["X-New"] != "1" {
		t.Errorf("after the patch: %+v", back)
	}
	for _, pool := range []string{"a", "b", "m"} {
		h.do(http.MethodDelete, "/pools/"+pool, "").want(http.StatusConflict)
	}
	var list []api.Route
	h.do(http.MethodGet, "/routes?pool=b", "").want(http.StatusOK).into(&list)
	if len(list) != 1 {
		t.Errorf("routes of pool b: %+v, want the split one", list)
	}
	h.do(http.MethodPost, "/routes", `{"id":"r","redirect":{"status":308,"scheme":"https"}}`).want(http.StatusCreated)
}

func TestRouteShape_badInput(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for _, tt := range []struct{ body, pointer, message string }{
		{`{"backend_pool":"a","request_headers":{"set":{"X-A":"{clientip}"}}}`, "/request_headers/set/X-A", "{client_ip}"},
		{`{"backend_pool":"a","request_headers":{"sett":{}}}`, "/request_headers/sett", `did you mean "set"?`},
		{`{"backend_pool":"a","response_headers":{"add":{"Content-Length":"5"}}}`, "/response_headers/add/Content-Length", "frames the body"},
		{`{"backend_pool":"a","redirect":{"status":200}}`, "/redirect/status", "301"},
		{`{"split":[{"pool":"a","wait":1}]}`, "/split/0/wait", "unknown field"},
		{`{"backend_pool":"a","rate_limit":{"requests_per_second":"5"}}`, "/rate_limit/requests_per_second", "must be a number"},
	} {
		h.do(http.MethodPost, "/routes", tt.body).want(http.StatusBadRequest).at(tt.pointer, tt.message)
	}
}
