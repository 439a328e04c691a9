package portable_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/lbnode/lbnode/state"
)

func TestProtocols(t *testing.T) {
	t.Parallel()
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Trailer", "Grpc-Status")
		fmt.Fprintf(w, "%s %s %s", r.Proto, body, r.Trailer.Get("X-Sum"))
		w.(http.Flusher).Flush() // else there is no chunk to put a trailer behind
		w.Header().Set("Grpc-Status", "0")
		w.Header().Set(http.TrailerPrefix+"X-Unannounced", "1")
		if r.ProtoMajor == 2 { // in HTTP/1.1 the codec takes it for broken framing
			w.Header().Set(http.TrailerPrefix+"Set-Cookie", "evil=1")
		}
	})
	start := func(tls bool, protos func(*http.Protocols)) *httptest.Server {
		s := httptest.NewUnstartedServer(h)
		s.Config.Protocols = new(http.Protocols)
		protos(s.Config.Protocols)
		if tls {
			s.EnableHTTP2 = s.Config.Protocols.HTTP2()
			s.StartTLS()
		} else {
			s.Start()
		}
		t.Cleanup(s.Close)
		return s
	}
	backends := map[string]struct {
		srv      *httptest.Server
		protocol string
		want     string
	}{
		"h1":    {start(false, func(p *http.Protocols) { p.SetHTTP1(true) }), "auto", "HTTP/1.1"},
		"h2c":   {start(false, func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) }), "h2c", "HTTP/2.0"},
		"h2":    {start(true, func(p *http.Protocols) { p.SetHTTP1(true); p.SetHTTP2(true) }), "h2", "HTTP/2.0"},
		"alpn":  {start(true, func(p *http.Protocols) { p.SetHTTP1(true); p.SetHTTP2(true) }), "auto", "HTTP/2.0"},
		"tlsh1": {start(true, func(p *http.Protocols) { p.SetHTTP1(true) }), "auto", "HTTP/1.1"},
		"http1": {start(true, func(p *http.Protocols) { p.SetHTTP1(true); p.SetHTTP2(true) }), "http1", "HTTP/1.1"},
	}
	b := newBed(t)
	for name, x := range backends {
		b.Put(state.KindPool, fmt.Sprintf(`{"id":%q,"protocol":%q,"tls":{"skip_verify":true}}`, name, x.protocol))
		b.backend("b-"+name, x.srv.URL, name)
		b.route(fmt.Sprintf(`{"id":%q,"backend_pool":%q,"match":{"path":"/%s"}}`, name, name, name))
	}
	b.apply()
	for name, x := range backends {
		for _, front := range []string{"h1", "h2c", "h2"} {
			url := b.url("/" + name)
			if front == "h2" {
				url = b.tlsURL("/" + name)
			}
			req, err := http.NewRequest("POST", url, io.MultiReader(strings.NewReader("data"))) // unknown length
			if err != nil {
				t.Fatal(err)
			}
			req.Trailer = http.Header{"X-Sum": {"42"}}
			resp, err := b.client(front).Do(req)
			if err != nil {
				t.Errorf("%s→%s: %v", front, name, err)
				continue
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if want := x.want + " data 42"; err != nil || string(body) != want || resp.Trailer.Get("Grpc-Status") != "0" || resp.Trailer.Get("X-Unannounced") != "1" || resp.Trailer.Get("Set-Cookie") != "" {
				t.Errorf("%s→%s: %q, trailer %v, %v, want %q with Grpc-Status and X-Unannounced, and no Set-Cookie", front, name, body, resp.Trailer, err, want)
			}
		}
	}
}

func TestBackendTLS_verified(t *testing.T) {
	t.Parallel()
	s := httptest.NewTLSServer(named("a"))
	t.Cleanup(s.Close)
	b := newBed(t).backend("a", s.URL, "p").route(`{"id":"r","backend_pool":"p","retries":0}`).apply()
	resp, body := b.get("/")
	wantProblem(t, resp, body, 502, "connect_failed")
	if got := b.seen.all(); got != "a connect_failed" {
		t.Errorf("observer heard %q", got)
	}
}

