package api

import "time"

// Callback waits to be sent to a tenant, or was given up.
type Callback struct {
	ID        string     `json:"id"`
	Kind      string     `json:"kind"` // end, recording, analytics, hook
	Frontend  string     `json:"frontend"`
	MeetingID string     `json:"meeting_id"` // as the tenant calls it; "" = it is about no single one
	Method    string     `json:"method"`
	URL       string     `json:"url"`
	State     string     `json:"state"`          // waiting or failed
	Since     time.Time  `json:"since"`          // when it was put into the queue
	Tries     int        `json:"tries"`          // by the node that leads, since it does
	Next      *time.Time `json:"next,omitempty"` // when it is tried again; nil = at once, or never
	Error     string     `json:"error"`          // of the last try
}

// The states of a callback.
const (
	CallbackWaiting = "waiting"
	CallbackFailed  = "failed"
)
