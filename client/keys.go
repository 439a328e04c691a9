package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/lbnode/lbnode/api"
)

// ClusterKeys says which member holds which cluster key.
func (c *Client) ClusterKeys(ctx context.Context) (api.ClusterKeys, error) {
	out, _, err := callFor[api.ClusterKeys](ctx, c, Request{Method: http.MethodGet, Path: "/cluster/keys"})
	return out, err
}

// InstallKey makes every member accept a cluster key; key is as in a key file, "" = a new one.
func (c *Client) InstallKey(ctx context.Context, key string, w Write) (api.KeyChange, error) {
	r := Request{Method: http.MethodPost, Path: "/cluster/keys", Key: w.Key}
	if key != "" {
		body, err := json.Marshal(api.InstallKeyInput{Key: key})
		if err != nil {
			return api.KeyChange{}, fmt.Errorf("encode request: %w", err)
		}
		r.Body = body
	}
	out, _, err := callFor[api.KeyChange](ctx, c, r)
	return out, err
}

// UseKey makes every member use a cluster key. With w.Force, members that do not answer are not waited for.
func (c *Client) UseKey(ctx context.Context, id string, w Write) (api.KeyChange, error) {
	return c.changeKey(ctx, http.MethodPost, Path("cluster", "keys", id, "use"), w)
}

// RemoveKey makes every member refuse a cluster key, with w.Force also if one of them may need it.
func (c *Client) RemoveKey(ctx context.Context, id string, w Write) (api.KeyChange, error) {
	return c.changeKey(ctx, http.MethodDelete, Path("cluster", "keys", id), w)
}

func (c *Client) changeKey(ctx context.Context, method, path string, w Write) (api.KeyChange, error) {
	r := Request{Method: method, Path: path, Key: w.Key}
	if w.Force {
		r.Query = url.Values{"force": {"true"}}
	}
	out, _, err := callFor[api.KeyChange](ctx, c, r)
	return out, err
}
