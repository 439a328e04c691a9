package health

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/lbnode/lbnode/state"
)

func TestGRPCServingStatus(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, msg string
		want      uint64
		ok        bool
	}{
		{"serving", "\x00\x00\x00\x00\x02\x08\x01", 1, true},
		{"left out is unknown", "\x00\x00\x00\x00\x00", 0, true},
		{"further fields", "\x00\x00\x00\x00\x09\x12\x02hi\x08\x02\x1d\x01\x02"[:14], 0, false},
		{"further fields, whole", "\x00\x00\x00\x00\x0b\x12\x02hi\x08\x02\x1d\x01\x02\x03\x04", 2, true},
		{"compressed", "\x01\x00\x00\x00\x02\x08\x01", 0, false},
		{"short", "\x00\x00\x00\x00\x03\x08\x01", 0, false},
		{"empty", "", 0, false},
		{"length over the end", "\x00\x00\x00\x00\x02\x12\x09", 0, false},
		{"group", "\x00\x00\x00\x00\x01\x0b", 0, false},
	} {
		got, err := grpcServingStatus([]byte(tc.msg))
		if got != tc.want && tc.ok || (err == nil) != tc.ok {
			t.Errorf("%s: grpcServingStatus() = %d, %v, want %d, ok %t", tc.name, got, err, tc.want, tc.ok)
		}
	}
}

func FuzzGRPCServingStatus(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x00\x02\x08\x01"))
	f.Add([]byte("\x00\x00\x00\x00\x0b\x12\x02hi\x08\x02\x1d\x01\x02\x03\x04"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := grpcServingStatus(b); err == nil && (len(b) < 5 || b[0] != 0) {
			t.Errorf("%q was taken for a message", b)
		}
	})
}

func TestCheck_grpc(t *testing.T) {
	t.Parallel()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.ProtoMajor != 2 || r.URL.Path != grpcPath || r.Header.Get("Content-Type") != "application/grpc" || r.Header.Get("Te") != "trailers" {
			t.Errorf("got %s %s %v", r.Proto, r.URL.Path, r.Header)
		}
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status")
		switch {
		case strings.HasSuffix(string(body), "shop.Cart"):
			_, _ = io.WriteString(w, "\x00\x00\x00\x00\x02\x08\x01")
			w.Header().Set("Grpc-Status", "0")
		case len(body) == 5:
			_, _ = io.WriteString(w, "\x00\x00\x00\x00\x02\x08\x02")
			w.Header().Set("Grpc-Status", "0")
		default:
			w.Header().Set("Grpc-Status", "5")
		}
	}))
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Start()
	t.Cleanup(srv.Close)
	for service, want := range map[string]string{"shop.Cart": "", "": "NOT_SERVING", "other": `grpc status "5"`} {
		p := &state.Pool{PoolSpec: state.PoolSpec{ID: "p"}}
		p.Normalize()
		p.Health.Type, p.Health.Service = state.CheckGRPC, service
		c := newCheck(&state.Backend{BackendSpec: state.BackendSpec{ID: "b", Address: srv.Listener.Addr().String()}}, p, "t")
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		o := c.probe(ctx)
		cancel()
		if o.ok != (want == "") || !strings.HasPrefix(o.reason, want) {
			t.Errorf("probe of %q = %+v, want %q", service, o, want)
		}
	}
}

func TestCheck_proxyProtocol(t *testing.T) {
	t.Parallel()
	for v, want := range map[state.ProxyProtocol]string{"": "GET / HTTP/1.1", state.ProxyProtocolV1: proxyUnknown + "GET / HTTP/1.1", state.ProxyProtocolV2: proxyLocal + "GET / HTTP/1.1"} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		got := make(chan string, 1)
		go func() {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			b := make([]byte, len(want))
			_, _ = io.ReadFull(c, b)
			got <- string(b)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}()
		p := &state.Pool{PoolSpec: state.PoolSpec{ID: "p", ProxyProtocol: v}}
		p.Normalize()
		c := newCheck(&state.Backend{BackendSpec: state.BackendSpec{ID: "b", Address: ln.Addr().String()}}, p, "t")
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		if o := c.probe(ctx); !o.ok {
			t.Errorf("probe with %q = %+v", v, o)
		}
		cancel()
		if g := <-got; g != want {
			t.Errorf("with %q the probe began with %q, want %q", v, g, want)
		}
		ln.Close()
	}
}
