package health

import (
	"context"
	"hash/maphash"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lbnode/lbnode/state"
)

const (
	// silence is after how long a node that says nothing is forgotten, even if nobody calls it gone.
	silence = 10 * time.Minute
	// voterPoll is how often a node looks whether it has become a voter.
	voterPoll = 200 * time.Millisecond
)

// Health is the health checking of one node. Its methods may be called by any goroutine.
type Health struct {
	cfg      Config
	log      *slog.Logger
	table    *Table
	shards   []*shard
	seed     maphash.Seed
	newCheck func(*state.Backend, *state.Pool, string) check

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	wake  chan struct{} // cap 1: the arbiter may have something to decide
	dirty chan struct{} // cap 1: own changes wait to be published
	drain chan struct{} // cap 1: the set of draining backends changed

	view atomic.Pointer[state.View]

	mu       sync.Mutex // guards what follows; taken before a shard's mu
	voter    bool
	mark     uint64
	draining []*state.Backend
	started  bool
	closed   bool
}

// New makes a Health. Nothing runs before Start; Update and Merge may be called earlier.
func New(cfg Config) (*Health, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	h := &Health{
		cfg: cfg, log: cfg.Logger, seed: maphash.MakeSeed(), newCheck: withBBB(withCertificate(newCheck, cfg.ClientCertificate), cfg.BBB),
		table: newTable(cfg.NodeID, uint64(max(time.Now().UnixNano(), 1))),
		wake:  make(chan struct{}, 1), dirty: make(chan struct{}, 1), drain: make(chan struct{}, 1),
	}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	n := min(max(runtime.GOMAXPROCS(0), 1), 8, cfg.Concurrency)
	for range n {
		h.shards = append(h.shards, newShard(h, (cfg.Concurrency+n-1)/n))
	}
	h.table.wake = func() { notify(h.wake) }
	h.table.dirty = func() { notify(h.dirty) }
	h.table.fresh = h.refresh
	return h, nil
}

// Start begins to probe and to publish. It does nothing when called again or after Close.
func (h *Health) Start() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.started || h.closed {
		return
	}
	h.started = true
	for _, s := range h.shards {
		h.wg.Go(func() { s.run(h.ctx) })
	}
	h.wg.Go(h.publish)
	h.wg.Go(h.watchDrains)
	h.wg.Go(h.watchVote)
}

// Close ends all probes and waits for everything that Start began. Lead returns soon after. It may be
// called more than once.
func (h *Health) Close() error {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.cancel()
	h.wg.Wait()
	return nil
}

// Table is the gossip state: what to hand to the cluster's AddState.
func (h *Health) Table() *Table { return h.table }

// Observations returns what every node says about a backend, by node id.
func (h *Health) Observations(backendID string) []Observation {
	return h.table.about(backendID, time.Now())
}

// NodeGone drops the observations of a node that is dead or has left. Should it come back, it is heard
// again.
func (h *Health) NodeGone(nodeID string) {
	h.table.drop(nodeID)
	notify(h.wake) // a drain may have waited for it
}

// Update makes probes follow a view. Call it after the proxy's own Update with the same view, so that the
// overlay knows the backends. A view older than the last one is ignored.
func (h *Health) Update(v *state.View) {
	h.mu.Lock()
	defer h.mu.Unlock()
	old := h.view.Load()
	if h.closed || old != nil && v.Index < old.Index {
		return
	}
	h.view.Store(v)
	if old == nil || old.ConfigGen != v.ConfigGen || old.StateGen != v.StateGen || h.voter != h.cfg.Voter() {
		h.reconcile(v)
	}
	notify(h.wake)
}

// reconcile makes the targets what the view wants. It is called with mu held.
func (h *Health) reconcile(v *state.View) {
	h.voter = h.cfg.Voter()
	h.mark++
	h.table.setView(v)
	h.draining = nil
	for b := range v.Backends() {
		p, ok := v.Pool(b.Pool)
		if !ok { // a forced deletion of a pool takes its backends along; this only guards against damage
			continue
		}
		h.shard(b.ID).ensure(wanted{
			backend: b, policy: policyOf(p.Health), mark: h.mark,
			source: source{pool: p, address: b.Address, voter: h.voter},
		})
		if b.Draining() {
			h.draining = append(h.draining, b)
		}
	}
	for _, s := range h.shards {
		s.sweep(h.mark)
	}
	notify(h.drain)
}

func (h *Health) shard(id string) *shard {
	return h.shards[maphash.String(h.seed, id)%uint64(len(h.shards))]
}

// Passive takes what happened to a request of live traffic. It is cheap enough to be called for every
// failure, and does the following, besides nothing for an unknown backend:
//
//   - connectFailed: this node vetoes the backend at once, and probes it at once if it probes it at all.
//     The veto ends with the first probe that began after it and passes. If live traffic keeps failing
//     where probes pass, each further veto within a minute holds longer, up to 30 s. Where there are no
//     probes (check type none, or a non-voter) it holds for the pool's interval, doubling likewise. The
//     failure also counts as one failed check.
//   - status 500 and above: counts towards [Config.ErrorRun], which vetoes in the same way; any lower
//     status ends the run.
//   - neither: the connection broke after it stood. The backend is probed soon.
//
// The err is for people; [Reason] makes it read as probes do. A client that went away is not to be reported.
func (h *Health) Passive(backendID string, connectFailed bool, status int, err string) {
	h.shard(backendID).passive(backendID, connectFailed, status, err)
}

// watchVote notices when this node becomes a voter, or ceases to be one.
func (h *Health) watchVote() {
	t := time.NewTicker(voterPoll)
	defer t.Stop()
	for {
		select {
		case <-h.ctx.Done():
			return
		case <-t.C:
		}
		h.mu.Lock()
		if v := h.view.Load(); v != nil && h.voter != h.cfg.Voter() {
			h.reconcile(v)
		}
		h.mu.Unlock()
	}
}