func TestSSE_firstEventBeforeTheEnd(t *testing.T) {
	t.Parallel()
	more := make(chan struct{})
	b := simple(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.(http.Flusher).Flush()
		<-more
		io.WriteString(w, "data: 1\n\n")
		w.(http.Flusher).Flush()
		<-more
		io.WriteString(w, "data: 2\n\n")
	})
	for _, proto := range []string{"h1", "h2c"} {
		resp, err := b.client(proto).Get(b.url("/")) // returns on the head alone
		if err != nil {
			t.Fatal(err)
		}
		br := bufio.NewReader(resp.Body)
		more <- struct{}{}
		if line, err := br.ReadString('\n'); line != "data: 1\n" {
			t.Errorf("%s: first event = %q, %v", proto, line, err)
		}
		more <- struct{}{}
		rest, err := io.ReadAll(br)
		if !strings.Contains(string(rest), "data: 2") || err != nil {
			t.Errorf("%s: rest = %q, %v", proto, rest, err)
		}
		resp.Body.Close()
	}
}

func TestHEADAndEmptyAnswers(t *testing.T) {
	t.Parallel()
	b := simple(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/204":
			w.WriteHeader(204)
		case "/304":
			w.Header().Set("Etag", `"x"`)
			w.WriteHeader(304)
		default:
			w.Header().Set("Content-Length", "1234")
			if r.Method == "GET" {
				io.WriteString(w, strings.Repeat("x", 1234))
			}
		}
	})
	c := b.client("h1")
	if resp, body := b.do(c, "HEAD", b.url("/"), nil); resp.ContentLength != 1234 || body != "" {
		t.Errorf("HEAD: length %d, body %q, want 1234 and none", resp.ContentLength, body)
	}
	if resp, body := b.do(c, "GET", b.url("/"), nil); resp.ContentLength != 1234 || len(body) != 1234 {
		t.Errorf("GET after HEAD: length %d, body of %d", resp.ContentLength, len(body))
	}
	for _, path := range []string{"/204", "/304"} {
		if resp, body := b.do(c, "GET", b.url(path), nil); fmt.Sprintf("/%d", resp.StatusCode) != path || body != "" {
			t.Errorf("%s: %d %q", path, resp.StatusCode, body)
		}
	}
}

