package enginetest

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/lbnode/lbnode/state"
	"github.com/lbnode/lbnode/stats"
)

// put changes the configuration.
func (w *world) put(k state.Kind, doc string) {
	w.t.Helper()
	w.views.Put(k, doc)
	if err := w.p.Update(w.views.View()); err != nil {
		w.t.Fatal(err)
	}
}

// heads is a backend that answers with the request head it got.
func heads(t testing.TB) *backend {
	return rawBackend(t, func(c *conn, _ int) {
		for {
			h := c.head()
			if h == "" {
				return
			}
			c.send(fmt.Sprintf("HTTP/1.1 200 OK\r\nServer: secret\r\nX-Old: 1\r\nContent-Length: %d\r\n\r\n%s", len(h), h))
		}
	})
}

func (c *conn) head200(req string) (*http.Response, string) {
	c.t.Helper()
	resp, body := c.send(req).answer("GET")
	if resp.StatusCode != 200 {
		c.t.Fatalf("%q = %d %q, want 200", req, resp.StatusCode, body)
	}
	return resp, body
}

func testHeaders(t *testing.T, mk New) {
	w := newWorld(t, mk, `,"request_headers":{"set":{"X-Who":"{client_ip} {route}/{backend} {{x}","User-Agent":"lb"},"add":{"X-Tag":"b"},"remove":["X-Debug"]},`+
		`"response_headers":{"set":{"X-Where":"{backend}{path}","x-old":"2"},"add":{"X-Id":"{request_id}"},"remove":["server"]}`, heads(t).addr)
	c := w.dial()
	for range 2 {
		resp, h := c.head200("GET /p?q=1 HTTP/1.1\r\nHost: a\r\nUser-Agent: x\r\nX-Tag: a\r\nx-debug: 1\r\nX-Who: me\r\n\r\n")
		for _, want := range []string{"X-Who: 127.0.0.1 r/b0 {x}\r\n", "User-Agent: lb\r\n", "X-Tag: a\r\n", "X-Tag: b\r\n"} {
			if strings.Count(strings.ToLower(h), strings.ToLower(want)) != 1 { // HTTP/2 has lower case
				t.Errorf("the backend got %q, want %q once", h, want)
			}
		}
		for _, bad := range []string{"ebug", "X-Who: me", "User-Agent: x"} {
			if strings.Contains(h, bad) {
				t.Errorf("the backend got %q in %q", bad, h)
			}
		}
		if resp.Header.Get("Server") != "" || resp.Header.Get("X-Where") != "b0/p" || len(resp.Header["X-Old"]) != 1 || resp.Header.Get("X-Old") != "2" {
			t.Errorf("the client got %v", resp.Header)
		}
		if id := resp.Header.Get("X-Id"); !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(id) || !strings.Contains(h, "X-Request-Id: "+id+"\r\n") {
			t.Errorf("request id %q", id)
		}
	}
	// A message framed by chunks, whose head is written anew as well.
	c.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nX-Debug: 1\r\n\r\n")
	if resp, h := c.answer("POST"); resp.StatusCode != 200 || strings.Contains(h, "Debug") {
		t.Errorf("answer %d %q", resp.StatusCode, h)
	}
}

