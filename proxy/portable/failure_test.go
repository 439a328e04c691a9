package portable_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/lbnode/lbnode/proxy"
	"github.com/lbnode/lbnode/proxy/portable"
	"github.com/lbnode/lbnode/state"
	"github.com/lbnode/lbnode/stats"
)

func TestRetry_connectFailure(t *testing.T) {
	t.Parallel()
	b := newBed(t).backend("dead1", closedPort(t), "p", `"weight":100`).backend("dead2", closedPort(t), "p", `"weight":100`)
	b.backend("live", server(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprint(w, r.Method, " ", string(body))
	}), "p").route(`{"id":"r","backend_pool":"p"}`).apply()
	c := b.client("h1")
	for i := range 20 {
		// Nothing was sent, so every method may go elsewhere, and the body is still all there.
		resp, body := b.do(c, "POST", b.url("/"), io.MultiReader(strings.NewReader("data")))
		if resp.StatusCode != 200 || body != "POST data" {
			t.Fatalf("request %d: %d %q", i, resp.StatusCode, body)
		}
	}
	s := b.proxy.Stats().Snapshot("n")
	if s.Routes["r"].Requests() != 20 || s.Routes["r"].Errors["retry"] < 20 || s.Backends["live"].Requests() != 20 || s.Backends["dead1"].Errors["connect_failed"] == 0 {
		t.Errorf("stats = %+v", s)
	}
	if !strings.Contains(b.seen.all(), "dead1 connect_failed") {
		t.Errorf("observer heard %q", b.seen.all())
	}
}

func TestRetry_bounded(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	for i := range 5 {
		b.backend(fmt.Sprint("dead", i), closedPort(t), "p")
	}
	b.route(`{"id":"none","backend_pool":"p","retries":0,"match":{"path":"/0"}}`, `{"id":"two","backend_pool":"p","retries":2,"match":{"path":"/2"}}`,
		`{"id":"ten","backend_pool":"p","retries":10,"match":{"path":"/10"}}`).apply()
	for path, want := range map[string]uint64{"/0": 1, "/2": 3, "/10": 5} {
		before := attempts(b)
		resp, body := b.get(path)
		wantProblem(t, resp, body, 502, "connect_failed")
		if got := attempts(b) - before; got != want {
			t.Errorf("%s: %d attempts, want %d, each on another backend", path, got, want)
		}
	}
}

func attempts(b *bed) (n uint64) {
	for _, s := range b.proxy.Stats().Snapshot("n").Backends {
		n += s.Requests()
	}
	return n
}

func TestNoRetry_onceSent(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	hangUp := func(c net.Conn) {
		calls.Add(1)
		readHead(c)
	}
	b := newBed(t).backend("a", rawServer(t, hangUp), "p").backend("b", rawServer(t, hangUp), "p")
	b.route(`{"id":"r","backend_pool":"p","retries":5}`).apply()
	resp, body := b.do(b.client("h1"), "POST", b.url("/"), strings.NewReader("x"))
	wantProblem(t, resp, body, 502, "backend_reset")
	if n := calls.Load(); n != 1 {
		t.Errorf("the request was sent %d times, want once", n)
	}
}

func TestBadResponses(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	for name, answer := range map[string]string{
		"garbage":   "hello\r\n\r\n",
		"status":    "HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n",
		"lengths":   "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
		"bighead":   "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 300<<10) + "\r\n\r\n",
		"badlength": "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
	} {
		b.backend(name, rawServer(t, func(c net.Conn) { readHead(c); io.WriteString(c, answer) }), name)
		b.route(fmt.Sprintf(`{"id":%q,"backend_pool":%q,"match":{"path":"/%s"}}`, name, name, name))
	}
	b.apply()
	for _, name := range []string{"garbage", "status", "lengths", "bighead", "badlength"} {
		resp, body := b.get("/" + name)
		wantProblem(t, resp, body, 502, "bad_response")
		if !strings.Contains(b.seen.all(), name+" bad_response") {
			t.Errorf("%s: observer heard %q", name, b.seen.all())
		}
	}
}

