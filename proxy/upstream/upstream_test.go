package upstream

import (
	"errors"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lbnode/lbnode/proxy/internal/viewtest"
	"github.com/lbnode/lbnode/state"
	"github.com/lbnode/lbnode/stats"
)

func newSet(t testing.TB, observe func(string, Outcome)) *Set {
	t.Helper()
	reg, err := stats.New(stats.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.Logger, cfg.Stats, cfg.Observe = slog.New(slog.DiscardHandler), reg, observe
	s, err := NewSet(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestFlags(t *testing.T) {
	t.Parallel()
	type want struct{ fresh, sticky, panics, failing bool }
	const stopReleased = state.AdminStopped + " and released"
	tests := []struct {
		name    string
		admin   state.AdminState
		verdict state.Verdict
		weight  int
		initial state.Initial
		check   state.CheckType
		veto    bool
		want    want
	}{
		{"ready up", state.AdminReady, state.VerdictUp, 1, state.InitialDown, state.CheckHTTP, false, want{true, true, true, false}},
		{"ready up vetoed", state.AdminReady, state.VerdictUp, 1, state.InitialDown, state.CheckHTTP, true, want{false, false, true, true}},
		{"ready down", state.AdminReady, state.VerdictDown, 1, state.InitialUp, state.CheckHTTP, false, want{false, false, true, true}},
		{"ready unknown, initial down", state.AdminReady, state.VerdictUnknown, 1, state.InitialDown, state.CheckHTTP, false, want{false, false, true, false}},
		{"ready unknown, initial up", state.AdminReady, state.VerdictUnknown, 1, state.InitialUp, state.CheckHTTP, false, want{true, true, true, false}},
		{"ready unknown, no checks", state.AdminReady, state.VerdictUnknown, 1, state.InitialDown, state.CheckNone, false, want{true, true, true, false}},
		{"weight 0", state.AdminReady, state.VerdictUp, 0, state.InitialDown, state.CheckHTTP, false, want{false, true, false, false}},
		{"weight 0 down", state.AdminReady, state.VerdictDown, 0, state.InitialDown, state.CheckHTTP, false, want{}},
		{"init up", state.AdminInit, state.VerdictUp, 1, state.InitialUp, state.CheckHTTP, false, want{}},
		{"stopped up", state.AdminStopped, state.VerdictUp, 1, state.InitialDown, state.CheckHTTP, false, want{false, true, false, false}},
		{"stopped up, sessions released", stopReleased, state.VerdictUp, 1, state.InitialDown, state.CheckHTTP, false, want{}},
		{"stopped down", state.AdminStopped, state.VerdictDown, 1, state.InitialDown, state.CheckHTTP, false, want{}},
		{"decommissioned up", state.AdminDecommissioned, state.VerdictUp, 1, state.InitialDown, state.CheckHTTP, false, want{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			u := &Upstream{}
			spec := state.BackendSpec{AdminState: tt.admin, Weight: tt.weight}
			if tt.admin == stopReleased {
				spec.AdminState, spec.Drain.Sticky = state.AdminStopped, state.StickyRelease
			}
			u.flags.Store(flagsOf(
				&state.Backend{BackendSpec: spec, BackendStatus: state.BackendStatus{Verdict: tt.verdict}},
				&state.Pool{PoolSpec: state.PoolSpec{Initial: tt.initial, Health: state.HealthCheck{Type: tt.check}}}, tt.veto))
			if got := (want{u.Available(New), u.Available(Sticky), u.Available(Panic), u.Failing()}); got != tt.want {
				t.Errorf("new, sticky, panic, failing = %+v, want %+v", got, tt.want)
			}
		})
	}
}

// TestUpdate_noBeginAfterIdle is the invariant of the drain barrier: once Update has returned and in-flight
// reads 0, nothing starts.
func TestUpdate_noBeginAfterIdle(t *testing.T) {
	t.Parallel()
	for _, stop := range []func(*viewtest.Builder){
		func(b *viewtest.Builder) { b.Admin(state.AdminStopped, "a") },
		func(b *viewtest.Builder) { b.Put(state.KindBackend, `{"id":"a","address":"10.0.0.1:80","weight":0}`) },
		func(b *viewtest.Builder) { b.Delete(state.KindBackend, "a") },
		func(b *viewtest.Builder) { b.Verdict(state.VerdictDown, "a") },
	} {
		for range 50 {
			b := viewtest.New(t).Put(state.KindBackend, `{"id":"a","address":"10.0.0.1:80"}`).Verdict(state.VerdictUp)
			s := newSet(t, nil)
			s.Update(b.View())
			u := s.Get("a")
			var begun, idle atomic.Int64 // begun counts successful Begins; idle is set once drained
			var late atomic.Int64
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					for range 2000 {
						wasIdle := idle.Load() == 1
						a, ok := u.Begin(New)
						if !ok {
							continue
						}
						begun.Add(1)
						if wasIdle || idle.Load() == 1 {
							late.Add(1)
						}
						a.End(Outcome{Status: 200})
					}
				})
			}
			for begun.Load() == 0 {
				runtime.Gosched()
			}
			stop(b)
			s.Update(b.View())
			for s.InFlight("a") != 0 {
				runtime.Gosched()
			}
			idle.Store(1)
			wg.Wait()
			if late.Load() != 0 {
				t.Fatalf("%d requests ran after the backend was stopped and idle", late.Load())
			}
			if s.Applied() != b.View().Index {
				t.Fatalf("Applied() = %d, want %d", s.Applied(), b.View().Index)
			}
		}
	}
}

