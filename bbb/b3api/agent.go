package b3api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/lbnode/lbnode/bbb/load"
	"github.com/lbnode/lbnode/state"
)

// own is the backend of the agent that calls.
func (c *call) own(v *state.View) (*state.Backend, bool) {
	for _, b := range c.servers(v) {
		return b, true
	}
	return nil, false
}

func (c *call) agentBackend() (any, error) {
	v := c.view()
	if b, ok := c.own(v); ok {
		return c.backend(v, b), nil
	}
	return nil, errNotFound
}

// heartbeat notes that an agent lives. It comes every second, and so is never in the log.
func (c *call) heartbeat() (any, error) {
	b, ok := c.own(c.view())
	if !ok {
		return nil, errNotFound
	}
	c.s.cfg.Table.Report(b.ID, load.Report{})
	return struct {
		BackendID string    `json:"backend_id"`
		Heartbeat time.Time `json:"heartbeat"`
	}{b.ID, c.s.cfg.Now().UTC()}, nil
}

// rpcAnswer is what became of what an agent told.
type rpcAnswer struct {
	Status string `json:"status"`
	Result any    `json:"result"`
}

// rpc takes what an agent saw on its server. A meeting that is not known yet is in the server's next list, so that
// nothing is waited for.
func (c *call) rpc() (any, error) {
	var in struct {
		Action  string `json:"action"`
		Payload []byte `json:"payload"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	b, ok := c.own(c.view())
	if !ok {
		return nil, fail(http.StatusForbidden, "the token's agent has no backend")
	}
	e, err := eventOf(in.Action, in.Payload)
	if err != nil {
		return rpcAnswer{"error", err.Error()}, nil
	}
	e.Backend = b.ID
	c.s.cfg.Table.Event(e)
	return rpcAnswer{"ok", nil}, nil
}

// eventOf reads what an agent tells.
func eventOf(action string, payload []byte) (load.Event, error) {
	var in struct {
		ID      string `json:"internal_meeting_id"`
		Running bool   `json:"running"`
	}
	if err := json.Unmarshal(payload, &in); err != nil {
		return load.Event{}, fmt.Errorf("payload of %s: %w", action, err)
	}
	if in.ID == "" {
		return load.Event{}, fmt.Errorf("payload of %s: internal_meeting_id is missing", action)
	}
	e := load.Event{InternalID: in.ID}
	switch action {
	case "meeting_set_running":
		e.Running, e.Empty = in.Running, !in.Running
	case "meeting_add_attendee":
		e.Change = 1
	case "meeting_remove_attendee":
		e.Change = -1
	case "meeting_state_reset":
		e.Empty = true
	default:
		return load.Event{}, fmt.Errorf("unknown action %q", action)
	}
	return e, nil
}
