package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/lbnode/lbnode/cluster/transport"
)

// errNotTaken says that a request certainly had no effect where it was sent, so
// that it may be sent to the next leader. It never leaves the package as such.
var errNotTaken = errors.New("not taken")

// Propose commits cmd on whatever node leads and returns what the state machine
// made of it, with the entry's index. The state machine of this node may apply
// it a little later than the leader's. It waits for a leader for a while
// (Timing.NoLeaderWait) and until ctx ends (Timing.ApplyTimeout without a
// deadline). The error is ErrNoLeader, ErrOutcomeUnknown, ErrTooLarge or an
// *ApplyError; see the package comment. cmd must not be changed afterwards.
func (n *Node) Propose(ctx context.Context, cmd []byte) (resp []byte, index uint64, err error) {
	if len(cmd) > MaxCommand {
		return nil, 0, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(cmd), MaxCommand)
	}
	err = n.onLeader(ctx,
		func(ctx context.Context) (err error) {
			resp, index, err = n.applyHere(ctx, cmd)
			return err
		},
		func(ctx context.Context, addr string) (err error) {
			id, now := n.leader()
			if now != addr {
				return fmt.Errorf("%w: another node leads now", errNotTaken)
			}
			if err := n.leaderUnderstands(id, cmd); err != nil {
				return err
			}
			resp, index, err = n.forward(ctx, addr, cmd)
			return err
		})
	if err != nil {
		return nil, 0, err
	}
	return resp, index, nil
}

// onLeader runs local if this node leads, else remote with the leader's address,
// and again for as long as they answer errNotTaken.
func (n *Node) onLeader(ctx context.Context, local func(context.Context) error, remote func(context.Context, string) error) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, n.timing.ApplyTimeout)
		defer cancel()
	}
	giveUp := time.NewTimer(n.timing.NoLeaderWait)
	defer giveUp.Stop()
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		changed := n.news.wait()
		err := n.leaderOnce(ctx, local, remote)
		if !errors.Is(err, errNotTaken) {
			return err
		}
		if n.stopping.Load() || n.dead() {
			return fmt.Errorf("%w: %w", ErrNoLeader, ErrStopped)
		}
		pause.Reset(50 * time.Millisecond)
		select {
		case <-changed:
		case <-pause.C:
		case <-giveUp.C:
			return fmt.Errorf("%w for %v: %w", ErrNoLeader, n.timing.NoLeaderWait, err)
		case <-ctx.Done():
			return fmt.Errorf("%w: %w: %w", ErrNoLeader, ctx.Err(), err)
		}
	}
}

func (n *Node) leaderOnce(ctx context.Context, local func(context.Context) error, remote func(context.Context, string) error) error {
	if n.stopping.Load() || n.dead() {
		return errNotTaken
	}
	switch id, addr := n.leader(); {
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w", errNotTaken, ctx.Err())
	case id == "":
		return fmt.Errorf("%w: no leader is known", errNotTaken)
	case id == n.ID():
		return local(ctx)
	default:
		return remote(ctx, addr)
	}
}

// applyHere commits cmd on this node or answers errNotTaken.
func (n *Node) applyHere(ctx context.Context, cmd []byte) (resp []byte, index uint64, err error) {
	if n.stopping.Load() {
		return nil, 0, errNotTaken
	}
	if _, ok := n.lead.ready(ctx); !ok {
		return nil, 0, fmt.Errorf("%w: %s does not lead", errNotTaken, n.ID())
	}
	if err := n.understood(cmd); err != nil {
		return nil, 0, err
	}
	if err := n.admit(cmd); err != nil {
		return nil, 0, err
	}
	return n.apply(ctx, cmd)
}

