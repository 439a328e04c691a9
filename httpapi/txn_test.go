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

func TestTxn(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.do(http.MethodPut, "/backends/old", `{"address":"10.0.0.9:80"}`).want(http.StatusCreated)
	before := h.store.View().Index
	var got api.TxnResult
	h.do(http.MethodPost, "/txn", `{"ops":[
		{"op":"put","kind":"pool","id":"users","value":{"algorithm":"random"}},
		{"op":"create","kind":"backend","id":"a","value":{"address":"10.0.0.1:80","pool":"users","weight":3}},
		{"op":"patch","kind":"backend","id":"a","value":{"weight":5}},
		{"op":"put","kind":"route","id":"r","value":{"match":{"path":"/u"},"backend_pool":"users"}},
		{"op":"put","kind":"backend","id":"10.0.0.9:80","value":{"address":"10.0.0.9:80"}},
		{"op":"delete","kind":"backend","id":"old","force":true}
	]}`).want(http.StatusOK).into(&got)
	i := before + 1
	want := api.TxnResult{Index: i, Ops: []api.OpResult{
		{Kind: "pool", ID: "users", Effect: "created", ModifyIndex: i},
		{Kind: "backend", ID: "a", Effect: "created", ModifyIndex: i},
		{Kind: "backend", ID: "a", Effect: "updated", ModifyIndex: i},
		{Kind: "route", ID: "r", Effect: "created", ModifyIndex: i},
		{Kind: "backend", ID: "old", Effect: "unchanged", ModifyIndex: 2},
		{Kind: "backend", ID: "old", Effect: "deleted", ModifyIndex: i},
	}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if h.store.View().Index != i {
		t.Errorf("index %d after one transaction, want %d", h.store.View().Index, i)
	}
	if b := h.backend("a"); b.Weight != 5 || b.Pool != "users" {
		t.Errorf("backend a = %+v", b)
	}
}

// Whatever is wrong, nothing is done, and the error points to the operation.
func TestTxn_refused(t *testing.T) {
	t.Parallel()
	const good = `{"op":"put","kind":"backend","id":"new","value":{"address":"h:1"}}`
	for _, tt := range []struct {
		name, ops     string
		status        int
		code, pointer string
		text          string
	}{
		{"nothing", ``, 400, api.CodeInvalid, "/ops", "1 to 1000"},
		{"verb", good + `,{"op":"move","kind":"backend","id":"a"}`, 400, api.CodeInvalid, "/ops/1/op", "create, put"},
		{"kind", `{"op":"put","kind":"cat","id":"a","value":{}}`, 400, api.CodeInvalid, "/ops/0/kind", "backend"},
		{"field", `{"op":"put","kind":"pool","id":"a","value":{},"iff_match":3}`, 400, api.CodeInvalid, "/ops/0/iff_match", "did you mean"},
		{"no value", good + `,{"op":"patch","kind":"backend","id":"a"}`, 400, api.CodeInvalid, "/ops/1/value", "must be there"},
		{"value of delete", `{"op":"delete","kind":"backend","id":"a","value":{}}`, 400, api.CodeInvalid, "/ops/0/value", "does not go with"},
		{"force", `{"op":"put","kind":"pool","id":"a","value":{},"force":true}`, 400, api.CodeInvalid, "/ops/0/force", "delete only"},
		{"id", `{"op":"put","kind":"pool","id":"A!","value":{}}`, 400, api.CodeInvalid, "/ops/0/id", "must be"},
		{"another id", `{"op":"put","kind":"pool","id":"a","value":{"id":"b"}}`, 400, api.CodeInvalid, "/ops/0/value/id", `must be "a"`},
		{"weight", good + `,` + good + `,{"op":"put","kind":"backend","id":"x","value":{"address":"h:1","weight":5000}}`, 400, api.CodeInvalid, "/ops/2/value/weight", "between"},
		{"type", `{"op":"patch","kind":"backend","id":"a","value":{"weight":"3"}}`, 400, api.CodeInvalid, "/ops/0/value/weight", "must be"},
		{"only the leader knows", good + `,{"op":"patch","kind":"backend","id":"a","value":{"weight":5000}}`, 400, api.CodeInvalid, "/ops/1/value/weight", "between"},
		{"tag", `{"op":"patch","kind":"backend","id":"a","value":{"tags":["z","b","-"]}}`, 400, api.CodeInvalid, "/ops/0/value/tags/2", "must be"},
		{"not there", good + `,{"op":"patch","kind":"backend","id":"nope","value":{}}`, 404, api.CodeNotFound, "/ops/1", "there is no"},
		{"mismatch", good + `,{"op":"delete","kind":"backend","id":"a","if_match":99}`, 412, api.CodeMismatch, "/ops/1", "modify_index"},
		{"exists", good + `,{"op":"create","kind":"backend","id":"a","value":{"address":"h:9"}}`, 409, api.CodeExists, "/ops/1", "different"},
		{"in use", good + `,{"op":"delete","kind":"pool","id":"default"}`, 409, api.CodeInUse, "/ops/1", "used by"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			h.do(http.MethodPut, "/backends/a", `{"address":"h:1"}`).want(http.StatusCreated)
			p := h.do(http.MethodPost, "/txn", `{"ops":[`+tt.ops+`]}`).problem(tt.status, tt.code)
			if !slices.ContainsFunc(p.Errors, func(e api.FieldError) bool {
				return e.Pointer == tt.pointer && strings.Contains(e.Message, tt.text)
			}) {
				t.Errorf("errors = %v, want %q at %q", p.Errors, tt.text, tt.pointer)
			}
			if p.Outcome != api.OutcomeNotApplied || h.store.View().Len(state.KindBackend) != 1 {
				t.Errorf("outcome %s with %d backends", p.Outcome, h.store.View().Len(state.KindBackend))
			}
		})
	}
}

func TestTxn_limits(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	ops := func(n int) string {
		var s []string
		for i := range n {
			s = append(s, fmt.Sprintf(`{"op":"put","kind":"pool","id":"p%d","value":{}}`, i))
		}
		return `{"ops":[` + strings.Join(s, ",") + `]}`
	}
	h.do(http.MethodPost, "/txn", ops(api.MaxOps+1)).want(http.StatusBadRequest).at("/ops", "got 1001")
	h.do(http.MethodPost, "/txn", ops(api.MaxOps)).want(http.StatusOK)
	if n := h.store.View().Len(state.KindPool); n != api.MaxOps {
		t.Errorf("%d pools, want %d", n, api.MaxOps)
	}
}

// A repeat with the same key has its effect once.
func TestTxn_repeat(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.store.Fail(apitest.Failure{Err: state.ErrOutcomeUnknown, Applied: true})
	const body = `{"ops":[{"op":"create","kind":"backend","id":"a","value":{"address":"h:1"}},{"op":"patch","kind":"backend","id":"a","value":{"weight":2}}]}`
	p := h.do(http.MethodPost, "/txn", body, "Idempotency-Key: k1").problem(http.StatusGatewayTimeout, api.CodeOutcomeUnknown)
	var got api.TxnResult
	h.do(http.MethodPost, "/txn", body, header("Idempotency-Key: "+p.RequestID)).want(http.StatusOK).into(&got)
	if got.Index != 2 || got.Ops[0].Effect != api.EffectCreated {
		t.Errorf("the repeat = %+v, want the first result at index 2", got)
	}
	h.do(http.MethodPost, "/txn", `{"ops":[{"op":"delete","kind":"backend","id":"a"}]}`, "Idempotency-Key: k1").problem(http.StatusUnprocessableEntity, api.CodeReused)
}
