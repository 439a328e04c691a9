package agent

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/lbnode/lbnode/client"
)

// b3scale is the API that b3scale's own agent speaks, for clusters that have no tokens but its shared secret. It
// knows a heartbeat and no load: that, the nodes find themselves.
type b3scale struct {
	c   *client.Client
	cfg Config
	bbb Server
}

// mintJWT makes a token of b3scale for a node's agent: HS384 with the shared secret's bytes.
func mintJWT(secret []byte, ref string, at time.Time) (string, error) {
	part := func(v any) (string, error) {
		b, err := json.Marshal(v)
		return base64.RawURLEncoding.EncodeToString(b), err
	}
	head, err := part(map[string]string{"alg": "HS384", "typ": "JWT"})
	if err != nil {
		return "", err
	}
	claims, err := part(map[string]any{"scope": "b3scale:node", "sub": ref, "iat": at.Unix(), "jti": rand.Text()[:24]})
	if err != nil {
		return "", err
	}
	mac := hmac.New(sha512.New384, secret)
	mac.Write([]byte(head + "." + claims))
	return head + "." + claims + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)), nil
}

// b3Backend is the part of b3scale's backend that the agent looks at.
type b3Backend struct {
	ID         string `json:"id"`
	AdminState string `json:"admin_state"`
	Meetings   int    `json:"meetings_count"`
}

func (b b3Backend) seen() Backend {
	return Backend{ID: b.ID, AdminState: b.AdminState, Idle: b.Meetings == 0}
}

func (b *b3scale) call(ctx context.Context, method, path string, body any) (Backend, error) {
	resp, err := call(ctx, b.c, method, "/api/v1"+path, body)
	if err != nil {
		return Backend{}, err
	}
	out, err := client.Decode[b3Backend](resp)
	return out.seen(), err
}

// Find implements [Balancer].
func (b *b3scale) Find(ctx context.Context) (Backend, error) {
	host := map[string]any{"host": b.bbb.Address, "secret": b.bbb.Secret}
	found, err := b.call(ctx, http.MethodGet, "/agent/backend", nil)
	switch {
	case errors.Is(err, client.ErrNotFound) && b.cfg.Register:
		return b.call(ctx, http.MethodPost, "/backends", map[string]any{
			"bbb": host, "admin_state": b.cfg.AdminState, "load_factor": b.cfg.LoadFactor, "settings": map[string]any{"tags": b.cfg.Tags},
		})
	case errors.Is(err, client.ErrNotFound):
		return Backend{}, fmt.Errorf("agent %s: %w", b.cfg.Ref, errNotRegistered)
	case err != nil:
		return Backend{}, err
	}
	return b.call(ctx, http.MethodPatch, client.Path("backends", found.ID), map[string]any{"bbb": host, "load_factor": b.cfg.LoadFactor})
}

// Look implements [Balancer].
func (b *b3scale) Look(ctx context.Context, id string) (Backend, error) {
	return b.call(ctx, http.MethodGet, client.Path("backends", id), nil)
}

// Report implements [Balancer].
func (b *b3scale) Report(ctx context.Context, _ string, _ Report, _ bool) error {
	_, err := call(ctx, b.c, http.MethodPost, "/api/v1/agent/heartbeat", nil)
	return err
}

// Admin implements [Balancer].
func (b *b3scale) Admin(ctx context.Context, id, state string) error {
	_, err := b.call(ctx, http.MethodPatch, client.Path("backends", id), map[string]any{"admin_state": state})
	return err
}

// call sends JSON to any node.
func call(ctx context.Context, c *client.Client, method, path string, body any) (*client.Response, error) {
	r := client.Request{Method: method, Path: path}
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("encode %s %s: %w", strings.ToLower(method), path, err)
		}
		r.Body = b
	}
	return c.Do(ctx, r)
}
