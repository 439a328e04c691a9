package httpapi_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/httpapi/apitest"
	"github.com/lbnode/lbnode/state"
)

func (h *harness) history(query string) []api.Change {
	h.t.Helper()
	var out []api.Change
	h.do(http.MethodGet, "/history"+query, "").want(http.StatusOK).into(&out)
	return out
}

func indexes(changes []api.Change) []uint64 {
	out := []uint64{}
	for _, c := range changes {
		out = append(out, c.Index)
	}
	return out
}

func TestHistory(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.do(http.MethodPut, "/pools/p", `{}`, "Idempotency-Key: k2").want(http.StatusCreated)         // 2
	h.do(http.MethodPut, "/backends/a", `{"address":"h:1"}`).want(http.StatusCreated)              // 3, with pool default
	h.do(http.MethodPatch, "/backends/a", `{"weight":4,"tags":["x"]}`).want(http.StatusOK)         // 4
	h.do(http.MethodPatch, "/backends/nope", `{"weight":4}`).want(http.StatusNotFound)             // 5
	h.do(http.MethodPut, "/frontends/f", `{"key":"k","secret":"hush-1"}`).want(http.StatusCreated) // 6
	h.do(http.MethodPatch, "/frontends/f", `{"secret":"hush-2"}`).want(http.StatusOK)              // 7
	h.do(http.MethodDelete, "/backends/a?force=true", "").want(http.StatusNoContent)               // 8
	all := h.history("")
	if d := cmp.Diff([]uint64{8, 7, 6, 4, 3, 2}, indexes(all)); d != "" {
		t.Fatal(d)
	}
	if c := all[5]; c.RequestID != "k2" || !strings.HasPrefix(c.Actor, "anonymous@") || c.Summary != "created pool p" || c.Time.IsZero() {
		t.Errorf("change 2 = %+v", c)
	}
	if o := all[1].Objects[0]; !slices.Equal(o.Fields, []string{"/secret"}) || string(o.Before) != string(o.After) || !strings.Contains(string(o.After), `"secret_set":true`) {
		t.Errorf("the change of a secret = %+v", o)
	}
	if o := all[3].Objects[0]; !slices.Equal(o.Fields, []string{"/tags", "/weight"}) || o.Effect != api.EffectUpdated {
		t.Errorf("change 4 = %+v", o)
	}
	for query, want := range map[string][]uint64{
		"?limit=2": {8, 7}, "?before=6": {4, 3, 2}, "?kind=frontend": {7, 6}, "?id=a": {8, 4, 3}, "?kind=pool&id=default": {3}, "?before=2": {}, "?id=a&limit=1&before=8": {4},
	} {
		if d := cmp.Diff(want, indexes(h.history(query))); d != "" {
			t.Errorf("%s: %s", query, d)
		}
	}
	r := h.do(http.MethodGet, "/history?limit=4", "").want(http.StatusOK)
	if link := r.header.Get("Link"); link != `</history?before=4&limit=4>; rel="next"` {
		t.Errorf("Link = %s", link)
	}
	var one api.Change
	h.do(http.MethodGet, "/history/4", "").want(http.StatusOK).into(&one)
	if d := cmp.Diff(all[3], one); d != "" {
		t.Error(d)
	}
	h.do(http.MethodGet, "/history/5", "").problem(http.StatusNotFound, api.CodeNotFound)
	h.do(http.MethodGet, "/history/99", "").problem(http.StatusNotFound, api.CodeNotFound)
	h.do(http.MethodGet, "/history?kind=cat", "").problem(http.StatusBadRequest, api.CodeInvalid)
	for _, path := range []string{"/history", "/history/6", "/history/7", "/history/diff?from=1", "/history/diff?from=6"} {
		if body := h.do(http.MethodGet, path, "").want(http.StatusOK).body; strings.Contains(body, "hush") {
			t.Errorf("%s shows a secret: %s", path, body)
		}
	}
}

