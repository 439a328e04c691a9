package client

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"

	"github.com/lbnode/lbnode/api"
)

// Collection is the objects of one kind. T is what the API answers, In what it takes.
type Collection[T, In any] struct {
	c    *Client
	path string
}

// Write says how a write is to be done. The zero value is fine.
type Write struct {
	IfMatch uint64 // the modify_index that the object must have; 0 = any
	Key     string // Idempotency-Key; "" = a new one
	Force   bool   // of Delete: without drain, and whatever still refers to the object
}

// Backends are the destination servers. Their methods take an address wherever they take an id.
func (c *Client) Backends() Collection[api.Backend, api.BackendInput] {
	return Collection[api.Backend, api.BackendInput]{c, "backends"}
}

// Pools are the named groups of backends.
func (c *Client) Pools() Collection[api.Pool, api.PoolInput] {
	return Collection[api.Pool, api.PoolInput]{c, "pools"}
}

// Routes send requests to pools.
func (c *Client) Routes() Collection[api.Route, api.RouteInput] {
	return Collection[api.Route, api.RouteInput]{c, "routes"}
}

// Frontends are the tenants in front of the balancer.
func (c *Client) Frontends() Collection[api.Frontend, api.FrontendInput] {
	return Collection[api.Frontend, api.FrontendInput]{c, "frontends"}
}

// List returns all objects in the order of their ids, as of one moment.
func (l Collection[T, In]) List(ctx context.Context) ([]T, error) {
	out, _, err := callFor[[]T](ctx, l.c, Request{Method: http.MethodGet, Path: Path(l.path)})
	return out, err
}

// All goes through the objects in the order of their ids, page by page. Objects that change meanwhile may be
// seen before or after. It ends with the first error.
func (l Collection[T, In]) All(ctx context.Context, page int) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		after := ""
		for {
			q := url.Values{"limit": {strconv.Itoa(min(max(page, 1), api.MaxLimit))}}
			if after != "" {
				q.Set("after", after)
			}
			items, resp, err := callFor[[]T](ctx, l.c, Request{Method: http.MethodGet, Path: Path(l.path), Query: q})
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, item := range items {
				if !yield(item, nil) {
					return
				}
			}
			next := api.NextCursor(resp.Header)
			if next == "" || next == after {
				return
			}
			after = next
		}
	}
}

// Get returns one object.
func (l Collection[T, In]) Get(ctx context.Context, id string) (T, error) {
	out, _, err := callFor[T](ctx, l.c, Request{Method: http.MethodGet, Path: Path(l.path, id)})
	return out, err
}

// Create makes an object. It says false and no error if exactly this object existed.
func (l Collection[T, In]) Create(ctx context.Context, in In, w Write) (_ T, created bool, _ error) {
	out, resp, err := send[T](ctx, l.c, http.MethodPost, Path(l.path), in, w)
	return out, resp != nil && resp.Status == http.StatusCreated, err
}

// Put creates an object or replaces it.
func (l Collection[T, In]) Put(ctx context.Context, id string, in In, w Write) (T, error) {
	out, _, err := send[T](ctx, l.c, http.MethodPut, Path(l.path, id), in, w)
	return out, err
}

// Patch merges a document into an object (RFC 7396): what is left out stays, null means the default.
func (l Collection[T, In]) Patch(ctx context.Context, id string, patch any, w Write) (T, error) {
	out, _, err := send[T](ctx, l.c, http.MethodPatch, Path(l.path, id), patch, w)
	return out, err
}

// Delete removes an object. A backend drains first unless w.Force is set.
func (l Collection[T, In]) Delete(ctx context.Context, id string, w Write) error {
	r := Request{Method: http.MethodDelete, Path: Path(l.path, id), IfMatch: w.IfMatch, Key: w.Key}
	if w.Force {
		r.Query = url.Values{"force": {"true"}}
	}
	_, err := l.c.Do(ctx, r)
	return err
}

func send[T any](ctx context.Context, c *Client, method, path string, in any, w Write) (T, *Response, error) {
	body, err := json.Marshal(in)
	if err != nil {
		var none T
		return none, nil, fmt.Errorf("encode request: %w", err)
	}
	return callFor[T](ctx, c, Request{Method: method, Path: path, Body: body, IfMatch: w.IfMatch, Key: w.Key})
}

func callFor[T any](ctx context.Context, c *Client, r Request) (T, *Response, error) {
	resp, err := c.Do(ctx, r)
	if err != nil {
		var none T
		return none, nil, err
	}
	out, err := Decode[T](resp)
	return out, resp, err
}

// Decode reads an answer. Fields that this version does not know are ignored.
func Decode[T any](resp *Response) (T, error) {
	var out T
	if err := json.Unmarshal(resp.Body, &out); err != nil {
		return out, fmt.Errorf("decode the answer of %s: %w", resp.Node, err)
	}
	return out, nil
}
