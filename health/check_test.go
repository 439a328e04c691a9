package health

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lbnode/lbnode/state"
)

// pool returns normalized settings.
func pool(tune func(*state.PoolSpec)) *state.Pool {
	p := &state.Pool{PoolSpec: state.PoolSpec{ID: "p"}}
	if tune != nil {
		tune(&p.PoolSpec)
	}
	p.Normalize()
	return p
}

func backend(address string) *state.Backend {
	return &state.Backend{BackendSpec: state.BackendSpec{ID: "b", Address: address}}
}

func probe(t *testing.T, b *state.Backend, p *state.Pool) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(p.Health.Timeout))
	defer cancel()
	return newCheck(b, p, "1.2.3").probe(ctx)
}

// served is a server whose handler the test chooses; its log is silent, since probes break off.
func served(t *testing.T, h http.HandlerFunc, secure bool) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	if secure {
		s.EnableHTTP2 = true
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}

func TestHTTPCheck_statuses(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		status   int
		statuses string
		method   string
		ok       bool
		reason   string
	}{
		{status: 200, ok: true},
		{status: 204, ok: true},
		{status: 301, ok: true}, // an answer, and it is not followed
		{status: 404, ok: true},
		{status: 499, ok: true},
		{status: 500, reason: "status 500"},
		{status: 503, reason: "status 503"},
		{status: 503, method: "HEAD", reason: "status 503"},
		{status: 200, method: "HEAD", ok: true},
		{status: 401, statuses: "200-299,401", ok: true},
		{status: 301, statuses: "200-299,401", reason: "status 301"},
	} {
		s := served(t, func(w http.ResponseWriter, r *http.Request) {
			if want := tc.method; want != "" && r.Method != want {
				t.Errorf("method is %s, want %s", r.Method, want)
			}
			if r.URL.Path == "/elsewhere" {
				t.Error("a redirect was followed")
			}
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(tc.status)
		}, false)
		o := probe(t, backend(s.Listener.Addr().String()), pool(func(p *state.PoolSpec) {
			p.Health.Statuses, p.Health.Method = tc.statuses, tc.method
		}))
		if o.ok != tc.ok || o.reason != tc.reason {
			t.Errorf("status %d, %s, passing %q: got %v %q, want %v %q", tc.status, tc.method, tc.statuses, o.ok, o.reason, tc.ok, tc.reason)
		}
		if o.latency <= 0 {
			t.Errorf("latency is %s", o.latency)
		}
	}
}

func TestHTTPCheck_request(t *testing.T) {
	t.Parallel()
	got := make(chan *http.Request, 1)
	s := served(t, func(_ http.ResponseWriter, r *http.Request) { got <- r }, false)
	addr := s.Listener.Addr().String()
	for _, tc := range []struct {
		name, address, path, host string
		wantURI, wantHost         string
	}{
		{"plain", addr, "", "", "/", addr},
		{"path and query", addr, "/up?deep=1", "", "/up?deep=1", addr},
		{"host", addr, "", "shop.example.org", "/", "shop.example.org"},
		{"default path means the base path", "http://" + addr + "/bigbluebutton/api/", "", "", "/bigbluebutton/api/", addr},
		{"any other path is from the root", "http://" + addr + "/bigbluebutton/api/", "/ping", "", "/ping", addr},
	} {
		o := probe(t, backend(tc.address), pool(func(p *state.PoolSpec) { p.Health.Path, p.Health.Host = tc.path, tc.host }))
		if !o.ok {
			t.Fatalf("%s: probe failed: %s", tc.name, o.reason)
		}
		r := <-got
		if r.RequestURI != tc.wantURI || r.Host != tc.wantHost {
			t.Errorf("%s: asked for %s on %s, want %s on %s", tc.name, r.RequestURI, r.Host, tc.wantURI, tc.wantHost)
		}
		if got, want := r.UserAgent(), "lbnode-health/1.2.3"; got != want {
			t.Errorf("%s: user agent %q, want %q", tc.name, got, want)
		}
		if !r.Close {
			t.Errorf("%s: the connection was to be kept", tc.name)
		}
	}
}

