package main

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"strings"
)

// connFiles are the files that a connection to a node needs; "" = none.
type connFiles struct{ token, ca, cert, key string }

// bearer is the token to send: what was said on the command line goes before the environment.
func (a *app) bearer() (string, error) {
	if a.token != "" && a.files.token != "" {
		return "", usagef("--token and --token-file exclude each other")
	}
	if a.token != "" || a.files.token == "" && a.env[envToken] != "" {
		return firstOf(a.token, a.env[envToken]), nil
	}
	path := firstOf(a.files.token, a.env[envTokenFile])
	if path == "" {
		return "", nil
	}
	text, err := a.readFile(path)
	if err != nil {
		return "", usagef("the token: %w", err)
	}
	if text = strings.TrimSpace(text); text == "" {
		return "", usagef("the token: %s is empty", path)
	}
	return text, nil
}

// trust tells a transport whom to believe and what to show of itself.
func (a *app) trust(t *http.Transport) error {
	ca := firstOf(a.files.ca, a.env[envCACert])
	if ca == "" && a.files.cert == "" && a.files.key == "" {
		return nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return usagef("--ca-file: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return usagef("--ca-file %s holds no certificate in PEM", ca)
		}
	}
	if a.files.cert != "" || a.files.key != "" {
		pair, err := tls.LoadX509KeyPair(a.files.cert, a.files.key)
		if err != nil {
			return usagef("--client-cert-file, --client-key-file: %w", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	t.TLSClientConfig = cfg
	return nil
}
