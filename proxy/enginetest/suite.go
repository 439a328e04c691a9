package enginetest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/lbnode/lbnode/stats"
)

const (
	get   = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	hello = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
)

// Run runs the suite on engines made by mk. Cases named in deviations are left out, for the reason given there.
func Run(t *testing.T, mk New, deviations map[string]string) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, New)
	}{
		{"get", testGet},
		{"pipeline", testPipeline},
		{"pipeline_body", testPipelineBody},
		{"post", testPost},
		{"chunked", testChunked},
		{"large", testLarge},
		{"bodiless", testBodiless},
		{"until_close", testUntilClose},
		{"http10", testHTTP10},
		{"truncated", testTruncated},
		{"broken_chunks", testBrokenChunks},
		{"bytes_after_response", testBytesAfter},
		{"bad_response", testBadResponse},
		{"interim", testInterim},
		{"expect", testExpect},
		{"expect_refused", testExpectRefused},
		{"trailers", testTrailers},
		{"stream", testStream},
		{"websocket", testWebSocket},
		{"switch_unasked", testSwitchUnasked},
		{"retry", testRetry},
		{"no_backend", testNoBackend},
		{"keep_alive_race", testKeepAliveRace},
		{"first_byte_timeout", testFirstByte},
		{"total_timeout", testTotal},
		{"slow_head", testSlowHead},
		{"slow_body", testSlowBody},
		{"idle", testIdle},
		{"client_gone", testClientGone},
		{"slow_reader", testSlowReader},
		{"forwarding", testForwarding},
		{"drain", testDrain},
		{"cut off", testCutOff},
		{"fenced", testFenced},
		{"shutdown", testShutdown},
		{"config_change", testConfigChange},
		{"headers", testHeaders},
		{"rewrite", testRewrite},
		{"redirect", testRedirect},
		{"split", testSplit},
		{"mirror", testMirror},
		{"rate_limit", testRateLimit},
		{"proxy_protocol", testProxyProtocol},
		{"proxy_protocol_tls", testProxyProtocolTLS},
		{"proxy_protocol_refused", testProxyProtocolRefused},
		{"corpus", testCorpus},
		{"answers", testAnswers},
		{"connection_cap", testConnectionCap},
		{"too_large", testTooLarge},
		{"slow_flood", testSlowFlood},
		{"stalled_reader", testStalledReader},
		{"queue", testQueue},
		{"queue_timeout", testQueueTimeout},
		{"limit_upgraded", testLimitUpgraded},
		{"retry_reset", testRetryReset},
		{"retry_status", testRetryStatus},
		{"retry_timeout", testRetryTimeout},
		{"retry_budget", testRetryBudget},
		{"outlier", testOutlier},
		{"sticky", testSticky},
		{"proxy_protocol_out", testProxyProtocolOut},
		{"idle_timeout", testIdleTimeout},
		{"http2", testHTTP2},
		{"access_log", testAccessLog},
		{"trail", testTrail},
		{"accounting", testAccounting},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if why := deviations[c.name]; why != "" {
				t.Skip(why)
			}
			c.run(t, mk)
		})
	}
}

func testGet(t *testing.T, mk New) {
	b := rawBackend(t, fixed(hello))
	w := newWorld(t, mk, "", b.addr)
	c := w.dial()
	for range 100 {
		c.send(get).want(200, "hello")
	}
	if n := b.conns(); n != 1 {
		t.Errorf("100 requests took %d backend connections, want 1", n)
	}
	c.dribble(get)
	c.want(200, "hello")
}

func testPipeline(t *testing.T, mk New) {
	w := newWorld(t, mk, "", httpBackend(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.URL.Path) }))
	c := w.dial()
	var all strings.Builder
	for i := range 50 {
		fmt.Fprintf(&all, "GET /%d HTTP/1.1\r\nHost: a\r\n\r\n", i)
	}
	c.send(all.String())
	for i := range 50 {
		c.want(200, fmt.Sprintf("/%d", i))
	}
}

func echo(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(b)))
	_, _ = w.Write(b)
}

