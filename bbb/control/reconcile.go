package control

import (
	"context"
	"time"

	"github.com/lbnode/lbnode/bbb/ids"
	"github.com/lbnode/lbnode/bbb/load"
	"github.com/lbnode/lbnode/state"
)

// seen is what the lists of one server said before, so that nothing is decided by a single one: a list that was made
// while a meeting was being created or ended says something that is no longer true.
type seen struct {
	missing map[string]absence      // by the server's id: in the state, and not in the list
	unknown map[string]string       // internal id by the server's id: in the list, and not in the state
	clean   map[string]*state.Stale // stale copies that were not in the list
}

type absence struct {
	reserved uint64
	since    time.Time
}

// Lead compares lists with the state until ctx ends. It is to be called while this node leads.
func (c *Control) Lead(ctx context.Context) {
	c.mu.Lock()
	c.leading, c.seen = true, map[string]*seen{}
	c.mu.Unlock()
	<-ctx.Done()
	c.mu.Lock()
	c.leading = false
	c.mu.Unlock()
}

// Polled takes the list of a server. It blocks for as long as the state and, for stale copies, the server take.
func (c *Control) Polled(ctx context.Context, p load.Poll) {
	if p.Err != nil {
		return
	}
	c.mu.Lock()
	leading, before := c.leading, c.seen[p.Backend]
	c.mu.Unlock()
	if !leading {
		return
	}
	if before == nil {
		before = &seen{}
	}
	r := reconciliation{v: c.cfg.Store.View(), poll: p, before: before, now: c.cfg.Now(), reserveFor: c.cfg.ReserveFor}
	r.compare()
	c.mu.Lock()
	c.seen[p.Backend] = &r.after
	c.mu.Unlock()
	for _, serverID := range r.end {
		if err := c.endOnServer(ctx, r.v, p.Backend, serverID); err != nil {
			c.cfg.Logger.Warn("a stale copy of a meeting cannot be ended", "backend", p.Backend, "error", err)
		} else {
			c.cfg.Logger.Info("a stale copy of a meeting was ended", "backend", p.Backend, "meeting", serverID)
		}
	}
	for _, op := range r.ops {
		if _, err := c.cfg.Store.Do(ctx, state.BBB(op)); err != nil && ctx.Err() == nil {
			c.cfg.Logger.Warn("the state could not be brought in line with a server", "backend", p.Backend, "error", err)
		}
	}
}

// reconciliation decides what follows from one list. It does nothing.
type reconciliation struct {
	v          *state.View
	poll       load.Poll
	before     *seen
	now        time.Time
	reserveFor time.Duration

	after seen
	ops   []state.BBBOp
	end   []string // copies to be ended, by the server's ids
}

func (r *reconciliation) compare() {
	r.after = seen{missing: map[string]absence{}, unknown: map[string]string{}, clean: map[string]*state.Stale{}}
	if _, ok := r.v.Backend(r.poll.Backend); !ok {
		return
	}
	listed := make(map[string]*load.Running, len(r.poll.Running))
	for i := range r.poll.Running {
		listed[r.poll.Running[i].ServerID] = &r.poll.Running[i]
	}
	over, givenUp := state.EndMeetings{}, state.EndMeetings{Stale: true}
	for m := range r.v.MeetingsOn(r.poll.Backend) {
		if m.Reserved > r.poll.Index {
			continue // later than the list
		}
		on := listed[m.OnServer()]
		switch {
		case on != nil:
			r.present(m, on)
		case r.gone(m) && m.Confirmed:
			over.Keys = append(over.Keys, state.MeetingKey{Frontend: m.Frontend, ID: m.ID, Reserved: m.Reserved})
		case r.gone(m):
			givenUp.Keys = append(givenUp.Keys, state.MeetingKey{Frontend: m.Frontend, ID: m.ID, Reserved: m.Reserved})
		}
	}
	for _, e := range []*state.EndMeetings{&over, &givenUp} {
		if len(e.Keys) > 0 {
			r.ops = append(r.ops, state.BBBOp{End: e})
		}
	}
	r.stales(listed)
	for i := range r.poll.Running {
		r.others(&r.poll.Running[i])
	}
}

// present confirms what the server has, under the internal id that it has now.
func (r *reconciliation) present(m *state.Meeting, on *load.Running) {
	if m.Confirmed && (on.InternalID == "" || m.InternalID == on.InternalID) {
		return
	}
	r.ops = append(r.ops, state.BBBOp{Confirm: &state.ConfirmMeeting{
		Frontend: m.Frontend, ID: m.ID, BackendID: m.BackendID, ServerID: m.ServerID, InternalID: on.InternalID, CreateTime: on.CreateTime,
	}})
}

// gone says that a meeting has been missing for long enough: in two lists, or, if it was never confirmed, for as long
// as somebody may still be creating it.
func (r *reconciliation) gone(m *state.Meeting) bool {
	a, before := r.before.missing[m.OnServer()]
	if !before || a.reserved != m.Reserved {
		a = absence{reserved: m.Reserved, since: r.now}
		before = false
	}
	r.after.missing[m.OnServer()] = a
	return before && (m.Confirmed || r.now.Sub(a.since) >= r.reserveFor)
}

// stales has copies ended that the server still has, and clears those that it has not.
func (r *reconciliation) stales(listed map[string]*load.Running) {
	var gone state.ClearStale
	for s := range r.v.Stales(r.poll.Backend) {
		switch {
		case listed[s.MeetingID] != nil:
			r.end = append(r.end, s.MeetingID)
		case r.before.clean[s.MeetingID] == s:
			gone.Stales = append(gone.Stales, *s)
		default:
			r.after.clean[s.MeetingID] = s
		}
	}
	if len(gone.Stales) > 0 {
		r.ops = append(r.ops, state.BBBOp{Clear: &gone})
	}
}

// others looks at a meeting that the state does not have on this server. Rewritten ids say whose it is: one that is
// elsewhere is a copy, and one that is nowhere was created by the balancer before us, and goes on.
func (r *reconciliation) others(on *load.Running) {
	if _, ok := r.v.MeetingOnServer(r.poll.Backend, on.ServerID); ok || on.Breakout {
		return
	}
	if _, ok := r.v.Stale(r.poll.Backend, on.ServerID); ok {
		return
	}
	key, id, ok := ids.Decode(on.ServerID)
	if !ok {
		return
	}
	f := frontendByKey(r.v, key)
	if f == nil || f.BBB.SharedIDs || on.InternalID == "" {
		return
	}
	r.after.unknown[on.ServerID] = on.InternalID
	if internal, before := r.before.unknown[on.ServerID]; !before || internal != on.InternalID {
		return
	}
	if _, elsewhere := r.v.Meeting(f.ID, id); elsewhere {
		r.ops = append(r.ops, state.BBBOp{Confirm: &state.ConfirmMeeting{ // which notes the copy as stale
			Frontend: f.ID, ID: id, BackendID: r.poll.Backend, ServerID: on.ServerID, InternalID: on.InternalID, CreateTime: on.CreateTime,
		}})
		return
	}
	r.ops = append(r.ops, state.BBBOp{Bind: &state.BindMeeting{
		Frontend: f.ID, ID: id, ServerID: on.ServerID, BackendID: r.poll.Backend, InternalID: on.InternalID, CreateTime: on.CreateTime, Recording: on.Recording,
	}})
}

func frontendByKey(v *state.View, key string) *state.Frontend {
	for f := range v.Frontends() {
		if f.Key == key {
			return f
		}
	}
	return nil
}
