package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/lbnode/lbnode/api"
)

// DrainNode takes a node out of use until UndrainNode, also across a restart.
func (c *Client) DrainNode(ctx context.Context, id string, w Write) (api.Node, error) {
	return c.orderNode(ctx, id, "drain", w)
}

// UndrainNode brings a node back into use.
func (c *Client) UndrainNode(ctx context.Context, id string, w Write) (api.Node, error) {
	return c.orderNode(ctx, id, "undrain", w)
}

// LeaveNode lets a node drain, give up its membership for good and end. It returns once that has begun.
func (c *Client) LeaveNode(ctx context.Context, id string, w Write) (api.Node, error) {
	return c.orderNode(ctx, id, "leave", w)
}

func (c *Client) orderNode(ctx context.Context, id, order string, w Write) (api.Node, error) {
	out, _, err := callFor[api.Node](ctx, c, Request{Method: http.MethodPost, Path: Path("nodes", id, order), Key: w.Key})
	return out, err
}

// Settings returns what holds for the whole cluster.
func (c *Client) Settings(ctx context.Context) (api.Settings, error) {
	out, _, err := callFor[api.Settings](ctx, c, Request{Method: http.MethodGet, Path: "/settings"})
	return out, err
}

// PatchSettings merges a document into the settings (RFC 7396).
func (c *Client) PatchSettings(ctx context.Context, patch any, w Write) (api.Settings, error) {
	body, err := json.Marshal(patch)
	if err != nil {
		return api.Settings{}, fmt.Errorf("encode request: %w", err)
	}
	out, _, err := callFor[api.Settings](ctx, c, Request{Method: http.MethodPatch, Path: "/settings", Body: body, IfMatch: w.IfMatch, Key: w.Key})
	return out, err
}
