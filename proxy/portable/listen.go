package portable

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/lbnode/lbnode/proxy/http1"
	"github.com/lbnode/lbnode/proxy/proxyproto"
	"github.com/lbnode/lbnode/stats"
)

// maxBackoff is the longest pause after a failed accept, e.g. when the process is out of descriptors.
const maxBackoff = time.Second

// plainListener wraps what it accepts.
type plainListener struct {
	net.Listener
	e *Engine
}

func (l *plainListener) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c := l.e.enter(raw); c != nil {
			return l.e.strict(c)
		}
	}
}

func (e *Engine) strict(c net.Conn) (net.Conn, error) {
	r, err := http1.NewReader(c, http1.ScanConfig{Limits: e.cfg.Limits.Head, HTTP2: true})
	if err != nil { // New has validated the limits
		c.Close()
		return nil, err
	}
	return &strictConn{Conn: c, reader: r, hurry: &e.hurry}, nil
}

// readyListener reads PROXY headers and does handshakes before it hands connections over, each on a goroutine of
// its own, because what net/http may see depends on the protocol that ALPN gave.
type readyListener struct {
	net.Listener
	e     *Engine
	cfg   *tls.Config // nil = clear text
	ready chan net.Conn
	ctx   context.Context // ends with Close
	stop  context.CancelFunc
	wg    sync.WaitGroup
}

func (e *Engine) tlsConfig() *tls.Config {
	if e.cfg.TLS != nil {
		return e.cfg.TLS
	}
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: e.cfg.Certificate,
	}
}

func newReadyListener(l net.Listener, e *Engine, cfg *tls.Config) *readyListener {
	t := &readyListener{Listener: l, e: e, ready: make(chan net.Conn), cfg: cfg}
	t.ctx, t.stop = context.WithCancel(context.Background())
	t.wg.Go(t.accept)
	return t
}

func (t *readyListener) accept() {
	pause := time.Duration(0)
	for {
		raw, err := t.Listener.Accept()
		switch {
		case err == nil:
			pause = 0
			if c := t.e.enter(raw); c != nil {
				t.wg.Go(func() { t.prepare(c) })
			}
		case errors.Is(err, net.ErrClosed) || t.ctx.Err() != nil:
			return
		default:
			pause = min(max(2*pause, 5*time.Millisecond), maxBackoff)
			t.e.cfg.Logger.Error("accept failed", "addr", t.Addr().String(), "error", err, "retry_in", pause)
			select {
			case <-time.After(pause):
			case <-t.ctx.Done():
				return
			}
		}
	}
}

// prepare makes a connection ready, or closes it.
func (t *readyListener) prepare(raw *countedConn) {
	c, err := t.e.behindProxy(t.ctx, raw)
	if err == nil && t.cfg == nil {
		c, err = t.e.strict(c)
	}
	switch {
	case err != nil:
		raw.Close()
	case t.cfg == nil:
		t.give(c)
	default:
		t.handshake(c)
	}
}

// behindProxy reads the PROXY header of a peer that sends one.
func (e *Engine) behindProxy(ctx context.Context, c *countedConn) (net.Conn, error) {
	if !e.cfg.ProxyFrom.ContainsAddr(c.RemoteAddr()) {
		return c, nil
	}
	out, err := proxyproto.Accept(ctx, c, e.cfg.Limits.HeadTimeout)
	if err != nil {
		e.total.Count(stats.BadProxyHeader)
		e.cfg.Logger.Debug("connection closed", "peer", c.RemoteAddr().String(), "error", err)
		return nil, err
	}
	if err := c.name(out.Client()); err != nil {
		return nil, err
	}
	return out, nil
}

func (t *readyListener) handshake(raw net.Conn) {
	c := tls.Server(raw, t.cfg)
	ctx, cancel := context.WithTimeout(t.ctx, t.e.cfg.Limits.HandshakeTimeout)
	defer cancel()
	if err := c.HandshakeContext(ctx); err != nil {
		t.e.cfg.Logger.Debug("TLS handshake failed", "client", raw.RemoteAddr().String(), "error", err)
		raw.Close()
		return
	}
	out := net.Conn(c) // HTTP/2: net/http wants to see the *tls.Conn itself
	if c.ConnectionState().NegotiatedProtocol != "h2" {
		r, err := http1.NewReader(c, http1.ScanConfig{Limits: t.e.cfg.Limits.Head})
		if err != nil { // New has validated the limits
			c.Close()
			return
		}
		out = &strictTLSConn{strictConn{Conn: c, reader: r, hurry: &t.e.hurry}, c}
	}
	t.give(out)
}

// give hands a connection over.
func (t *readyListener) give(c net.Conn) {
	select {
	case t.ready <- c:
	case <-t.ctx.Done():
		c.Close()
	}
}

// Accept returns connections that are ready.
func (t *readyListener) Accept() (net.Conn, error) {
	select {
	case c := <-t.ready:
		return c, nil
	case <-t.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Close stops accepting, breaks off handshakes and waits for them.
func (t *readyListener) Close() error {
	err := t.Listener.Close()
	t.stop()
	t.wg.Wait()
	return err
}
