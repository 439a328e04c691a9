package httpapi_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/httpapi"
	"github.com/lbnode/lbnode/httpapi/apitest"
)

// harness is a server over an in-memory store. Every request and answer is held against the document.
type harness struct {
	t      *testing.T
	store  *apitest.Store
	fake   *apitest.Fake
	srv    *httpapi.Server
	router routers.Router
}

// document is loaded once for all tests: it is large, and is not changed.
var document = sync.OnceValues(func() (*openapi3.T, error) {
	cfg := apitest.NewConfig(apitest.NewStore(), apitest.NewFake())
	srv, err := httpapi.New(cfg)
	if err != nil {
		return nil, err
	}
	openapi3filter.RegisterBodyDecoder(api.ContentBackup, openapi3filter.FileBodyDecoder)
	rec := httptest.NewRecorder()
	srv.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/openapi.json", nil))
	return openapi3.NewLoader().LoadFromData(rec.Body.Bytes())
})

func newHarness(t *testing.T, change ...func(*httpapi.Config)) *harness {
	t.Helper()
	h := &harness{t: t, store: apitest.NewStore(), fake: apitest.NewFake()}
	cfg := apitest.NewConfig(h.store, h.fake)
	for _, f := range change {
		f(&cfg)
	}
	var err error
	if h.srv, err = httpapi.New(cfg); err != nil {
		t.Fatal(err)
	}
	doc, err := document()
	if err != nil {
		t.Fatal(err)
	}
	if h.router, err = gorillamux.NewRouter(doc); err != nil {
		t.Fatal(err)
	}
	return h
}

// reply is an answer.
type reply struct {
	t      *testing.T
	name   string // of the request, for messages
	status int
	header http.Header
	body   string
}

// header is a request header, as "Name: value".
type header string

// do sends a request; what it knows of extra are headers, and headers with an empty value are removed.
func (h *harness) do(method, target, body string, extra ...header) reply {
	h.t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, e := range extra {
		name, value, _ := strings.Cut(string(e), ": ")
		if value == "" {
			r.Header.Del(name)
		} else {
			r.Header.Add(name, value)
		}
	}
	check := r.Clone(context.Background())
	if body != "" && check.Header.Get("Content-Type") == "" {
		check.Header.Set("Content-Type", "application/json") // the validator does not take a missing one for it
	}
	check.Body = io.NopCloser(strings.NewReader(body))
	rec := httptest.NewRecorder()
	h.srv.ServeHTTP(rec, r)
	out := reply{h.t, method + " " + target, rec.Code, rec.Header(), rec.Body.String()}
	h.checkAlways(out)
	if method != http.MethodHead && method != http.MethodOptions {
		h.checkDocument(check, out)
	}
	return out
}

// checkAlways is what every answer must have.
func (h *harness) checkAlways(r reply) {
	h.t.Helper()
	for _, name := range []string{api.HeaderRequestID, api.HeaderNode} {
		if r.header.Get(name) == "" {
			h.t.Errorf("%s: no header %s", r.name, name)
		}
	}
	if got := r.header.Get("X-Content-Type-Options"); got != "nosniff" {
		h.t.Errorf("%s: X-Content-Type-Options = %q, want nosniff", r.name, got)
	}
	if r.status >= 400 && r.header.Get("Content-Type") != api.ContentProblem {
		h.t.Errorf("%s: status %d with Content-Type %q, want a problem", r.name, r.status, r.header.Get("Content-Type"))
	}
	if strings.Contains(r.body, "null") && !strings.Contains(r.body, `"since":null`) && !strings.Contains(r.body, `"leader":null`) &&
		!strings.Contains(r.body, `"lag":null`) && !strings.Contains(r.body, "got null") && !strings.Contains(r.name, "openapi") && !strings.Contains(r.name, "/snapshot/schedule") && !strings.Contains(r.body, `_since":null`) &&
		!strings.Contains(r.body, `"frontend":null`) && !strings.Contains(r.body, `"confirm_by":null`) && !strings.Contains(r.body, `"expires_at":null`) && !strings.Contains(r.body, `"before":null`) && !strings.Contains(r.body, `"after":null`) {
		h.t.Errorf("%s: null in the answer: %s", r.name, r.body)
	}
}

func (h *harness) checkDocument(r *http.Request, out reply) {
	h.t.Helper()
	if strings.HasSuffix(r.URL.EscapedPath(), "/") {
		r.URL.Path, r.URL.RawPath = strings.TrimSuffix(r.URL.Path, "/"), strings.TrimSuffix(r.URL.RawPath, "/")
	}
	if r.URL.Path == "/backends/health" && r.Method != http.MethodGet {
		return // the validator takes "health" for the other path only; the server may also take it for an id that is reserved
	}
	route, pathParams, err := h.router.FindRoute(r)
	if err != nil {
		if out.status != http.StatusNotFound && out.status != http.StatusMethodNotAllowed {
			h.t.Errorf("%s: %d, but the document has no such operation: %v", out.name, out.status, err)
		}
		return
	}
	in := &openapi3filter.RequestValidationInput{
		Request: r, PathParams: pathParams, Route: route,
		Options: &openapi3filter.Options{MultiError: true, AuthenticationFunc: openapi3filter.NoopAuthenticationFunc},
	}
	if out.status < 400 {
		if err := openapi3filter.ValidateRequest(context.Background(), in); err != nil {
			h.t.Errorf("%s: %d, but the document refuses the request: %v", out.name, out.status, err)
		}
	}
	err = openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: in, Status: out.status, Header: out.header, Body: io.NopCloser(strings.NewReader(out.body)),
		Options: &openapi3filter.Options{IncludeResponseStatus: true, MultiError: true},
	})
	if err != nil {
		h.t.Errorf("%s: the document refuses the answer %d: %v", out.name, out.status, err)
	}
}

// want fails the test if the status is another one.
func (r reply) want(status int) reply {
	r.t.Helper()
	if r.status != status {
		r.t.Fatalf("%s = %d %s, want %d", r.name, r.status, r.body, status)
	}
	return r
}

// into decodes the body.
func (r reply) into(v any) reply {
	r.t.Helper()
	d := json.NewDecoder(strings.NewReader(r.body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		r.t.Fatalf("%s: decode %s: %v", r.name, r.body, err)
	}
	return r
}

// problem checks status and code of an error and returns it.
func (r reply) problem(status int, code string) api.Problem {
	r.t.Helper()
	r.want(status)
	var p api.Problem
	r.into(&p)
	if p.Code != code || p.Status != status || p.RequestID != r.header.Get(api.HeaderRequestID) || p.Detail == "" || p.Title == "" {
		r.t.Errorf("%s = %+v, want code %s, status %d, and the request id of the header", r.name, p, code, status)
	}
	return p
}

// at checks that the problem names a pointer with a message that holds text.
func (r reply) at(pointer, text string) reply {
	r.t.Helper()
	p := r.problem(r.status, api.CodeInvalid)
	if !slices.ContainsFunc(p.Errors, func(e api.FieldError) bool { return e.Pointer == pointer && strings.Contains(e.Message, text) }) {
		r.t.Errorf("%s: errors = %v, want %q at %q", r.name, p.Errors, text, pointer)
	}
	return r
}

func (h *harness) backend(id string) api.Backend {
	h.t.Helper()
	var b api.Backend
	h.do(http.MethodGet, "/backends/"+id, "").want(http.StatusOK).into(&b)
	return b
}
