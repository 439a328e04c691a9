package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/state"
)

// Callbacks is what the node that leads knows of callbacks that it has tried. The method may be called concurrently;
// it asks that node, and returns nothing if it does not answer.
type Callbacks interface {
	Progress(ctx context.Context) map[string]CallbackProgress
}

// CallbackProgress is how far a callback has come. Its fields are those of package bbb/callback's Progress.
type CallbackProgress struct {
	Tries int       `json:"tries"`
	Next  time.Time `json:"next"` // zero = now
	Error string    `json:"error,omitempty"`
}

func callbackEndpoints() []endpoint {
	return []endpoint{
		{method: http.MethodGet, path: "/callbacks", params: []string{paramLimit, paramAfter}, handle: listCallbacks},
		{method: http.MethodPost, path: "/callbacks/{id}/retry", handle: changeCallback(state.CallbackAgain)},
		{method: http.MethodDelete, path: "/callbacks/{id}", handle: changeCallback(state.CallbackDropped)},
	}
}

// listCallbacks does GET /callbacks.
func listCallbacks(c *call) (answer, error) {
	v := c.s.cfg.Store.View()
	callbacks, header, err := page(c, v.Callbacks(), func(cb *state.Callback) string { return cb.ID })
	if err != nil {
		return answer{}, err
	}
	var progress map[string]CallbackProgress
	if len(callbacks) > 0 {
		ctx, cancel := context.WithTimeout(c.r.Context(), c.s.cfg.StatsTimeout)
		defer cancel()
		progress = c.s.cfg.Callbacks.Progress(ctx)
	}
	out := make([]api.Callback, len(callbacks))
	for i, cb := range callbacks {
		out[i] = callbackAnswer(cb, progress[cb.ID])
	}
	return answer{body: out, view: v, header: header}, nil
}

func callbackAnswer(c *state.Callback, p CallbackProgress) api.Callback {
	out := api.Callback{
		ID: c.ID, Kind: string(c.Kind), Frontend: c.Frontend, MeetingID: c.MeetingID, Method: c.Method, URL: c.URL,
		State: api.CallbackWaiting, Since: c.At.UTC(), Tries: p.Tries, Error: p.Error,
	}
	switch {
	case c.Failed:
		out.State, out.Tries, out.Error = api.CallbackFailed, c.Tries, c.Error
	case !p.Next.IsZero():
		next := p.Next.UTC()
		out.Next = &next
	}
	return out
}

// changeCallback does what an operator wants with a callback, and answers with it as it was left.
func changeCallback(outcome state.CallbackOutcome) func(*call) (answer, error) {
	return func(c *call) (answer, error) {
		id, err := c.pathID()
		if err != nil {
			return answer{}, err
		}
		if err := c.noBody(); err != nil {
			return answer{}, err
		}
		v := c.s.cfg.Store.View()
		old, ok := v.Callback(id)
		switch {
		case !ok:
			return answer{}, &failure{status: http.StatusNotFound, code: api.CodeNotFound, detail: fmt.Sprintf("there is no callback %q: it was delivered or dropped", id)}
		case outcome == state.CallbackAgain && !old.Failed:
			return c.callback(v, id)
		}
		cmd := state.BBB(state.BBBOp{Finish: &state.FinishCallbacks{IDs: []string{id}, Outcome: outcome}})
		cmd.Actor, cmd.At = c.who.actor, c.now()
		ctx, cancel := context.WithTimeout(c.r.Context(), c.s.cfg.WriteTimeout)
		defer cancel()
		if _, err := c.s.cfg.Store.Do(ctx, cmd); err != nil {
			return answer{}, err
		}
		if outcome == state.CallbackDropped {
			return answer{status: http.StatusNoContent}, nil
		}
		return c.callback(c.s.cfg.Store.View(), id)
	}
}

func (c *call) callback(v *state.View, id string) (answer, error) {
	cb, ok := v.Callback(id)
	if !ok { // delivered in this moment
		return answer{status: http.StatusNoContent}, nil
	}
	return answer{body: callbackAnswer(cb, CallbackProgress{}), view: v}, nil
}
