package health

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/lbnode/lbnode/state"
	"pgregory.net/rapid"
)

// content is what a table knows, without when it came in.
func content(t *Table) map[string]any {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := map[string]any{}
	for _, id := range slices.Sorted(maps.Keys(t.nodes)) {
		if id == t.self {
			continue
		}
		r := t.nodes[id]
		obs := map[string]string{}
		for b, o := range r.obs {
			c := *o
			c.at = time.Time{}
			obs[b] = fmt.Sprint(c)
		}
		out[id] = map[string]any{"head": fmt.Sprint(r.head), "known": fmt.Sprint(r.known), "obs": obs}
	}
	return out
}

// drawn is a message as real nodes send them: any part of a node's history, old or new, whole or not.
func drawn(t *rapid.T) []byte {
	msg := []byte{messageFormat}
	for range rapid.IntRange(1, 3).Draw(t, "frames") {
		node := rapid.SampledFrom([]string{"n1", "n2"}).Draw(t, "node")
		inc := rapid.Uint64Range(1, 2).Draw(t, "inc")
		seq := rapid.Uint64Range(0, 12).Draw(t, "seq")
		from := rapid.Uint64Range(0, seq).Draw(t, "from")
		to := rapid.Uint64Range(from, seq).Draw(t, "to")
		var obs []*Observation
		for v := from + 1; v <= to; v++ {
			if !rapid.Bool().Draw(t, "current") {
				continue
			}
			obs = append(obs, &Observation{
				Backend: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "backend"), Gen: rapid.Uint64Range(1, 2).Draw(t, "gen"), Seq: v,
				Status: rapid.SampledFrom(statusCodes).Draw(t, "status"), Rev: uint32(rapid.IntRange(0, 2).Draw(t, "rev")),
				InFlight: rapid.Int64Range(0, 2).Draw(t, "in-flight"),
			})
		}
		k := rapid.SampledFrom([]kind{kindDelta, kindState}).Draw(t, "kind")
		for _, f := range cutFrames(k, node, head{inc: inc, beat: rapid.Uint64Range(1, 5).Draw(t, "beat"), seq: seq}, span{from, to}, obs, maxFrame) {
			msg = append(msg, f...)
		}
	}
	return msg
}

func merged(t *rapid.T, msgs ...[]byte) *Table {
	tab := newTable("self", 1)
	for _, m := range msgs {
		if err := tab.Merge(m); err != nil {
			t.Fatal(err)
		}
	}
	return tab
}

func stateOf(t *rapid.T, tab *Table) []byte {
	b, err := tab.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestTable_mergeLaws: the order, grouping and number of messages do not matter, however they come about.
func TestTable_mergeLaws(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		msgs := rapid.SliceOfN(rapid.Custom(drawn), 1, 6).Draw(t, "messages")
		want := content(merged(t, msgs...))

		shuffled := rapid.Permutation(msgs).Draw(t, "order")
		if d := cmp.Diff(want, content(merged(t, shuffled...))); d != "" {
			t.Fatalf("another order gives another table: %s", d)
		}
		if d := cmp.Diff(want, content(merged(t, append(slices.Clone(msgs), shuffled...)...))); d != "" {
			t.Fatalf("repeats change the table: %s", d)
		}
		cut := rapid.IntRange(0, len(msgs)).Draw(t, "cut")
		left, right := stateOf(t, merged(t, msgs[:cut]...)), stateOf(t, merged(t, msgs[cut:]...))
		if d := cmp.Diff(want, content(merged(t, left, right))); d != "" {
			t.Fatalf("exchanging states gives another table than the messages: %s", d)
		}
		if d := cmp.Diff(want, content(merged(t, right, left, right))); d != "" {
			t.Fatalf("the order of states matters: %s", d)
		}
	})
}

func TestSpans(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		in    []span
		want  spans
		whole uint64
	}{
		{nil, nil, 0},
		{[]span{{3, 3}}, nil, 0},
		{[]span{{0, 3}, {3, 5}}, spans{{0, 5}}, 5},
		{[]span{{3, 5}, {0, 3}}, spans{{0, 5}}, 5},
		{[]span{{4, 5}, {0, 3}}, spans{{0, 3}, {4, 5}}, 3},
		{[]span{{8, 9}, {4, 5}, {2, 10}}, spans{{2, 10}}, 0},
		{[]span{{2, 10}, {4, 5}}, spans{{2, 10}}, 0},
		{[]span{{1, 3}, {5, 7}, {9, 11}, {2, 10}}, spans{{1, 11}}, 0},
	} {
		var s spans
		for _, x := range tc.in {
			s, _ = s.add(x)
		}
		if d := cmp.Diff(tc.want, s, cmp.AllowUnexported(span{})); d != "" || s.whole() != tc.whole {
			t.Errorf("%v: %v, whole %d, want %v, whole %d", tc.in, s, s.whole(), tc.want, tc.whole)
		}
	}
	var s spans
	for i := range uint64(1000) {
		s, _ = s.add(span{2 * i, 2*i + 1})
	}
	if len(s) != maxSpans || s.whole() != 1 {
		t.Errorf("%d spans, whole %d, want %d and 1", len(s), s.whole(), maxSpans)
	}
}

