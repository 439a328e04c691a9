package httpapi_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/internal/certtest"
)

// canaries are secrets by what they are: texts that must come out nowhere.
type canaries map[string]string

// keyLine is the first line of a PEM key's content.
func keyLine(pem string) string { return strings.Split(pem, "\n")[1] }

func (c canaries) absent(t *testing.T, where, text string) {
	t.Helper()
	for what, canary := range c {
		if canary == "" || strings.Contains(text, canary) {
			t.Errorf("%s shows the %s %q:\n%s", where, what, canary, text)
		}
	}
}

// Secrets that were written are in no answer: not of the write itself, of any read, of a stream of changes, or of
// a backup, which holds them sealed.
func TestSecrets_areNeverShown(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.fake.SetExplanations(explained("n1", true))
	ca := certtest.New(t, "ca")
	old, leaf := ca.Leaf("a.example.org"), ca.Leaf("a.example.org")
	var admin, ci api.TokenSecret
	h.do(http.MethodPost, "/tokens", `{"id":"root","role":"admin"}`).want(http.StatusCreated).into(&admin)
	as := bearer(admin.Text)
	h.do(http.MethodPost, "/tokens", `{"id":"ci","role":"viewer"}`, as).want(http.StatusCreated).into(&ci)
	secrets := canaries{
		"secret": "canary-secret", "text of a token": admin.Text, "text of another token": ci.Text,
		"private key": keyLine(leaf.Key), "private key from before": keyLine(old.Key),
	}
	seen := func() { // what the state holds of them at the moment
		for _, id := range []string{"root", "ci"} {
			token, _ := h.store.View().Token(id)
			secrets[fmt.Sprintf("hash of token %s in the state at %d", id, h.store.View().Index)] = token.Hash
		}
		if cert, ok := h.store.View().Certificate("site"); ok {
			secrets[fmt.Sprintf("sealed key in the state at %d", h.store.View().Index)] = cert.PrivateKey
		}
	}
	write := func(method, path, body string, status int) {
		t.Helper()
		r := h.do(method, path, body, as).want(status)
		seen()
		secrets.absent(t, r.name, r.body+fmt.Sprint(r.header))
	}
	write(http.MethodPost, "/frontends", `{"id":"f","key":"f","secret":"canary-secret-1"}`, http.StatusCreated)
	write(http.MethodPost, "/frontends", `{"id":"f","key":"f","secret":"canary-secret-1"}`, http.StatusOK)
	write(http.MethodPost, "/frontends", `{"id":"f","key":"f","secret":"canary-secret-x"}`, http.StatusConflict)
	write(http.MethodPatch, "/frontends/f", `{"secret":"canary-secret-2"}`, http.StatusOK)
	write(http.MethodPut, "/frontends/f", `{"key":"f","secret":"canary-secret-3"}`, http.StatusOK)
	write(http.MethodPatch, "/frontends/f", `{"secret":["canary-secret-4"]}`, http.StatusBadRequest)
	write(http.MethodPatch, "/frontends/f", `{"bbb":{"secrets":["canary-secret-5"],"disabled":true}}`, http.StatusOK)
	write(http.MethodPatch, "/frontends/f", `{"bbb":{"secrets":["canary-secret-6","canary-secret-7"]}}`, http.StatusOK)
	write(http.MethodPost, "/backends", `{"id":"root","address":"h:1","bbb":{"secrets":["canary-secret-8"],"agent_ref":"a"}}`, http.StatusCreated)
	write(http.MethodPut, "/backends/root", `{"address":"h:1","bbb":{"secrets":["canary-secret-9","canary-secret-8"]}}`, http.StatusOK)
	write(http.MethodPatch, "/backends/root", `{"bbb":{"secrets":"canary-secret-10"}}`, http.StatusBadRequest)
	write(http.MethodPost, "/txn", `{"ops":[{"op":"patch","kind":"backend","id":"root","value":{"bbb":{"secrets":["canary-secret-11"]}}}]}`, http.StatusOK)
	write(http.MethodPost, "/apply", `{"backends":[{"id":"root","address":"h:1","bbb":{"secrets":["canary-secret-12"]}}]}`, http.StatusOK)
	write(http.MethodPost, "/certificates", certificateBody(t, "site", old.Cert, old.Key), http.StatusCreated)
	write(http.MethodPost, "/certificates", certificateBody(t, "site", old.Cert, old.Key), http.StatusOK)
	write(http.MethodPost, "/certificates", certificateBody(t, "site", leaf.Cert, leaf.Key), http.StatusConflict)
	write(http.MethodPut, "/certificates/site", certificateBody(t, "", old.Cert, leaf.Key), http.StatusBadRequest)
	write(http.MethodPut, "/certificates/site", certificateBody(t, "", leaf.Cert, leaf.Key), http.StatusOK)
	write(http.MethodPatch, "/certificates/site", `{"hosts":["b.example.org"]}`, http.StatusOK)
	write(http.MethodPatch, "/tokens/ci", `{"role":"operator"}`, http.StatusOK)
	write(http.MethodDelete, "/certificates/site", "", http.StatusNoContent)
	write(http.MethodPost, "/certificates", certificateBody(t, "site", leaf.Cert, leaf.Key), http.StatusCreated)

	for _, op := range h.srv.Operations() {
		if op.Method != http.MethodGet || op.Path == "/watch" { // which does not end, and comes below
			continue
		}
		id := "root"
		for _, known := range []string{"frontends", "certificates"} {
			if strings.HasPrefix(op.Path, "/"+known) {
				id = map[string]string{"frontends": "f", "certificates": "site"}[known]
			}
		}
		path := strings.NewReplacer("{id}", id, "{index}", "4").Replace(op.Path)
		path += map[string]string{"/history/diff": "?from=1", "/explain": "?url=/"}[op.Path]
		r := h.do(http.MethodGet, path, "", as)
		absent := maps.Clone(secrets)
		if op.Path == "/snapshot" { // is where sealed keys have to be
			maps.DeleteFunc(absent, func(what, _ string) bool { return strings.HasPrefix(what, "sealed") })
		}
		absent.absent(t, r.name, r.body+fmt.Sprint(r.header))
		if op.Path == "/explain" || strings.HasPrefix(op.Path, "/snapshot") || strings.HasPrefix(op.Path, "/history") {
			r.want(http.StatusOK)
		}
	}
	changes := h.do(http.MethodGet, "/history?limit=1000", "", as).want(http.StatusOK)
	if n := strings.Count(changes.body, `"summary"`); n < 10 {
		t.Errorf("the history has %d changes, want all of them", n)
	}
	secrets.absent(t, changes.name, changes.body)
	srv := httptest.NewServer(h.srv)
	defer srv.Close()
	last := fmt.Sprint(h.store.View().Index)
	defer h.srv.EndStreams(t.Context())
	watch := h.open(srv, "from=1", as)
	for id := ""; id != last; {
		var name, data string
		name, id, data = watch.next()
		secrets.absent(t, "event "+name+" "+id, data)
	}
	if len(secrets) < 10 {
		t.Errorf("looked for %v, want the texts of every state", slices.Sorted(maps.Keys(secrets)))
	}
}