func testPost(t *testing.T, mk New) {
	w := newWorld(t, mk, "", httpBackend(t, echo))
	c := w.dial()
	for _, n := range []int{0, 1, 100, 4096, 70_000} {
		body := strings.Repeat("x", n)
		req := fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", n, body)
		c.send(req+get).want(200, body)
		c.want(200, "") // the canary behind it
		if n < 200 {
			c.dribble(req)
			c.want(200, body)
		}
	}
}

func testChunked(t *testing.T, mk New) {
	w := newWorld(t, mk, "", httpBackend(t, echo))
	c := w.dial()
	req := "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4;ext=1\r\ndefg\r\n0\r\n\r\n"
	c.send(req+get).want(200, "abcdefg")
	c.want(200, "")
	c.dribble(req)
	c.want(200, "abcdefg")
	c.send(get).want(200, "")
}

func testLarge(t *testing.T, mk New) {
	const size = 5 << 20
	w := newWorld(t, mk, "", httpBackend(t, echo))
	body := strings.Repeat("0123456789abcdef", size/16)
	c := w.dial()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.WriteString(c, fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", size)+body)
	}()
	c.want(200, body)
	<-done
}

func testBodiless(t *testing.T, mk New) {
	b := rawBackend(t, func(c *conn, _ int) {
		for {
			switch h := c.head(); {
			case h == "":
				return
			case strings.HasPrefix(h, "HEAD"):
				c.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
			case strings.HasPrefix(h, "GET /204"):
				c.send("HTTP/1.1 204 No Content\r\n\r\n")
			case strings.HasPrefix(h, "GET /304"):
				c.send("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n")
			default:
				c.send(hello)
			}
		}
	})
	w := newWorld(t, mk, "", b.addr)
	c := w.dial()
	c.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
	if resp, _ := c.answer("HEAD"); resp.ContentLength != 5 {
		t.Errorf("Content-Length of HEAD = %d, want 5", resp.ContentLength)
	}
	c.send("GET /204 HTTP/1.1\r\nHost: a\r\n\r\n").want(204, "")
	c.send("GET /304 HTTP/1.1\r\nHost: a\r\n\r\n").want(304, "")
	c.send(get).want(200, "hello")
	if n := b.conns(); n != 1 {
		t.Errorf("%d backend connections, want 1", n)
	}
}

func testUntilClose(t *testing.T, mk New) {
	b := rawBackend(t, func(c *conn, _ int) {
		c.head()
		c.send("HTTP/1.1 200 OK\r\n\r\nhello")
	})
	c := newWorld(t, mk, "", b.addr).dial()
	c.send(get).want(200, "hello")
	c.send(get).want(200, "hello")
}

func testHTTP10(t *testing.T, mk New) {
	w := newWorld(t, mk, "", httpBackend(t, func(w http.ResponseWriter, _ *http.Request) {
		w.(http.Flusher).Flush() // makes it chunked
		_, _ = io.WriteString(w, "hello")
	}))
	c := w.dial().send("GET / HTTP/1.0\r\nHost: a\r\n\r\n")
	resp := c.want(200, "hello")
	if len(resp.TransferEncoding) > 0 {
		t.Errorf("HTTP/1.0 got Transfer-Encoding %q", resp.TransferEncoding)
	}
	c.wantEnd()
	k := newWorld(t, mk, "", rawBackend(t, fixed(hello)).addr).dial()
	k.send("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n").want(200, "hello")
	k.send("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n").want(200, "hello")
}

func testTruncated(t *testing.T, mk New) {
	for _, answer := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
	} {
		b := rawBackend(t, func(c *conn, _ int) { c.head(); c.send(answer) })
		c := newWorld(t, mk, "", b.addr).dial().send(get)
		resp, err := http.ReadResponse(c.r, nil)
		if err != nil {
			continue // seen at once
		}
		if got, err := io.ReadAll(resp.Body); err == nil {
			t.Errorf("%q: the client read %q and no error", answer, got)
		}
	}
}

func testBrokenChunks(t *testing.T, mk New) {
	b := rawBackend(t, fixed("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX\r\n0\r\n\r\n"))
	c := newWorld(t, mk, "", b.addr).dial().send(get)
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return
	}
	if got, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("the client read %q and no error", got)
	}
}

