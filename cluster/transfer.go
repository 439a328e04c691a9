package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/lbnode/lbnode/cluster/transport"
)

type transferRequest struct {
	To string `json:"to"`
}

// Transfer makes toID the leader, "" the most up-to-date other voter; any node
// may be asked. It returns once the new leader is known. ErrUnknownNode: no such
// voter. ErrNotSafe: it does not answer or is behind. ErrNoLeader: nothing
// happened. Other errors: the attempt failed, and this node may lead as before.
func (n *Node) Transfer(ctx context.Context, toID string) error {
	return n.onLeader(ctx,
		func(ctx context.Context) error { return n.transferHere(ctx, toID) },
		func(ctx context.Context, addr string) error {
			_, err := callJSON[empty](ctx, n.mux, addr, methodTransfer, transferRequest{To: toID})
			return fromRemote(err)
		})
}

func (n *Node) serveTransfer(ctx context.Context, _ transport.Peer, req transferRequest) (empty, error) {
	return empty{}, n.transferHere(ctx, req.To)
}

// transferHere hands over this node's leadership. Raft wedges for good when it
// waits for a follower that does not take entries, so only one that answers and
// is up to date will do; and should it wedge all the same, the node fails rather
// than refuse writes for ever.
func (n *Node) transferHere(ctx context.Context, to string) error {
	if _, ok := n.lead.ready(ctx); !ok {
		return fmt.Errorf("%w: %s does not lead", errNotTaken, n.ID())
	}
	if to == n.ID() {
		return nil
	}
	if err := n.lockMembership(ctx); err != nil {
		return err
	}
	defer n.endMembership()
	n.refresh(ctx)
	const attempts = 3
	var err error
	for range attempts {
		var target raft.Server
		if target, err = n.successor(to); err != nil {
			return err
		}
		if err = n.tryTransfer(ctx, target); err == nil || ctx.Err() != nil {
			return err
		}
		n.log.Warn("leadership transfer", "to", string(target.ID), "error", err)
		if !n.afterTransfer(ctx) {
			return nil
		}
	}
	return fmt.Errorf("transfer leadership: %w", err)
}

// successor picks a voter to hand over to, or checks the one that was asked for.
func (n *Node) successor(to string) (best raft.Server, err error) {
	var bestLast uint64
	var bestFull bool
	last := n.raft.Load().LastIndex()
	for _, s := range n.servers() {
		id := string(s.ID)
		if s.Suffrage != raft.Voter || id == n.ID() || to != "" && id != to {
			continue
		}
		p := n.peers.get(id)
		switch fit := p.up && p.Last+caughtUp >= last; {
		case to != "" && !fit:
			return best, fmt.Errorf("%w: %s does not answer or is behind the log", ErrNotSafe, to)
		case fit && (best.ID == "" || bestFull && !p.Full || bestFull == p.Full && p.Last > bestLast):
			best, bestLast, bestFull = s, p.Last, p.Full
		}
	}
	switch {
	case best.ID != "":
		return best, nil
	case to != "":
		return best, fmt.Errorf("%w: no voter %s", ErrUnknownNode, to)
	}
	return best, fmt.Errorf("%w: there is no other voter that answers and is up to date", ErrNotSafe)
}

// tryTransfer makes one attempt and waits until the new leader is known.
func (n *Node) tryTransfer(ctx context.Context, target raft.Server) error {
	limit, cancel := context.WithTimeout(ctx, 2*n.timing.Election+500*time.Millisecond)
	defer cancel()
	err := n.await(limit, func(r *raft.Raft) raft.Future {
		return r.LeadershipTransferToServer(target.ID, target.Address)
	})
	if err != nil {
		return err
	}
	for limit.Err() == nil {
		changed := n.news.wait()
		if id, _ := n.leader(); id != "" && id != n.ID() {
			return nil
		}
		t := time.NewTimer(20 * time.Millisecond)
		select {
		case <-changed:
		case <-t.C:
		case <-limit.Done():
		}
		t.Stop()
	}
	return nil // the old leader is gone, the election goes on
}

// afterTransfer waits until Raft takes entries again after a failed attempt, and
// reports whether this node still leads.
func (n *Node) afterTransfer(ctx context.Context) bool {
	begun := time.Now()
	for n.IsLeader() && ctx.Err() == nil {
		err := n.barrier(ctx)
		if err == nil {
			return true
		}
		if errors.Is(err, raft.ErrLeadershipTransferInProgress) && time.Since(begun) > n.stuckAfter() {
			n.fail(fmt.Errorf("%w: a leadership transfer that does not end blocks all writes", ErrStuck))
			return false
		}
		pause(ctx, 20*time.Millisecond)
	}
	return n.IsLeader()
}