func TestExpectContinue(t *testing.T) {
	t.Parallel()
	b := simple(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			w.WriteHeader(417)
			return
		}
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s", r.Header.Get("Expect"), body)
	})
	c := b.dial()
	br := bufio.NewReader(c)
	io.WriteString(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n")
	if line, _ := br.ReadString('\n'); !strings.HasPrefix(line, "HTTP/1.1 100") {
		t.Fatalf("first line = %q, want 100 Continue", line)
	}
	io.WriteString(c, "data")
	if rest, _ := io.ReadAll(br); !strings.HasSuffix(string(rest), "100-continue data") {
		t.Errorf("answer = %q", rest)
	}
	// Declined: the final status comes without a 100, and the body is never asked for.
	c = b.dial()
	io.WriteString(c, "POST /no HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
	if got, _ := io.ReadAll(c); !strings.HasPrefix(string(got), "HTTP/1.1 417") {
		t.Errorf("declined: %q, want 417 at once", got)
	}
}

func TestEarlyAnswer(t *testing.T) {
	t.Parallel()
	b := newBed(t).backend("a", rawServer(t, func(c net.Conn) {
		readHead(c)
		io.WriteString(c, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
		io.Copy(io.Discard, c)
	}), "p").route(`{"id":"r","backend_pool":"p"}`).apply()
	c := b.dial()
	io.WriteString(c, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n") // and no end
	br := bufio.NewReader(c)
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if resp.StatusCode != 403 || string(body) != "no" || err != nil {
		t.Errorf("answer = %d %q, %v, want 403 before the body has ended", resp.StatusCode, body, err)
	}
	if _, err := br.ReadByte(); !errors.Is(err, io.EOF) && err == nil {
		t.Error("the connection goes on after an unread body")
	}
}

func TestTruncatedAnswer(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	for name, answer := range map[string]string{
		"length":  "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
		"chunked": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
	} {
		b.backend(name, rawServer(t, func(c net.Conn) { readHead(c); io.WriteString(c, answer) }), name)
		b.route(fmt.Sprintf(`{"id":%q,"backend_pool":%q,"match":{"path":"/%s"}}`, name, name, name))
	}
	b.apply()
	for _, path := range []string{"/length", "/chunked"} {
		for _, proto := range []string{"h1", "h2c"} {
			resp, err := b.client(proto).Get(b.url(path))
			if err != nil {
				continue // cut before the head got out
			}
			if body, err := io.ReadAll(resp.Body); err == nil {
				t.Errorf("%s %s: body %q ended cleanly", proto, path, body)
			}
			resp.Body.Close()
		}
	}
	eventually(t, "counted", func() bool {
		s := b.proxy.Stats().Snapshot("n")
		return s.Backends["length"].Errors["backend_reset"] == 2 && s.Backends["chunked"].Errors["backend_reset"] == 2
	})
}

func TestClientGone(t *testing.T) {
	t.Parallel()
	entered, left := make(chan struct{}), make(chan struct{})
	b := simple(t, func(w http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		<-r.Context().Done()
		left <- struct{}{}
	})
	for _, proto := range []string{"h1", "h2c"} {
		ctx, cancel := context.WithCancel(context.Background())
		req, err := http.NewRequestWithContext(ctx, "GET", b.url("/"), nil)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			if resp, err := b.client(proto).Do(req); err == nil {
				resp.Body.Close()
			}
		}()
		<-entered
		cancel()
		<-left // the backend's request was cancelled
		<-done
	}
	eventually(t, "in-flight is 0", func() bool { return b.proxy.Set().InFlight("a") == 0 })
	if got := b.seen.all(); got != "" {
		t.Errorf("observer heard %q, want nothing", got)
	}
	if got := b.proxy.Stats().Snapshot("n").Backends["a"].Errors["client_gone"]; got != 2 {
		t.Errorf("client_gone = %d, want 2", got)
	}
}

func TestConfigChange_underRunningStreams(t *testing.T) {
	t.Parallel()
	more := make(chan string)
	h := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.(http.Flusher).Flush()
		for text := range more {
			io.WriteString(w, text)
			w.(http.Flusher).Flush()
		}
	}
	b := simple(t, h)
	resp, err := b.client("h1").Get(b.url("/"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	read := func(want string) {
		t.Helper()
		more <- want
		got := make([]byte, len(want))
		if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != want {
			t.Fatalf("read %q, %v, want %q", got, err, want)
		}
	}
	read("before")
	b.route(`{"id":"s","backend_pool":"other","match":{"path":"/x"}}`).apply()
	read("another route")
	b.Admin(state.AdminStopped, "a")
	b.apply()
	read("stopped")
	b.Put(state.KindPool, `{"id":"p","protocol":"h2c"}`)
	b.apply()
	read("other protocol")
	b.Put(state.KindBackend, `{"id":"a","address":"127.0.0.1:1","pool":"p"}`)
	b.apply()
	read("moved")
	b.Delete(state.KindBackend, "a").Delete(state.KindRoute, "r")
	b.apply()
	read("deleted")
	if n := b.proxy.Set().InFlight("a"); n != 1 {
		t.Errorf("InFlight of the deleted backend = %d, want 1", n)
	}
	r2, body := b.get("/")
	wantProblem(t, r2, body, 404, "no_route")
	close(more)
	if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) > 0 {
		t.Errorf("end of the stream = %q, %v", rest, err)
	}
	eventually(t, "in-flight is 0", func() bool { return b.proxy.Set().InFlight("a") == 0 })
}

func wsEcho(t *testing.T) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
		if err != nil {
			return
		}
		defer c.CloseNow()
		for {
			kind, msg, err := c.Read(r.Context())
			if err != nil {
				return
			}
			if err := c.Write(r.Context(), kind, append([]byte(r.Header.Get("X-Forwarded-For")+" "), msg...)); err != nil {
				return
			}
		}
	}
}

