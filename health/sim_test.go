package health

import (
	"errors"
	"fmt"
	"hash/fnv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lbnode/lbnode/state"
)

// bubble runs a test in fake time with a cluster.
func bubble(t *testing.T, voters int, fn func(t *testing.T, w *world)) {
	t.Helper()
	bubbleWith(t, voters, nil, fn)
}

func bubbleWith(t *testing.T, voters int, tune func(*Config), fn func(t *testing.T, w *world)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, voters, tune)
		defer w.close()
		fn(t, w)
	})
}

func after(d time.Duration) {
	time.Sleep(d) // fake time
	synctest.Wait()
}

func TestCluster_firstVerdictIsFast(t *testing.T) {
	bubble(t, 3, func(t *testing.T, w *world) {
		defer w.lead(w.nodes[0])()
		after(5 * time.Second)
		w.ops(backendOp(t, "a"))
		after(200 * time.Millisecond)
		if got := w.verdict("a"); got != state.VerdictUp {
			t.Errorf("verdict 200 ms after registration is %q, want up", got)
		}
		if got, want := w.backend("a").VerdictText, " of 3 nodes: passing"; !strings.HasSuffix(got, want) {
			t.Errorf("text is %q, want it to end in %q", got, want)
		}
	})
}

func TestCluster_firstVerdictOnFailing(t *testing.T) {
	bubble(t, 3, func(t *testing.T, w *world) {
		defer w.lead(w.nodes[0])()
		w.set(refused)
		w.ops(backendOp(t, "a"))
		after(1500 * time.Millisecond)
		if got := w.verdict("a"); got != state.VerdictDown {
			t.Errorf("verdict is %q, want down", got)
		}
		if got, want := w.backend("a").VerdictText, "of 3 nodes: connection refused"; !strings.Contains(got, want) {
			t.Errorf("text is %q, want %q in it", got, want)
		}
	})
}

func TestCluster_downAndUpAgain(t *testing.T) {
	bubble(t, 3, func(t *testing.T, w *world) {
		defer w.lead(w.nodes[1])()
		w.ops(backendOp(t, "a"), backendOp(t, "b"))
		after(3 * time.Second)
		w.set(func(_, b string) outcome {
			return outcome{ok: b != "a", reason: "status 503"}
		})
		after(5 * time.Second)
		if a, b := w.verdict("a"), w.verdict("b"); a != state.VerdictDown || b != state.VerdictUp {
			t.Fatalf("verdicts a=%s b=%s, want down and up", a, b)
		}
		for _, n := range w.nodes {
			if got, want := n.veto("a"), "health check: status 503"; got != want {
				t.Errorf("veto of a on %s is %q, want %q", n.id, got, want)
			}
		}
		w.set(func(_, _ string) outcome { return outcome{ok: true} })
		after(5 * time.Second)
		if a := w.verdict("a"); a != state.VerdictUp {
			t.Errorf("verdict of a is %s after it came back, want up", a)
		}
		for _, n := range w.nodes {
			if got := n.veto("a"); got != "" {
				t.Errorf("veto of a on %s is %q after it came back", n.id, got)
			}
		}
		if commands, _ := w.counted(); commands > 5 {
			t.Errorf("%d entries for one fall and rise of one of two backends, want at most 5", commands)
		}
	})
}

func TestCluster_lossyNetworkDoesNotFlap(t *testing.T) {
	bubble(t, 3, func(t *testing.T, w *world) {
		defer w.lead(w.nodes[0])()
		w.mu.Lock()
		w.loss, w.latency = 0.3, 200*time.Millisecond
		w.mu.Unlock()
		w.pushPull(5 * time.Second)
		for i := range 20 {
			w.ops(backendOp(t, fmt.Sprintf("b%d", i)))
		}
		after(10 * time.Second)
		before, _ := w.counted()
		after(10 * time.Minute)
		if now, _ := w.counted(); now != before {
			t.Errorf("%d entries in ten quiet minutes on a lossy network, want none", now-before)
		}
		w.set(refused)
		after(15 * time.Second)
		for i := range 20 {
			if got := w.verdict(fmt.Sprintf("b%d", i)); got != state.VerdictDown {
				t.Errorf("verdict of b%d is %s, want down", i, got)
			}
		}
	})
}

