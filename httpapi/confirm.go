package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/state"
)

const paramConfirmWithin = "confirm_within"

// confirmWithin reads ?confirm_within; 0 = the change stays without a confirmation.
func (c *call) confirmWithin() (time.Duration, error) {
	if !url.Values(c.params).Has(paramConfirmWithin) {
		return 0, nil
	}
	d, err := time.ParseDuration(c.params.get(paramConfirmWithin))
	if err != nil || d < api.MinConfirm || d > api.MaxConfirm {
		return 0, badParam(paramConfirmWithin, "must be a duration from %s to %s, such as 5m, got %q", api.MinConfirm, api.MaxConfirm, c.params.get(paramConfirmWithin))
	}
	return d, nil
}

// confirmBy is until when the change at an index must be confirmed; nil if it stays without.
func (c *call) confirmBy(index uint64) *time.Time {
	p, ok := c.s.cfg.Store.View().Pending(index)
	if !ok {
		return nil
	}
	return moment(p.Deadline)
}

// doneBefore finds the change that this very request made when it came before.
func (c *call) doneBefore(v *state.View) (*state.Change, bool) {
	res, ok := v.ResultOf(c.requestID())
	if !ok || res.Refusal != nil {
		return nil, false
	}
	ch, ok := v.Change(res.Index)
	return ch, ok && ch.RequestID == c.requestID()
}

// listPending does GET /apply/pending.
func listPending(c *call) (answer, error) {
	v := c.s.cfg.Store.View()
	out := []api.Pending{}
	for p := range v.Pendings() {
		out = append(out, api.Pending{
			Index: p.Index, Time: p.Change.At.UTC(), Actor: p.Change.Actor, Summary: p.Change.Summary, ConfirmBy: p.Deadline.UTC(),
			Remaining: max(p.Deadline.Sub(c.now()), 0).Round(time.Millisecond).String(), Objects: objectChanges(p.Change.Objects),
		})
	}
	return answer{body: out, view: v}, nil
}

// confirm does POST /apply/confirm: a change that waits for it stays.
func confirm(c *call) (answer, error) {
	index, given, err := c.params.number(paramIndex, 1, 1<<63-1)
	if err != nil {
		return answer{}, err
	}
	if err := c.noBody(); err != nil {
		return answer{}, err
	}
	if !given {
		if index, err = c.onlyPending(); err != nil {
			return answer{}, err
		}
	}
	res, err := c.propose(&batch{settle: &state.Settlement{Index: index}}, fmt.Sprintf("confirmed change %d", index))
	if err != nil {
		return answer{}, err
	}
	return answer{body: api.ConfirmResult{Index: res.Index, Confirmed: index}}, nil
}

// onlyPending is the index of the one change that waits for a confirmation. This node may not yet know of it, so
// it catches up first.
func (c *call) onlyPending() (uint64, error) {
	ctx, cancel := context.WithTimeout(c.r.Context(), c.s.cfg.WriteTimeout)
	defer cancel()
	if err := c.s.cfg.Reads.CatchUp(ctx, api.ReadLinearizable); err != nil {
		return 0, c.notReached(ctx, err, "this node has not caught up with the leader within %s; give the index", c.s.cfg.WriteTimeout)
	}
	v := c.s.cfg.Store.View()
	if ch, ok := c.doneBefore(v); ok { // the same request again
		if text, found := strings.CutPrefix(ch.Note, "confirmed change "); found {
			if index, err := strconv.ParseUint(text, 10, 64); err == nil {
				return index, nil
			}
		}
	}
	var waiting []string
	var index uint64
	for p := range v.Pendings() {
		index = p.Index
		waiting = append(waiting, strconv.FormatUint(p.Index, 10))
	}
	switch len(waiting) {
	case 0:
		return 0, &failure{status: http.StatusNotFound, code: api.CodeNotFound, detail: "no change waits for a confirmation"}
	case 1:
		return index, nil
	}
	return 0, &failure{
		status: http.StatusConflict, code: api.CodeAmbiguous,
		detail: fmt.Sprintf("%d changes wait for a confirmation; say which by index: %s", len(waiting), strings.Join(waiting, ", ")),
	}
}
