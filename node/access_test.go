package node

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
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
