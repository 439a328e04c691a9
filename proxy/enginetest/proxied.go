package enginetest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/lbnode/lbnode/proxy/proxyproto"
	"github.com/lbnode/lbnode/state"
	"github.com/lbnode/lbnode/stats"
)

// behindLB has every connection from loopback begin with a PROXY header.
func behindLB() Settings {
	s := defaultSettings()
	s.ProxyFrom = proxyproto.Trust{netip.MustParsePrefix("127.0.0.0/8")}
	return s
}

const (
	headerV1   = "PROXY TCP4 192.0.2.7 198.51.100.2 12345 443\r\n"
	headerV2   = "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x12\xc0\x00\x02\x07\xc6\x33\x64\x02\x30\x39\x01\xbb\x04\x00\x03abc"
	headerV2v6 = "\r\n\r\n\x00\r\nQUIT\n\x21\x21\x00\x24\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07" +
		"\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x30\x39\x01\xbb"
	headerLocal = "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"
)

func testProxyProtocol(t *testing.T, mk New) {
	w := newWorldWith(t, mk, behindLB(), `,"rate_limit":{"requests_per_second":0.01,"burst":4,"per":"client_ip"}`, heads(t).addr)
	for _, tc := range []struct{ header, client string }{
		{headerV1, "192.0.2.7"}, {headerV2, "192.0.2.7"}, {headerV2v6, "2001:db8::7"}, {headerLocal, "127.0.0.1"}, {"PROXY UNKNOWN\r\n", "127.0.0.1"},
	} {
		c := w.dial()
		_, h := c.head200(tc.header + get)
		for _, want := range []string{"X-Forwarded-For: ", "X-Real-Ip: "} {
			if !strings.Contains(h, want+tc.client+"\r\n") {
				t.Errorf("%q: the backend got %q, want %q", tc.header, h, want+tc.client)
			}
		}
		d := w.dial()
		d.dribble(tc.header + get)
		if _, h := d.answer("GET"); !strings.Contains(h, "X-Real-Ip: "+tc.client+"\r\n") {
			t.Errorf("%q, byte by byte: the backend got %q", tc.header, h)
		}
	}
	// It is the client of the header that is limited: 192.0.2.7 has used up its 4, others have not.
	w.dial().send(headerV1+get).want(429, "*")
	w.dial().head200("PROXY TCP4 192.0.2.8 198.51.100.2 1 2\r\n" + get)

	// A connection that the loops hand over keeps its client: HTTP/2 with prior knowledge, and a route that a loop
	// does not serve.
	w.put(state.KindRoute, `{"id":"m","match":{"path":"/m"},"backend_pool":"web","mirror":{"pool":"none"}}`)
	if _, h := w.dial().head200(headerV2 + "GET /m HTTP/1.1\r\nHost: a\r\n\r\n"); !strings.Contains(h, "X-Forwarded-For: 192.0.2.7\r\n") {
		t.Errorf("after a hand-over: the backend got %q", h)
	}
}

// certificate makes one that nobody has to trust.
func certificate(t testing.TB) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
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
	c := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	return func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c, nil }
}

// testProxyProtocolTLS has the header come before the handshake, for HTTP/1.1 and HTTP/2.
func testProxyProtocolTLS(t *testing.T, mk New) {
	set := behindLB()
	set.TLSAddrs, set.Certificate = []string{"127.0.0.1:0"}, certificate(t)
	w := newWorldWith(t, mk, set, "", httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("X-Forwarded-For")+" "+r.Header.Get("X-Forwarded-Proto"))
	}))
	for major := 1; major <= 2; major++ {
		for _, header := range []string{headerV1, headerV2} {
			var protocols http.Protocols
			protocols.SetHTTP1(major == 1)
			protocols.SetHTTP2(major == 2)
			tr := &http.Transport{
				Protocols: &protocols, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
				DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
					c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
					if err == nil {
						_, err = io.WriteString(c, header)
					}
					return c, err
				},
			}
			client := &http.Client{Transport: tr, Timeout: patience}
			for range 2 {
				resp, err := client.Get("https://" + w.e.TLSAddrs()[0].String() + "/")
				if err != nil {
					t.Fatalf("HTTP/%d behind %q: %v", major, header, err)
				}
				got, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				if string(got) != "192.0.2.7 https" || resp.ProtoMajor != major {
					t.Errorf("HTTP/%d behind %q: the backend heard of %q over %s", major, header, got, resp.Proto)
				}
			}
			tr.CloseIdleConnections()
		}
	}
	raw, err := tls.Dial("tcp", w.e.TLSAddrs()[0].String(), &tls.Config{InsecureSkipVerify: true})
	if err == nil {
		raw.Close()
		t.Error("a handshake without a header succeeded")
	}
}

func testProxyProtocolRefused(t *testing.T, mk New) {
	set := behindLB()
	set.Head = 300 * time.Millisecond
	b := heads(t)
	w := newWorldWith(t, mk, set, "", b.addr)
	bad := []string{get, "PROXY TCP4 x y 1 2\r\n" + get, strings.Repeat("PROXY UNKNOWN", 20), "\r\n\r\n\x00\r\nQUIT\n\x31\x11\x00\x00" + get, "", "PROXY TC"}
	for _, in := range bad {
		w.dial().send(in).wantEnd()
	}
	eventually(t, "they are counted", func() bool {
		return w.p.Stats().Total().Snapshot().Errors[stats.BadProxyHeader.String()] == uint64(len(bad))
	})
	if n := b.conns(); n != 0 {
		t.Errorf("%d connections reached the backend", n)
	}
	// Peers that are not trusted are never asked for a header, nor believed one.
	set.ProxyFrom = proxyproto.Trust{netip.MustParsePrefix("192.0.2.0/24")}
	o := newWorldWith(t, mk, set, "", b.addr)
	o.dial().head200(get)
	if resp, err := http.ReadResponse(o.dial().send(headerV1+get).r, nil); err == nil && resp.StatusCode != 400 {
		t.Errorf("a header of somebody else was answered %d", resp.StatusCode)
	}
}
