package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/client"
)

// Backend is what the cluster knows of this server.
type Backend struct {
	ID         string
	AdminState string
	Idle       bool // nothing runs on it any more, as far as the cluster sees
}

// The admin states that the agent asks for or looks at.
const (
	stateReady   = "ready"
	stateStopped = "stopped"
)

// Balancer is the cluster. Its methods may block until their context ends.
type Balancer interface {
	// Find returns this server's backend, and makes it where there is none and that is wanted.
	Find(ctx context.Context) (Backend, error)
	// Look returns the backend as it is now.
	Look(ctx context.Context, id string) (Backend, error)
	// Report says how loaded the server is; known is false when that is not known, but the server is there.
	Report(ctx context.Context, id string, r Report, known bool) error
	// Admin sets the admin state.
	Admin(ctx context.Context, id, state string) error
}

// errNotRegistered says that there is no backend and that none was to be made.
var errNotRegistered = errors.New("the cluster has no such backend: start the agent with --register, or add the backend with lbctl")

// native is the admin API of lbnode.
type native struct {
	c   *client.Client
	cfg Config
	bbb *Server // nil = another service
}

// newClient makes the client of either API.
func newClient(cfg Config, token, version string) (*client.Client, error) {
	cc := client.DefaultConfig()
	cc.URLs, cc.Token, cc.UserAgent = cfg.API, token, "lbagent/"+version
	cc.Timeout = callTimeout
	if cfg.CAFile != "" {
		pem, err := os.ReadFile(cfg.CAFile)
		if err != nil {
			return nil, fmt.Errorf("--ca-file: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--ca-file %s holds no certificate in PEM", cfg.CAFile)
		}
		cc.Transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
	}
	return client.New(cc)
}

func (n *native) ref() string {
	switch {
	case n.cfg.Backend != "":
		return n.cfg.Backend
	case n.cfg.ID != "":
		return n.cfg.ID
	}
	return n.bbb.Address
}

// Find implements [Balancer]. A BigBlueButton server's secret is kept as the server has it.
func (n *native) Find(ctx context.Context) (Backend, error) {
	b, err := n.c.Backends().Get(ctx, n.ref())
	switch {
	case errors.Is(err, client.ErrNotFound) && n.cfg.Register:
		return n.create(ctx)
	case errors.Is(err, client.ErrNotFound):
		return Backend{}, fmt.Errorf("%s: %w", n.ref(), errNotRegistered)
	case err != nil:
		return Backend{}, err
	}
	if n.bbb != nil {
		b, err = n.c.Backends().Patch(ctx, b.ID, map[string]any{"bbb": map[string]any{"secrets": []string{n.bbb.Secret}}}, client.Write{})
	}
	return seen(b), err
}

func seen(b api.Backend) Backend {
	return Backend{ID: b.ID, AdminState: b.AdminState, Idle: b.Drained}
}

func (n *native) create(ctx context.Context) (Backend, error) {
	in := map[string]any{"address": n.cfg.Backend, "weight": n.cfg.Weight, "load_factor": n.cfg.LoadFactor, "admin_state": n.cfg.AdminState}
	pool := n.cfg.Pool
	if n.bbb != nil {
		in["address"], in["bbb"] = n.bbb.Address, map[string]any{"secrets": []string{n.bbb.Secret}}
		if pool == "" {
			pool = bbbPool
		}
		if err := n.ensurePool(ctx, pool); err != nil {
			return Backend{}, err
		}
	}
	for key, v := range map[string]string{"id": n.cfg.ID, "pool": pool} {
		if v != "" {
			in[key] = v
		}
	}
	if len(n.cfg.Tags) > 0 {
		in["tags"] = n.cfg.Tags
	}
	resp, err := n.do(ctx, http.MethodPost, client.Path("backends"), in)
	if err != nil {
		return Backend{}, fmt.Errorf("register: %w", err)
	}
	b, err := client.Decode[api.Backend](resp)
	return seen(b), err
}

// ensurePool makes a pool of BigBlueButton servers where there is none: one made by the way would check them as
// web servers.
func (n *native) ensurePool(ctx context.Context, id string) error {
	_, err := n.c.Pools().Get(ctx, id)
	if !errors.Is(err, client.ErrNotFound) {
		return err
	}
	_, err = n.do(ctx, http.MethodPost, client.Path("pools"), map[string]any{"id": id, "health": map[string]any{"type": "bbb"}})
	if errors.Is(err, client.ErrConflict) { // another agent was faster
		return nil
	}
	return err
}

func (n *native) do(ctx context.Context, method, path string, body any) (*client.Response, error) {
	return call(ctx, n.c, method, path, body)
}

// Look implements [Balancer].
func (n *native) Look(ctx context.Context, id string) (Backend, error) {
	b, err := n.c.Backends().Get(ctx, id)
	return seen(b), err
}

// Report implements [Balancer].
func (n *native) Report(ctx context.Context, id string, r Report, known bool) error {
	if !known {
		_, err := n.Look(ctx, id) // that there is still such a backend
		return err
	}
	body := map[string]any{"load": r.Load}
	if r.BBB {
		body["meetings"], body["attendees"] = r.Meetings, r.Attendees
	}
	_, err := n.do(ctx, http.MethodPost, client.Path("backends", id, "load"), body)
	return err
}

// Admin implements [Balancer].
func (n *native) Admin(ctx context.Context, id, state string) error {
	verb := "disable"
	if state == stateReady {
		verb = "enable"
	}
	_, err := n.do(ctx, http.MethodPost, client.Path("backends", id, verb), nil)
	return err
}

// isJWT says that a token is not one of lbnode, which have a prefix and no dots.
func isJWT(token string) bool {
	return strings.HasPrefix(token, "ey") && strings.Count(token, ".") == 2
}
