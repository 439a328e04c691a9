package httpapi_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/httpapi"
	"github.com/lbnode/lbnode/internal/auth"
	"github.com/lbnode/lbnode/state"
)

// bearer is the header of a token.
func bearer(token string) header { return header("Authorization: Bearer " + token) }

// token makes a token in the state, whoever may do so, and returns its text.
func (h *harness) token(id string, role state.Role, more string) string {
	h.t.Helper()
	text := auth.Mint(id)
	_, err := h.store.Do(h.t.Context(), state.Command{Type: state.TypeTxn, Ops: []state.Op{{
		Verb: state.VerbPut, Kind: state.KindToken, ID: id, Value: fmt.Appendf(nil, `{"role":%q,"hash":%q%s}`, role, auth.Hash(text), more),
	}}})
	if err != nil {
		h.t.Fatal(err)
	}
	return text
}

// Every endpoint says whom it lets in; one that was forgotten would be for admins only.
func TestAccess_everyEndpointIsListed(t *testing.T) {
	t.Parallel()
	table := httpapi.AccessTable()
	for _, op := range newHarness(t).srv.Operations() {
		e := op.Method + " " + op.Path
		if _, listed := table[e]; !listed {
			t.Errorf("%s is not in the table of who may use what", e)
		}
		delete(table, e)
	}
	for e := range table {
		t.Errorf("the table has %s, which is no endpoint", e)
	}
}

// Each endpoint lets in those with its role, and nobody else.
func TestAccess_roles(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	tokens := map[string]string{"": "", "viewer": h.token("v", state.RoleViewer, ""), "operator": h.token("o", state.RoleOperator, ""), "admin": h.token("a", state.RoleAdmin, "")}
	gone, cancel := context.WithCancel(t.Context()) // so that no answer is waited for, and no stream goes on
	cancel()
	rank := map[string]int{"": 0, "viewer": 1, "operator": 2, "admin": 3}
	for e, need := range httpapi.AccessTable() {
		method, path, _ := strings.Cut(e, " ")
		path = strings.NewReplacer("{id}", "x", "{index}", "9").Replace(path)
		for role, token := range tokens {
			for _, prefix := range []string{"", "/v1"} {
				r := httptest.NewRequest(method, prefix+path, nil).WithContext(gone)
				if token != "" {
					r.Header.Set("Authorization", "Bearer "+token)
				}
				if method == http.MethodPost && strings.HasSuffix(path, "/rotate") || method == http.MethodDelete {
					r.Header.Set("If-Match", `"999999"`) // do not change what the test stands on
				}
				rec := httptest.NewRecorder()
				h.srv.ServeHTTP(rec, r)
				refused := rec.Code == http.StatusUnauthorized || rec.Code == http.StatusForbidden
				if allowed := rank[role] >= rank[need]; allowed == refused {
					t.Errorf("%s with role %q = %d, and it needs %q", e, role, rec.Code, need)
				}
				if role == "" && refused && (rec.Code != http.StatusUnauthorized || rec.Header().Get("WWW-Authenticate") != `Bearer realm="lbnode"`) {
					t.Errorf("%s without token = %d, WWW-Authenticate %q", e, rec.Code, rec.Header().Get("WWW-Authenticate"))
				}
			}
		}
	}
	p := h.do(http.MethodPost, "/pools", `{"id":"p"}`, bearer(tokens["viewer"])).problem(http.StatusForbidden, api.CodeForbidden)
	if !strings.Contains(p.Detail, "needs the role operator; token/v has the role viewer") {
		t.Errorf("detail = %q, want the needed role", p.Detail)
	}
	h.do(http.MethodGet, "/nope", "").problem(http.StatusNotFound, api.CodeNotFound)
}