// wire joins tables with a lossless bus that keeps what was sent.
func wire(from *Table, to ...*Table) *[][]byte {
	var sent [][]byte
	from.SetBroadcast(func(m []byte) {
		sent = append(sent, m)
		for _, x := range to {
			_ = x.Merge(m)
		}
	})
	return &sent
}

func say(t *Table, backend string, s Status) {
	t.update(backend, func(o *Observation) (weight, bool) {
		o.Gen, o.Status = 1, s
		return hard, true
	})
}

// counts says how many fresh observations of a node a table has.
func counts(t *Table, node string) int {
	for _, r := range t.reports(time.Now(), 5*time.Second) {
		if r.Node == node {
			return len(r.Observations)
		}
	}
	return 0
}

func TestTable_freshness(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := newTable("a", 1), newTable("b", 1)
		wire(a, b)
		say(a, "x", StatusUp)
		say(a, "y", StatusUp)
		a.publish(0)
		if got := counts(b, "a"); got != 2 {
			t.Fatalf("%d fresh observations after a delta, want 2", got)
		}
		for range 20 { // heartbeats carry no observations after a while, and are all it takes
			after(time.Second)
			a.heartbeat(0)
		}
		if got := counts(b, "a"); got != 2 {
			t.Errorf("%d fresh observations after 20 s of heartbeats, want 2", got)
		}
		after(6 * time.Second)
		if got := counts(b, "a"); got != 0 {
			t.Errorf("%d fresh observations after 6 s of silence, want none", got)
		}
		a.heartbeat(0)
		if got := counts(b, "a"); got != 2 {
			t.Errorf("%d fresh observations after one more heartbeat, want 2", got)
		}

		// A change is lost: heartbeats must not vouch for what it replaced.
		a.SetBroadcast(func([]byte) {})
		say(a, "x", StatusDown)
		a.publish(0)
		for range repeats + 1 {
			after(time.Second)
			a.heartbeat(0)
		}
		sent := wire(a, b)
		after(2 * time.Second)
		a.heartbeat(0)
		if got := counts(b, "a"); got != 0 {
			t.Errorf("%d fresh observations though one is outdated, want none", got)
		}
		if len(*sent) != 1 || len((*sent)[0]) > 64 {
			t.Errorf("a heartbeat is %d messages of %d bytes", len(*sent), len((*sent)[0]))
		}
		exchange(t, a, b)
		if got := counts(b, "a"); got != 2 || b.about("x", time.Now())[0].Status != StatusDown {
			t.Errorf("%d fresh observations after an exchange of states, want 2", got)
		}
	})
}

func TestTable_heartbeatsRepeatChanges(t *testing.T) {
	t.Parallel()
	a, b := newTable("a", 1), newTable("b", 1)
	wire(a, b)
	say(a, "x", StatusUp)
	a.heartbeat(0)
	a.SetBroadcast(func([]byte) {})
	say(a, "x", StatusDown)
	a.publish(0)
	wire(a, b)
	a.heartbeat(0)
	if got := b.about("x", time.Now()); len(got) != 1 || got[0].Status != StatusDown {
		t.Errorf("b knows %+v after a lost change and a heartbeat, want down", got)
	}
}

func TestTable_manyChangesGoOutAsOne(t *testing.T) {
	t.Parallel()
	a, b := newTable("a", 1), newTable("b", 1)
	sent := wire(a, b)
	for i := range 10_000 {
		say(a, fmt.Sprintf("backend-%05d", i), StatusUp)
	}
	a.publish(0)
	if got := counts(b, "a"); got != 10_000 {
		t.Errorf("%d observations came in, want all", got)
	}
	bytes := 0
	for _, m := range *sent {
		bytes += len(m)
		if len(m) > maxBulk {
			t.Errorf("a message of %d bytes", len(m))
		}
	}
	t.Logf("10,000 changes: %d messages, %d bytes", len(*sent), bytes)
	if len(*sent) > 5 || bytes > 10_000*60 {
		t.Errorf("10,000 changes went out in %d messages of %d bytes together", len(*sent), bytes)
	}
	*sent = nil
	a.heartbeat(0)
	if len(*sent) > smallBurst {
		t.Errorf("the heartbeat after it is %d messages", len(*sent))
	}
	for _, m := range *sent {
		if len(m) > maxDelta {
			t.Errorf("a heartbeat of %d bytes", len(m))
		}
	}
	whole, err := a.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("whole state of 10,000 observations: %d bytes", len(whole))
}

