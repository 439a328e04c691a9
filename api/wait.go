package api

import "time"

// What ?wait= waits for.
const (
	WaitCommitted = "committed" // the change is in the log
	WaitApplied   = "applied"   // no live node starts a request by the old state any more
	WaitIdle      = "idle"      // applied, and no request runs on the backend, on any node
)

// Bounds of ?timeout= beside ?wait=.
const (
	DefaultWait = 30 * time.Second
	MaxWait     = 10 * time.Minute
)

// WaitResult is how far a change of a backend has come. Status 200 goes with Reached, 202 with the contrary.
type WaitResult struct {
	Wait        string   `json:"wait"` // one of the Wait constants
	Reached     bool     `json:"reached"`
	Index       uint64   `json:"index"`             // what nodes must have applied
	Confirmed   []string `json:"confirmed"`         // nodes that have reached it
	Unconfirmed []string `json:"unconfirmed"`       // live nodes that have not, or did not answer
	Dead        []string `json:"dead"`              // members that are not alive, for which it does not wait; without fence_after
	Fenced      []string `json:"fenced"`            // members that do not answer, and have certainly begun nothing since: their fence_after has passed
	InFlight    int64    `json:"in_flight"`         // requests on the backend, on all nodes that answered
	Backend     *Backend `json:"backend,omitempty"` // as it is now; left out = removed
}