func TestHistory_diff(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.do(http.MethodPut, "/backends/a", `{"address":"h:1"}`).want(http.StatusCreated) // 2
	h.do(http.MethodPatch, "/backends/a", `{"weight":2}`).want(http.StatusOK)         // 3
	h.do(http.MethodPut, "/pools/p", `{}`).want(http.StatusCreated)                   // 4
	h.do(http.MethodPatch, "/backends/a", `{"weight":3}`).want(http.StatusOK)         // 5
	for query, want := range map[string]string{
		"?from=2":      "2-5 updated backend/a [/weight] created pool/p []",
		"?from=1&to=3": "1-3 created backend/a [] created pool/default []",
		"?from=3&to=4": "3-4 created pool/p []",
		"?from=5":      "5-5",
	} {
		var d api.Diff
		h.do(http.MethodGet, "/history/diff"+query, "").want(http.StatusOK).into(&d)
		got := fmt.Sprintf("%d-%d", d.From, d.To)
		for _, o := range d.Objects {
			got += fmt.Sprintf(" %s %s/%s %v", o.Effect, o.Kind, o.ID, o.Fields)
		}
		if got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
	for _, query := range []string{"", "?from=x", "?from=4&to=3", "?from=1&to=99", "?from=7"} {
		h.do(http.MethodGet, "/history/diff"+query, "").problem(http.StatusBadRequest, api.CodeInvalid)
	}
}

func TestHistory_compacted(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for i := range 1005 {
		h.do(http.MethodPut, "/pools/p", fmt.Sprintf(`{"health":{"rise":%d}}`, i%2+1))
	}
	h.do(http.MethodGet, "/history/3", "").problem(http.StatusGone, api.CodeCompacted)
	h.do(http.MethodGet, "/history/diff?from=3", "").problem(http.StatusGone, api.CodeCompacted)
	h.do(http.MethodPost, "/history/3/rollback", "").problem(http.StatusGone, api.CodeCompacted)
}

// specs is what operators have said, without indexes.
func (h *harness) specs() map[string]state.Spec {
	out := map[string]state.Spec{}
	for _, k := range state.Kinds() {
		for o := range h.store.View().All(k) {
			out[string(k)+"/"+o.ObjectID()] = o.Spec()
		}
	}
	return out
}

// A rollback restores what was before, whatever the change did.
func TestRollback(t *testing.T) {
	t.Parallel()
	setUp := []string{
		"PUT /pools/p {\"algorithm\":\"random\"}",
		`PUT /backends/a {"address":"h:1","pool":"p","weight":3,"tags":["x"]}`,
		`PUT /routes/r {"match":{"path":"/r","headers":{"X-A":"1"}},"backend_pool":"p","retries":0}`,
		`PUT /frontends/f {"key":"k"}`,
		`PUT /frontends/g {"key":"l","secret":"hush"}`,
	}
	for _, change := range []string{
		`PATCH /backends/a {"weight":0,"tags":[],"pool":"new"}`,
		`POST /backends/a/disable `,
		`DELETE /backends/a?force=true `,
		`DELETE /backends/a `,
		`PATCH /routes/r {"match":{"headers":{"X-B":"2"},"path":"/s"},"retries":5}`,
		`DELETE /routes/r `,
		`PATCH /frontends/f {"secret":"new"}`,
		`PATCH /frontends/g {"secret":"new","key":"m"}`,
		`DELETE /frontends/g `,
		`DELETE /pools/p?force=true `,
		`PUT /routes/s {"backend_pool":"q"}`,
		`PUT /pools/z {}`,
		`POST /txn {"ops":[{"op":"delete","kind":"route","id":"r"},{"op":"delete","kind":"pool","id":"p","force":true},{"op":"put","kind":"frontend","id":"f","value":{"hosts":["x"]}},{"op":"put","kind":"pool","id":"y","value":{}}]}`,
	} {
		t.Run(change, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			send := func(line string) {
				t.Helper()
				p := strings.SplitN(line, " ", 3)
				if r := h.do(p[0], p[1], p[2]); r.status > 299 {
					t.Fatalf("%s: %d %s", line, r.status, r.body)
				}
			}
			for _, line := range setUp {
				send(line)
			}
			before := h.specs()
			send(change)
			changed := h.specs()
			index := h.store.View().Index
			if cmp.Equal(before, changed) {
				t.Fatal("it changed nothing")
			}
			var res api.RollbackResult
			h.do(http.MethodPost, fmt.Sprintf("/history/%d/rollback", index), "", "Idempotency-Key: rb").want(http.StatusOK).into(&res)
			if d := cmp.Diff(before, h.specs()); d != "" {
				t.Errorf("after the rollback: %s", d)
			}
			if c := h.history("?limit=1")[0]; c.Index != res.Index || !strings.HasPrefix(c.Summary, fmt.Sprintf("rollback of %d: ", index)) {
				t.Errorf("the rollback is in the history as %+v", c)
			}
			// The same request again has its effect once.
			var again api.RollbackResult
			h.do(http.MethodPost, fmt.Sprintf("/history/%d/rollback", index), "", "Idempotency-Key: rb").want(http.StatusOK).into(&again)
			if d := cmp.Diff(res, again); d != "" {
				t.Errorf("repeated: %s", d)
			}
			// And it can be undone itself.
			h.do(http.MethodPost, fmt.Sprintf("/history/%d/rollback", res.Index), "").want(http.StatusOK)
			drains := slices.ContainsFunc(res.Ops, func(o api.OpResult) bool { return o.Kind == "backend" && o.Effect == api.EffectCreated })
			if d := cmp.Diff(changed, h.specs()); d != "" && !drains {
				t.Errorf("after the rollback of the rollback: %s", d)
			}
		})
	}
}

