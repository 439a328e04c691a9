package httpapi_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/lbnode/lbnode/httpapi"
	"github.com/lbnode/lbnode/httpapi/apitest"
	"github.com/lbnode/lbnode/state"
)

// The whole list, and one page of it, of 10,000 backends that are all down in one pool.
func BenchmarkBackends(b *testing.B) {
	store := apitest.NewStore()
	c := state.Command{Type: state.TypeTxn}
	var ch []state.StateChange
	for i := range 10_000 {
		id := fmt.Sprintf("b%05d", i)
		c.Ops = append(c.Ops, state.Op{
			Verb: state.VerbPut, Kind: state.KindBackend, ID: id,
			Value: fmt.Appendf(nil, `{"id":%q,"address":"10.0.%d.%d:80"}`, id, i/250, i%250),
		})
		ch = append(ch, state.StateChange{ID: id, Gen: 2, From: state.VerdictUnknown, To: state.VerdictDown})
	}
	for _, c := range []state.Command{c, {Type: state.TypeStates, Changes: ch}} {
		if _, err := store.Do(b.Context(), c); err != nil {
			b.Fatal(err)
		}
	}
	srv, err := httpapi.New(apitest.NewConfig(store, apitest.NewFake()))
	if err != nil {
		b.Fatal(err)
	}
	for _, target := range []string{"/backends", "/backends?limit=100&after=b05000", "/backends/b05000", "/backends/health"} {
		b.Run(target, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				rec := httptest.NewRecorder()
				srv.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, target, nil))
				if rec.Code != http.StatusOK {
					b.Fatal(rec.Code)
				}
			}
		})
	}
}
