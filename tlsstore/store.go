package tlsstore

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/lbnode/lbnode/internal/seal"
	"github.com/lbnode/lbnode/state"
)

var (
	// ErrNoCertificate says that there is nothing to show for a name.
	ErrNoCertificate = errors.New("no certificate for this name")
	// ErrMismatch says that a private key is not that of the certificate.
	ErrMismatch = errors.New("the private key does not belong to the certificate")
)

// DefaultID is the certificate that is shown for names that have none, if there is none from files.
const DefaultID = "default"

// Purpose is what the private key of a certificate is sealed for.
func Purpose(id string) string { return seal.CertificateKey(id) }

// Config is what a Store is made of.
type Config struct {
	Default func() *tls.Certificate  // from files; nil, or what it returns is nil: none
	Box     func() (*seal.Box, bool) // the cluster keys of now, and whether they are the well-known ones of a lab
	Logger  *slog.Logger
}

// Store picks certificates. Its methods may be called concurrently; Update by one goroutine at a time.
type Store struct {
	cfg    Config
	server *tls.Config
	table  atomic.Pointer[table]

	mu       sync.Mutex
	complain map[string]uint64 // modify_index of certificates that were complained about, by id
}

// New returns a store without certificates of the state.
func New(cfg Config) *Store {
	s := &Store{cfg: cfg, complain: map[string]uint64{}}
	s.table.Store(&table{})
	s.server = &tls.Config{
		MinVersion: tls.VersionTLS12, // with Go's cipher suites for it: no RC4, no 3DES, no CBC without need
		NextProtos: []string{"h2", "http/1.1"}, DynamicRecordSizingDisabled: true, GetCertificate: s.Certificate,
	}
	return s
}

// Server is the configuration for clients. It is one for all listeners, and must not be copied, so that the keys of
// tickets stay the same for all.
func (s *Store) Server() *tls.Config { return s.server }

// entry is a certificate of the state that could be read.
type entry struct {
	id          string
	modifyIndex uint64

	cert  *tls.Certificate
	names []string
}

// table is immutable.
type table struct {
	byID   map[string]*entry
	byName map[string][]*entry // exact, or *.suffix; the one that is valid longest first
}

// Update puts the certificates of a view in force. One that cannot be read is left out and complained about once.
func (s *Store) Update(v *state.View) {
	old, box := s.table.Load(), (*seal.Box)(nil)
	next := &table{byID: map[string]*entry{}, byName: map[string][]*entry{}}
	same := true
	for c := range v.Certificates() {
		if e := old.byID[c.ID]; e != nil && e.modifyIndex == c.ModifyIndex {
			next.byID[c.ID] = e
			continue
		}
		same = false
		if box == nil {
			box, _ = s.cfg.Box()
		}
		e, err := read(c, box)
		if err != nil {
			s.report(c, err)
			continue
		}
		next.byID[c.ID] = e
	}
	if same && len(next.byID) == len(old.byID) {
		return
	}
	for _, e := range next.byID {
		for _, n := range e.names {
			next.byName[n] = append(next.byName[n], e)
		}
	}
	for _, list := range next.byName {
		slices.SortFunc(list, func(a, b *entry) int {
			if d := b.cert.Leaf.NotAfter.Compare(a.cert.Leaf.NotAfter); d != 0 {
				return d
			}
			return strings.Compare(a.id, b.id)
		})
	}
	s.table.Store(next)
}

func (s *Store) report(c *state.Certificate, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.complain[c.ID] == c.ModifyIndex {
		return
	}
	s.complain[c.ID] = c.ModifyIndex
	s.cfg.Logger.Error("a certificate cannot be used on this node", "certificate", c.ID, "error", err)
}

func read(c *state.Certificate, box *seal.Box) (*entry, error) {
	if box == nil {
		return nil, errors.New("there is no cluster key")
	}
	key, err := box.Open(Purpose(c.ID), c.PrivateKey)
	if err != nil {
		return nil, fmt.Errorf("its private key: %w", err)
	}
	cert, err := Parse([]byte(c.CertificateSpec.Certificate), key)
	if err != nil {
		return nil, err
	}
	return &entry{id: c.ID, modifyIndex: c.ModifyIndex, cert: cert, names: Names(cert.Leaf, c.Hosts)}, nil
}

// Parse makes a certificate of its chain and key, both PEM. Errors hold nothing of the key.
func Parse(chain, key []byte) (*tls.Certificate, error) {
	if _, err := Leaf(chain); err != nil {
		return nil, err
	}
	if b, _ := pem.Decode(key); b == nil || !strings.HasSuffix(b.Type, "PRIVATE KEY") {
		return nil, errors.New("the private key is not PEM of a type such as PRIVATE KEY; one with a passphrase must be decrypted first")
	}
	c, err := tls.X509KeyPair(chain, key)
	if err != nil {
		if strings.Contains(err.Error(), "does not match") {
			return nil, ErrMismatch
		}
		return nil, fmt.Errorf("the certificate or its key cannot be used: %w", err)
	}
	return &c, nil
}

// Leaf is the first certificate of a chain in PEM.
func Leaf(chain []byte) (*x509.Certificate, error) {
	b, _ := pem.Decode(chain)
	if b == nil || b.Type != "CERTIFICATE" {
		return nil, errors.New("the chain does not start with a certificate in PEM")
	}
	c, err := x509.ParseCertificate(b.Bytes)
	if err != nil {
		return nil, fmt.Errorf("the certificate cannot be read: %w", err)
	}
	return c, nil
}

// Names are what a certificate is shown for, in order: the names in it, and further ones.
func Names(leaf *x509.Certificate, more []string) []string {
	names := slices.Clone(more)
	for _, n := range leaf.DNSNames {
		names = append(names, strings.ToLower(n))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Certificate picks what a client is shown: the certificate for the very name that it asks for, else one for its
// domain, else the default. It fits [tls.Config.GetCertificate].
func (s *Store) Certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	t, name := s.table.Load(), strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	if name != "" {
		list := t.byName[name]
		if _, domain, ok := strings.Cut(name, "."); ok && len(list) == 0 {
			list = t.byName["*."+domain]
		}
		if c := fitting(list, hello); c != nil {
			return c, nil
		}
	}
	if s.cfg.Default != nil {
		if c := s.cfg.Default(); c != nil {
			return c, nil
		}
	}
	if e := t.byID[DefaultID]; e != nil {
		return e.cert, nil
	}
	return nil, ErrNoCertificate
}

// fitting is the first certificate that a client can use, else the first.
func fitting(list []*entry, hello *tls.ClientHelloInfo) *tls.Certificate {
	if len(list) == 0 {
		return nil
	}
	for _, e := range list {
		if len(list) == 1 || hello.SupportsCertificate(e.cert) == nil {
			return e.cert
		}
	}
	return list[0].cert
}

// ByID returns a certificate of the state, to be shown to backends.
func (s *Store) ByID(id string) (*tls.Certificate, error) {
	if e := s.table.Load().byID[id]; e != nil {
		return e.cert, nil
	}
	return nil, fmt.Errorf("certificate %q is not at hand on this node", id)
}