func testBytesAfter(t *testing.T, mk New) {
	b := rawBackend(t, fixed(hello+"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"))
	c := newWorld(t, mk, "", b.addr).dial()
	for range 5 {
		c.send(get).want(200, "hello")
	}
}

func testBadResponse(t *testing.T, mk New) {
	for _, answer := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 999 X\r\nContent-Length: 0\r\n\r\n",
		"garbage\r\n\r\n",
		"HTTP/1.1 200 OK\r\nX : y\r\nContent-Length: 0\r\n\r\n",
	} {
		c := newWorld(t, mk, "", rawBackend(t, func(c *conn, _ int) { c.head(); c.send(answer) }).addr).dial()
		c.send(get).want(502, "*")
	}
}

func testInterim(t *testing.T, mk New) {
	b := rawBackend(t, fixed("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"+hello))
	c := newWorld(t, mk, "", b.addr).dial().send(get)
	if got := c.line(); !strings.HasPrefix(got, "HTTP/1.1 103 ") {
		t.Fatalf("first line = %q, want a 103", got)
	}
	if got := c.line(); got != "Link: </x>" {
		t.Fatalf("field = %q", got)
	}
	c.line()
	c.want(200, "hello")
	c.send(get)
	c.want(103, "")
	c.want(200, "hello")
}

func testExpect(t *testing.T, mk New) {
	w := newWorld(t, mk, "", httpBackend(t, echo))
	c := w.dial().send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
	if got := c.line(); got != "HTTP/1.1 100 Continue" {
		t.Fatalf("first line = %q, want 100", got)
	}
	c.line()
	c.send("abc").want(200, "abc")
	c.send(get).want(200, "")
}

func testExpectRefused(t *testing.T, mk New) {
	b := rawBackend(t, func(c *conn, _ int) {
		c.head()
		c.send("HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n")
		_, _ = c.rest()
	})
	c := newWorld(t, mk, "", b.addr).dial()
	c.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n").want(417, "")
	c.wantEnd()
}

func testTrailers(t *testing.T, mk New) {
	const answer = "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 42\r\n\r\n"
	c := newWorld(t, mk, "", rawBackend(t, fixed(answer)).addr).dial()
	for range 2 {
		c.send("GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n")
		if resp := c.want(200, "hello"); resp.Trailer.Get("X-Sum") != "42" {
			t.Errorf("trailer = %q, want 42", resp.Trailer)
		}
	}
}

func testStream(t *testing.T, mk New) {
	next := make(chan struct{})
	w := newWorld(t, mk, "", httpBackend(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			_, _ = fmt.Fprintf(w, "data: %d\n\n", i)
			w.(http.Flusher).Flush()
			<-next
		}
	}))
	c := w.dial().send(get)
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(resp.Body)
	for i := range 3 {
		if got, _ := r.ReadString('\n'); got != fmt.Sprintf("data: %d\n", i) {
			t.Fatalf("event = %q, want number %d", got, i)
		}
		_, _ = r.ReadString('\n')
		next <- struct{}{}
	}
}

const handshake = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

func testWebSocket(t *testing.T, mk New) {
	b := rawBackend(t, func(c *conn, _ int) {
		if h := c.head(); !strings.Contains(h, "Upgrade: websocket") {
			c.send(hello)
			return
		}
		c.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nready")
		_, _ = io.Copy(c, c.r)
		c.send("bye")
	})
	w := newWorld(t, mk, "", b.addr)
	c := w.dial().send(handshake)
	c.want(101, "")
	buf := make([]byte, 5)
	if _, err := io.ReadFull(c.r, buf); err != nil || string(buf) != "ready" {
		t.Fatalf("read %q, %v", buf, err)
	}
	c.send("12345")
	if _, err := io.ReadFull(c.r, buf); err != nil || string(buf) != "12345" {
		t.Fatalf("read %q, %v", buf, err)
	}
	if n := w.p.Set().InFlight("b0"); n != 1 {
		t.Errorf("in flight while the tunnel is open = %d, want 1", n)
	}
	_ = c.Conn.(*net.TCPConn).CloseWrite()
	if got, err := c.rest(); got != "bye" || err != nil {
		t.Errorf("after the half-close came %q, %v; want bye", got, err)
	}
	eventually(t, "the tunnel is no longer in flight", func() bool { return w.p.Set().InFlight("b0") == 0 })
}

