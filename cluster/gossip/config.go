package gossip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"time"

	"github.com/hashicorp/memberlist"
)

// Streams is where reliable connections come from. Dial must heed ctx; both
// may be called concurrently. Closing the listener must unblock its Accept.
type Streams interface {
	Dial(ctx context.Context, addr string) (net.Conn, error)
	Listener() net.Listener
}

// Config is what New needs. The zero value of a duration or limit means its
// default.
type Config struct {
	NodeID    string // unique in the cluster, 1 to 255 bytes; survives restarts and address changes
	ClusterID string // label of every packet and stream, 1 to 255 bytes
	// Addr is where to bind UDP, host:port, with the port number of the cluster
	// port's TCP side.
	Addr string
	// Advertise is the host:port that others send to; a name is resolved once.
	// "" means Addr, which must then not be a wildcard.
	Advertise string
	Streams   Streams  // Close closes its listener
	Keys      [][]byte // 16, 24 or 32 bytes each, the first one seals; none: plain text, loopback labs only
	Meta      Meta
	// Pass says whether a packet to addr gets through; nil means that all do. For
	// fault injection in tests.
	Pass   func(addr string) bool
	Logger *slog.Logger // nil discards

	GossipInterval   time.Duration // between rounds of messages. Default 100 ms
	PushPullInterval time.Duration // between full exchanges with one random member. Default 10 s
	ProbeInterval    time.Duration // between probes of one member. Default 1 s
	ProbeTimeout     time.Duration // for a direct answer. Default ProbeInterval/2
	StreamTimeout    time.Duration // for a stream's dial, and for each read or write. Default 5 s
	// ReclaimTime is how long a dead member's id stays bound to its address. A
	// member that left frees it at once. Default 30 s.
	ReclaimTime time.Duration
	// DeadRetention is how long members that died or left are listed. Default
	// 10 min.
	DeadRetention time.Duration

	MaxQueued int // bound of each queue, in messages. Default 4096
}

// DefaultConfig has every interval and limit filled in.
func DefaultConfig() Config {
	return Config{
		GossipInterval:   100 * time.Millisecond,
		PushPullInterval: 10 * time.Second,
		ProbeInterval:    time.Second,
		ProbeTimeout:     500 * time.Millisecond,
		StreamTimeout:    5 * time.Second,
		ReclaimTime:      30 * time.Second,
		DeadRetention:    10 * time.Minute,
		MaxQueued:        4096,
	}
}

func (c Config) withDefaults() Config {
	d := DefaultConfig()
	if c.ProbeTimeout == 0 && c.ProbeInterval != 0 {
		c.ProbeTimeout = c.ProbeInterval / 2
	}
	for _, f := range []struct {
		v   *time.Duration
		def time.Duration
	}{
		{&c.GossipInterval, d.GossipInterval},
		{&c.PushPullInterval, d.PushPullInterval},
		{&c.ProbeInterval, d.ProbeInterval},
		{&c.ProbeTimeout, d.ProbeTimeout},
		{&c.StreamTimeout, d.StreamTimeout},
		{&c.ReclaimTime, d.ReclaimTime},
		{&c.DeadRetention, d.DeadRetention},
	} {
		if *f.v == 0 {
			*f.v = f.def
		}
	}
	if c.MaxQueued == 0 {
		c.MaxQueued = d.MaxQueued
	}
	if c.Advertise == "" {
		c.Advertise = c.Addr
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Validate names the first field that is out of bounds.
func (c Config) Validate() error {
	for _, f := range []struct{ name, value string }{{"NodeID", c.NodeID}, {"ClusterID", c.ClusterID}} {
		if len(f.value) == 0 || len(f.value) > memberlist.LabelMaxSize {
			return fmt.Errorf("gossip: %s has %d bytes, want 1 to %d", f.name, len(f.value), memberlist.LabelMaxSize)
		}
	}
	if c.Streams == nil {
		return errors.New("gossip: Streams is missing")
	}
	if _, port, err := net.SplitHostPort(c.Addr); err != nil || port == "0" || port == "" {
		return fmt.Errorf("gossip: Addr %q: want host:port with the port of the cluster's TCP side", c.Addr)
	}
	for i, k := range c.Keys {
		if err := memberlist.ValidateKey(k); err != nil {
			return fmt.Errorf("gossip: key %d: %w", i+1, err)
		}
	}
	for _, f := range []struct {
		name string
		v    time.Duration
	}{
		{"GossipInterval", c.GossipInterval},
		{"PushPullInterval", c.PushPullInterval},
		{"ProbeInterval", c.ProbeInterval},
		{"ProbeTimeout", c.ProbeTimeout},
		{"StreamTimeout", c.StreamTimeout},
		{"ReclaimTime", c.ReclaimTime},
		{"DeadRetention", c.DeadRetention},
	} {
		if f.v < 0 {
			return fmt.Errorf("gossip: %s %v is negative", f.name, f.v)
		}
	}
	if c.ProbeTimeout > 0 && c.ProbeInterval > 0 && c.ProbeTimeout >= c.ProbeInterval {
		return fmt.Errorf("gossip: ProbeTimeout %v, want less than ProbeInterval %v", c.ProbeTimeout, c.ProbeInterval)
	}
	if c.MaxQueued < 0 {
		return fmt.Errorf("gossip: MaxQueued %d is negative", c.MaxQueued)
	}
	return c.Meta.Validate()
}

// suspicion is memberlist's longest wait between suspecting a member and
// declaring it dead, in a cluster of n, and one probe more.
func (c Config) suspicion(n int) time.Duration {
	scale := max(1, math.Log10(float64(max(1, n))))
	return time.Duration(suspicionMult*suspicionMaxMult*scale*float64(c.ProbeInterval)) + c.ProbeInterval
}

const (
	suspicionMult    = 4
	suspicionMaxMult = 6
)

// memberlistConfig translates c; the delegates are the caller's.
func (c Config) memberlistConfig() (*memberlist.Config, error) {
	var primary []byte
	if len(c.Keys) > 0 {
		primary = c.Keys[0]
	}
	ring, err := memberlist.NewKeyring(c.Keys, primary)
	if err != nil {
		return nil, fmt.Errorf("gossip keys: %w", err)
	}
	m := memberlist.DefaultLANConfig()
	m.Name = c.NodeID
	m.Label = c.ClusterID
	m.Keyring = ring
	m.GossipInterval = c.GossipInterval
	m.PushPullInterval = c.PushPullInterval
	m.ProbeInterval = c.ProbeInterval
	m.ProbeTimeout = c.ProbeTimeout
	m.TCPTimeout = c.StreamTimeout
	m.SuspicionMult = suspicionMult
	m.SuspicionMaxTimeoutMult = suspicionMaxMult
	m.DeadNodeReclaimTime = c.ReclaimTime
	m.GossipToTheDeadTime = max(c.ReclaimTime, 3*c.PushPullInterval)
	// Our payloads are binary and small; LZW would cost more than it saves.
	m.EnableCompression = false
	m.UDPBufferSize = maxPacket
	m.HandoffQueueDepth = c.MaxQueued
	return m, nil
}
