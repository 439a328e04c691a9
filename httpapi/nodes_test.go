package httpapi_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/httpapi"
	"github.com/lbnode/lbnode/httpapi/apitest"
)

// Orders to a node are passed on, and answered with the node as it is then.
func TestNodeOrders(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for order, want := range map[string]struct {
		status   int
		draining bool
	}{"drain": {200, true}, "undrain": {200, false}, "leave": {202, true}} {
		var n api.Node
		h.do("POST", "/nodes/n1/"+order, "").want(want.status).into(&n)
		if n.ID != "n1" || n.Draining != want.draining {
			t.Errorf("%s answers %+v, want draining %v", order, n, want.draining)
		}
		h.fake.Update(func(f *apitest.Fake) {
			if !slices.Contains(f.Orders, order+" n1") {
				t.Errorf("the orders are %v, want %s n1 among them", f.Orders, order)
			}
		})
	}
	// What gossip says of the node comes later than its answer.
	h.fake.Update(func(f *apitest.Fake) { f.Slow = true })
	for order, want := range map[string]bool{"drain": true, "undrain": false} {
		h.fake.Update(func(f *apitest.Fake) { f.Nodes[0].Draining = !want })
		var n api.Node
		h.do("POST", "/nodes/n1/"+order, "").want(http.StatusOK).into(&n)
		if n.ID != "n1" || n.Draining != want {
			t.Errorf("%s answers %+v before gossip has it, want draining %v", order, n, want)
		}
	}
	h.do("POST", "/nodes/n9/drain", "").problem(http.StatusNotFound, api.CodeNotFound)
	h.do("POST", "/nodes/n1/drain", `{"a":1}`).problem(http.StatusBadRequest, api.CodeInvalid)
	for err, want := range map[error]int{httpapi.ErrNotSafe: http.StatusConflict, httpapi.ErrUnreachable: http.StatusGatewayTimeout} {
		h.fake.Update(func(f *apitest.Fake) { f.ClusterErr = fmt.Errorf("%w: why", err) })
		h.do("POST", "/nodes/n1/leave", "").want(want)
	}
}
