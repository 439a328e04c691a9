package portable

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
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

// Guard wraps a client connection that is going to carry TLS, as ServeConn wraps all others: counted while it
// is open, and with the write deadline of Limits.StallTimeout.
func (e *Engine) Guard(c net.Conn) net.Conn {
	return e.newCountedConn(c)
}

// ServeConn serves a connection that something else accepted, from which the bytes ahead have been read. A
// *tls.Conn must have its handshake behind it and stand on a connection from Guard. ServeConn returns once
// the engine has taken the connection, or closed it because it is shut down.
func (e *Engine) ServeConn(c net.Conn, ahead []byte) {
	secure, isTLS := c.(*tls.Conn)
	if isTLS && secure.ConnectionState().NegotiatedProtocol == "h2" {
		e.give(c)
		return
	}
	if !isTLS {
		c = e.Guard(c)
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
