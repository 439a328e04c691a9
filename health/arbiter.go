package health

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/lbnode/lbnode/state"
)

const (
	// maxBatch bounds the changes in one command, and so its size, to a few hundred kilobytes.
	maxBatch = 2000
	// look is how often the arbiter looks without being woken: staleness comes without an event.
	look = time.Second
	// settle is how long the arbiter waits to see its own commit before it decides about the same backend
	// again. Committing it twice would be harmless, but would cost an entry.
	settle = 5 * time.Second
)

// ErrClosed says that Close has been called.
var ErrClosed = errors.New("health: closed")

// arbiter is the state of one term of leadership. Nothing of it outlives the term: a new leader decides
// by what it has heard itself.
type arbiter struct {
	h       *Health
	damper  *damper
	pending map[string]pending // committed here, not yet seen in a view
	sick    []string
	backoff time.Duration
}

type pending struct {
	index uint64
	until time.Time
}

// Lead decides and commits verdicts and completed drains until ctx ends, and then returns nil. It is to be
// called on the leader only, once its view holds everything committed before its term, and not twice at
// the same time. After Close it returns [ErrClosed]. A failed commit is tried again for as long as it is
// needed; every change is compare-and-set, so that a leader that has lost its office unknowingly does no harm.
func (h *Health) Lead(ctx context.Context) error {
	a := &arbiter{h: h, damper: newDamper(h.cfg.Timing, time.Now()), pending: map[string]pending{}}
	next := time.Now()
	for {
		if err := a.wait(ctx, next); err != nil {
			if errors.Is(err, ErrClosed) {
				return err
			}
			return nil
		}
		next = a.pass(ctx)
	}
}

// wait returns when there may be something to decide: at the given time, or once what woke it has gone
// quiet, at most QuietMost later.
func (a *arbiter) wait(ctx context.Context, next time.Time) error {
	t := time.NewTimer(time.Until(next))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-a.h.ctx.Done():
		return ErrClosed
	case <-t.C:
		return nil
	case <-a.h.wake:
	}
	most := time.Now().Add(a.h.cfg.Timing.QuietMost)
	for {
		left := min(a.h.cfg.Timing.Quiet, time.Until(most))
		if left <= 0 {
			return nil
		}
		t.Reset(left)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-a.h.ctx.Done():
			return ErrClosed
		case <-t.C:
			return nil
		case <-a.h.wake:
		}
	}
}

// pass decides once, and returns when to look again.
func (a *arbiter) pass(ctx context.Context) time.Time {
	now := time.Now()
	next := now.Add(look)
	v := a.h.view.Load()
	if v == nil {
		return next
	}
	changes, again := a.decide(v, now)
	if !again.IsZero() && again.Before(next) {
		next = again
	}
	for batch := range slices.Chunk(changes, maxBatch) {
		ok, again := a.damper.take(now)
		if !ok {
			return earlier(next, again)
		}
		if err := a.commit(ctx, batch); err != nil {
			if ctx.Err() == nil && a.h.ctx.Err() == nil {
				a.h.log.Warn("verdicts not committed", "changes", len(batch), "err", err)
			}
			a.backoff = min(max(2*a.backoff, 500*time.Millisecond), 5*time.Second)
			return time.Now().Add(a.backoff)
		}
		a.backoff = 0
	}
	return next
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// decide returns the changes to commit now, by backend id.
func (a *arbiter) decide(v *state.View, now time.Time) ([]state.StateChange, time.Time) {
	reports := a.h.table.reports(now, a.h.cfg.Timing.Fresh)
	tally := Merge(v, a.h.cfg.Electorate.Voters(), reports)
	if !slices.Equal(tally.Sick, a.sick) {
		a.sick = tally.Sick
		if len(a.sick) > 0 {
			a.h.log.Warn("reports left out: these nodes find nearly every backend down while others do not", "nodes", a.sick)
		} else {
			a.h.log.Info("all nodes' reports count again")
		}
	}
	changes, again := a.damper.filter(v, tally.Changes, now)
	at := make(map[string]int, len(changes))
	for i, ch := range changes {
		at[ch.ID] = i
	}
	for _, d := range Drained(v, a.h.cfg.Electorate.Live(), reports) {
		if i, ok := at[d.ID]; ok {
			changes[i].Drained = d.Drained
		} else {
			changes = append(changes, d)
		}
	}
	maps.DeleteFunc(a.pending, func(_ string, p pending) bool { return v.Index >= p.index || now.After(p.until) })
	return slices.DeleteFunc(changes, func(ch state.StateChange) bool {
		_, committed := a.pending[ch.ID]
		return committed
	}), again
}

// commit puts one batch into the log.
func (a *arbiter) commit(ctx context.Context, batch []state.StateChange) error {
	ctx, cancel := context.WithTimeout(ctx, a.h.cfg.Timing.CommitWait)
	defer cancel()
	stop := context.AfterFunc(a.h.ctx, cancel)
	defer stop()
	res, err := a.h.cfg.Committer.Do(ctx, state.Command{
		Type: state.TypeStates, Actor: "health@" + a.h.cfg.NodeID, Changes: slices.Clone(batch),
	})
	if err != nil {
		return err
	}
	now := time.Now()
	a.damper.committed(batch, now)
	for _, ch := range batch {
		a.pending[ch.ID] = pending{index: res.Index, until: now.Add(settle)}
	}
	a.tell(batch)
	return nil
}

// tell logs what was decided: each backend by itself, or a summary where a line each would hide the rest.
func (a *arbiter) tell(batch []state.StateChange) {
	const lines = 10
	for i, ch := range batch {
		if i == lines {
			a.h.log.Info("more backends changed", "count", len(batch)-lines)
			return
		}
		if ch.To != "" {
			a.h.log.Info("backend verdict", "backend", ch.ID, "from", string(ch.From), "to", string(ch.To), "votes", ch.Text)
		}
		if ch.Drained != 0 {
			a.h.log.Info("backend drained", "backend", ch.ID)
		}
	}
}
