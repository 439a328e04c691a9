package httpapi_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/httpapi/apitest"
	"github.com/lbnode/lbnode/state"
)

func TestKeys(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	var change api.KeyChange
	h.do(http.MethodPost, "/cluster/keys", "").want(http.StatusOK).into(&change)
	if change.ID != "00c0ffee" || len(change.Confirmed) != 1 {
		t.Errorf("install = %+v", change)
	}
	h.do(http.MethodPost, "/cluster/keys", `{"key":"bad"}`).want(http.StatusBadRequest).at("/key", "lbnode keygen")
	h.do(http.MethodPost, "/cluster/keys", `{"secret":"x"}`).want(http.StatusBadRequest).at("/secret", "unknown field")
	h.do(http.MethodPost, "/cluster/keys/00c0ffee/use", "").want(http.StatusOK)
	h.do(http.MethodPost, "/cluster/keys/0badc0de/use", "").problem(http.StatusNotFound, api.CodeNotFound)
	var keys api.ClusterKeys
	h.do(http.MethodGet, "/cluster/keys", "").want(http.StatusOK).into(&keys)
	want := api.ClusterKeys{Generation: 2, Silent: []string{}, Keys: []api.ClusterKey{
		{ID: "1badcafe", Nodes: []string{"n1"}, UsedBy: []string{"n1"}},
		{ID: "00c0ffee", InUse: true, Nodes: []string{"n1"}, UsedBy: []string{}},
	}}
	if diff := cmp.Diff(want, keys); diff != "" {
		t.Errorf("GET /cluster/keys (-want +got):\n%s", diff)
	}

	h.fake.Update(func(f *apitest.Fake) { f.KeyRing.Silent = []string{"n2"} })
	h.do(http.MethodDelete, "/cluster/keys/1badcafe", "").problem(http.StatusConflict, api.CodeNotSafe)
	h.do(http.MethodDelete, "/cluster/keys/1badcafe?force", "").want(http.StatusAccepted).into(&change)
	if diff := cmp.Diff([]string{"n2"}, change.Unconfirmed); diff != "" {
		t.Errorf("unconfirmed (-want +got):\n%s", diff)
	}
	h.do(http.MethodDelete, "/cluster/keys/00c0ffee", `{"force":true}`).want(http.StatusBadRequest)
}

// What a full disk refuses says which one and what to do, and that nothing was changed.
func TestStoreFull(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.store.Fail(apitest.Failure{Err: fmt.Errorf("%w: node n2 has 3 MiB free under /var/lib/lbnode: free space there", state.ErrStoreFull)})
	p := h.do(http.MethodPut, "/pools/web", "{}").problem(http.StatusServiceUnavailable, api.CodeStoreFull)
	if p.Outcome != api.OutcomeNotApplied || p.Detail != "nothing was changed; put pool \"web\": disk full: node n2 has 3 MiB free under /var/lib/lbnode: free space there" {
		t.Errorf("problem = %+v", p)
	}
}

// What a member does not understand names whom to upgrade, and says that nothing was changed.
func TestOldMember(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.store.Fail(apitest.Failure{Err: fmt.Errorf("%w: upgrade n3", state.ErrOldMember)})
	p := h.do(http.MethodPut, "/pools/web", "{}").problem(http.StatusConflict, api.CodeOldMember)
	if p.Outcome != api.OutcomeNotApplied || p.Detail != "nothing was changed; put pool \"web\": a member is too old: upgrade n3" {
		t.Errorf("problem = %+v", p)
	}
}