func TestWebSocket(t *testing.T) {
	t.Parallel()
	tlsBackend := httptest.NewTLSServer(wsEcho(t))
	t.Cleanup(tlsBackend.Close)
	b := simple(t, wsEcho(t))
	b.Put(state.KindPool, `{"id":"tls","tls":{"skip_verify":true}}`)
	b.backend("t", tlsBackend.URL, "tls").route(`{"id":"t","backend_pool":"tls","match":{"path":"/tls"},"timeouts":{"total":"1s"}}`).apply()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for backend, url := range map[string]string{"a": b.url("/"), "t": b.tlsURL("/tls")} {
		c, _, err := websocket.Dial(ctx, strings.Replace(url, "http", "ws", 1), &websocket.DialOptions{HTTPClient: b.client("h1")})
		if err != nil {
			t.Fatalf("%s: %v", url, err)
		}
		// For longer than the route's total timeout, from which tunnels are exempt.
		for i, start := 0, time.Now(); i < 50 || time.Since(start) < 1100*time.Millisecond; i++ {
			msg := strings.Repeat(fmt.Sprint(i, " "), i%50*50)
			if err := c.Write(ctx, websocket.MessageText, []byte(msg)); err != nil {
				t.Fatal(err)
			}
			_, got, err := c.Read(ctx)
			if err != nil || string(got) != "127.0.0.1 "+msg {
				t.Fatalf("echo = %q, %v", got, err)
			}
			c.SetReadLimit(1 << 20)
		}
		if n := b.proxy.Set().InFlight(backend); n != 1 {
			t.Errorf("InFlight(%s) = %d, want the tunnel", backend, n)
		}
		b.Admin(state.AdminStopped, backend) // a stopped backend keeps its tunnels
		b.apply()
		if err := c.Write(ctx, websocket.MessageText, []byte("x")); err != nil {
			t.Errorf("write after stop: %v", err)
		}
		if _, _, err := c.Read(ctx); err != nil {
			t.Errorf("read after stop: %v", err)
		}
		if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
			t.Errorf("close: %v", err)
		}
		eventually(t, "tunnel ended", func() bool { return b.proxy.Set().InFlight(backend) == 0 })
	}
	if got := b.proxy.Stats().Snapshot("n").Backends["a"].Latency.Count(); got != 0 {
		t.Errorf("%d tunnels in the latency histogram, want 0", got)
	}
}

const handshake = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

func TestUpgrade_verified(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	add := func(name, head string) {
		b.backend(name, rawServer(t, func(c net.Conn) {
			req, head := readHead(c), head
			if !strings.Contains(req, "Upgrade: websocket") && strings.Contains(head, "101") {
				head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
			}
			io.WriteString(c, head)
			io.Copy(c, c) // a raw echo after the head
		}), name)
		b.route(fmt.Sprintf(`{"id":%q,"backend_pool":%q,"match":{"path":"/%s"}}`, name, name, name))
	}
	good := "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
	add("good", good)
	add("wrongkey", strings.Replace(good, "s3pP", "AAAA", 1))
	add("wrongproto", strings.Replace(good, "WebSocket\r", "h2c\r", 1))
	add("declined", "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
	b.apply()
	for name, tt := range map[string]struct{ send, want string }{
		"wrong accept hash":     {"GET /wrongkey HTTP/1.1\r\nHost: h\r\n" + handshake, "502"},
		"another protocol":      {"GET /wrongproto HTTP/1.1\r\nHost: h\r\n" + handshake, "502"},
		"101 that nobody asked": {"GET /good HTTP/1.1\r\nHost: h\r\n", "502"},
		"h2c upgrade":           {"GET /good HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n", "502"},
		"no key":                {"GET /good HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n", "502"},
		"POST":                  {"POST /good HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n" + handshake, "502"},
		"declined":              {"GET /declined HTTP/1.1\r\nHost: h\r\n" + handshake, "426"},
	} {
		c := b.dial()
		io.WriteString(c, tt.send+"\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || fmt.Sprint(resp.StatusCode) != tt.want {
			t.Errorf("%s: %v, %v, want %s", name, resp, err, tt.want)
			continue
		}
		resp.Body.Close()
	}
	// Bytes right behind the handshake, and half-close: what was sent comes back before the end.
	c := b.dial()
	io.WriteString(c, "GET /good HTTP/1.1\r\nHost: h\r\n"+handshake+"\r\nfirst ")
	br := bufio.NewReader(c)
	if resp, err := http.ReadResponse(br, nil); err != nil || resp.StatusCode != 101 {
		t.Fatalf("handshake: %v, %v", resp, err)
	}
	io.WriteString(c, "GET / HTTP/9.9\n\x00 no HTTP any more")
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(br); string(got) != "first GET / HTTP/9.9\n\x00 no HTTP any more" || err != nil {
		t.Errorf("tunnel gave back %q, %v", got, err)
	}
}
