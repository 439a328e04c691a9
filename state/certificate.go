package state

import (
	"encoding/pem"
	"fmt"
	"strings"
)

// Bounds of a certificate.
const (
	maxChain  = 128 << 10
	maxSealed = 64 << 10
)

// CertificateSpec is a certificate that the proxies show to clients, or to backends. Whether the key belongs to
// it is checked before it is proposed: what a library makes of a certificate must not decide about the state.
type CertificateSpec struct {
	ID          string   `json:"id"`
	Certificate string   `json:"certificate"` // PEM, the leaf first and then the chain
	PrivateKey  string   `json:"private_key"` // sealed with the cluster key
	Hosts       []string `json:"hosts"`       // further names that it is shown for, exact or *.suffix
}

// Certificate is a stored certificate.
type Certificate struct {
	CertificateSpec
	Stamp
}

// Kind implements [Spec] and [Object].
func (*CertificateSpec) Kind() Kind { return KindCertificate }

// ObjectID implements [Spec] and [Object].
func (s *CertificateSpec) ObjectID() string { return s.ID }

// Inherit implements [Spec]: the API never shows a key, so what was read can be written back.
func (s *CertificateSpec) Inherit(old Object) {
	if c, ok := old.(*Certificate); ok && s.PrivateKey == "" {
		s.PrivateKey = c.PrivateKey
	}
}

// Normalize implements [Spec].
func (s *CertificateSpec) Normalize() {
	s.Certificate = strings.TrimSpace(s.Certificate)
	hosts := make([]string, len(s.Hosts))
	for i, h := range s.Hosts {
		hosts[i] = strings.ToLower(strings.TrimSpace(h))
	}
	s.Hosts = sortedSet(hosts)
}

// Validate implements [Spec].
func (s *CertificateSpec) Validate() []FieldError {
	var c checks
	c.id("/id", s.ID)
	if len(s.Certificate) > maxChain {
		c.add("/certificate", "must be at most %d bytes", maxChain)
	} else if b, _ := pem.Decode([]byte(s.Certificate)); b == nil || b.Type != "CERTIFICATE" {
		c.add("/certificate", "must start with a PEM block of type CERTIFICATE")
	}
	switch {
	case s.PrivateKey == "":
		c.add("/private_key", "must be there")
	case len(s.PrivateKey) > maxSealed:
		c.add("/private_key", "must be at most %d bytes", maxSealed)
	case strings.Contains(s.PrivateKey, "-----BEGIN"):
		c.add("/private_key", "must be sealed before it enters the log")
	}
	if len(s.Hosts) > maxTags {
		c.add("/hosts", "must have at most %d entries, got %d", maxTags, len(s.Hosts))
	}
	for i, h := range s.Hosts {
		if !validHostPattern(h, true) {
			c.add(fmt.Sprintf("/hosts/%d", i), "must be a host name without port, or *.suffix, got %q", h)
		}
	}
	return c.errs
}

// Spec implements [Object].
func (c *Certificate) Spec() Spec { s := c.CertificateSpec; return &s }

// certificateRefs lists the pools that show a certificate to their backends, as kind/id.
func (a *applier) certificateRefs(id string) []string {
	var refs []string
	a.t.tree(KindPool).Root().Walk(func(_ []byte, o Object) bool {
		if p := o.(*Pool); p.TLS.ClientCertificate == id {
			refs = append(refs, "pool/"+p.ID)
		}
		return false
	})
	return refs
}

// needCertificate refuses a pool that names a certificate which does not exist.
func (a *applier) needCertificate(spec Spec) *Refusal {
	p, ok := spec.(*PoolSpec)
	if !ok || p.TLS.ClientCertificate == "" || a.t.get(KindCertificate, p.TLS.ClientCertificate) != nil {
		return nil
	}
	return &Refusal{Code: CodeInvalid, Message: fmt.Sprintf("pool %q is not valid", p.ID), Errors: []FieldError{{
		Pointer: "/tls/client_certificate", Message: fmt.Sprintf("there is no certificate %q; add it first", p.TLS.ClientCertificate),
	}}}
}
