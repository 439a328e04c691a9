package enginetest

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lbnode/lbnode/proxy"
	"github.com/lbnode/lbnode/proxy/internal/viewtest"
	"github.com/lbnode/lbnode/proxy/proxyproto"
	"github.com/lbnode/lbnode/state"
	"github.com/lbnode/lbnode/stats"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// New makes an engine with one plain listener, and with those for TLS that the settings name.
type New func(t testing.TB, p *proxy.Proxy, s Settings) proxy.Engine

// Settings are what New must set.
type Settings struct {
	Addr      string
	ProxyFrom proxyproto.Trust
	Head      time.Duration // HeadTimeout
	Idle      time.Duration // IdleTimeout
	Stall     time.Duration // StallTimeout
	Conns     int
	Client    int                 // ClientConns
	change    func(*proxy.Config) // nil = nothing

	TLSAddrs    []string
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
}

// The timeouts of most tests.
const (
	headTimeout = 1500 * time.Millisecond
	idleTimeout = 600 * time.Millisecond
)

func defaultSettings() Settings {
	return Settings{Addr: "127.0.0.1:0", Head: headTimeout, Idle: idleTimeout, Stall: time.Minute, Conns: 100_000}
}

// world is an engine with backends.
type world struct {
	t     testing.TB
	p     *proxy.Proxy
	e     proxy.Engine
	addr  string
	tls   *tls.Config // of clients; nil = in clear text
	views *views
}

// newWorld starts an engine before the backends. route is the rest of the route's document, beginning with a comma.
func newWorld(t testing.TB, mk New, route string, backends ...string) *world {
	t.Helper()
	return newWorldWith(t, mk, defaultSettings(), route, backends...)
}

// newConfigured is newWorld with settings of the proxy.
func newConfigured(t testing.TB, mk New, change func(*proxy.Config), route string, backends ...string) *world {
	t.Helper()
	set := defaultSettings()
	set.change = change
	return newWorldWith(t, mk, set, route, backends...)
}

// newWorldWith is newWorld with other settings of the engine.
func newWorldWith(t testing.TB, mk New, set Settings, route string, backends ...string) *world {
	t.Helper()
	cfg := proxy.DefaultConfig()
	cfg.NodeID, cfg.Logger, cfg.BodyTimeout = "node-1", slog.New(slog.DiscardHandler), 2*time.Second
	reg, err := stats.New(stats.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	cfg.Stats = reg
	if set.change != nil {
		set.change(&cfg)
	}
	p, err := proxy.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, p: p, views: &views{Builder: viewtest.New(t)}}
	define := func() {
		w.views.Put(state.KindPool, `{"id":"web","algorithm":"round_robin","health":{"type":"none"}}`)
		for i, b := range backends {
			w.views.Put(state.KindBackend, fmt.Sprintf(`{"id":"b%d","address":%q,"pool":"web"}`, i, b))
		}
		w.views.Put(state.KindRoute, `{"id":"r","match":{"path":"/"},"backend_pool":"web"`+route+`}`)
		w.update()
	}
	define()
	w.e = mk(t, p, set)
	if b, ok := w.e.(*behind); ok {
		w.views.by = b
		define()
	}
	if err := w.e.Start(); err != nil {
		t.Fatal(err)
	}
	w.addr = w.e.Addrs()[0].String()
	if s, ok := w.e.(secured); ok {
		w.addr, w.tls = s.TLSAddrs()[0].String(), s.client
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		defer cancel()
		_ = w.e.Shutdown(ctx) // tests leave connections open
		p.Close()
		if n := p.Stats().Total().Active(); n != 0 {
			t.Errorf("%d requests are counted as active in the end", n)
		}
		for i := range backends {
			if n := p.Set().InFlight(fmt.Sprintf("b%d", i)); n != 0 {
				t.Errorf("backend b%d has %d requests in flight in the end", i, n)
			}
		}
	})
	return w
}

// update puts the newest view in force.
func (w *world) update() {
	w.t.Helper()
	if err := w.p.Update(w.views.View()); err != nil {
		w.t.Fatal(err)
	}
}

// scheme is that of the URLs of what a client of this world asks for.
func (w *world) scheme() string {
	if b, ok := w.e.(*bridged); ok && b.secure {
		return "https"
	}
	if w.tls != nil {
		return "https"
	}
	return "http"
}

// conn is a client's connection, or a backend's.
type conn struct {
	t testing.TB
	net.Conn
	r *bufio.Reader
}

