package health

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/lbnode/lbnode/internal/certtest"
	"github.com/lbnode/lbnode/state"
)

// Probes of both kinds show the certificate of the pool, and a backend that asks for one passes only with it.
func TestCheck_clientCertificate(t *testing.T) {
	t.Parallel()
	ca, clients := certtest.New(t, "servers"), certtest.New(t, "clients")
	shown := clients.Leaf("balancer").TLS(t)
	find := func(id string) (*tls.Certificate, error) {
		if id != "me" {
			return nil, errors.New("no certificate " + id)
		}
		return &shown, nil
	}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got := r.TLS.PeerCertificates[0].Subject.CommonName; got != "balancer" {
			t.Errorf("the probe showed %q", got)
		}
		w.Header().Set("Trailer", "Grpc-Status")
		_, _ = io.WriteString(w, "\x00\x00\x00\x00\x02\x08\x01")
		w.Header().Set("Grpc-Status", "0")
	}))
	srv.TLS = &tls.Config{
		Certificates: []tls.Certificate{ca.Leaf("127.0.0.1").TLS(t)}, ClientAuth: tls.RequireAndVerifyClientCert,
		ClientCAs: clients.Pool(), MinVersion: tls.VersionTLS12,
	}
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.Close)
	for _, typ := range []state.CheckType{state.CheckHTTP, state.CheckGRPC} {
		for id, want := range map[string]bool{"me": true, "other": false, "": false} {
			p := &state.Pool{PoolSpec: state.PoolSpec{ID: "p"}}
			p.Normalize()
			p.Health.Type, p.TLS.CA, p.TLS.ClientCertificate = typ, ca.PEM(), id
			c := withCertificate(newCheck, find)(&state.Backend{BackendSpec: state.BackendSpec{ID: "b", Address: srv.URL}}, p, "t")
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			o := c.probe(ctx)
			cancel()
			if o.ok != want {
				t.Errorf("%s probe with certificate %q = %+v, want ok %t", typ, id, o, want)
			}
		}
	}
}
