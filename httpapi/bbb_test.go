package httpapi_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lbnode/lbnode/api"
)

// What is read of a BigBlueButton server, its pool and its tenants can be written back and changes nothing, although
// answers do not have the secrets.
func TestBBB_readIsWrittenBack(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.do(http.MethodPost, "/pools", `{"id":"bbb","health":{"type":"bbb"},"bbb":{"move_after":"30s"}}`).want(http.StatusCreated)
	var b api.Backend
	h.do(http.MethodPost, "/backends", `{"id":"b","address":"https://b.example.org/bigbluebutton/api/","pool":"bbb","bbb":{"secrets":["x","y"],"agent_ref":"a","max_meetings":3}}`).want(http.StatusCreated).into(&b)
	if b.BBBSecrets != 2 || b.BBB != (api.BackendBBB{AgentRef: "a", MaxMeetings: 3}) {
		t.Errorf("backend: %+v with %d secrets", b.BBB, b.BBBSecrets)
	}
	var f api.Frontend
	h.do(http.MethodPost, "/frontends", `{"id":"f","key":"f","secret":"s","bbb":{"secrets":["t"],"default_presentation":{"url":"https://x.example.org/a.pdf"},"join_default":{"guest":"true"},"max_duration":"2h"}}`).want(http.StatusCreated).into(&f)
	if f.BBBSecrets != 1 || f.BBB.DefaultPresentation.URL == "" || f.BBB.JoinDefault["guest"] != "true" || f.BBB.MaxDuration != "2h0m0s" {
		t.Errorf("frontend: %+v with %d secrets", f.BBB, f.BBBSecrets)
	}
	for _, path := range []string{"/pools/bbb", "/backends/b", "/frontends/f"} {
		before := h.store.View().Index
		r := h.do(http.MethodGet, path, "").want(http.StatusOK)
		again := h.do(http.MethodPut, path, r.body).want(http.StatusOK)
		if d := cmp.Diff(r.body, again.body); d != "" {
			t.Errorf("%s written back: %s", path, d)
		}
		if _, changed := h.store.View().Change(before + 1); changed {
			t.Errorf("%s written back is a change", path)
		}
	}
	h.do(http.MethodPatch, "/backends/b", `{"bbb":{"secret":"x"}}`).want(http.StatusBadRequest).at("/bbb/secret", "unknown")
	h.do(http.MethodPatch, "/frontends/f", `{"bbb":{"max_duration":"90s"}}`).want(http.StatusBadRequest).at("/bbb/max_duration", "whole minutes")
	f = api.Frontend{}
	h.do(http.MethodPatch, "/frontends/f", `{"bbb":{"default_presentation":null,"join_default":{"guest":null}}}`).want(http.StatusOK).into(&f)
	if f.BBB.DefaultPresentation.URL != "" || len(f.BBB.JoinDefault) != 0 || f.BBBSecrets != 1 {
		t.Errorf("after the patch: %+v", f.BBB)
	}
}

// A rollback takes away the secrets that the change brought.
func TestBBB_rollbackOfSecrets(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.do(http.MethodPost, "/backends", `{"id":"b","address":"h:1"}`).want(http.StatusCreated)
	h.do(http.MethodPost, "/frontends", `{"id":"f","key":"f"}`).want(http.StatusCreated)
	before := h.specs()
	for _, path := range []string{"/backends/b", "/frontends/f"} {
		h.do(http.MethodPatch, path, `{"bbb":{"secrets":["x"]}}`).want(http.StatusOK)
		h.do(http.MethodPost, "/history/"+jsonText(t, h.store.View().Index)+"/rollback", "").want(http.StatusOK)
	}
	h.do(http.MethodPatch, "/frontends/f", `{"secret":"s"}`).want(http.StatusOK)
	h.do(http.MethodPost, "/history/"+jsonText(t, h.store.View().Index)+"/rollback", "").want(http.StatusOK)
	if d := cmp.Diff(before, h.specs()); d != "" {
		t.Errorf("after the rollbacks: %s", d)
	}
}

func jsonText(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
