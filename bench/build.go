package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// compile builds the C programs into dir/bin. It reports whether the load generator speaks TLS, which needs
// OpenSSL's headers.
func compile(ctx context.Context, src, dir string) (withTLS bool, err error) {
	bin := filepath.Join(dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return false, err
	}
	gcc := func(name string, more ...string) error {
		args := append([]string{"-O2", "-Wall", "-o", filepath.Join(bin, name), filepath.Join(src, name+".c")}, more...)
		out, err := exec.CommandContext(ctx, "gcc", args...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("gcc %s: %w\n%s", strings.Join(args, " "), err, out)
		}
		return nil
	}
	for _, name := range []string{"origin", "origin2", "relay"} {
		if err := gcc(name); err != nil {
			return false, err
		}
	}
	if gcc("load", "-DWITH_TLS", "-lssl", "-lcrypto") == nil {
		return true, nil
	}
	return false, gcc("load")
}

// certificate is a key pair for localhost, in the files that the peers want.
type certificate struct {
	Cert, Key string
	Both      string // one after the other, as HAProxy takes them
}

// makeCertificate writes a fresh self-signed P-256 certificate for localhost to dir.
func makeCertificate(dir string) (certificate, error) {
	var c certificate
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return c, err
	}
	now := time.Now()
	tmpl := x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(48 * time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, &tmpl, &tmpl, &key.PublicKey, key)
	if err != nil {
		return c, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return c, err
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	c = certificate{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem"), Both: filepath.Join(dir, "both.pem")}
	for file, content := range map[string][]byte{c.Cert: certPEM, c.Key: keyPEM, c.Both: append(certPEM, keyPEM...)} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			return c, err
		}
	}
	return c, nil
}
