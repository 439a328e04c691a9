package upstream

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lbnode/lbnode/proxy/internal/viewtest"
	"github.com/lbnode/lbnode/state"
	"github.com/lbnode/lbnode/stats"
)

func TestShare(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		since time.Duration
		want  uint64
	}{{-1, 102}, {0, 102}, {5 * time.Second, 563}, {10*time.Second - 1, 1023}, {10 * time.Second, 1024}, {time.Hour, 1024}} {
		if got := share(tc.since, 10*time.Second); got != tc.want {
			t.Errorf("share(%s, 10s) = %d, want %d", tc.since, got, tc.want)
		}
	}
}

func TestEjections_next(t *testing.T) {
	t.Parallel()
	o := state.Outlier{ConsecutiveErrors: 5, BaseEjection: state.Duration(10 * time.Second), MaxEjection: state.Duration(25 * time.Second), MaxPercent: 30}
	const s = time.Second
	for _, tc := range []struct {
		name      string
		e         ejections
		now       time.Duration
		out, size int
		want      time.Duration
		count     int
	}{
		{"first", ejections{}, 100 * s, 0, 10, 10 * s, 1},
		{"second, at once", ejections{1, 110 * s}, 110 * s, 0, 10, 20 * s, 2},
		{"third is capped", ejections{2, 130 * s}, 131 * s, 0, 10, 25 * s, 3},
		{"decays one for each base", ejections{3, 155 * s}, 176 * s, 0, 10, 20 * s, 2},
		{"decays to none", ejections{3, 155 * s}, 1000 * s, 0, 10, 10 * s, 1},
		{"as many as allowed", ejections{}, 100 * s, 2, 10, 10 * s, 1},
		{"one more than allowed", ejections{1, 9 * s}, 100 * s, 3, 10, 0, 1},
		{"one of a few always may", ejections{}, 100 * s, 0, 2, 10 * s, 1},
		{"but no second one", ejections{}, 100 * s, 1, 3, 0, 0},
		{"never the last one", ejections{}, 100 * s, 0, 1, 0, 0},
	} {
		got, d := tc.e.next(o, tc.now, tc.out, tc.size)
		if d != tc.want || got.count != tc.count || d > 0 && got.until != tc.now+d {
			t.Errorf("%s: next() = %+v, %s, want %s and count %d", tc.name, got, d, tc.want, tc.count)
		}
	}
}

func TestAllows(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		r                 state.Retry
		requests, retries uint64
		want              bool
	}{
		{state.Retry{}, 0, 99, true}, // 10 a second
		{state.Retry{}, 0, 100, false},
		{state.Retry{}, 10_000, 1999, true}, // 20 %
		{state.Retry{}, 10_000, 2000, false},
		{state.Retry{BudgetPercent: 1, BudgetMin: 1}, 1000, 9, true},
		{state.Retry{BudgetPercent: 1, BudgetMin: 1}, 1000, 10, false},
	} {
		if got := allows(tc.r, tc.requests, tc.retries); got != tc.want {
			t.Errorf("allows(%+v, %d, %d) = %t, want %t", tc.r, tc.requests, tc.retries, got, tc.want)
		}
	}
}

func TestPool_budget(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSet(t, nil)
		s.Update(viewtest.New(t).Put(state.KindPool, `{"id":"p","retry":{"budget_min":1,"budget_percent":50}}`).View())
		p := s.Pool("p")
		spend := func() (n int) {
			for p.Spend() {
				n++
			}
			return n
		}
		if n := spend(); n != 10 {
			t.Errorf("an idle pool allows %d retries, want 10", n)
		}
		for range 100 {
			p.Count()
		}
		if n := spend(); n != 40 {
			t.Errorf("100 requests allow %d more, want 40", n)
		}
		time.Sleep(11 * time.Second) // of the bubble's time
		if n := spend(); n != 10 {
			t.Errorf("after the window %d are allowed, want 10", n)
		}
	})
}

