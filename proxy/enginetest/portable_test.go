package enginetest

import (
	"log/slog"
	"testing"

	"github.com/lbnode/lbnode/proxy"
	"github.com/lbnode/lbnode/proxy/portable"
)

func newPortable(t testing.TB, p *proxy.Proxy, s Settings) proxy.Engine {
	t.Helper()
	lim := portable.DefaultLimits()
	lim.HeadTimeout, lim.IdleTimeout, lim.StallTimeout, lim.Conns, lim.ClientConns = s.Head, s.Idle, s.Stall, s.Conns, s.Client
	e, err := portable.New(portable.Config{
		Proxy: p, Addrs: []string{s.Addr}, TLSAddrs: s.TLSAddrs, Certificate: s.Certificate, ProxyFrom: s.ProxyFrom,
		Limits: lim, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestPortable_behaves(t *testing.T) {
	t.Parallel()
	Run(t, newPortable, map[string]string{
		"expect_refused": "net/http sends its 100 although the backend has refused the body",
	})
}

func TestPortable_behavesOverTLS(t *testing.T) {
	t.Parallel()
	RunTLS(t, newPortable, map[string]string{
		"expect_refused": "net/http sends its 100 although the backend has refused the body",
	})
}

func TestPortable_leavesNothing(t *testing.T) { Leaks(t, newPortable) } // not parallel: it counts the process's

func TestPortable_grpc(t *testing.T) {
	t.Parallel()
	GRPC(t, newPortable, nil)
}
