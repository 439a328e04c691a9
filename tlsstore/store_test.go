package tlsstore

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/lbnode/lbnode/internal/certtest"
	"github.com/lbnode/lbnode/internal/seal"
	"github.com/lbnode/lbnode/state"
)

var clusterKey = bytes.Repeat([]byte{7}, 32)

func newBox(t *testing.T) *seal.Box {
	t.Helper()
	b, err := seal.New(clusterKey)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// world is a view that certificates are put into.
type world struct {
	t    *testing.T
	view *state.View
}

func (w *world) put(id string, l certtest.Leaf, hosts ...string) {
	w.t.Helper()
	key, err := newBox(w.t).Seal(Purpose(id), []byte(l.Key))
	if err != nil {
		w.t.Fatal(err)
	}
	raw, err := json.Marshal(state.CertificateSpec{ID: id, Certificate: l.Cert, PrivateKey: key, Hosts: hosts})
	if err != nil {
		w.t.Fatal(err)
	}
	w.do(state.Op{Verb: state.VerbPut, Kind: state.KindCertificate, ID: id, Value: raw})
}

func (w *world) do(op state.Op) {
	w.t.Helper()
	next, res := state.Apply(w.view, w.view.Index+1, 1, state.Command{Type: state.TypeTxn, Ops: []state.Op{op}})
	if res.Refusal != nil {
		w.t.Fatalf("%v %v", res.Refusal, res.Refusal.Errors)
	}
	w.view = next
}

func newStore(t *testing.T, def *tls.Certificate, log *slog.Logger) *Store {
	box := newBox(t)
	return New(Config{Default: func() *tls.Certificate { return def }, Box: func() (*seal.Box, bool) { return box, false }, Logger: log})
}

func TestStore_picksByName(t *testing.T) {
	t.Parallel()
	ca := certtest.New(t, "ca")
	w := &world{t: t, view: state.NewView()}
	w.put("exact", ca.Leaf("www.example.org"))
	w.put("wild", ca.Leaf("*.example.org"))
	w.put("older", ca.LeafFor(30*time.Minute, "two.example.net"))
	w.put("newer", ca.Leaf("two.example.net"), "more.example.net")
	file := ca.Leaf("file.example.com").TLS(t)
	s := newStore(t, &file, slog.New(slog.DiscardHandler))
	s.Update(w.view)
	for name, want := range map[string]string{
		"www.example.org": "www.example.org", "WWW.Example.ORG.": "www.example.org", "other.example.org": "*.example.org",
		"a.b.example.org": "file.example.com", "example.org": "file.example.com", "": "file.example.com", "nobody": "file.example.com",
		"two.example.net": "two.example.net", "more.example.net": "two.example.net",
	} {
		c, err := s.Certificate(&tls.ClientHelloInfo{ServerName: name})
		if err != nil || c.Leaf.Subject.CommonName != want {
			t.Errorf("for %q: %v, %v, want %s", name, c, err, want)
		}
	}
	if c, _ := s.Certificate(&tls.ClientHelloInfo{ServerName: "two.example.net"}); time.Until(c.Leaf.NotAfter) < 45*time.Minute {
		t.Error("of two certificates the one that ends first is shown")
	}
	w.do(state.Op{Verb: state.VerbDelete, Kind: state.KindCertificate, ID: "exact"})
	s.Update(w.view)
	if c, _ := s.Certificate(&tls.ClientHelloInfo{ServerName: "www.example.org"}); c.Leaf.Subject.CommonName != "*.example.org" {
		t.Errorf("after its deletion: %s", c.Leaf.Subject.CommonName)
	}
	if _, err := s.ByID("wild"); err != nil {
		t.Error(err)
	}
	if _, err := s.ByID("exact"); err == nil {
		t.Error("a certificate that was deleted is still at hand")
	}
}

func TestStore_default(t *testing.T) {
	t.Parallel()
	ca := certtest.New(t, "ca")
	w := &world{t: t, view: state.NewView()}
	s := newStore(t, nil, slog.New(slog.DiscardHandler))
	s.Update(w.view)
	if c, err := s.Certificate(&tls.ClientHelloInfo{}); !errors.Is(err, ErrNoCertificate) {
		t.Errorf("without any: %v, %v", c, err)
	}
	w.put(DefaultID, ca.Leaf("d.example.org"))
	s.Update(w.view)
	if c, err := s.Certificate(&tls.ClientHelloInfo{ServerName: "x"}); err != nil || c.Leaf.Subject.CommonName != "d.example.org" {
		t.Errorf("with a default in the state: %v, %v", c, err)
	}
}

// What cannot be opened is left out, said once, and keeps nothing else from being used.
func TestStore_sealedWithAnotherKey(t *testing.T) {
	t.Parallel()
	ca := certtest.New(t, "ca")
	w := &world{t: t, view: state.NewView()}
	w.put("good", ca.Leaf("good.example.org"))
	other, err := seal.New(bytes.Repeat([]byte{8}, 32))
	if err != nil {
		t.Fatal(err)
	}
	l := ca.Leaf("bad.example.org")
	key, err := other.Seal(Purpose("bad"), []byte(l.Key))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(state.CertificateSpec{ID: "bad", Certificate: l.Cert, PrivateKey: key})
	if err != nil {
		t.Fatal(err)
	}
	w.do(state.Op{Verb: state.VerbPut, Kind: state.KindCertificate, ID: "bad", Value: raw})
	var log bytes.Buffer
	s := newStore(t, nil, slog.New(slog.NewTextHandler(&log, nil)))
	s.Update(w.view)
	s.Update(w.view)
	if _, err := s.ByID("bad"); err == nil {
		t.Error("it is used")
	}
	if c, err := s.Certificate(&tls.ClientHelloInfo{ServerName: "good.example.org"}); err != nil || c == nil {
		t.Errorf("the other one: %v", err)
	}
	if n := strings.Count(log.String(), "certificate=bad"); n != 1 || strings.Contains(log.String(), "PRIVATE") {
		t.Errorf("said %d times, want once:\n%s", n, log.String())
	}
}

func TestParse_refuses(t *testing.T) {
	t.Parallel()
	ca := certtest.New(t, "ca")
	a, b := ca.Leaf("a"), ca.Leaf("b")
	if _, err := Parse([]byte(a.Cert), []byte(b.Key)); !errors.Is(err, ErrMismatch) {
		t.Errorf("a key of another certificate: %v", err)
	}
	for name, pair := range map[string][2]string{
		"no certificate": {"", a.Key}, "no key": {a.Cert, ""}, "a key first": {a.Key, a.Key},
		"a certificate for a key": {a.Cert, a.Cert}, "no DER": {"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", a.Key},
	} {
		if _, err := Parse([]byte(pair[0]), []byte(pair[1])); err == nil || strings.Contains(err.Error(), "BEGIN") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// handshake connects a client to a store and says whether its session was resumed.
func handshake(t *testing.T, s *Store, cfg *tls.Config) bool {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	done := make(chan error, 1)
	go func() {
		raw, err := ln.Accept()
		if err == nil {
			c := tls.Server(raw, s.Server())
			_, err = c.Write([]byte("x")) // the ticket comes with it
			_ = c.Close()
		}
		done <- err
	}()
	c, err := tls.Dial("tcp", ln.Addr().String(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if n, err := c.Read(make([]byte, 1)); n != 1 { // the end may come with it
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return c.ConnectionState().DidResume
}

// A session that began on one node is resumed on another, also after the keys have moved on, and not by a node of
// another cluster.
func TestTickets_resumeOnAnotherNode(t *testing.T) {
	t.Parallel()
	leaf := certtest.New(t, "ca").Leaf("n").TLS(t)
	now := time.Unix(1_800_000_000, 0)
	node := func(key []byte, at time.Time) *Store {
		s := newStore(t, &leaf, slog.New(slog.DiscardHandler))
		if err := s.SetTicketKeys([][]byte{key}, at); err != nil {
			t.Fatal(err)
		}
		return s
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, tt := range []struct {
			name string
			node *Store
			want bool
		}{
			{"another node", node(clusterKey, now), true},
			{"a node whose clock is behind", node(clusterKey, now.Add(-ticketEpoch)), true},
			{"a node twelve hours later", node(clusterKey, now.Add(ticketEpoch)), true},
			{"a node two days later", node(clusterKey, now.Add(4*ticketEpoch)), false},
			{"a node of another cluster", node(bytes.Repeat([]byte{9}, 32), now), false},
		} {
			cfg := &tls.Config{InsecureSkipVerify: true, ServerName: "n", MinVersion: version, MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
			if handshake(t, node(clusterKey, now), cfg) {
				t.Fatal("the first handshake was resumed")
			}
			if got := handshake(t, tt.node, cfg); got != tt.want {
				t.Errorf("TLS %x on %s: resumed %v, want %v", version, tt.name, got, tt.want)
			}
		}
	}
}
