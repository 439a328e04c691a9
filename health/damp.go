package health

import (
	"time"

	"github.com/lbnode/lbnode/state"
)

// damper keeps the number of log entries bounded when backends flap. A backend that goes down again soon
// must be found up by the quorum for a while, without a break, before it is called up: one second after the
// second fall, then twice as long each time. Down verdicts are never delayed, but each needs an up before
// it, so that delaying one bounds both. A token bucket bounds the entries of all backends together; what
// waits for a token goes into the same entry later.
type damper struct {
	most   time.Duration // longest hold
	every  time.Duration // one token each
	burst  int
	tokens float64
	filled time.Time
	by     map[string]*flaps
}

// firstHold is the hold after the second fall.
const firstHold = time.Second

// flaps is what is remembered of one backend.
type flaps struct {
	gen     uint64
	falls   int       // changes to down, less one for each stretch of `most` without any
	last    time.Time // of the last fall, or of the last one taken off
	upSince time.Time // since when the quorum wants it up, while the verdict is down
}

func newDamper(t Timing, now time.Time) *damper {
	return &damper{
		most: t.HoldMost, every: t.EntryEvery, burst: t.EntryBurst,
		tokens: float64(t.EntryBurst), filled: now, by: map[string]*flaps{},
	}
}

// hold is how long the quorum must want a backend up.
func (d *damper) hold(falls int) time.Duration {
	if falls < 2 {
		return 0
	}
	h := firstHold
	for range falls - 2 {
		if h *= 2; h >= d.most {
			break
		}
	}
	return min(h, d.most)
}

// filter returns which changes may be committed now, and when to look again if some have to wait.
func (d *damper) filter(v *state.View, changes []state.StateChange, now time.Time) (ready []state.StateChange, again time.Time) {
	wanted := make(map[string]bool, len(changes))
	for _, ch := range changes {
		wanted[ch.ID] = ch.To == state.VerdictUp
	}
	d.age(v, wanted, now)
	for _, ch := range changes {
		f := d.by[ch.ID]
		if f == nil || ch.To != state.VerdictUp || ch.From == state.VerdictUnknown {
			ready = append(ready, ch)
			continue
		}
		if f.upSince.IsZero() {
			f.upSince = now
		}
		if due := f.upSince.Add(d.hold(f.falls)); due.After(now) {
			if again.IsZero() || due.Before(again) {
				again = due
			}
			continue
		}
		ready = append(ready, ch)
	}
	return ready, again
}

// age takes off what is long ago and forgets backends that are gone or have become new.
func (d *damper) age(v *state.View, wantedUp map[string]bool, now time.Time) {
	for id, f := range d.by {
		b, ok := v.Backend(id)
		if !ok || b.Gen != f.gen {
			delete(d.by, id)
			continue
		}
		if !wantedUp[id] {
			f.upSince = time.Time{}
		}
		for f.falls > 0 && now.Sub(f.last) >= d.most {
			f.falls--
			f.last = f.last.Add(d.most)
		}
		if f.falls == 0 {
			delete(d.by, id)
		}
	}
}

// committed notes the changes that were committed.
func (d *damper) committed(changes []state.StateChange, now time.Time) {
	for _, ch := range changes {
		f := d.by[ch.ID]
		switch {
		case ch.To == state.VerdictUp && f != nil:
			f.upSince = time.Time{}
		case ch.To == state.VerdictDown && f == nil:
			d.by[ch.ID] = &flaps{gen: ch.Gen, falls: 1, last: now}
		case ch.To == state.VerdictDown:
			f.falls, f.last = min(f.falls+1, 16), now
		}
	}
}

// take uses up a token for one entry, or says when there will be one.
func (d *damper) take(now time.Time) (ok bool, again time.Time) {
	d.tokens = min(d.tokens+float64(now.Sub(d.filled))/float64(d.every), float64(d.burst))
	d.filled = now
	if d.tokens >= 1 {
		d.tokens--
		return true, time.Time{}
	}
	return false, now.Add(time.Duration((1-d.tokens)*float64(d.every)) + time.Millisecond)
}
