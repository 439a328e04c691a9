package server

import (
	"fmt"
	"strings"

	"github.com/lbnode/lbnode/state"
)

// Server is what calls need to know of a server.
type Server struct {
	ID      string   // of the backend
	API     string   // base URL of the API without a slash at the end
	Secrets []string // the first is tried first
}

// Of is a backend as a server. The error says what is missing: a secret, or a usable address.
func Of(b *state.BackendSpec) (Server, error) {
	api, err := API(b.Address)
	if err != nil {
		return Server{}, err
	}
	if len(b.BBB.Secrets) == 0 {
		return Server{}, fmt.Errorf("backend %q has no secret for the BigBlueButton API", b.ID)
	}
	return Server{ID: b.ID, API: api, Secrets: b.BBB.Secrets}, nil
}

// API is the base URL of the API at a backend's address, without a slash at the end. A base path that does not end in
// /api is completed: the address may be that of the host, of BigBlueButton, or of its API.
func API(address string) (string, error) {
	a, err := state.ParseAddress(address)
	if err != nil {
		return "", fmt.Errorf("address %q %w", address, err)
	}
	base := a.Base
	switch {
	case base == "":
		base = "/bigbluebutton/api"
	case !strings.HasSuffix(base, "/api"):
		base += "/api"
	}
	host := a.HostPort()
	if a.Scheme == "https" && a.Port == 443 || a.Scheme == "http" && a.Port == 80 {
		host = strings.TrimSuffix(strings.TrimSuffix(host, ":443"), ":80")
	}
	return a.Scheme + "://" + host + base, nil
}