// The first token closes the API to those without one, at once and on every path.
func TestTokens(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.do(http.MethodPost, "/tokens", `{"id":"v","role":"viewer"}`).want(http.StatusBadRequest).at("/role", "must be admin for the first token")
	h.do(http.MethodPost, "/tokens", `{"hash":"00"}`).want(http.StatusBadRequest).at("/hash", "read-only")
	h.do(http.MethodPost, "/tokens", `{"role":"root","pools":["b","A"]}`).want(http.StatusBadRequest).at("/pools/1", "must be 1 to 63")
	h.do(http.MethodPost, "/tokens", `{"role":"admin","expires_at":"2020-01-01T00:00:00Z"}`).want(http.StatusBadRequest).at("/expires_at", "in the future")
	h.do(http.MethodPost, "/tokens", `{"role":"admin","expires_at":"tomorrow"}`).want(http.StatusBadRequest).at("/expires_at", "tomorrow")
	var root, ci api.TokenSecret
	created := h.do(http.MethodPost, "/tokens", `{"id":"root","role":"admin"}`, "Idempotency-Key: k1").want(http.StatusCreated).into(&root)
	if created.header.Get("Location") != "/tokens/root" || root.ExpiresAt != nil || root.Role != "admin" {
		t.Errorf("made %+v at %q", root.Token, created.header.Get("Location"))
	}
	h.do(http.MethodGet, "/tokens", "").problem(http.StatusUnauthorized, api.CodeUnauthorized)
	if p := h.do(http.MethodPost, "/tokens", `{"id":"root","role":"admin"}`, "Idempotency-Key: k1", bearer(root.Text)).problem(http.StatusConflict, api.CodeExists); !strings.Contains(p.Detail, "rotate") {
		t.Errorf("the same request again: %q, want what to do", p.Detail)
	}
	h.do(http.MethodPost, "/tokens", `{"id":"root","role":"admin"}`, bearer(root.Text)).problem(http.StatusConflict, api.CodeExists)
	h.do(http.MethodPost, "/tokens", `{"id":"ci","role":"operator","description":"deploys","pools":["web"],"expires_at":"2100-01-01T00:00:00Z"}`, bearer(root.Text)).want(http.StatusCreated).into(&ci)
	if ci.ExpiresAt == nil || ci.ExpiresAt.Year() != 2100 || ci.Expired || len(ci.Pools) != 1 {
		t.Errorf("made %+v", ci.Token)
	}
	var shown api.Token
	h.do(http.MethodGet, "/tokens/ci", "", bearer(root.Text)).want(http.StatusOK).into(&shown)
	if shown.ModifyIndex != ci.ModifyIndex || shown.Description != "deploys" {
		t.Errorf("shown %+v, made %+v", shown, ci.Token)
	}
	var all []api.Token
	h.do(http.MethodGet, "/tokens", "", bearer(root.Text)).want(http.StatusOK).into(&all)
	if len(all) != 2 {
		t.Errorf("listed %+v, want 2", all)
	}
	h.do(http.MethodPatch, "/tokens/ci", `{"hash":"00"}`, bearer(root.Text)).want(http.StatusBadRequest)
	h.do(http.MethodPatch, "/tokens/ci", `{"expires_at":null,"description":"more"}`, bearer(root.Text)).want(http.StatusOK).into(&shown)
	if shown.ExpiresAt != nil || shown.Description != "more" || len(shown.Pools) != 1 {
		t.Errorf("patched to %+v", shown)
	}
	h.do(http.MethodGet, "/pools", "", bearer(ci.Text)).want(http.StatusOK)
	var rotated api.TokenSecret
	h.do(http.MethodPost, "/tokens/ci/rotate", "", bearer(root.Text), "Idempotency-Key: k2").want(http.StatusOK).into(&rotated)
	h.do(http.MethodPost, "/tokens/ci/rotate", "", bearer(root.Text), "Idempotency-Key: k2").problem(http.StatusConflict, api.CodeExists)
	h.do(http.MethodGet, "/pools", "", bearer(ci.Text)).problem(http.StatusUnauthorized, api.CodeUnauthorized)
	h.do(http.MethodGet, "/pools", "", bearer(rotated.Text)).want(http.StatusOK)
	h.do(http.MethodPost, "/tokens/nobody/rotate", "", bearer(root.Text)).problem(http.StatusNotFound, api.CodeNotFound)
	h.do(http.MethodDelete, "/tokens/root", "", bearer(root.Text)).problem(http.StatusConflict, api.CodeInUse)
	h.do(http.MethodDelete, "/tokens/ci", "", bearer(root.Text)).want(http.StatusNoContent)
	h.do(http.MethodGet, "/pools", "", bearer(rotated.Text)).problem(http.StatusUnauthorized, api.CodeUnauthorized)
	h.do(http.MethodDelete, "/tokens/root?force=true", "", bearer(root.Text)).want(http.StatusNoContent)
	h.do(http.MethodGet, "/pools", "").want(http.StatusOK) // there is none: as before
}

func TestTokens_expire(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	h := newHarness(t, func(c *httpapi.Config) { c.Now = func() time.Time { return now } })
	text := h.token("short", state.RoleViewer, `,"expires_at":"2026-01-02T03:04:06Z"`)
	h.do(http.MethodGet, "/pools", "", bearer(text)).want(http.StatusOK)
	now = now.Add(time.Second)
	p := h.do(http.MethodGet, "/pools", "", bearer(text)).problem(http.StatusUnauthorized, api.CodeUnauthorized)
	if !strings.Contains(p.Detail, "expired at 2026-01-02T03:04:06Z") {
		t.Errorf("detail = %q, want when it expired", p.Detail)
	}
}