// hole accepts connections and never answers.
func hole(t *testing.T) string {
	return rawServer(t, func(c net.Conn) { io.Copy(io.Discard, c) })
}

func TestTimeouts(t *testing.T) {
	t.Parallel()
	// A dial that never ends stands for a backend that swallows SYNs.
	b := newBed(t, func(p *proxy.Config, _ *portable.Config) {
		p.Upstream.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if strings.HasPrefix(addr, "192.0.2.") {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return new(net.Dialer).DialContext(ctx, network, addr)
		}
	})
	drip := server(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(200)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	b.backend("black", "192.0.2.1:80", "black").backend("hole", hole(t), "hole").backend("drip", drip, "drip")
	b.backend("one", "192.0.2.1:80", "mixed", `"weight":1000`).backend("two", server(t, named("two")), "mixed")
	b.route(`{"id":"c","backend_pool":"black","retries":0,"match":{"path":"/connect"},"timeouts":{"connect":"30ms"}}`,
		`{"id":"f","backend_pool":"hole","match":{"path":"/first"},"timeouts":{"first_byte":"30ms"}}`,
		`{"id":"t","backend_pool":"hole","match":{"path":"/total"},"timeouts":{"total":"30ms"}}`,
		`{"id":"d","backend_pool":"drip","match":{"path":"/drip"},"timeouts":{"total":"600ms","first_byte":"20s"}}`,
		`{"id":"m","backend_pool":"mixed","match":{"path":"/mixed"},"timeouts":{"connect":"400ms"}}`).apply()
	for path, code := range map[string]string{"/connect": "connect_timeout", "/first": "first_byte_timeout", "/total": "total_timeout"} {
		for _, method := range []string{"GET", "POST"} {
			var body io.Reader
			if method == "POST" {
				body = strings.NewReader("data")
			}
			resp, text := b.do(b.client("h1"), method, b.url(path), body)
			wantProblem(t, resp, text, 504, code)
		}
	}
	// A connect timeout is retried elsewhere.
	for range 5 {
		if resp, body := b.get("/mixed"); resp.StatusCode != 200 || body != "two" {
			t.Errorf("/mixed = %d %q, want the other backend's answer", resp.StatusCode, body)
		}
	}
	// Once the answer has begun, the client sees it break off.
	resp, err := b.client("h1").Get(b.url("/drip"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("an answer cut by the total timeout ended cleanly")
	}
	eventually(t, "counted", func() bool { return b.proxy.Stats().Snapshot("n").Backends["drip"].Errors["timeout"] == 1 })
	heard := b.seen.all()
	for _, want := range []string{"black connect_timeout", "hole first_byte_timeout"} {
		if !strings.Contains(heard, want) {
			t.Errorf("observer heard %q, want %q", heard, want)
		}
	}
	if strings.Contains(heard, "drip") || strings.Contains(heard, "total") {
		t.Errorf("observer heard %q: a total timeout says nothing about health", heard)
	}
}

func TestBodyTimeout(t *testing.T) {
	t.Parallel()
	b := simple(t, func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) },
		func(p *proxy.Config, _ *portable.Config) { p.BodyTimeout = 50 * time.Millisecond })
	got := b.raw("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc")
	if !strings.HasPrefix(got, "HTTP/1.1 408") || !strings.Contains(got, "body_timeout") {
		t.Errorf("answer to a body that stalls = %q, want 408", got)
	}
	if got := b.seen.all(); got != "" {
		t.Errorf("observer heard %q, want nothing", got)
	}
	// The deadline ends with the body: a slow answer after it is no stall.
	s := simple(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		select {
		case <-r.Context().Done():
		case <-time.After(150 * time.Millisecond):
		}
		io.WriteString(w, "done")
	}, func(p *proxy.Config, _ *portable.Config) { p.BodyTimeout = 50 * time.Millisecond })
	if resp, body := s.do(s.client("h1"), "POST", s.url("/"), strings.NewReader("data")); resp.StatusCode != 200 || body != "done" {
		t.Errorf("slow answer = %d %q", resp.StatusCode, body)
	}
}

