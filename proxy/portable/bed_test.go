package portable_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/lbnode/lbnode/proxy"
	"github.com/lbnode/lbnode/proxy/internal/viewtest"
	"github.com/lbnode/lbnode/proxy/portable"
	"github.com/lbnode/lbnode/proxy/upstream"
	"github.com/lbnode/lbnode/state"
	"github.com/lbnode/lbnode/stats"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// patience is how long a test waits for what must happen.
const patience = 10 * time.Second

// bed is a running engine with a proxy whose view the test builds.
type bed struct {
	*viewtest.Builder
	t      testing.TB
	proxy  *proxy.Proxy
	engine *portable.Engine
	seen   *outcomes
	cert   tls.Certificate
}

// outcomes records what the observer hears.
type outcomes struct {
	mu   sync.Mutex
	list []string
}

func (o *outcomes) Outcome(id string, out upstream.Outcome) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.list = append(o.list, id+" "+out.Kind.String())
}

func (o *outcomes) all() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Join(o.list, ", ")
}

func newBed(t testing.TB, adjust ...func(*proxy.Config, *portable.Config)) *bed {
	t.Helper()
	reg, err := stats.New(stats.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	b := &bed{Builder: viewtest.New(t), t: t, seen: &outcomes{}, cert: newCert(t)}
	logger := slog.New(slog.DiscardHandler)
	pc := proxy.DefaultConfig()
	pc.NodeID, pc.Logger, pc.Stats, pc.Observer = "node-1", logger, reg, b.seen
	ec := portable.Config{
		Addrs: []string{"127.0.0.1:0"}, TLSAddrs: []string{"127.0.0.1:0"}, Limits: portable.DefaultLimits(), Logger: logger,
		Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &b.cert, nil },
	}
	ec.Limits.QuietTime = 20 * time.Millisecond
	for _, f := range adjust {
		f(&pc, &ec)
	}
	if b.proxy, err = proxy.New(pc); err != nil {
		t.Fatal(err)
	}
	ec.Proxy = b.proxy
	if b.engine, err = portable.New(ec); err != nil {
		t.Fatal(err)
	}
	if err := b.engine.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = b.engine.Shutdown(ctx) // tests of Shutdown look at its result themselves
		b.proxy.Close()
		if n := reg.Total().Active(); n != 0 {
			t.Errorf("%d requests are still counted as in flight", n)
		}
		for x := range b.View().Backends() {
			if n := b.proxy.Set().InFlight(x.ID); n != 0 {
				t.Errorf("backend %s still has %d requests", x.ID, n)
			}
		}
	})
	return b
}

// apply puts the builder's view in force.
func (b *bed) apply() *bed {
	b.t.Helper()
	if err := b.proxy.Update(b.View()); err != nil {
		b.t.Fatal(err)
	}
	return b
}

// backend registers a healthy backend; extra is more of its JSON document, such as `"weight":3`.
func (b *bed) backend(id, address, pool string, extra ...string) *bed {
	b.t.Helper()
	doc := fmt.Sprintf(`{"id":%q,"address":%q,"pool":%q`, id, address, pool)
	for _, e := range extra {
		doc += "," + e
	}
	b.Put(state.KindBackend, doc+"}").Verdict(state.VerdictUp, id)
	return b
}

func (b *bed) route(docs ...string) *bed {
	b.t.Helper()
	b.Put(state.KindRoute, docs...)
	return b
}

// simple is a bed with one backend that serves h, behind a catch-all route.
func simple(t testing.TB, h http.HandlerFunc, adjust ...func(*proxy.Config, *portable.Config)) *bed {
	t.Helper()
	b := newBed(t, adjust...)
	return b.backend("a", server(t, h), "p").route(`{"id":"r","backend_pool":"p"}`).apply()
}

// server starts a backend and returns its URL.
func server(t testing.TB, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// named answers with its name.
func named(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, name) }
}

// rawServer starts a backend that answers each connection by hand.
func rawServer(t testing.TB, serve func(c net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(patience))
				serve(c)
			})
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return "http://" + l.Addr().String()
}

// readHead reads a request head.
func readHead(c net.Conn) string {
	br := bufio.NewReader(c)
	var s strings.Builder
	for {
		line, err := br.ReadString('\n')
		s.WriteString(line)
		if err != nil || line == "\r\n" {
			return s.String()
		}
	}
}

// closedPort is an address that refuses connections.
func closedPort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (b *bed) addr() string { return b.engine.Addrs()[0].String() }

func (b *bed) url(path string) string { return "http://" + b.addr() + path }

func (b *bed) tlsURL(path string) string { return "https://" + b.engine.TLSAddrs()[0].String() + path }

// client makes a client for a set of protocols ("h1", "h2", "h2c").
func (b *bed) client(protocol string) *http.Client {
	var p http.Protocols
	switch protocol {
	case "h2":
		p.SetHTTP2(true)
	case "h2c":
		p.SetUnencryptedHTTP2(true)
	default:
		p.SetHTTP1(true)
	}
	pool := x509.NewCertPool()
	pool.AddCert(b.cert.Leaf)
	tr := &http.Transport{Protocols: &p, DisableCompression: true, TLSClientConfig: &tls.Config{RootCAs: pool}}
	b.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// do sends a request and returns the answer with its body read.
func (b *bed) do(c *http.Client, method, url string, body io.Reader, header ...string) (*http.Response, string) {
	b.t.Helper()
	req, err := http.NewRequest(method, url, body)
	if err != nil {
		b.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
		req.Header.Add(header[i], header[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		b.t.Fatalf("%s %s: %v", method, url, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatalf("%s %s: read body: %v", method, url, err)
	}
	return resp, string(text)
}

func (b *bed) get(path string, header ...string) (*http.Response, string) {
	b.t.Helper()
	return b.do(b.client("h1"), "GET", b.url(path), nil, header...)
}

// dial opens a raw connection to the plain listener.
func (b *bed) dial() net.Conn {
	b.t.Helper()
	c, err := net.Dial("tcp", b.addr())
	if err != nil {
		b.t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(patience))
	b.t.Cleanup(func() { c.Close() })
	return c
}

// raw sends bytes and returns everything until the server closes.
func (b *bed) raw(text string) string {
	b.t.Helper()
	c := b.dial()
	if _, err := io.WriteString(c, text); err != nil {
		b.t.Fatal(err)
	}
	out, err := io.ReadAll(c)
	if err != nil && !strings.Contains(err.Error(), "reset") {
		b.t.Fatalf("read: %v (got %q)", err, out)
	}
	return string(out)
}

// problem is an answer of our own.
type problem struct {
	Status     int
	Code, Node string
}

func wantProblem(t testing.TB, resp *http.Response, body string, status int, code string) {
	t.Helper()
	var p problem
	err := json.Unmarshal([]byte(body), &p)
	if err != nil || resp.StatusCode != status || p != (problem{status, code, "node-1"}) ||
		resp.Header.Get("Content-Type") != "application/problem+json" || resp.Header.Get(proxy.HeaderNode) != "node-1" {
		t.Errorf("answer = %d %q %q, want %d with code %q from node-1", resp.StatusCode, resp.Header, body, status, code)
	}
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	end := time.Now().Add(patience)
	for !cond() {
		if time.Now().After(end) {
			t.Fatalf("did not happen: %s", what)
		}
		<-tick.C
	}
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func newCert(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"www.example.org"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}
