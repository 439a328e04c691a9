package stats

import (
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// fakeClock is a clock that moves only when a test moves it.
type fakeClock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *fakeClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *fakeClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func newTest(t testing.TB, shards int) (*Registry, *fakeClock) {
	t.Helper()
	c := &fakeClock{t: time.Unix(1_700_000_000, 0)}
	r, err := New(Config{Now: c.now, Shards: shards})
	if err != nil {
		t.Fatal(err)
	}
	return r, c
}

func TestConfig_Validate(t *testing.T) {
	t.Parallel()
	if err := DefaultConfig().Validate(); err != nil {
		t.Errorf("DefaultConfig().Validate() = %v, want nil", err)
	}
	for _, c := range []Config{{}, {Now: time.Now}, {Now: time.Now, Shards: 3}, {Now: time.Now, Shards: 128}, {Shards: 1}} {
		if _, err := New(c); err == nil {
			t.Errorf("New(%+v) gave no error", c)
		}
	}
}

func TestHandle_counts(t *testing.T) {
	t.Parallel()
	for _, shards := range []int{1, 4} {
		r, _ := newTest(t, shards)
		h := r.Route("users")
		for i, o := range []Outcome{
			{Status: 200, Duration: 10 * time.Millisecond, BytesIn: 100, BytesOut: 1000},
			{Status: 204, Duration: 20 * time.Millisecond, BytesIn: 100, Shard: 1},
			{Status: 101, Duration: -1, Shard: 2},
			{Status: 304, Duration: 30 * time.Millisecond, Shard: 9},
			{Status: 404, Duration: 1 * time.Millisecond, Kind: NoRoute},
			{Status: 502, Duration: 40 * time.Millisecond, Kind: ConnectFailed},
			{Status: 0, Duration: 50 * time.Millisecond, Kind: ClientGone},
			{Status: 999, Duration: 50 * time.Millisecond},
			{Status: -1, Duration: 50 * time.Millisecond},
		} {
			h.Begin()
			if got := h.Active(); got != 1 {
				t.Errorf("outcome %d: Active = %d, want 1", i, got)
			}
			h.Record(o)
		}
		h.Count(Retry)
		h.Count(Retry)
		h.Count(Kind(200))
		h.ConnOpened()
		h.ConnOpened()
		h.ConnClosed()
		h.Begin()
		h.Begin()
		h.Abandon()
		got := h.Snapshot()
		if n := got.Latency.Count(); n != 8 {
			t.Errorf("latencies recorded = %d, want 8: the tunnel must stay out", n)
		}
		got.Latency = HistSnapshot{}
		want := Series{
			Classes: [6]uint64{3, 1, 2, 1, 1, 1}, BytesIn: 200, BytesOut: 1000, Active: 1, Conns: 1, ConnsOpened: 2,
			Errors:    map[string]uint64{"no_route": 1, "connect_failed": 1, "client_gone": 1, "retry": 2},
			RateMilli: 9000,
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%d shards: Snapshot (-want +got):\n%s", shards, d)
		}
		if got.Requests() != 9 {
			t.Errorf("Requests = %d, want 9", got.Requests())
		}
	}
}

func TestHandle_rate(t *testing.T) {
	t.Parallel()
	r, c := newTest(t, 2)
	h := r.Total()
	hit := func(n int) {
		for range n {
			h.Begin()
			h.Record(Outcome{Status: 200, Shard: 1 + n%2})
		}
	}
	want := func(step string, rps float64) {
		t.Helper()
		if got := h.Snapshot().RPS(); got != rps {
			t.Errorf("%s: RPS = %v, want %v", step, got, rps)
		}
	}
	want("nothing yet", 0)
	hit(30)
	want("first second", 30)
	c.advance(2 * time.Second)
	want("young process: over its age", 15)
	c.advance(500 * time.Millisecond)
	hit(20)
	want("2.5 s", 20)
	c.advance(7500 * time.Millisecond)
	want("10 s: both still inside", 5)
	c.advance(time.Second)
	want("the first second has left", 2)
	c.advance(500 * time.Millisecond)
	want("part of a second counts as such", float64(20*1000*2/21)/1000)
	c.advance(10 * time.Second)
	want("idle", 0)
	// A slot of the ring that is used again must not carry the old count along.
	for range 40 {
		c.advance(time.Second)
		hit(7)
	}
	c.advance(time.Second - 500*time.Millisecond)
	want("steady", 7)
	h.Begin()
	h.Record(Outcome{Status: 200, End: c.now().Add(-17 * time.Second)})
	want("a writer that is too late counts for no second", 7)
}

func TestHandle_rateIgnoresTheWallClock(t *testing.T) {
	t.Parallel()
	c := &fakeClock{t: time.Now()} // carries a monotonic reading
	r, err := New(Config{Now: c.now, Shards: 1})
	if err != nil {
		t.Fatal(err)
	}
	h := r.Total()
	h.Begin()
	h.Record(Outcome{Status: 200, End: c.now().Add(-time.Hour)}) // before the registry began
	if got := h.Snapshot().RPS(); got != 1 {
		t.Errorf("RPS = %v, want 1", got)
	}
}

func TestRegistry_handlesOutliveTheirConfiguration(t *testing.T) {
	t.Parallel()
	r, _ := newTest(t, 1)
	a := r.Backend("a")
	if r.Backend("a") != a || r.Route("a") == a {
		t.Error("want one handle for each scope and id")
	}
	r.Backend("busy").Begin()
	r.Backend("open").ConnOpened()
	r.Backend("idle")
	keep := func(k Key) bool { return k == (Key{Backend, "a"}) }
	if got := r.Prune(keep); got != 2 { // route "a" and backend "idle"
		t.Errorf("Prune = %d, want 2", got)
	}
	if r.Backend("a") != a {
		t.Error("Prune dropped a handle that keep wants")
	}
	var got []Key
	for k := range r.All() {
		got = append(got, k)
	}
	want := []Key{{Total, ""}, {Backend, "a"}, {Backend, "busy"}, {Backend, "open"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("All (-want +got):\n%s", d)
	}
	for range r.All() {
		break // an exporter may stop early
	}
}

func TestRegistry_AllIsOrdered(t *testing.T) {
	t.Parallel()
	r, _ := newTest(t, 1)
	for _, id := range []string{"b", "a", "c"} {
		r.Backend(id)
		r.Route(id)
	}
	var got []Key
	for k := range r.All() {
		got = append(got, k)
	}
	want := []Key{{Total, ""}, {Route, "a"}, {Route, "b"}, {Route, "c"}, {Backend, "a"}, {Backend, "b"}, {Backend, "c"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("All (-want +got):\n%s", d)
	}
}

func TestRegistry_concurrentUse(t *testing.T) {
	t.Parallel()
	r, err := New(DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	const workers, each = 6, 2000
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			h := r.Route("x")
			for i := range each {
				for _, h := range []*Handle{r.Total(), h} {
					h.Begin()
					h.Record(Outcome{Status: 200, BytesIn: 3, Duration: time.Duration(i), Shard: w % 3})
				}
				if i%500 == 0 {
					r.Snapshot("n")
				}
			}
		})
	}
	wg.Wait()
	s := r.Snapshot("n")
	for name, got := range map[string]Series{"total": s.Total, "route": s.Routes["x"]} {
		if got.Requests() != workers*each || got.Active != 0 || got.BytesIn != 3*workers*each || got.Latency.Count() != workers*each {
			t.Errorf("%s: %d requests, %d active, %d bytes, %d latencies, want %d, 0, %d, %d", name,
				got.Requests(), got.Active, got.BytesIn, got.Latency.Count(), workers*each, 3*workers*each, workers*each)
		}
	}
}

var drawSeries = rapid.Custom(func(t *rapid.T) Series {
	n := rapid.Uint64Range(0, 1<<40)
	s := Series{
		BytesIn: n.Draw(t, "in"), BytesOut: n.Draw(t, "out"), ConnsOpened: n.Draw(t, "opened"), RateMilli: n.Draw(t, "rate"),
		Active: int64(n.Draw(t, "active")), Conns: int64(n.Draw(t, "conns")), Latency: drawHist.Draw(t, "latency"),
		Errors: rapid.MapOfN(rapid.SampledFrom([]string{"timeout", "retry", "from_a_newer_node"}), n, 0, 3).Draw(t, "errors"),
	}
	for i := range s.Classes {
		s.Classes[i] = n.Draw(t, "class")
	}
	return s
})

var drawSnapshot = rapid.Custom(func(t *rapid.T) Snapshot {
	ids := rapid.MapOfN(rapid.SampledFrom([]string{"a", "b", "c"}), drawSeries, 0, 3)
	return Snapshot{
		Nodes: []string{rapid.SampledFrom([]string{"n1", "n2", "n3"}).Draw(t, "node")},
		Total: drawSeries.Draw(t, "total"), Routes: ids.Draw(t, "routes"), Backends: ids.Draw(t, "backends"),
	}
})

func TestSnapshot_mergeLaws(t *testing.T) {
	t.Parallel()
	empty := cmpopts.EquateEmpty()
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := drawSnapshot.Draw(t, "a"), drawSnapshot.Draw(t, "b"), drawSnapshot.Draw(t, "c")
		if d := cmp.Diff(a.Merge(b), b.Merge(a), empty); d != "" {
			t.Fatalf("not commutative:\n%s", d)
		}
		if d := cmp.Diff(a.Merge(b).Merge(c), a.Merge(b.Merge(c)), empty); d != "" {
			t.Fatalf("not associative:\n%s", d)
		}
		if d := cmp.Diff(a.Merge(Snapshot{}), a, empty); d != "" {
			t.Fatalf("zero is not the identity:\n%s", d)
		}
	})
}

