package apitest

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/httpapi"
	"github.com/lbnode/lbnode/state"
	"github.com/lbnode/lbnode/stats"
)

// Fake stands in for httpapi's Cluster, Stats and Runtime and for readiness. Set its fields before use, or
// between requests with Update.
type Fake struct {
	mu sync.Mutex

	ClusterStatus httpapi.ClusterStatus
	Nodes         []httpapi.Member
	ClusterErr    error // of Remove and Transfer
	Removed       []string
	Transferred   []string

	Counters stats.Snapshot
	Missing  []string // nodes that do not answer for their counters

	Runtimes map[string]httpapi.BackendRuntime
	Seen     map[string][]httpapi.Observation

	CaughtUp []string // the levels of the reads that asked for one
	ReadErr  error    // of CatchUp

	KeyRing api.ClusterKeys
	Loads   map[string]httpapi.LoadReport       // by backend, as reported
	Tried   map[string]httpapi.CallbackProgress // by callback
	Listed  map[string]httpapi.MeetingSeen      // by backend/id on it
	Silent  map[string]bool                     // servers that do not end meetings
	Orders  []string                            // drain n1, …
	Slow    bool                                // Members does not know yet what was ordered

	NotReady []string // reasons; none = ready

	explained []api.NodeExplanation
}

// NewFake is a healthy one-node cluster: node n1, its own leader.
func NewFake() *Fake {
	return &Fake{
		ClusterStatus: httpapi.ClusterStatus{
			ClusterID: "test-cluster", NodeID: "n1", LeaderID: "n1", LeaderAddr: "127.0.0.1:7946",
			State: "leader", Term: 1, CommitIndex: 1, AppliedIndex: 1, LastIndex: 1, Voters: 1, LiveVoters: 1, Healthy: true,
		},
		Nodes: []httpapi.Member{{
			ID: "n1", Addr: "127.0.0.1:7946", API: "127.0.0.1:9080", Proxy: "127.0.0.1:8080", Version: "test",
			Voter: true, Leader: true, Self: true, Status: "alive", AppliedIndex: 1,
		}},
		Counters: stats.Snapshot{Nodes: []string{"n1"}},
		KeyRing:  api.ClusterKeys{Keys: []api.ClusterKey{{ID: "1badcafe", InUse: true, Nodes: []string{"n1"}, UsedBy: []string{"n1"}}}},
		Runtimes: map[string]httpapi.BackendRuntime{}, Seen: map[string][]httpapi.Observation{},
	}
}

// Update changes fields while requests may run.
func (f *Fake) Update(change func(*Fake)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

// Status implements httpapi.Cluster.
func (f *Fake) Status() httpapi.ClusterStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ClusterStatus
}

// Members implements httpapi.Cluster.
func (f *Fake) Members() []httpapi.Member {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.Nodes)
}

// Remove implements httpapi.Cluster.
func (f *Fake) Remove(_ context.Context, id string, force bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ClusterErr != nil && !force {
		return f.ClusterErr
	}
	i := slices.IndexFunc(f.Nodes, func(m httpapi.Member) bool { return m.ID == id })
	if i < 0 {
		return fmt.Errorf("%w: %q", httpapi.ErrUnknownNode, id)
	}
	f.Nodes = slices.Delete(slices.Clone(f.Nodes), i, i+1)
	f.Removed = append(f.Removed, id)
	return nil
}

// Transfer implements httpapi.Cluster.
func (f *Fake) Transfer(_ context.Context, to string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ClusterErr != nil {
		return f.ClusterErr
	}
	if to != "" && !slices.ContainsFunc(f.Nodes, func(m httpapi.Member) bool { return m.ID == to }) {
		return fmt.Errorf("%w: %q", httpapi.ErrUnknownNode, to)
	}
	f.Transferred = append(f.Transferred, to)
	return nil
}

// Local implements httpapi.Stats.
func (f *Fake) Local() stats.Snapshot {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.Counters
}

// Cluster implements httpapi.Stats.
func (f *Fake) Cluster(context.Context) (stats.Snapshot, []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.Counters, f.Missing
}

