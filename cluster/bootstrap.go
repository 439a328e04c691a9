package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/lbnode/lbnode/cluster/transport"
)

// A cluster of N starts when the node with the lowest id has seen N-1 others
// with the same N and nothing on disk, and each of them has promised to be part
// of it. Then it alone writes the first log entry. The others enter when they see
// that the cluster they promised to exists. With fewer than N in sight nobody
// starts anything, so a network cut in two yields one cluster or none.

const (
	// promiseTTL is how long a promise keeps a node from giving another one.
	promiseTTL = 10 * time.Second
	// decideWithin is how soon after the first promise the cluster must be
	// decided, well before one runs out.
	decideWithin = promiseTTL / 3
)

// form decides that a cluster exists and starts it.
func (n *Node) form(servers []server, clusterID string) error {
	var taken error
	err := n.dir.update(func(id *identity) {
		if id.Phase != phaseNew {
			taken = fmt.Errorf("start a cluster: this node is in cluster %s already", id.ClusterID)
			return
		}
		id.ClusterID, id.Phase, id.Servers = clusterID, phaseForming, servers
	})
	if err != nil || taken != nil {
		return cmpErr(taken, err)
	}
	n.log.Info("starting a new cluster", "cluster", clusterID, "nodes", len(servers))
	if err := n.bootstrap(n.dir.get()); err != nil {
		return err
	}
	return n.runOrFail()
}

