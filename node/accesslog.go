package node

import (
	"os"

	"github.com/lbnode/lbnode/internal/config"
	"github.com/lbnode/lbnode/proxy"
	"github.com/lbnode/lbnode/proxy/accesslog"
)

// buildAccessLog opens the access log that the operator wants. It is closed after the engine that writes to it.
func (n *Node) buildAccessLog() (proxy.AccessLog, error) {
	if n.cfg.AccessLog == config.AccessLogOff {
		return nil, nil
	}
	cfg := accesslog.Config{Node: n.ID(), Path: n.cfg.AccessLog, Sample: n.cfg.AccessLogSample, Logger: n.log}
	if cfg.Path == config.AccessLogStdout {
		cfg.Path, cfg.Out = "", n.opts.Stdout
		if cfg.Out == nil {
			cfg.Out = os.Stdout
		}
	}
	log, err := accesslog.New(cfg)
	if err != nil {
		return nil, err
	}
	n.accessLog = log
	n.cleanup.push(log.Close)
	return log, nil
}

// reopenAccessLog opens the access log's file anew, after a rotation.
func (n *Node) reopenAccessLog() {
	if n.accessLog == nil {
		return
	}
	if err := n.accessLog.Reopen(); err != nil {
		n.log.Error("the access log could not be opened anew; the old file stays in use", "error", err)
		return
	}
	n.log.Info("access log opened anew", "path", n.cfg.AccessLog)
}
