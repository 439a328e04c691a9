package cluster

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/hashicorp/raft"
)

// run starts Raft, gossip and everything that goes with membership. The node
// has its cluster id by now.
func (n *Node) run() error {
	id := n.dir.get()
	if err := n.store.own(id); err != nil {
		return err
	}
	n.spawn(n.lead.drain)
	r, err := n.startRaft()
	if err != nil {
		return err
	}
	n.raft.Store(r)
	n.noteJoined()
	if err := n.startGossip(id); err != nil {
		return err
	}
	n.spawn(n.watchLeader)
	n.spawn(n.lead.run)
	n.spawn(n.poll)
	n.spawn(n.watchGossip)
	n.spawn(n.watchSpace)
	n.news.ring()
	return nil
}

// runOrFail is run for a node that has just got its cluster id: it cannot go
// back, and there is nobody to return the error to.
func (n *Node) runOrFail() error {
	err := n.run()
	if err != nil {
		n.fail(err)
	}
	return err
}

func (n *Node) raftConfig() *raft.Config {
	c := raft.DefaultConfig()
	c.ProtocolVersion = 3
	c.LocalID = raft.ServerID(n.ID())
	c.HeartbeatTimeout = n.timing.Heartbeat
	c.ElectionTimeout = n.timing.Election
	c.LeaderLeaseTimeout = n.timing.Lease
	c.CommitTimeout = n.timing.Commit
	c.SnapshotInterval = n.timing.SnapshotInterval
	c.SnapshotThreshold = 8192
	c.TrailingLogs = 10240
	if n.cfg.SnapshotThreshold > 0 {
		c.SnapshotThreshold = n.cfg.SnapshotThreshold
	}
	if n.cfg.TrailingLogs > 0 {
		c.TrailingLogs = n.cfg.TrailingLogs
	}
	c.ShutdownOnRemove = true
	c.NoLegacyTelemetry = true
	c.Logger = newHCLog(n.log)
	c.NotifyCh = n.lead.notify
	return c
}

// startRaft starts Raft on the cluster port.
func (n *Node) startRaft() (_ *raft.Raft, err error) {
	layer := newStreamLayer(n.mux)
	trans := newRaftTransport(layer, &raft.NetworkTransportConfig{
		ServerAddressProvider: n.book,
		Logger:                newHCLog(n.log),
		Stream:                layer,
		MaxPool:               4,
		Timeout:               n.timing.RPC,
		// No pipelining: one stalled request would wedge it until the leader changes.
		MaxRPCsInFlight: 1,
	})
	trans.lead = n.leadsWith
	n.layer.Store(layer)
	defer func() {
		// NewRaft panics on a log that it cannot read.
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: start raft: %v", ErrDamagedStore, p)
		}
		if err != nil {
			_ = trans.Close()
		}
	}()
	r, err := raft.NewRaft(n.raftConfig(), n.fsm.wrap(), n.store.cache, n.store.guardedStore, n.store.snaps, trans)
	if err != nil {
		return nil, fmt.Errorf("start raft: %w", err)
	}
	return r, nil
}

// leadsWith reports whether this node leads in that term with that peer.
func (n *Node) leadsWith(term uint64, peer raft.ServerID) bool {
	r := n.raft.Load()
	if r == nil || r.State() != raft.Leader || r.CurrentTerm() != term || n.dead() {
		return false
	}
	_, ok := n.server(string(peer))
	return ok
}

// servers returns the latest configuration, nil without one.
func (n *Node) servers() []raft.Server {
	r := n.raft.Load()
	if r == nil {
		return nil
	}
	f := r.GetConfiguration() // answered from a copy, does not block
	if f.Error() != nil {
		return nil
	}
	return f.Configuration().Servers
}

// server finds a member in the latest configuration.
func (n *Node) server(id string) (raft.Server, bool) {
	for _, s := range n.servers() {
		if string(s.ID) == id {
			return s, true
		}
	}
	return raft.Server{}, false
}

func (n *Node) configuredAddr(id string) string {
	s, _ := n.server(id)
	return string(s.Address)
}

// leader returns the leader as Raft knows it, "" if it knows none.
func (n *Node) leader() (id, addr string) {
	r := n.raft.Load()
	if r == nil || n.dead() {
		return "", ""
	}
	a, i := r.LeaderWithID()
	if i == "" || a == "" {
		return "", ""
	}
	return string(i), string(a)
}

