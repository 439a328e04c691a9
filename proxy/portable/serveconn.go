package portable

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"sync"

	"github.com/lbnode/lbnode/proxy/http1"
)

// handed is the listener of connections that another engine has accepted.
type handed struct {
	e     *Engine
	ready chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newHanded(e *Engine) *handed {
	return &handed{e: e, ready: make(chan net.Conn), done: make(chan struct{})}
}

func (h *handed) Accept() (net.Conn, error) {
	select {
	case c := <-h.ready:
		return c, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

func (h *handed) Close() error {
	h.once.Do(func() { close(h.done) })
	return nil
}

func (h *handed) Addr() net.Addr { return &net.TCPAddr{} }

// Guard takes a client connection over that Config.Door and the statistics count as open, the door as one of
// client: closing it counts it out. It has the write deadline of Limits.StallTimeout.
func (e *Engine) Guard(c net.Conn, client netip.Addr) net.Conn { return e.counted(c, client) }

// ServeConn serves a connection from Guard that something else accepted, from which the bytes ahead have been read; or a
// *tls.Conn that stands on such a connection and has its handshake behind it. ServeConn returns once
// the engine has taken the connection, or closed it because it is shut down.
func (e *Engine) ServeConn(c net.Conn, ahead []byte) {
	secure, isTLS := c.(*tls.Conn)
	if isTLS && secure.ConnectionState().NegotiatedProtocol == "h2" {
		e.give(c)
		return
	}
	src := io.Reader(c)
	if len(ahead) > 0 {
		src = io.MultiReader(bytes.NewReader(ahead), c)
	}
	r, err := http1.NewReader(src, http1.ScanConfig{Limits: e.cfg.Limits.Head, HTTP2: !isTLS})
	if err != nil { // New has validated the limits
		c.Close()
		return
	}
	if isTLS {
		e.give(&strictTLSConn{strictConn{Conn: c, reader: r, hurry: &e.hurry}, secure})
		return
	}
	e.give(&strictConn{Conn: c, reader: r, hurry: &e.hurry})
}

func (e *Engine) give(c net.Conn) {
	select {
	case e.handed.ready <- c:
	case <-e.handed.done:
		c.Close()
	}
}