// Who makes a change is in the history, whatever way it takes.
func TestActors(t *testing.T) {
	t.Parallel()
	h := newHarness(t, func(c *httpapi.Config) { c.Access.Bootstrap = func() string { return "" } })
	h.do(http.MethodPut, "/pools/p", `{}`).want(http.StatusCreated)
	text := h.token("ci", state.RoleOperator, "")
	h.do(http.MethodPost, "/txn", `{"ops":[{"op":"put","kind":"pool","id":"q","value":{}}]}`, bearer(text)).want(http.StatusOK)
	var history []api.Change
	h.do(http.MethodGet, "/history", "", bearer(text)).want(http.StatusOK).into(&history)
	if history[0].Actor != "token/ci" || history[2].Actor != "anonymous@192.0.2.1" {
		t.Errorf("actors %q and %q, want token/ci and anonymous@192.0.2.1", history[0].Actor, history[2].Actor)
	}
}

// A token that is bound to pools changes their backends and routes only, by every way there is.
func TestAccess_boundToPools(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.do(http.MethodPost, "/backends", `{"id":"own","address":"h:1","pool":"mine"}`).want(http.StatusCreated)
	h.do(http.MethodPost, "/backends", `{"id":"foreign","address":"h:2","pool":"other"}`).want(http.StatusCreated)
	tok := bearer(h.token("ci", state.RoleOperator, `,"pools":["mine"]`))
	h.do(http.MethodGet, "/backends/foreign", "", tok).want(http.StatusOK)
	h.do(http.MethodPost, "/backends/own/disable", "", tok).want(http.StatusOK)
	h.do(http.MethodPatch, "/backends/own", `{"weight":2}`, tok).want(http.StatusOK)
	h.do(http.MethodPut, "/routes/r", `{"match":{"path":"/r"},"backend_pool":"mine"}`, tok).want(http.StatusCreated)
	for _, r := range []struct{ method, path, body string }{
		{http.MethodPost, "/backends/foreign/disable", ""},
		{http.MethodDelete, "/backends/foreign", ""},
		{http.MethodPatch, "/backends/own", `{"pool":"other"}`},
		{http.MethodPut, "/routes/s", `{"match":{"path":"/s"},"backend_pool":"other"}`},
		{http.MethodPut, "/pools/mine", `{"algorithm":"random"}`},
		{http.MethodPut, "/frontends/f", `{"key":"f"}`},
		{http.MethodPost, "/txn", `{"ops":[{"op":"patch","kind":"backend","id":"own","value":{"weight":3}},{"op":"delete","kind":"backend","id":"foreign"}]}`},
		{http.MethodPost, "/apply", `{"backends":[{"id":"foreign","address":"h:9","pool":"other"}]}`},
		{http.MethodPost, "/apply?dry_run=true", `{"pools":[{"id":"mine","algorithm":"random"}]}`},
		{http.MethodPost, "/history/3/rollback", ""},
		{http.MethodPost, "/cluster/transfer-leader", ""},
	} {
		h.do(r.method, r.path, r.body, tok).problem(http.StatusForbidden, api.CodeForbidden)
	}
	if b, _ := h.store.View().Backend("own"); b.Weight != 2 || b.Pool != "mine" {
		t.Errorf("own = %+v", b.BackendSpec)
	}
}

// Undoing a change of tokens is giving out access, and so for admins.
func TestRollback_ofTokensIsForAdmins(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	admin, operator := bearer(h.token("a", state.RoleAdmin, "")), bearer(h.token("o", state.RoleOperator, ""))
	gone := h.token("gone", state.RoleAdmin, "")
	h.do(http.MethodDelete, "/tokens/gone", "", admin).want(http.StatusNoContent)
	at := fmt.Sprintf("/history/%d/rollback", h.store.View().Index)
	h.do(http.MethodPost, at, "", operator).problem(http.StatusForbidden, api.CodeForbidden)
	h.do(http.MethodPost, at, "", admin).want(http.StatusOK)
	h.do(http.MethodGet, "/tokens", "", bearer(gone)).want(http.StatusOK)
}

func TestBootstrapToken(t *testing.T) {
	t.Parallel()
	secret := "a-token-of-an-operator-in-a-file-0"
	h := newHarness(t, func(c *httpapi.Config) { c.Access.Bootstrap = func() string { return secret } })
	h.do(http.MethodGet, "/pools", "").problem(http.StatusUnauthorized, api.CodeUnauthorized)
	h.do(http.MethodGet, "/readyz", "").want(http.StatusOK)
	h.do(http.MethodGet, "/pools", "", bearer(secret+"x")).problem(http.StatusUnauthorized, api.CodeUnauthorized)
	h.do(http.MethodPost, "/tokens", `{"id":"v","role":"viewer"}`, bearer(secret)).want(http.StatusCreated) // there is a way to the next one
	if ch, _ := h.store.View().Change(h.store.View().Index); ch.Actor != "bootstrap@n1" {
		t.Errorf("actor = %q, want bootstrap@n1", ch.Actor)
	}
	secret = "another-one-since-the-file-changed"
	h.do(http.MethodGet, "/tokens", "", bearer(secret)).want(http.StatusOK)
}