func TestHeadLimits(t *testing.T) {
	t.Parallel()
	b := simple(t, named("a"), func(_ *proxy.Config, e *portable.Config) { e.Limits.HeadTimeout = 50 * time.Millisecond })
	if got := b.raw("GET /" + strings.Repeat("x", 9<<10) + " HTTP/1.1\r\nHost: h\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 414") {
		t.Errorf("long line = %.40q, want 414", got)
	}
	if got := b.raw("GET / HTTP/1.1\r\nHost: h\r\nX: " + strings.Repeat("x", 40<<10) + "\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 431") {
		t.Errorf("big head = %.40q, want 431", got)
	}
	if got := b.raw("GET / HTTP/1.1\r\nHost: h\r\n" + strings.Repeat("X: y\r\n", 120) + "\r\n"); !strings.HasPrefix(got, "HTTP/1.1 431") {
		t.Errorf("many fields = %.40q, want 431", got)
	}
	if got := b.raw("GET / HTTP/1.1\r\nHo"); got != "" { // and then nothing more: the deadline closes
		t.Errorf("slow head = %q, want a closed connection", got)
	}
}

func TestHandle_mounted(t *testing.T) {
	t.Parallel()
	b := simple(t, named("a"))
	b.proxy.Handle("http", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(201)
		io.WriteString(w, "mounted "+r.URL.Path)
	}))
	if resp, body := b.get("/x"); resp.StatusCode != 201 || body != "mounted /x" {
		t.Errorf("answer = %d %q, want the mounted handler's", resp.StatusCode, body)
	}
	b.proxy.Handle("http", nil)
	if _, body := b.get("/x"); body != "a" {
		t.Errorf("answer = %q, want the backend's", body)
	}
	if s := b.proxy.Stats().Snapshot("n"); s.Routes["r"].Classes[2] != 2 || s.Routes["r"].BytesOut != 11 {
		t.Errorf("stats = %+v", s.Routes["r"])
	}
}

// A mounted handler can believe X-Forwarded-Proto: it is made up here unless a trusted proxy says it.
func TestHandle_forwarded(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		trusted []netip.Prefix
		want    string
	}{
		"from anyone":          {nil, `["http"] []`},
		"from a trusted proxy": {[]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, `["https"] ["h"]`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := simple(t, named("a"), func(p *proxy.Config, _ *portable.Config) { p.TrustedProxies = c.trusted })
			b.proxy.Handle("http", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				fmt.Fprintf(w, "%q %q %s", r.Header["X-Forwarded-Proto"], r.Header["X-Forwarded-Host"], r.Header.Get("X-Kept"))
			}))
			got := b.raw("GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: h\r\nX-Kept: kept\r\nConnection: close\r\n\r\n")
			if !strings.HasSuffix(got, c.want+" kept") {
				t.Errorf("the handler saw %q, want %s kept", got, c.want)
			}
		})
	}
}

// entries is an access log that wants everything.
type entries chan proxy.Entry

func (entries) Wants(int) bool      { return true }
func (l entries) Log(e proxy.Entry) { l <- e }

func TestAccessLog(t *testing.T) {
	t.Parallel()
	lines := make(chan proxy.Entry, 10)
	b := simple(t, named("a"), func(p *proxy.Config, _ *portable.Config) { p.AccessLog = entries(lines) })
	b.get("/x?secret")
	e := <-lines
	if e.Status != 200 || e.Route != "r" || e.Backend != "a" || e.Path != "/x" || e.Attempts != 1 || e.BytesOut != 1 || e.Client.String() != "127.0.0.1" || e.Result != stats.OK || e.Duration <= 0 {
		t.Errorf("entry = %+v", e)
	}
	b.Delete(state.KindRoute, "r")
	b.apply()
	b.get("/y")
	if e := <-lines; e.Status != 404 || e.Route != "" || e.Result != stats.NoRoute {
		t.Errorf("entry = %+v", e)
	}
}