func TestSnapshot_mergeSharesNothing(t *testing.T) {
	t.Parallel()
	a := Snapshot{Nodes: []string{"n1"}, Routes: map[string]Series{"r": {Errors: map[string]uint64{"timeout": 1}, Latency: HistSnapshot{Sum: 1, Buckets: []Bucket{{1, 1}}}}}}
	m := a.Merge(Snapshot{})
	m.Nodes[0] = "other"
	m.Routes["r"].Errors["timeout"] = 99
	m.Routes["r"].Latency.Buckets[0].Count = 99
	if a.Nodes[0] != "n1" || a.Routes["r"].Errors["timeout"] != 1 || a.Routes["r"].Latency.Buckets[0].Count != 1 {
		t.Errorf("the merged copy wrote into its source: %+v", a)
	}
}

func TestSnapshot_JSON(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a := drawSnapshot.Draw(t, "a")
		text, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		var b Snapshot
		if err := json.Unmarshal(text, &b); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(a, b, cmpopts.EquateEmpty()); d != "" {
			t.Fatalf("round trip:\n%s", d)
		}
	})
}

// Two nodes of which one is slow: the percentile of the cluster lies where the merged histogram says,
// which no average of the two percentiles gives.
func TestSummary_percentilesComeFromMergedHistograms(t *testing.T) {
	t.Parallel()
	fast, _ := newTest(t, 1)
	slow, _ := newTest(t, 1)
	for range 99 {
		fast.Total().Begin()
		fast.Total().Record(Outcome{Status: 200, Duration: 10 * time.Millisecond})
	}
	for range 11 {
		slow.Total().Begin()
		slow.Total().Record(Outcome{Status: 503, Kind: NoBackend, Duration: time.Second})
	}
	got := fast.Snapshot("n1").Merge(slow.Snapshot("n2")).Total.Summary()
	for name, c := range map[string]struct{ got, want float64 }{
		"p50": {got.P50, 10}, "p90": {got.P90, 10}, "p95": {got.P95, 1000}, "p99": {got.P99, 1000}, "p99.9": {got.P999, 1000},
	} {
		if c.got < c.want*0.99 || c.got > c.want*1.01 {
			t.Errorf("%s = %v ms, want %v", name, c.got, c.want)
		}
	}
	if got.Requests != 110 || got.RPS != 110 || got.Responses["2xx"] != 99 || got.Responses["5xx"] != 11 || got.Errors["no_backend"] != 11 {
		t.Errorf("Summary = %+v", got)
	}
	if n, ok := got.Errors["timeout"]; n != 0 || !ok {
		t.Error("Summary leaves out a kind that has not happened")
	}
}

