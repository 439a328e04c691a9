package api

import "time"

// Meeting is one of a tenant of BigBlueButton servers.
type Meeting struct {
	ID         string `json:"id"`          // as the tenant calls it
	Frontend   string `json:"frontend"`    // id of the tenant
	Name       string `json:"name"`        // "" = the server has not listed it yet
	Backend    string `json:"backend"`     // id of the server that has it
	ServerID   string `json:"server_id"`   // as the server calls it
	InternalID string `json:"internal_id"` // that the server gave it; "" = not yet
	// State is reserved until the server has created it.
	State      string    `json:"state"`
	Created    time.Time `json:"created"`
	Recording  bool      `json:"recording"`  // it may be recorded
	Running    bool      `json:"running"`    // somebody has joined
	Attendees  int       `json:"attendees"`  // moderators included
	Moderators int       `json:"moderators"` // of those
}

// The states of a meeting.
const (
	MeetingReserved = "reserved"
	MeetingCreated  = "created"
)

// MeetingsEnded says what became of meetings that were to end.
type MeetingsEnded struct {
	Ended int `json:"ended"` // their servers have ended them, or had before
	// Later are forgotten, while their servers did not answer: what is left there is ended as soon as they do.
	Later int    `json:"later"`
	Error string `json:"error"` // of the first server that did not answer
}
