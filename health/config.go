package health

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/lbnode/lbnode/state"
)

// Committer proposes commands. [Health.Lead] calls it from its own goroutine and gives it a deadline.
type Committer interface {
	// Do blocks until the command is applied on this node or certainly or possibly is not.
	Do(ctx context.Context, c state.Command) (state.Result, error)
}

// Electorate names the nodes of the cluster. Both methods must not block.
type Electorate interface {
	// Voters returns the ids of all voters, alive or not. The caller does not change the slice.
	Voters() []string
	// Live returns the ids of all members whose process answers, voters or not, this node included.
	Live() []string
}

// Overlay takes this node's own veto of a backend. SetLocal must not block and must not call back into
// this package; calls about one backend come one after the other. An unknown id is to be ignored.
type Overlay interface {
	SetLocal(backendID string, down bool, reason string)
}

// Config is what a Health needs. Begin with [DefaultConfig]. The functions may be called at any time and by
// any goroutine, and must not block.
type Config struct {
	NodeID     string      // id of this node, 1 to 128 bytes
	Version    string      // of lbnode, for the User-Agent of probes
	Voter      func() bool // whether this node votes: only voters probe
	Committer  Committer
	Electorate Electorate
	Overlay    Overlay

	// InFlight counts the requests that this node has running on a backend.
	InFlight func(backendID string) int64
	// Applied is the index of the view whose flags are in force in this node's proxy. A request that
	// begins after it returned obeys them.
	Applied func() uint64
	// Score is how unwell this node's own gossip finds itself: 0 = well.
	Score  func() int
	Logger *slog.Logger
	// Jitter returns numbers from [0, 1); it spreads probes over time.
	Jitter func() float64

	// Concurrency bounds how many probes run at once, 1 to 65536.
	Concurrency int
	// ErrorRun is how many answers of status 500 and above in a row from live traffic veto a backend
	// locally, as a failed connection does; 0 = never. For it to work the caller must report answers
	// below 500 to [Health.Passive] too.
	ErrorRun int
	Timing   Timing

	// BBB checks a BigBlueButton server by a signed call of its API, until ctx ends; the error says what is wrong, and
	// names no secret. nil = such servers are checked as web servers.
	BBB func(ctx context.Context, backendID string) error

	// ClientCertificate gives the certificate with an id, for backends that ask for one; nil = there are none.
	ClientCertificate func(id string) (*tls.Certificate, error)
}

// Timing holds the times of the machinery. The times of probes belong to each pool.
type Timing struct {
	Heartbeat  time.Duration // how often a node says that its observations still hold
	Fresh      time.Duration // how long an observation counts after its last sign of life; at least two heartbeats
	Gather     time.Duration // shortest time between two publications of changes
	DrainPoll  time.Duration // how often in-flight requests of draining backends are counted
	Quiet      time.Duration // the arbiter decides when nothing came in for so long ...
	QuietMost  time.Duration // ... or when it has waited for so long
	HoldMost   time.Duration // longest delay of an up verdict for a backend that flaps
	EntryEvery time.Duration // average time between two log entries of the arbiter, at the most frequent ...
	EntryBurst int           // ... after a burst of so many
	CommitWait time.Duration // deadline of one commit
}

// DefaultConfig returns the settings of a production node; what has no default is left zero.
func DefaultConfig() Config {
	return Config{
		Jitter:      defaultJitter,
		Concurrency: 512,
		Timing: Timing{
			Heartbeat: time.Second, Fresh: 5 * time.Second, Gather: 50 * time.Millisecond,
			DrainPoll: 100 * time.Millisecond,
			Quiet:     50 * time.Millisecond, QuietMost: time.Second,
			HoldMost: time.Minute, EntryEvery: 500 * time.Millisecond, EntryBurst: 10,
			CommitWait: 10 * time.Second,
		},
	}
}

// Validate names the first field that is missing or out of bounds.
func (c Config) Validate() error {
	if c.NodeID == "" || len(c.NodeID) > maxNodeID {
		return fmt.Errorf("health: config: NodeID has %d bytes, want 1 to %d", len(c.NodeID), maxNodeID)
	}
	missing := func() string {
		switch {
		case c.Voter == nil:
			return "Voter"
		case c.Committer == nil:
			return "Committer"
		case c.Electorate == nil:
			return "Electorate"
		case c.Overlay == nil:
			return "Overlay"
		case c.InFlight == nil:
			return "InFlight"
		case c.Applied == nil:
			return "Applied"
		case c.Score == nil:
			return "Score"
		case c.Logger == nil:
			return "Logger"
		case c.Jitter == nil:
			return "Jitter"
		}
		return ""
	}()
	if missing != "" {
		return fmt.Errorf("health: config: %s is missing", missing)
	}
	if c.Concurrency < 1 || c.Concurrency > 1<<16 {
		return fmt.Errorf("health: config: Concurrency is %d, want 1 to %d", c.Concurrency, 1<<16)
	}
	if c.ErrorRun < 0 {
		return fmt.Errorf("health: config: ErrorRun is %d, want 0 or more", c.ErrorRun)
	}
	return c.Timing.validate()
}

func (t Timing) validate() error {
	for _, f := range []struct {
		name string
		d    time.Duration
	}{
		{"Heartbeat", t.Heartbeat},
		{"Gather", t.Gather},
		{"DrainPoll", t.DrainPoll},
		{"Quiet", t.Quiet},
		{"QuietMost", t.QuietMost},
		{"HoldMost", t.HoldMost},
		{"EntryEvery", t.EntryEvery},
		{"CommitWait", t.CommitWait},
	} {
		if f.d <= 0 {
			return fmt.Errorf("health: config: Timing.%s is %s, want more than 0", f.name, f.d)
		}
	}
	if t.Fresh < 2*t.Heartbeat {
		return fmt.Errorf("health: config: Timing.Fresh is %s, want at least two heartbeats (%s)", t.Fresh, 2*t.Heartbeat)
	}
	if t.EntryBurst < 1 {
		return errors.New("health: config: Timing.EntryBurst must be at least 1")
	}
	return nil
}
