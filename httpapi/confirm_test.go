package httpapi_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/httpapi"
	"github.com/lbnode/lbnode/httpapi/apitest"
	"github.com/lbnode/lbnode/state"
)

var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

func atNoon(c *httpapi.Config) { c.Now = func() time.Time { return noon } }

func TestConfirm(t *testing.T) {
	t.Parallel()
	h := newHarness(t, atNoon)
	h.do(http.MethodPut, "/pools/p", `{"algorithm":"random"}`).want(http.StatusCreated) // 2
	var out api.ApplyResult
	const doc = `{"pools":[{"id":"p","algorithm":"ip_hash"}],"frontends":[{"id":"f","key":"k","secret":"hush"}]}`
	h.do(http.MethodPost, "/apply?confirm_within=5m&dry_run=true", doc).want(http.StatusOK).into(&out)
	if out.Applied || out.ConfirmBy != nil {
		t.Errorf("dry run = %+v", out)
	}
	first := h.do(http.MethodPost, "/apply?confirm_within=5m", doc, "Idempotency-Key: k1").want(http.StatusOK).into(&out)
	if !out.Applied || out.Index != 3 || out.ConfirmBy == nil || !out.ConfirmBy.Equal(noon.Add(5*time.Minute)) {
		t.Errorf("apply = %s, want confirm_by 12:05", first.body)
	}
	if again := h.do(http.MethodPost, "/apply?confirm_within=5m", doc, "Idempotency-Key: k1"); again.body != first.body {
		t.Errorf("the same request again = %s, want %s", again.body, first.body)
	}
	var pending []api.Pending
	r := h.do(http.MethodGet, "/apply/pending", "").want(http.StatusOK).into(&pending)
	if len(pending) != 1 || pending[0].Index != 3 || pending[0].Remaining != "5m0s" || len(pending[0].Objects) != 2 || strings.Contains(r.body, "hush") {
		t.Errorf("pending = %s", r.body)
	}
	if !strings.Contains(pending[0].Summary, "apply, to be confirmed by 2026-05-04T12:05:00Z: ") {
		t.Errorf("summary = %q", pending[0].Summary)
	}
	h.do(http.MethodPost, "/apply?confirm_within=5m", `{"pools":[{"id":"p","algorithm":"round_robin"}]}`).problem(http.StatusConflict, api.CodeInUse)
	h.do(http.MethodPost, "/apply/confirm?index=2", "").problem(http.StatusNotFound, api.CodeNotFound)
	var done api.ConfirmResult
	for range 2 {
		h.do(http.MethodPost, "/apply/confirm", "", "Idempotency-Key: k2").want(http.StatusOK).into(&done)
		if done.Confirmed != 3 || done.Index != 5 { // 4 was the refusal of the conflict
			t.Errorf("confirm = %+v", done)
		}
	}
	h.do(http.MethodPost, "/apply/confirm", "").problem(http.StatusNotFound, api.CodeNotFound)
	h.do(http.MethodPost, "/apply/confirm?index=3", "").problem(http.StatusNotFound, api.CodeNotFound)
	var history []api.Change
	h.do(http.MethodGet, "/history?limit=1", "").want(http.StatusOK).into(&history)
	if len(history) != 1 || history[0].Summary != "confirmed change 3" || history[0].Actor == "" {
		t.Errorf("history = %+v", history)
	}
	if h.do(http.MethodGet, "/history?limit=1&kind=pool", "").into(&history); history[0].Index != 3 {
		t.Errorf("history of pools = %+v, want change 3", history)
	}
}

func TestConfirm_several(t *testing.T) {
	t.Parallel()
	h := newHarness(t, atNoon)
	var txn api.TxnResult
	for i := range 2 {
		h.do(http.MethodPost, "/txn?confirm_within=30s", fmt.Sprintf(`{"ops":[{"op":"put","kind":"pool","id":"p%d","value":{}}]}`, i)).want(http.StatusOK).into(&txn)
		if txn.ConfirmBy == nil || !txn.ConfirmBy.Equal(noon.Add(30*time.Second)) {
			t.Errorf("txn = %+v", txn)
		}
	}
	if p := h.do(http.MethodPost, "/apply/confirm", "").problem(http.StatusConflict, api.CodeAmbiguous); !strings.Contains(p.Detail, "2, 3") {
		t.Errorf("detail = %q", p.Detail)
	}
	h.do(http.MethodPost, "/apply/confirm?index=3", "").want(http.StatusOK)
	// A rollback settles it too: there is nothing left to undo later.
	h.do(http.MethodPost, "/history/2/rollback", "").want(http.StatusOK)
	var pending []api.Pending
	if h.do(http.MethodGet, "/apply/pending", "").into(&pending); len(pending) != 0 {
		t.Errorf("pending = %+v, want none", pending)
	}
	for _, bad := range []string{"0s", "-5m", "25h", "5", "soon"} {
		h.do(http.MethodPost, "/apply?confirm_within="+bad, `{}`).at("", `"confirm_within" must be a duration`)
	}
	h.fake.Update(func(f *apitest.Fake) { f.ReadErr = state.ErrNoLeader })
	h.do(http.MethodPost, "/apply/confirm", "").problem(http.StatusServiceUnavailable, api.CodeNoLeader)
}

// A revert is a change like others, and what was confirmed is not reverted.
func TestConfirm_reverted(t *testing.T) {
	t.Parallel()
	h := newHarness(t, atNoon)
	h.do(http.MethodPost, "/apply?confirm_within=1m", `{"pools":[{"id":"p"},{"id":"q"}]}`).want(http.StatusOK)
	h.do(http.MethodPatch, "/pools/q", `{"algorithm":"random"}`).want(http.StatusOK)
	if _, err := h.store.Do(context.Background(), state.Command{Type: state.TypeTxn, Actor: "lbnode@n1", Settle: &state.Settlement{Index: 2, Revert: true}}); err != nil {
		t.Fatal(err)
	}
	var history []api.Change
	h.do(http.MethodGet, "/history?limit=1", "").into(&history)
	if want := "revert of 2, which was not confirmed by 2026-05-04T12:01:00Z; left alone, as changed since: pool/q: deleted pool p"; history[0].Summary != want {
		t.Errorf("summary = %q, want %q", history[0].Summary, want)
	}
}
