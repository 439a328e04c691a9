package node

import (
	"context"
	"errors"
	"time"

	"github.com/lbnode/lbnode/state"
)

const (
	revertTimeout = 10 * time.Second // for one revert to be committed
	revertAgain   = time.Second      // between two attempts
	clockCheck    = 5 * time.Second  // the clock may be set while a deadline is waited for
)

// nextDue is the pending change with the earliest deadline, of equal ones the oldest.
func nextDue(v *state.View) *state.Pending {
	var first *state.Pending
	for p := range v.Pendings() {
		if first == nil || p.Deadline.Before(first.Deadline) {
			first = p
		}
	}
	return first
}

// revertUnconfirmed does, while this node leads, what a change with confirm_within asked for: once its deadline
// is over by this node's clock, it is undone. A new leader goes on with what the view holds. That two leaders
// may propose the same revert does no harm: the pending change is gone with the first.
func (n *Node) revertUnconfirmed(ctx context.Context) {
	views := n.store.Watch(ctx)
	var due *state.Pending
	wake := time.NewTimer(0)
	defer wake.Stop()
	for {
		select {
		case v, ok := <-views:
			if !ok {
				return
			}
			due = nextDue(v)
		case <-wake.C:
		}
		if due == nil {
			wake.Stop()
			continue
		}
		wait := time.Until(due.Deadline)
		if wait <= 0 {
			wait = revertAgain
			if n.revert(ctx, due) {
				due = nextDue(n.store.View())
				wait = 0
			}
		}
		wake.Reset(min(wait, clockCheck))
	}
}

// revert undoes a change. It reports whether that is done, by whomever.
func (n *Node) revert(ctx context.Context, p *state.Pending) bool {
	ctx, cancel := context.WithTimeout(ctx, revertTimeout)
	defer cancel()
	res, err := n.store.Do(ctx, state.Command{
		Type: state.TypeTxn, Actor: "lbnode@" + n.ID(), Settle: &state.Settlement{Index: p.Index, Revert: true},
	})
	var refusal *state.Refusal
	switch {
	case errors.As(err, &refusal): // confirmed in this very moment
		return true
	case err != nil:
		n.log.Warn("a change that nobody confirmed is not undone yet", "index", p.Index, "confirm_by", p.Deadline, "error", err)
		return false
	}
	n.log.Info("a change that nobody confirmed was undone", "index", p.Index, "confirm_by", p.Deadline, "by", res.Index)
	return true
}
