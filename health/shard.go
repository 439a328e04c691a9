package health

import (
	"container/heap"
	"context"
	"sync"
	"time"

	"github.com/lbnode/lbnode/state"
)

// shard probes a share of the backends: one goroutine with a queue of who is due when, which starts a
// goroutine for each probe that runs, up to a limit. Nothing exists per backend but its target.
type shard struct {
	h     *Health
	wake  chan struct{} // cap 1: the queue's head or the number of running probes changed
	limit int           // probes at once

	mu      sync.Mutex // taken before the table's mu
	targets map[string]*target
	queue   queue
	running int
}

func newShard(h *Health, limit int) *shard {
	return &shard{h: h, wake: make(chan struct{}, 1), limit: limit, targets: map[string]*target{}}
}

func notify(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// run works until ctx ends.
func (s *shard) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for ctx.Err() == nil {
		timer.Reset(s.launch(ctx))
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-s.wake:
		}
	}
}

// launch starts what is due and says when to come again.
func (s *shard) launch(ctx context.Context) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for len(s.queue) > 0 {
		t := s.queue[0]
		if wait := t.due.Sub(now); wait > 0 {
			return wait
		}
		if t.check != nil && s.running >= s.limit {
			return time.Hour // whoever finishes wakes the shard
		}
		heap.Pop(&s.queue)
		if t.check == nil {
			s.lift(t)
			continue
		}
		s.start(ctx, t, now)
	}
	return time.Hour
}

// schedule sets when a target is due next; the zero time is before all others.
func (s *shard) schedule(t *target, due time.Time) {
	if t.probing || t.gone {
		return
	}
	t.due = due
	if t.index < 0 {
		heap.Push(&s.queue, t)
	} else {
		heap.Fix(&s.queue, t.index)
	}
	if s.queue[0] == t {
		notify(s.wake)
	}
}

func (s *shard) unschedule(t *target) {
	if t.index >= 0 {
		heap.Remove(&s.queue, t.index)
	}
}

// start runs one probe in a goroutine of its own.
func (s *shard) start(ctx context.Context, t *target, now time.Time) {
	t.probing = true
	s.running++
	c, seq, timeout := t.check, t.vetoSeq, t.policy.timeout
	s.h.wg.Go(func() {
		probe, cancel := context.WithTimeout(ctx, timeout)
		o := c.probe(probe)
		cancel()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.running--
		t.probing = false
		notify(s.wake)
		if ctx.Err() != nil || t.gone {
			return
		}
		if t.check != c { // other settings by now: what was found says nothing
			s.begin(t)
			return
		}
		s.settle(t, o, seq == t.vetoSeq && !now.Before(t.holdUntil))
	})
}

// settle takes in the outcome of a probe. lifts: if it passed, a veto by live traffic ends.
func (s *shard) settle(t *target, o outcome, lifts bool) {
	now := time.Now()
	was := t.counters.status
	t.counters = step(t.counters, o.ok, t.policy)
	first := was == "" || was == StatusUnknown
	if t.counters.status != was || !t.reported {
		t.since = now
	}
	if o.ok && lifts {
		t.passive = false
	}
	s.publish(t, o)
	s.tell(t, o.reason)

	switch pause := t.counters.pause(t.policy); {
	case t.passive && t.holdUntil.After(now):
		s.schedule(t, t.holdUntil)
	case t.passive && o.ok: // the probe began before the veto
		s.schedule(t, time.Time{})
	case first && !t.counters.inDoubt():
		// Backends that were added together must not be probed together for ever.
		s.schedule(t, now.Add(scale(pause, 0.1+0.9*s.h.cfg.Jitter())))
	default:
		s.schedule(t, now.Add(scale(pause, 0.9+0.2*s.h.cfg.Jitter())))
	}
}

func scale(d time.Duration, f float64) time.Duration { return time.Duration(float64(d) * f) }

// publish puts the target's status into the table.
func (s *shard) publish(t *target, o outcome) {
	t.reported = true
	s.h.table.update(t.id, func(obs *Observation) (weight, bool) {
		w := soft
		if obs.Status != t.counters.status || obs.Gen != t.gen {
			w = hard
		}
		obs.Gen, obs.Status, obs.Since = t.gen, t.counters.status, t.since
		obs.LatencyMS = float64(o.latency.Microseconds()) / 1000
		obs.LastError = o.reason
		return w, true
	})
}

