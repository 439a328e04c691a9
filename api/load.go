package api

// LoadInput is what somebody beside a backend says of how loaded it is: POST /backends/{id}/load.
type LoadInput struct {
	Load      float64 `json:"load"`                // for algorithm least_load; any unit that is the same for all backends of a pool
	Meetings  *int    `json:"meetings,omitempty"`  // of a BigBlueButton server; with attendees
	Attendees *int    `json:"attendees,omitempty"` // of a BigBlueButton server; with meetings
}
