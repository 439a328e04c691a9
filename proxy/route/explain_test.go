package route

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNearly(t *testing.T) {
	t.Parallel()
	table := newBench(t).routes(
		`{"id":"users","backend_pool":"p","match":{"path":"/users","method":"GET"}}`,
		`{"id":"beta","backend_pool":"p","priority":1,"match":{"path":"/users","headers":{"X-Beta":"1"}}}`,
		`{"id":"site","backend_pool":"p","match":{"host":"a.test","path":"/users","method":"POST"}}`,
		`{"id":"orders","backend_pool":"p","match":{"path":"/orders"}}`,
		`{"id":"usage","backend_pool":"p","match":{"path":"/usage","query":{"q":"1"}}}`,
		`{"id":"rest","backend_pool":"p"}`,
	).table()
	r := &Request{Method: "GET", Host: "b.test", Path: "/users/7", Query: "q=2", Header: http.Header{"X-Beta": {"0"}}}
	m, err := table.Match(r)
	if err != nil || m.Target.RouteID != "users" {
		t.Fatalf("Match = %+v, %v", m, err)
	}
	want := []Clause{{"path", "/users (prefix)", "/users/7", true}, {"method", "GET", "GET", true}}
	if diff := cmp.Diff(want, table.Clauses(r, "users")); diff != "" {
		t.Errorf("Clauses (-want +got):\n%s", diff)
	}
	path := Clause{"path", "/users (prefix)", "/users/7", true}
	near := []Near{
		{RouteID: "rest", Clauses: []Clause{{"path", "/ (prefix)", "/users/7", true}}, Outranked: true},
		{RouteID: "beta", Priority: 1, Clauses: []Clause{path, {"header X-Beta", "1", "0", false}}},
		{RouteID: "site", Clauses: []Clause{{"host", "a.test", "b.test", false}, path, {"method", "POST", "GET", false}}},
		{RouteID: "usage", Clauses: []Clause{{"path", "/usage (prefix)", "/users/7", false}, {"query q", "1", "2", false}}},
	}
	if diff := cmp.Diff(near, table.Nearly(r, "users", 5)); diff != "" {
		t.Errorf("Nearly (-want +got):\n%s", diff)
	}
	if got := table.Nearly(r, "users", 2); len(got) != 2 || got[0].RouteID != "rest" || got[1].RouteID != "beta" {
		t.Errorf("Nearly with a limit of 2 = %+v", got)
	}
	if got := table.Nearly(&Request{Path: "/.."}, "", 5); got != nil {
		t.Errorf("Nearly of a path that cannot be read = %+v, want none", got)
	}
}
