package node

import (
	"github.com/lbnode/lbnode/internal/config"
	"github.com/lbnode/lbnode/proxy/portable"
)

// limitsOf is what an operator says about clients, in the words of the engines.
func limitsOf(c config.Limits) portable.Limits {
	l := portable.DefaultLimits()
	l.Conns, l.Head.Head, l.Head.Line, l.Head.Fields = c.Connections, c.HeaderBytes, c.RequestLine, c.HeaderFields
	l.HeadTimeout, l.StallTimeout, l.IdleTimeout, l.HandshakeTimeout = c.Header, c.Write, c.Idle, c.Handshake
	l.ClientConns = c.ClientConns
	return l
}
