package portable_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/netip"
	"net/textproto"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lbnode/lbnode/proxy"
	"github.com/lbnode/lbnode/proxy/portable"
)

// echo answers with the request's header as JSON.
func echo(w http.ResponseWriter, r *http.Request) {
	h := r.Header.Clone()
	h.Set("Host", r.Host)
	json.NewEncoder(w).Encode(h)
}

func echoed(t *testing.T, body string) http.Header {
	t.Helper()
	var h http.Header
	if err := json.Unmarshal([]byte(body), &h); err != nil {
		t.Fatalf("body %q: %v", body, err)
	}
	return h
}

func TestRequestHeader(t *testing.T) {
	t.Parallel()
	trust := func(c *proxy.Config, _ *portable.Config) {
		c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")}
	}
	tests := []struct {
		name    string
		trusted bool
		send    string
		want    http.Header // "" = must be absent
	}{
		{"set", false, "", http.Header{"X-Forwarded-For": {"127.0.0.1"}, "X-Forwarded-Proto": {"http"}, "X-Forwarded-Host": {"h.test:81"}, "X-Real-Ip": {"127.0.0.1"}, "Host": {"h.test:81"}, "User-Agent": nil, "Accept-Encoding": nil, "Forwarded": nil}},
		{
			"forged", false, "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX-Real-IP: 1.2.3.4\r\nForwarded: for=1.2.3.4\r\nX_Forwarded_For: 1.2.3.4\r\nX_Real-IP: 1.2.3.4\r\nX-Forwarded-User: root\r\nX-Forwarded-Port: 1\r\n",
			http.Header{"X-Forwarded-For": {"127.0.0.1"}, "X-Forwarded-Proto": {"http"}, "X-Forwarded-Host": {"h.test:81"}, "X-Real-Ip": {"127.0.0.1"}, "Forwarded": nil, "X_forwarded_for": nil, "X_real-Ip": nil, "X-Forwarded-User": nil, "X-Forwarded-Port": nil},
		},
		{
			"trusted", true, "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: 10.0.0.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: site\r\nForwarded: for=1.2.3.4\r\nX_Forwarded_For: 6.6.6.6\r\n",
			http.Header{"X-Forwarded-For": {"1.2.3.4, 10.0.0.7, 127.0.0.1"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"site"}, "X-Real-Ip": {"1.2.3.4"}, "Forwarded": {"for=1.2.3.4, for=127.0.0.1;proto=http"}, "X_forwarded_for": nil},
		},
		{"trusted, forged in front", true, "X-Forwarded-For: 6.6.6.6, 1.2.3.4, 10.0.0.7\r\n", http.Header{"X-Real-Ip": {"1.2.3.4"}}},
		{"trusted, nonsense", true, "X-Forwarded-For: 1.2.3.4, unknown, 10.0.0.7:80\r\n", http.Header{"X-Real-Ip": {"10.0.0.7"}}},
		{
			"connection lists our fields", false, "Connection: X-Forwarded-For, X-Forwarded-Proto,X-Real-IP , X-Secret\r\nX-Secret: 1\r\nX-Other: 2\r\n",
			http.Header{"X-Forwarded-For": {"127.0.0.1"}, "X-Forwarded-Proto": {"http"}, "X-Real-Ip": {"127.0.0.1"}, "X-Secret": nil, "X-Other": {"2"}, "Connection": nil},
		},
		{
			"hop by hop", false, "Keep-Alive: 5\r\nProxy-Connection: x\r\nProxy-Authorization: x\r\nTE: gzip, trailers;q=1\r\nTrailer: X-T\r\nHTTP2-Settings: AA\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n",
			http.Header{"Keep-Alive": nil, "Proxy-Connection": nil, "Proxy-Authorization": nil, "Te": {"trailers"}, "Trailer": nil, "Http2-Settings": nil, "Upgrade": nil, "Connection": nil},
		},
		{
			"passes", false, "Authorization: Basic x\r\nCookie: a=b\r\nCookie: c=d\r\nX-Some_Thing: 1\r\nAccept-Encoding: br\r\nUser-Agent: me\r\nVia: 1.0 x\r\n",
			http.Header{"Authorization": {"Basic x"}, "Cookie": {"a=b", "c=d"}, "X-Some_thing": {"1"}, "Accept-Encoding": {"br"}, "User-Agent": {"me"}, "Via": {"1.0 x"}},
		},
	}
	plain, trusting := simple(t, echo), simple(t, echo, trust)
	for _, tt := range tests {
		b := plain
		if tt.trusted {
			b = trusting
		}
		head, body, _ := strings.Cut(b.raw("GET / HTTP/1.0\r\nHost: h.test:81\r\n"+tt.send+"\r\n"), "\r\n\r\n")
		if !strings.HasPrefix(head, "HTTP/1.0 200") {
			t.Errorf("%s: %q", tt.name, head)
			continue
		}
		got, all := http.Header{}, echoed(t, body)
		for name := range tt.want {
			got[name] = all[name]
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: fields at the backend (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestForwardedProto_tls(t *testing.T) {
	t.Parallel()
	b := simple(t, echo)
	for _, proto := range []string{"h1", "h2"} {
		resp, body := b.do(b.client(proto), "GET", b.tlsURL("/"), nil)
		if got := echoed(t, body).Get("X-Forwarded-Proto"); got != "https" {
			t.Errorf("%s (%s): X-Forwarded-Proto = %q, want https", proto, resp.Proto, got)
		}
	}
}

func TestResponseHeader(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.backend("a", rawServer(t, func(c net.Conn) {
		readHead(c)
		io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nProxy-Authenticate: x\r\nUpgrade: h2c\r\nX-End: 1\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00")
	}), "p").route(`{"id":"r","backend_pool":"p"}`).apply()
	resp, body := b.get("/", "Accept-Encoding", "gzip")
	for _, name := range []string{"X-Hop", "Keep-Alive", "Proxy-Authenticate", "Upgrade", "Connection", "Content-Type"} {
		if v, ok := resp.Header[name]; ok {
			t.Errorf("%s = %q reached the client", name, v)
		}
	}
	if resp.Header.Get("X-End") != "1" || len(resp.Header["Set-Cookie"]) != 2 || body != "\x1f\x8b\x08\x00" || resp.ContentLength != 4 {
		t.Errorf("answer = %v %q", resp.Header, body)
	}
}

func TestInterimResponses(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.backend("a", rawServer(t, func(c net.Conn) {
		readHead(c)
		io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\r\n")
		io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
	}), "p")
	b.backend("flood", rawServer(t, func(c net.Conn) {
		readHead(c)
		io.WriteString(c, strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 100)+"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	}), "q")
	b.route(`{"id":"r","backend_pool":"p"}`, `{"id":"q","backend_pool":"q","match":{"path":"/flood"}}`).apply()
	req := httptest.NewRequest("GET", b.url("/"), nil)
	req.RequestURI = ""
	var hints []string
	trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		hints = append(hints, fmt.Sprint(code, " ", h.Get("Link"), h.Get("X-Hop"), h.Get("Connection")))
		return nil
	}}
	resp, err := b.client("h1").Do(req.WithContext(httptrace.WithClientTrace(req.Context(), trace)))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if want := []string{"103 </a>"}; !cmp.Equal(hints, want) || resp.StatusCode != 200 || resp.Header.Get("Link") != "" {
		t.Errorf("interim responses = %q, then %d %v, want %q, then 200 without Link", hints, resp.StatusCode, resp.Header, want)
	}
	r2, body := b.get("/flood")
	if r2.StatusCode != 502 || !strings.Contains(body, "bad_response") {
		t.Errorf("100 interim responses: %d %s, want 502", r2.StatusCode, body)
	}
}

func TestSmuggling(t *testing.T) {
	t.Parallel()
	reached := make(chan string, 100)
	b := simple(t, func(w http.ResponseWriter, r *http.Request) {
		reached <- r.Method + " " + r.RequestURI
		io.Copy(io.Discard, r.Body)
	})
	next := "GET /next HTTP/1.1\r\nHost: h\r\n\r\n"
	for name, text := range map[string]string{
		"CL and TE":           "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"TE and CL":           "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
		"two CL":              "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
		"CL list":             "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1, 1\r\n\r\nx",
		"signed CL":           "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +1\r\n\r\nx",
		"obscured TE":         "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
		"TE twice":            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"TE in 1.0":           "POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"space before colon":  "POST / HTTP/1.1\r\nHost: h\r\nContent-Length : 1\r\n\r\nx",
		"folded":              "GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n",
		"bare LF":             "GET / HTTP/1.1\nHost: h\n\n",
		"two Hosts":           "GET / HTTP/1.1\r\nHost: h\r\nHost: g\r\n\r\n",
		"no Host":             "GET / HTTP/1.1\r\n\r\n",
		"NUL":                 "GET / HTTP/1.1\r\nHost: h\r\nX: a\x00b\r\n\r\n",
		"HTTP/1.1 with a tab": "GET /\tHTTP/1.1\r\nHost: h\r\n\r\n",
		"underscore twin":     "POST / HTTP/1.1\r\nHost: h\r\nContent_Length: 3\r\nContent-Length: 0\r\n\r\n",
		"our own marker":      "LBNODE-REFUSED /te_and_cl HTTP/1.1\r\nHost: h\r\n\r\n",
	} {
		got := b.raw(text + next)
		if !strings.HasPrefix(got, "HTTP/1.1 400") && !strings.HasPrefix(got, "HTTP/1.1 501") || strings.Count(got, "HTTP/1.") != 1 || !strings.Contains(got, "Connection: close") {
			t.Errorf("%s: answer %q, want one 400 and a closed connection", name, got)
		}
	}
	select {
	case r := <-reached:
		t.Errorf("%q reached a backend", r)
	default:
	}
	// A refused request comes after the answers of those before it.
	got := b.raw("GET /one HTTP/1.1\r\nHost: h\r\n\r\nPOST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + next)
	if !strings.HasPrefix(got, "HTTP/1.1 200") || strings.Count(got, "HTTP/1.1 400") != 1 || strings.Count(got, "HTTP/1.") != 2 {
		t.Errorf("pipelined: %q, want 200, then 400", got)
	}
	if r := <-reached; r != "GET /one" {
		t.Errorf("backend saw %q", r)
	}
}

func TestBrokenChunk(t *testing.T) {
	t.Parallel()
	b := simple(t, func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err == nil {
			t.Error("the backend saw a complete body")
		}
	})
	got := b.raw("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n")
	if !strings.HasPrefix(got, "HTTP/1.1 400") || !strings.Contains(got, "bad_body") || strings.Count(got, "HTTP/1.") != 1 {
		t.Errorf("answer = %q, want 400 bad_body", got)
	}
	eventually(t, "counted as the client's fault", func() bool {
		return b.proxy.Stats().Snapshot("n").Backends["a"].Errors["bad_request"] == 1
	})
	if got := b.seen.all(); got != "" {
		t.Errorf("observer heard %q, want nothing: it is not the backend's fault", got)
	}
}

func TestHTTP2_badPaths(t *testing.T) {
	t.Parallel()
	b := simple(t, named("a"))
	for _, path := range []string{"/a%00", "/../x", "/x/%2e%2e/%2e%2e/y"} {
		req := httptest.NewRequest("GET", b.url("/"), nil)
		req.RequestURI, req.URL.Opaque = "", path
		resp, err := b.client("h2c").Do(req)
		if err != nil {
			continue // net/http refused it itself, which is as good
		}
		resp.Body.Close()
		if resp.StatusCode != 400 {
			t.Errorf("%q = %d, want 400", path, resp.StatusCode)
		}
	}
}
