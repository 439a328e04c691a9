package node

import (
	"github.com/lbnode/lbnode/proxy"
	"github.com/lbnode/lbnode/proxy/engine"
	"github.com/lbnode/lbnode/proxy/portable"
)

// newEngine returns the engine that --engine names: event loops for "epoll", net/http otherwise.
func newEngine(name string, cfg portable.Config) (proxy.Engine, error) {
	if name != "epoll" {
		return portable.New(cfg)
	}
	return engine.New(engine.Config{
		Proxy: cfg.Proxy, Addrs: cfg.Addrs, TLSAddrs: cfg.TLSAddrs, Certificate: cfg.Certificate,
		Limits: engine.DefaultLimits(), Logger: cfg.Logger,
	})
}