func (w *world) dial() *conn {
	w.t.Helper()
	c, err := w.tryDial()
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// tryDial is dial for connections that the engine may refuse.
func (w *world) tryDial() (*conn, error) {
	raw, err := net.Dial("tcp", w.addr)
	if err != nil {
		return nil, err
	}
	w.t.Cleanup(func() { raw.Close() })
	_ = raw.SetDeadline(time.Now().Add(patience))
	c := raw
	if w.tls != nil {
		secure := tls.Client(raw, w.tls)
		if err := secure.Handshake(); err != nil {
			return nil, err
		}
		c = secure
	}
	return &conn{w.t, c, bufio.NewReader(c)}, nil
}

// tcp is what a connection stands on.
func (c *conn) tcp() *net.TCPConn {
	if s, ok := c.Conn.(*tls.Conn); ok {
		return s.NetConn().(*net.TCPConn)
	}
	return c.Conn.(*net.TCPConn)
}

// closeWrite ends the sending side, for TLS with close_notify alone.
func (c *conn) closeWrite() {
	if err := c.Conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		c.t.Errorf("close the sending side: %v", err)
	}
}

func (c *conn) send(s string) *conn {
	c.t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		c.t.Fatalf("send: %v", err)
	}
	return c
}

// dribble sends byte by byte. The other end may close at any time.
func (c *conn) dribble(s string) {
	for i := range len(s) {
		if _, err := c.Write([]byte{s[i]}); err != nil {
			return
		}
	}
}

// answer reads one response as a whole.
func (c *conn) answer(method string) (*http.Response, string) {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		c.t.Fatalf("read response: %v", err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatalf("read body of %d: %v", resp.StatusCode, err)
	}
	return resp, string(b)
}

// want reads one response and checks its status and body; 0 and "*" stand for any.
func (c *conn) want(status int, body string) *http.Response {
	c.t.Helper()
	resp, got := c.answer("GET")
	if status != 0 && resp.StatusCode != status || body != "*" && got != body {
		c.t.Fatalf("answer = %d %q, want %d %q", resp.StatusCode, got, status, body)
	}
	return resp
}

// line reads one line without its end.
func (c *conn) line() string {
	c.t.Helper()
	s, err := c.r.ReadString('\n')
	if err != nil {
		c.t.Fatalf("read line: %v (got %q)", err, s)
	}
	return strings.TrimRight(s, "\r\n")
}

// rest reads up to the end of the connection.
func (c *conn) rest() (string, error) {
	b, err := io.ReadAll(c.r)
	return string(b), err
}

func (c *conn) wantEnd() {
	c.t.Helper()
	if s, err := c.rest(); s != "" || err != nil && strings.Contains(err.Error(), "timeout") {
		c.t.Fatalf("after the answer came %q, %v; want the end", s, err)
	}
}

// backend runs a handler for each connection that is made to it.
type backend struct {
	addr string
	mu   sync.Mutex
	n    int
}

func (b *backend) conns() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.n
}

// rawBackend gives each connection, with its number from 1, to serve, and closes it afterwards.
func rawBackend(t testing.TB, serve func(c *conn, n int)) *backend {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &backend{addr: ln.Addr().String()}
	var wg sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	wg.Go(func() {
		for {
			raw, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[raw] = true
			mu.Unlock()
			b.mu.Lock()
			b.n++
			n := b.n
			b.mu.Unlock()
			_ = raw.SetDeadline(time.Now().Add(patience))
			wg.Go(func() {
				defer raw.Close()
				serve(&conn{t, raw, bufio.NewReader(raw)}, n)
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for c := range open {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return b
}

// head reads a request head, "" at the end of the connection.
func (c *conn) head() string {
	var b strings.Builder
	for {
		s, err := c.r.ReadString('\n')
		if err != nil {
			return ""
		}
		b.WriteString(s)
		if s == "\r\n" {
			return b.String()
		}
	}
}

// fixed answers every request without a body with the same bytes.
func fixed(answer string) func(*conn, int) {
	return func(c *conn, _ int) {
		for c.head() != "" {
			if _, err := io.WriteString(c, answer); err != nil {
				return
			}
		}
	}
}

// httpBackend is a backend of net/http.
func httpBackend(t testing.TB, h http.HandlerFunc) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(ln)
	}()
	t.Cleanup(func() {
		s.Close()
		<-done
	})
	return ln.Addr().String()
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if ok() {
			return
		}
		select {
		case <-t.Context().Done():
			return
		case <-time.After(2 * time.Millisecond):
		}
	}
	t.Fatalf("%s: did not happen in %s", what, patience)
}