func TestKind_namesAreUnique(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{OK.String(): true, Kind(255).String(): true}
	for _, k := range Kinds() {
		if k.String() == "" || seen[k.String()] {
			t.Errorf("Kind(%d).String() = %q: empty or used twice", k, k)
		}
		seen[k.String()] = true
	}
}

func TestRecord_allocatesNothing(t *testing.T) {
	r, _ := newTest(t, 4)
	h := r.Route("x")
	o := Outcome{Status: 502, Kind: Timeout, Duration: time.Millisecond, BytesIn: 1, BytesOut: 1}
	if n := testing.AllocsPerRun(100, func() { h.Begin(); h.Count(Retry); h.Record(o) }); n != 0 {
		t.Errorf("Begin and Record allocate %v times, want 0", n)
	}
}

func BenchmarkHandle_BeginRecord(b *testing.B) {
	r, err := New(DefaultConfig())
	if err != nil {
		b.Fatal(err)
	}
	h := r.Route("x")
	end := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		h.Begin()
		h.Record(Outcome{Status: 200, Duration: time.Millisecond, BytesIn: 260, BytesOut: 400, End: end, Shard: 1})
	}
}

func BenchmarkHandle_BeginRecord_readsClock(b *testing.B) {
	r, err := New(DefaultConfig())
	if err != nil {
		b.Fatal(err)
	}
	h := r.Route("x")
	b.ReportAllocs()
	for b.Loop() {
		h.Begin()
		h.Record(Outcome{Status: 200, Duration: time.Millisecond, BytesIn: 260, BytesOut: 400})
	}
}

// All cores on one handle: what sharding is for.
func BenchmarkHandle_BeginRecord_parallel(b *testing.B) {
	for name, shards := range map[string]int{"shards=1": 1, "shards=8": 8} {
		b.Run(name, func(b *testing.B) {
			r, err := New(Config{Now: time.Now, Shards: shards})
			if err != nil {
				b.Fatal(err)
			}
			h := r.Total()
			end := time.Now()
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					h.Begin()
					h.Record(Outcome{Status: 200, Duration: time.Millisecond, BytesIn: 260, BytesOut: 400, End: end})
				}
			})
		})
	}
}

func BenchmarkRegistry_Snapshot(b *testing.B) {
	r, err := New(DefaultConfig())
	if err != nil {
		b.Fatal(err)
	}
	for i := range 100 {
		h := r.Route(string(rune('a' + i)))
		for j := range 1000 {
			h.Begin()
			h.Record(Outcome{Status: 200, Duration: time.Duration(j) * 7 * time.Microsecond})
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		r.Snapshot("n")
	}
}
