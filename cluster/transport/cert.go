package transport

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// Certificates are valid from and to these fixed instants, and are verified at
// verifyAt whatever the local clock says: the key decides who is a peer, and a
// clock that jumped must not take a node out of its cluster.
func validity() (from, verifyAt, to time.Time) {
	return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
}

// credentials is what one set of keys amounts to: a leaf of ours and the
// authority for each of them. Immutable; rotation swaps it.
//
// The first key's leaf is the one we prefer. A peer that was away during a
// rotation may know an older key only; each side says what it knows, the client
// by the name of the server that it asks for, the server by the authorities that
// it accepts, and gets a leaf that it can verify, if there is one.
type credentials struct {
	keys      []Key
	leaves    []*tls.Certificate  // one per key, same order
	roots     []*x509.Certificate // likewise
	pools     []*x509.CertPool    // of one root each, so that verify knows the key
	clientCAs *x509.CertPool      // of all roots
}

func newCredentials(keys []Key, nodeID string) (*credentials, error) {
	switch {
	case len(keys) > MaxKeys:
		return nil, fmt.Errorf("cluster keys: %d given, at most %d", len(keys), MaxKeys)
	case len(keys) == 0:
		keys = []Key{LabKey()}
	}
	c := &credentials{keys: append([]Key(nil), keys...), clientCAs: x509.NewCertPool()}
	for _, k := range c.keys {
		root, err := authorityCert(k)
		if err != nil {
			return nil, fmt.Errorf("cluster key %s: %w", k.Fingerprint(), err)
		}
		pool := x509.NewCertPool()
		pool.AddCert(root)
		c.roots = append(c.roots, root)
		c.pools = append(c.pools, pool)
		c.clientCAs.AddCert(root)
		leaf, err := issueLeaf(k, root, nodeID)
		if err != nil {
			return nil, fmt.Errorf("issue leaf certificate: %w", err)
		}
		c.leaves = append(c.leaves, &leaf)
	}
	return c, nil
}

// serverName tells a server which key of ours we would have it prove.
func serverName(k Key) string { return k.Fingerprint() + ".key.lbnode" }

// leafFor returns the leaf that a client asked for, else that of the first key.
func (c *credentials) leafFor(name string) *tls.Certificate {
	for i, k := range c.keys {
		if serverName(k) == name {
			return c.leaves[i]
		}
	}
	return c.leaves[0]
}

// leafAmong returns a leaf of one of the authorities that a server accepts, else
// that of the first key.
func (c *credentials) leafAmong(authorities [][]byte) *tls.Certificate {
	for i, root := range c.roots {
		for _, subject := range authorities {
			if bytes.Equal(subject, root.RawSubject) {
				return c.leaves[i]
			}
		}
	}
	return c.leaves[0]
}

// authorityCert is a pure function of the key: every node computes the same
// certificate.
func authorityCert(k Key) (*x509.Certificate, error) {
	from, _, to := validity()
	priv := k.authority()
	tmpl := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "lbnode cluster " + k.Fingerprint()},
		NotBefore:             from,
		NotAfter:              to,
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, priv.Public(), priv)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// issueLeaf makes a certificate for this process; its private key is never
// stored.
func issueLeaf(k Key, root *x509.Certificate, nodeID string) (tls.Certificate, error) {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return tls.Certificate{}, err
	}
	from, _, to := validity()
	tmpl := &x509.Certificate{
		SerialNumber: serial.Add(serial, big.NewInt(1)),
		Subject:      pkix.Name{CommonName: nodeID},
		NotBefore:    from,
		NotAfter:     to,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, root, pub, k.authority())
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: priv, Leaf: leaf}, nil
}

// verify says which of our keys signed the peer's leaf.
func (c *credentials) verify(leaf *x509.Certificate) (Key, error) {
	_, at, _ := validity()
	for i, pool := range c.pools {
		_, err := leaf.Verify(x509.VerifyOptions{
			Roots:         pool,
			Intermediates: x509.NewCertPool(),
			CurrentTime:   at,
			KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
		})
		if err == nil {
			return c.keys[i], nil
		}
	}
	return Key{}, ErrWrongKey
}

func (c *credentials) holds(k Key) bool {
	for _, have := range c.keys {
		if have == k {
			return true
		}
	}
	return false
}

// serverConfig is for accepted connections.
func (m *Mux) serverConfig() *tls.Config {
	cfg := m.tlsConfig()
	cfg.NextProtos = []string{ProtoRaft, ProtoRPC, ProtoGossip}
	base := cfg.Clone()
	cfg.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		c := base.Clone()
		c.ClientCAs = m.creds.Load().clientCAs
		return c, nil
	}
	return cfg
}

// tlsConfig is shared by both roles. Hooks instead of fixed certificates let
// SetKeys change the keys of a running listener.
func (m *Mux) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		// Verification is VerifyConnection's: by key, without names and dates.
		InsecureSkipVerify: true,
		ClientAuth:         tls.RequireAnyClientCert,
		// Without tickets a client owes the server no read after the handshake,
		// and a stream that is written and closed at once is not reset by them.
		SessionTicketsDisabled: true,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return m.creds.Load().leafFor(hello.ServerName), nil
		},
		GetClientCertificate: func(req *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return m.creds.Load().leafAmong(req.AcceptableCAs), nil
		},
		VerifyConnection: func(cs tls.ConnectionState) error {
			if len(cs.PeerCertificates) == 0 {
				return errors.New("no peer certificate")
			}
			_, err := m.creds.Load().verify(cs.PeerCertificates[0])
			return err
		},
	}
}
