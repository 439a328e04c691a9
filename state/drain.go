package state

import (
	"encoding/json"
	"time"
)

// DrainSpec says how a backend is drained while it is stopped or decommissioned. The zero value lets all that
// runs finish and honours sticky sessions. It goes when the backend is ready again.
type DrainSpec struct {
	Deadline   string      `json:"deadline,omitempty"`    // RFC 3339 in UTC, by each node's own clock; "" = none
	OnDeadline OnDeadline  `json:"on_deadline,omitempty"` // "" = [DeadlineKeep]
	Sticky     DrainSticky `json:"sticky,omitempty"`      // "" = [StickyKeep]
}

// OnDeadline says what happens at the deadline of a drain to what still runs on the backend.
type OnDeadline string

// The values of OnDeadline.
const (
	DeadlineKeep  OnDeadline = "keep"  // it goes on
	DeadlineClose OnDeadline = "close" // every node closes it
)

// DrainSticky says what becomes of sticky sessions on a stopped backend.
type DrainSticky string

// The values of DrainSticky.
const (
	StickyKeep    DrainSticky = "keep"    // their requests still go to the backend
	StickyRelease DrainSticky = "release" // they go elsewhere
)

// Closes says that requests which still run at the deadline are closed.
func (d DrainSpec) Closes() bool { return d.OnDeadline == DeadlineClose && d.Deadline != "" }

// When is the deadline; zero = none.
func (d DrainSpec) When() time.Time {
	t, err := time.Parse(time.RFC3339Nano, d.Deadline)
	if err != nil { // "": Validate lets nothing else in
		return time.Time{}
	}
	return t.UTC()
}

// Releases says that sticky sessions do not keep the backend.
func (d DrainSpec) Releases() bool { return d.Sticky == StickyRelease }

// OutOfUse says that the operator has taken the backend out.
func (a AdminState) OutOfUse() bool { return a == AdminStopped || a == AdminDecommissioned }

// normalizeDrain leaves defaults out, and everything when the backend is not taken out.
func (s *BackendSpec) normalizeDrain() {
	d := &s.Drain
	if !s.AdminState.OutOfUse() {
		*d = DrainSpec{}
		return
	}
	if t := d.When(); !t.IsZero() {
		d.Deadline = t.Format(time.RFC3339Nano)
	}
	if d.OnDeadline == DeadlineKeep {
		d.OnDeadline = ""
	}
	if d.Sticky == StickyKeep {
		d.Sticky = ""
	}
}

func (c *checks) drain(d DrainSpec) {
	if d.OnDeadline != "" {
		oneOf(c, "/drain/on_deadline", d.OnDeadline, []OnDeadline{DeadlineKeep, DeadlineClose})
	}
	if d.Sticky != "" {
		oneOf(c, "/drain/sticky", d.Sticky, []DrainSticky{StickyKeep, StickyRelease})
	}
	if d.Deadline != "" && d.When().IsZero() {
		c.add("/drain/deadline", "must be a time such as \"2026-01-02T15:04:05Z\", or \"\" for none, got %q; a duration goes with ?deadline= of disable and DELETE", d.Deadline)
	}
	if d.OnDeadline == DeadlineClose && d.Deadline == "" {
		c.add("/drain/deadline", "must be set, since on_deadline is %q", DeadlineClose)
	}
}

// DeleteOptions are the value of an operation that deletes a backend without force.
type DeleteOptions struct {
	Drain json.RawMessage `json:"drain,omitempty"` // merged into the backend's, by RFC 7396
}

// decommissioned is a backend's spec once it is to be removed.
func decommissioned(b *Backend, value json.RawMessage) (*BackendSpec, *Refusal) {
	patch := map[string]json.RawMessage{"admin_state": json.RawMessage(`"` + AdminDecommissioned + `"`)}
	if len(value) > 0 {
		var o DeleteOptions
		if err := json.Unmarshal(value, &o); err != nil {
			return nil, &Refusal{Code: CodeInvalid, Message: "the options of the delete cannot be read", Errors: []FieldError{{Message: err.Error()}}}
		}
		if len(o.Drain) > 0 {
			patch["drain"] = o.Drain
		}
	}
	raw, err := json.Marshal(patch)
	if err != nil {
		return nil, &Refusal{Code: CodeInvalid, Message: "the options of the delete cannot be read", Errors: []FieldError{{Message: err.Error()}}}
	}
	spec, refusal := wanted(Op{Verb: VerbPatch, Kind: KindBackend, ID: b.ID, Value: raw}, b)
	if refusal != nil {
		return nil, refusal
	}
	return spec.(*BackendSpec), nil
}
