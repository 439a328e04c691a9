package enginetest

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/lbnode/lbnode/state"
	"github.com/lbnode/lbnode/stats"
)

// pool gives the world's pool further settings, beginning with a comma.
func (w *world) pool(settings string) *world {
	w.t.Helper()
	w.views.Put(state.KindPool, `{"id":"web","algorithm":"round_robin","health":{"type":"none"}`+settings+`}`)
	w.update()
	return w
}

// waiting is the number of requests in the pool's queue.
func (w *world) waiting() int {
	for _, p := range w.p.Set().Pools() {
		if p.ID == "web" {
			return p.Waiting
		}
	}
	return -1
}

func answerOf(body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

func wantCode(t testing.TB, c *conn, status int, code string) {
	t.Helper()
	resp, body := c.answer("GET")
	if resp.StatusCode != status || !strings.Contains(body, `"code":"`+code+`"`) {
		t.Errorf("answer = %d %s, want %d %s", resp.StatusCode, body, status, code)
	}
}

// testQueue fills a backend that takes one request at a time: the next two wait, in order, the one after is
// refused, and one that leaves makes room.
func testQueue(t *testing.T, mk New) {
	release := make(chan struct{})
	b := rawBackend(t, func(c *conn, _ int) {
		for {
			h := c.head()
			if h == "" {
				return
			}
			if strings.HasPrefix(h, "POST") {
				_, _ = io.CopyN(io.Discard, c.r, 3)
			}
			<-release
			path, _, _ := strings.Cut(strings.TrimPrefix(h, "GET "), " ")
			c.send(answerOf(path))
		}
	})
	w := newWorld(t, mk, "", b.addr).pool(`,"max_connections":1,"queue":{"size":2,"timeout":"20s"}`)
	ask := func(path string) *conn { return w.dial().send("GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n") }
	first := ask("/1")
	eventually(t, "the first is in flight", func() bool { return w.p.Set().InFlight("b0") == 1 })
	second := ask("/2")
	eventually(t, "the second waits", func() bool { return w.waiting() == 1 })
	gone := ask("/gone")
	eventually(t, "the third waits", func() bool { return w.waiting() == 2 })
	wantCode(t, ask("/full"), 503, "queue_full")
	gone.Close()
	eventually(t, "a client that has left leaves the queue", func() bool { return w.waiting() == 1 })
	post := w.dial().send("POST /3 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
	eventually(t, "a request with a body waits", func() bool { return w.waiting() == 2 })
	release <- struct{}{}
	first.want(200, "/1")
	eventually(t, "the second is in flight", func() bool { return w.waiting() == 1 })
	release <- struct{}{}
	second.want(200, "/2")
	go func() { release <- struct{}{} }()
	if resp, _ := post.answer("POST"); resp.StatusCode != 200 {
		t.Errorf("the request that waited with its body got %d", resp.StatusCode)
	}
	go func() { release <- struct{}{} }()
	second.send("GET /4 HTTP/1.1\r\nHost: a\r\n\r\n").want(200, "/4") // the connection goes on
}

func testQueueTimeout(t *testing.T, mk New) {
	b := rawBackend(t, func(c *conn, _ int) { c.head(); _, _ = c.rest() })
	w := newWorld(t, mk, "", b.addr).pool(`,"max_connections":1,"queue":{"size":2,"timeout":"150ms"}`)
	w.dial().send(get)
	eventually(t, "the first is in flight", func() bool { return w.p.Set().InFlight("b0") == 1 })
	wantCode(t, w.dial().send(get), 503, "queue_timeout")
	w.pool(`,"max_connections":1`)
	wantCode(t, w.dial().send(get), 503, "queue_full")
	// What takes a backend out ends the waiting.
	w.pool(`,"max_connections":1,"queue":{"size":2,"timeout":"20s"}`)
	c := w.dial().send(get)
	eventually(t, "it waits", func() bool { return w.waiting() == 1 })
	w.views.Put(state.KindBackend, `{"id":"b0","address":"`+b.addr+`","pool":"web","max_connections":2}`)
	w.update()
	eventually(t, "it goes on when there is room", func() bool { return w.waiting() == 0 && w.p.Set().InFlight("b0") == 2 })
	c.Close()
}

// testLimitUpgraded counts a WebSocket as a request for as long as it is open.
func testLimitUpgraded(t *testing.T, mk New) {
	b := rawBackend(t, func(c *conn, _ int) {
		c.head()
		c.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
		_, _ = c.rest()
	})
	w := newWorld(t, mk, "", b.addr).pool(`,"max_connections":1`)
	c := w.dial().send(handshake)
	c.want(101, "")
	wantCode(t, w.dial().send(get), 503, "queue_full")
	c.Close()
	eventually(t, "the tunnel has ended", func() bool { return w.p.Set().InFlight("b0") == 0 })
	w.dial().send(handshake).want(101, "")
}

// resetting closes after each request's head and, if it has a length, n bytes of its body.
func resetting(t testing.TB, n int) *backend {
	return rawBackend(t, func(c *conn, _ int) {
		if !strings.HasPrefix(c.head(), "GET") {
			_, _ = io.CopyN(io.Discard, c.r, int64(n))
		}
	})
}

func testRetryReset(t *testing.T, mk New) {
	echoed := httpBackend(t, echo)
	body := strings.Repeat("x", 3000)
	put := fmt.Sprintf("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	post := strings.Replace(put, "PUT", "POST", 1)
	chunked := "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4;ext=1\r\ndefg\r\n0\r\n\r\n"
	// All backends but one reset, and round robin begins at each of them.
	w := newWorld(t, mk, `,"retries":3`, resetting(t, 10).addr, echoed, resetting(t, 0).addr).pool(`,"retry":{"on":["reset"]}`)
	for range 6 {
		w.dial().send(get).want(200, "")
		w.dial().send(put).want(200, body)
		w.dial().send(chunked).want(200, "abcdefg")
	}
	// A POST that was sent goes nowhere else.
	codes := map[int]int{}
	for range 3 {
		resp, _ := w.dial().send(post).answer("POST")
		codes[resp.StatusCode]++
	}
	if codes[502] != 2 || codes[200] != 1 {
		t.Errorf("three POSTs got %v, want one 200 and two 502", codes)
	}
	w.pool(`,"retry":{"on":["reset"],"non_idempotent":true}`)
	c := w.dial()
	for range 3 {
		c.send(post).want(200, body)
		c.send(strings.Replace(chunked, "PUT", "POST", 1)).want(200, "abcdefg")
	}
	// Too long to be kept: the failure is told.
	long := strings.Repeat("y", 600<<10)
	codes = map[int]int{}
	for range 3 {
		c := w.dial()
		go func() {
			_, _ = io.WriteString(c, fmt.Sprintf("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(long), long))
		}()
		resp, err := http.ReadResponse(c.r, nil)
		if err != nil {
			codes[0]++ // cut while we wrote
			continue
		}
		codes[resp.StatusCode]++
	}
	if codes[200] == 0 || codes[502]+codes[200]+codes[0] != 3 {
		t.Errorf("three long PUTs got %v", codes)
	}
	w.pool("")
	if resp, _ := func() (*http.Response, string) {
		w.dial().send(get).answer("GET")
		return w.dial().send(get).answer("GET")
	}(); resp.StatusCode == 0 {
		t.Error("no answer")
	}
}

func testRetryStatus(t *testing.T, mk New) {
	busy := rawBackend(t, fixed("HTTP/1.1 503 Busy\r\nContent-Length: 4\r\nX-From: busy\r\n\r\nbusy"))
	w := newWorld(t, mk, "", busy.addr, rawBackend(t, fixed(hello)).addr).pool(`,"retry":{"on":["503"]}`)
	c := w.dial()
	for range 4 {
		c.send(get).want(200, "hello")
	}
	if n := w.p.Stats().Total().Snapshot().Classes[5]; n != 0 {
		t.Errorf("%d answers of 5xx are counted for clients", n)
	}
	// With nobody else to ask, the answer goes on as it is.
	w.views.Delete(state.KindBackend, "b1")
	w.update()
	if resp := c.send(get).want(503, "busy"); resp.Header.Get("X-From") != "busy" {
		t.Errorf("the backend's own answer is not passed on: %v", resp.Header)
	}
	c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi").want(503, "busy")
}

func testRetryTimeout(t *testing.T, mk New) {
	silent := rawBackend(t, func(c *conn, _ int) { c.head(); _, _ = c.rest() })
	w := newWorld(t, mk, `,"timeouts":{"first_byte":"150ms"}`, silent.addr, rawBackend(t, fixed(hello)).addr).pool(`,"retry":{"on":["timeout"]}`)
	for range 2 {
		w.dial().send(get).want(200, "hello")
	}
}

// testRetryBudget spends the budget: what goes beyond it is told as it is.
func testRetryBudget(t *testing.T, mk New) {
	w := newWorld(t, mk, "", resetting(t, 0).addr, resetting(t, 0).addr, resetting(t, 0).addr).pool(`,"retry":{"on":["reset"],"budget_percent":1,"budget_min":1}`)
	for range 20 {
		w.dial().send(get).want(502, "*")
	}
	e := w.p.Stats().Snapshot("n").Routes["r"].Errors
	if e[stats.Retry.String()] < 10 || e[stats.Retry.String()] > 20 || e[stats.RetryRefused.String()] == 0 {
		t.Errorf("20 requests that fail with a budget of 10 in 10 s: %v", e)
	}
}

func testOutlier(t *testing.T, mk New) {
	bad := rawBackend(t, fixed("HTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n"))
	w := newWorld(t, mk, "", bad.addr, rawBackend(t, fixed(hello)).addr).pool(`,"outlier":{"consecutive_errors":2,"max_percent":50}`)
	c := w.dial()
	failed := 0
	for range 20 {
		if resp, _ := c.send(get).answer("GET"); resp.StatusCode == 502 {
			failed++
		}
	}
	if rt, _ := w.p.Set().Runtime("b0"); failed != 2 || !rt.Ejected {
		t.Errorf("%d of 20 requests met the backend that fails, and it is %+v; want 2 and ejected", failed, rt)
	}
}

func testSticky(t *testing.T, mk New) {
	heads := make(chan string, 100)
	named := func(name string) *backend {
		return rawBackend(t, func(c *conn, _ int) {
			for {
				h := c.head()
				if h == "" {
					return
				}
				heads <- h
				c.send(answerOf(name))
			}
		})
	}
	a, b := named("a"), named("b")
	w := newWorld(t, mk, "", a.addr, b.addr).pool(`,"sticky":{"cookie":"LB","ttl":"1h","path":"/shop"}`)
	c := w.dial()
	ask := func(cookie string) (*http.Response, string) {
		t.Helper()
		resp, body := c.send("GET / HTTP/1.1\r\nHost: a\r\n" + cookie + "\r\n").answer("GET")
		if resp.StatusCode != 200 {
			t.Fatalf("answer = %d %s", resp.StatusCode, body)
		}
		h := <-heads
		if strings.Contains(h, "LB=") {
			t.Errorf("the cookie went to the backend: %q", h)
		}
		if strings.Contains(cookie, "x=1") != strings.Contains(h, "Cookie: x=1; y=2\r\n") {
			t.Errorf("of %q the backend got %q", cookie, h)
		}
		return resp, body
	}
	resp, home := ask("")
	set := resp.Cookies()
	if len(set) != 1 || set[0].Name != "LB" || len(set[0].Value) != 22 || set[0].Path != "/shop" || set[0].MaxAge != 3600 || !set[0].HttpOnly ||
		set[0].Secure || set[0].SameSite != http.SameSiteLaxMode {
		t.Fatalf("Set-Cookie = %q", resp.Header["Set-Cookie"])
	}
	mine := "Cookie: x=1; LB=" + set[0].Value + "; y=2\r\n"
	stays := func(what, cookie string) {
		t.Helper()
		for range 4 {
			if resp, body := ask(cookie); body != home || len(resp.Cookies()) != 0 {
				t.Fatalf("%s: answered by %s with %q, want %s and no cookie", what, body, resp.Header["Set-Cookie"], home)
			}
		}
	}
	stays("with the cookie", mine)
	stays("with the cookie alone", "Cookie: LB="+set[0].Value+"\r\n")
	stays("in another line", "Cookie: x=1\r\nCookie: y=2; LB="+set[0].Value+"\r\n")
	id := map[string]string{"a": "b0", "b": "b1"}[home]
	w.views.Admin(state.AdminStopped, id)
	w.update()
	stays("while it drains", mine)
	if resp, body := ask(""); body == home || len(resp.Cookies()) != 1 {
		t.Errorf("a new client went to the backend that drains")
	}
	addr := map[string]string{"a": a.addr, "b": b.addr}[home]
	w.views.Put(state.KindBackend, fmt.Sprintf(`{"id":%q,"address":%q,"pool":"web","admin_state":"stopped","drain":{"sticky":"release"}}`, id, addr))
	w.update()
	if resp, body := ask(mine); body == home || len(resp.Cookies()) != 1 {
		t.Errorf("answered by %s with %q by a backend that releases its clients, want the other and its cookie", body, resp.Header["Set-Cookie"])
	}
	w.views.Admin(state.AdminReady, id)
	w.update()
	for _, forged := range []string{"Cookie: LB=\r\n", "Cookie: LB=" + strings.Repeat("A", 22) + "\r\n", "Cookie: LB=" + set[0].Value + "x\r\n", "Cookie: lb=" + set[0].Value + "\r\n"} {
		if resp, _ := ask(forged); len(resp.Cookies()) != 1 {
			t.Errorf("%q was taken for a cookie of ours", forged)
		}
	}
	w.p.Set().SetLocal(id, true, "test")
	resp, body := ask(mine)
	if body == home || len(resp.Cookies()) != 1 || resp.Cookies()[0].Value == set[0].Value {
		t.Errorf("with its backend vetoed the client was answered by %s with %q", body, resp.Header["Set-Cookie"])
	}
}

func testProxyProtocolOut(t *testing.T, mk New) {
	type got struct{ proxy, head string }
	heads := make(chan got, 10)
	b := rawBackend(t, func(c *conn, _ int) {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return
		}
		if line == "\r\n" { // version 2
			rest := make([]byte, 26)
			if _, err := io.ReadFull(c.r, rest); err != nil {
				return
			}
			line += string(rest)
		}
		h := c.head()
		heads <- got{line, h}
		c.send(hello)
		_, _ = c.rest()
	})
	w := newWorld(t, mk, "", b.addr).pool(`,"proxy_protocol":"v1"`)
	for i := range 2 {
		c := w.dial()
		for range 2 {
			c.send(get).want(200, "hello")
			g := <-heads
			local, remote := c.LocalAddr().(*net.TCPAddr), c.RemoteAddr().(*net.TCPAddr)
			if want := fmt.Sprintf("PROXY TCP4 127.0.0.1 127.0.0.1 %d %d\r\n", local.Port, remote.Port); g.proxy != want {
				t.Errorf("client %d: header = %q, want %q", i, g.proxy, want)
			}
			if !strings.HasPrefix(g.head, "GET / HTTP/1.1\r\n") || !strings.Contains(g.head, "Connection: close\r\n") {
				t.Errorf("head = %q", g.head)
			}
		}
	}
	w.pool(`,"proxy_protocol":"v2"`)
	w.dial().send(get).want(200, "hello")
	if g := <-heads; !strings.HasPrefix(g.proxy, "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\x7f\x00\x00\x01\x7f\x00\x00\x01") {
		t.Errorf("header of version 2 = %q", g.proxy)
	}
}

func testIdleTimeout(t *testing.T, mk New) {
	const upgraded = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
	b := rawBackend(t, func(c *conn, _ int) {
		switch h := c.head(); {
		case strings.HasPrefix(h, "GET /silent"):
		case strings.HasPrefix(h, "GET /drip"):
			c.send("HTTP/1.1 200 OK\r\nContent-Length: 12\r\nConnection: close\r\n\r\n")
			for range 12 { // longer than the timeout in all
				c.send("x")
				time.Sleep(60 * time.Millisecond) // is slow; proves nothing by itself
			}
		case strings.HasPrefix(h, "GET /stops"):
			c.send("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nx")
		default:
			c.send(upgraded)
		}
		_, _ = c.rest()
	})
	w := newWorld(t, mk, `,"timeouts":{"idle":"400ms","upgraded_idle":"300ms"}`, b.addr)
	ask := func(path string) *conn { return w.dial().send("GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n") }
	wantCode(t, ask("/silent"), 504, "idle_timeout")
	ask("/drip").want(200, strings.Repeat("x", 12))
	c := ask("/stops")
	if resp, err := http.ReadResponse(c.r, nil); err == nil {
		if got, err := io.ReadAll(resp.Body); err == nil {
			t.Errorf("an answer that stopped ended cleanly with %q", got)
		}
	}
	d := w.dial().send(handshake)
	d.want(101, "")
	start := time.Now()
	if got, _ := d.rest(); got != "" {
		t.Errorf("the tunnel said %q", got)
	}
	if took := time.Since(start); took < 150*time.Millisecond || took > patience/2 {
		t.Errorf("an idle tunnel was closed after %s", took)
	}
	eventually(t, "nothing is in flight", func() bool { return w.p.Set().InFlight("b0") == 0 })
}
