package httpapi

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/state"
)

// Drain knows how far the nodes have followed a change of a backend.
type Drain interface {
	// Await returns once the level (api.WaitApplied or api.WaitIdle) is reached for the index on every live
	// member, or when ctx ends, with what is known then. It changes nothing.
	Await(ctx context.Context, backendID string, index uint64, level string) DrainStatus
}

// DrainStatus is how far the members are, each of them in one of the lists, by id.
type DrainStatus struct {
	Reached     bool
	Confirmed   []string
	Unconfirmed []string // alive, but not there yet or without an answer
	Dead        []string // not waited for
	Fenced      []string // without an answer, but certainly fenced by now: not waited for
	InFlight    int64    // sum over the members that answered
}

const (
	paramWait    = "wait"
	paramTimeout = "timeout"
	paramIndex   = "index"
)

// waitSpec is a wait as a client asks for it.
type waitSpec struct {
	level   string // "" = none
	timeout time.Duration
}

func (c *call) waitSpec(levels ...string) (waitSpec, error) {
	w := waitSpec{level: c.params.get(paramWait), timeout: api.DefaultWait}
	if err := oneOf(c.params, paramWait, levels...); err != nil {
		return w, err
	}
	if !url.Values(c.params).Has(paramTimeout) {
		return w, nil
	}
	if w.level == "" {
		return w, badParam(paramTimeout, "goes with %q only", paramWait)
	}
	d, err := time.ParseDuration(c.params.get(paramTimeout))
	if err != nil || d < 0 || d > api.MaxWait {
		return w, badParam(paramTimeout, "must be a duration from 0s to %s, such as 30s, got %q", api.MaxWait, c.params.get(paramTimeout))
	}
	w.timeout = d
	return w, nil
}

// waiting adds ?wait to a change of a backend. A mistake in it is found before anything is changed.
func waiting(change func(*call) (answer, error), levels ...string) func(*call) (answer, error) {
	return func(c *call) (answer, error) {
		w, err := c.waitSpec(levels...)
		if err != nil {
			return answer{}, err
		}
		if w.level == "" {
			return change(c)
		}
		id, _, err := resourceOf(state.KindBackend).resolve(c, c.s.cfg.Store.View())
		if err != nil {
			return answer{}, err
		}
		a, err := change(c)
		if err != nil {
			return answer{}, err
		}
		out := !slices.Contains(levels, api.WaitIdle) // of what is expected: in use
		return c.await(w, id, a.view.Index, func(s state.AdminState) bool { return (s == state.AdminReady) == out }), nil
	}
}

// await waits. holds says whether an admin_state is still what the change made of it: when another operator
// has undone it, nothing is ever reached.
func (c *call) await(w waitSpec, id string, index uint64, holds func(state.AdminState) bool) answer {
	// The server bounds the reading of a request; while it is waited for, nothing is read.
	_ = http.NewResponseController(c.w).SetReadDeadline(time.Time{}) // not every writer has one
	st := DrainStatus{Reached: true}
	if w.level != api.WaitCommitted { // an answer to a change means that it is committed
		ctx, cancel := context.WithTimeout(c.r.Context(), w.timeout)
		defer cancel()
		st = c.s.cfg.Drain.Await(ctx, id, index, w.level)
	}
	v := c.s.cfg.Store.View()
	out := api.WaitResult{
		Wait: w.level, Reached: st.Reached, Index: index, InFlight: st.InFlight,
		Confirmed: list(st.Confirmed), Unconfirmed: list(st.Unconfirmed), Dead: list(st.Dead), Fenced: list(st.Fenced),
	}
	a := answer{view: v}
	if b, ok := v.Backend(id); ok {
		now := c.s.converter(v).backend(b)
		out.Backend, out.Reached = &now, st.Reached && holds(b.AdminState)
		if w.level == api.WaitCommitted {
			out.InFlight = now.InFlight
		}
		a.header = http.Header{"Etag": {api.ETag(b.ModifyIndex)}}
	}
	if !out.Reached {
		a.status = http.StatusAccepted
	}
	a.body = out
	return a
}

// getWait does GET /backends/{id}/wait: what ?wait on a change does, without the change.
func getWait(c *call) (answer, error) {
	w, err := c.waitSpec(api.WaitApplied, api.WaitIdle)
	if err != nil {
		return answer{}, err
	}
	if w.level == "" {
		return answer{}, badParam(paramWait, "must be there: %s or %s", api.WaitApplied, api.WaitIdle)
	}
	index, given, err := c.params.number(paramIndex, 1, 1<<63-1)
	if err != nil {
		return answer{}, err
	}
	v, res := c.s.cfg.Store.View(), resourceOf(state.KindBackend)
	id, old, err := res.resolve(c, v)
	if err != nil {
		return answer{}, err
	}
	if !given {
		if old == nil {
			return answer{}, res.missing(id)
		}
		index = v.Index
	}
	return c.await(w, id, index, func(s state.AdminState) bool { return w.level != api.WaitIdle || s != state.AdminReady }), nil
}
