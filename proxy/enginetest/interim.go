package enginetest

import (
	"strings"
	"testing"
)

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
