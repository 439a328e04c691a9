package enginetest

import (
	"crypto/tls"
	"testing"

	"github.com/lbnode/lbnode/proxy"
)

// secured is an engine whose clients speak TLS.
type secured struct {
	proxy.Engine
	client *tls.Config
}

// RunTLS is Run with clients that speak HTTP/1.1 over TLS.
func RunTLS(t *testing.T, mk New, deviations map[string]string) {
	without := map[string]string{
		"proxy_protocol":         "the header comes before the handshake: see proxy_protocol_tls",
		"proxy_protocol_refused": "as above",
		"client_cap_proxied":     "as above",
		"proxy_protocol_tls":     "is over TLS in clear text's suite too",
	}
	for name, why := range deviations {
		without[name] = why
	}
	Run(t, overTLS(mk), without)
}

// overTLS makes engines whose worlds speak TLS to them.
func overTLS(mk New) New {
	return func(t testing.TB, p *proxy.Proxy, s Settings) proxy.Engine {
		t.Helper()
		s.TLSAddrs, s.Certificate = []string{"127.0.0.1:0"}, certificate(t)
		return secured{mk(t, p, s), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}}
	}
}
