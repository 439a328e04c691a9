package httpapi

import (
	"github.com/gorilla/mux"

	"github.com/lbnode/lbnode/state"
)

// Operation is what tests may know of an endpoint.
type Operation struct {
	Method, Path string
	Params       []string
	Lenient      bool
}

// Operations lists the endpoints.
func (s *Server) Operations() []Operation {
	var out []Operation
	for _, e := range s.endpoints() {
		out = append(out, Operation{e.method, e.path, e.params, e.lenient})
	}
	return out
}

// Router is the router itself.
func (s *Server) Router() *mux.Router { return s.router }

// ReadOnly lists the fields of a kind that no operator writes.
func ReadOnly(k state.Kind) []string { return resourceOf(k).readOnly }

// AccessTable is the role that each endpoint needs, by method and path; "" = none.
func AccessTable() map[string]string {
	out := map[string]string{}
	for e, a := range accessTable() {
		out[e] = string(a.role)
	}
	return out
}
