package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/lbnode/lbnode/api"
)

// Enable sets a backend's admin_state to ready. It takes an id or an address.
func (c *Client) Enable(ctx context.Context, ref string, w Write) (api.Backend, error) {
	return c.switchBackend(ctx, ref, "enable", w)
}

// Disable sets a backend's admin_state to stopped: it gets nothing new, and what runs on it finishes.
func (c *Client) Disable(ctx context.Context, ref string, w Write) (api.Backend, error) {
	return c.switchBackend(ctx, ref, "disable", w)
}

func (c *Client) switchBackend(ctx context.Context, ref, verb string, w Write) (api.Backend, error) {
	out, _, err := callFor[api.Backend](ctx, c, Request{Method: http.MethodPost, Path: Path("backends", ref, verb), IfMatch: w.IfMatch, Key: w.Key})
	return out, err
}

// Wait asks how far the nodes have followed a change of a backend: level is api.WaitApplied or api.WaitIdle,
// index that of the change, or 0 for what the asked node has. It returns once that is reached or the timeout
// has passed, which must be below the client's own; see Reached for which of both.
func (c *Client) Wait(ctx context.Context, ref, level string, index uint64, timeout time.Duration) (api.WaitResult, error) {
	q := url.Values{"wait": {level}, "timeout": {timeout.String()}}
	if index > 0 {
		q.Set("index", strconv.FormatUint(index, 10))
	}
	out, _, err := callFor[api.WaitResult](ctx, c, Request{Method: http.MethodGet, Path: Path("backends", ref, "wait"), Query: q})
	return out, err
}

// Health returns the verdict on every backend.
func (c *Client) Health(ctx context.Context) (api.Health, error) {
	out, _, err := callFor[api.Health](ctx, c, Request{Method: http.MethodGet, Path: "/backends/health"})
	return out, err
}

// VerboseHealth returns the verdict on every backend with what each node says.
func (c *Client) VerboseHealth(ctx context.Context) (api.VerboseHealth, error) {
	out, _, err := callFor[api.VerboseHealth](ctx, c, Request{Method: http.MethodGet, Path: "/backends/health", Query: url.Values{"verbose": {"true"}}})
	return out, err
}

// Stats returns what the proxies count: with api.ScopeNode those of the node that answers, else all.
func (c *Client) Stats(ctx context.Context, scope string) (api.Stats, error) {
	out, _, err := callFor[api.Stats](ctx, c, Request{Method: http.MethodGet, Path: "/stats", Query: url.Values{"scope": {scope}}})
	return out, err
}

// NodeStats returns the counters of one node; with its id in Missing if it did not answer.
func (c *Client) NodeStats(ctx context.Context, id string) (api.Stats, error) {
	out, _, err := callFor[api.Stats](ctx, c, Request{Method: http.MethodGet, Path: "/stats", Query: url.Values{"scope": {api.ScopeNode}, "node": {id}}})
	return out, err
}

// Cluster returns the state of the cluster as the node that answers sees it.
func (c *Client) Cluster(ctx context.Context) (api.Cluster, error) {
	out, _, err := callFor[api.Cluster](ctx, c, Request{Method: http.MethodGet, Path: "/cluster"})
	return out, err
}

// Nodes returns the members.
func (c *Client) Nodes(ctx context.Context) ([]api.Node, error) {
	out, _, err := callFor[[]api.Node](ctx, c, Request{Method: http.MethodGet, Path: "/nodes"})
	return out, err
}

// RemoveNode takes a member out for good. Without w.Force it is refused if that would cost the quorum.
func (c *Client) RemoveNode(ctx context.Context, id string, w Write) error {
	r := Request{Method: http.MethodDelete, Path: Path("nodes", id), Key: w.Key}
	if w.Force {
		r.Query = url.Values{"force": {"true"}}
	}
	_, err := c.Do(ctx, r)
	return err
}

// TransferLeader hands leadership to a voter; "" = the best one.
func (c *Client) TransferLeader(ctx context.Context, to string, w Write) error {
	body, err := json.Marshal(api.TransferInput{To: to})
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	_, err = c.Do(ctx, Request{Method: http.MethodPost, Path: "/cluster/transfer-leader", Body: body, Key: w.Key})
	return err
}