func TestExpect(t *testing.T) {
	t.Parallel()
	a, b := &load{value: 1000, expected: 99}, &load{value: 1500, expected: 99}
	if expect(a, 0) >= expect(b, 0) {
		t.Error("the lower figure does not come first")
	}
	if expect(a, 60) <= expect(b, 0) {
		t.Error("60 picks of the usual 100 do not make up for half the load")
	}
	if got, want := expect(a, 100), 2*expect(a, 0); got != want {
		t.Errorf("after the usual number of picks the load counts %d, want %d", got, want)
	}
	if expect(&load{value: maxLoad}, 1<<40) > 1<<40 {
		t.Error("a load is not bounded")
	}
}

func TestSet_SetLoad(t *testing.T) {
	t.Parallel()
	s := newSet(t, nil)
	b := viewtest.New(t).Put(state.KindBackend, `{"id":"a","address":"h:1","load_factor":2}`)
	s.Update(b.View())
	s.SetLoad("nobody", 1)
	u := s.Get("a")
	if got := u.LoadNow(); got != 0 {
		t.Errorf("LoadNow without report or requests = %d, want 0", got)
	}
	s.SetLoad("a", 3)
	if got := u.LoadNow(); got != 6*loadUnit+1 {
		t.Errorf("LoadNow = %d, want the report times load_factor", got)
	}
	s.SetLoad("a", -1)
	if got := u.LoadNow(); got != 0 {
		t.Errorf("LoadNow after the report was taken back = %d, want 0", got)
	}
	s.SetLoad("a", 3)
	s.Update(b.Put(state.KindBackend, `{"id":"a","address":"h:2"}`).View())
	if got := u.LoadNow(); got != 0 {
		t.Errorf("LoadNow of another server = %d, want 0", got)
	}
}

const outlierPool = `{"id":"p","health":{"type":"none"},"slow_start":"10s","outlier":{"consecutive_errors":3,"base_ejection":"30s","max_percent":50}}`

func TestOutlier(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSet(t, nil)
		b := viewtest.New(t).Put(state.KindPool, outlierPool).
			Put(state.KindBackend, `{"id":"a","address":"h:1","pool":"p"}`, `{"id":"b","address":"h:2","pool":"p"}`, `{"id":"c","address":"h:3","pool":"p"}`)
		s.Update(b.View())
		u := s.Get("a")
		end := func(o Outcome, times int) {
			t.Helper()
			for range times {
				a, ok := u.Begin(New)
				if !ok {
					t.Fatal("Begin = false")
				}
				a.End(o)
			}
		}
		bad := Outcome{Kind: Reset, Err: errors.New("x")}
		end(bad, 2)
		end(Outcome{Status: 200}, 1)
		end(bad, 2)
		end(Outcome{Kind: ClientGone}, 1) // says nothing
		end(Outcome{Status: 500}, 1)      // an answer of the application itself
		end(Outcome{Status: 502}, 1)
		end(Outcome{Status: 503}, 1)
		if !u.Available(New) {
			t.Fatal("ejected too early")
		}
		end(Outcome{Status: 504}, 1)
		rt, _ := s.Runtime("a")
		if u.Available(New) || u.Available(Sticky) || !u.Available(Panic) || !u.Failing() || !rt.Ejected || rt.Routable || rt.Ejections != 1 {
			t.Errorf("after 3 failures in a row: %+v", rt)
		}
		if d := time.Until(rt.EjectedUntil); d != 30*time.Second {
			t.Errorf("ejected for %s, want 30s", d)
		}
		if got := s.Pools(); len(got) != 1 || got[0].Ejected != 1 {
			t.Errorf("Pools() = %+v", got)
		}
		if n := u.Stats().Snapshot().Errors[stats.Ejected.String()]; n != 1 {
			t.Errorf("%d ejections are counted, want 1", n)
		}
		time.Sleep(30 * time.Second) // of the bubble's time
		synctest.Wait()
		if rt, _ = s.Runtime("a"); rt.Ejected || !rt.Routable || rt.Share > 0.11 {
			t.Errorf("after the ejection: %+v, want routable and in slow start", rt)
		}
		time.Sleep(10 * time.Second)
		if u.Share() != FullShare {
			t.Errorf("Share = %d after the slow start", u.Share())
		}
		end(bad, 3)
		if rt, _ = s.Runtime("a"); time.Until(rt.EjectedUntil) != time.Minute {
			t.Errorf("the second ejection lasts %s, want 1m", time.Until(rt.EjectedUntil))
		}
		// Another server at the same id starts afresh, and so does everybody when it is switched off.
		s.Update(b.Put(state.KindBackend, `{"id":"a","address":"h:9","pool":"p"}`).View())
		if !u.Available(New) || s.Pools()[0].Ejected != 0 {
			t.Error("another address is still ejected")
		}
		end(bad, 3)
		s.Update(b.Put(state.KindPool, `{"id":"p","health":{"type":"none"}}`).View())
		if !u.Available(New) || s.Pools()[0].Ejected != 0 {
			t.Error("still ejected after it was switched off")
		}
		end(bad, 10)
		if !u.Available(New) {
			t.Error("ejected although it is switched off")
		}
	})
}

func TestSlowStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSet(t, nil)
		b := viewtest.New(t).Put(state.KindPool, `{"id":"p","slow_start":"10s"}`).
			Put(state.KindBackend, `{"id":"a","address":"h:1","pool":"p"}`, `{"id":"b","address":"h:2","pool":"p"}`).Verdict(state.VerdictUp)
		s.Update(b.View())
		slow := func(id string, want bool) {
			t.Helper()
			if got := s.Get(id).Share() < FullShare; got != want {
				t.Errorf("%s in slow start = %t, want %t", id, got, want)
			}
		}
		slow("a", false) // the node is new, not the backends
		s.Update(b.Verdict(state.VerdictDown, "a").View())
		s.Update(b.Verdict(state.VerdictUp, "a").View())
		slow("a", true)
		slow("b", false)
		time.Sleep(10 * time.Second) // of the bubble's time
		slow("a", false)
		s.Update(b.Admin(state.AdminStopped, "a").View())
		s.Update(b.Admin(state.AdminReady, "a").View())
		slow("a", true)
		s.SetLocal("b", true, "x")
		s.SetLocal("b", false, "")
		slow("b", true)
		time.Sleep(10 * time.Second)
		s.Update(b.Put(state.KindBackend, `{"id":"c","address":"h:3","pool":"p"}`).View())
		slow("c", false) // not usable yet
		s.Update(b.Verdict(state.VerdictUp, "c").View())
		slow("c", true)
		s.Update(b.Put(state.KindBackend, `{"id":"b","address":"h:2","pool":"p","weight":7}`).View())
		slow("b", false) // was usable all the time
	})
}

// everywhere is a group of all backends.
type everywhere struct{}

func (everywhere) Has(*Upstream) bool { return true }

