package httpapi_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/httpapi"
	"github.com/lbnode/lbnode/httpapi/apitest"
	"github.com/lbnode/lbnode/state"
)

// 200 when reached, 202 with the names when not; the change is made in either case.
func TestWait(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, method, path string
		before             func(*harness)
		status             int
		unconfirmed, dead  string
		inFlight           int64
		admin              string // of the backend afterwards, "" = gone
	}{
		{"committed", "POST", "/backends/b1/disable?wait=committed", nil, 200, "", "", 0, "stopped"},
		{"applied", "POST", "/backends/b1/disable?wait=applied", func(h *harness) { h.applied(1000) }, 200, "", "", 0, "stopped"},
		{"applied, by address", "POST", "/backends/a:1/disable?wait=applied&timeout=1s", func(h *harness) { h.applied(1000) }, 200, "", "", 0, "stopped"},
		{"not applied", "POST", "/backends/b1/disable?wait=applied&timeout=0s", nil, 202, "n1", "", 0, "stopped"},
		{"not idle", "POST", "/backends/b1/disable?wait=idle", func(h *harness) {
			h.fake.Update(func(f *apitest.Fake) { f.Runtimes["b1"] = httpapi.BackendRuntime{InFlight: 3} })
		}, 202, "n1", "", 3, "stopped"},
		{"a dead node", "POST", "/backends/b1/disable?wait=applied", func(h *harness) {
			h.applied(1000)
			h.fake.Update(func(f *apitest.Fake) { f.Nodes = append(f.Nodes, httpapi.Member{ID: "n2", Status: "dead"}) })
		}, 200, "", "n2", 0, "stopped"},
		{"enable applied", "POST", "/backends/b1/enable?wait=applied", func(h *harness) { h.applied(1000) }, 200, "", "", 0, "ready"},
		{"delete", "DELETE", "/backends/b1?wait=idle", nil, 202, "n1", "", 0, "decommissioned"},
		{"delete by force", "DELETE", "/backends/b1?force&wait=idle", nil, 200, "", "", 0, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			h.do("POST", "/backends", `{"id":"b1","address":"a:1"}`).want(http.StatusCreated)
			if tt.before != nil {
				tt.before(h)
			}
			var got api.WaitResult
			h.do(tt.method, tt.path, "").want(tt.status).into(&got)
			admin := ""
			if got.Backend != nil {
				admin = got.Backend.AdminState
			}
			if got.Reached != (tt.status == 200) || strings.Join(got.Unconfirmed, ",") != tt.unconfirmed || strings.Join(got.Dead, ",") != tt.dead ||
				got.InFlight != tt.inFlight || admin != tt.admin || got.Index != h.store.View().Index {
				t.Errorf("%s %s = %+v, want status %d, unconfirmed %q, dead %q, in flight %d, admin_state %q",
					tt.method, tt.path, got, tt.status, tt.unconfirmed, tt.dead, tt.inFlight, tt.admin)
			}
		})
	}
}

func (h *harness) applied(index uint64) {
	h.fake.Update(func(f *apitest.Fake) { f.Nodes[0].AppliedIndex = index })
}

// A wait that makes no sense is refused before anything is changed.
func TestWait_refused(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.do("POST", "/backends", `{"id":"b1","address":"a:1","admin_state":"init"}`).want(http.StatusCreated)
	for _, target := range []string{
		"POST /backends/b1/disable?wait=ready", "POST /backends/b1/enable?wait=idle", "POST /backends/b1/disable?timeout=1s",
		"POST /backends/b1/disable?wait=idle&timeout=soon", "POST /backends/b1/disable?wait=idle&timeout=1h", "DELETE /backends/b1?wait=x",
		"GET /backends/b1/wait", "GET /backends/b1/wait?wait=committed", "GET /backends/b1/wait?wait=idle&index=0",
	} {
		method, path, _ := strings.Cut(target, " ")
		h.do(method, path, "").problem(http.StatusBadRequest, api.CodeInvalid)
	}
	h.do("GET", "/backends/nope/wait?wait=idle", "").problem(http.StatusNotFound, api.CodeNotFound)
	if b := h.backend("b1"); b.AdminState != string(state.AdminInit) {
		t.Errorf("admin_state = %s after refused requests, want init", b.AdminState)
	}
}

// Waiting without a change: another operator's enable is seen, and a backend that is gone is idle.
func TestWait_only(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.do("POST", "/backends", `{"id":"b1","address":"a:1"}`).want(http.StatusCreated)
	var got api.WaitResult
	h.do("GET", "/backends/b1/wait?wait=idle&timeout=1s", "").want(http.StatusAccepted).into(&got)
	h.do("POST", "/backends/b1/disable", "").want(http.StatusOK)
	if err := h.store.SetDrained("b1"); err != nil {
		t.Fatal(err)
	}
	h.do("GET", "/backends/b1/wait?wait=idle", "").want(http.StatusOK).into(&got)
	h.do("POST", "/backends/b1/enable", "").want(http.StatusOK)
	h.do("GET", "/backends/b1/wait?wait=idle&index=3", "").want(http.StatusAccepted).into(&got)
	if got.Reached || got.Backend == nil || got.Backend.AdminState != "ready" {
		t.Errorf("wait for an enabled backend = %+v, want it not reached, and the backend", got)
	}
	h.do("DELETE", "/backends/b1?force", "").want(http.StatusNoContent)
	got = api.WaitResult{}
	h.do("GET", "/backends/b1/wait?wait=idle&index=3", "").want(http.StatusOK).into(&got)
	if !got.Reached || got.Backend != nil {
		t.Errorf("wait for a backend that is gone = %+v, want it reached", got)
	}
}
