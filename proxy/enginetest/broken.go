package enginetest

import (
	"io"
	"net/http"
	"testing"
)

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
