package node

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/internal/auth"
	"github.com/lbnode/lbnode/internal/certtest"
)

// logBuffer is a log that can be read while it is written.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// With everything logged, secrets that were written, refused or wrong are not in a node's log.
func TestNode_logsNoSecrets(t *testing.T) {
	t.Parallel()
	var log logBuffer
	opts := testOptions()
	opts.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	boot, wrong := auth.Mint("bootstrap"), auth.Mint("nobody")
	cfg := testConfig(t, "n1")
	cfg.APITokenFile = tokenFile(t, boot)
	n, stop := runNodeWith(t, cfg, opts)
	leaf := certtest.New(t, "ca").Leaf("site.example.org")
	send := func(method, path, token string, doc any) (int, string) {
		t.Helper()
		body, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+n.APIAddr().String()+path, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0, err.Error()
		}
		defer func() { _ = resp.Body.Close() }()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Error(err)
		}
		return resp.StatusCode, string(b)
	}
	var made api.TokenSecret
	eventually(t, "a token", func() bool {
		code, answer := send(http.MethodPost, "/tokens", boot, map[string]string{"id": "root", "role": "admin"})
		return code == http.StatusCreated && json.Unmarshal([]byte(answer), &made) == nil
	})
	pair := map[string]string{"certificate": leaf.Cert, "private_key": leaf.Key}
	for _, w := range []struct {
		path, token string
		doc         any
		want        int
	}{
		{"/frontends/f", made.Text, map[string]string{"key": "f", "secret": "canary-secret"}, http.StatusCreated},
		{"/frontends/g", made.Text, map[string]string{"key": "", "secret": "canary-secret", "nonsense": "canary-secret"}, http.StatusBadRequest},
		{"/frontends/f", wrong, map[string]string{"secret": "canary-secret"}, http.StatusUnauthorized},
		{"/certificates/site", made.Text, pair, http.StatusCreated},
		{"/certificates/bad", made.Text, map[string]string{"certificate": "x", "private_key": leaf.Key}, http.StatusBadRequest},
	} {
		if code, answer := send(http.MethodPut, w.path, w.token, w.doc); code != w.want {
			t.Errorf("PUT %s = %d %s, want %d", w.path, code, answer, w.want)
		}
	}
	cert, _ := n.fsm.View().Certificate("site")
	token, _ := n.fsm.View().Token("root")
	stop()
	if !strings.Contains(log.String(), "api token refused") || !strings.Contains(log.String(), "level=DEBUG") {
		t.Errorf("the log is not what is looked for:\n%s", log.String())
	}
	for what, secret := range map[string]string{
		"bootstrap token": boot, "token": made.Text, "wrong token": wrong, "hash": token.Hash, "sealed key": cert.PrivateKey,
		"secret": "canary-secret", "private key": strings.Split(leaf.Key, "\n")[1],
	} {
		if secret == "" || strings.Contains(log.String(), secret) {
			t.Errorf("the log has the %s %q", what, secret)
		}
	}
}
