package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/lbnode/lbnode/httpapi"
	"github.com/lbnode/lbnode/internal/reload"
	"github.com/lbnode/lbnode/state"
	"github.com/lbnode/lbnode/tlsstore"
)

// checkInterval is how often files that may change are looked at.
const checkInterval = 5 * time.Second

// Bounds of the token in --api-token-file, in bytes. It is no less secret than a key, and can be tried from outside.
const (
	minToken = 32
	maxToken = 512
)

// watch reads files now, and again when they change.
func (n *Node) watch(flag string, read func() error, paths ...string) error {
	f, err := reload.New(read, paths...)
	if err != nil {
		return fmt.Errorf("%s: %w", flag, err)
	}
	n.files = append(n.files, f)
	return nil
}

// Reload does what an operator asks for by SIGHUP: it opens the access log anew, and has certificates and the token of
// the API read again.
func (n *Node) Reload() {
	n.reopenAccessLog()
	select {
	case n.reloads <- struct{}{}:
	default: // one is about to begin
	}
}

// followFiles reads files again that have changed, and all of them when Reload was called.
func (n *Node) followFiles(ctx context.Context) {
	tick := time.NewTicker(checkInterval)
	defer tick.Stop()
	for {
		all := false
		select {
		case <-tick.C:
		case <-n.reloads:
			all = true
		case <-ctx.Done():
			return
		}
		for _, f := range n.files {
			read, err := true, error(nil)
			if all {
				err = f.Reload()
			} else {
				read, err = f.Check()
			}
			switch {
			case err != nil:
				n.log.Error("changed files cannot be used; what was read before stays in force", "files", f.Paths(), "error", err)
			case read:
				n.log.Info("files were read anew", "files", f.Paths())
			}
		}
	}
}

// buildAccess decides who may use the API, and refuses to offer it to the network without tokens.
func (n *Node) buildAccess() error {
	tokens := n.fsm.View().Len(state.KindToken)
	if n.cfg.APIExposed() && n.cfg.APITokenFile == "" && tokens == 0 && !n.cfg.Insecure {
		return fmt.Errorf("--api-addr %s is not a loopback address, and without tokens anyone who reaches it could change the cluster. "+
			"Make a token once with `lbctl token mint > api.token` and start with --api-token-file api.token, "+
			"or use a loopback address such as 127.0.0.1:9080 and reach it from elsewhere over ssh (or --insecure in a lab)", n.cfg.APIAddr)
	}
	if path := n.cfg.APITokenFile; path != "" {
		return n.watch("--api-token-file", func() error {
			text, err := readToken(path)
			if err == nil {
				n.token.Store(&text)
			}
			return err
		}, path)
	}
	return nil
}

func readToken(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	text := strings.TrimSpace(string(b))
	bad := strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' })
	if bad || len(text) < minToken || len(text) > maxToken {
		return "", fmt.Errorf("%s must hold one token of %d to %d visible characters; `lbctl token mint` makes one", path, minToken, maxToken)
	}
	return text, nil
}

// access is what the API is told of it.
func (n *Node) access(a httpapi.Access) httpapi.Access {
	a.Refused = func(reason string) { n.guards.refused.WithLabelValues(reason).Inc() }
	a.Open, a.MetricsOpen = !n.cfg.APIExposed() || n.cfg.Insecure, n.cfg.MetricsOpen
	a.Bootstrap = func() string {
		if t := n.token.Load(); t != nil {
			return *t
		}
		return ""
	}
	return a
}

// buildAPITLS prepares TLS in front of the API; none without a certificate.
func (n *Node) buildAPITLS() error {
	if n.cfg.APITLSCertFile == "" {
		if n.cfg.APIExposed() && !n.cfg.Insecure {
			n.log.Warn("the admin API is offered to the network without TLS, so that tokens can be read on the way; give --api-tls-cert-file and --api-tls-key-file", "api", n.cfg.APIAddr)
		}
		return nil
	}
	pair := &tlsstore.Pair{CertFile: n.cfg.APITLSCertFile, KeyFile: n.cfg.APITLSKeyFile}
	if err := n.watch("--api-tls-cert-file, --api-tls-key-file", pair.Load, pair.CertFile, pair.KeyFile); err != nil {
		return err
	}
	n.apiTLS = &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return pair.Certificate(), nil },
	}
	path := n.cfg.APIClientCAFile
	if path == "" {
		return nil
	}
	var pool atomic.Pointer[x509.CertPool]
	err := n.watch("--api-client-ca-file", func() error {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		p := x509.NewCertPool()
		if !p.AppendCertsFromPEM(b) {
			return fmt.Errorf("%s holds no certificate in PEM", path)
		}
		pool.Store(p)
		return nil
	}, path)
	base := n.apiTLS.Clone()
	base.ClientAuth = tls.RequireAndVerifyClientCert
	n.apiTLS.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		c := base.Clone()
		c.ClientCAs = pool.Load()
		c.SessionTicketsDisabled = true // a ticket would outlive a change of the authorities
		return c, nil
	}
	return err
}

// serveAPI serves until the server is closed.
func (n *Node) serveAPI() error {
	if n.apiTLS == nil {
		return n.api.Serve(n.apiAddr)
	}
	n.api.TLSConfig = n.apiTLS
	return n.api.ServeTLS(n.apiAddr, "", "")
}

// apiURL is how the others show where this node's API is.
func (n *Node) apiURL() string {
	addr := n.reachable(n.apiAddr.Addr().String())
	if n.apiTLS == nil {
		return addr
	}
	return "https://" + addr
}