func testSwitchUnasked(t *testing.T, mk New) {
	const answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: wrong\r\n\r\n"
	w := newWorld(t, mk, "", rawBackend(t, func(c *conn, _ int) { c.head(); c.send(answer) }).addr)
	w.dial().send(get).want(502, "*")
	w.dial().send(handshake).want(502, "*")
}

// refusing gives an address that nobody listens on.
func refusing(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func testRetry(t *testing.T, mk New) {
	w := newWorld(t, mk, `,"retries":2`, refusing(t), httpBackend(t, echo), refusing(t))
	for range 6 {
		w.dial().send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc").want(200, "abc")
	}
}

func testNoBackend(t *testing.T, mk New) {
	c := newWorld(t, mk, "").dial()
	resp := c.send(get).want(503, "*")
	if resp.Header.Get("X-Lbnode-Node") != "node-1" || resp.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("answer of ours has the fields %v", resp.Header)
	}
	c.send(get).want(503, "*") // the connection goes on
	d := newWorld(t, mk, `,"retries":0`, refusing(t)).dial()
	d.send(get).want(502, "*")
	d.send("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n").want(405, "*")
	d.wantEnd()
}

func testKeepAliveRace(t *testing.T, mk New) {
	b := rawBackend(t, func(c *conn, n int) {
		c.head()
		c.send(hello)
		if n == 1 { // takes the second request and closes without an answer
			c.head()
		} else {
			fixed(hello)(c, n)
		}
	})
	w := newWorld(t, mk, "", b.addr)
	c := w.dial()
	c.send(get).want(200, "hello")
	c.send(get).want(200, "hello")
	// What may have had an effect is not sent twice.
	p := rawBackend(t, func(c *conn, _ int) {
		c.head()
		c.send(hello)
		c.head()
	})
	d := newWorld(t, mk, "", p.addr).dial()
	d.send(get).want(200, "hello")
	d.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").want(502, "*")
}

func testFirstByte(t *testing.T, mk New) {
	b := rawBackend(t, func(c *conn, _ int) { c.head(); _, _ = c.rest() })
	w := newWorld(t, mk, `,"timeouts":{"first_byte":"150ms"}`, b.addr)
	w.dial().send(get).want(504, "*")
}

func testTotal(t *testing.T, mk New) {
	b := rawBackend(t, func(c *conn, _ int) {
		c.head()
		c.send("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello")
		_, _ = c.rest()
	})
	w := newWorld(t, mk, `,"timeouts":{"total":"200ms"}`, b.addr)
	c := w.dial().send(get)
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return // an engine that gathers small answers has sent nothing yet
	}
	if got, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("read %q without an error", got)
	}
}

func testSlowHead(t *testing.T, mk New) {
	c := newWorld(t, mk, "", rawBackend(t, fixed(hello)).addr).dial()
	start := time.Now()
	c.send("GET / HTTP/1.1\r\nHost")
	if got, _ := c.rest(); got != "" && !strings.HasPrefix(got, "HTTP/1.1 408 ") {
		t.Errorf("a slow head got %q", got)
	}
	if d := time.Since(start); d < headTimeout/2 {
		t.Errorf("closed after %s", d)
	}
}

func testSlowBody(t *testing.T, mk New) {
	c := newWorld(t, mk, "", httpBackend(t, echo)).dial()
	c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc").want(408, "*")
	c.wantEnd()
}

func testIdle(t *testing.T, mk New) {
	c := newWorld(t, mk, "", rawBackend(t, fixed(hello)).addr).dial()
	c.send(get).want(200, "hello")
	start := time.Now()
	c.wantEnd()
	if d := time.Since(start); d < idleTimeout/2 {
		t.Errorf("an idle connection was closed after %s", d)
	}
}