func TestSet_countersOutliveConfig(t *testing.T) {
	t.Parallel()
	b := viewtest.New(t).Put(state.KindBackend, `{"id":"a","address":"10.0.0.1:80"}`).Verdict(state.VerdictUp)
	s := newSet(t, nil)
	s.Update(b.View())
	u := s.Get("a")
	at, ok := u.Begin(New)
	if !ok {
		t.Fatal("Begin = false, want true")
	}
	if at.Endpoint.HostPort != "10.0.0.1:80" {
		t.Errorf("HostPort = %q", at.Endpoint.HostPort)
	}
	s.Update(b.Put(state.KindBackend, `{"id":"a","address":"https://10.0.0.2/base","pool":"other","weight":3}`).Verdict(state.VerdictUp).View())
	if s.Get("a") != u {
		t.Error("a change of configuration made a new runtime")
	}
	if ep := u.Endpoint(); ep.HostPort != "10.0.0.2:443" || ep.Base != "/base" || ep.Scheme != "https" {
		t.Errorf("Endpoint() = %+v", ep)
	}
	s.Update(b.Delete(state.KindBackend, "a").View())
	if n := s.InFlight("a"); n != 1 {
		t.Errorf("InFlight after removal = %d, want 1", n)
	}
	if _, ok := u.Begin(Panic); ok {
		t.Error("a removed backend took a request")
	}
	at.End(Outcome{Status: 200})
	if n := s.InFlight("a"); n != 0 {
		t.Errorf("InFlight = %d, want 0", n)
	}
	s.Update(b.Put(state.KindBackend, `{"id":"b","address":"10.0.0.1:80"}`).View())
	if s.Get("a") != nil {
		t.Error("an idle removed backend was kept")
	}
}

func TestSet_SetLocal(t *testing.T) {
	t.Parallel()
	b := viewtest.New(t).Put(state.KindBackend, `{"id":"a","address":"10.0.0.1:80"}`).Verdict(state.VerdictUp)
	s := newSet(t, nil)
	s.SetLocal("a", true, "connection refused") // before any view
	s.Update(b.View())
	r, ok := s.Runtime("a")
	if !ok || r.Routable || !r.Vetoed || r.VetoReason != "connection refused" || r.VetoSince.IsZero() {
		t.Errorf("Runtime = %+v, %v", r, ok)
	}
	s.SetLocal("a", true, "timeout")
	if again, _ := s.Runtime("a"); again.VetoSince != r.VetoSince || again.VetoReason != "timeout" {
		t.Errorf("Runtime after a second veto = %+v, want the first one's time", again)
	}
	s.SetLocal("a", false, "")
	if r, _ = s.Runtime("a"); !r.Routable || r.Vetoed {
		t.Errorf("Runtime without veto = %+v", r)
	}
	// A veto does not force an unhealthy backend up when it goes.
	s.Update(b.Verdict(state.VerdictDown).View())
	s.SetLocal("a", false, "")
	if s.Get("a").Available(New) {
		t.Error("a backend whose verdict is down is available")
	}
	if _, ok := s.Runtime("nobody"); ok {
		t.Error("Runtime of an unknown backend = true")
	}
}

func TestSet_oldViewIgnored(t *testing.T) {
	t.Parallel()
	b := viewtest.New(t).Put(state.KindBackend, `{"id":"a","address":"10.0.0.1:80"}`).Verdict(state.VerdictUp)
	old := b.View()
	s := newSet(t, nil)
	s.Update(b.Admin(state.AdminStopped, "a").View())
	s.Update(old)
	if s.Get("a").Available(New) {
		t.Error("an older view put a stopped backend back in use")
	}
}