func cmpErr(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// bootstrap writes the first log entry, unless that was done before.
func (n *Node) bootstrap(id identity) error {
	if err := n.store.own(id); err != nil {
		return err
	}
	last, err := n.store.LastIndex()
	if err != nil || last > 0 {
		return err
	}
	// A crash between Raft's two writes leaves a term without a log, which Raft
	// takes for state. Nobody has voted in it.
	vote, err := n.store.GetUint64(keyVoteTerm)
	if err != nil && err.Error() != errNotFound {
		return fmt.Errorf("bootstrap: %w", err)
	}
	if term, err := n.store.GetUint64(keyTerm); err == nil && term == 1 && vote == 0 {
		if err := n.store.SetUint64(keyTerm, 0); err != nil {
			return fmt.Errorf("bootstrap: %w", err)
		}
	}
	var conf raft.Configuration
	for _, s := range id.Servers {
		conf.Servers = append(conf.Servers, raft.Server{Suffrage: raft.Voter, ID: raft.ServerID(s.ID), Address: raft.ServerAddress(s.Addr)})
	}
	if err := raft.BootstrapCluster(n.raftConfig(), n.store.cache, n.store.guardedStore, n.store.snaps, nil, conf); err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	return nil
}

// tryForm starts the cluster if this node is the one to do it and all are there.
func (n *Node) tryForm(ctx context.Context, all []found, lookErr error) error {
	want := n.cfg.BootstrapExpect
	servers := []server{{ID: n.ID(), Addr: n.Advertise()}}
	for _, f := range all {
		if f.Phase != phaseNew {
			continue
		}
		if f.Expect != want {
			n.log.Warn("a node waits for another number of nodes", "node", f.NodeID, "addr", f.addr, "its_bootstrap_expect", f.Expect, "bootstrap_expect", want)
			continue
		}
		servers = append(servers, server{ID: f.NodeID, Addr: f.Claim.Addr})
	}
	slices.SortFunc(servers, func(a, b server) int { return strings.Compare(a.ID, b.ID) })
	servers = slices.CompactFunc(servers, func(a, b server) bool { return a.ID == b.ID })
	if len(servers) < want {
		names := make([]string, len(servers))
		for i, s := range servers {
			names[i] = s.ID
		}
		err := fmt.Errorf("waiting for %d nodes to start a cluster, %d are here: %s", want, len(servers), strings.Join(names, ", "))
		if lookErr != nil {
			err = fmt.Errorf("%w (%w)", err, lookErr)
		}
		return err
	}
	servers = servers[:want]
	if servers[0].ID != n.ID() {
		return fmt.Errorf("waiting for node %s to start the cluster", servers[0].ID)
	}
	clusterID := newUUID()
	begun := time.Now()
	if err := n.collectPromises(ctx, clusterID, servers); err != nil {
		return err
	}
	if time.Since(begun) > decideWithin {
		return fmt.Errorf("the promises took %v", time.Since(begun))
	}
	return n.form(servers, clusterID)
}

type prepareRequest struct {
	ClusterID string   `json:"cluster_id"`
	Servers   []server `json:"servers"`
}

// collectPromises asks all others at once; one refusal is enough to give up.
func (n *Node) collectPromises(ctx context.Context, clusterID string, servers []server) error {
	ctx, cancel := context.WithTimeout(ctx, decideWithin)
	defer cancel()
	errs := make(chan error, len(servers))
	for _, s := range servers[1:] {
		if !n.spawn(func() {
			_, err := callJSON[empty](ctx, n.mux, s.Addr, methodPrepare, prepareRequest{ClusterID: clusterID, Servers: servers})
			if err != nil {
				err = fmt.Errorf("node %s does not promise to be in the new cluster: %w", s.ID, err)
			}
			errs <- err
		}) {
			errs <- ErrStopped
		}
	}
	var first error
	for range servers[1:] {
		first = cmpErr(first, <-errs)
	}
	return first
}

// servePrepare gives a promise.
func (n *Node) servePrepare(_ context.Context, p transport.Peer, req prepareRequest) (empty, error) {
	no := func(format string, args ...any) (empty, error) {
		return empty{}, fmt.Errorf("%w: %s", errNotTaken, fmt.Sprintf(format, args...))
	}
	in := slices.ContainsFunc(req.Servers, func(s server) bool { return s.ID == n.ID() && s.Addr == n.Advertise() })
	switch {
	case len(req.Servers) != n.cfg.BootstrapExpect || len(req.Servers) == 0:
		return no("%s waits for %d nodes, not %d", n.ID(), n.cfg.BootstrapExpect, len(req.Servers))
	case !in || req.Servers[0].ID != p.NodeID || p.NodeID >= n.ID() || req.ClusterID == "":
		return no("%s has no place in that list", n.ID())
	case n.stopping.Load() || n.dead():
		return no("%s is stopping", n.ID())
	}
	if other := n.promises.give(p.NodeID, time.Now()); other != "" {
		return no("%s has just promised to be in the cluster of %s", n.ID(), other)
	}
	n.promises.hear(p.NodeID, req.Servers[0].Addr)
	in = false
	err := n.dir.update(func(id *identity) {
		if id.Phase == phaseNew {
			id.Promise, in = req.ClusterID, true
		}
	})
	if err != nil {
		return empty{}, err
	}
	if !in {
		return no("%s is in a cluster already", n.ID())
	}
	return empty{}, nil
}

// promiseTable holds whom this node promised itself to and where nodes without a
// cluster have called from.
type promiseTable struct {
	mu     sync.Mutex
	former string
	at     time.Time
	addrs  map[string]string // by node id, or by themselves when they are hearsay
}

// give promises this node to former, or returns to whom it is promised. The
// same node may ask again: it then knows that its earlier cluster never began.
func (t *promiseTable) give(former string, now time.Time) (other string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.former != "" && t.former != former && now.Sub(t.at) < promiseTTL {
		return t.former
	}
	t.former, t.at = former, now
	return ""
}

// hear notes where a node can be asked.
func (t *promiseTable) hear(id, addr string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.addrs == nil {
		t.addrs = make(map[string]string)
	}
	if _, known := t.addrs[id]; known || len(t.addrs) < 100 {
		t.addrs[id] = addr
	}
}

func (t *promiseTable) heard() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]string, 0, len(t.addrs))
	for _, a := range t.addrs {
		all = append(all, a)
	}
	return all
}
