package proxy_test

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/lbnode/lbnode/proxy"
	"github.com/lbnode/lbnode/proxy/internal/viewtest"
	"github.com/lbnode/lbnode/proxy/route"
	"github.com/lbnode/lbnode/proxy/upstream"
	"github.com/lbnode/lbnode/state"
	"github.com/lbnode/lbnode/stats"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newProxy(t testing.TB) *proxy.Proxy {
	t.Helper()
	reg, err := stats.New(stats.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	cfg := proxy.DefaultConfig()
	cfg.NodeID, cfg.Logger, cfg.Stats = "n1", slog.New(slog.DiscardHandler), reg
	p, err := proxy.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func update(t testing.TB, p *proxy.Proxy, v *state.View) {
	t.Helper()
	if err := p.Update(v); err != nil {
		t.Fatal(err)
	}
}

// TestUpdate_underTraffic stops, moves and deletes backends while requests run: no request fails, and none
// reaches a backend that was stopped and idle before it began.
func TestUpdate_underTraffic(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	var stopped [2]atomic.Bool
	var late atomic.Int32
	b := viewtest.New(t)
	for i := range stopped {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if stopped[i].Load() {
				late.Add(1)
			}
			io.Copy(w, r.Body)
		}))
		t.Cleanup(s.Close)
		b.Put(state.KindBackend, fmt.Sprintf(`{"id":"b%d","address":%q,"pool":"p"}`, i, s.URL))
	}
	b.Verdict(state.VerdictUp).Put(state.KindRoute, `{"id":"r","backend_pool":"p"}`)
	update(t, p, b.View())
	front := httptest.NewServer(p)
	t.Cleanup(front.Close)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var served atomic.Int64
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				resp, err := front.Client().Post(front.URL+"/x", "text/plain", strings.NewReader("data"))
				if err != nil {
					t.Error(err)
					return
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if resp.StatusCode != 200 || string(body) != "data" || err != nil {
					t.Errorf("answer = %d %q, %v", resp.StatusCode, body, err)
					return
				}
				served.Add(1)
			}
		})
	}
	wait := func(cond func() bool) {
		for !cond() && !t.Failed() {
			// Busy on purpose: the races are what this is about.
		}
	}
	for round := range 30 {
		i := round % 2
		id := fmt.Sprintf("b%d", i)
		n := served.Load()
		wait(func() bool { return served.Load() > n+5 })
		update(t, p, b.Admin(state.AdminStopped, id).View())
		wait(func() bool { return p.Set().InFlight(id) == 0 })
		stopped[i].Store(true)
		b.Put(state.KindRoute, fmt.Sprintf(`{"id":"r%d","backend_pool":"p","match":{"path":"/%d"}}`, round, round))
		update(t, p, b.View())
		n = served.Load()
		wait(func() bool { return served.Load() > n+5 })
		stopped[i].Store(false)
		update(t, p, b.Admin(state.AdminReady, id).View())
	}
	close(stop)
	wg.Wait()
	if n := late.Load(); n > 0 {
		t.Errorf("%d requests reached a stopped and idle backend", n)
	}
	front.Client().CloseIdleConnections()
}

func TestUpdate_recompilesOnlyForConfig(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	b := viewtest.New(t).Put(state.KindBackend, `{"id":"a","address":"10.0.0.1:80","pool":"p"}`).Put(state.KindRoute, `{"id":"r","backend_pool":"p"}`)
	old := b.View()
	update(t, p, old)
	table := p.Table()
	update(t, p, b.Verdict(state.VerdictUp).View())
	if p.Table() != table {
		t.Error("a verdict compiled a new table")
	}
	if !p.Set().Get("a").Available(upstream.New) {
		t.Error("a verdict did not reach the flags")
	}
	update(t, p, b.Put(state.KindRoute, `{"id":"s","backend_pool":"p","match":{"path":"/s"}}`).View())
	if p.Table() == table || p.Table().Len() != 2 {
		t.Error("a new route is not in the table")
	}
	newest := p.Table()
	update(t, p, old)
	if p.Table() != newest {
		t.Error("an older view was put in force")
	}
}

// TestExchange drives the decisions as an engine does.
func TestExchange(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	b := viewtest.New(t)
	for i := range 5 {
		b.Put(state.KindBackend, fmt.Sprintf(`{"id":"b%d","address":"10.0.0.1:8%d","pool":"p"}`, i, i))
	}
	update(t, p, b.Verdict(state.VerdictUp).Put(state.KindRoute, `{"id":"r","backend_pool":"p","retries":3}`).View())
	tests := []struct {
		kind       upstream.Kind
		replayable bool
		attempts   int
	}{
		{upstream.ConnectFailed, true, 4},
		{upstream.ConnectTimeout, true, 4},
		{upstream.ConnectFailed, false, 1},
		{upstream.Reset, true, 1},
		{upstream.FirstByteTimeout, true, 1},
		{upstream.BadResponse, true, 1},
		{upstream.ClientGone, true, 1},
	}
	for _, tt := range tests {
		var x proxy.Exchange
		if f := p.Route(&x, &route.Request{Method: "POST", Path: "/"}); f != nil {
			t.Fatalf("Route = %+v", f)
		}
		seen := map[string]bool{}
		for {
			a, f := x.Next(nil)
			if f != nil {
				t.Fatalf("Next = %+v", f)
			}
			seen[a.Upstream.ID()] = true
			a.End(upstream.Outcome{Kind: tt.kind})
			if !x.Retry(tt.kind, tt.replayable) {
				break
			}
		}
		x.Finish(stats.Outcome{Status: 502})
		if len(seen) != tt.attempts || x.Attempts() != tt.attempts {
			t.Errorf("%s, replayable %v: %d attempts on %v, want %d on as many backends", tt.kind, tt.replayable, x.Attempts(), seen, tt.attempts)
		}
	}
	if n := p.Stats().Route("r").Active(); n != 0 {
		t.Errorf("%d requests are still in flight", n)
	}
}

