package httpapi_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/httpapi"
	"github.com/lbnode/lbnode/httpapi/apitest"
	"github.com/lbnode/lbnode/state"
)

func TestLoad(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.do(http.MethodPut, "/backends/a", `{"address":"10.0.0.1:80"}`).want(http.StatusCreated)
	h.do(http.MethodPost, "/backends/a/load", `{"load":0.5}`).want(http.StatusNoContent)
	h.do(http.MethodPost, "/backends/10.0.0.1:80/load", `{"load":7,"meetings":2,"attendees":7}`).want(http.StatusNoContent)
	h.fake.Update(func(f *apitest.Fake) {
		want := map[string]httpapi.LoadReport{"a": {Load: 7, Counted: true, Meetings: 2, Attendees: 7}}
		if d := cmp.Diff(want, f.Loads); d != "" {
			t.Errorf("reported (-want +got):\n%s", d)
		}
	})
	h.do(http.MethodPost, "/backends/b/load", `{"load":1}`).problem(http.StatusNotFound, api.CodeNotFound)
	for body, pointer := range map[string]string{
		`{}`:                                     "/load",
		`{"load":-1}`:                            "/load",
		`{"load":1,"meetings":2}`:                "/attendees",
		`{"load":1,"attendees":-2,"meetings":0}`: "/attendees",
	} {
		h.do(http.MethodPost, "/backends/a/load", body).want(http.StatusBadRequest).at(pointer, "")
	}
	h.do(http.MethodPost, "/backends/a/load", `{"load":1,"lode":1}`).want(http.StatusBadRequest).at("/lode", "unknown field")
}

func TestCallbacks(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.do(http.MethodPut, "/frontends/uni", `{"key":"uni"}`).want(http.StatusCreated)
	h.do(http.MethodGet, "/callbacks", "").want(http.StatusOK).into(&[]api.Callback{})
	put := func(ops ...state.BBBOp) {
		t.Helper()
		if _, err := h.store.Do(t.Context(), state.BBB(ops...)); err != nil {
			t.Fatal(err)
		}
	}
	one := state.Callback{ID: "c1", Kind: state.CallbackEnd, Frontend: "uni", MeetingID: "room", Method: "GET", URL: "https://lms.example.org/end"}
	two, three := one, one
	two.ID, three.ID = "c2", "c3"
	put(state.BBBOp{Enqueue: &state.EnqueueCallbacks{Callbacks: []state.Callback{one, two, three}}},
		state.BBBOp{Finish: &state.FinishCallbacks{IDs: []string{"c2"}, Outcome: state.CallbackFailed, Tries: 20, Error: "the receiver answers 500"}})
	next := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	h.fake.Update(func(f *apitest.Fake) {
		f.Tried = map[string]httpapi.CallbackProgress{"c1": {Tries: 3, Next: next, Error: "connection refused"}}
	})
	var got []api.Callback
	h.do(http.MethodGet, "/callbacks?limit=2", "").want(http.StatusOK).into(&got)
	if len(got) != 2 || got[0].ID != "c1" || got[0].State != api.CallbackWaiting || got[0].Tries != 3 || got[0].Next == nil || !got[0].Next.Equal(next) || got[0].Error != "connection refused" {
		t.Errorf("GET /callbacks = %+v", got)
	}
	if c := got[1]; c.State != api.CallbackFailed || c.Tries != 20 || c.Next != nil || c.Error != "the receiver answers 500" {
		t.Errorf("the one that was given up: %+v", c)
	}
	var again api.Callback
	h.do(http.MethodPost, "/callbacks/c2/retry", "").want(http.StatusOK).into(&again)
	if again.State != api.CallbackWaiting || again.Tries != 0 {
		t.Errorf("retried: %+v", again)
	}
	h.do(http.MethodPost, "/callbacks/c1/retry", "").want(http.StatusOK)
	h.do(http.MethodDelete, "/callbacks/c1", "").want(http.StatusNoContent)
	h.do(http.MethodDelete, "/callbacks/c1", "").problem(http.StatusNotFound, api.CodeNotFound)
	h.do(http.MethodPost, "/callbacks/c9/retry", "").problem(http.StatusNotFound, api.CodeNotFound)
	if h.store.View().LenCallbacks() != 2 {
		t.Errorf("%d callbacks are left, want 2", h.store.View().LenCallbacks())
	}
}
