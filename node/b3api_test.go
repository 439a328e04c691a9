package node

import (
	"crypto/hmac"
	"crypto/sha512"
	"encoding/base64"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const b3Secret = "secret of b3scale's operator"

// b3Call calls b3scale's API with a token of its operator.
func b3Call(t *testing.T, n *Node, scope, method, path, body string) (int, string) {
	t.Helper()
	enc := base64.RawURLEncoding.EncodeToString
	text := enc([]byte(`{"alg":"HS384","typ":"JWT"}`)) + "." + enc([]byte(`{"sub":"test","scope":"`+scope+`"}`))
	mac := hmac.New(sha512.New384, []byte(b3Secret))
	mac.Write([]byte(text))
	req, err := http.NewRequestWithContext(t.Context(), method, apiOf(n)+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+text+"."+enc(mac.Sum(nil)))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b)
}

func b3Node(t *testing.T) *Node {
	t.Helper()
	cfg := testConfig(t, "b3")
	cfg.B3scaleJWTSecretFile = filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(cfg.B3scaleJWTSecretFile, []byte(b3Secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	n, _ := runNode(t, cfg)
	return n
}

// The API is beside ours, by the secret in the file, and writes reach the state that ours shows.
func TestB3API(t *testing.T) {
	t.Parallel()
	n := b3Node(t)
	eventually(t, "a write", func() bool {
		code, _ := b3Call(t, n, "b3scale:admin", http.MethodPost, "/api/v1/frontends", `{"bbb":{"key":"uni","secret":"s"}}`)
		return code == http.StatusOK
	})
	if code, text := call(t, http.MethodGet, apiOf(n)+"/frontends", ""); code != http.StatusOK || !strings.Contains(text, `"uni"`) {
		t.Errorf("our API: %d %s", code, text)
	}
	if code, text := b3Call(t, n, "b3scale:admin", http.MethodGet, "/api/v1", ""); code != http.StatusOK || !strings.Contains(text, `"is_admin":true`) {
		t.Errorf("status: %d %s", code, text)
	}
	if code, text := call(t, http.MethodGet, apiOf(n)+"/api/v1/frontends", ""); code != http.StatusUnauthorized {
		t.Errorf("without a token: %d %s", code, text)
	}
	if code, _ := call(t, http.MethodGet, apiOf(n)+"/api/v10", ""); code != http.StatusNotFound {
		t.Errorf("/api/v10: %d, want 404", code)
	}
}

func TestReadJWTSecret(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "secret")
	for text, want := range map[string]string{
		"0123456789abcdef": "0123456789abcdef", "0123456789abcdef\r\n": "0123456789abcdef", " 0123456789abcdef \n\n": " 0123456789abcdef \n",
		"short\n": "", "": "",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := readJWTSecret(path); string(got) != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v, want %q", text, got, err, want)
		}
	}
}
