package httpapi_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/gorilla/mux"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/httpapi"
	"github.com/lbnode/lbnode/httpapi/apitest"
	"github.com/lbnode/lbnode/state"
)

// Every route of the router is in the document, and the reverse; with the same parameters.
func TestOpenAPI_complete(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	doc, err := document()
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Errorf("the document is not valid: %v", err)
	}
	documented := map[string]bool{}
	params := map[string][]string{}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			key := method + " " + path
			documented[key] = true
			for _, p := range op.Parameters {
				if p.Value.In == "query" {
					params[key] = append(params[key], p.Value.Name)
				}
			}
		}
	}
	routed := map[string]bool{}
	err = h.srv.Router().Walk(func(r *mux.Route, _ *mux.Router, _ []*mux.Route) error {
		path, err := r.GetPathTemplate()
		if err != nil {
			return err
		}
		methods, err := r.GetMethods()
		if err != nil {
			return err
		}
		for _, m := range methods {
			if m == http.MethodHead { // as GET
				continue
			}
			if v1, ok := strings.CutPrefix(path, "/v1"); ok {
				if !routed[m+" "+v1] {
					t.Errorf("%s %s is not there without /v1", m, path)
				}
				routed["v1 "+m+" "+v1] = true
				continue
			}
			routed[m+" "+path] = true
			if !documented[m+" "+path] {
				t.Errorf("%s %s is not in openapi.yaml", m, path)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for key := range documented {
		if !routed[key] || !routed["v1 "+key] {
			t.Errorf("openapi.yaml has %s, the router has not, or not under /v1", key)
		}
	}
	for _, op := range h.srv.Operations() {
		if got, want := slices.Sorted(slices.Values(params[op.Method+" "+op.Path])), slices.Sorted(slices.Values(op.Params)); !slices.Equal(got, want) {
			t.Errorf("%s %s: openapi.yaml has the parameters %v, the server takes %v", op.Method, op.Path, got, want)
		}
	}
	if len(routed) < 60 {
		t.Errorf("only %d routes were seen", len(routed))
	}
}

func TestOpenAPI_served(t *testing.T) {
	t.Parallel()
	h := newHarness(t, func(c *httpapi.Config) { c.Version = "9.8.7" })
	var doc struct {
		OpenAPI string `json:"openapi"`
		Info    struct {
			Version string `json:"version"`
		} `json:"info"`
	}
	r := h.do(http.MethodGet, "/v1/openapi.json", "").want(http.StatusOK)
	if err := json.Unmarshal([]byte(r.body), &doc); err != nil || doc.OpenAPI != "3.0.3" || doc.Info.Version != "9.8.7" {
		t.Errorf("GET /openapi.json = %+v, %v, want the version of the binary", doc, err)
	}
}

// names lists the JSON fields of a struct.
func names(rt reflect.Type) map[string]bool {
	out := map[string]bool{}
	for _, f := range reflect.VisibleFields(rt) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
			out[name] = true
		}
	}
	return out
}

// The answers have the fields of the state by the same names; what they have beyond what operators write is
// read-only; and what clients can write is what operators can.
func TestTypes_fields(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		kind                  state.Kind
		answer, input, stored any
	}{
		{state.KindBackend, api.Backend{}, api.BackendInput{}, state.Backend{}},
		{state.KindPool, api.Pool{}, api.PoolInput{}, state.Pool{}},
		{state.KindRoute, api.Route{}, api.RouteInput{}, state.Route{}},
		{state.KindFrontend, api.Frontend{}, api.FrontendInput{}, state.Frontend{}},
		{state.KindSettings, api.Settings{}, api.SettingsInput{}, state.Settings{}},
	} {
		answer, input, stored := names(reflect.TypeOf(tt.answer)), names(reflect.TypeOf(tt.input)), names(reflect.TypeOf(tt.stored))
		spec := names(reflect.TypeOf(state.NewSpec(tt.kind)).Elem())
		if !maps.Equal(input, spec) {
			t.Errorf("%s: clients write %v, operators may write %v", tt.kind, input, spec)
		}
		delete(stored, "secret")
		for name := range stored {
			if !answer[name] {
				t.Errorf("%s: the answer lacks the state's %s", tt.kind, name)
			}
		}
		for name := range answer {
			if spec[name] == slices.Contains(httpapi.ReadOnly(tt.kind), name) {
				t.Errorf("%s: %s must be either written by operators or read-only", tt.kind, name)
			}
		}
	}
	for _, tt := range []struct{ answer, stored any }{
		{api.HealthCheck{}, state.HealthCheck{}},
		{api.HealthCheckInput{}, state.HealthCheck{}},
		{api.Match{}, state.Match{}},
		{api.MatchInput{}, state.Match{}},
		{api.Timeouts{}, state.Timeouts{}},
		{api.TimeoutsInput{}, state.Timeouts{}},
		{api.HashKey{}, state.HashKey{}},
		{api.Drain{}, state.DrainSpec{}},
		{api.DrainInput{}, state.DrainSpec{}},
		{api.BackendTLS{}, state.BackendTLS{}},
	} {
		if a, s := names(reflect.TypeOf(tt.answer)), names(reflect.TypeOf(tt.stored)); !maps.Equal(a, s) {
			t.Errorf("%T has the fields %v, %T has %v", tt.answer, a, tt.stored, s)
		}
	}
}

