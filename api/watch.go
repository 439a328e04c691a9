package api

import "time"

// ContentEvents is the content type of GET /watch: server-sent events.
const ContentEvents = "text/event-stream"

// HeaderLastEventID says, as the id of the last event that was seen, where a watch goes on. It wins over ?from.
const HeaderLastEventID = "Last-Event-ID"

// WatchHeartbeat is how often a watch says that it is alive when nothing happens.
const WatchHeartbeat = 15 * time.Second

// The values of ?types= on GET /watch.
const (
	WatchConfig = "config" // what operators change
	WatchState  = "state"  // what the cluster sees of backends
)

// The events of GET /watch, by what their data is.
const (
	EventStart     = "start"     // WatchStart: the first one
	EventChange    = "change"    // Change: an entry of the history; none is left out
	EventState     = "state"     // BackendState: the newest state of a backend; what was in between may be left out
	EventCompacted = "compacted" // Problem: the last one. The client was too slow; it must read everything anew
	EventEnd       = "end"       // WatchEnd: the last one. Go on where you are, on another node
)

// WatchStart is the first event of a watch.
type WatchStart struct {
	Node string `json:"node"` // who answers
	From uint64 `json:"from"` // events are those after this log index
}

// BackendState is what the cluster sees of a backend.
type BackendState struct {
	Index       uint64    `json:"index"` // log index at which it became so
	ID          string    `json:"id"`
	Pool        string    `json:"pool"`
	Address     string    `json:"address"`
	AdminState  string    `json:"admin_state"`
	NodeState   string    `json:"node_state"`
	Draining    bool      `json:"draining"`
	Drained     bool      `json:"drained"`
	Verdict     string    `json:"verdict"`
	VerdictText string    `json:"verdict_text"`
	Since       time.Time `json:"since"` // when verdict, drained or admin_state last changed
}

// WatchEnd is why a watch ends.
type WatchEnd struct {
	Reason string `json:"reason"`
}
