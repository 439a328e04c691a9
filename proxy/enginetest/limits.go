package enginetest

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/lbnode/lbnode/stats"
)

// counted is how often something has happened on the node.
func (w *world) counted(k stats.Kind) uint64 {
	return w.p.Stats().Total().Snapshot().Errors[k.String()]
}

func testConnectionCap(t *testing.T, mk New) {
	set := defaultSettings()
	set.Conns, set.Idle = 4, time.Minute
	w := newWorldWith(t, mk, set, "", rawBackend(t, fixed(hello)).addr)
	var held []*conn
	for range set.Conns {
		held = append(held, w.dial().send(get))
		held[len(held)-1].want(200, "hello")
	}
	for range 20 {
		c, err := net.Dial("tcp", w.addr)
		if err != nil {
			continue // refused by the kernel is as good
		}
		_ = c.SetDeadline(time.Now().Add(patience))
		if b, err := io.ReadAll(c); len(b) > 0 || err != nil && strings.Contains(err.Error(), "timeout") {
			t.Errorf("a connection over the cap read %q, %v; want its end", b, err)
		}
		c.Close()
	}
	if n := w.counted(stats.ConnRefused); n != 20 {
		t.Errorf("%d connections counted as refused, want 20", n)
	}
	held[0].send(get).want(200, "hello") // those that are there go on
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

func testTooLarge(t *testing.T, mk New) {
	b := heads(t)
	w := newWorld(t, mk, "", b.addr)
	for _, tc := range []struct {
		req  string
		want int
	}{
		{"GET /" + strings.Repeat("a", 9000) + " HTTP/1.1\r\nHost: a\r\n\r\n", 414},
		{"GET /?" + strings.Repeat("a", 9000), 414}, // before the line has ended
		{"GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("a", 33<<10) + "\r\n\r\n", 431},
		{"GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: a\r\n", 101) + "\r\n", 431},
	} {
		c := w.dial()
		c.send(tc.req).want(tc.want, "*")
		c.wantEnd()
	}
	if n := w.counted(stats.TooLarge); n != 4 {
		t.Errorf("%d requests counted as too large, want 4", n)
	}
	if n := b.conns(); n != 0 {
		t.Errorf("%d of them reached the backend", n)
	}
	w.dial().head200("GET /" + strings.Repeat("a", 8000) + " HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: a\r\n", 90) + "\r\n")
}

// testSlowFlood has many clients that never complete a head: all are closed, and others are served meanwhile.
func testSlowFlood(t *testing.T, mk New) {
	set := defaultSettings()
	set.Head = 500 * time.Millisecond
	w := newWorldWith(t, mk, set, "", rawBackend(t, fixed(hello)).addr)
	var slow []*conn
	for i := range 200 {
		slow = append(slow, w.dial().send("GET / HTTP/1.1\r\nHost: a\r\nX"[:1+i%26]))
	}
	w.dial().send(get).want(200, "hello")
	for _, c := range slow {
		if s, err := c.rest(); err != nil && strings.Contains(err.Error(), "timeout") || s != "" && !strings.HasPrefix(s, "HTTP/1.1 408 ") {
			t.Fatalf("a head that never ends got %q, %v", s, err)
		}
		c.Close()
	}
	eventually(t, "no connection is left", func() bool { return w.p.Stats().Total().Conns() == 0 })
}

// testStalledReader has a client that asks for much and reads nothing: it is cut off, and the backend is let go.
func testStalledReader(t *testing.T, mk New) {
	set := defaultSettings()
	set.Stall = 500 * time.Millisecond
	w := newWorldWith(t, mk, set, "", httpBackend(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(100<<20))
		for range 100 << 4 {
			if _, err := w.Write(make([]byte, 1<<16)); err != nil {
				return
			}
		}
	}))
	c := w.dial()
	_ = c.tcp().SetReadBuffer(4 << 10)
	c.send(get)
	eventually(t, "the backend is let go", func() bool {
		s := w.p.Stats().Total().Snapshot()
		return s.Active == 0 && s.Errors[stats.ClientGone.String()]+s.Errors[stats.ClientTimeout.String()] == 1
	})
	if resp, err := http.ReadResponse(c.r, nil); err == nil {
		if n, err := io.Copy(io.Discard, resp.Body); err == nil || strings.Contains(err.Error(), "timeout") {
			t.Errorf("a client that stalled read %d bytes, %v; want it cut off", n, err)
		}
	}
}

// Leaks checks that an engine leaves neither goroutines nor descriptors behind, with tunnels, half requests and
// answers under way when it is shut down. The caller must not be parallel: it counts those of the whole process.
func Leaks(t *testing.T, mk New) {
	runtime.GC()
	goroutines, files := runtime.NumGoroutine(), descriptors()
	t.Run("busy", func(t *testing.T) {
		b := rawBackend(t, func(c *conn, _ int) {
			if h := c.head(); strings.Contains(h, "Upgrade") {
				c.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
			}
			_, _ = c.rest()
		})
		w := newWorld(t, mk, "", b.addr)
		var open []*conn
		for range 5 {
			c := w.dial().send(handshake)
			c.want(101, "")
			open = append(open, c, w.dial().send(get), w.dial().send("GET / HTTP"), w.dial())
		}
		eventually(t, "requests are under way", func() bool { return b.conns() == 10 })
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		if err := w.e.Shutdown(ctx); err == nil {
			t.Error("Shutdown() = nil, although tunnels were open")
		}
		for _, c := range open {
			if _, err := c.rest(); err != nil && strings.Contains(err.Error(), "timeout") {
				t.Errorf("a connection outlives the engine: %v", err)
			}
			c.Close()
		}
	})
	eventually(t, "goroutines and descriptors are gone", func() bool {
		return runtime.NumGoroutine() <= goroutines && descriptors() <= files
	})
}

// descriptors is how many files the process has open, 0 where that cannot be told.
func descriptors() int {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(list)
}