func TestMethodsAndPaths(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for _, tt := range []struct{ method, path, allow string }{
		{http.MethodDelete, "/backends", "GET, HEAD, POST"},
		{http.MethodPatch, "/v1/routes", "GET, HEAD, POST"},
		{http.MethodPost, "/backends/a", "DELETE, GET, HEAD, PATCH, PUT"},
		{http.MethodGet, "/backends/a/enable", "POST"},
		{http.MethodPost, "/stats", "GET, HEAD"},
		{http.MethodGet, "/nodes/n1", "DELETE"},
		{http.MethodOptions, "/cluster", "GET, HEAD"},
		{"BREW", "/cluster", "GET, HEAD"},
	} {
		r := h.do(tt.method, tt.path, "")
		if r.status != http.StatusMethodNotAllowed || r.header.Get("Allow") != tt.allow {
			t.Errorf("%s = %d, Allow %q, want 405 with %q", r.name, r.status, r.header.Get("Allow"), tt.allow)
		}
		r.problem(http.StatusMethodNotAllowed, api.CodeMethodNotAllowed)
	}
	for _, path := range []string{"/", "/nope", "/v2/backends", "/v1", "/v1/v1/backends", "/backends/a/b", "/backends//", "//backends", "/backends/a/enable/x", "/BACKENDS"} {
		h.do(http.MethodGet, path, "").problem(http.StatusNotFound, api.CodeNotFound)
	}
	h.do(http.MethodPost, "/backends/", seedBackend).want(http.StatusCreated)
	h.do(http.MethodGet, "/v1/backends/users-v1/", "").want(http.StatusOK)
	h.do(http.MethodGet, "/backends/%2e%2e%2fstats", "").problem(http.StatusNotFound, api.CodeNotFound)
	h.do(http.MethodGet, "/backends/a%00b", "").problem(http.StatusNotFound, api.CodeNotFound)
}

// Over a real connection: HEAD has the headers of GET and no body, and a key comes back.
func TestOverTheWire(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	srv := httptest.NewServer(h.srv)
	defer srv.Close()
	req := func(method, path, body string) (*http.Response, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, srv.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Idempotency-Key", "key-1")
		resp, err := srv.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(b)
	}
	if resp, body := req(http.MethodPost, "/backends", seedBackend); resp.StatusCode != http.StatusCreated || resp.Header.Get(api.HeaderRequestID) != "key-1" {
		t.Fatalf("POST without a Content-Type = %d %s", resp.StatusCode, body)
	}
	for _, path := range []string{"/backends", "/backends/users-v1", "/cluster", "/livez", "/metrics", "/backends/nope"} {
		get, body := req(http.MethodGet, path, "")
		head, none := req(http.MethodHead, path, "")
		if head.StatusCode != get.StatusCode || none != "" || head.Header.Get("ETag") != get.Header.Get("ETag") || head.ContentLength != int64(len(body)) && path != "/metrics" {
			t.Errorf("HEAD %s = %d, length %d, body %q; GET = %d, length %d", path, head.StatusCode, head.ContentLength, none, get.StatusCode, len(body))
		}
	}
	chunked, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL+"/backends", io.MultiReader(strings.NewReader(`{"id":"`), bytes.NewReader(make([]byte, api.MaxBody))))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := srv.Client().Do(chunked)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("a body of unknown length over the limit = %d, want 413", resp.StatusCode)
	}
}

func TestRequestID(t *testing.T) {
	t.Parallel()
	n := 0
	h := newHarness(t, func(c *httpapi.Config) {
		c.NewID = func() string { n++; return fmt.Sprintf("id-%d", n) }
	})
	if a, b := h.do(http.MethodGet, "/livez", ""), h.do(http.MethodGet, "/livez", ""); a.header.Get(api.HeaderRequestID) == b.header.Get(api.HeaderRequestID) {
		t.Error("two requests have one id")
	}
	for range 2 { // an X-Request-Id of the client's is no promise that repeats are repeats
		h.do(http.MethodPost, "/backends", fmt.Sprintf(`{"id":"b%d","address":"10.0.0.1:80"}`, n), "X-Request-Id: same").want(http.StatusCreated)
	}
}

func TestConfig_validate(t *testing.T) {
	t.Parallel()
	if _, err := httpapi.New(httpapi.Config{}); err == nil {
		t.Error("New of an empty Config succeeded")
	}
	good := func() httpapi.Config { return apitest.NewConfig(apitest.NewStore(), apitest.NewFake()) }
	if err := good().Validate(); err != nil {
		t.Errorf("Validate = %v", err)
	}
	rt := reflect.TypeFor[httpapi.Config]()
	for i := range rt.NumField() {
		cfg := good()
		reflect.ValueOf(&cfg).Elem().Field(i).SetZero()
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), rt.Field(i).Name) {
			t.Errorf("Validate without %s = %v, want it named", rt.Field(i).Name, err)
		}
	}
}
