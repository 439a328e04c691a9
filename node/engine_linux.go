package node

import (
	"github.com/lbnode/lbnode/internal/config"
	"github.com/lbnode/lbnode/proxy"
	"github.com/lbnode/lbnode/proxy/engine"
	"github.com/lbnode/lbnode/proxy/portable"
)

// newEngine returns the engine that --engine names: net/http for "portable", event loops otherwise.
func newEngine(name string, cfg portable.Config) (proxy.Engine, error) {
	if name == config.EnginePortable {
		return portable.New(cfg)
	}
	limits := engine.DefaultLimits()
	limits.Limits = cfg.Limits
	return engine.New(engine.Config{
		Proxy: cfg.Proxy, Addrs: cfg.Addrs, TLSAddrs: cfg.TLSAddrs, Certificate: cfg.Certificate, TLS: cfg.TLS,
		ProxyFrom: cfg.ProxyFrom, Limits: limits, Logger: cfg.Logger,
	})
}
