package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"github.com/lbnode/lbnode/proxy/http1"
	"github.com/lbnode/lbnode/state"
)

// strictConn is what net/http gets to see of an HTTP/1.1 connection to a backend: only responses that package
// http1 accepts.
type strictConn struct {
	net.Conn
	answers *http1.AnswerReader
}

// Read reads what is cleared.
func (c *strictConn) Read(p []byte) (int, error) { return c.answers.Read(p) }

// Write writes a request.
func (c *strictConn) Write(p []byte) (int, error) {
	c.answers.Sent(p)
	return c.Conn.Write(p)
}

// CloseWrite ends our side of a tunnel.
func (c *strictConn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return errors.New("the connection cannot be closed by halves")
}

// strict guards the connections of a dialer that carry HTTP/1.1.
func strict(dial dialer, lim http1.Limits) dialer {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &strictConn{c, http1.NewAnswerReader(c, lim)}, nil
	}
}

var errNoHTTP2 = errors.New("the backend does not speak HTTP/2, which its pool asks for")

// secure makes TLS connections over those of a dialer, and guards those that carry HTTP/1.1.
func secure(dial dialer, cfg *tls.Config, key transportKey, lim http1.Limits) dialer {
	next := []string{"h2", "http/1.1"}
	switch {
	case key.protocol == state.ProtocolHTTP1, key.proxy != "":
		next = next[1:]
	case key.protocol == state.ProtocolH2 || key.protocol == state.ProtocolH2C:
		next = next[:1]
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		raw, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		mine := cfg.Clone()
		mine.NextProtos = next
		if mine.ServerName == "" {
			if mine.ServerName, _, err = net.SplitHostPort(addr); err != nil {
				raw.Close()
				return nil, fmt.Errorf("server name for TLS: %w", err)
			}
		}
		c := tls.Client(raw, mine)
		ctx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		if err := c.HandshakeContext(ctx); err != nil {
			raw.Close()
			return nil, fmt.Errorf("TLS handshake with the backend: %w", err)
		}
		switch h2 := c.ConnectionState().NegotiatedProtocol == "h2"; {
		case h2:
			return c, nil // net/http wants to see the *tls.Conn itself
		case len(next) == 1 && next[0] == "h2":
			c.Close()
			return nil, errNoHTTP2
		}
		return &strictConn{c, http1.NewAnswerReader(c, lim)}, nil
	}
}
