//go:build linux

package engine

import (
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/lbnode/lbnode/proxy"
	"github.com/lbnode/lbnode/proxy/internal/viewtest"
	"github.com/lbnode/lbnode/state"
	"github.com/lbnode/lbnode/stats"
)

const (
	browserHead = "GET /api/users/7?x=1 HTTP/1.1\r\nHost: app.example\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101\r\nAccept: text/html,*/*;q=0.8\r\nAccept-Language: en\r\nCookie: sid=0123456789abcdef\r\n\r\n"
	smallAnswer = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nServer: x\r\nContent-Length: 5\r\n\r\nhello"
)

// bed starts an engine with one loop before a backend that answers each read with the same bytes, without
// an allocation. Requests must arrive in one piece.
func bed(t testing.TB, answer string) (client net.Conn, p *proxy.Proxy) {
	t.Helper()
	return bedOf(t, answer, "", nil)
}

// unwanted is an access log that leaves every request out.
type unwanted struct{}

func (unwanted) Wants(int) bool  { return false }
func (unwanted) Log(proxy.Entry) {}

// bedOf is bed with further settings of the pool, beginning with a comma, and with an access log.
func bedOf(t testing.TB, answer, settings string, log proxy.AccessLog) (client net.Conn, p *proxy.Proxy) {
	t.Helper()
	return bedWith(t, func(c net.Conn) {
		b, out := make([]byte, 64<<10), []byte(answer)
		for {
			if _, err := c.Read(b); err != nil {
				return
			}
			if _, err := c.Write(out); err != nil {
				return
			}
		}
	}, settings, log)
}

// bedWith is bedOf with a backend that serves connections in its own way.
func bedWith(t testing.TB, serve func(net.Conn), settings string, log proxy.AccessLog) (client net.Conn, p *proxy.Proxy) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c)
			}()
		}
	}()
	reg, err := stats.New(stats.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	cfg := proxy.DefaultConfig()
	cfg.NodeID, cfg.Logger, cfg.Stats, cfg.AccessLog = "n", slog.New(slog.DiscardHandler), reg, log
	if p, err = proxy.New(cfg); err != nil {
		t.Fatal(err)
	}
	v := viewtest.New(t).Put(state.KindPool, `{"id":"web","health":{"type":"none"}`+settings+`}`).
		Put(state.KindBackend, `{"id":"b","address":"`+ln.Addr().String()+`","pool":"web"}`).
		Put(state.KindRoute, `{"id":"r","match":{"path":"/api"},"backend_pool":"web"}`)
	if err := p.Update(v.View()); err != nil {
		t.Fatal(err)
	}
	e, err := New(Config{Proxy: p, Addrs: []string{"127.0.0.1:0"}, Limits: DefaultLimits(), Loops: 1, Logger: cfg.Logger})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Shutdown(t.Context()); err != nil && t.Context().Err() == nil {
			t.Errorf("Shutdown() = %v", err)
		}
	})
	if client, err = net.Dial("tcp", e.Addrs()[0].String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client, p
}

// exchangeOnce sends a request and reads an answer of n bytes.
func exchangeOnce(t testing.TB, c net.Conn, req, buf []byte) {
	if _, err := c.Write(req); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, buf); err != nil {
		t.Fatal(err)
	}
}

func TestRequest_allocatesNothing(t *testing.T) {
	// Not parallel: it counts the allocations of the whole process.
	for _, tc := range []struct{ name, req, answer string }{
		{"get", browserHead, smallAnswer},
		{"sampled out", browserHead, smallAnswer},
		{"post", "POST /api HTTP/1.1\r\nHost: a\r\nContent-Length: 4096\r\n\r\n" + strings.Repeat("x", 4096), smallAnswer},
		{"chunked", "GET /api HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"},
		{"large", "GET /api HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 32768\r\n\r\n" + strings.Repeat("y", 32768)},
		{"refused", "GET /other HTTP/1.1\r\nHost: a\r\n\r\n", ""},
	} {
		var log proxy.AccessLog
		if tc.name == "sampled out" {
			log = unwanted{}
		}
		c, _ := bedOf(t, tc.answer, "", log)
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		req := []byte(tc.req)
		if _, err := c.Write(req); err != nil {
			t.Fatal(err)
		}
		first := make([]byte, len(tc.answer)+4096)
		time.AfterFunc(300*time.Millisecond, func() { _ = c.SetReadDeadline(time.Now()) })
		n, _ := io.ReadFull(c, first) // how long an answer is
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		if n == 0 {
			t.Fatalf("%s: no answer", tc.name)
		}
		buf := make([]byte, n)
		for range 200 {
			exchangeOnce(t, c, req, buf)
		}
		const rounds = 5000
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range rounds {
			exchangeOnce(t, c, req, buf)
		}
		runtime.ReadMemStats(&after)
		if per := float64(after.Mallocs-before.Mallocs) / rounds; per > 0.05 {
			t.Errorf("%s: %.3f allocations per request, want 0", tc.name, per)
		} else {
			t.Logf("%s: %d allocations in %d requests", tc.name, after.Mallocs-before.Mallocs, rounds)
		}
		c.Close()
	}
}

func BenchmarkRequest(b *testing.B) {
	c, _ := bed(b, smallAnswer)
	req, buf := []byte(browserHead), make([]byte, len(smallAnswer))
	exchangeOnce(b, c, req, buf)
	b.ReportAllocs()
	for b.Loop() {
		exchangeOnce(b, c, req, buf)
	}
}

// TestRequest_protectedAllocatesNothing has a pool with every setting that looks at each request, and a client
// without the sticky cookie, so that each answer sets it, and with another cookie, which is taken apart.
func TestRequest_protectedAllocatesNothing(t *testing.T) {
	// Not parallel: it counts the allocations of the whole process.
	c, _ := bedOf(t, smallAnswer, `,"max_connections":5,"queue":{"size":5},"retry":{"on":["reset","503"]},"outlier":{"consecutive_errors":5},"sticky":{"cookie":"LB"},"slow_start":"1h"`, nil)
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	req := []byte(strings.Replace(browserHead, "Cookie: ", "Cookie: LB=forged; ", 1))
	if _, err := c.Write(req); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	n, err := c.Read(buf) // head and body come in one piece
	if err != nil || !strings.Contains(string(buf[:n]), "Set-Cookie: LB=") || !strings.HasSuffix(string(buf[:n]), "hello") {
		t.Fatalf("answer = %q, %v", buf[:n], err)
	}
	for range 200 {
		exchangeOnce(t, c, req, buf[:n])
	}
	const rounds = 5000
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range rounds {
		exchangeOnce(t, c, req, buf[:n])
	}
	runtime.ReadMemStats(&after)
	if per := float64(after.Mallocs-before.Mallocs) / rounds; per > 0.05 {
		t.Errorf("%.3f allocations per request, want 0", per)
	}
}
