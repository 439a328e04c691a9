package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/httpapi"
	"github.com/lbnode/lbnode/internal/certtest"
	"github.com/lbnode/lbnode/state"
)

// What the history, a watch, a plan and a pending change show of an object is what a GET shows of it, less what no
// operator writes: no field with a default is left out.
func TestWireForm_isThatOfGet(t *testing.T) {
	t.Parallel()
	leaf := certtest.New(t, "ca").Leaf("a.example.org")
	for kind, object := range map[state.Kind]struct{ path, body string }{
		state.KindBackend:     {"/backends/x", `{"address":"h:1","bbb":{"secrets":["s"]}}`},
		state.KindPool:        {"/pools/x", `{}`},
		state.KindRoute:       {"/routes/x", `{"backend_pool":"p"}`},
		state.KindFrontend:    {"/frontends/x", `{"key":"k","secret":"s"}`},
		state.KindSettings:    {"/settings", `{"fence_after":"5s"}`},
		state.KindCertificate: {"/certificates/x", certificateBody(t, "", leaf.Cert, leaf.Key)},
		state.KindToken:       {"/tokens/x", `{"role":"admin"}`},
	} {
		h := newHarness(t)
		as := []header(nil)
		if kind == state.KindRoute {
			h.do(http.MethodPut, "/pools/p", `{}`).want(http.StatusCreated)
		}
		method, path := http.MethodPut, object.path
		if kind == state.KindToken {
			method, path, object.body = http.MethodPost, "/tokens", `{"id":"x","role":"admin"}`
		}
		r := h.do(method, path, object.body)
		if r.status > 299 {
			t.Fatalf("%s: %d %s", kind, r.status, r.body)
		}
		if kind == state.KindToken {
			var made api.TokenSecret
			r.into(&made)
			as = append(as, bearer(made.Text))
		}
		var want map[string]any
		h.do(http.MethodGet, object.path, "", as...).want(http.StatusOK).into(&want)
		for _, name := range httpapi.ReadOnly(kind) {
			if name != "secret_set" && name != "bbb_secrets" {
				delete(want, name)
			}
		}
		var ch api.Change
		h.do(http.MethodGet, fmt.Sprintf("/history/%d", h.store.View().Index), "", as...).want(http.StatusOK).into(&ch)
		i := slices.IndexFunc(ch.Objects, func(o api.ObjectChange) bool { return o.Kind == string(kind) })
		var got map[string]any
		if err := json.Unmarshal(ch.Objects[i].After, &got); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: GET and history differ: %s", kind, d)
		}
	}
}

// The fields that differ are named as the wire form has them, and secrets that it does not show too.
func TestWireForm_fields(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for _, tt := range []struct {
		path, from, to string
		want           []string
	}{
		{"/backends/a", `{"address":"h:1"}`, `{"max_connections":3}`, []string{"/max_connections"}},
		{"/backends/b", `{"address":"h:2"}`, `{"bbb":{"secrets":["s"]}}`, []string{"/bbb/secrets"}},
		{"/frontends/c", `{"key":"k"}`, `{"secret":"s","bbb":{"disabled":true}}`, []string{"/bbb/disabled", "/secret"}},
		{"/routes/d", `{"backend_pool":"p"}`, `{"rewrite":{"strip_prefix":"/x"}}`, []string{"/rewrite/strip_prefix"}},
	} {
		h.do(http.MethodPut, "/pools/p", `{}`)
		h.do(http.MethodPut, tt.path, tt.from).want(http.StatusCreated)
		h.do(http.MethodPatch, tt.path, tt.to).want(http.StatusOK)
		if o := h.history("?limit=1")[0].Objects[0]; !slices.Equal(o.Fields, tt.want) {
			t.Errorf("%s: fields = %v, want %v", tt.to, o.Fields, tt.want)
		}
	}
}
