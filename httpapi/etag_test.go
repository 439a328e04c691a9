package httpapi_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/httpapi"
	"github.com/lbnode/lbnode/httpapi/apitest"
	"github.com/lbnode/lbnode/state"
)

// overtaken is a store in which somebody else changes the object before the answer to a change is made.
type overtaken struct {
	*apitest.Store
	other state.Command
}

func (s overtaken) Do(ctx context.Context, c state.Command) (state.Result, error) {
	res, err := s.Store.Do(ctx, c)
	if err == nil {
		_, err = s.Store.Do(ctx, s.other)
	}
	return res, err
}

// The ETag of an answer to a change is that of the change. With the one of what is there by now, an If-Match would
// overwrite what another operator has just done.
func TestETag_isOfTheChange(t *testing.T) {
	t.Parallel()
	h := newHarness(t, func(c *httpapi.Config) {
		c.Store = overtaken{c.Store.(*apitest.Store), state.Command{Type: state.TypeTxn, Ops: []state.Op{
			{Verb: state.VerbPut, Kind: state.KindFrontend, ID: "shop", Value: []byte(`{"key":"theirs"}`)},
		}}}
	})
	for _, method := range []string{http.MethodPut, http.MethodPatch} {
		var f api.Frontend
		r := h.do(method, "/frontends/shop", `{"key":"ours"}`).into(&f)
		ours, ok := api.ParseETag(r.header.Get("ETag"))
		if !ok || f.Key != "theirs" || ours == 0 || ours >= f.ModifyIndex {
			t.Errorf("%s: ETag %q with modify_index %d and key %q, want the ETag of our own change", method, r.header.Get("ETag"), f.ModifyIndex, f.Key)
		}
		h.do(http.MethodPut, "/frontends/shop", `{"key":"again"}`, header("If-Match: "+r.header.Get("ETag"))).problem(http.StatusPreconditionFailed, api.CodeMismatch)
	}
}