func TestLimit_queue(t *testing.T) {
	t.Parallel()
	s := newSet(t, nil)
	b := viewtest.New(t).Put(state.KindPool, `{"id":"p","health":{"type":"none"},"max_connections":2,"queue":{"size":3}}`).
		Put(state.KindBackend, `{"id":"a","address":"h:1","pool":"p"}`, `{"id":"b","address":"h:2","pool":"p","max_connections":1}`)
	s.Update(b.View())
	a, u, p := s.Get("a"), s.Get("b"), s.Pool("p")
	first, ok1 := a.Begin(New)
	second, ok2 := a.Begin(New)
	if _, ok := a.Begin(New); ok || !ok1 || !ok2 || a.Available(New) || !a.Allowed(New) || !a.Full() {
		t.Fatalf("a backend of 2 took %t %t %t", ok1, ok2, ok)
	}
	third, ok := u.Begin(New)
	if !ok || !u.Full() {
		t.Fatal("the backend's own bound is not in force")
	}
	var got []string
	var attempts []Attempt
	ticket := func(name string, only *Upstream) *Ticket {
		return &Ticket{Only: only, In: everywhere{}, Ready: func(_ *Ticket, a Attempt) {
			got, attempts = append(got, name+":"+a.Upstream.ID()), append(attempts, a)
		}}
	}
	onlyA, any1, gone := ticket("only a", a), ticket("any", nil), ticket("gone", nil)
	for _, x := range []*Ticket{onlyA, gone, any1} {
		if !p.Wait(x) {
			t.Fatal("Wait = false in a queue of 3")
		}
	}
	if p.Wait(ticket("late", nil)) {
		t.Error("a fourth request found a place")
	}
	if !p.Leave(gone) || p.Leave(gone) {
		t.Error("Leave does not say whether the request was waiting")
	}
	third.End(Outcome{Status: 200})
	first.End(Outcome{Status: 200})
	if want := []string{"any:b", "only a:a"}; !slices.Equal(got, want) {
		t.Errorf("served %q, want %q", got, want)
	}
	if p.Leave(any1) {
		t.Error("Leave says that a request that was served is waiting")
	}
	// A higher bound lets in who waits.
	if more := ticket("more", nil); !p.Wait(more) {
		t.Error("Wait = false")
	}
	s.Update(b.Put(state.KindPool, `{"id":"p","health":{"type":"none"},"max_connections":3,"queue":{"size":3}}`).View())
	if len(got) != 3 || got[2] != "more:a" {
		t.Errorf("after the bound was raised: %q", got)
	}
	for _, x := range append(attempts, second) {
		x.End(Outcome{Status: 200})
	}
	if a.InFlight() != 0 || u.InFlight() != 0 || s.Pools()[0].Waiting != 0 {
		t.Errorf("in the end %d and %d are in flight, %+v", a.InFlight(), u.InFlight(), s.Pools())
	}
}

// A request that comes at the instant in which another one ends does not overtake one that waits.
func TestLimit_queueIsFair(t *testing.T) {
	t.Parallel()
	s := newSet(t, nil)
	s.Update(viewtest.New(t).Put(state.KindPool, `{"id":"p","health":{"type":"none"},"max_connections":1,"queue":{"size":3}}`).
		Put(state.KindBackend, `{"id":"a","address":"h:1","pool":"p"}`).View())
	u, p := s.Get("a"), s.Pool("p")
	overtaken := 0
	for range 5000 {
		running, ok := u.Begin(New)
		if !ok {
			t.Fatal("no room in the beginning")
		}
		var served atomic.Bool
		var next Attempt
		if !p.Wait(&Ticket{In: everywhere{}, Ready: func(_ *Ticket, a Attempt) { next = a; served.Store(true) }}) {
			t.Fatal("Wait = false")
		}
		var wg sync.WaitGroup
		spinning := make(chan struct{})
		wg.Go(func() { // comes again and again
			close(spinning)
			for !served.Load() {
				if a, ok := u.Begin(New); ok {
					overtaken++
					a.End(Outcome{Status: 200})
					return
				}
			}
		})
		<-spinning
		running.End(Outcome{Status: 200})
		wg.Wait()
		if !served.Load() {
			t.Fatal("the one that waits was not served")
		}
		next.End(Outcome{Status: 200})
	}
	if overtaken > 0 {
		t.Errorf("%d of 5000 that waited were overtaken", overtaken)
	}
	if n := u.InFlight(); n != 0 {
		t.Errorf("%d are in flight in the end", n)
	}
}