func testClientGone(t *testing.T, mk New) {
	gone := make(chan struct{})
	b := rawBackend(t, func(c *conn, _ int) {
		c.head()
		_, _ = c.rest()
		close(gone)
	})
	w := newWorld(t, mk, "", b.addr)
	c := w.dial().send(get)
	eventually(t, "the request arrives", func() bool { return b.conns() == 1 })
	c.Close()
	select {
	case <-gone:
	case <-time.After(patience):
		t.Fatal("the backend's connection outlives the client")
	}
	eventually(t, "it is counted", func() bool {
		return w.p.Stats().Total().Snapshot().Errors[stats.ClientGone.String()] == 1
	})
}

func testSlowReader(t *testing.T, mk New) {
	const size = 30 << 20
	w := newWorld(t, mk, "", httpBackend(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(size))
		for range size >> 16 {
			if _, err := w.Write(make([]byte, 1<<16)); err != nil {
				return
			}
		}
	}))
	c := w.dial().send(get)
	_ = c.Conn.(*net.TCPConn).SetReadBuffer(64 << 10)
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	buf := make([]byte, 512<<10)
	for n < size {
		k, err := resp.Body.Read(buf)
		if n += k; err != nil && err != io.EOF {
			t.Fatalf("after %d bytes: %v", n, err)
		} else if err == io.EOF {
			break
		}
		if n < 4<<20 {
			time.Sleep(time.Millisecond) // is slow; proves nothing by itself
		}
	}
	if n != size {
		t.Errorf("read %d bytes, want %d", n, size)
	}
}

func testForwarding(t *testing.T, mk New) {
	heads := make(chan string, 1)
	b := rawBackend(t, func(c *conn, _ int) {
		heads <- c.head()
		c.send(hello)
	})
	c := newWorld(t, mk, "", b.addr).dial()
	c.send("GET /p?q HTTP/1.1\r\nHost: a.example\r\nConnection: X-Secret, X-Forwarded-For\r\nX-Secret: 1\r\nX-Forwarded-For: 6.6.6.6\r\nX_Forwarded_Proto: https\r\nUpgrade: h2c\r\nKeep-Alive: 5\r\nX-Kept: 1\r\n\r\n").want(200, "hello")
	h := <-heads
	for _, want := range []string{"GET /p?q HTTP/1.1\r\n", "Host: a.example\r\n", "X-Forwarded-For: 127.0.0.1\r\n", "X-Forwarded-Proto: http\r\n", "X-Forwarded-Host: a.example\r\n", "X-Real-Ip: 127.0.0.1\r\n", "X-Kept: 1\r\n"} {
		if !strings.Contains(h, want) {
			t.Errorf("%q is missing in %q", want, h)
		}
	}
	for _, bad := range []string{"X-Secret", "6.6.6.6", "X_Forwarded", "h2c", "Keep-Alive", "Upgrade"} {
		if strings.Contains(h, bad) {
			t.Errorf("%q went on in %q", bad, h)
		}
	}
}

func testDrain(t *testing.T, mk New) {
	w := newWorld(t, mk, "", rawBackend(t, fixed(hello)).addr)
	c := w.dial()
	c.send(get).want(200, "hello")
	w.e.Drain()
	if resp := c.send(get).want(200, "hello"); !resp.Close {
		t.Errorf("a draining engine did not say close: %v", resp.Header)
	}
	c.wantEnd()
	w.dial().send(get).want(200, "hello") // still accepting
	w.e.Undrain()
	c = w.dial()
	for range 2 {
		if resp := c.send(get).want(200, "hello"); resp.Close {
			t.Errorf("an engine that drains no more said close: %v", resp.Header)
		}
	}
}

func testShutdown(t *testing.T, mk New) {
	arrived, release := make(chan struct{}), make(chan struct{})
	w := newWorld(t, mk, "", httpBackend(t, func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-release
		_, _ = io.WriteString(w, "hello")
	}))
	c := w.dial().send(get)
	<-arrived
	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		done <- w.e.Shutdown(ctx)
	}()
	eventually(t, "the listener is closed", func() bool {
		x, err := net.Dial("tcp", w.addr)
		if err == nil {
			x.Close()
		}
		return err != nil
	})
	close(release)
	c.want(200, "hello")
	if err := <-done; err != nil {
		t.Errorf("Shutdown() = %v, want nil", err)
	}
}