// applied is the index up to which this node's state machine has consumed the log.
func (n *Node) applied() uint64 {
	r := n.raft.Load()
	if r == nil {
		return 0
	}
	sent := r.AppliedIndex() // first: entries up to here are all known to the store
	done := max(n.fsm.applied.Load(), lastSnapshot(r))
	if done >= n.store.last.Load() {
		return max(done, sent) // what lies between the two the state machine never sees
	}
	return done
}

// watchLeader rings when Raft sees another leader.
func (n *Node) watchLeader() {
	r := n.raft.Load()
	ch := make(chan raft.Observation, 16)
	obs := raft.NewObserver(ch, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)
		return ok
	})
	r.RegisterObserver(obs)
	defer r.DeregisterObserver(obs)
	for {
		select {
		case <-ch:
			n.news.ring()
			n.changes.tell()
		case <-n.ctx.Done():
			return
		}
	}
}

// onConfiguration hears of each committed configuration, in log order, old ones
// included while the log is replayed.
func (n *Node) onConfiguration(index uint64, conf raft.Configuration) {
	in := false
	for _, s := range conf.Servers {
		in = in || string(s.ID) == n.ID()
	}
	id := n.dir.get()
	switch {
	case id.Phase == phaseRemoved, in && index <= id.NotBefore:
		return
	case in && id.Phase != phaseMember:
		err := n.dir.update(func(id *identity) {
			id.Phase, id.MemberSince, id.Servers, id.Promise = phaseMember, index, nil, ""
		})
		if err != nil {
			n.fail(fmt.Errorf("%w: %w", ErrStoreFailed, err))
			return
		}
		n.log.Info("member of the cluster", "cluster", id.ClusterID, "index", index)
		n.markJoined()
	case !in && id.Phase == phaseMember && index > id.MemberSince:
		n.removed(fmt.Sprintf("the configuration at entry %d has no node %q any more", index, n.ID()))
	}
	n.news.ring()
	n.changes.tell()
}

// noteJoined is for configurations that come from disk or in a snapshot, which
// onConfiguration does not hear of.
func (n *Node) noteJoined() {
	if _, ok := n.server(n.ID()); !ok || n.isIn.Load() {
		return
	}
	switch id := n.dir.get(); id.Phase {
	case phaseMember:
		n.markJoined()
	case phaseJoining:
		// The latest configuration came with a snapshot, so it is a committed one. Of
		// one from the log onConfiguration hears when it is committed.
		if c := n.store.snapConf.Load(); c > 0 && c == n.store.conf.Load() && lastSnapshot(n.raft.Load()) >= c {
			n.onConfiguration(c, raft.Configuration{Servers: n.servers()})
		}
	}
}

func (n *Node) markJoined() {
	if n.isIn.CompareAndSwap(false, true) {
		close(n.joined)
	}
}

// removed ends this node's membership.
func (n *Node) removed(why string) {
	if err := n.dir.update(func(id *identity) { id.Phase = phaseRemoved }); err != nil {
		n.log.Error("note the removal", "error", err)
	}
	if n.leaving.Load() {
		why = "it left at its own request"
	}
	id := n.dir.get()
	n.fail(fmt.Errorf("%w: %s (cluster %s); to join again, move %s aside and start with --join", ErrRemoved, why, id.ClusterID, n.dir.path))
}

// await waits for a Raft future with a deadline of our own: Raft has none, and
// a hung disk would hold its caller for as long as it hangs. errAwait says that
// Raft is still at it.
func (n *Node) await(ctx context.Context, start func(*raft.Raft) raft.Future) error {
	r := n.raft.Load()
	if r == nil {
		return raft.ErrNotLeader
	}
	done := make(chan error, 1)
	if !n.enterCall() {
		return ErrStopped
	}
	go func() {
		defer n.calls.leave()
		done <- start(r).Error()
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", errAwait, ctx.Err())
	case <-n.isFailed:
		return fmt.Errorf("%w: %w", errAwait, ErrStopped)
	}
}

// errAwait says that the deadline passed while Raft was still at it.
var errAwait = errors.New("no answer from raft")

// enterCall counts a call into Raft, so that Stop can let it finish.
func (n *Node) enterCall() bool {
	n.lifeMu.Lock()
	defer n.lifeMu.Unlock()
	if n.closed || n.dead() {
		return false
	}
	n.calls.enter()
	return true
}

// lastSnapshot is the index up to which the newest snapshot goes.
func lastSnapshot(r *raft.Raft) uint64 {
	i, _ := strconv.ParseUint(r.Stats()["last_snapshot_index"], 10, 64)
	return i
}