func TestLimit_fullIsNotFailing(t *testing.T) {
	t.Parallel()
	s := newSet(t, nil)
	s.Update(viewtest.New(t).Put(state.KindBackend, `{"id":"a","address":"h:1","max_connections":1}`).Verdict(state.VerdictUp).View())
	u := s.Get("a")
	x, _ := u.Begin(New)
	if u.Failing() || u.Available(Panic) {
		t.Error("a full backend is taken for a failing one, or panic ignores its bound")
	}
	x.Abandon()
	if !u.Available(New) {
		t.Error("an abandoned attempt still takes room")
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	tokens := func(id string, keys ...string) []string {
		s := newSet(t, nil)
		s.SetStickyKeys(keysOf(keys...))
		s.Update(viewtest.New(t).Put(state.KindBackend, fmt.Sprintf(`{"id":%q,"address":"h:1"}`, id)).View())
		return s.Get(id).Tokens()
	}
	a := tokens("a", "k1", "k2")
	if len(a) != 2 || a[0] == a[1] || len(a[0]) != 22 {
		t.Fatalf("Tokens() = %q", a)
	}
	if again := tokens("a", "k2", "k3"); again[0] != a[1] || again[1] == a[0] {
		t.Errorf("another node with the same key says %q, want %q", again, a)
	}
	if b := tokens("b", "k1"); b[0] == a[0] {
		t.Error("two backends have one token")
	}
}

func keysOf(texts ...string) (keys [][]byte) {
	for _, k := range texts {
		keys = append(keys, []byte(k))
	}
	return keys
}

// Other keys are in force at once, whether the tokens were asked for before or not.
func TestTokens_followTheKeys(t *testing.T) {
	t.Parallel()
	s := newSet(t, nil)
	s.SetStickyKeys(keysOf("k1"))
	s.Update(viewtest.New(t).Put(state.KindBackend, `{"id":"a","address":"h:1"}`).View())
	u, gen := s.Get("a"), s.StickyGen()
	first := u.Tokens()
	s.SetStickyKeys(keysOf("k2", "k1"))
	if both := u.Tokens(); len(both) != 2 || both[1] != first[0] || both[0] == first[0] || s.StickyGen() == gen {
		t.Errorf("Tokens() went from %q to %q", first, both)
	}
	s.SetStickyKeys(nil)
	if none := u.Tokens(); len(none) != 1 || none[0] == first[0] {
		t.Errorf("without a key Tokens() = %q", none)
	}
}

func TestAppendProxyHeader(t *testing.T) {
	t.Parallel()
	ap := netip.MustParseAddrPort
	sig := "\r\n\r\n\x00\r\nQUIT\n"
	for _, tc := range []struct {
		v        state.ProxyProtocol
		src, dst netip.AddrPort
		want     string
	}{
		{state.ProxyProtocolV1, ap("192.0.2.1:5000"), ap("192.0.2.9:80"), "PROXY TCP4 192.0.2.1 192.0.2.9 5000 80\r\n"},
		{state.ProxyProtocolV1, ap("[2001:db8::1]:65535"), ap("[2001:db8::2]:0"), "PROXY TCP6 2001:db8::1 2001:db8::2 65535 0\r\n"},
		{state.ProxyProtocolV1, ap("[::ffff:192.0.2.1]:1"), ap("192.0.2.9:80"), "PROXY TCP4 192.0.2.1 192.0.2.9 1 80\r\n"},
		{state.ProxyProtocolV1, netip.AddrPort{}, ap("192.0.2.9:80"), "PROXY UNKNOWN\r\n"},
		{state.ProxyProtocolV2, ap("192.0.2.1:5000"), ap("192.0.2.9:80"), sig + "\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x09\x13\x88\x00\x50"},
		{state.ProxyProtocolV2, ap("[2001:db8::1]:1"), ap("192.0.2.9:80"), sig + "\x21\x21\x00\x24\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xc0\x00\x02\x09\x00\x01\x00\x50"},
		{state.ProxyProtocolV2, ap("192.0.2.1:1"), netip.AddrPort{}, sig + "\x20\x00\x00\x00"},
	} {
		if got := string(AppendProxyHeader(nil, tc.v, tc.src, tc.dst)); got != tc.want {
			t.Errorf("AppendProxyHeader(%s, %s, %s) = %q, want %q", tc.v, tc.src, tc.dst, got, tc.want)
		}
	}
}
