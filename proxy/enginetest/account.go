package enginetest

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/lbnode/lbnode/proxy"
	"github.com/lbnode/lbnode/state"
	"github.com/lbnode/lbnode/stats"
)

// entries is an access log that wants everything.
type entries chan proxy.Entry

func (entries) Wants(int) bool      { return true }
func (l entries) Log(e proxy.Entry) { l <- e }

// next is the next entry, without what differs from run to run.
func (l entries) next(t *testing.T) proxy.Entry {
	t.Helper()
	select {
	case e := <-l:
		if e.Start.IsZero() || e.Duration < 0 {
			t.Errorf("entry = %+v, want a start and a duration", e)
		}
		if (e.Attempts > 0) != (e.Upstream > 0) {
			t.Errorf("entry = %+v: time is spent on backends exactly if there are attempts", e)
		}
		e.Start, e.Duration, e.Upstream, e.FirstByte = time.Time{}, 0, 0, 0
		return e
	case <-time.After(patience):
		t.Fatal("no entry came")
		return proxy.Entry{}
	}
}

const (
	traced   = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	traceOf  = "4bf92f3577b34da6a3ce929d0e0e4736"
	madeSize = 32
)

func testAccessLog(t *testing.T, mk New) {
	log := make(entries, 16)
	b := httpBackend(t, echo)
	w := newConfigured(t, mk, func(c *proxy.Config) { c.AccessLog = log }, "", b)
	w.views.Put(state.KindRoute, `{"id":"empty","match":{"path":"/empty"},"backend_pool":"none"}`)
	w.update()
	c := w.dial()

	c.send("POST /x?secret=1 HTTP/1.1\r\nHost: a.example\r\nX-Request-Id: me-7\r\ntraceparent: "+traced+"\r\nContent-Length: 3\r\n\r\nabc").want(200, "abc")
	addr := netAddr(c)
	want := proxy.Entry{
		Client: addr, Proto: "HTTP/1.1", Method: "POST", Host: "a.example", Path: "/x", Status: 200, Route: "r", Pool: "web", Backend: "b0", Address: b,
		Attempts: 1, BytesIn: 3, BytesOut: 3, RequestID: "me-7", TraceID: traceOf,
	}
	if diff := cmp.Diff(want, log.next(t), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("forwarded (-want +got):\n%s", diff)
	}

	c.send("GET /empty HTTP/1.1\r\nHost: a\r\ntraceparent: nonsense\r\n\r\n").want(503, "*")
	got := log.next(t)
	if len(got.RequestID) != madeSize || got.BytesOut == 0 {
		t.Errorf("entry = %+v, want an id of %d digits and the size of the body", got, madeSize)
	}
	got.RequestID, got.BytesOut = "", 0
	want = proxy.Entry{Client: addr, Proto: "HTTP/1.1", Method: "GET", Host: "a", Path: "/empty", Status: 503, Result: stats.NoBackend, Reason: "no_backend", Route: "empty", Pool: "none"}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("refused (-want +got):\n%s", diff)
	}

	c.send("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n").want(405, "*")
	if e := log.next(t); e.Status != 405 || e.Reason != "method_not_allowed" || e.Client != addr || e.Route != "" {
		t.Errorf("entry of a refused method = %+v", e)
	}
	w.dial().send("GET / HTTP/1.1\r\n\r\n").want(400, "*")
	if e := log.next(t); e.Status != 400 || e.Reason != "missing_host" || e.Result != stats.BadRequest || e.Client != addr {
		t.Errorf("entry of a refused head = %+v", e)
	}
}

