//go:build linux

package engine

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/lbnode/lbnode/proxy"
	"github.com/lbnode/lbnode/proxy/internal/viewtest"
	"github.com/lbnode/lbnode/state"
	"github.com/lbnode/lbnode/stats"
)

func testCertificate(t testing.TB) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"a.example"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// tlsBed starts an engine with both kinds of listener before an echoing backend, which speaks TLS if secure.
func tlsBed(t *testing.T, secure bool) *Engine {
	t.Helper()
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Proto", r.Header.Get("X-Forwarded-Proto"))
		_, _ = w.Write(b)
	})
	pool := `{"id":"web","health":{"type":"none"}}`
	s := httptest.NewUnstartedServer(h)
	if secure {
		pool = `{"id":"web","health":{"type":"none"},"tls":{"skip_verify":true}}`
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	reg, err := stats.New(stats.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	cfg := proxy.DefaultConfig()
	cfg.NodeID, cfg.Logger, cfg.Stats = "n", slog.New(slog.DiscardHandler), reg
	p, err := proxy.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	v := viewtest.New(t).Put(state.KindPool, pool).
		Put(state.KindBackend, `{"id":"b","address":"`+s.URL+`","pool":"web"}`).
		Put(state.KindRoute, `{"id":"r","match":{"path":"/"},"backend_pool":"web"}`)
	if err := p.Update(v.View()); err != nil {
		t.Fatal(err)
	}
	cert := testCertificate(t)
	e, err := New(Config{
		Proxy: p, Addrs: []string{"127.0.0.1:0"}, TLSAddrs: []string{"127.0.0.1:0"}, Limits: DefaultLimits(), Loops: 2, Logger: cfg.Logger,
		Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cert, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Shutdown(t.Context()) })
	return e
}

func TestTLS_http1AndHTTP2(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{false, true} {
		e := tlsBed(t, secure)
		for major := 1; major <= 2; major++ {
			var protocols http.Protocols
			protocols.SetHTTP1(major == 1)
			protocols.SetHTTP2(major == 2)
			tr := &http.Transport{Protocols: &protocols, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
			client := &http.Client{Transport: tr, Timeout: 20 * time.Second}
			for _, size := range []int{0, 3, 100_000, 3 << 20} {
				body := strings.Repeat("x", size)
				resp, err := client.Post("https://"+e.TLSAddrs()[0].String()+"/", "text/plain", strings.NewReader(body))
				if err != nil {
					t.Fatalf("backend TLS %t, HTTP/%d, %d bytes: %v", secure, major, size, err)
				}
				got, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || string(got) != body || resp.ProtoMajor != major || resp.Header.Get("X-Proto") != "https" {
					t.Errorf("backend TLS %t, HTTP/%d: %d of %d bytes, %v, %s, proto %q", secure, major, len(got), size, err, resp.Proto, resp.Header.Get("X-Proto"))
				}
			}
			tr.CloseIdleConnections()
		}
	}
}

func TestTLSBackend_isReachedThroughThePortableEngine(t *testing.T) {
	t.Parallel()
	e := tlsBed(t, true)
	c, err := net.Dial("tcp", e.Addrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r := bufio.NewReader(c)
	for range 3 {
		if _, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nde"); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"abc", "de"} {
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got, _ := io.ReadAll(resp.Body); string(got) != want {
				t.Errorf("answer = %q, want %q", got, want)
			}
		}
	}
}

// FuzzSplit sends two requests cut at any place, with the body's chunks cut as well: the answers do not
// depend on how the bytes were split.
func FuzzSplit(f *testing.F) {
	f.Add(uint16(10), uint16(60), uint16(3), "hello")
	f.Add(uint16(0), uint16(1), uint16(2), "")
	f.Add(uint16(70), uint16(71), uint16(90), strings.Repeat("x", 300))
	client, _ := fuzzBed(f, testCertificate(f))
	f.Fuzz(func(t *testing.T, a, b, d uint16, body string) {
		c, err := net.Dial("tcp", client)
		if err != nil {
			t.Skip(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		var chunks strings.Builder
		for rest := body; rest != ""; {
			n := min(len(rest), int(d)%50+1)
			fmt.Fprintf(&chunks, "%x\r\n%s\r\n", n, rest[:n])
			rest = rest[n:]
		}
		all := "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks.String() + "0\r\n\r\n" +
			fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		at := 0
		for _, n := range []int{int(a), int(b), int(d), len(all)} {
			end := min(at+n%(len(all)+1), len(all))
			if n == len(all) {
				end = len(all)
			}
			if _, err := io.WriteString(c, all[at:end]); err != nil {
				t.Fatal(err)
			}
			at = end
		}
		r := bufio.NewReader(c)
		for range 2 {
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(resp.Body); err != nil || string(got) != body {
				t.Fatalf("answer = %q, %v; want %q", got, err, body)
			}
		}
	})
}

// fuzzBed starts an engine with one loop before an echo, and gives its plain and its TLS address.
func fuzzBed(f *testing.F, cert *tls.Certificate) (plain, secure string) {
	f.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		_, _ = w.Write(b)
	}))
	f.Cleanup(s.Close)
	reg, err := stats.New(stats.DefaultConfig())
	if err != nil {
		f.Fatal(err)
	}
	cfg := proxy.DefaultConfig()
	cfg.NodeID, cfg.Logger, cfg.Stats = "n", slog.New(slog.DiscardHandler), reg
	p, err := proxy.New(cfg)
	if err != nil {
		f.Fatal(err)
	}
	v := viewtest.New(f).Put(state.KindPool, `{"id":"web","health":{"type":"none"}}`).
		Put(state.KindBackend, `{"id":"b","address":"`+s.URL+`","pool":"web"}`).
		Put(state.KindRoute, `{"id":"r","match":{"path":"/"},"backend_pool":"web"}`)
	if err := p.Update(v.View()); err != nil {
		f.Fatal(err)
	}
	e, err := New(Config{
		Proxy: p, Addrs: []string{"127.0.0.1:0"}, TLSAddrs: []string{"127.0.0.1:0"}, Limits: DefaultLimits(), Loops: 1, Logger: cfg.Logger,
		Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cert, nil },
	})
	if err != nil {
		f.Fatal(err)
	}
	if err := e.Start(); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = e.Shutdown(f.Context()) })
	return e.Addrs()[0].String(), e.TLSAddrs()[0].String()
}

// TestShutdown_leavesNoDescriptor is not parallel: it counts the descriptors of the whole process.
func TestShutdown_leavesNoDescriptor(t *testing.T) {
	count := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip(err)
		}
		return len(list)
	}
	round := func() {
		t.Run("round", func(t *testing.T) {
			e := tlsBed(t, false)
			for range 20 {
				c, err := net.Dial("tcp", e.Addrs()[0].String())
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
				if _, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
	round()
	before := count()
	for range 3 {
		round()
	}
	if after := count(); after > before+3 {
		t.Errorf("%d descriptors are open after three engines, before %d", after, before)
	}
}

// A client that is refused over TLS gets its answer and our goodbye, and the engine goes on.
func TestTLS_refusesABadHead(t *testing.T) {
	t.Parallel()
	e := tlsBed(t, false)
	for range 3 {
		c, err := tls.Dial("tcp", e.TLSAddrs()[0].String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := io.WriteString(c, "nonsense\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(c)
		if err != nil || !strings.HasPrefix(string(got), "HTTP/1.1 400 ") {
			t.Errorf("answered %q, %v, want 400 and a clean end", got, err)
		}
		_ = c.Close()
	}
}
