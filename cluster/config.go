package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"regexp"
	"time"

	"github.com/hashicorp/raft"

	"github.com/lbnode/lbnode/cluster/gossip"
	"github.com/lbnode/lbnode/cluster/transport"
)

// MaxCommand is the size, in bytes, of the largest command Propose takes.
const MaxCommand = 4 << 20

// Config sets up one member. The zero value of a field means what its comment says.
type Config struct {
	NodeID    string // "" = the one in the data directory, else the host name
	DataDir   string // required; created if missing
	Addr      string // host:port of the one cluster port, TCP and UDP; ":0" picks one
	Advertise string // what the others dial; "" = derived from the bound address

	// These say how an empty data directory becomes part of a cluster; with state
	// on disk Join only helps to find members whose addresses changed.
	Join            []string // cluster addresses of any members, DNS names allowed
	BootstrapExpect int      // form a new cluster when this many nodes see each other; 0 = never
	NonVoter        bool     // follow, never vote

	Keys []transport.Key // empty = the lab key, loopback only
	Meta gossip.Meta     // what gossip tells the others about this node
	FSM  raft.FSM        // Apply answers []byte or error

	// InitCommand makes the first command of a new cluster, which sets the
	// cluster's id in the state. It must be idempotent. Nil = none.
	InitCommand func(clusterID string) []byte

	Logger *slog.Logger // nil = slog.Default
	Timing Timing

	SnapshotThreshold uint64 // log entries between snapshots; 0 = 8192
	TrailingLogs      uint64 // log entries kept behind a snapshot; 0 = 10240

	// Reserve is how many bytes of the data directory's disk are held back for the
	// time when it is full; 0 = none, and a full disk fails the node.
	Reserve int64
	// Essential says of a command that it must be taken although the disk is full:
	// what the nodes themselves need, not what operators ask for. Nil = none.
	Essential func(cmd []byte) bool
	// Requires is the command protocol that a command needs (see Meta.Proto): one that
	// some member does not understand is not taken. Nil = all understand all.
	Requires func(cmd []byte) uint8
	// Sealed lists what the state has, as far as it is applied here, that only this key
	// opens. Such a key is not removed without force. Nil = nothing is sealed.
	Sealed func(k transport.Key) []string

	// dial and pass stand between the node and the others; nil = nothing does. For
	// tests, see transport.Config and gossip.Config.
	dial func(ctx context.Context, addr string) (net.Conn, error)
	pass func(addr string) bool

	// freeSpace stands in for the system's; nil = the system's. For tests.
	freeSpace func(dir string) (int64, error)

	// frozenAddrs keeps Raft's configuration from following members that move; they
	// are found all the same. For tests under the race detector: raft v1.7.3 changes
	// a peer's entry with a lock that its replication does not take to read the
	// peer's id, which the change leaves as it is.
	frozenAddrs bool
}

// Timing holds every delay of the package. A zero field takes its default from
// DefaultTiming.
type Timing struct {
	Heartbeat time.Duration // a follower stands for election after 1–2 of these without a leader
	Election  time.Duration // a candidate tries again after 1–2 of these; ≥ Heartbeat
	Lease     time.Duration // a leader without a quorum steps down after this; ≤ Heartbeat
	Commit    time.Duration // followers hear of commits after 1–2 of these when nothing else is sent

	SnapshotInterval time.Duration // how often to look whether a snapshot is due

	NoLeaderWait time.Duration // how long a request waits for a leader to appear
	ApplyTimeout time.Duration // deadline of a request whose context has none
	RPC          time.Duration // one exchange between two nodes
	Poll         time.Duration // how often members ask each other for their status
	Stabilise    time.Duration // a new node must be heard for this long before it votes
	StoreStall   time.Duration // a disk write that hangs this long fails the node
	Retry        time.Duration // first pause between attempts to join; doubles up to 16 times that
}

// DefaultTiming is measured for nodes in one site, down to three nodes on two
// fully loaded cores: no spurious election, and a dead leader is replaced in
// well under a second.
func DefaultTiming() Timing {
	return Timing{
		Heartbeat:        350 * time.Millisecond,
		Election:         350 * time.Millisecond,
		Lease:            300 * time.Millisecond,
		Commit:           5 * time.Millisecond,
		SnapshotInterval: 30 * time.Second,
		NoLeaderWait:     3 * time.Second,
		ApplyTimeout:     10 * time.Second,
		RPC:              2 * time.Second,
		Poll:             500 * time.Millisecond,
		Stabilise:        time.Second,
		StoreStall:       2 * time.Second,
		Retry:            250 * time.Millisecond,
	}
}

