package node

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/lbnode/lbnode/bbb/b3api"
	"github.com/lbnode/lbnode/httpapi"
)

// minJWTSecret bounds the secret that tokens of b3scale are signed with, in bytes: whoever sees a token can try secrets.
const minJWTSecret = 16

// buildB3API makes what answers b3scale's API, beside ours.
func (n *Node) buildB3API(access httpapi.Access) (http.Handler, error) {
	if path := n.cfg.B3scaleJWTSecretFile; path != "" {
		err := n.watch("--b3scale-jwt-secret-file", func() error {
			secret, err := readJWTSecret(path)
			if err == nil {
				n.b3Secret.Store(&secret)
			}
			return err
		}, path)
		if err != nil {
			return nil, err
		}
	}
	cfg := b3api.DefaultConfig()
	cfg.NodeID, cfg.Version, cfg.Logger, cfg.NewID = n.ID(), n.opts.Version, n.log, httpapi.DefaultConfig().NewID
	cfg.Store, cfg.Table, cfg.Tokens, cfg.Limiter = n.store, n.bbbLoads, b3Tokens{n.admin}, access.Limiter
	cfg.Meetings, cfg.Recordings = n.bbbControl, n.recordings
	cfg.Secret = func() []byte {
		if s := n.b3Secret.Load(); s != nil {
			return *s
		}
		return nil
	}
	b3, err := b3api.New(cfg)
	if err != nil {
		return nil, err
	}
	n.cleanup.push(func() error { b3.Close(); return nil })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if rest, ok := strings.CutPrefix(r.URL.Path, b3api.Path); ok && (rest == "" || rest[0] == '/') {
			b3.ServeHTTP(w, r)
			return
		}
		n.admin.ServeHTTP(w, r)
	}), nil
}

// readJWTSecret reads the bytes that sign, which is all of the file but the end of its line.
func readJWTSecret(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	b = bytes.TrimSuffix(bytes.TrimSuffix(b, []byte("\n")), []byte("\r"))
	if len(b) < minJWTSecret {
		return nil, fmt.Errorf("%s must hold a secret of at least %d bytes, as B3SCALE_API_JWT_SECRET has it; `openssl rand -hex 32` makes one", path, minJWTSecret)
	}
	return b, nil
}

// b3Tokens lets the bearers of our own tokens in.
type b3Tokens struct{ s *httpapi.Server }

func (t b3Tokens) Identify(r *http.Request) (b3api.Identity, int) {
	who, status := t.s.Identify(r)
	return b3api.Identity(who), status
}