func TestCluster_minorityCannotChangeVerdicts(t *testing.T) {
	bubble(t, 3, func(t *testing.T, w *world) {
		stop := w.lead(w.nodes[0])
		w.pushPull(2 * time.Second)
		w.ops(backendOp(t, "a"))
		after(3 * time.Second)
		stop()

		// n1, cut off from the others and from the backend, still thinks that it leads.
		w.partition("n1", true)
		w.set(func(node, _ string) outcome { return outcome{ok: node != "n1", reason: "timeout"} })
		defer w.lead(w.nodes[0])()
		after(time.Minute)
		if got := w.verdict("a"); got != state.VerdictUp {
			t.Errorf("verdict is %s by one vote of three, want up", got)
		}
		if got := w.nodes[0].veto("a"); got == "" {
			t.Error("n1 sends traffic to a backend that it cannot reach")
		}
		if got := w.nodes[1].veto("a"); got != "" {
			t.Errorf("n2 has a veto by another's report: %q", got)
		}

		w.partition("n1", false)
		w.set(refused)
		after(20 * time.Second)
		if got := w.verdict("a"); got != state.VerdictDown {
			t.Errorf("verdict is %s after the partition healed, want down", got)
		}
	})
}

func TestCluster_staleVotesDoNotCount(t *testing.T) {
	bubble(t, 3, func(t *testing.T, w *world) {
		w.ops(backendOp(t, "a"))
		w.set(refused)
		after(5 * time.Second) // everybody knows of everybody's failures, but nobody leads
		w.partition("n1", true)
		after(10 * time.Second)
		defer w.lead(w.nodes[0])()
		after(10 * time.Second)
		if got := w.verdict("a"); got != state.VerdictUnknown {
			t.Errorf("verdict is %s by votes that are older than their time, want unknown", got)
		}
	})
}

func TestCluster_sickNodeIsLeftOut(t *testing.T) {
	bubble(t, 3, func(t *testing.T, w *world) {
		defer w.lead(w.nodes[0])()
		ids := []string{"a", "b", "c", "d"}
		for _, id := range ids {
			w.ops(backendOp(t, id))
		}
		after(3 * time.Second)
		// n3 sees nothing any more; then n2 alone cannot reach a. Without leaving n3 out, a would be down.
		w.set(func(node, _ string) outcome { return outcome{ok: node != "n3", reason: "no route"} })
		after(10 * time.Second)
		w.set(func(node, b string) outcome {
			return outcome{ok: node != "n3" && !(node == "n2" && b == "a"), reason: "no route"}
		})
		after(time.Minute)
		for _, id := range ids {
			if got := w.verdict(id); got != state.VerdictUp {
				t.Errorf("verdict of %s is %s, want up", id, got)
			}
		}
	})
}

func TestCluster_newGenerationStartsAfresh(t *testing.T) {
	bubble(t, 3, func(t *testing.T, w *world) {
		defer w.lead(w.nodes[0])()
		w.set(refused)
		w.ops(backendOp(t, "a"))
		after(5 * time.Second)
		w.set(func(_, _ string) outcome { return outcome{ok: true} })
		w.ops(op(t, state.VerbPatch, state.KindBackend, "a", map[string]any{"address": "127.0.0.1:10"}))
		if got := w.nodes[0].veto("a"); got != "" {
			t.Errorf("veto %q outlives the address that it was about", got)
		}
		after(200 * time.Millisecond)
		if got := w.verdict("a"); got != state.VerdictUp {
			t.Errorf("verdict on the new address is %s, want up", got)
		}
	})
}

