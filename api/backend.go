package api

import "time"

// Backend is one destination server: what the operator said, what the cluster sees, and why it is or is
// not routable.
type Backend struct {
	ID         string   `json:"id"`
	Address    string   `json:"address"`
	Pool       string   `json:"pool"`
	Weight     int      `json:"weight"`
	Tags       []string `json:"tags"`
	AdminState string   `json:"admin_state"` // init, ready, stopped, decommissioned
	LoadFactor float64  `json:"load_factor"`
	Drain      Drain    `json:"drain"`

	MaxConnections int `json:"max_connections"` // requests on it at a time from each node; 0 = as the pool says

	BBB        BackendBBB `json:"bbb"`
	BBBSecrets int        `json:"bbb_secrets"` // how many are set

	NodeState   string    `json:"node_state"` // init, ready, stopped, error, decommissioned
	Draining    bool      `json:"draining"`   // taken out by the operator, requests may still run
	Drained     bool      `json:"drained"`    // taken out, and no request runs on any node
	Verdict     string    `json:"verdict"`    // unknown, up, down
	VerdictText string    `json:"verdict_text"`
	AdminSince  time.Time `json:"admin_since"`
	StateSince  time.Time `json:"state_since"`

	Routable  bool     `json:"routable"`   // the answering node sends it new requests
	Reasons   []Reason `json:"reasons"`    // why it is or is not
	LatencyMS float64  `json:"latency_ms"` // as the answering node measures it; 0 = not measured yet
	InFlight  int64    `json:"in_flight"`  // requests running now, on every node as last heard
	Meetings  int      `json:"meetings"`   // BigBlueButton; 0 for other servers
	Attendees int      `json:"attendees"`  // BigBlueButton; 0 for other servers

	CreateIndex uint64 `json:"create_index"`
	ModifyIndex uint64 `json:"modify_index"` // moves with operators' changes; the ETag
	StateIndex  uint64 `json:"state_index"`  // moves with verdicts and finished drains
	AdminIndex  uint64 `json:"admin_index"`  // moves with admin_state
	Gen         uint64 `json:"gen"`          // moves with address and pool; older observations do not count
}

// Reason is one cause of a backend being routable or not.
type Reason struct {
	Source string     `json:"source"` // one of the Source constants
	Text   string     `json:"text"`
	Since  *time.Time `json:"since"` // null = unknown
}

// The sources of reasons.
const (
	SourceAdmin  = "admin"  // the operator's admin_state
	SourceDrain  = "drain"  // how far taking it out has come
	SourceQuorum = "quorum" // the verdict of the majority of voters
	SourceLocal  = "local"  // the answering node's own veto
	SourceFence  = "fence"  // the answering node is cut off for longer than fence_after
	SourceWeight = "weight" // weight 0
	SourcePool   = "pool"   // the pool's initial and on_empty

	SourceOutlier   = "outlier"    // the answering node has ejected it after failures in a row
	SourceLimit     = "limit"      // it has as many requests from the answering node as max_connections allows
	SourceSlowStart = "slow_start" // the answering node gives it a part of its share
)

// BackendInput is what a client says about a backend. Nil and empty fields are left out.
type BackendInput struct {
	ID         string   `json:"id,omitempty"`
	Address    string   `json:"address,omitempty"`
	Pool       string   `json:"pool,omitempty"`
	Weight     *int     `json:"weight,omitempty"`
	Tags       []string `json:"tags,omitempty"`
	AdminState string   `json:"admin_state,omitempty"`
	LoadFactor *float64 `json:"load_factor,omitempty"`

	MaxConnections int              `json:"max_connections,omitempty"`
	Drain          *DrainInput      `json:"drain,omitempty"`
	BBB            *BackendBBBInput `json:"bbb,omitempty"`
}

// The values of GET /backends/health.
const (
	Healthy   = "healthy"
	Unhealthy = "unhealthy"
	Unknown   = "unknown" // no verdict yet
)

// Health is the answer of GET /backends/health: Healthy, Unhealthy or Unknown by backend id.
type Health map[string]string

// VerboseHealth is the answer of GET /backends/health?verbose, by backend id.
type VerboseHealth map[string]BackendHealth

// BackendHealth is the verdict on one backend with what each node says.
type BackendHealth struct {
	Health       string        `json:"health"`
	Text         string        `json:"text"` // why, in words
	Since        time.Time     `json:"since"`
	Vetoed       bool          `json:"vetoed"` // the answering node sends it no new requests, whatever the verdict
	VetoReason   string        `json:"veto_reason"`
	VetoSince    *time.Time    `json:"veto_since"`   // null = not vetoed
	Observations []Observation `json:"observations"` // by node
}

// Observation is one node's own opinion of one backend.
type Observation struct {
	Node      string     `json:"node"`
	Status    string     `json:"status"` // unknown, up, down
	Error     string     `json:"error"`  // what the last failure was, "" = none
	LatencyMS float64    `json:"latency_ms"`
	InFlight  int64      `json:"in_flight"`
	Since     *time.Time `json:"since"` // when status last changed; null = unknown
	Age       string     `json:"age"`   // since the node was last heard to say so; "" = unknown
	Seq       uint64     `json:"seq"`
}
