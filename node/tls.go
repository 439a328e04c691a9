package node

import (
	"crypto/tls"
	"fmt"

	"github.com/lbnode/lbnode/internal/config"
)

// certificate returns the source of the default certificate, or nil without TLS listeners.
func certificate(cfg config.Config) (func(*tls.ClientHelloInfo) (*tls.Certificate, error), error) {
	if cfg.TLSCertFile == "" {
		return nil, nil
	}
	cert, err := tls.LoadX509KeyPair(cfg.TLSCertFile, cfg.TLSKeyFile)
	if err != nil {
		return nil, fmt.Errorf("--tls-cert-file %s, --tls-key-file %s: %w", cfg.TLSCertFile, cfg.TLSKeyFile, err)
	}
	return func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &cert, nil }, nil
}
