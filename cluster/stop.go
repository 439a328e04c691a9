package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Bounds of the steps of Stop. They add up to less than what init systems allow.
const (
	handOverWithin = 3 * time.Second
	drainWithin    = time.Second
	leaveWithin    = time.Second
	shutdownWithin = 5 * time.Second
)

// Stop ends this process's part in the cluster, of which the node stays a
// member: leadership is handed over if there is somebody to take it, what has
// been proposed may finish, then Raft, gossip, the port and the store are closed
// in the reverse order of their start. Each step has a bound; when ctx ends, the
// rest happens without waiting. A second call waits for the first and returns
// the same error.
func (n *Node) Stop(ctx context.Context) error { return n.stop(ctx, true) }

func (n *Node) stop(ctx context.Context, graceful bool) error {
	n.stopOnce.Do(func() {
		defer close(n.stopDone)
		n.stopErr = n.doStop(ctx, graceful)
	})
	<-n.stopDone
	return n.stopErr
}

func (n *Node) doStop(ctx context.Context, graceful bool) error {
	n.stopping.Store(true)
	if graceful {
		n.sayGoodbye(ctx)
	}
	n.news.ring()
	// The order matters. Parked store calls come back once the node is silent;
	// Raft's notifications are taken until Raft is gone; our goroutines end
	// before what they use.
	n.fence()
	n.lifeMu.Lock()
	n.closed = true
	n.lifeMu.Unlock()
	n.cancel()
	var errs []error
	if !graceful {
		errs = append(errs, n.mux.Close())
	}
	down := n.shutdownRaft()
	if !down {
		errs = append(errs, errors.New("raft did not stop in time"))
	}
	close(n.lead.gone)
	n.lead.close()
	if g := n.gossip.Load(); g != nil {
		if err := g.Close(); err != nil {
			errs = append(errs, fmt.Errorf("close gossip: %w", err))
		}
	}
	if graceful {
		errs = append(errs, n.mux.Close())
	}
	if !within(context.Background(), shutdownWithin, n.wg.Wait) {
		errs = append(errs, errors.New("goroutines did not stop in time"))
	}
	// A store that Raft may still be using stays open: closing it would wait for a
	// disk that hangs, and the process ends now anyway.
	if down {
		errs = append(errs, n.closeStore())
	}
	n.closeDir()
	return errors.Join(errs...)
}

// sayGoodbye is what the others notice of an orderly stop.
func (n *Node) sayGoodbye(ctx context.Context) {
	if n.IsLeader() {
		tctx, cancel := context.WithTimeout(ctx, handOverWithin)
		if err := n.transferHere(tctx, ""); err != nil && !errors.Is(err, ErrNotSafe) {
			n.log.Warn("leadership was not handed over", "error", err)
		}
		cancel()
	}
	n.calls.wait(ctx, drainWithin)
	if g := n.gossip.Load(); g != nil && !n.dead() {
		gctx, cancel := context.WithTimeout(ctx, leaveWithin)
		if err := g.Leave(gctx); err != nil {
			n.log.Debug("leave gossip", "error", err)
		}
		cancel()
	}
}

// shutdownRaft reports whether all of Raft's goroutines have ended.
func (n *Node) shutdownRaft() bool {
	r := n.raft.Load()
	if r == nil {
		return true
	}
	f := r.Shutdown()
	n.store.release()
	down := within(context.Background(), shutdownWithin, func() { _ = f.Error() })
	// Raft forgets to answer what its state machine had not taken yet.
	n.calls.wait(context.Background(), 100*time.Millisecond)
	return down
}

// closeStore closes what openStore opened, if it did.
func (n *Node) closeStore() error {
	if n.store == nil {
		return nil
	}
	if err := n.store.Close(); err != nil {
		return fmt.Errorf("close raft store: %w", err)
	}
	return nil
}

func (n *Node) closeDir() {
	if n.dir != nil {
		n.dir.close()
	}
}

// within waits for f, but no longer than limit or ctx.
func within(ctx context.Context, limit time.Duration, f func()) bool {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-done:
		return true
	case <-t.C:
	case <-ctx.Done():
	}
	select {
	case <-done:
		return true
	default:
		return false
	}
}
