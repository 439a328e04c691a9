package enginetest

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/lbnode/lbnode/proxy"
	"github.com/lbnode/lbnode/stats"
)

// testClientCap holds as many connections as one client may have: further ones are closed, and one that ends makes room.
func testClientCap(t *testing.T, mk New) {
	set := defaultSettings()
	set.Client, set.Idle = 3, time.Minute
	w := newWorldWith(t, mk, set, "", rawBackend(t, fixed(hello)).addr)
	var held []*conn
	for range set.Client {
		held = append(held, w.dial().send(get))
		held[len(held)-1].want(200, "hello")
	}
	const more = 10
	for range more {
		c, err := net.Dial("tcp", w.addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(patience))
		if b, err := io.ReadAll(c); len(b) > 0 || err != nil && strings.Contains(err.Error(), "timeout") {
			t.Errorf("a connection over the client's cap read %q, %v; want its end", b, err)
		}
		c.Close()
	}
	if n := w.counted(stats.ClientConns); n != more {
		t.Errorf("%d connections are counted, want %d", n, more)
	}
	held[0].send(get).want(200, "hello")
	held[1].Close()
	eventually(t, "the place is taken again", func() bool {
		c, err := w.tryDial()
		if err != nil {
			return false
		}
		defer c.Close()
		b := make([]byte, 12)
		_, _ = io.WriteString(c, get)
		_, err = io.ReadFull(c, b)
		return err == nil
	})
}

// testClientCapProxied has a load balancer in front: its clients are told apart by what its headers say, and it is
// not one of them itself.
func testClientCapProxied(t *testing.T, mk New) {
	set := behindLB()
	set.Client, set.Idle = 2, time.Minute
	w := newWorldWith(t, mk, set, "", rawBackend(t, fixed(hello)).addr)
	header := func(client string) string { return "PROXY TCP4 " + client + " 198.51.100.2 1 2\r\n" + get }
	for _, client := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"} {
		for range set.Client {
			w.dial().send(header(client)).want(200, "hello")
		}
		c := w.dial()
		_, _ = io.WriteString(c, header(client)) // may be cut off as it is sent
		c.wantEnd()
	}
	if n := w.counted(stats.ClientConns); n != 3 {
		t.Errorf("%d connections are counted, want 3", n)
	}
	for range 2 * set.Client { // a check by the load balancer itself
		w.dial().send(headerLocal+get).want(200, "hello")
	}
}

// testBodyRate drips a body, never still for as long as BodyTimeout: it is cut off for its rate.
func testBodyRate(t *testing.T, mk New) {
	w := newConfigured(t, mk, func(c *proxy.Config) { c.BodyRate = 1000 }, "", httpBackend(t, echo))
	body := strings.Repeat("x", 200_000)
	c := w.dial().send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if _, err := c.Write([]byte("x")); err != nil {
					return
				}
			case <-stop:
				return
			}
		}
	}()
	c.want(408, "*")
	close(stop)
	<-done
	if n := w.counted(stats.ClientTimeout); n != 1 {
		t.Errorf("%d requests are counted as too slow, want 1", n)
	}
	w.dial().send(fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", len(body))+body).want(200, body)
}
