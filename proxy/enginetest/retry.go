package enginetest

import (
	"net"
	"testing"
)

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
