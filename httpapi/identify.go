package httpapi

import (
	"errors"
	"net/http"

	"github.com/lbnode/lbnode/state"
)

// Identity is whose token a request brings.
type Identity struct {
	Actor string // for the history
	Role  state.Role
	Bound bool // to some pools
	Open  bool // without a token, since there is none
}

// Identify finds who makes a request to another API of this node, by the same tokens and bounds. status is 401 or 429 if
// it is nobody, and 0 otherwise.
func (s *Server) Identify(r *http.Request) (who Identity, status int) {
	p, err := s.authenticate(r)
	var f *failure
	switch {
	case errors.As(err, &f):
		return Identity{}, f.status
	case err != nil:
		return Identity{}, http.StatusUnauthorized
	}
	return Identity{Actor: p.actor, Role: p.role, Bound: len(p.pools) > 0, Open: p.open}, 0
}
