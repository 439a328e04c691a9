package enginetest

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/lbnode/lbnode/stats"
)

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
