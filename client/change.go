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

// Txn makes several changes in one log entry, all or none. The pointers of an error begin with the operation.
func (c *Client) Txn(ctx context.Context, ops []api.TxnOp, w Write) (api.TxnResult, error) {
	out, _, err := send[api.TxnResult](ctx, c, http.MethodPost, "/txn", api.TxnInput{Ops: ops}, w)
	return out, err
}

// HistoryQuery says which changes are meant. The zero value is the newest 100.
type HistoryQuery struct {
	Limit  int    // 0 = 100
	Before uint64 // only those before this index; 0 = all
	Kind   string // only those of objects of this kind; "" = all
	ID     string // only those of objects with this id; "" = all
}

// History returns changes, the newest first.
func (c *Client) History(ctx context.Context, q HistoryQuery) ([]api.Change, error) {
	v := url.Values{}
	if q.Limit > 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	if q.Before > 0 {
		v.Set("before", strconv.FormatUint(q.Before, 10))
	}
	if q.Kind != "" {
		v.Set("kind", q.Kind)
	}
	if q.ID != "" {
		v.Set("id", q.ID)
	}
	out, _, err := callFor[[]api.Change](ctx, c, Request{Method: http.MethodGet, Path: "/history", Query: v})
	return out, err
}

// Change returns the change at a log index.
func (c *Client) Change(ctx context.Context, index uint64) (api.Change, error) {
	out, _, err := callFor[api.Change](ctx, c, Request{Method: http.MethodGet, Path: Path("history", strconv.FormatUint(index, 10))})
	return out, err
}

// Diff returns what changed after the log index from up to the log index to; to 0 = now.
func (c *Client) Diff(ctx context.Context, from, to uint64) (api.Diff, error) {
	q := url.Values{"from": {strconv.FormatUint(from, 10)}}
	if to > 0 {
		q.Set("to", strconv.FormatUint(to, 10))
	}
	out, _, err := callFor[api.Diff](ctx, c, Request{Method: http.MethodGet, Path: "/history/diff", Query: q})
	return out, err
}

// Rollback undoes a change by a new one. Without w.Force it is refused if what it changed has changed since.
func (c *Client) Rollback(ctx context.Context, index uint64, w Write) (api.RollbackResult, error) {
	r := Request{Method: http.MethodPost, Path: Path("history", strconv.FormatUint(index, 10), "rollback"), Key: w.Key}
	if w.Force {
		r.Query = url.Values{"force": {"true"}}
	}
	out, _, err := callFor[api.RollbackResult](ctx, c, r)
	return out, err
}

// ApplyOptions say how a document is to be applied. The zero value changes what it lists.
type ApplyOptions struct {
	DryRun bool   // change nothing
	Prune  bool   // delete what the lists of the document do not name
	Key    string // Idempotency-Key; "" = a new one
	// ConfirmWithin undoes the change after this time unless Confirm comes before; 0 = it stays.
	ConfirmWithin time.Duration
}

// Apply makes the configuration what a document says, in one change. Lists that are nil are sent as left out.
func (c *Client) Apply(ctx context.Context, in api.ApplyInput, o ApplyOptions) (api.ApplyResult, error) {
	var none api.ApplyResult
	doc := map[string][]json.RawMessage{}
	for name, list := range map[string][]json.RawMessage{"backends": in.Backends, "pools": in.Pools, "routes": in.Routes, "frontends": in.Frontends} {
		if list != nil {
			doc[name] = list
		}
	}
	body, err := json.Marshal(doc)
	if err != nil {
		return none, fmt.Errorf("encode request: %w", err)
	}
	r := Request{Method: http.MethodPost, Path: "/apply", Query: url.Values{}, Body: body, Key: o.Key}
	if o.DryRun {
		r.Query.Set("dry_run", "true")
	}
	if o.Prune {
		r.Query.Set("prune", "true")
	}
	if o.ConfirmWithin != 0 {
		r.Query.Set("confirm_within", o.ConfirmWithin.String())
	}
	out, _, err := callFor[api.ApplyResult](ctx, c, r)
	return out, err
}

// Pending lists the changes that are undone unless somebody confirms them, the oldest first.
func (c *Client) Pending(ctx context.Context) ([]api.Pending, error) {
	out, _, err := callFor[[]api.Pending](ctx, c, Request{Method: http.MethodGet, Path: "/apply/pending"})
	return out, err
}

// Confirm lets the change at an index stay, or with 0 the only one that waits for it.
func (c *Client) Confirm(ctx context.Context, index uint64, w Write) (api.ConfirmResult, error) {
	r := Request{Method: http.MethodPost, Path: "/apply/confirm", Key: w.Key}
	if index > 0 {
		r.Query = url.Values{"index": {strconv.FormatUint(index, 10)}}
	}
	out, _, err := callFor[api.ConfirmResult](ctx, c, r)
	return out, err
}
