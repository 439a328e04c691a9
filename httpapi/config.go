package httpapi

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/internal/auth"
)

// Config is what a Server is made of. All fields are needed; [DefaultConfig] fills those that have a default.
type Config struct {
	NodeID  string // of this node, as in X-Lbnode-Node
	Version string // of this lbnode, as in /openapi.json

	Store     Store
	Cluster   Cluster
	Stats     Stats
	Runtime   Runtime
	Drain     Drain
	Keys      Keys
	Nodes     Nodes
	Reads     Reads
	Backups   Backups
	Explain   Explainer
	Loads     Loads
	Callbacks Callbacks
	Meetings  Meetings
	Ready     Ready
	Metrics   http.Handler // GET /metrics
	Access    Access

	Logger *slog.Logger
	Now    func() time.Time // for the time in commands and in the log
	NewID  func() string    // a random UUID, for objects and requests that come without an id

	WriteTimeout time.Duration // for a write to be applied; then its outcome is unknown
	IndexTimeout time.Duration // for ?min_index and ?consistency to be reached, unless ?timeout says otherwise
	StatsTimeout time.Duration // for the other nodes' counters
}

// DefaultConfig uses the system's clock, random ids, and the default logger. The borders are left to fill.
func DefaultConfig() Config {
	return Config{
		Version: "dev", Access: Access{Bootstrap: func() string { return "" }, Limiter: auth.NewLimiter(auth.DefaultLimiter())}, Logger: slog.Default(), Now: time.Now, NewID: newUUID,
		WriteTimeout: 15 * time.Second, IndexTimeout: api.DefaultReadWait, StatsTimeout: 2 * time.Second,
	}
}

// Validate names every field that is missing or out of bounds.
func (c Config) Validate() error {
	var errs []error
	need := func(ok bool, field string) {
		if !ok {
			errs = append(errs, fmt.Errorf("httpapi config: %s must be set", field))
		}
	}
	need(c.NodeID != "", "NodeID")
	need(c.Version != "", "Version")
	need(c.Store != nil, "Store")
	need(c.Cluster != nil, "Cluster")
	need(c.Stats != nil, "Stats")
	need(c.Runtime != nil, "Runtime")
	need(c.Drain != nil, "Drain")
	need(c.Keys != nil, "Keys")
	need(c.Nodes != nil, "Nodes")
	need(c.Reads != nil, "Reads")
	need(c.Backups != nil, "Backups")
	need(c.Explain != nil, "Explain")
	need(c.Loads != nil, "Loads")
	need(c.Callbacks != nil, "Callbacks")
	need(c.Meetings != nil, "Meetings")
	need(c.Ready != nil, "Ready")
	need(c.Metrics != nil, "Metrics")
	need(c.Access.Bootstrap != nil, "Access.Bootstrap")
	need(c.Access.Limiter != nil, "Access.Limiter")
	need(c.Logger != nil, "Logger")
	need(c.Now != nil, "Now")
	need(c.NewID != nil, "NewID")
	for _, d := range []struct {
		field string
		v     time.Duration
	}{{"WriteTimeout", c.WriteTimeout}, {"IndexTimeout", c.IndexTimeout}, {"StatsTimeout", c.StatsTimeout}} {
		if d.v <= 0 {
			errs = append(errs, fmt.Errorf("httpapi config: %s must be positive, got %s", d.field, d.v))
		}
	}
	return errors.Join(errs...)
}

// newUUID returns a random UUID (RFC 9562, version 4).
func newUUID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	return formatUUID(b, 4)
}

func formatUUID(b [16]byte, version byte) string {
	b[6] = b[6]&0x0f | version<<4
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:])
}
