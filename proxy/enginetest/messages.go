package enginetest

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

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

func testForwarding(t *testing.T, mk New) {
	heads := make(chan string, 1)
	b := rawBackend(t, func(c *conn, _ int) {
		heads <- c.head()
		c.send(hello)
	})
	w := newWorld(t, mk, "", b.addr)
	c := w.dial()
	c.send("GET /p?q HTTP/1.1\r\nHost: a.example\r\nConnection: X-Secret, X-Forwarded-For\r\nX-Secret: 1\r\nX-Forwarded-For: 6.6.6.6\r\nX_Forwarded_Proto: https\r\nUpgrade: h2c\r\nKeep-Alive: 5\r\nX-Kept: 1\r\n\r\n").want(200, "hello")
	h := <-heads
	for _, want := range []string{"GET /p?q HTTP/1.1\r\n", "Host: a.example\r\n", "X-Forwarded-For: 127.0.0.1\r\n", "X-Forwarded-Proto: " + w.scheme() + "\r\n", "X-Forwarded-Host: a.example\r\n", "X-Real-Ip: 127.0.0.1\r\n", "X-Kept: 1\r\n"} {
		if !strings.Contains(strings.ToLower(h), strings.ToLower(want)) { // HTTP/2 has lower case
			t.Errorf("%q is missing in %q", want, h)
		}
	}
	for _, bad := range []string{"X-Secret", "6.6.6.6", "X_Forwarded", "h2c", "Keep-Alive", "Upgrade"} {
		if strings.Contains(h, bad) {
			t.Errorf("%q went on in %q", bad, h)
		}
	}
}