func testTrail(t *testing.T, mk New) {
	heads := make(chan string, 1)
	b := rawBackend(t, func(c *conn, _ int) {
		for h := c.head(); h != ""; h = c.head() {
			heads <- h
			c.send(hello)
		}
	})
	c := newWorld(t, mk, "", b.addr).dial()
	for _, tt := range []struct {
		name, send string
		want       []string // lines that go on, in lower case
		id         bool     // one is made
	}{
		{"nothing", "", nil, true},
		{"kept", "X-Request-ID: a-1\r\nTraceparent: " + traced + "\r\nTracestate: v=1\r\ntracestate: w=2\r\n", []string{"x-request-id: a-1", "traceparent: " + traced, "tracestate: v=1", "tracestate: w=2"}, false},
		{"later version", "traceparent: cc" + traced[2:] + "-more\r\n", []string{"traceparent: cc" + traced[2:] + "-more"}, true},
		{"more in version 00", "traceparent: " + traced + "-more\r\ntracestate: v=1\r\n", nil, true},
		{"upper case", "traceparent: " + strings.ToUpper(traced) + "\r\n", nil, true},
		{"version ff", "traceparent: ff" + traced[2:] + "\r\n", nil, true},
		{"no trace", "traceparent: 00-00000000000000000000000000000000-00f067aa0ba902b7-01\r\n", nil, true},
		{"no parent", "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01\r\n", nil, true},
		{"twice", "traceparent: " + traced + "\r\ntraceparent: " + traced + "\r\nX-Request-Id: a\r\nX-Request-Id: b\r\n", nil, true},
		{"state alone", "tracestate: v=1\r\n", nil, true},
		{"id too long", "X-Request-Id: " + strings.Repeat("x", 129) + "\r\n", nil, true},
		{"id with a space", "X-Request-Id: a b\r\n", nil, true},
		{"hop by hop", "Connection: X-Request-Id, traceparent\r\nX-Request-Id: a\r\ntraceparent: " + traced + "\r\n", nil, true},
	} {
		c.send("GET / HTTP/1.1\r\nHost: a\r\n"+tt.send+"\r\n").want(200, "hello")
		var got []string
		made := ""
		for line := range strings.SplitSeq(strings.ToLower(<-heads), "\r\n") {
			if id, ok := strings.CutPrefix(line, "x-request-id: "); ok && tt.id {
				made += id
			} else if ok || strings.HasPrefix(line, "trace") {
				got = append(got, line)
			}
		}
		if diff := cmp.Diff(sortedLines(tt.want), sortedLines(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
		if tt.id && (len(made) != madeSize || strings.Trim(made, "0123456789abcdef") != "") {
			t.Errorf("%s: id %q was made, want %d hex digits", tt.name, made, madeSize)
		}
	}
}

// testAccounting sends a known mix of requests and compares every counter.
func testAccounting(t *testing.T, mk New) {
	live := httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		var status int
		_, _ = fmt.Sscanf(r.URL.Path, "/%d", &status)
		w.WriteHeader(status)
		if status != 204 {
			_, _ = w.Write(b)
		}
	})
	closing := rawBackend(t, func(c *conn, _ int) { c.head() }) // takes a request and breaks off
	silent := rawBackend(t, func(c *conn, _ int) { c.head(); c.head() })
	w := newWorld(t, mk, "", live)
	for id, addrs := range map[string][]string{"dead": {deadAddr(t), deadAddr(t)}, "half": {deadAddr(t), live}, "closing": {closing.addr}, "silent": {silent.addr}} {
		w.views.Put(state.KindPool, `{"id":"`+id+`","algorithm":"ip_hash","health":{"type":"none"}}`)
		for i, a := range addrs {
			w.views.Put(state.KindBackend, fmt.Sprintf(`{"id":"%s%d","address":%q,"pool":%q}`, id, i, a, id))
		}
		w.views.Put(state.KindRoute, fmt.Sprintf(`{"id":%q,"match":{"host":"%s.test"},"backend_pool":%q,"retries":1,"timeouts":{"first_byte":"1s"}}`, id, id, id))
	}
	w.views.Put(state.KindRoute, `{"id":"empty","match":{"host":"empty.test"},"backend_pool":"nobody"}`, `{"id":"r","match":{"host":"live.test"},"backend_pool":"web"}`)
	w.update()

	send := func(n int, host, path, body string, status int) {
		for range n {
			c := w.dial()
			c.send(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s.test\r\nContent-Length: %d\r\n\r\n%s", path, host, len(body), body)).want(status, "*")
			c.Close()
		}
	}
	send(7, "live", "/200", "12345", 200)
	send(2, "live", "/204", "", 204)
	send(3, "live", "/404", "", 404)
	send(4, "live", "/503", "x", 503)
	send(5, "dead", "/200", "", 502)
	send(6, "half", "/200", "", 200)
	send(2, "closing", "/200", "", 502)
	send(1, "silent", "/200", "", 504)
	send(3, "empty", "/200", "", 503)
	send(2, "nowhere", "/200", "", 404)
	w.dial().send("BAD\r\n\r\n").want(400, "*")

	eventually(t, "all connections are closed", func() bool { return w.p.Stats().Total().Conns() == 0 })
	eventually(t, "all requests are counted", func() bool { return w.p.Stats().Total().Active() == 0 })
	snap := w.p.Stats().Snapshot("n")
	kinds := func(kv ...any) map[string]uint64 {
		m := map[string]uint64{}
		for i := 0; i < len(kv); i += 2 {
			if n := uint64(kv[i+1].(int)); n > 0 {
				m[kv[i].(stats.Kind).String()] = n
			}
		}
		return m
	}
	// With one of two backends dead, a request goes first to the one or to the other by its client's address, and
	// all of these come from one.
	tried := snap.Backends["half0"].Classes[0]
	if tried != 0 && tried != 6 {
		t.Errorf("%d of 6 requests of one client went to the dead backend, want all or none", tried)
	}
	retries := int(tried)
	type row struct {
		Classes [6]uint64
		Errors  map[string]uint64
		In      uint64
	}
	want := map[string]row{
		"total":          {[6]uint64{2: 15, 4: 3 + 2 + 1, 5: 4 + 5 + 2 + 1 + 3}, kinds(stats.ConnectFailed, 5, stats.BackendReset, 2, stats.Timeout, 1, stats.NoBackend, 3, stats.NoRoute, 2, stats.BadRequest, 1, stats.Retry, 5+retries), 7*5 + 4},
		"route r":        {[6]uint64{2: 9, 4: 3, 5: 4}, kinds(), 7*5 + 4},
		"route dead":     {[6]uint64{5: 5}, kinds(stats.ConnectFailed, 5, stats.Retry, 5), 0},
		"route half":     {[6]uint64{2: 6}, kinds(stats.Retry, retries), 0},
		"route closing":  {[6]uint64{5: 2}, kinds(stats.BackendReset, 2), 0},
		"route silent":   {[6]uint64{5: 1}, kinds(stats.Timeout, 1), 0},
		"route empty":    {[6]uint64{5: 3}, kinds(stats.NoBackend, 3), 0},
		"backend b0":     {[6]uint64{2: 9, 4: 3, 5: 4}, kinds(), 7*5 + 4},
		"backend dead0":  {[6]uint64{0: 5}, kinds(stats.ConnectFailed, 5), 0},
		"backend dead1":  {[6]uint64{0: 5}, kinds(stats.ConnectFailed, 5), 0},
		"backend half0":  {[6]uint64{0: tried}, kinds(stats.ConnectFailed, retries), 0},
		"backend half1":  {[6]uint64{2: 6}, kinds(), 0},
		"backend silent": {[6]uint64{0: 1}, kinds(stats.Timeout, 1), 0},
	}
	series := map[string]stats.Series{"total": snap.Total, "backend silent": snap.Backends["silent0"]}
	for id, s := range snap.Routes {
		series["route "+id] = s
	}
	for id, s := range snap.Backends {
		if id != "silent0" {
			series["backend "+id] = s
		}
	}
	for name, want := range want {
		s := series[name]
		if diff := cmp.Diff(want, row{s.Classes, s.Errors, s.BytesIn}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if s.Active != 0 {
			t.Errorf("%s: %d in flight in the end", name, s.Active)
		}
		if n := s.Latency.Count(); n != s.Requests() {
			t.Errorf("%s: the histogram holds %d of %d requests", name, n, s.Requests())
		}
	}
	if n := snap.Total.ConnsOpened; n != 36 {
		t.Errorf("%d connections were counted, want 36", n)
	}
	if in, out := snap.Routes["r"].BytesOut, snap.Backends["b0"].BytesOut; in != out || in != 7*5+4 {
		t.Errorf("route r sent %d bytes, its backend %d, want 39 both", in, out)
	}
}

func sortedLines(s []string) []string { return slices.Sorted(slices.Values(s)) }

func netAddr(c *conn) netip.Addr { return netip.MustParseAddrPort(c.LocalAddr().String()).Addr() }

// deadAddr is an address of a closed port.
func deadAddr(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}
