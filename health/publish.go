package health

import (
	"time"

	"github.com/lbnode/lbnode/state"
)

// publish sends own changes as they come, with a pause after each so that changes gather, and heartbeats.
func (h *Health) publish() {
	beat := time.NewTicker(h.cfg.Timing.Heartbeat)
	defer beat.Stop()
	gap := time.NewTimer(h.cfg.Timing.Gather)
	defer gap.Stop()
	for {
		select {
		case <-h.ctx.Done():
			return
		case <-beat.C:
			h.table.heartbeat(h.cfg.Score())
			h.table.dropSilent(time.Now(), silence)
			continue
		case <-h.dirty:
		}
		h.table.publish(h.cfg.Score())
		gap.Reset(h.cfg.Timing.Gather)
		select {
		case <-h.ctx.Done():
			return
		case <-gap.C:
		}
	}
}

// refresh brings the traffic counts of backends that are not draining up to date before a whole state is
// sent. Draining ones are counted on their own schedule, since decisions depend on them.
func (h *Health) refresh() {
	v := h.view.Load()
	if v == nil {
		return
	}
	applied := h.cfg.Applied() // before the counts
	h.table.each(func(id string) {
		if b, ok := v.Backend(id); !ok || b.Draining() {
			return
		}
		n := h.cfg.InFlight(id)
		h.table.update(id, func(o *Observation) (weight, bool) {
			if o.InFlight == n && o.Applied != 0 {
				return soft, false
			}
			o.InFlight, o.Applied = n, applied
			return soft, true
		})
	})
}

// watchDrains counts this node's requests on draining backends, only while there are any.
func (h *Health) watchDrains() {
	t := time.NewTicker(h.cfg.Timing.DrainPoll)
	defer t.Stop()
	t.Stop()
	busy := false
	for {
		select {
		case <-h.ctx.Done():
			return
		case <-h.drain:
		case <-t.C:
		}
		h.mu.Lock()
		draining := h.draining
		h.mu.Unlock()
		switch {
		case len(draining) == 0 && busy:
			t.Stop()
		case len(draining) > 0 && !busy:
			t.Reset(h.cfg.Timing.DrainPoll)
		}
		busy = len(draining) > 0
		h.countDrains(draining)
	}
}

// countDrains publishes what has changed for the end of a drain: whether requests are left, and whether
// the count was made with the operator's stop in force. In between the number is for people only.
func (h *Health) countDrains(draining []*state.Backend) {
	if len(draining) == 0 {
		return
	}
	// The order matters: a request that is not counted below began before these flags were in force, or
	// is gone. Counting first could miss one that slipped in between.
	applied := h.cfg.Applied()
	for _, b := range draining {
		n := h.cfg.InFlight(b.ID)
		h.table.update(b.ID, func(o *Observation) (weight, bool) {
			w := soft
			passed := o.Applied < b.AdminIndex && applied >= b.AdminIndex
			if passed || (o.InFlight == 0) != (n == 0) {
				w = hard
			}
			if w == soft && o.InFlight == n {
				return soft, false
			}
			if o.Gen < b.Gen { // what was found of the older generation is no vote on this one
				o.Gen, o.Status = b.Gen, StatusUnknown
			}
			o.InFlight, o.Applied = n, applied
			return w, true
		})
	}
}