// apply hands cmd to Raft.
func (n *Node) apply(ctx context.Context, cmd []byte) (resp []byte, index uint64, err error) {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(n.timing.ApplyTimeout)
	}
	// Half of the time for getting into Raft's queue leaves room to say, and to
	// use, that it did not get in.
	enqueue := max(time.Until(deadline)/2, time.Millisecond)
	type result struct {
		resp  any
		index uint64
	}
	results := make(chan result, 1)
	err = n.await(ctx, func(r *raft.Raft) raft.Future {
		f := r.Apply(cmd, enqueue)
		return futureFunc(func() error {
			err := f.Error()
			if err == nil {
				results <- result{f.Response(), f.Index()}
			}
			return err
		})
	})
	if err != nil {
		return nil, 0, applyError(err)
	}
	got := <-results
	switch r := got.resp.(type) {
	case []byte:
		return r, got.index, nil
	case nil:
		return nil, got.index, nil
	case error:
		return nil, got.index, &ApplyError{Index: got.index, Msg: r.Error()}
	default:
		return nil, got.index, &ApplyError{Index: got.index, Msg: fmt.Sprintf("the state machine answered a %T", r)}
	}
}

// futureFunc is a raft.Future.
type futureFunc func() error

func (f futureFunc) Error() error { return f() }

// applyError sorts Raft's errors: only these say that nothing happened.
// ErrRaftShutdown does not, it also comes for entries that are in the log.
func applyError(err error) error {
	switch {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, errSpent), errors.Is(err, raft.ErrLeadershipTransferInProgress), errors.Is(err, raft.ErrEnqueueTimeout),
		errors.Is(err, ErrStopped) && !errors.Is(err, errAwait):
		return fmt.Errorf("%w: %w", errNotTaken, err)
	}
	return fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
}

// A propose request is the command; the answer is the index and the result.

func (n *Node) forward(ctx context.Context, addr string, cmd []byte) ([]byte, uint64, error) {
	ctx, stop := n.whileLeading(ctx, addr)
	defer stop()
	b, err := n.mux.Call(ctx, addr, methodPropose, cmd)
	var remote *transport.RemoteError
	if errors.As(err, &remote) && remote.Code == codeApply {
		ae := &ApplyError{Msg: remote.Msg}
		if len(remote.Msg) >= 8 {
			ae.Index, ae.Msg = binary.BigEndian.Uint64([]byte(remote.Msg)), remote.Msg[8:]
		}
		return nil, ae.Index, ae
	}
	if err != nil {
		return nil, 0, fromRemote(err)
	}
	if len(b) < 8 {
		return nil, 0, fmt.Errorf("%w: the leader's answer is cut short", ErrOutcomeUnknown)
	}
	return b[8:], binary.BigEndian.Uint64(b), nil
}

// whileLeading is ctx until this node has not taken the node at addr for the
// leader for the time of a heartbeat, in which one that lives says what became
// of the request. One that is frozen or cut off keeps its connections and never
// answers.
func (n *Node) whileLeading(ctx context.Context, addr string) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() {
		var grace <-chan time.Time
		for {
			changed := n.news.wait()
			if _, now := n.leader(); now == addr {
				grace = nil
			} else if grace == nil {
				grace = time.After(n.timing.Heartbeat)
			}
			select {
			case <-changed:
			case <-grace:
				cancel()
				return
			case <-ctx.Done():
				return
			}
		}
	})
	return ctx, func() { cancel(); watch.Wait() }
}

func (n *Node) servePropose(ctx context.Context, _ transport.Peer, cmd []byte) ([]byte, error) {
	// The log keeps the command; the request's buffer is the transport's.
	resp, index, err := n.applyHere(ctx, slices.Clone(cmd))
	var ae *ApplyError
	if errors.As(err, &ae) {
		return nil, &transport.RemoteError{Code: codeApply, Msg: string(binary.BigEndian.AppendUint64(nil, ae.Index)) + ae.Msg}
	}
	if err != nil {
		return nil, toRemote(err)
	}
	return append(binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(resp)), index), resp...), nil
}
