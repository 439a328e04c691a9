package httpapi

import (
	"encoding/json"
	"net/url"
	"time"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/state"
)

const (
	paramDeadline   = "deadline"
	paramOnDeadline = "on_deadline"
	paramSticky     = "sticky"
)

// drainParams are those of disable and DELETE of a backend.
func drainParams() []string { return []string{paramDeadline, paramOnDeadline, paramSticky} }

// drainPatch is what the parameters say about a drain, to be merged into the backend's; nil = nothing. A
// deadline given as a duration counts from now, by the clock of this node.
func (c *call) drainPatch() (json.RawMessage, error) {
	if err := oneOf(c.params, paramOnDeadline, api.DrainKeep, api.DrainClose); err != nil {
		return nil, err
	}
	if err := oneOf(c.params, paramSticky, api.DrainKeep, api.DrainRelease); err != nil {
		return nil, err
	}
	patch := map[string]string{}
	for _, name := range []string{paramOnDeadline, paramSticky} {
		if v := c.params.get(name); v != "" {
			patch[name] = v
		}
	}
	if url.Values(c.params).Has(paramDeadline) {
		at, err := deadlineParam(c.params.get(paramDeadline), c.now())
		if err != nil {
			return nil, err
		}
		patch[paramDeadline] = at.UTC().Format(time.RFC3339Nano)
	}
	if len(patch) == 0 {
		return nil, nil
	}
	return json.Marshal(patch)
}

// deadlineParam reads a duration from now, or a time.
func deadlineParam(s string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(s); err == nil {
		if d <= 0 || d > api.MaxDrainDeadline {
			return time.Time{}, badParam(paramDeadline, "must be a duration from now of at most %s, got %q", api.MaxDrainDeadline, s)
		}
		return now.Add(d), nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Time{}, badParam(paramDeadline, "must be a duration such as 10m, or a time such as 2026-01-02T15:04:05Z, got %q", s)
	}
	return t, nil
}

// deleteValue puts the parameters of a drain into the operation that decommissions a backend.
func (c *call) deleteValue(op *state.Op) error {
	patch, err := c.drainPatch()
	if err != nil || patch == nil {
		return err
	}
	if op.Force {
		return badParam(paramForce, "removes the backend at once; %s, %s and %s go without it", paramDeadline, paramOnDeadline, paramSticky)
	}
	op.Value, err = json.Marshal(state.DeleteOptions{Drain: patch})
	return err
}
