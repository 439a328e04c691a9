package tlsstore

import (
	"crypto/tls"
	"fmt"
	"sync/atomic"
)

// Pair is a certificate chain and its key in two PEM files. The methods may be called concurrently.
type Pair struct {
	CertFile, KeyFile string

	cert atomic.Pointer[tls.Certificate]
}

// Load reads the files. On error what was read before stays.
func (p *Pair) Load() error {
	c, err := tls.LoadX509KeyPair(p.CertFile, p.KeyFile)
	if err != nil {
		return fmt.Errorf("%s and %s: %w", p.CertFile, p.KeyFile, err)
	}
	p.cert.Store(&c)
	return nil
}

// Certificate is what was read last; nil before the first success.
func (p *Pair) Certificate() *tls.Certificate { return p.cert.Load() }
