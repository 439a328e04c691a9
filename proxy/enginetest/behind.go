package enginetest

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"sync"
	"testing"

	"github.com/lbnode/lbnode/proxy"
	"github.com/lbnode/lbnode/proxy/internal/viewtest"
	"github.com/lbnode/lbnode/state"
)

// RunBehind runs the suite with backends that speak HTTP/2: by TLS, or in clear text with prior knowledge. Each stands
// behind a server of net/http, which asks it in HTTP/1.1.
func RunBehind(t *testing.T, mk New, secure bool, deviations map[string]string) {
	without := map[string]string{
		"broken_chunks":        "is about HTTP/1.1 on the wire",
		"bytes_after_response": "is about HTTP/1.1 on the wire",
		"bad_response":         "is about HTTP/1.1 on the wire",
		"until_close":          "is about HTTP/1.1 on the wire",
		"truncated":            "is about HTTP/1.1 on the wire",
		"answers":              "is about HTTP/1.1 on the wire",
		"corpus":               "is about HTTP/1.1 on the wire",
		"websocket":            "is about Upgrade",
		"switch_unasked":       "is about Upgrade",
		"limit_upgraded":       "is about Upgrade",
		"cut off":              "is about Upgrade too",
		"keep_alive_race":      "is about connections",
		"proxy_protocol_out":   "is about connections",
		"retry":                "is about connections",
		"no_backend":           "is about connections",
		"idle_timeout":         "is about Upgrade too",
		"access_log":           "names the backend's address, which is the gateway's",
		"accounting":           "counts connections that are refused, which are the gateway's",
		"expect_refused":       "net/http sends its 100 as the gateway reads",
		"rewrite":              "compares targets as they were sent, of which net/http changes some",
		"interim":              "compares names as they were sent",
		"headers":              "compares heads as they were sent",
		"forwarding":           "compares heads as they were sent",
	}
	for name, why := range deviations {
		without[name] = why
	}
	Run(t, func(t testing.TB, p *proxy.Proxy, s Settings) proxy.Engine {
		return &behind{Engine: mk(t, p, s), t: t, secure: secure, made: map[string]string{}}
	}, without)
}

// behind is an engine with a gateway before each backend, by which it speaks HTTP/2 with them.
type behind struct {
	proxy.Engine
	t      testing.TB
	secure bool
	made   map[string]string // addresses of gateways, by those of backends
}

// views is a Builder that tells of gateways where a test tells of backends.
type views struct {
	*viewtest.Builder
	by *behind // nil = there are none
}

// Put stores objects as viewtest.Builder does.
func (v *views) Put(k state.Kind, docs ...string) *views {
	for i := range docs {
		if v.by != nil {
			docs[i] = v.by.translate(k, docs[i])
		}
	}
	v.Builder.Put(k, docs...)
	return v
}

func (b *behind) translate(k state.Kind, doc string) string {
	var m map[string]any
	if err := json.Unmarshal([]byte(doc), &m); err != nil {
		b.t.Fatal(err)
	}
	switch {
	case k == state.KindPool && m["protocol"] == nil:
		m["protocol"] = "h2c"
		if b.secure {
			m["protocol"], m["tls"] = "h2", map[string]any{"skip_verify": true}
		}
	case k == state.KindBackend:
		addr := m["address"].(string)
		if b.made[addr] == "" {
			b.made[addr] = b.gateway(addr)
		}
		m["address"] = b.made[addr]
	default:
		return doc
	}
	out, err := json.Marshal(m)
	if err != nil {
		b.t.Fatal(err)
	}
	return string(out)
}

// gateway starts a server of HTTP/2 before a backend and gives its address.
func (b *behind) gateway(addr string) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.t.Fatal(err)
	}
	tr := &http.Transport{
		DisableCompression: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		},
	}
	s := &http.Server{Handler: &passing{tr}, Protocols: new(http.Protocols)}
	s.Protocols.SetHTTP2(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	var wg sync.WaitGroup
	wg.Go(func() {
		if b.secure {
			s.TLSConfig = &tls.Config{GetCertificate: certificate(b.t)}
			_ = s.ServeTLS(ln, "", "")
			return
		}
		_ = s.Serve(ln)
	})
	b.t.Cleanup(func() {
		s.Close()
		wg.Wait()
		tr.CloseIdleConnections()
	})
	if b.secure {
		return "https://" + ln.Addr().String()
	}
	return ln.Addr().String()
}

// passing passes requests on as they are.
type passing struct{ tr *http.Transport }

// ServeHTTP implements http.Handler. What cannot be completed ends its stream.
func (p *passing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var mu sync.Mutex
	ended := false
	defer func() {
		mu.Lock()
		ended = true
		mu.Unlock()
	}()
	ctx := httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{Got1xxResponse: func(status int, h textproto.MIMEHeader) error {
		mu.Lock()
		defer mu.Unlock()
		if ended || status == http.StatusContinue {
			return nil
		}
		for name, v := range h {
			w.Header()[name] = v
		}
		w.WriteHeader(status)
		for name := range h {
			delete(w.Header(), name)
		}
		return nil
	}})
	out := r.Clone(ctx)
	out.RequestURI, out.URL.Scheme, out.URL.Host = "", "http", r.Host
	out.URL.Opaque = r.RequestURI
	out.Close = false
	if r.ContentLength == 0 {
		out.Body = nil
	}
	resp, err := p.tr.RoundTrip(out)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer resp.Body.Close()
	mu.Lock()
	for name, v := range resp.Header {
		w.Header()[name] = v
	}
	for name := range resp.Trailer {
		w.Header().Add("Trailer", name)
	}
	delete(w.Header(), "Connection")
	delete(w.Header(), "Transfer-Encoding")
	if _, ok := resp.Header["Content-Type"]; !ok {
		w.Header()["Content-Type"] = nil
	}
	ended = true
	w.WriteHeader(resp.StatusCode)
	mu.Unlock()
	rc := http.NewResponseController(w)
	_ = rc.Flush()
	buf := make([]byte, 32<<10)
	for {
		n, err := resp.Body.Read(buf)
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return
			}
			_ = rc.Flush()
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			panic(http.ErrAbortHandler)
		}
	}
	for name, v := range resp.Trailer {
		w.Header()[http.TrailerPrefix+name] = v
	}
}