func TestTable_passesOnNewsOnce(t *testing.T) {
	t.Parallel()
	a, b := newTable("a", 1), newTable("b", 1)
	fromA := wire(a)
	fromB := wire(b)
	say(a, "x", StatusUp)
	a.publish(0)
	for range 3 {
		if err := b.Merge((*fromA)[0]); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff(*fromA, *fromB); d != "" {
		t.Errorf("b passed on something else than a's message, once: %s", d)
	}
	if err := a.Merge((*fromB)[0]); err != nil {
		t.Fatal(err)
	}
	if len(*fromA) != 1 {
		t.Error("a passed on its own message")
	}
}

func TestTable_nodeGone(t *testing.T) {
	t.Parallel()
	a, b, c := newTable("a", 1), newTable("b", 1), newTable("c", 1)
	wire(a, b, c)
	say(a, "x", StatusUp)
	a.heartbeat(0)
	b.drop("a")
	b.drop("b") // itself: refused
	exchange(t, b, c)
	if got := b.about("x", time.Now()); len(got) != 0 {
		t.Errorf("what a gone node had said came back: %+v", got)
	}
	a.heartbeat(0) // it was not dead after all
	exchange(t, a, b)
	if got := b.about("x", time.Now()); len(got) != 1 {
		t.Error("a node that came back is not heard")
	}
}

func TestTable_restartReplacesTheOldProcess(t *testing.T) {
	t.Parallel()
	b := newTable("b", 1)
	a := newTable("a", 100)
	wire(a, b)
	say(a, "x", StatusUp)
	say(a, "y", StatusUp)
	a.heartbeat(0)

	a = newTable("a", 200)
	wire(a, b)
	say(a, "x", StatusDown)
	a.publish(0)
	if got := b.about("x", time.Now()); len(got) != 1 || got[0].Status != StatusDown {
		t.Errorf("after a restart b knows %+v, want down", got)
	}
	if got := b.about("y", time.Now()); len(got) != 0 {
		t.Errorf("after a restart b still knows %+v of the old process", got)
	}

	// The clock went back before the next start: others know a later process.
	a = newTable("a", 50)
	again := false
	a.dirty = func() { again = true }
	say(a, "x", StatusUp)
	again = false
	exchange(t, a, b)
	if !again {
		t.Fatal("a does not notice that nobody listens")
	}
	wire(a, b)
	a.publish(0)
	if got := b.about("x", time.Now()); len(got) != 1 || got[0].Status != StatusUp {
		t.Errorf("b knows %+v, want the present process's up", got)
	}
	if counts(b, "a") != 1 {
		t.Error("the present process's observation does not count")
	}
}

func TestTable_knowsOnlyBackendsThatAreOrWillBe(t *testing.T) {
	t.Parallel()
	v := state.NewView()
	v, _ = state.Apply(v, 5, 1, state.Command{Type: state.TypeTxn, Ops: []state.Op{backendOp(t, "here")}})
	a, b := newTable("a", 1), newTable("b", 1)
	wire(a, b)
	for id, gen := range map[string]uint64{"here": 5, "past": 3, "future": 9} {
		a.update(id, func(o *Observation) (weight, bool) {
			o.Gen = gen
			return hard, true
		})
	}
	b.setView(v)
	a.publish(0)
	for id, want := range map[string]int{"here": 1, "past": 0, "future": 1} {
		if got := len(b.about(id, time.Now())); got != want {
			t.Errorf("%d observations of %s, want %d", got, id, want)
		}
	}
	if counts(b, "a") != 2 {
		t.Error("leaving out what is past cost the votes on what is here")
	}
	later := *v
	later.Index = 10
	b.setView(&later)
	if got := b.about("future", time.Now()); len(got) != 0 {
		t.Errorf("an observation of a backend that never came is still there: %+v", got)
	}
}

func TestTable_bounds(t *testing.T) {
	t.Parallel()
	tab := newTable("self", 1)
	for i := range maxNodes + 50 {
		f := cutFrames(kindDelta, fmt.Sprintf("n%d", i), head{inc: 1, beat: 1, seq: 1}, span{0, 1}, []*Observation{{Backend: "a", Seq: 1, Gen: 1}}, maxDelta)
		if err := tab.Merge(append([]byte{messageFormat}, f[0]...)); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(tab.about("a", time.Now())); got != maxNodes-1 {
		t.Errorf("%d nodes besides this one, want %d", got, maxNodes-1)
	}
	synctest.Test(t, func(t *testing.T) {
		tab := newTable("self", 1)
		f := cutFrames(kindDelta, "n1", head{inc: 1, beat: 1, seq: 1}, span{0, 1}, []*Observation{{Backend: "a", Seq: 1, Gen: 1}}, maxDelta)
		if err := tab.Merge(append([]byte{messageFormat}, f[0]...)); err != nil {
			t.Fatal(err)
		}
		after(time.Minute)
		tab.dropSilent(time.Now(), time.Hour)
		if got := len(tab.about("a", time.Now())); got != 1 {
			t.Error("a node was forgotten too early")
		}
		after(time.Hour)
		tab.dropSilent(time.Now(), time.Hour)
		if got := len(tab.about("a", time.Now())); got != 0 {
			t.Error("a node that was silent for an hour is still there")
		}
	})
}

func BenchmarkTable_marshal10k(b *testing.B) {
	tab := newTable("n", 1)
	for i := range 10_000 {
		say(tab, fmt.Sprintf("backend-%05d", i), StatusUp)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := tab.MarshalBinary(); err != nil {
			b.Fatal(err)
		}
	}
}