func TestHostHeader(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"example.org:80": "example.org", "https://example.org": "example.org", "https://example.org:80": "example.org:80",
		"example.org:443": "example.org:443", "[::1]:80": "[::1]", "[::1]:81": "[::1]:81",
	} {
		a, err := state.ParseAddress(in)
		if err != nil {
			t.Fatal(err)
		}
		if got := hostHeader(a); got != want {
			t.Errorf("hostHeader(%s) = %s, want %s", in, got, want)
		}
	}
}

func TestHTTPCheck_tls(t *testing.T) {
	t.Parallel()
	var proto atomic.Value
	s := served(t, func(_ http.ResponseWriter, r *http.Request) { proto.Store(r.Proto) }, true)
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	for _, tc := range []struct {
		name   string
		tune   func(*state.PoolSpec)
		proto  string // "" = fails
		reason string
	}{
		{"unknown authority", nil, "", "certificate signed by unknown authority"},
		{"skip verify", func(p *state.PoolSpec) { p.TLS.SkipVerify = true }, "HTTP/2.0", ""},
		{"own CA", func(p *state.PoolSpec) { p.TLS.CA = ca }, "HTTP/2.0", ""},
		{"own CA, http1", func(p *state.PoolSpec) { p.TLS.CA, p.Protocol = ca, state.ProtocolHTTP1 }, "HTTP/1.1", ""},
		{"own CA, h2", func(p *state.PoolSpec) { p.TLS.CA, p.Protocol = ca, state.ProtocolH2 }, "HTTP/2.0", ""},
		{"good server name", func(p *state.PoolSpec) { p.TLS.CA, p.TLS.ServerName = ca, "example.com" }, "HTTP/2.0", ""},
		{"wrong server name", func(p *state.PoolSpec) { p.TLS.CA, p.TLS.ServerName = ca, "wrong.example.net" }, "", "wrong.example.net"},
		{"wrong server name, http1", func(p *state.PoolSpec) {
			p.TLS.CA, p.TLS.ServerName, p.Protocol = ca, "wrong.example.net", state.ProtocolHTTP1
		}, "", "wrong.example.net"},
		{"the check's host is the server name", func(p *state.PoolSpec) {
			p.TLS.CA, p.TLS.ServerName, p.Health.Host = ca, "wrong.example.net", "example.com"
		}, "HTTP/2.0", ""},
	} {
		o := probe(t, backend("https://"+s.Listener.Addr().String()), pool(tc.tune))
		if tc.proto == "" {
			if o.ok || !strings.Contains(o.reason, tc.reason) {
				t.Errorf("%s: got %v %q, want a failure with %q", tc.name, o.ok, o.reason, tc.reason)
			}
			continue
		}
		if !o.ok {
			t.Errorf("%s: failed: %s", tc.name, o.reason)
		} else if got := proto.Load(); got != tc.proto {
			t.Errorf("%s: spoke %v, want %s", tc.name, got, tc.proto)
		}
	}
}

func TestHTTPCheck_h2c(t *testing.T) {
	t.Parallel()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			w.WriteHeader(http.StatusHTTPVersionNotSupported)
		}
	}))
	s.Config.Protocols = &http.Protocols{}
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	o := probe(t, backend(s.Listener.Addr().String()), pool(func(p *state.PoolSpec) { p.Protocol = state.ProtocolH2C }))
	if !o.ok {
		t.Errorf("h2c: %s", o.reason)
	}
}

// raw answers each connection with fixed bytes and then reads to the end.
func raw(t *testing.T, answer string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				_, _ = io.WriteString(c, answer)
				if answer != "" {
					_, _ = io.Copy(io.Discard, c)
				}
			}()
		}
	}()
	return l.Addr().String()
}

