package cluster

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/lbnode/lbnode/cluster/gossip"
	"github.com/lbnode/lbnode/cluster/transport"
)

// gossipStates holds what belongs to gossip while there is none: it starts only
// once the node has a cluster id.
type gossipStates struct {
	mu     sync.Mutex
	meta   gossip.Meta
	states map[string]gossip.State
	send   map[string]func([]byte) // by key, once gossip runs
}

// currentMeta returns what this node says about itself.
func (s *gossipStates) currentMeta() gossip.Meta {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.meta
}

// AddState spreads a piece of mergeable state by gossip; see gossip.AddState.
// What is broadcast before the node has a cluster is dropped, full exchanges
// make up for it.
func (n *Node) AddState(key string, st gossip.State) (broadcast func([]byte)) {
	s := &n.states
	s.mu.Lock()
	defer s.mu.Unlock()
	s.states[key] = st
	if g := n.gossip.Load(); g != nil {
		s.send[key] = g.AddState(key, st)
	}
	return func(b []byte) {
		s.mu.Lock()
		send := s.send[key]
		s.mu.Unlock()
		if send != nil {
			send(b)
		}
	}
}

// SetMeta changes what the others know about this node. Voter is ignored: it
// follows Raft's configuration.
func (n *Node) SetMeta(m gossip.Meta) error {
	if err := m.Validate(); err != nil {
		return err
	}
	s := &n.states
	s.mu.Lock()
	defer s.mu.Unlock()
	m.Voter = s.meta.Voter
	s.meta = m
	if g := n.gossip.Load(); g != nil {
		return g.SetMeta(m)
	}
	return nil
}

// noteVoter corrects the meta data after a change of the configuration.
func (n *Node) noteVoter() {
	srv, ok := n.server(n.ID())
	voter := ok && srv.Suffrage == raft.Voter
	s := &n.states
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.meta.Voter == voter {
		return
	}
	s.meta.Voter = voter
	if g := n.gossip.Load(); g != nil {
		if err := g.SetMeta(s.meta); err != nil {
			n.log.Debug("spread meta data", "error", err)
		}
	}
}

// HealthScore is gossip's view of this node's own timeliness, 0 is well.
func (n *Node) HealthScore() int {
	if g := n.gossip.Load(); g != nil {
		return g.HealthScore()
	}
	return 0
}

// SetKeys rotates the cluster keys of the port and of gossip; the first one is
// used from now on, all of them are accepted.
func (n *Node) SetKeys(keys []transport.Key) error {
	s := &n.states
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := n.mux.SetKeys(keys); err != nil {
		return err
	}
	n.cfg.Keys = slices.Clone(keys)
	if g := n.gossip.Load(); g != nil {
		return g.SetKeys(gossipKeys(keys))
	}
	return nil
}

func gossipKeys(keys []transport.Key) [][]byte {
	if len(keys) == 0 {
		return [][]byte{transport.LabKey().Gossip()}
	}
	out := make([][]byte, len(keys))
	for i, k := range keys {
		out[i] = k.Gossip()
	}
	return out
}

// startGossip starts gossip under the cluster's id.
func (n *Node) startGossip(id identity) error {
	s := &n.states
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := gossip.New(gossip.Config{
		NodeID: id.NodeID, ClusterID: id.ClusterID, Addr: n.mux.Addr().String(), Advertise: n.mux.Advertise(),
		Streams: n.mux.Stream(transport.ProtoGossip), Keys: gossipKeys(n.cfg.Keys), Meta: s.meta, Pass: n.cfg.pass, Logger: n.log,
	})
	if err != nil {
		return fmt.Errorf("start gossip: %w", err)
	}
	for key, st := range s.states {
		s.send[key] = g.AddState(key, st)
	}
	n.gossip.Store(g)
	return nil
}

// watchGossip joins and rejoins the others' gossip and passes on its news.
func (n *Node) watchGossip() {
	g := n.gossip.Load()
	retry := time.NewTicker(max(2*n.timing.Poll, 50*time.Millisecond))
	defer retry.Stop()
	joining := make(chan struct{}, 1) // one attempt at a time: an address may not answer for seconds
	for {
		n.noteVoter()
		n.hearGossip(g)
		select {
		case joining <- struct{}{}:
			if !n.spawn(func() { defer func() { <-joining }(); n.joinGossip(g) }) {
				return
			}
		default:
		}
		select {
		case <-g.Changes():
			n.changes.tell()
		case <-n.news.wait():
		case <-retry.C:
		case <-n.ctx.Done():
			return
		}
	}
}

// hearGossip notes where gossip has the members.
func (n *Node) hearGossip(g *gossip.Gossip) {
	addrs := make(map[string]string)
	for _, m := range g.Members() {
		if m.Status == gossip.Alive {
			addrs[m.ID] = m.Addr
		}
	}
	n.book.heard(addrs)
}

// joinGossip exchanges states with every member that answers us but is not alive
// in gossip. memberlist does not find dead members again by itself, and a name
// that moved is not found by its old address.
func (n *Node) joinGossip(g *gossip.Gossip) {
	alive := make(map[string]bool)
	for _, m := range g.Members() {
		alive[m.ID] = m.Status == gossip.Alive || m.Status == gossip.Suspect
	}
	var addrs []string
	for _, s := range n.servers() {
		id := string(s.ID)
		if id != n.ID() && !alive[id] && n.live(id) {
			addrs = append(addrs, n.book.lookup(id))
		}
	}
	if len(addrs) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(n.ctx, 2*n.timing.RPC)
	defer cancel()
	if _, err := g.Join(ctx, addrs); err != nil && n.ctx.Err() == nil {
		n.log.Debug("join gossip", "error", err)
	}
}
