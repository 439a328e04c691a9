package upstream

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/lbnode/lbnode/proxy/http1"
	"github.com/lbnode/lbnode/state"
)

const (
	// dialTimeout bounds a dial that no request waits for any more; routes have their own, shorter one.
	dialTimeout = 2 * time.Minute
	// expectWait is how long a body is held back for a 100 from the backend.
	expectWait = time.Second
	// h2Idle and h2Ping find connections that died without a word.
	h2Idle = 15 * time.Second
	h2Ping = 10 * time.Second
)

// transportKey is what backends must have in common to share a transport.
type transportKey struct {
	protocol state.Protocol
	tls      state.BackendTLS
	proxy    state.ProxyProtocol
}

func (s *Set) transport(key transportKey) http.RoundTripper {
	if t := s.transports[key]; t != nil {
		return t
	}
	t := s.newTransport(key)
	s.transports[key] = t
	return t
}

func (s *Set) newTransport(key transportKey) *http.Transport {
	dial := s.cfg.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: dialTimeout}).DialContext
	}
	if key.proxy != "" {
		dial = announcing(dial, key.proxy)
	}
	lim, clear := http1.AnswerLimits(int(s.cfg.MaxHeaderBytes)), dial
	if key.protocol != state.ProtocolH2 && key.protocol != state.ProtocolH2C || key.proxy != "" {
		clear = strict(dial, lim)
	}
	cfg := tlsConfig(key.tls)
	s.showCertificate(cfg, key.tls.ClientCertificate)
	return &http.Transport{
		DisableKeepAlives:      key.proxy != "", // a connection speaks for one client
		Proxy:                  nil,             // a balancer's backends are reached directly, whatever the environment says
		DialContext:            clear,
		DialTLSContext:         secure(dial, cfg, key, lim),
		TLSClientConfig:        cfg,
		DisableCompression:     true, // else the body would be decoded behind our back
		MaxIdleConns:           s.cfg.MaxIdle,
		MaxIdleConnsPerHost:    s.cfg.MaxIdlePerBackend,
		IdleConnTimeout:        s.cfg.IdleTimeout,
		MaxResponseHeaderBytes: 2 * s.cfg.MaxHeaderBytes, // it counts otherwise; strict is what bounds HTTP/1.1
		ExpectContinueTimeout:  expectWait,
		Protocols:              protocols(key),
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: h2Idle, PingTimeout: h2Ping},
	}
}

// protocols says what may be spoken. With auto, TLS connections take what ALPN gives and others HTTP/1.1;
// h2 and h2c both mean HTTP/2 only, and the address's scheme says whether over TLS.
func protocols(key transportKey) *http.Protocols {
	var out http.Protocols
	switch p := key.protocol; {
	case p == state.ProtocolHTTP1, key.proxy != "": // what HTTP/2 multiplexes cannot be told apart by connection
		out.SetHTTP1(true)
	case p == state.ProtocolH2 || p == state.ProtocolH2C:
		out.SetHTTP2(true)
		out.SetUnencryptedHTTP2(true)
	default:
		out.SetHTTP1(true)
		out.SetHTTP2(true)
	}
	return &out
}

// tlsConfig verifies against the system's roots and the address's host unless the pool says otherwise.
func tlsConfig(c state.BackendTLS) *tls.Config {
	cfg := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         c.ServerName,
		InsecureSkipVerify: c.SkipVerify,
		ClientSessionCache: tls.NewLRUClientSessionCache(0),
	}
	if c.CA != "" {
		// Apply has checked that there is a certificate; one that does not parse leaves an empty pool, and
		// then no backend is trusted, which is the safe side.
		cfg.RootCAs = x509.NewCertPool()
		cfg.RootCAs.AppendCertsFromPEM([]byte(c.CA))
	}
	return cfg
}

// showCertificate has backends that ask for one shown a certificate. It is looked up for each handshake, so that a
// new one is used from the next connection on; without it there is no connection.
func (s *Set) showCertificate(cfg *tls.Config, id string) {
	if id == "" {
		return
	}
	cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if s.cfg.ClientCertificate == nil {
			return nil, fmt.Errorf("client certificate %q is not at hand", id)
		}
		return s.cfg.ClientCertificate(id)
	}
}