func testRewrite(t *testing.T, mk New) {
	b := heads(t)
	for _, tc := range []struct{ rewrite, path, want string }{
		{`"strip_prefix":"/api"`, "/api/x?q=a/b%2f", "/x?q=a/b%2f"},
		{`"strip_prefix":"/api"`, "/api", "/"},
		{`"strip_prefix":"/api"`, "/apix", "/apix"},
		{`"strip_prefix":"/api"`, "/api//x%20y//", "//x%20y//"},
		{`"strip_prefix":"/api"`, "/%61pi/x", "/x"},
		{`"replace_prefix":"/v2"`, "/x", "/v2/x"},
		{`"replace_prefix":"/v2/"`, "/", "/v2/"},
		{`"regex":"^/user/(\\d+)$","replacement":"/u/${1}/x"`, "/user/17", "/u/17/x"},
		{`"regex":"^/user/(\\d+)$","replacement":"/u/${1}"`, "/user/a", "/user/a"},
		{`"regex":"^/s(.*)$","replacement":"/d/$1"`, "/s../x", "400"},
		{`"strip_prefix":"/api"`, "/x/../api/y", "400"},
		{`"strip_prefix":"/api"`, "/api%2fx", "400"},
		{`"regex":"^/cut","replacement":"cut"`, "/cut", "400"},
	} {
		w := newWorld(t, mk, `,"rewrite":{`+tc.rewrite+`}`, b.addr)
		resp, h := w.dial().send("GET " + tc.path + " HTTP/1.1\r\nHost: a\r\n\r\n").answer("GET")
		if tc.want == "400" {
			if resp.StatusCode != 400 {
				t.Errorf("%s: %s = %d %q, want 400", tc.rewrite, tc.path, resp.StatusCode, h)
			}
			continue
		}
		if got, _, _ := strings.Cut(strings.TrimPrefix(h, "GET "), " "); got != tc.want {
			t.Errorf("%s: %s went on as %q, want %q", tc.rewrite, tc.path, got, tc.want)
		}
	}
	for host, want := range map[string]string{"preserve": "a.example:1", "backend": b.addr, "x.example:81": "x.example:81"} {
		w := newWorld(t, mk, `,"rewrite":{"host":"`+host+`"}`, b.addr)
		_, h := w.dial().head200("GET / HTTP/1.1\r\nHost: a.example:1\r\n\r\n")
		if !strings.Contains(h, "\r\nHost: "+want+"\r\n") || !strings.Contains(h, "X-Forwarded-Host: a.example:1\r\n") {
			t.Errorf("host %s: the backend got %q", host, h)
		}
	}
}

func testRedirect(t *testing.T, mk New) {
	w := newWorld(t, mk, "", heads(t).addr)
	own, other := w.scheme(), map[string]string{"http": "https", "https": "http"}[w.scheme()]
	for _, tc := range []struct{ redirect, path, host, want string }{
		{`"status":301,"scheme":"` + other + `"`, "/x?a=1", "a.example:8080", "301 " + other + "://a.example/x?a=1"},
		{`"status":308,"host":"new.example:8443"`, "//evil.example/x", "a", "308 " + own + "://new.example:8443//evil.example/x"},
		{`"status":302,"path":"/v2{path}","strip_query":true`, "/x?a=1", "a", "302 " + own + "://a/v2/x"},
		{`"status":303,"path":"/done"`, "/x", "[::1]:80", "303 " + own + "://[::1]:80/done"},
		{`"status":307,"scheme":"` + own + `"`, "/x", "a", "503 "}, // is there already, and there is no pool
	} {
		w.put(state.KindRoute, `{"id":"to","priority":1,"redirect":{`+tc.redirect+`}}`)
		c := w.dial()
		resp := c.send("GET "+tc.path+" HTTP/1.1\r\nHost: "+tc.host+"\r\n\r\n").want(0, "*")
		if got := fmt.Sprintf("%d %s", resp.StatusCode, resp.Header.Get("Location")); got != tc.want {
			t.Errorf("%s: %s = %q, want %q", tc.redirect, tc.path, got, tc.want)
		}
		c.send("HEAD " + tc.path + " HTTP/1.1\r\nHost: " + tc.host + "\r\n\r\n").answer("HEAD") // the connection goes on
	}
	w.put(state.KindRoute, `{"id":"to","priority":1,"redirect":{"status":301,"scheme":"`+own+`","host":"a"},"backend_pool":"web"}`)
	w.dial().head200(get) // at its goal already: the pool serves it
	w.dial().send("GET / HTTP/1.1\r\nHost: b\r\n\r\n").want(301, "")
	w.dial().send("POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 5\r\n\r\nhello").want(301, "")
}

func testSplit(t *testing.T, mk New) {
	w := newWorld(t, mk, "", rawBackend(t, fixed("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na")).addr)
	b := rawBackend(t, fixed("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nb"))
	w.views.Put(state.KindPool, `{"id":"canary","health":{"type":"none"}}`)
	w.views.Put(state.KindBackend, fmt.Sprintf(`{"id":"c0","address":%q,"pool":"canary"}`, b.addr))
	w.put(state.KindRoute, `{"id":"s","priority":1,"split":[{"pool":"web","weight":1},{"pool":"canary","weight":1}]}`)
	count := map[string]int{}
	c := w.dial()
	for range 200 {
		_, body := c.head200(get)
		count[body]++
	}
	if count["a"] < 50 || count["b"] < 50 { // 7 sigma
		t.Errorf("an even split of 200 requests gave %v", count)
	}
	w.put(state.KindRoute, `{"id":"s","priority":1,"split":[{"pool":"web","weight":1},{"pool":"canary","weight":1}],"split_by":"header:X-User"}`)
	seen := map[string]bool{}
	for i := range 20 {
		req := fmt.Sprintf("GET / HTTP/1.1\r\nHost: a\r\nX-User: %d\r\n\r\n", i)
		_, first := c.head200(req)
		_, again := w.dial().head200(req)
		if seen[first] = true; first != again {
			t.Errorf("user %d went to %s and %s", i, first, again)
		}
	}
	if len(seen) != 2 {
		t.Errorf("20 users went to %v alone", seen)
	}
	w.put(state.KindRoute, `{"id":"s","priority":1,"split":[{"pool":"web","weight":0},{"pool":"canary","weight":1}]}`)
	for range 20 {
		c.send(get).want(200, "b")
	}
}

