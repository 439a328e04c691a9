package node

import (
	"context"
	"time"

	"github.com/lbnode/lbnode/state"
)

// cutOffPause is how often what a drain's deadline has closed is looked at until it is gone.
const cutOffPause = 100 * time.Millisecond

// deadlines closes what runs on backends whose drain has reached its deadline. Nothing of it goes through the
// log: each node goes by its own clock, and what it closes shows as requests that have ended.
type deadlines struct {
	updates chan map[string]time.Time // cap 1, the latest wins
	gen     uint64                    // ConfigGen of the last view
	seen    bool
	// closeAll ends what runs on a backend, as far as it can be reached now, and says whether anything is left.
	closeAll func(backendID string) (left bool)
}

func newDeadlines(closeAll func(string) bool) *deadlines {
	return &deadlines{updates: make(chan map[string]time.Time, 1), closeAll: closeAll}
}

// update takes a view that the proxy has in force. It is called by one goroutine.
func (d *deadlines) update(v *state.View) {
	if d.seen && v.ConfigGen == d.gen {
		return
	}
	d.seen, d.gen = true, v.ConfigGen
	select {
	case <-d.updates:
	default:
	}
	d.updates <- closings(v)
}

// closings is when which backends' requests are to be closed.
func closings(v *state.View) map[string]time.Time {
	out := map[string]time.Time{}
	for b := range v.Backends() {
		if b.AdminState.OutOfUse() && b.Drain.Closes() {
			out[b.ID] = b.Drain.When()
		}
	}
	return out
}

// run closes what is due until ctx ends.
func (d *deadlines) run(ctx context.Context) {
	var pending map[string]time.Time
	due := time.NewTimer(time.Hour)
	defer due.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case pending = <-d.updates:
		case <-due.C:
		}
		if pause, ok := d.close(pending, time.Now()); ok {
			due.Reset(pause)
		}
	}
}

// close closes what is due, takes out of pending what is done, and says when to look again.
func (d *deadlines) close(pending map[string]time.Time, now time.Time) (pause time.Duration, ok bool) {
	for id, at := range pending {
		wait := at.Sub(now)
		if wait <= 0 {
			if !d.closeAll(id) {
				delete(pending, id)
				continue
			}
			wait = cutOffPause
		}
		if !ok || wait < pause {
			pause, ok = wait, true
		}
	}
	return pause, ok
}

// endDrain is closeAll for a node. First the backend is taken from sessions, so that nothing begins any more;
// what was about to begin is found by the next look.
func (n *Node) endDrain(backendID string) (left bool) {
	set := n.proxy.Set()
	set.Expire(backendID)
	running := set.InFlight(backendID)
	if running == 0 {
		return false
	}
	n.log.Info("the drain has reached its deadline: closing what runs", "backend", backendID, "in_flight", running)
	n.engine.CutOff(backendID)
	return true
}