func shutdown(b *bed, d time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	return b.engine.Shutdown(ctx)
}

func TestDrain(t *testing.T) {
	t.Parallel()
	b := simple(t, named("a"))
	c := b.client("h1")
	b.do(c, "GET", b.url("/"), nil)
	h2 := b.client("h2")
	b.do(h2, "GET", b.tlsURL("/"), nil)
	b.engine.Drain()
	for range 3 { // still accepted and served, but no connection goes on
		if resp, body := b.do(c, "GET", b.url("/"), nil); resp.StatusCode != 200 || body != "a" || !resp.Close {
			t.Errorf("while draining: %d %q, close %v, want an answer and the end of the connection", resp.StatusCode, body, resp.Close)
		}
	}
	resp, body := b.get("/none/%00")
	if resp.StatusCode != 400 || !resp.Close {
		t.Errorf("refusal while draining: %d %s, close %v", resp.StatusCode, body, resp.Close)
	}
	opened := func() uint64 { return b.proxy.Stats().Snapshot("n").Total.ConnsOpened }
	b.do(h2, "GET", b.tlsURL("/"), nil) // brings a GOAWAY
	before := opened()
	eventually(t, "a new HTTP/2 connection after GOAWAY", func() bool {
		b.do(h2, "GET", b.tlsURL("/"), nil)
		return opened() > before
	})
}

func TestShutdown_waits(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}), make(chan struct{})
	b := simple(t, func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		<-release
		io.WriteString(w, "done")
	})
	idle := b.dial() // idle connections are closed
	answers := make(chan string, 1)
	go func() {
		resp, err := b.client("h1").Get(b.url("/"))
		if err != nil {
			answers <- err.Error()
			return
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		answers <- string(body)
	}()
	<-entered
	result := make(chan error, 1)
	go func() { result <- shutdown(b, patience) }()
	if _, err := idle.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("idle connection: %v, want EOF", err)
	}
	eventually(t, "no connection is accepted", func() bool {
		c, err := net.Dial("tcp", b.addr())
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	select {
	case err := <-result:
		t.Fatalf("Shutdown = %v while a request runs", err)
	default:
	}
	close(release)
	if got := <-answers; got != "done" {
		t.Errorf("answer = %q", got)
	}
	if err := <-result; err != nil {
		t.Errorf("Shutdown = %v, want nil", err)
	}
	if err := shutdown(b, time.Second); err != nil {
		t.Errorf("second Shutdown = %v", err)
	}
	if err := b.engine.Start(); !errors.Is(err, portable.ErrStarted) {
		t.Errorf("Start after Shutdown = %v, want ErrStarted", err)
	}
	if n := b.proxy.Stats().Snapshot("n").Total.Conns; n != 0 {
		t.Errorf("%d connections are still counted as open", n)
	}
}

func TestShutdown_cutsOff(t *testing.T) {
	t.Parallel()
	entered := make(chan struct{}, 2)
	ws := wsEcho(t)
	b := simple(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/ws" {
			ws(w, r)
			return
		}
		entered <- struct{}{}
		<-r.Context().Done() // ends with the proxy's connection
	})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, _, err := websocket.Dial(ctx, "ws://"+b.addr()+"/ws", &websocket.DialOptions{HTTPClient: b.client("h1")})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	var wg sync.WaitGroup
	for _, proto := range []string{"h1", "h2c"} {
		wg.Go(func() {
			if resp, err := b.client(proto).Get(b.url("/")); err == nil {
				resp.Body.Close()
				t.Errorf("%s: status %d, want a broken connection", proto, resp.StatusCode)
			}
		})
		<-entered
	}
	if err := shutdown(b, 100*time.Millisecond); !errors.Is(err, portable.ErrCutOff) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown = %v, want ErrCutOff", err)
	}
	wg.Wait()
	if _, _, err := c.Read(ctx); err == nil {
		t.Error("the tunnel goes on after Shutdown")
	}
	if n := b.proxy.Set().InFlight("a"); n != 0 {
		t.Errorf("InFlight after Shutdown = %d, want 0", n)
	}
}

