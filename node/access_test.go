package node

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lbnode/lbnode/internal/auth"
	"github.com/lbnode/lbnode/internal/certtest"
)

func tokenFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "api.token")
	if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// An API that others can reach is refused without a token, before anything listens.
func TestNew_refusesAnOpenAPI(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t, "n1")
	cfg.APIAddr = "0.0.0.0:0"
	if n, err := New(cfg, testOptions()); err == nil || !strings.Contains(err.Error(), "--api-token-file") || !strings.Contains(err.Error(), "lbctl token mint") {
		t.Errorf("New = %v, %v, want an error with the fix", n, err)
	}
	for _, text := range []string{"", "short", strings.Repeat("x", 513), "with a space " + strings.Repeat("x", 40)} {
		cfg.APITokenFile = tokenFile(t, text)
		if _, err := New(cfg, testOptions()); err == nil || !strings.Contains(err.Error(), "32 to 512") {
			t.Errorf("New with the token %.20q = %v, want an error", text, err)
		}
	}
	cfg.APITokenFile = filepath.Join(t.TempDir(), "missing")
	if _, err := New(cfg, testOptions()); err == nil || !strings.Contains(err.Error(), "missing") {
		t.Errorf("New without the file = %v, want an error that names it", err)
	}
	cfg.APITokenFile = ""
	cfg.APITLSCertFile, cfg.APITLSKeyFile = "nocert", "nokey"
	cfg.APIAddr = "127.0.0.1:0"
	if _, err := New(cfg, testOptions()); err == nil || !strings.Contains(err.Error(), "nocert") {
		t.Errorf("New without the certificate = %v, want an error that names it", err)
	}
}

// The token file and TLS in front of the API, with a client that must show a certificate; all are read again when
// they change.
func TestNode_apiTLSAndToken(t *testing.T) {
	t.Parallel()
	ca, clients := certtest.New(t, "api"), certtest.New(t, "clients")
	dir := t.TempDir()
	cfg := testConfig(t, "n1")
	cfg.APITLSCertFile, cfg.APITLSKeyFile = ca.Leaf("127.0.0.1").Files(t, dir)
	cfg.APIClientCAFile = filepath.Join(dir, "clients.pem")
	if err := os.WriteFile(cfg.APIClientCAFile, []byte(clients.PEM()), 0o600); err != nil {
		t.Fatal(err)
	}
	first, second := auth.Mint("bootstrap"), auth.Mint("bootstrap")
	cfg.APITokenFile = tokenFile(t, first)
	n, _ := runNode(t, cfg)
	url := "https://" + n.APIAddr().String()
	get := func(path, token string, certs ...tls.Certificate) (int, string, error) {
		tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool(), Certificates: certs, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true}
		defer tr.CloseIdleConnections()
		req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url+path, http.NoBody)
		if err != nil {
			return 0, "", err
		}
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := tr.RoundTrip(req)
		if err != nil {
			return 0, "", err
		}
		defer func() { _ = resp.Body.Close() }()
		if resp.ProtoMajor != 2 {
			t.Errorf("the API speaks %s, want HTTP/2", resp.Proto)
		}
		b, err := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b), err
	}
	mine := clients.Leaf("ops").TLS(t)
	if _, _, err := get("/livez", ""); err == nil {
		t.Error("a client without a certificate was let in")
	}
	if _, _, err := get("/livez", "", ca.Leaf("stranger").TLS(t)); err == nil {
		t.Error("a client with a certificate of somebody else was let in")
	}
	for _, tt := range []struct {
		path, token string
		want        int
	}{
		{"/livez", "", http.StatusOK},
		{"/pools", "", http.StatusUnauthorized},
		{"/pools", second, http.StatusUnauthorized},
		{"/pools", first, http.StatusOK},
	} {
		if code, body, err := get(tt.path, tt.token, mine); err != nil || code != tt.want {
			t.Errorf("GET %s = %d %s, %v, want %d", tt.path, code, body, err, tt.want)
		}
	}
	eventually(t, "the cluster to show the API's address", func() bool {
		_, body, err := get("/nodes", first, mine)
		return err == nil && strings.Contains(body, `"api":"`+url+`"`)
	})
	if err := os.WriteFile(cfg.APITokenFile, []byte(second), 0o600); err != nil {
		t.Fatal(err)
	}
	other := certtest.New(t, "new authority")
	other.Leaf("127.0.0.1").Files(t, dir)
	n.Reload()
	ca = other
	eventually(t, "the new token and certificate", func() bool {
		code, _, err := get("/pools", second, mine)
		return err == nil && code == http.StatusOK
	})
	if code, _, err := get("/pools", first, mine); err != nil || code != http.StatusUnauthorized {
		t.Errorf("the old token = %d, %v, want 401", code, err)
	}
}

