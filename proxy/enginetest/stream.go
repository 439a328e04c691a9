package enginetest

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

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
	c.closeWrite()
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
	_ = c.tcp().SetReadBuffer(64 << 10)
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
