package api

// BackendBBB is what a backend has as a BigBlueButton server. Its secrets are never shown; bbb_secrets of the
// backend counts them.
type BackendBBB struct {
	AgentRef     string `json:"agent_ref"`     // the agent that speaks for the server, by the subject of its token
	MaxMeetings  int    `json:"max_meetings"`  // with as many it gets no new meeting; 0 = no bound
	MaxAttendees int    `json:"max_attendees"` // with as many it gets no new meeting; 0 = no bound
}

// BackendBBBInput is what a client says about a BigBlueButton server. Nil and empty fields are left out; secrets that
// are left out of a PUT stay as they are.
type BackendBBBInput struct {
	Secrets      []string `json:"secrets,omitempty"` // the first one signs
	AgentRef     string   `json:"agent_ref,omitempty"`
	MaxMeetings  int      `json:"max_meetings,omitempty"`
	MaxAttendees int      `json:"max_attendees,omitempty"`
}

// PoolBBB says how meetings are placed in a pool of BigBlueButton servers.
type PoolBBB struct {
	MoveAfter      string `json:"move_after"` // how long a server must have been failing until its meetings can be created elsewhere
	Poll           string `json:"poll"`       // how often each server is asked for its meetings
	YoungAttendees int    `json:"young_attendees"`
	YoungFor       string `json:"young_for"` // until then a meeting counts as one of at least young_attendees
}

// PoolBBBInput is what a client says about that. Empty fields are left out.
type PoolBBBInput struct {
	MoveAfter      string `json:"move_after,omitempty"`
	Poll           string `json:"poll,omitempty"`
	YoungAttendees int    `json:"young_attendees,omitempty"`
	YoungFor       string `json:"young_for,omitempty"`
}

// Presentation is a document that meetings begin with.
type Presentation struct {
	URL   string `json:"url"` // "" = none
	Force bool   `json:"force"`
}

// FrontendBBB is what a frontend has as a tenant of BigBlueButton servers. Its further secrets are never shown;
// bbb_secrets of the frontend counts them.
type FrontendBBB struct {
	Disabled            bool              `json:"disabled"`
	AccountRef          string            `json:"account_ref"`
	DefaultPresentation Presentation      `json:"default_presentation"`
	AttendeesLimit      int               `json:"attendees_limit"` // over all meetings; 0 = no bound
	CreateDefault       map[string]string `json:"create_default"`
	CreateOverride      map[string]string `json:"create_override"`
	JoinDefault         map[string]string `json:"join_default"`
	JoinOverride        map[string]string `json:"join_override"`
	RecordingVisibility string            `json:"recording_visibility"` // "" = each recording's own
	MeetingQuota        int               `json:"meeting_quota"`        // meetings at a time; 0 = no bound
	AttendeeQuota       int               `json:"attendee_quota"`       // attendees of one meeting; 0 = no bound
	MaxDuration         string            `json:"max_duration"`         // "0s" = no bound
	SharedIDs           bool              `json:"shared_ids"`
}

// FrontendBBBInput is what a client says about a tenant. Nil and empty fields are left out; secrets that are left out
// of a PUT stay as they are.
type FrontendBBBInput struct {
	Secrets             []string          `json:"secrets,omitempty"` // accepted besides the frontend's secret
	Disabled            bool              `json:"disabled,omitempty"`
	AccountRef          string            `json:"account_ref,omitempty"`
	DefaultPresentation *Presentation     `json:"default_presentation,omitempty"`
	AttendeesLimit      int               `json:"attendees_limit,omitempty"`
	CreateDefault       map[string]string `json:"create_default,omitempty"`
	CreateOverride      map[string]string `json:"create_override,omitempty"`
	JoinDefault         map[string]string `json:"join_default,omitempty"`
	JoinOverride        map[string]string `json:"join_override,omitempty"`
	RecordingVisibility string            `json:"recording_visibility,omitempty"`
	MeetingQuota        int               `json:"meeting_quota,omitempty"`
	AttendeeQuota       int               `json:"attendee_quota,omitempty"`
	MaxDuration         string            `json:"max_duration,omitempty"`
	SharedIDs           bool              `json:"shared_ids,omitempty"`
}