func TestExchange_allocs(t *testing.T) {
	p := newProxy(t)
	update(t, p, viewtest.New(t).Put(state.KindBackend, `{"id":"a","address":"10.0.0.1:80","pool":"p"}`).Verdict(state.VerdictUp).
		Put(state.KindRoute, `{"id":"r","backend_pool":"p","algorithm":"consistent_hash"}`).View())
	req := &route.Request{Method: "GET", Host: "h", Path: "/x", Client: netip.MustParseAddr("192.0.2.1")}
	x := new(proxy.Exchange)
	if n := testing.AllocsPerRun(1000, func() {
		*x = proxy.Exchange{}
		if p.Route(x, req) != nil {
			t.Fatal("refused")
		}
		a, f := x.Next(nil)
		if f != nil {
			t.Fatal("no backend")
		}
		a.End(upstream.Outcome{Status: 200})
		x.Finish(stats.Outcome{Status: 200})
	}); n > 0 {
		t.Errorf("the decisions of a request allocate %v times, want 0", n)
	}
}

func TestConfig_Validate(t *testing.T) {
	t.Parallel()
	reg, err := stats.New(stats.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*proxy.Config){
		"NodeID":         func(c *proxy.Config) { c.NodeID = "" },
		"Logger":         func(c *proxy.Config) { c.Logger = nil },
		"Stats":          func(c *proxy.Config) { c.Stats = nil },
		"BodyTimeout":    func(c *proxy.Config) { c.BodyTimeout = -1 },
		"TrustedProxies": func(c *proxy.Config) { c.TrustedProxies = []netip.Prefix{{}} },
		"IdleTimeout":    func(c *proxy.Config) { c.Upstream.IdleTimeout = 0 },
	} {
		c := proxy.DefaultConfig()
		c.NodeID, c.Logger, c.Stats = "n", slog.New(slog.DiscardHandler), reg
		change(&c)
		if _, err := proxy.New(c); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("New with a bad %s = %v", name, err)
		}
	}
}

// FuzzRequestHeader: whatever fields come, none that ends here goes on, and the forwarding fields are ours.
func FuzzRequestHeader(f *testing.F) {
	f.Add("Connection", "X-Forwarded-For, close", "X-Forwarded-For", "1.2.3.4")
	f.Add("Te", "trailers", "x_forwarded_for", "1.2.3.4")
	f.Add("Connection", "\t,,X-A ,", "X-A", "")
	f.Add("Content_length", "5", "TRANSFER_ENCODING", "chunked")
	c := proxy.Client{Peer: netip.MustParseAddr("192.0.2.1"), Addr: netip.MustParseAddr("192.0.2.1")}
	f.Fuzz(func(t *testing.T, n1, v1, n2, v2 string) {
		in := http.Header{}
		in.Add(n1, v1)
		in.Add(n2, v2)
		out := proxy.RequestHeader(in, "h", c)
		for name, values := range out {
			key := strings.ToLower(strings.ReplaceAll(name, "_", "-"))
			switch key {
			case "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "content-length", "host", "forwarded", "x-forwarded-port":
				t.Fatalf("%q: %q went on from %q", name, values, in)
			case "te":
				if len(values) != 1 || values[0] != "trailers" {
					t.Fatalf("TE: %q", values)
				}
			case "x-forwarded-for", "x-real-ip":
				if len(values) != 1 || values[0] != "192.0.2.1" {
					t.Fatalf("%s: %q from %q", name, values, in)
				}
			}
		}
		if out.Get("X-Forwarded-For") == "" || out.Get("X-Forwarded-Proto") != "http" || out.Get("X-Forwarded-Host") != "h" {
			t.Fatalf("forwarding fields are missing: %q", out)
		}
	})
}

func BenchmarkServeHTTP(b *testing.B) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") }))
	b.Cleanup(s.Close)
	p := newProxy(b)
	update(b, p, viewtest.New(b).Put(state.KindBackend, fmt.Sprintf(`{"id":"a","address":%q,"pool":"p"}`, s.URL)).Verdict(state.VerdictUp).
		Put(state.KindRoute, `{"id":"r","backend_pool":"p"}`).View())
	front := httptest.NewServer(p)
	b.Cleanup(front.Close)
	b.ReportAllocs()
	for b.Loop() {
		resp, err := front.Client().Get(front.URL)
		if err != nil {
			b.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
}