func TestShutdown_waitsForTunnels(t *testing.T) {
	t.Parallel()
	b := simple(t, wsEcho(t))
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, _, err := websocket.Dial(ctx, "ws://"+b.addr(), &websocket.DialOptions{HTTPClient: b.client("h1")})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	result := make(chan error, 1)
	go func() { result <- shutdown(b, patience) }()
	eventually(t, "no connection is accepted", func() bool {
		c, err := net.Dial("tcp", b.addr())
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	if err := c.Write(ctx, websocket.MessageText, []byte("still")); err != nil {
		t.Fatal(err)
	}
	if _, msg, err := c.Read(ctx); err != nil || !strings.HasSuffix(string(msg), "still") {
		t.Errorf("tunnel during Shutdown: %q, %v", msg, err)
	}
	c.Close(websocket.StatusNormalClosure, "")
	if err := <-result; err != nil {
		t.Errorf("Shutdown = %v, want nil", err)
	}
}

// TestShutdown_requestOnItsWay: a request on a kept-alive connection that arrives just after the listener
// closed is answered.
func TestShutdown_requestOnItsWay(t *testing.T) {
	t.Parallel()
	b := simple(t, named("a"), func(_ *proxy.Config, e *portable.Config) { e.Limits.QuietTime = 2 * time.Second })
	c := b.dial()
	br := bufio.NewReader(c)
	ask := func() *http.Response {
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		return resp
	}
	ask()
	result := make(chan error, 1)
	go func() { result <- shutdown(b, patience) }()
	eventually(t, "no connection is accepted", func() bool {
		c, err := net.Dial("tcp", b.addr())
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	if resp := ask(); resp.StatusCode != 200 || !resp.Close {
		t.Errorf("answer = %d, close %v, want 200 and the end of the connection", resp.StatusCode, resp.Close)
	}
	if err := <-result; err != nil {
		t.Errorf("Shutdown = %v", err)
	}
}

func TestStart_addressInUse(t *testing.T) {
	t.Parallel()
	b := simple(t, named("a"))
	e, err := portable.New(portable.Config{Proxy: b.proxy, Addrs: []string{"127.0.0.1:0", b.addr()}, Limits: portable.DefaultLimits(), Logger: discard()})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Start(); err == nil || !strings.Contains(err.Error(), b.addr()) {
		t.Errorf("Start = %v, want an error that names %s", err, b.addr())
	}
	if len(e.Addrs()) != 0 {
		t.Errorf("Addrs after a failed Start = %v", e.Addrs())
	}
	if err := e.Shutdown(context.Background()); err != nil {
		t.Errorf("Shutdown = %v", err)
	}
}

func TestConfig_Validate(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	good := portable.Config{Proxy: b.proxy, Limits: portable.DefaultLimits(), Logger: discard()}
	for name, change := range map[string]func(*portable.Config){
		"Proxy":       func(c *portable.Config) { c.Proxy = nil },
		"Logger":      func(c *portable.Config) { c.Logger = nil },
		"Certificate": func(c *portable.Config) { c.TLSAddrs = []string{":0"} },
		"IdleTimeout": func(c *portable.Config) { c.Limits.IdleTimeout = 0 },
		"Streams":     func(c *portable.Config) { c.Limits.Streams = 0 },
		"Head":        func(c *portable.Config) { c.Limits.Head.Head = 1 },
	} {
		c := good
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("Validate with a bad %s = %v", name, err)
		}
	}
	if err := good.Validate(); err != nil {
		t.Errorf("Validate = %v", err)
	}
}