// withDefaults fills the zero fields.
func (t Timing) withDefaults() Timing {
	d := DefaultTiming()
	for _, f := range []struct{ have, def *time.Duration }{
		{&t.Heartbeat, &d.Heartbeat},
		{&t.Election, &d.Election},
		{&t.Lease, &d.Lease},
		{&t.Commit, &d.Commit},
		{&t.SnapshotInterval, &d.SnapshotInterval},
		{&t.NoLeaderWait, &d.NoLeaderWait},
		{&t.ApplyTimeout, &d.ApplyTimeout},
		{&t.RPC, &d.RPC},
		{&t.Poll, &d.Poll},
		{&t.Stabilise, &d.Stabilise},
		{&t.StoreStall, &d.StoreStall},
		{&t.Retry, &d.Retry},
	} {
		if *f.have == 0 {
			*f.have = *f.def
		}
	}
	return t
}

// validate names the field, its value and the bound.
func (t Timing) validate() error {
	for _, f := range []struct {
		name string
		have time.Duration
		min  time.Duration
	}{
		{"Heartbeat", t.Heartbeat, 5 * time.Millisecond},
		{"Election", t.Election, t.Heartbeat},
		{"Lease", t.Lease, 5 * time.Millisecond},
		{"Commit", t.Commit, time.Millisecond},
		{"SnapshotInterval", t.SnapshotInterval, 5 * time.Millisecond},
		{"NoLeaderWait", t.NoLeaderWait, time.Millisecond},
		{"ApplyTimeout", t.ApplyTimeout, time.Millisecond},
		{"RPC", t.RPC, time.Millisecond},
		{"Poll", t.Poll, time.Millisecond},
		{"Stabilise", t.Stabilise, time.Millisecond},
		{"StoreStall", t.StoreStall, 10 * time.Millisecond},
		{"Retry", t.Retry, time.Millisecond},
	} {
		if f.have < f.min {
			return fmt.Errorf("timing %s is %v, must be at least %v", f.name, f.have, f.min)
		}
	}
	if t.Lease > t.Heartbeat {
		return fmt.Errorf("timing Lease is %v, must be at most Heartbeat (%v)", t.Lease, t.Heartbeat)
	}
	return nil
}

// nodeIDPattern is the form of a node id, that of every id of the admin API.
var nodeIDPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

// Validate reports the first field that cannot work.
func (c *Config) Validate() error {
	switch {
	case c.DataDir == "":
		return errors.New("cluster config: DataDir is empty")
	case c.FSM == nil:
		return errors.New("cluster config: FSM is nil")
	case c.NodeID != "" && !nodeIDPattern.MatchString(c.NodeID):
		return fmt.Errorf("cluster config: node id %q: want 1 to 63 of a-z 0-9 . _ -, beginning with a letter or digit", c.NodeID)
	case c.Reserve < 0:
		return fmt.Errorf("cluster config: Reserve is %d, must be 0 or more", c.Reserve)
	case c.BootstrapExpect < 0:
		return fmt.Errorf("cluster config: BootstrapExpect is %d, must be 0 or more", c.BootstrapExpect)
	case c.BootstrapExpect > 1 && len(c.Join) == 0:
		return fmt.Errorf("cluster config: BootstrapExpect is %d, but there is no Join address to find the others at", c.BootstrapExpect)
	case c.NonVoter && (c.BootstrapExpect > 0 || len(c.Join) == 0):
		return errors.New("cluster config: a non-voter cannot start a cluster; give it Join addresses")
	}
	if _, _, err := net.SplitHostPort(c.Addr); err != nil {
		return fmt.Errorf("cluster config: Addr: %w", err)
	}
	for _, a := range c.Join {
		if _, _, err := net.SplitHostPort(a); err != nil {
			return fmt.Errorf("cluster config: Join: %w", err)
		}
	}
	if err := c.Timing.withDefaults().validate(); err != nil {
		return fmt.Errorf("cluster config: %w", err)
	}
	return nil
}
