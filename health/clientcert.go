package health

import (
	"crypto/tls"

	"github.com/lbnode/lbnode/state"
)

// withCertificate has checks over TLS show the certificate that the pool shows its backends, as the proxy does.
func withCertificate(build func(*state.Backend, *state.Pool, string) check, find func(string) (*tls.Certificate, error)) func(*state.Backend, *state.Pool, string) check {
	return func(b *state.Backend, p *state.Pool, version string) check {
		c := build(b, p, version)
		id := p.TLS.ClientCertificate
		if h := overHTTP(c); h != nil && h.tls != nil && id != "" && find != nil {
			h.tls.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return find(id) }
		}
		return c
	}
}

// overHTTP is the part of a check that speaks HTTP; nil if it has none.
func overHTTP(c check) *httpCheck {
	switch c := c.(type) {
	case *httpCheck:
		return c
	case *grpcCheck:
		return &c.httpCheck
	}
	return nil
}