// A certificate that is added by the API is shown by both engines at once, and without one a handshake fails.
func TestNode_showsCertificatesOfTheState(t *testing.T) {
	t.Parallel()
	for _, engine := range []string{"portable", "epoll"} {
		ca := certtest.New(t, "ca")
		leaf := ca.Leaf("site.example.org")
		cfg := testConfig(t, "n1")
		cfg.ProxyTLSAddrs, cfg.Engine = []string{"127.0.0.1:0"}, engine
		n, _ := runNode(t, cfg)
		api := "http://" + n.APIAddr().String()
		eventually(t, "a leader", func() bool {
			code, _ := call(t, http.MethodPut, api+"/pools/p", `{}`)
			return code < 300
		})
		dial := func() (*tls.Conn, error) {
			return tls.Dial("tcp", n.engine.TLSAddrs()[0].String(), &tls.Config{RootCAs: ca.Pool(), ServerName: "site.example.org", MinVersion: tls.VersionTLS12})
		}
		if c, err := dial(); err == nil {
			_ = c.Close()
			t.Errorf("%s: a handshake without any certificate succeeded", engine)
		}
		body, err := json.Marshal(map[string]string{"certificate": leaf.Cert, "private_key": leaf.Key})
		if err != nil {
			t.Fatal(err)
		}
		if code, answer := call(t, http.MethodPut, api+"/certificates/site", string(body)); code != http.StatusCreated {
			t.Fatalf("%s: PUT = %d %s", engine, code, answer)
		}
		eventually(t, "the certificate", func() bool {
			c, err := dial()
			if err == nil {
				_ = c.Close()
			}
			return err == nil
		})
		t.Logf("%s shows it", engine)
	}
}

// A backend that wants a certificate is shown the pool's, by probes and by requests.
func TestNode_showsCertificatesToBackends(t *testing.T) {
	t.Parallel()
	ca, clients := certtest.New(t, "servers"), certtest.New(t, "clients")
	backend := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "hello "+r.TLS.PeerCertificates[0].Subject.CommonName)
	}))
	backend.TLS = &tls.Config{Certificates: []tls.Certificate{ca.Leaf("127.0.0.1").TLS(t)}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients.Pool(), MinVersion: tls.VersionTLS12}
	backend.StartTLS()
	defer backend.Close()
	n, _ := runNode(t, testConfig(t, "n1"))
	api := "http://" + n.APIAddr().String()
	leaf := clients.Leaf("balancer")
	do := func(method, path string, doc any) {
		t.Helper()
		body, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		last := ""
		eventually(t, method+" "+path, func() bool {
			code, answer := call(t, method, api+path, string(body))
			last = answer
			return code < 300
		})
		_ = last
	}
	do(http.MethodPut, "/certificates/me", map[string]string{"certificate": leaf.Cert, "private_key": leaf.Key})
	do(http.MethodPut, "/pools/p", map[string]any{"tls": map[string]string{"ca": ca.PEM(), "client_certificate": "me"}, "health": map[string]string{"interval": "100ms"}, "on_empty": "fail"})
	do(http.MethodPut, "/backends/b", map[string]string{"address": backend.URL, "pool": "p"})
	do(http.MethodPut, "/routes/r", map[string]any{"match": map[string]string{"path": "/"}, "backend_pool": "p"})
	eventually(t, "an answer of the backend", func() bool {
		code, body := call(t, http.MethodGet, "http://"+n.ProxyAddrs()[0].String()+"/", "")
		return code == http.StatusOK && body == "hello balancer"
	})
}