// An API that is not open is closed even when there are no tokens at all.
func TestAccess_closedWithoutTokens(t *testing.T) {
	t.Parallel()
	h := newHarness(t, func(c *httpapi.Config) { c.Access.Open = false })
	h.do(http.MethodGet, "/pools", "").problem(http.StatusUnauthorized, api.CodeUnauthorized)
	h.do(http.MethodGet, "/metrics", "").problem(http.StatusUnauthorized, api.CodeUnauthorized)
	open := newHarness(t, func(c *httpapi.Config) { c.Access.Open, c.Access.MetricsOpen = false, true })
	open.do(http.MethodGet, "/metrics", "").want(http.StatusOK)
	open.do(http.MethodGet, "/pools", "").problem(http.StatusUnauthorized, api.CodeUnauthorized)
}

// staleStore knows of no token yet when the cluster has one.
type staleStore struct {
	httpapi.Store
	old *state.View
}

func (s staleStore) View() *state.View { return s.old }

func TestAccess_nodeThatIsBehindLetsNothingThrough(t *testing.T) {
	t.Parallel()
	h := newHarness(t, func(c *httpapi.Config) { c.Store = staleStore{c.Store, c.Store.View()} })
	h.token("root", state.RoleAdmin, "")
	h.do(http.MethodPut, "/pools/p", `{}`).problem(http.StatusForbidden, api.CodeForbidden)
	h.do(http.MethodPost, "/tokens", `{"role":"admin"}`).problem(http.StatusForbidden, api.CodeForbidden)
}

func TestAccess_malformed(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	text := h.token("v", state.RoleViewer, "")
	for _, tt := range []struct {
		name    string
		headers []header
		status  int
	}{
		{"lower case", []header{header("Authorization: bearer " + text)}, http.StatusOK},
		{"more spaces", []header{header("Authorization: Bearer   " + text + " ")}, http.StatusOK},
		{"basic", []header{"Authorization: Basic dTpw"}, http.StatusUnauthorized},
		{"no text", []header{"Authorization: Bearer"}, http.StatusUnauthorized},
		{"twice", []header{bearer(text), bearer(text)}, http.StatusUnauthorized},
		{"cut", []header{bearer(text[:len(text)-1])}, http.StatusUnauthorized},
		{"of another cluster", []header{bearer(auth.Mint("v"))}, http.StatusUnauthorized},
		{"of nobody", []header{bearer(auth.Mint("w"))}, http.StatusUnauthorized},
		{"very long", []header{bearer(strings.Repeat("x", 60_000))}, http.StatusUnauthorized},
	} {
		if r := h.do(http.MethodGet, "/pools", "", tt.headers...); r.status != tt.status {
			t.Errorf("%s = %d %s, want %d", tt.name, r.status, r.body, tt.status)
		}
	}
}

// Who guesses is slowed down; who has a right token is not, wherever the guesses come from.
func TestAccess_guessing(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	var log bytes.Buffer
	h := newHarness(t, func(c *httpapi.Config) {
		cfg := auth.DefaultLimiter()
		cfg.Now = func() time.Time { return now }
		c.Access.Limiter = auth.NewLimiter(cfg)
		c.Logger = slog.New(slog.NewTextHandler(&log, nil))
	})
	text := h.token("v", state.RoleViewer, "")
	for range 10 {
		h.do(http.MethodGet, "/pools", "", bearer(auth.Mint("v"))).problem(http.StatusUnauthorized, api.CodeUnauthorized)
	}
	lines := strings.Count(log.String(), "api token refused")
	r := h.do(http.MethodGet, "/pools", "", bearer(auth.Mint("v")))
	r.problem(http.StatusTooManyRequests, api.CodeTooManyFailures)
	if got := r.header.Get("Retry-After"); got != "6" {
		t.Errorf("Retry-After = %q, want 6", got)
	}
	h.do(http.MethodGet, "/pools", "", bearer(text)).want(http.StatusOK)
	h.do(http.MethodGet, "/pools", "").problem(http.StatusUnauthorized, api.CodeUnauthorized) // is no guess
	if lines != 10 || strings.Count(log.String(), "api token refused") != 10 {
		t.Errorf("%d lines in the log, want the 10 that were answered", lines)
	}
	now = now.Add(6 * time.Second)
	h.do(http.MethodGet, "/pools", "", bearer(auth.Mint("v"))).problem(http.StatusUnauthorized, api.CodeUnauthorized)
}