func testMirror(t *testing.T, mk New) {
	w := newWorld(t, mk, "", httpBackend(t, echo))
	got := make(chan string, 100)
	hang := make(chan struct{})
	shadow := httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- fmt.Sprintf("%s %s %s %d", r.Method, r.URL.Path, r.Header.Get("X-Lbnode-Shadow"), len(body))
		if r.URL.Path == "/hang" {
			<-hang
		}
		w.WriteHeader(500)
	})
	defer close(hang)
	w.views.Put(state.KindPool, `{"id":"shadow","health":{"type":"none"}}`)
	w.views.Put(state.KindBackend, fmt.Sprintf(`{"id":"m0","address":%q,"pool":"shadow"}`, shadow))
	w.put(state.KindRoute, `{"id":"m","priority":1,"backend_pool":"web","mirror":{"pool":"shadow"}}`)
	c := w.dial()
	wait := func(want string) {
		t.Helper()
		select {
		case s := <-got:
			if s != want {
				t.Errorf("the mirror got %q, want %q", s, want)
			}
		case <-time.After(patience):
			t.Fatalf("the mirror did not get %q", want)
		}
	}
	c.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n").want(200, "")
	wait("GET /x m 0")
	c.send("POST /y HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc").want(200, "abc")
	wait("POST /y m 3")
	c.send("POST /z HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n").want(200, "abc")
	wait("POST /z m 3")
	c.send("GET /hang HTTP/1.1\r\nHost: a\r\n\r\n").want(200, "") // never waits for the mirror
	wait("GET /hang m 0")
	large := strings.Repeat("x", 70_000)
	c.send(fmt.Sprintf("POST /large HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(large), large)).want(200, large)
	c.send("GET /after HTTP/1.1\r\nHost: a\r\n\r\n").want(200, "")
	wait("GET /after m 0") // and nothing of the large one
	eventually(t, "copies are counted", func() bool {
		e := w.p.Stats().Route("m").Snapshot().Errors
		return e[stats.Mirrored.String()] == 5 && e[stats.MirrorSkipped.String()] == 1
	})
	w.views.Delete(state.KindBackend, "m0")
	w.put(state.KindRoute, `{"id":"m","priority":1,"backend_pool":"web","mirror":{"pool":"shadow"},"retries":1}`)
	c.send(get).want(200, "") // nor fails for lack of one
}

func testRateLimit(t *testing.T, mk New) {
	w := newWorld(t, mk, `,"rate_limit":{"requests_per_second":0.01,"burst":3}`, heads(t).addr)
	c := w.dial()
	for range 3 {
		c.head200(get)
	}
	resp := c.send(get).want(429, "*")
	if s := resp.Header.Get("Retry-After"); s != "100" && s != "99" && s != "98" {
		t.Errorf("Retry-After = %q, want about 100", s)
	}
	c.send(get).want(429, "*") // the connection goes on
	if n := w.p.Stats().Route("r").Snapshot().Errors[stats.RateLimited.String()]; n != 2 {
		t.Errorf("%d requests counted as limited, want 2", n)
	}
	// A change elsewhere does not give anybody a new burst; a change of the limit does.
	w.put(state.KindRoute, `{"id":"other","match":{"path":"/other"},"backend_pool":"web"}`)
	c.send(get).want(429, "*")
	w.put(state.KindRoute, `{"id":"r","match":{"path":"/"},"backend_pool":"web","rate_limit":{"requests_per_second":0.01,"burst":1,"per":"header:X-Key","status":503}}`)
	for _, key := range []string{"a", "b"} {
		req := "GET / HTTP/1.1\r\nHost: a\r\nX-Key: " + key + "\r\n\r\n"
		c.head200(req)
		c.send(req).want(503, "*")
	}
}