func TestCluster_changedCheckTakesEffectAtOnce(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		defer w.lead(w.nodes[0])()
		w.ops(op(t, state.VerbPut, state.KindPool, "default", map[string]any{"id": "default", "health": map[string]any{"interval": "1h"}}))
		w.ops(backendOp(t, "a"))
		after(time.Second)
		before := w.nodes[0].probed("a")
		w.ops(op(t, state.VerbPut, state.KindPool, "default", map[string]any{"id": "default", "health": map[string]any{"path": "/other"}}))
		after(time.Second)
		if got := w.nodes[0].probed("a"); got == before {
			t.Error("no probe within a second of a change of the check")
		}
		w.ops(op(t, state.VerbPut, state.KindPool, "default", map[string]any{"id": "default", "health": map[string]any{"type": "none"}}))
		before = w.nodes[0].probed("a")
		w.set(refused)
		after(time.Minute)
		if got := w.nodes[0].probed("a"); got > before+1 {
			t.Errorf("%d probes of a pool without checks", got-before)
		}
		if got := w.verdict("a"); got != state.VerdictUp {
			t.Errorf("verdict without checks is %s, want up", got)
		}
	})
}

func TestCluster_removedBackendIsForgotten(t *testing.T) {
	bubble(t, 3, func(t *testing.T, w *world) {
		w.pushPull(time.Second)
		w.ops(backendOp(t, "a"), backendOp(t, "b"))
		after(3 * time.Second)
		o := op(t, state.VerbDelete, state.KindBackend, "a", nil)
		o.Force = true
		w.ops(o)
		before := w.nodes[0].probed("a")
		after(10 * time.Second)
		if got := w.nodes[0].probed("a"); got > before+1 {
			t.Errorf("%d probes of a removed backend", got-before)
		}
		for _, n := range w.nodes {
			if got := n.Observations("a"); len(got) != 0 {
				t.Errorf("%s still has %d observations of a removed backend", n.id, len(got))
			}
			if got := n.Observations("b"); len(got) != 3 {
				t.Errorf("%s has %d observations of b, want 3", n.id, len(got))
			}
		}
	})
}

func TestCluster_nonVoterOnlyWatches(t *testing.T) {
	bubble(t, 3, func(t *testing.T, w *world) {
		defer w.lead(w.nodes[0])()
		n4 := w.add("n4", false, nil)
		w.ops(backendOp(t, "a"))
		after(5 * time.Second)
		if got := n4.probed("a"); got != 0 {
			t.Errorf("%d probes by a non-voter", got)
		}
		n4.Passive("a", true, 0, "connection refused")
		if got, want := n4.veto("a"), "live traffic: connection refused"; got != want {
			t.Errorf("veto is %q, want %q", got, want)
		}
		after(2100 * time.Millisecond)
		if got := n4.veto("a"); got != "" {
			t.Errorf("veto %q holds longer than the interval", got)
		}
		n4.mu.Lock()
		n4.voter = true
		n4.mu.Unlock()
		after(time.Second)
		if got := n4.probed("a"); got == 0 {
			t.Error("no probe within a second of becoming a voter")
		}
		n4.mu.Lock()
		n4.voter = false
		n4.mu.Unlock()
		after(time.Second)
		if obs := w.nodes[0].Observations("a"); len(obs) != 4 || obs[3].Status != StatusUnknown {
			t.Errorf("observations = %+v, want an unknown of n4 last", obs)
		}
	})
}

func TestCluster_drain(t *testing.T) {
	bubble(t, 3, func(t *testing.T, w *world) {
		defer w.lead(w.nodes[0])()
		n4 := w.add("n4", false, nil) // live members count, voters or not
		w.ops(backendOp(t, "a"))
		after(2 * time.Second)
		n4.mu.Lock()
		n4.inFlight["a"] = 2
		n4.mu.Unlock()
		w.ops(op(t, state.VerbPatch, state.KindBackend, "a", map[string]any{"admin_state": "stopped"}))
		after(30 * time.Second)
		if w.backend("a").Drained {
			t.Fatal("drained with two requests left on a non-voter")
		}
		if got := w.nodes[0].Observations("a"); len(got) != 4 || got[3].InFlight != 2 {
			t.Errorf("observations on the leader = %+v, want n4's two requests", got)
		}
		n4.mu.Lock()
		n4.inFlight["a"] = 0
		n4.mu.Unlock()
		after(400 * time.Millisecond)
		if !w.backend("a").Drained {
			t.Error("not drained 400 ms after the last request ended")
		}
		// Drained decommissioned backends are removed.
		w.ops(op(t, state.VerbDelete, state.KindBackend, "a", nil))
		after(time.Second)
		if w.backend("a") != nil {
			t.Error("a decommissioned backend without requests is still there")
		}
	})
}

