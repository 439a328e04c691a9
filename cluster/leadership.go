package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// Term is one stretch of leadership of this node. It is announced once the
// state machine holds everything that was committed before it.
type Term struct {
	Number uint64          // Raft's term: rises with every leader, so it fences
	Ctx    context.Context // ends when leadership is lost; everything that only the leader does hangs on it
}

// leadership follows what Raft says about this node's leadership.
//
// Raft blocks its main loop on the channel it notifies by, so drain does nothing
// but take from it, for as long as the Raft object lives; the work is run's.
type leadership struct {
	n      *Node
	notify chan bool
	gone   chan struct{} // closed when Raft is shut down
	wake   chan struct{} // cap 1: a new leadership begins
	kick   chan struct{} // cap 1: something that the leader looks at has changed

	mu     sync.Mutex
	ctx    context.Context // of the present leadership, nil without
	cancel context.CancelFunc
	term   *Term // announced
	subs   []chan Term
	closed bool
}

func (l *leadership) init(n *Node) {
	l.n = n
	l.notify = make(chan bool, 16)
	l.gone = make(chan struct{})
	l.wake = make(chan struct{}, 1)
	l.kick = make(chan struct{}, 1)
}

// drain takes Raft's notifications.
func (l *leadership) drain() {
	for {
		select {
		case leads := <-l.notify:
			if leads {
				l.gained()
			} else {
				l.lost()
			}
		case <-l.gone:
			return
		}
	}
}

func (l *leadership) gained() {
	l.lost()
	l.mu.Lock()
	if !l.n.dead() {
		l.ctx, l.cancel = context.WithCancel(context.Background())
	}
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *leadership) lost() {
	l.mu.Lock()
	if l.cancel != nil {
		l.cancel()
	}
	l.ctx, l.cancel, l.term = nil, nil, nil
	l.mu.Unlock()
	l.n.news.ring()
	l.n.changes.tell()
}

// close ends the subscriptions.
func (l *leadership) close() {
	l.lost()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.closed = true
	for _, ch := range l.subs {
		close(ch)
	}
	l.subs = nil
}

// run does the leader's work, one leadership after the other.
func (l *leadership) run() {
	for {
		select {
		case <-l.wake:
		case <-l.n.ctx.Done():
			return
		}
		l.mu.Lock()
		ctx := l.ctx
		l.mu.Unlock()
		if ctx == nil {
			continue
		}
		stop := context.AfterFunc(l.n.ctx, l.lost)
		if term, ok := l.establish(ctx); ok {
			l.announce(Term{Number: term, Ctx: ctx})
			l.n.reconcile(ctx)
		}
		stop()
	}
}

// establish commits a barrier of this term, so that the state machine holds all
// that earlier leaders acknowledged, and the first command of a new cluster.
func (l *leadership) establish(ctx context.Context) (term uint64, ok bool) {
	n := l.n
	r := n.raft.Load()
	begun := time.Now()
	for ctx.Err() == nil {
		term = r.CurrentTerm()
		err := n.barrier(ctx)
		// The barrier was committed in a term that this node led, and the term was
		// the same before and after: this one.
		if err == nil && r.CurrentTerm() == term && r.State() == raft.Leader {
			if err = n.initCluster(ctx); err == nil {
				return term, true
			}
		}
		if errors.Is(err, raft.ErrLeadershipTransferInProgress) && time.Since(begun) > n.stuckAfter() {
			n.fail(fmt.Errorf("%w: a leadership transfer that does not end blocks all writes", ErrStuck))
			return 0, false
		}
		if err != nil && ctx.Err() == nil && !errors.Is(err, raft.ErrNotLeader) {
			n.log.Warn("leadership is not established yet", "term", term, "error", err)
		}
		pause(ctx, 10*time.Millisecond)
	}
	return 0, false
}

// stuckAfter is how long Raft may refuse work because of a transfer: it tries
// for an election timeout and may then still wait for one exchange.
func (n *Node) stuckAfter() time.Duration {
	return 2*time.Second + n.timing.RPC + n.timing.Election
}

// barrier waits until all that is committed is applied here; leader only.
func (n *Node) barrier(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, n.timing.ApplyTimeout)
	defer cancel()
	return n.await(ctx, func(r *raft.Raft) raft.Future { return r.Barrier(n.timing.ApplyTimeout / 2) })
}

// initCluster proposes the first command of a cluster that has none.
func (n *Node) initCluster(ctx context.Context) error {
	if n.cfg.InitCommand == nil {
		return nil
	}
	if has, err := n.store.hasCommand(); err != nil || has {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, n.timing.ApplyTimeout)
	defer cancel()
	_, _, err := n.apply(ctx, n.cfg.InitCommand(n.ClusterID()))
	return err
}

func (l *leadership) announce(t Term) {
	l.mu.Lock()
	if t.Ctx.Err() == nil {
		l.term = &t
		for _, ch := range l.subs {
			offer(ch, t)
		}
	}
	l.mu.Unlock()
	l.n.log.Info("leading the cluster", "term", t.Number)
	l.n.news.ring()
	l.n.changes.tell()
}

// offer replaces what is in ch, which has one place and one sender.
func offer(ch chan Term, t Term) {
	select {
	case <-ch:
	default:
	}
	ch <- t
}

// ready waits until the present leadership is established, and reports false as
// soon as this node does not lead.
func (l *leadership) ready(ctx context.Context) (Term, bool) {
	for {
		changed := l.n.news.wait()
		l.mu.Lock()
		term := l.term
		l.mu.Unlock()
		if l.n.dead() || !l.n.IsLeader() {
			return Term{}, false
		}
		if term != nil {
			return *term, true
		}
		t := time.NewTimer(20 * time.Millisecond)
		select {
		case <-changed:
			t.Stop()
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return Term{}, false
		}
	}
}

// established reports whether this node leads and has announced its term.
func (l *leadership) established() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.term != nil && l.n.IsLeader()
}

// poke makes the leader look at its members again.
func (l *leadership) poke() {
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// LeaderTerms returns a new subscription to this node's leaderships. A term that
// was not read is replaced by the next one; the channel is closed by Stop.
func (n *Node) LeaderTerms() <-chan Term {
	ch := make(chan Term, 1)
	l := &n.lead
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		close(ch)
		return ch
	}
	if l.term != nil {
		ch <- *l.term
	}
	l.subs = append(l.subs, ch)
	return ch
}

// IsLeader reports whether this node believes that it leads. That is a hint: an
// isolated leader believes it for up to Timing.Lease. Ask ReadIndex to be sure.
func (n *Node) IsLeader() bool {
	r := n.raft.Load()
	return r != nil && r.State() == raft.Leader && !n.dead()
}

// pause waits for d or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