// tell gives the overlay this node's veto, if it changed.
func (s *shard) tell(t *target, lastError string) {
	down, why := t.verdict(lastError)
	if down == t.told && why == t.toldWhy {
		return
	}
	t.told, t.toldWhy = down, why
	s.h.cfg.Overlay.SetLocal(t.id, down, why)
}

// lift ends a veto by live traffic whose time is up.
func (s *shard) lift(t *target) {
	t.passive = false
	s.tell(t, "")
}

// begin probes a target at once, or, where there is no check, sees to the end of its veto.
func (s *shard) begin(t *target) {
	switch {
	case t.check != nil:
		s.schedule(t, time.Time{})
	case t.passive:
		s.schedule(t, t.holdUntil)
	}
}

// wanted is what the view says about one backend.
type wanted struct {
	backend *state.Backend
	policy  policy
	source  source
	mark    uint64
}

// source is what a check is built from: a changed pool or address needs another check.
type source struct {
	pool    *state.Pool
	address string
	voter   bool
}

// ensure makes the target of a backend what the view wants.
func (s *shard) ensure(w wanted) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := w.backend
	t := s.targets[b.ID]
	if t == nil {
		t = &target{id: b.ID, index: -1}
		s.targets[b.ID] = t
	}
	t.mark = w.mark
	if t.gen == b.Gen && t.source == w.source {
		return
	}
	fresh := t.gen != b.Gen
	if fresh { // another server: nothing that was known holds
		s.clear(t)
	}
	voted := t.source != nil && t.source.(source).voter
	t.gen, t.policy, t.source = b.Gen, w.policy, w.source
	t.check = nil
	s.unschedule(t)
	if !w.source.voter {
		s.abstain(t, voted)
		return
	}
	if t.check = s.h.newCheck(b, w.source.pool, s.h.cfg.Version); t.check != nil {
		s.begin(t)
		return
	}
	// Without a check a backend is up for this node until live traffic says otherwise.
	t.counters, t.since = counters{status: StatusUp}, time.Now()
	s.publish(t, outcome{ok: true})
	s.tell(t, "")
	s.begin(t)
}

// abstain makes a target that this node does not probe: it has no vote.
func (s *shard) abstain(t *target, voted bool) {
	t.counters = counters{}
	if voted {
		t.since = time.Now()
		t.counters.status = StatusUnknown
		s.publish(t, outcome{})
	}
	t.reported = false
	s.tell(t, "")
	s.begin(t)
}

// clear takes back everything that was said about a target.
func (s *shard) clear(t *target) {
	t.counters, t.reported, t.errorRun = counters{}, false, 0
	t.passive, t.vetoes, t.vetoAt, t.holdUntil = false, 0, time.Time{}, time.Time{}
	t.vetoSeq++
	s.tell(t, "")
}

// sweep removes the targets that the last update did not mark.
func (s *shard) sweep(mark uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, t := range s.targets {
		if t.mark == mark {
			continue
		}
		s.unschedule(t)
		s.clear(t)
		t.gone = true
		delete(s.targets, id)
		s.h.table.forget(id)
	}
}

// passive takes in a failure of live traffic; see Health.Passive.
func (s *shard) passive(id string, connectFailed bool, status int, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.targets[id]
	if t == nil {
		return
	}
	now := time.Now()
	switch {
	case connectFailed:
	case status >= 500:
		if t.errorRun++; s.h.cfg.ErrorRun == 0 || t.errorRun < s.h.cfg.ErrorRun {
			return
		}
		if why == "" {
			why = "server errors in a row"
		}
	case status > 0:
		t.errorRun = 0
		return
	default:
		// A connection broke later on. That is no veto, but a reason to look soon.
		if t.check != nil && now.Sub(t.asked) >= askEvery {
			t.asked = now
			s.schedule(t, now)
		}
		return
	}
	t.errorRun = 0
	if t.passive { // known; every failing request would only put the next probe off
		return
	}
	t.veto(why, now)
	if t.check != nil && t.counters.status == StatusUp {
		t.counters = step(t.counters, false, t.policy)
		if t.counters.status == StatusDown {
			t.since = now
			s.publish(t, outcome{reason: t.passiveWhy})
		}
	}
	s.tell(t, t.passiveWhy)
	if t.holdUntil.After(now) {
		s.schedule(t, t.holdUntil)
	} else {
		s.schedule(t, time.Time{})
	}
}