func TestCluster_drainWaitsForAppliedAndIgnoresTheDead(t *testing.T) {
	bubble(t, 3, func(t *testing.T, w *world) {
		defer w.lead(w.nodes[0])()
		w.ops(backendOp(t, "a"))
		after(2 * time.Second)
		n3 := w.nodes[2]
		n3.mu.Lock()
		n3.frozen = true
		n3.mu.Unlock()
		w.ops(op(t, state.VerbPatch, state.KindBackend, "a", map[string]any{"admin_state": "stopped"}))
		after(10 * time.Second)
		if w.backend("a").Drained {
			t.Fatal("drained while n3 has not applied the stop")
		}
		w.mu.Lock()
		w.live = []string{"n1", "n2"}
		w.mu.Unlock()
		w.nodes[0].NodeGone("n3")
		after(500 * time.Millisecond)
		if !w.backend("a").Drained {
			t.Error("a node that is gone keeps the drain open")
		}
	})
}

func TestCluster_noLeaderThenRetry(t *testing.T) {
	bubble(t, 3, func(t *testing.T, w *world) {
		defer w.lead(w.nodes[0])()
		w.ops(backendOp(t, "a"))
		after(2 * time.Second)
		w.mu.Lock()
		w.deny = state.ErrNoLeader
		w.mu.Unlock()
		w.set(refused)
		after(time.Minute)
		if got := w.verdict("a"); got != state.VerdictUp {
			t.Fatalf("verdict is %s without a commit", got)
		}
		w.mu.Lock()
		w.deny = nil
		w.mu.Unlock()
		after(6 * time.Second)
		if got := w.verdict("a"); got != state.VerdictDown {
			t.Errorf("verdict is %s after the store works again, want down", got)
		}
	})
}

func TestLead_endsWithContextAndClose(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		w.lead(w.nodes[0])() // returns when Lead has
		done := make(chan error)
		go func() { done <- w.nodes[0].Lead(t.Context()) }()
		after(time.Second)
		if err := w.nodes[0].Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; !errors.Is(err, ErrClosed) {
			t.Errorf("Lead after Close = %v, want ErrClosed", err)
		}
		w.nodes[0].Start() // does nothing
		w.nodes[0].update(state.NewView())
	})
}

// TestCluster_flappingBackendsCostFewEntries is the promise that verdicts never flood the log.
func TestCluster_flappingBackendsCostFewEntries(t *testing.T) {
	const backends, minutes = 1000, 2
	bubble(t, 3, func(t *testing.T, w *world) {
		defer w.lead(w.nodes[0])()
		var ops []state.Op
		for i := range backends {
			ops = append(ops, backendOp(t, fmt.Sprintf("b%d", i)))
		}
		w.ops(ops...)
		after(5 * time.Second)
		before, _ := w.counted()
		begin := time.Now()
		w.set(func(_, b string) outcome { // six seconds up, six down, each at its own time
			f := fnv.New32a()
			_, _ = f.Write([]byte(b))
			phase := time.Duration(f.Sum32()%12000) * time.Millisecond
			return outcome{ok: (time.Since(begin)+phase)%(12*time.Second) < 6*time.Second, reason: "connection refused"}
		})
		after(minutes * time.Minute)
		commands, changes := w.counted()
		commands -= before
		t.Logf("%d backends flapping for %d minutes: %d entries, %d changes", backends, minutes, commands, changes)
		if most := minutes*60*2 + 10; commands > most {
			t.Errorf("%d entries in %d minutes, want at most %d", commands, minutes, most)
		}
		// Once the worst is damped, few changes are left too.
		_, before = w.counted()
		after(time.Minute)
		if _, changes = w.counted(); changes-before > 2*backends {
			t.Errorf("%d changes of %d backends in the minute after, want fewer than two each", changes-before, backends)
		}
		// And traffic was never sent where a node's own probe failed: vetoes do not wait.
		w.set(refused)
		after(5 * time.Second)
		for _, n := range w.nodes {
			if got := locked(&n.mu, func() int { return len(n.vetoes) }); got != backends {
				t.Errorf("%s vetoes %d dead backends, want %d", n.id, got, backends)
			}
		}
	})
}
