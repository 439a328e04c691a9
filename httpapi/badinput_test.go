package httpapi_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/state"
)

// Every slip is refused with a pointer and a message, and changes nothing.
func TestBadInput(t *testing.T) {
	t.Parallel()
	const ok = `"id":"b1","address":"10.0.0.1:80"`
	long := strings.Repeat("x", 64)
	tests := []struct {
		name, path, body string
		pointer, message string
	}{
		{"unknown field", "/backends", `{` + ok + `,"wieght":3}`, "/wieght", `unknown field "wieght"; did you mean "weight"?`},
		{"unknown field in the wrong case", "/backends", `{` + ok + `,"Weight":3}`, "/Weight", `did you mean "weight"?`},
		{"weight as string", "/backends", `{` + ok + `,"weight":"3"}`, "/weight", `must be an integer, got the string "3"`},
		{"weight as fraction", "/backends", `{` + ok + `,"weight":1.5}`, "/weight", "must be an integer, got 1.5"},
		{"weight overflow", "/backends", `{` + ok + `,"weight":1e99}`, "/weight", "must be an integer, got 1e99"},
		{"weight beyond 64 bits", "/backends", `{` + ok + `,"weight":99999999999999999999}`, "/weight", "must be an integer from"},
		{"weight null", "/backends", `{` + ok + `,"weight":null}`, "/weight", "must be an integer, got null"},
		{"negative weight", "/backends", `{` + ok + `,"weight":-1}`, "/weight", "must be between 0 and 1000, got -1"},
		{"weight too large", "/backends", `{` + ok + `,"weight":1001}`, "/weight", "must be between 0 and 1000, got 1001"},
		{"tags as string", "/backends", `{` + ok + `,"tags":"a"}`, "/tags", "must be a list"},
		{"tag as number, by the client's position", "/backends", `{` + ok + `,"tags":["z",1]}`, "/tags/1", "must be a string, got 1"},
		{"bad tag, by the client's position", "/backends", `{` + ok + `,"tags":["z","a","b ad"]}`, "/tags/2", `got "b ad"`},
		{"bad admin_state", "/backends", `{` + ok + `,"admin_state":"error"}`, "/admin_state", "must be one of init, ready, stopped, decommissioned"},
		{"bad load_factor", "/backends", `{` + ok + `,"load_factor":-1}`, "/load_factor", "must be greater than 0"},
		{"bad id", "/backends", `{"id":"Users V1","address":"10.0.0.1:80"}`, "/id", "must be 1 to 63 of a-z"},
		{"long id", "/backends", `{"id":"` + long + `","address":"10.0.0.1:80"}`, "/id", "must be 1 to 63"},
		{"empty id", "/backends", `{"id":"","address":"10.0.0.1:80"}`, "/id", "must not be empty"},
		{"reserved id", "/backends", `{"id":"health","address":"10.0.0.1:80"}`, "/id", `"health" is reserved`},
		{"no address", "/backends", `{"id":"b1"}`, "/address", "must not be empty"},
		{"address without port", "/backends", `{"id":"b1","address":"10.0.0.1"}`, "/address", "has no port"},
		{"address with a bad port", "/backends", `{"id":"b1","address":"10.0.0.1:99999"}`, "/address", "ports go from 1 to 65535"},
		{"address with a wrong scheme", "/backends", `{"id":"b1","address":"ftp://10.0.0.1"}`, "/address", `has scheme "ftp"`},
		{"address with credentials", "/backends", `{"id":"b1","address":"http://u:p@10.0.0.1"}`, "/address", "must not have user info"},
		{"address as number", "/backends", `{"id":"b1","address":80}`, "/address", "must be a string, got 80"},
		{"bad pool", "/backends", `{` + ok + `,"pool":"A B"}`, "/pool", "must be 1 to 63"},
		{"duplicate key", "/backends", `{` + ok + `,"weight":1,"weight":2}`, "/weight", "occurs twice"},
		{"malformed", "/backends", `{"id":"b1",`, "", "malformed JSON at line 1, column 11"},
		{"trailing data", "/backends", `{` + ok + `}{}`, "", "after top-level value"},
		{"a list", "/backends", `[{` + ok + `}]`, "", "must be a JSON object, got a list"},
		{"empty", "/backends", ``, "", "the body is empty"},
		{"not UTF-8", "/backends", "{\"id\":\"\xff\"}", "", "not UTF-8"},
		{"half a character", "/backends", `{` + ok + `,"tags":["\ud800"]}`, "/tags/0", "half of a surrogate pair"},
		{"too deep", "/backends", `{"tags":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`, "/tags" + strings.Repeat("/0", 31), "nests deeper than 32 levels"},
		{"very deep", "/backends", `{"tags":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}`, "", "exceeded max depth"},
		{"unknown algorithm of a pool", "/pools", `{"id":"p","algorithm":"fastest"}`, "/algorithm", `must be one of round_robin, least_connections`},
		{"bad interval", "/pools", `{"id":"p","health":{"interval":"2"}}`, "/health/interval", "must be a duration such as"},
		{"interval as number", "/pools", `{"id":"p","health":{"interval":2}}`, "/health/interval", "must be a string, got 2"},
		{"interval too short", "/pools", `{"id":"p","health":{"interval":"1ms"}}`, "/health/interval", "must be between 100ms and 1h0m0s"},
		{"bad statuses", "/pools", `{"id":"p","health":{"statuses":"abc"}}`, "/health/statuses", "must be a list such as"},
		{"bad CA", "/pools", `{"id":"p","tls":{"ca":"x"}}`, "/tls/ca", "PEM"},
		{"unknown algorithm of a route", "/routes", `{"id":"r","backend_pool":"p","algorithm":"x"}`, "/algorithm", "must be one of"},
		{"no pool", "/routes", `{"id":"r","match":{"path":"/"}}`, "/backend_pool", "must name a pool"},
		{"relative path", "/routes", `{"id":"r","backend_pool":"p","match":{"path":"users"}}`, "/match/path", "must start with /"},
		{"unknown field inside", "/routes", `{"id":"r","backend_pool":"p","match":{"pathh":"/users"}}`, "/match/pathh", `did you mean "path"?`},
		{"bad expression", "/routes", `{"id":"r","backend_pool":"p","match":{"path":"(","path_type":"regex"}}`, "/match/path", "not a valid RE2 expression"},
		{"header name with a slash", "/routes", `{"id":"r","backend_pool":"p","match":{"headers":{"a/b":"x"}}}`, "/match/headers/a~1b", "not a valid name"},
		{"retries", "/routes", `{"id":"r","backend_pool":"p","retries":11}`, "/retries", "must be between 0 and 10"},
		{"host with port, by the client's position", "/frontends", `{"id":"f","hosts":["z.example.org","a.example.org:80"]}`, "/hosts/1", "without port"},
		{"key with spaces", "/frontends", `{"id":"f","key":"a b"}`, "/key", "without spaces"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			before := state.Hash(h.store.View())
			h.do(http.MethodPost, tt.path, tt.body, "Content-Type: application/json; charset=utf-8").want(http.StatusBadRequest).at(tt.pointer, tt.message)
			if state.Hash(h.store.View()) != before {
				t.Error("a refused POST changed the state")
			}
			h.do(http.MethodPut, tt.path+"/new", tt.body).want(http.StatusBadRequest)
			if state.Hash(h.store.View()) != before {
				t.Error("a refused PUT changed the state")
			}
		})
	}
}