// Node implements httpapi.Stats: every node has the same counters.
func (f *Fake) Node(_ context.Context, id string) (stats.Snapshot, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case !slices.ContainsFunc(f.Nodes, func(m httpapi.Member) bool { return m.ID == id }):
		return stats.Snapshot{}, fmt.Errorf("%w: %q", httpapi.ErrUnknownNode, id)
	case slices.Contains(f.Missing, id):
		return stats.Snapshot{}, context.DeadlineExceeded
	}
	snap := f.Counters
	snap.Nodes = []string{id}
	return snap, nil
}

// Backend implements httpapi.Runtime.
func (f *Fake) Backend(id string) httpapi.BackendRuntime {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.Runtimes[id]
}

// Observations implements httpapi.Runtime.
func (f *Fake) Observations(id string) []httpapi.Observation {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.Seen[id])
}

// CatchUp implements httpapi.Reads: the store is always as new as can be.
func (f *Fake) CatchUp(ctx context.Context, level string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.CaughtUp = append(f.CaughtUp, level)
	if f.ReadErr != nil {
		return f.ReadErr
	}
	return ctx.Err()
}

// Drain implements httpapi.Nodes.
func (f *Fake) Drain(_ context.Context, id string) error { return f.order("drain", id) }

// Undrain implements httpapi.Nodes.
func (f *Fake) Undrain(_ context.Context, id string) error { return f.order("undrain", id) }

// Leave implements httpapi.Nodes.
func (f *Fake) Leave(_ context.Context, id string) error { return f.order("leave", id) }

// Fences implements httpapi.Nodes.
func (f *Fake) Fences(string) bool { return false }

func (f *Fake) order(what, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ClusterErr != nil {
		return f.ClusterErr
	}
	i := slices.IndexFunc(f.Nodes, func(m httpapi.Member) bool { return m.ID == id })
	if i < 0 {
		return fmt.Errorf("%w: %q", httpapi.ErrUnknownNode, id)
	}
	if !f.Slow {
		f.Nodes = slices.Clone(f.Nodes)
		f.Nodes[i].Draining = what != "undrain"
	}
	f.Orders = append(f.Orders, what+" "+id)
	return nil
}

// Ready is an httpapi.Ready.
func (f *Fake) Ready() (bool, []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.NotReady) == 0, slices.Clone(f.NotReady)
}

// NewConfig joins a store and a fake to a configuration of node n1 that logs nothing.
func NewConfig(s *Store, f *Fake) httpapi.Config {
	cfg := httpapi.DefaultConfig()
	cfg.NodeID, cfg.Version = "n1", "test"
	cfg.Store, cfg.Cluster, cfg.Stats, cfg.Runtime, cfg.Ready = s, f, f, f, f.Ready
	cfg.Explain = explainer{f}
	cfg.Loads, cfg.Callbacks, cfg.Meetings = f, f, meetings{s, f}
	cfg.Drain, cfg.Reads, cfg.Keys = drain{s, f}, f, keys{f}
	cfg.Backups = &Backups{Keys: []byte{1}, Schedule: api.BackupStatus{Interval: "1h0m0s", Keep: 24}}
	cfg.Nodes = f
	cfg.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		_, _ = w.Write([]byte("lb_up 1\n"))
	})
	cfg.Access.Open = true
	cfg.Logger = slog.New(slog.DiscardHandler)
	return cfg
}

// SetVerdict commits a verdict on a backend, as the leader's health checks do.
func (s *Store) SetVerdict(id string, to state.Verdict, text string) error {
	b, ok := s.View().Backend(id)
	if !ok {
		return fmt.Errorf("set verdict: there is no backend %q", id)
	}
	_, err := s.Do(context.Background(), state.Command{
		Type: state.TypeStates, At: time.Now().UTC(),
		Changes: []state.StateChange{{ID: id, Gen: b.Gen, From: b.Verdict, To: to, Text: text}},
	})
	return err
}

// SetDrained commits that no request runs any more on a backend that was taken out.
func (s *Store) SetDrained(id string) error {
	b, ok := s.View().Backend(id)
	if !ok {
		return fmt.Errorf("set drained: there is no backend %q", id)
	}
	_, err := s.Do(context.Background(), state.Command{
		Type: state.TypeStates, At: time.Now().UTC(),
		Changes: []state.StateChange{{ID: id, Drained: b.AdminIndex}},
	})
	return err
}
