package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lbnode/lbnode/cluster"
	"github.com/lbnode/lbnode/cluster/transport"
	"github.com/lbnode/lbnode/fsm"
	"github.com/lbnode/lbnode/health"
	"github.com/lbnode/lbnode/httpapi"
	"github.com/lbnode/lbnode/proxy"
	"github.com/lbnode/lbnode/proxy/upstream"
	"github.com/lbnode/lbnode/state"
	"github.com/lbnode/lbnode/stats"
)

var (
	_ fsm.Proposer      = proposer{}
	_ httpapi.Store     = apiStore{}
	_ httpapi.Cluster   = apiCluster{}
	_ httpapi.Stats     = apiStats{}
	_ httpapi.Runtime   = apiRuntime{}
	_ health.Electorate = electorate{}
	_ proxy.Observer    = passive{}
)

// proposer gives consensus' errors the names that the edges know.
type proposer struct{ c *cluster.Node }

func (p proposer) Propose(ctx context.Context, cmd []byte) ([]byte, uint64, error) {
	resp, index, err := p.c.Propose(ctx, cmd)
	switch {
	case errors.Is(err, cluster.ErrNoLeader):
		err = fmt.Errorf("%w: %w", state.ErrNoLeader, err)
	case errors.Is(err, cluster.ErrOutcomeUnknown):
		err = fmt.Errorf("%w: %w", state.ErrOutcomeUnknown, err)
	case errors.Is(err, cluster.ErrStoreFull):
		err = renamed{err, state.ErrStoreFull}
	case errors.Is(err, cluster.ErrOldMember):
		err = renamed{err, state.ErrOldMember}
	}
	return resp, index, err
}

// renamed is an error whose text is for operators as it is, under the name that the edges know.
type renamed struct {
	error
	name error
}

func (e renamed) Unwrap() []error { return []error{e.error, e.name} }

// apiStore adds what only consensus knows: whether the view may be behind.
type apiStore struct {
	*fsm.Store
	c *cluster.Node
	// confirmed is set once this node has applied all that a leader told it was committed. From then on being
	// an entry behind for a moment is how following looks, and says nothing, until there is no leader.
	confirmed *atomic.Bool
}

// Stale says that no leader vouches for the view: reads may be old.
func (s apiStore) Stale() bool {
	st := s.c.Status()
	switch {
	case st.LeaderID == "":
		s.confirmed.Store(false)
	case st.AppliedIndex >= st.CommitIndex:
		s.confirmed.Store(true)
	}
	return !s.confirmed.Load()
}

// apiCluster translates members, status and errors for the admin API.
type apiCluster struct{ c *cluster.Node }

// Status calls healthy a cluster that takes writes; how near the edge it is says FailureTolerance.
func (a apiCluster) Status() httpapi.ClusterStatus {
	st := httpapi.ClusterStatus(a.c.Status())
	st.Healthy = st.LeaderID != "" && st.LiveVoters > st.Voters/2
	return st
}

func (a apiCluster) Members() []httpapi.Member {
	members := a.c.Members()
	out := make([]httpapi.Member, len(members))
	for i, m := range members {
		out[i] = httpapi.Member(m)
	}
	return out
}

func (a apiCluster) Remove(ctx context.Context, id string, force bool) error {
	return apiError(a.c.Remove(ctx, id, force))
}

func (a apiCluster) Transfer(ctx context.Context, to string) error {
	return apiError(a.c.Transfer(ctx, to))
}

func apiError(err error) error {
	for from, to := range map[error]error{
		cluster.ErrNoLeader: state.ErrNoLeader, cluster.ErrOutcomeUnknown: state.ErrOutcomeUnknown,
		cluster.ErrUnknownKey: httpapi.ErrUnknownKey, cluster.ErrBadKey: httpapi.ErrBadKey,
		cluster.ErrUnknownNode: httpapi.ErrUnknownNode, cluster.ErrNotSafe: httpapi.ErrNotSafe, cluster.ErrBusy: httpapi.ErrBusy,
	} {
		if errors.Is(err, from) {
			return renamed{err, to}
		}
	}
	return err
}

// electorate is who votes on health, and whose requests in flight count.
type electorate struct{ c *cluster.Node }

func (e electorate) Voters() []string { return e.c.Voters() }

func (e electorate) Live() []string { return e.c.Live() }

// passive tells health what live traffic ran into.
type passive struct{ n *Node }

func (p passive) Outcome(backendID string, o upstream.Outcome) {
	if h := p.n.health; h != nil {
		h.Passive(backendID, o.Kind == upstream.ConnectFailed || o.Kind == upstream.ConnectTimeout, o.Status, health.Reason(o.Err))
	}
}

// apiRuntime is what this node measures on backends.
type apiRuntime struct{ n *Node }

func (r apiRuntime) Backend(id string) httpapi.BackendRuntime {
	rt, _ := r.n.proxy.Set().Runtime(id)
	out := httpapi.BackendRuntime{InFlight: rt.InFlight, Latency: rt.Latency, Standing: rt.Standing()}
	out.Standing.Fenced = r.n.fence.text()
	bbb := r.n.bbbLoads.Status(id)
	out.Meetings, out.Attendees = bbb.Meetings, bbb.Attendees
	return out
}

func (r apiRuntime) Observations(id string) []httpapi.Observation {
	seen := r.n.health.Observations(id)
	out := make([]httpapi.Observation, len(seen))
	for i, o := range seen {
		out[i] = httpapi.Observation{Node: o.Node, Status: state.Verdict(o.Status), Error: o.LastError, Latency: time.Duration(o.LatencyMS * float64(time.Millisecond)), InFlight: o.InFlight, Since: o.Since, Age: o.Age, Seq: o.Seq}
	}
	return out
}

// apiStats counts for this node and asks the others.
type apiStats struct{ n *Node }

const (
	statsMethod  = "stats"
	statsTimeout = time.Second
)

func (s apiStats) Local() stats.Snapshot { return s.n.requests.Snapshot(s.n.ID()) }

func (s apiStats) Cluster(ctx context.Context) (stats.Snapshot, []string) {
	ctx, cancel := context.WithTimeout(ctx, statsTimeout)
	defer cancel()
	var (
		mu      sync.Mutex
		merged  = s.Local()
		missing = []string{}
		asked   sync.WaitGroup
	)
	for _, m := range s.n.cluster.Members() {
		if m.Self || m.Status == "left" {
			continue
		}
		asked.Go(func() {
			snap, err := s.ask(ctx, m)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				missing = append(missing, m.ID)
				return
			}
			merged = merged.Merge(snap)
		})
	}
	asked.Wait()
	slices.Sort(missing)
	return merged, missing
}

func (s apiStats) Node(ctx context.Context, id string) (stats.Snapshot, error) {
	for _, m := range s.n.cluster.Members() {
		if m.ID == id {
			return s.ask(ctx, m)
		}
	}
	return stats.Snapshot{}, fmt.Errorf("%w: %q", httpapi.ErrUnknownNode, id)
}

func (s apiStats) ask(ctx context.Context, m cluster.Member) (stats.Snapshot, error) {
	var snap stats.Snapshot
	if m.Status == "dead" {
		return snap, fmt.Errorf("%s is dead", m.ID)
	}
	b, err := s.n.cluster.Call(ctx, m.ID, statsMethod, nil)
	if err != nil {
		return snap, err
	}
	return snap, json.Unmarshal(b, &snap)
}

// serveStats answers another node's question for this one's counters.
func (n *Node) serveStats(context.Context, transport.Peer, []byte) ([]byte, error) {
	return json.Marshal(n.requests.Snapshot(n.ID()))
}