func TestBadInput_allAtOnce(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	p := h.do(http.MethodPost, "/backends", `{"id":"A","address":5,"weight":-1,"tag":[],"load_factor":"x"}`).problem(http.StatusBadRequest, api.CodeInvalid)
	var got []string
	for _, e := range p.Errors {
		got = append(got, e.Pointer)
	}
	want := "[/address /tag /load_factor /id /weight]"
	if fmt.Sprint(got) != want {
		t.Errorf("errors at %v, want each mistake once: %s (%v)", got, want, p.Errors)
	}
}

func TestBadInput_size(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	pad := func(n int) string {
		head, tail := `{"id":"b1","address":"10.0.0.1:80"`, `}`
		return head + strings.Repeat(" ", n-len(head)-len(tail)) + tail
	}
	before := h.store.View().Index
	for _, path := range []string{"/backends", "/v1/backends"} {
		h.do(http.MethodPost, path, pad(api.MaxBody+1)).problem(http.StatusRequestEntityTooLarge, api.CodeTooLarge)
	}
	h.do(http.MethodPost, "/backends/b1/enable", pad(api.MaxBody+1)).problem(http.StatusRequestEntityTooLarge, api.CodeTooLarge)
	if h.store.View().Index != before {
		t.Error("an oversized body reached the store")
	}
	h.do(http.MethodPost, "/backends", pad(api.MaxBody)).want(http.StatusCreated)
}

