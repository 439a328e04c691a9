package cluster

import (
	"context"
	"fmt"
	"time"

	"github.com/lbnode/lbnode/cluster/transport"
)

// LeaderIndex returns an index such that a state machine that has applied it
// shows all that the leader's showed when it was asked. The leader is taken at
// its word: one that lost its majority goes on believing that it leads for up to
// Timing.Lease, and one that was frozen until it is told better. Ask ReadIndex
// where that matters. The error is ErrNoLeader.
func (n *Node) LeaderIndex(ctx context.Context) (index uint64, err error) {
	err = n.onLeader(ctx,
		func(ctx context.Context) (err error) {
			index, err = n.leaderIndex(ctx)
			return err
		},
		func(ctx context.Context, addr string) error {
			ctx, stop := n.whileLeading(ctx, addr)
			defer stop()
			resp, err := callJSON[readResponse](ctx, n.mux, addr, methodApplied, empty{})
			if err != nil {
				return fmt.Errorf("%w: %w", errNotTaken, err)
			}
			index = resp.Index
			return nil
		})
	return index, err
}

// leaderIndex waits for what earlier leaders have acknowledged.
func (n *Node) leaderIndex(ctx context.Context) (uint64, error) {
	if _, ok := n.lead.ready(ctx); !ok {
		return 0, fmt.Errorf("%w: %s does not lead", errNotTaken, n.ID())
	}
	return n.applied(), nil
}

func (n *Node) serveLeaderIndex(ctx context.Context, _ transport.Peer, _ empty) (readResponse, error) {
	i, err := n.leaderIndex(ctx)
	return readResponse{Index: i}, err
}

// Bounds of how often WaitApplied looks by itself: Raft's own entries move the
// index without anybody being told.
const (
	appliedPauseMin = time.Millisecond
	appliedPauseMax = 20 * time.Millisecond
)

// WaitApplied blocks until this node's state machine has consumed the log up to
// index, entries that are none of its business included; or until ctx ends, or
// the node stops (ErrStopped).
func (n *Node) WaitApplied(ctx context.Context, index uint64) error {
	for pause := appliedPauseMin; ; pause = min(2*pause, appliedPauseMax) {
		moved := n.fsm.moved.wait()
		at := n.applied()
		if at >= index {
			return nil
		}
		t := time.NewTimer(pause)
		select {
		case <-moved:
		case <-t.C:
		case <-n.ctx.Done():
			t.Stop()
			return ErrStopped
		case <-ctx.Done():
			t.Stop()
			return fmt.Errorf("wait for index %d, at %d: %w", index, at, ctx.Err())
		}
		t.Stop()
	}
}

// ConfirmLead says that this node led at some moment after the call, in the term
// that it returns: a majority has shown that there was no newer leader. An index
// is returned as by ReadIndex. The error is ErrNoLeader; nobody else is asked.
func (n *Node) ConfirmLead(ctx context.Context) (index, term uint64, err error) {
	before, ok := n.lead.ready(ctx)
	if !ok {
		return 0, 0, fmt.Errorf("%w: %s does not lead", ErrNoLeader, n.ID())
	}
	if index, err = n.reads.read(ctx, n); err != nil {
		return 0, 0, fmt.Errorf("%w: %w", ErrNoLeader, err)
	}
	if after, ok := n.lead.ready(ctx); !ok || after.Number != before.Number {
		return 0, 0, fmt.Errorf("%w: leadership has changed", ErrNoLeader)
	}
	return index, before.Number, nil
}
