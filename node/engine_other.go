//go:build !linux

package node

import (
	"errors"

	"github.com/lbnode/lbnode/internal/config"
	"github.com/lbnode/lbnode/proxy"
	"github.com/lbnode/lbnode/proxy/portable"
)

// newEngine returns the engine that --engine names. Event loops are there on Linux only.
func newEngine(name string, cfg portable.Config) (proxy.Engine, error) {
	if name == config.EngineEpoll {
		return nil, errors.New("--engine epoll needs Linux; use auto or portable")
	}
	return portable.New(cfg)
}