func TestRollback_createdBackendDrains(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.do(http.MethodPut, "/backends/a", `{"address":"h:1"}`).want(http.StatusCreated)
	var res api.RollbackResult
	h.do(http.MethodPost, "/history/2/rollback", "").want(http.StatusOK).into(&res)
	if b := h.backend("a"); b.AdminState != "decommissioned" || !slices.Equal(res.Kept, []string{"pool/default"}) {
		t.Errorf("backend a is %s, kept %v", b.AdminState, res.Kept)
	}
}

func TestRollback_changedSince(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.do(http.MethodPut, "/pools/p", `{"algorithm":"random"}`).want(http.StatusCreated)
	h.do(http.MethodPut, "/pools/p", `{"algorithm":"ip_hash"}`).want(http.StatusOK)
	h.do(http.MethodPut, "/pools/p", `{"algorithm":"round_robin"}`).want(http.StatusOK)
	h.do(http.MethodPut, "/routes/r", `{"backend_pool":"p"}`).want(http.StatusCreated)
	p := h.do(http.MethodPost, "/history/3/rollback", "").problem(http.StatusConflict, api.CodeChanged)
	if !slices.Equal(p.Refs, []string{"pool/p"}) {
		t.Errorf("refs = %v", p.Refs)
	}
	h.do(http.MethodPost, "/history/2/rollback?force", "").problem(http.StatusConflict, api.CodeInUse) // deleting what others use stays refused
	h.do(http.MethodPost, "/history/3/rollback?force=true", "").want(http.StatusOK)
	if p, _ := h.store.View().Pool("p"); p.Algorithm != state.Random {
		t.Errorf("algorithm = %s, want random", p.Algorithm)
	}
	var res api.RollbackResult
	h.do(http.MethodDelete, "/routes/r", "").want(http.StatusNoContent)
	h.do(http.MethodPost, "/history/5/rollback?force=true", "").want(http.StatusOK).into(&res)
	if res.Index != 0 || len(res.Ops) != 0 {
		t.Errorf("a rollback without anything to undo = %+v", res)
	}
	h.store.Fail(apitest.Failure{Err: state.ErrNoLeader})
	h.do(http.MethodPost, "/history/3/rollback?force=true", "").problem(http.StatusServiceUnavailable, api.CodeNoLeader)
}
