package health

import (
	"testing"
	"time"

	"github.com/lbnode/lbnode/state"
)

func TestDamper_upIsHeldLongerAfterEachFall(t *testing.T) {
	t.Parallel()
	v := viewOf(t, "a=up")
	now := time.Unix(1000, 0)
	d := newDamper(DefaultConfig().Timing, now)
	down := []state.StateChange{{ID: "a", Gen: 1, From: state.VerdictUp, To: state.VerdictDown}}
	up := []state.StateChange{{ID: "a", Gen: 1, From: state.VerdictDown, To: state.VerdictUp}}
	for i, want := range []time.Duration{0, 1, 2, 4, 8, 16, 32, 60, 60} {
		want *= time.Second
		ready, _ := d.filter(v, down, now)
		if len(ready) != 1 {
			t.Fatalf("fall %d was delayed", i+1)
		}
		d.committed(ready, now)
		// A single good moment in between does not count.
		now = now.Add(time.Millisecond)
		d.filter(v, up, now)
		d.filter(v, nil, now)
		begin := now
		for ready, again := d.filter(v, up, now); len(ready) == 0; ready, again = d.filter(v, up, now) {
			if !again.After(now) || now.Sub(begin) > 2*time.Minute {
				t.Fatalf("fall %d: still held after %s, to be looked at in %s", i+1, now.Sub(begin), again.Sub(now))
			}
			now = again
		}
		if got := now.Sub(begin); got != want {
			t.Errorf("up after fall %d is held for %s, want %s", i+1, got, want)
		}
		d.committed(up, now)
	}
}

func TestDamper_forgets(t *testing.T) {
	t.Parallel()
	v := viewOf(t, "a=up b=up")
	now := time.Unix(1000, 0)
	d := newDamper(DefaultConfig().Timing, now)
	down := []state.StateChange{
		{ID: "a", Gen: 1, From: state.VerdictUp, To: state.VerdictDown},
		{ID: "b", Gen: 2, From: state.VerdictUp, To: state.VerdictDown},
		{ID: "gone", Gen: 2, From: state.VerdictUp, To: state.VerdictDown},
	}
	for range 3 {
		d.committed(down, now)
	}
	d.filter(v, nil, now)
	if len(d.by) != 2 {
		t.Errorf("%d backends remembered, want 2", len(d.by))
	}
	// Another generation of b is another server.
	v, _ = state.Apply(v, 9, 1, state.Command{Type: state.TypeTxn, Ops: []state.Op{
		op(t, state.VerbPatch, state.KindBackend, "b", map[string]any{"address": "127.0.0.1:10"}),
	}})
	d.filter(v, nil, now)
	if d.by["b"] != nil || d.by["a"] == nil {
		t.Errorf("remembered: %v, want a only", d.by)
	}
	d.filter(v, nil, now.Add(3*time.Minute))
	if len(d.by) != 0 {
		t.Errorf("remembered after three quiet minutes: %v", d.by)
	}
}

func TestDamper_firstVerdictsAreNotHeld(t *testing.T) {
	t.Parallel()
	v := viewOf(t, "a=unknown")
	now := time.Unix(1000, 0)
	d := newDamper(DefaultConfig().Timing, now)
	d.by["a"] = &flaps{gen: 1, falls: 9, last: now}
	ready, _ := d.filter(v, []state.StateChange{{ID: "a", Gen: 1, From: state.VerdictUnknown, To: state.VerdictUp}}, now)
	if len(ready) != 1 {
		t.Error("the first verdict of a backend was delayed")
	}
}

func TestDamper_tokens(t *testing.T) {
	t.Parallel()
	tm := DefaultConfig().Timing
	now := time.Unix(1000, 0)
	d := newDamper(tm, now)
	taken := 0
	for end := now.Add(time.Minute); now.Before(end); {
		ok, again := d.take(now)
		if ok {
			taken++
			continue
		}
		if !again.After(now) {
			t.Fatal("no time is given")
		}
		now = again
	}
	if most := tm.EntryBurst + int(time.Minute/tm.EntryEvery); taken > most || taken < most-2 {
		t.Errorf("%d entries in a minute, want %d", taken, most)
	}
}