func TestHTTPCheck_oddServers(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, answer string
		ok           bool
		reason       string
	}{
		{"closes at once", "", false, ""},
		{"says nothing in time", "HTTP/1.1 200 O", false, "no answer within 300ms"},
		{"interim answers first", "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true, ""},
		{"interim answers for ever", strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 50), false, "more than 8 interim answers"},
		{"body never ends", "HTTP/1.1 200 OK\r\n\r\nx", true, ""},
		{"head never ends", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 100<<10), false, ""},
		{"not HTTP", "SSH-2.0-OpenSSH\r\n", false, ""},
	} {
		begin := time.Now()
		o := probe(t, backend(raw(t, tc.answer)), pool(func(p *state.PoolSpec) { p.Health.Timeout = state.Duration(300 * time.Millisecond) }))
		if o.ok != tc.ok || tc.reason != "" && o.reason != tc.reason {
			t.Errorf("%s: got %v %q, want %v %q", tc.name, o.ok, o.reason, tc.ok, tc.reason)
		}
		if !o.ok && o.reason == "" || len(o.reason) > maxReason {
			t.Errorf("%s: reason is %q", tc.name, o.reason)
		}
		if took := time.Since(begin); took > 2*time.Second {
			t.Errorf("%s: took %s", tc.name, took)
		}
	}
}

func TestCheck_refusedAndTCP(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	tcp := pool(func(p *state.PoolSpec) { p.Health.Type = state.CheckTCP })
	if o := probe(t, backend(addr), tcp); !o.ok {
		t.Errorf("tcp to a listener failed: %s", o.reason)
	}
	_ = l.Close()
	for _, p := range []*state.Pool{tcp, pool(nil), pool(func(p *state.PoolSpec) { p.Protocol = state.ProtocolH2C })} {
		if o := probe(t, backend(addr), p); o.ok || o.reason != "connection refused" {
			t.Errorf("%s %s to a closed port: %v %q, want connection refused", p.Health.Type, p.Protocol, o.ok, o.reason)
		}
	}
}

func TestNewCheck_none(t *testing.T) {
	t.Parallel()
	if c := newCheck(backend("h:1"), pool(func(p *state.PoolSpec) { p.Health.Type = state.CheckNone }), ""); c != nil {
		t.Errorf("check of type none is %T, want nil", c)
	}
	o := newCheck(backend("not an address"), pool(nil), "").probe(t.Context())
	if o.ok || !strings.HasPrefix(o.reason, "address ") {
		t.Errorf("check of a bad address: %v %q, want a failure that says so", o.ok, o.reason)
	}
	o = newCheck(backend("https://h"), pool(func(p *state.PoolSpec) { p.TLS.CA = "nonsense" }), "").probe(t.Context())
	if o.ok || !strings.Contains(o.reason, "CA") {
		t.Errorf("check with a bad CA: %v %q, want a failure that says so", o.ok, o.reason)
	}
}

func TestReasonOf(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		err  error
		want string
	}{
		{&net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}, "connection refused"},
		{&net.OpError{Op: "dial", Net: "tcp", Err: context.DeadlineExceeded}, "no answer within 1s"},
		{&net.DNSError{Err: "no such host", Name: "x", IsNotFound: true}, "no such host"},
		{&net.DNSError{Err: "server misbehaving", Name: "x"}, "name lookup failed: server misbehaving"},
		{io.ErrUnexpectedEOF, "connection closed before an answer"},
		{errors.New("a\nb\x00c"), "a b c"},
		{errors.New(strings.Repeat("é", 100)), strings.Repeat("é", 48)},
	} {
		if got := reasonOf(tc.err, time.Second); got != tc.want {
			t.Errorf("reasonOf(%v) = %q, want %q", tc.err, got, tc.want)
		}
	}
	if a, b, c := Reason(nil), Reason(context.DeadlineExceeded), Reason(io.EOF); a != "" || b != "no answer in time" || c != "connection closed before an answer" {
		t.Errorf("Reason gives %q, %q and %q", a, b, c)
	}
}
