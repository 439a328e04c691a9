//go:build linux

package engine

import (
	"log/slog"
	"testing"

	"github.com/lbnode/lbnode/proxy"
	"github.com/lbnode/lbnode/proxy/enginetest"
)

func newTestEngine(t testing.TB, p *proxy.Proxy, s enginetest.Settings) proxy.Engine {
	t.Helper()
	lim := DefaultLimits()
	lim.HeadTimeout, lim.IdleTimeout, lim.StallTimeout, lim.Conns, lim.ClientConns = s.Head, s.Idle, s.Stall, s.Conns, s.Client
	e, err := New(Config{Proxy: p, Addrs: []string{s.Addr}, TLSAddrs: s.TLSAddrs, Certificate: s.Certificate, ProxyFrom: s.ProxyFrom, Limits: lim, Loops: 2, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestEngine_behaves(t *testing.T) {
	t.Parallel()
	enginetest.Run(t, newTestEngine, nil)
}

func TestEngine_behavesOverTLS(t *testing.T) {
	t.Parallel()
	enginetest.RunTLS(t, newTestEngine, nil)
}

func TestEngine_leavesNothing(t *testing.T) { enginetest.Leaks(t, newTestEngine) } // not parallel: it counts the process's

func TestEngine_grpc(t *testing.T) {
	t.Parallel()
	enginetest.GRPC(t, newTestEngine, nil)
}

func TestEngine_h2spec(t *testing.T) {
	t.Parallel()
	enginetest.H2Spec(t, newTestEngine)
}

func TestEngine_behavesByH2C(t *testing.T) {
	t.Parallel()
	enginetest.RunH2(t, newTestEngine, false, nil)
}

func TestEngine_behavesByH2(t *testing.T) {
	t.Parallel()
	enginetest.RunH2(t, newTestEngine, true, nil)
}

func TestEngine_frames(t *testing.T) {
	t.Parallel()
	enginetest.RunFrames(t, newTestEngine)
}

func TestEngine_behavesBeforeH2C(t *testing.T) {
	t.Parallel()
	enginetest.RunBehind(t, newTestEngine, false, nil)
}