// `curl -d` says that it sends a form. Operators mean JSON; a browser that says the same for another site's
// page is refused.
func TestMediaType_curlDefault(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	post := func(origin string) int {
		r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1:9080/backends", strings.NewReader(seedBackend))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if origin != "" {
			r.Header.Set("Origin", origin)
		}
		rec := httptest.NewRecorder()
		h.srv.ServeHTTP(rec, r)
		return rec.Code
	}
	if got := post("http://evil.example"); got != http.StatusForbidden {
		t.Errorf("a form of another site's page: status %d, want 403", got)
	}
	if got := post(""); got != http.StatusCreated {
		t.Errorf("curl's default: status %d, want 201", got)
	}
}

func TestBadInput_mediaType(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for _, good := range []header{"application/json", "application/json; charset=UTF-8", "Application/JSON", ""} {
		h.do(http.MethodPost, "/backends", seedBackend, "Content-Type: ", "Content-Type: "+good).want(map[bool]int{true: 201, false: 200}[good == "application/json"])
	}
	before := h.store.View().Index
	for _, bad := range []header{"text/plain", "multipart/form-data; boundary=x", "application/merge-patch+json", "application/json; charset=latin1", "nonsense;;", "application/json; charset"} {
		p := h.do(http.MethodPost, "/backends", seedBackend, "Content-Type: ", "Content-Type: "+bad).problem(http.StatusUnsupportedMediaType, api.CodeMediaType)
		if !strings.Contains(p.Detail, "application/json") {
			t.Errorf("Content-Type %s: %q, want to be told what is right", bad, p.Detail)
		}
	}
	h.do(http.MethodPost, "/backends", seedBackend, "Content-Encoding: gzip").problem(http.StatusUnsupportedMediaType, api.CodeMediaType)
	h.do(http.MethodPatch, "/backends/users-v1", `{}`, "Content-Type: ", "Content-Type: application/json-patch+json").problem(http.StatusUnsupportedMediaType, api.CodeMediaType)
	if h.store.View().Index != before {
		t.Error("a body of the wrong type reached the store")
	}
}

func TestBadInput_requestHeaders(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for _, key := range []header{"a b", "ä", header(strings.Repeat("k", api.MaxIdempotencyKey+1))} {
		h.do(http.MethodPost, "/backends", seedBackend, "Idempotency-Key: "+key).problem(http.StatusBadRequest, api.CodeInvalid)
	}
	h.do(http.MethodPost, "/backends", seedBackend, "Idempotency-Key: a", "Idempotency-Key: b").problem(http.StatusBadRequest, api.CodeInvalid)
	h.do(http.MethodPost, "/backends", seedBackend, "Origin: https://evil.example.org").problem(http.StatusForbidden, api.CodeCrossOrigin)
	h.do(http.MethodPost, "/backends", seedBackend, "Sec-Fetch-Site: cross-site").problem(http.StatusForbidden, api.CodeCrossOrigin)
	if h.store.View().Len(state.KindBackend) != 0 {
		t.Error("a refused request made a backend")
	}
	h.do(http.MethodGet, "/backends", "", "Sec-Fetch-Site: cross-site").want(http.StatusOK)
	h.do(http.MethodPost, "/backends", seedBackend, "Sec-Fetch-Site: same-origin").want(http.StatusCreated)
}