func TestAttempt_observer(t *testing.T) {
	t.Parallel()
	var seen []string
	s := newSet(t, func(id string, o Outcome) { seen = append(seen, id+" "+o.Kind.String()) })
	s.Update(viewtest.New(t).Put(state.KindBackend, `{"id":"a","address":"10.0.0.1:80"}`).Verdict(state.VerdictUp).View())
	for _, o := range []Outcome{
		{Status: 200},
		{Kind: ConnectFailed, Err: errors.New("refused")},
		{Kind: ClientGone},
		{Status: 200},
		{Status: 200},
		{Status: 503},
		{Kind: TotalTimeout},
		{Status: 404},
	} {
		a, ok := s.Get("a").Begin(New)
		if !ok {
			t.Fatal("Begin = false")
		}
		a.End(o)
	}
	want := []string{"a connect_failed", "a ok", "a ok", "a ok"} // the third is the 503, the fourth the 404 that ends it
	if len(seen) != len(want) {
		t.Fatalf("observed %q, want %q", seen, want)
	}
	for i := range want {
		if seen[i] != want[i] {
			t.Errorf("observed %q, want %q", seen, want)
		}
	}
	if n := s.InFlight("a"); n != 0 {
		t.Errorf("InFlight = %d, want 0", n)
	}
}

func TestEWMA(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var e ewma
		start := time.Now()
		now := func() time.Duration { return time.Since(start) }
		if got := e.at(now()); got != 0 {
			t.Fatalf("no observation: %v, want 0", got)
		}
		e.record(now(), 10*time.Millisecond)
		e.record(now(), 500*time.Millisecond)
		if got := e.at(now()); got != 500*time.Millisecond {
			t.Errorf("after a peak: %v, want 500ms", got)
		}
		time.Sleep(time.Second)
		e.record(now(), 10*time.Millisecond)
		if got := e.at(now()); got < 400*time.Millisecond || got >= 500*time.Millisecond {
			t.Errorf("one good answer a second later: %v, want a slow fall", got)
		}
		time.Sleep(time.Minute)
		if got := e.at(now()); got > 100*time.Millisecond || got <= 0 {
			t.Errorf("a quiet minute later: %v, want a fraction", got)
		}
	})
}

func TestBegin_allocs(t *testing.T) {
	s := newSet(t, nil)
	s.Update(viewtest.New(t).Put(state.KindBackend, `{"id":"a","address":"10.0.0.1:80"}`).Verdict(state.VerdictUp).View())
	u := s.Get("a")
	if n := testing.AllocsPerRun(1000, func() {
		a, _ := u.Begin(New)
		a.End(Outcome{Status: 200, FirstByte: time.Millisecond})
	}); n > 0 {
		t.Errorf("Begin and End allocate %v times, want 0", n)
	}
}

func TestTried(t *testing.T) {
	t.Parallel()
	var none *Tried
	a, b := &Upstream{}, &Upstream{}
	if none.Has(a) || none.Len() != 0 {
		t.Error("a nil Tried has something")
	}
	var tr Tried
	tr.Add(a)
	if !tr.Has(a) || tr.Has(b) || tr.Len() != 1 {
		t.Errorf("Tried = %+v", tr)
	}
	for range 20 {
		tr.Add(b)
	}
	if tr.Len() != state.MaxRetries+1 {
		t.Errorf("Len = %d, want %d", tr.Len(), state.MaxRetries+1)
	}
}

func TestConfig_Validate(t *testing.T) {
	t.Parallel()
	if _, err := NewSet(DefaultConfig()); err == nil {
		t.Error("NewSet without a logger and a registry = nil error")
	}
}

func TestSet_sharesAndDropsTransports(t *testing.T) {
	t.Parallel()
	b := viewtest.New(t).Put(state.KindPool, `{"id":"p"}`, `{"id":"q"}`, `{"id":"r","protocol":"h2c"}`).
		Put(state.KindBackend, `{"id":"a","address":"10.0.0.1:80","pool":"p"}`, `{"id":"b","address":"10.0.0.2:80","pool":"q"}`, `{"id":"c","address":"10.0.0.3:80","pool":"r"}`)
	s := newSet(t, nil)
	s.Update(b.View())
	ta, tb, tc := s.Get("a").Endpoint().Transport, s.Get("b").Endpoint().Transport, s.Get("c").Endpoint().Transport
	if ta != tb || ta == tc {
		t.Error("transports are not shared by protocol and TLS settings")
	}
	s.Update(b.Put(state.KindPool, `{"id":"r","protocol":"auto"}`).View())
	if got := s.Get("c").Endpoint().Transport; got != ta {
		t.Error("a change of the pool's protocol did not move its backends")
	}
	if len(s.transports) != 1 {
		t.Errorf("%d transports left, want 1", len(s.transports))
	}
}
