package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/state"
)

// Reads brings this node's view up to date before it is read. It may be called concurrently.
type Reads interface {
	// CatchUp returns once Store.View shows what the level (api.ReadLeader or api.ReadLinearizable) promises. The
	// error wraps state.ErrNoLeader, or is that of ctx.
	CatchUp(ctx context.Context, level string) error
}

const paramConsistency = "consistency"

// readParams are what every read takes.
func readParams() []string { return []string{paramConsistency, paramMinIndex, paramTimeout} }

// reads says that an endpoint answers from what this node knows, so that how new that is can be asked for.
func (e endpoint) reads() bool { return e.method == http.MethodGet && !e.lenient }

// withReadParams adds what every read takes to a read.
func (e endpoint) withReadParams() endpoint {
	if !e.reads() {
		return e
	}
	e.ownTimeout = slices.Contains(e.params, paramTimeout)
	e.params = slices.Clone(e.params)
	for _, p := range readParams() {
		if !slices.Contains(e.params, p) {
			e.params = append(e.params, p)
		}
	}
	return e
}

// catchUp does ?consistency and ?min_index: it waits, for a bounded time, until this node is as new as the client
// wants it.
func (c *call) catchUp(e endpoint) error {
	if !e.reads() {
		return nil
	}
	if err := oneOf(c.params, paramConsistency, api.ReadStale, api.ReadLeader, api.ReadLinearizable); err != nil {
		return err
	}
	index, wantsIndex, err := c.params.number(paramMinIndex, 0, 1<<63-1)
	if err != nil {
		return err
	}
	limit, err := c.readTimeout(e)
	if err != nil {
		return err
	}
	level := c.params.get(paramConsistency)
	wantsLevel := level != "" && level != api.ReadStale
	if !wantsIndex && !wantsLevel {
		return nil
	}
	// The server bounds the reading of a request; while it is waited for, nothing is read.
	_ = http.NewResponseController(c.w).SetReadDeadline(time.Time{}) // not every writer has one
	ctx, cancel := context.WithTimeout(c.r.Context(), limit)
	defer cancel()
	if wantsLevel {
		if err := c.s.cfg.Reads.CatchUp(ctx, level); err != nil {
			return c.notReached(ctx, err, "this node has not caught up with the leader within %s; it is at index %d", limit, c.s.cfg.Store.View().Index)
		}
	}
	if wantsIndex {
		return c.waitFor(ctx, limit, index)
	}
	return nil
}

// waitFor waits until this node has applied an index; ctx ends after limit.
func (c *call) waitFor(ctx context.Context, limit time.Duration, index uint64) error {
	if err := c.s.cfg.Store.Wait(ctx, index); err != nil {
		return c.notReached(ctx, err, "within %s this node has come to index %d, not yet to %d", limit, c.s.cfg.Store.View().Index, index)
	}
	return nil
}

// notReached is a wait that was in vain.
func (c *call) notReached(ctx context.Context, err error, format string, args ...any) error {
	switch {
	case errors.Is(err, state.ErrNoLeader):
		return &failure{
			status: http.StatusServiceUnavailable, code: api.CodeNoLeader,
			detail: "the cluster has no leader now, so nobody knows what is newest; try again, or read what this node has with consistency=stale",
		}
	case ctx.Err() != nil:
		return &failure{
			status: http.StatusGatewayTimeout, code: api.CodeIndexNotReached,
			detail: fmt.Sprintf(format, args...) + "; try again or ask another node",
		}
	}
	return err
}

// readTimeout is ?timeout, where it does not belong to something else.
func (c *call) readTimeout(e endpoint) (time.Duration, error) {
	if e.ownTimeout || !url.Values(c.params).Has(paramTimeout) {
		return c.s.cfg.IndexTimeout, nil
	}
	d, err := time.ParseDuration(c.params.get(paramTimeout))
	if err != nil || d < 0 || d > api.MaxReadWait {
		return 0, badParam(paramTimeout, "must be a duration from 0s to %s, such as 5s, got %q", api.MaxReadWait, c.params.get(paramTimeout))
	}
	return d, nil
}
