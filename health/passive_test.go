package health

import (
	"testing"
	"time"

	"github.com/lbnode/lbnode/state"
)

func TestPassive_vetoUntilAProbePasses(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		n := w.nodes[0]
		w.ops(backendOp(t, "a"))
		after(time.Second)
		before := n.probed("a")
		n.Passive("a", true, 0, "connection refused")
		if got, want := n.veto("a"), "live traffic: connection refused"; got != want {
			t.Fatalf("veto is %q at once, want %q", got, want)
		}
		after(5 * time.Millisecond)
		if got := n.probed("a"); got != before+1 {
			t.Errorf("%d probes within 5 ms of the failure, want 1", got-before)
		}
		if got := n.veto("a"); got != "" {
			t.Errorf("veto %q outlives a probe that passed", got)
		}
	})
}

func TestPassive_probeThatBeganBeforeDoesNotLift(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		n := w.nodes[0]
		w.set(func(_, _ string) outcome { return outcome{ok: true, latency: 500 * time.Millisecond} })
		w.ops(backendOp(t, "a"))
		after(100 * time.Millisecond) // the first probe runs until 500
		n.Passive("a", true, 0, "connection refused")
		after(500 * time.Millisecond) // it has passed, the second runs
		if n.veto("a") == "" {
			t.Error("a probe that began before the failure lifted the veto")
		}
		after(450 * time.Millisecond)
		if got := n.veto("a"); got != "" {
			t.Errorf("veto %q outlives the probe that began after it", got)
		}
	})
}

func TestPassive_deadBackendGoesDownFast(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		defer w.lead(w.nodes[0])()
		w.ops(backendOp(t, "a"))
		after(1100 * time.Millisecond)
		w.set(refused)
		for range 1000 {
			w.nodes[0].Passive("a", true, 0, "connection refused")
		}
		if told := locked(&w.nodes[0].mu, func() int { return w.nodes[0].told }); told != 1 {
			t.Errorf("the overlay was told %d times, want once", told)
		}
		after(900 * time.Millisecond) // a failed request, a probe at once, one more in doubt, the quiet time
		if got := w.verdict("a"); got != state.VerdictDown {
			t.Errorf("verdict is %s, want down", got)
		}
		if got, want := w.nodes[0].veto("a"), "live traffic: connection refused"; got != want {
			t.Errorf("veto is %q, want %q", got, want)
		}
	})
}

func TestPassive_vetoesInARowHoldLonger(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		n := w.nodes[0]
		w.ops(backendOp(t, "a"))
		after(time.Second)
		// Probes pass; each request fails as soon as one is sent.
		vetoes := 0
		for begin := time.Now(); time.Since(begin) < 5*time.Minute; after(10 * time.Millisecond) {
			if n.veto("a") == "" {
				n.Passive("a", true, 0, "tls: handshake failure")
				vetoes++
			}
		}
		if vetoes < 5 || vetoes > 25 {
			t.Errorf("%d requests failed in five minutes, want a few at growing distances", vetoes)
		}
		after(10 * time.Minute)
		n.Passive("a", true, 0, "x")
		after(5 * time.Millisecond)
		if n.veto("a") != "" {
			t.Error("the first veto after ten good minutes holds on")
		}
	})
}

func TestPassive_withoutChecksTheVetoEndsByTime(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		n := w.nodes[0]
		w.ops(op(t, state.VerbPut, state.KindPool, "default", map[string]any{"id": "default", "health": map[string]any{"type": "none", "interval": "3s"}}))
		w.ops(backendOp(t, "a"))
		n.Passive("a", true, 0, "connection refused")
		after(2900 * time.Millisecond)
		if n.veto("a") == "" {
			t.Error("the veto ended before the interval")
		}
		after(200 * time.Millisecond)
		if n.veto("a") != "" {
			t.Error("the veto holds longer than the interval")
		}
		n.Passive("a", true, 0, "connection refused")
		after(5900 * time.Millisecond)
		if n.veto("a") == "" {
			t.Error("the second veto in a row is not longer")
		}
	})
}

func TestPassive_errorRun(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name     string
		run      int
		statuses []int
		veto     bool
	}{
		{"off", 0, []int{500, 500, 500, 500}, false},
		{"run", 3, []int{500, 503, 502}, true},
		{"too short", 3, []int{500, 503}, false},
		{"broken by a good answer", 3, []int{500, 503, 200, 502}, false},
	} {
		w := newWorld(t, 1, func(c *Config) { c.ErrorRun = tc.run })
		w.set(func(_, _ string) outcome { return outcome{ok: true, latency: time.Hour} }) // no probe ends
		w.ops(backendOp(t, "a"))
		for _, s := range tc.statuses {
			w.nodes[0].Passive("a", false, s, "")
		}
		w.nodes[0].Passive("unknown", true, 0, "x")
		if got := w.nodes[0].veto("a"); (got != "") != tc.veto {
			t.Errorf("%s: veto is %q, want one: %v", tc.name, got, tc.veto)
		}
		w.close()
	}
}

func TestPassive_brokenConnectionAsksForAProbe(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		n := w.nodes[0]
		w.ops(op(t, state.VerbPut, state.KindPool, "default", map[string]any{"id": "default", "health": map[string]any{"interval": "1h"}}))
		w.ops(backendOp(t, "a"))
		after(time.Second)
		before := n.probed("a")
		for range 100 {
			n.Passive("a", false, 0, "connection reset by peer")
		}
		after(time.Second)
		if got := n.probed("a"); got != before+1 {
			t.Errorf("%d probes after connections broke, want 1", got-before)
		}
		if got := n.veto("a"); got != "" {
			t.Errorf("veto %q by a connection that broke later", got)
		}
	})
}

func TestConcurrency_isBounded(t *testing.T) {
	bubbleWith(t, 1, func(c *Config) { c.Concurrency = 7 }, func(t *testing.T, w *world) {
		w.set(func(_, _ string) outcome { return outcome{ok: true, latency: 100 * time.Millisecond} })
		var ops []state.Op
		for i := range 200 {
			ops = append(ops, backendOp(t, "b"+string(rune('a'+i/20))+string(rune('a'+i%20))))
		}
		w.ops(ops...)
		after(50 * time.Millisecond)
		limit := 0
		for _, s := range w.nodes[0].shards {
			limit += s.limit
		}
		busy := 0
		for _, s := range w.nodes[0].shards {
			busy += locked(&s.mu, func() int { return s.running })
		}
		if busy != limit || limit > 14 {
			t.Errorf("%d probes run, limit %d, want them equal and about 7", busy, limit)
		}
		after(10 * time.Second)
		for i := range 200 {
			if id := "b" + string(rune('a'+i/20)) + string(rune('a'+i%20)); w.nodes[0].probed(id) == 0 {
				t.Errorf("%s was never probed", id)
			}
		}
	})
}
