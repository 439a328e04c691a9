package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/lbnode/lbnode/cluster/transport"
)

// caughtUp is how many entries a new node may be behind when it gets its vote:
// few enough to be there before a write times out.
const caughtUp = 100

// reconcile is the leader's housekeeping: it follows members that moved and
// gives new ones their vote. It returns when leadership ends.
func (n *Node) reconcile(ctx context.Context) {
	tick := time.NewTicker(n.timing.Poll)
	defer tick.Stop()
	for {
		if err := n.reconcileOnce(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, errNotTaken) {
			n.log.Warn("membership change by the leader", "error", err)
		}
		select {
		case <-n.lead.kick:
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// reconcileOnce makes at most one change.
func (n *Node) reconcileOnce(ctx context.Context) error {
	if !n.needsChange() || !n.tryMembership() {
		return nil
	}
	defer n.endMembership()
	prev := n.store.conf.Load()
	servers := n.servers()
	for _, s := range servers {
		addr, moved := n.moved(s)
		if !moved || taken(servers, addr) != "" {
			continue
		}
		n.log.Info("member has moved", "node", string(s.ID), "from", string(s.Address), "to", addr)
		return n.change(ctx, func(r *raft.Raft, limit time.Duration) raft.Future {
			if s.Suffrage == raft.Voter {
				return r.AddVoter(s.ID, raft.ServerAddress(addr), prev, limit)
			}
			return r.AddNonvoter(s.ID, raft.ServerAddress(addr), prev, limit)
		})
	}
	for _, s := range servers {
		if n.deservesVote(s) {
			n.log.Info("new member gets its vote", "node", string(s.ID))
			return n.change(ctx, func(r *raft.Raft, limit time.Duration) raft.Future {
				return r.AddVoter(s.ID, s.Address, prev, limit)
			})
		}
	}
	return nil
}

// needsChange is reconcileOnce's look before it takes the lock.
func (n *Node) needsChange() bool {
	for _, s := range n.servers() {
		if _, moved := n.moved(s); moved || n.deservesVote(s) {
			return true
		}
	}
	return false
}

// moved reports whether a member says that it is elsewhere than configured.
func (n *Node) moved(s raft.Server) (addr string, moved bool) {
	addr, claimed := n.book.claimed(string(s.ID))
	return addr, claimed && addr != string(s.Address) && !n.cfg.frozenAddrs
}

// deservesVote reports whether a non-voter wants to vote, has answered for long
// enough, and is close enough to the end of the log.
func (n *Node) deservesVote(s raft.Server) bool {
	if s.Suffrage != raft.Nonvoter {
		return false
	}
	p, r := n.peers.get(string(s.ID)), n.raft.Load()
	return p.up && !p.NonVoter && p.Phase == phaseMember && time.Since(p.since) >= n.timing.Stabilise && p.Applied+caughtUp >= r.CommitIndex()
}

// taken returns the member that has addr in the configuration, "" if none.
func taken(servers []raft.Server, addr string) string {
	for _, s := range servers {
		if string(s.Address) == addr {
			return string(s.ID)
		}
	}
	return ""
}

// lockMembership lets one membership change or transfer run at a time.
func (n *Node) lockMembership(ctx context.Context) error {
	select {
	case n.memberMu <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrBusy, ctx.Err())
	}
}

func (n *Node) tryMembership() bool {
	select {
	case n.memberMu <- struct{}{}:
		return true
	default:
		return false
	}
}

func (n *Node) endMembership() { <-n.memberMu }

// change makes one change of Raft's configuration and waits until it is
// committed. The caller holds the membership lock and has read the configuration
// after the index that it hands to Raft as the previous one.
func (n *Node) change(ctx context.Context, f func(r *raft.Raft, limit time.Duration) raft.Future) error {
	ctx, cancel := context.WithTimeout(ctx, n.timing.ApplyTimeout)
	defer cancel()
	err := n.await(ctx, func(r *raft.Raft) raft.Future { return f(r, n.timing.ApplyTimeout/2) })
	switch {
	case err == nil:
		n.news.ring()
		n.changes.tell()
		return nil
	case strings.Contains(err.Error(), "configuration changed since"):
		return fmt.Errorf("%w: %w", ErrBusy, err)
	case strings.Contains(err.Error(), "found duplicate"), strings.Contains(err.Error(), "need at least one voter"):
		return fmt.Errorf("%w: %w", ErrNotSafe, err)
	}
	return applyError(err)
}

type removeRequest struct {
	ID    string `json:"id"`
	Force bool   `json:"force,omitempty"`
}

// Remove takes the member id out of the cluster for good; any node may be asked.
// ErrUnknownNode: there is none. ErrNotSafe: the voters that would be left and
// answer are no majority, or it is the last voter; force overrides the first.
// ErrBusy, ErrNoLeader: nothing happened. ErrOutcomeUnknown: look at Members.
func (n *Node) Remove(ctx context.Context, id string, force bool) error {
	req := removeRequest{ID: id, Force: force}
	return n.onLeader(ctx,
		func(ctx context.Context) error { return n.removeHere(ctx, req) },
		func(ctx context.Context, addr string) error {
			_, err := callJSON[empty](ctx, n.mux, addr, methodRemove, req)
			return fromRemote(err)
		})
}

func (n *Node) serveRemove(ctx context.Context, _ transport.Peer, req removeRequest) (empty, error) {
	return empty{}, n.removeHere(ctx, req)
}

func (n *Node) removeHere(ctx context.Context, req removeRequest) error {
	if _, ok := n.lead.ready(ctx); !ok {
		return fmt.Errorf("%w: %s does not lead", errNotTaken, n.ID())
	}
	if req.ID == n.ID() {
		return n.removeSelf(ctx, req.Force)
	}
	if err := n.lockMembership(ctx); err != nil {
		return err
	}
	defer n.endMembership()
	n.refresh(ctx)
	prev := n.store.conf.Load()
	if err := n.safeToRemove(req.ID, req.Force); err != nil {
		return err
	}
	addr := n.book.lookup(req.ID)
	err := n.change(ctx, func(r *raft.Raft, limit time.Duration) raft.Future {
		return r.RemoveServer(raft.ServerID(req.ID), prev, limit)
	})
	if err != nil {
		return err
	}
	n.log.Info("member removed", "node", req.ID, "force", req.Force)
	index := n.store.conf.Load()
	n.spawn(func() { n.tellRemoved(addr, index) })
	return nil
}

// safeToRemove says whether what is left would have a quorum.
func (n *Node) safeToRemove(id string, force bool) error {
	target, ok := n.server(id)
	if !ok {
		return fmt.Errorf("%w: %s", ErrUnknownNode, id)
	}
	if target.Suffrage != raft.Voter {
		return nil
	}
	left, alive := 0, 0
	var dead []string
	for _, s := range n.servers() {
		if s.Suffrage != raft.Voter || string(s.ID) == id {
			continue
		}
		left++
		if n.live(string(s.ID)) {
			alive++
		} else {
			dead = append(dead, string(s.ID))
		}
	}
	switch need := left/2 + 1; {
	case left == 0:
		return fmt.Errorf("%w: %s is the last voter", ErrNotSafe, id)
	case alive < need && !force:
		return fmt.Errorf("%w: without %s the cluster needs %d of %d voters, and %d answer (not: %s)", ErrNotSafe, id, need, left, alive, strings.Join(dead, ", "))
	}
	return nil
}

// removeSelf hands leadership over, so that the next leader removes this node: a
// leader that removes itself commits by a majority that it is no part of.
func (n *Node) removeSelf(ctx context.Context, force bool) error {
	n.refresh(ctx)
	if err := n.safeToRemove(n.ID(), force); err != nil {
		return err
	}
	if err := n.transferHere(ctx, ""); err != nil {
		return err
	}
	return fmt.Errorf("%w: leadership was handed over to be able to remove %s", errNotTaken, n.ID())
}

// CheckRemove says whether Remove without force would refuse to take the member id out, by what this node
// knows: ErrUnknownNode, ErrNotSafe, or nil. It changes nothing.
func (n *Node) CheckRemove(ctx context.Context, id string) error {
	n.refresh(ctx)
	return n.safeToRemove(id, false)
}

type removedRequest struct {
	ConfIndex uint64 `json:"conf_index"`
}

// tellRemoved tells a node that it is out. Raft stops talking to it at once, so
// that it would otherwise go on asking for votes.
func (n *Node) tellRemoved(addr string, index uint64) {
	for range 5 {
		ctx, cancel := context.WithTimeout(n.ctx, n.timing.RPC)
		_, err := callJSON[empty](ctx, n.mux, addr, methodRemoved, removedRequest{ConfIndex: index})
		cancel()
		if err == nil || n.ctx.Err() != nil {
			return
		}
		pause(n.ctx, n.timing.Poll)
	}
}

func (n *Node) serveRemoved(_ context.Context, p transport.Peer, req removedRequest) (empty, error) {
	if id := n.dir.get(); id.Phase == phaseMember && req.ConfIndex > id.MemberSince {
		n.spawn(func() { n.removed("removed by the leader " + p.NodeID) })
	}
	return empty{}, nil
}

// Leave removes this node from the cluster for good. Afterwards Failed delivers
// ErrRemoved, and the process should stop. The errors are those of Remove.
func (n *Node) Leave(ctx context.Context) error {
	n.leaving.Store(true) // whoever notices first says why
	if err := n.Remove(ctx, n.ID(), false); err != nil {
		n.leaving.Store(false)
		return err
	}
	if g := n.gossip.Load(); g != nil {
		gctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if err := g.Leave(gctx); err != nil {
			n.log.Debug("leave gossip", "error", err)
		}
	}
	n.removed("")
	return nil
}
