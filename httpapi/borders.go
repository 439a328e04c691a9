package httpapi

import (
	"context"
	"errors"
	"time"

	"github.com/lbnode/lbnode/state"
	"github.com/lbnode/lbnode/stats"
)

// Store is the replicated state. All methods may be called concurrently.
type Store interface {
	// View returns the newest view of this node. It never blocks and is never nil.
	View() *state.View
	// Do commits a command and returns once this node has applied it. The error is a *state.Refusal, or wraps
	// state.ErrNoLeader (certainly not applied) or state.ErrOutcomeUnknown.
	Do(ctx context.Context, c state.Command) (state.Result, error)
	// Watch sends views, the newest one at once, and closes the channel when ctx ends.
	Watch(ctx context.Context) <-chan *state.View
	// Wait blocks until this node has applied an index.
	Wait(ctx context.Context, index uint64) error
	// Stale says that the view came from disk and no leader has confirmed it yet.
	Stale() bool
}

// What a Cluster's methods return, besides state.ErrNoLeader and state.ErrOutcomeUnknown.
var (
	// ErrUnknownNode says that no member has this id.
	ErrUnknownNode = errors.New("there is no such node")
	// ErrNotSafe says that the change would cost the cluster its quorum. Its text tells the operator what to do.
	ErrNotSafe = errors.New("not safe")
	// ErrBusy says that another change of the membership is under way. Nothing was changed; try again.
	ErrBusy = errors.New("another change of the membership is under way")
)

// Cluster is the membership. All methods may be called concurrently; only Remove and Transfer may block.
type Cluster interface {
	Status() ClusterStatus
	// Members are sorted by id.
	Members() []Member
	// Remove takes a member out for good. Without force it refuses with ErrNotSafe what would cost the quorum.
	Remove(ctx context.Context, id string, force bool) error
	// Transfer hands leadership to a voter, or to the best one if to is "".
	Transfer(ctx context.Context, to string) error
}

// ClusterStatus is the consensus state of this node. Its fields are those of package cluster's Status, in
// the same order, so that one converts to the other.
type ClusterStatus struct {
	ClusterID, NodeID, LeaderID, LeaderAddr    string
	State                                      string // leader, follower, candidate, …
	Term, CommitIndex, AppliedIndex, LastIndex uint64
	Voters, LiveVoters, FailureTolerance       int
	Healthy                                    bool
	LastContact                                time.Duration // < 0 = unknown
}

// Member is one node of the cluster. Its fields are those of package cluster's Member, in the same order.
type Member struct {
	ID, Addr, API, Proxy, Version string
	Voter, Leader, Self, Draining bool
	Status                        string        // alive, suspect, dead, left
	LastContact                   time.Duration // < 0 = unknown
	AppliedIndex                  uint64        // 0 = unknown
	StoreFull                     bool          // its disk is full
}

// Stats is what the proxies count.
type Stats interface {
	// Local is this node's counters. It does not block.
	Local() stats.Snapshot
	// Cluster asks every node and merges. It returns when all have answered or ctx ends, and names the nodes
	// that did not answer.
	Cluster(ctx context.Context) (merged stats.Snapshot, missing []string)
	// Node asks one member. It returns an error that wraps ErrUnknownNode, or when the node has not answered.
	Node(ctx context.Context, id string) (stats.Snapshot, error)
}

// Runtime is what this node measures on backends. Its methods do not block and may be called concurrently.
type Runtime interface {
	// Backend is the zero value for a backend that this node does not know.
	Backend(id string) BackendRuntime
	// Observations are those of every node, this one included, in any order.
	Observations(id string) []Observation
}

// BackendRuntime is what this node measures on one backend.
type BackendRuntime struct {
	InFlight  int64         // requests that this node has on it
	Latency   time.Duration // 0 = not measured yet
	Meetings  int           // BigBlueButton
	Attendees int           // BigBlueButton
	// Standing is what this node makes of the backend, without Backend, Pool, and what other nodes have on it.
	Standing state.Standing
}

// Observation is one node's opinion of one backend.
type Observation struct {
	Node     string
	Status   state.Verdict
	Error    string // of the last failure
	Latency  time.Duration
	InFlight int64         // requests that this node has on it
	Since    time.Time     // when Status last changed; zero = unknown
	Age      time.Duration // since the node was last heard to say so; 0 = unknown
	Seq      uint64
}

// Ready says whether this node should get traffic, and if not, why. It does not block.
type Ready func() (ok bool, reasons []string)
