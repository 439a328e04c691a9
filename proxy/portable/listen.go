package portable

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/lbnode/lbnode/proxy/http1"
)

// maxBackoff is the longest pause after a failed accept, e.g. when the process is out of descriptors.
const maxBackoff = time.Second

// plainListener wraps what it accepts.
type plainListener struct {
	net.Listener
	e *Engine
}

func (l *plainListener) Accept() (net.Conn, error) {
	raw, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.e.strict(newCountedConn(raw, l.e.total, l.e.cfg.Limits.StallTimeout))
}

func (e *Engine) strict(c net.Conn) (net.Conn, error) {
	r, err := http1.NewReader(c, http1.ScanConfig{Limits: e.cfg.Limits.Head, HTTP2: true})
	if err != nil { // New has validated the limits
		c.Close()
		return nil, err
	}
	return &strictConn{Conn: c, reader: r, hurry: &e.hurry}, nil
}

// tlsListener does handshakes before it hands connections over, each on a goroutine of its own, because
// what net/http may see depends on the protocol that ALPN gave.
type tlsListener struct {
	net.Listener
	e     *Engine
	cfg   *tls.Config
	ready chan net.Conn
	ctx   context.Context // ends with Close
	stop  context.CancelFunc
	wg    sync.WaitGroup
}

func newTLSListener(l net.Listener, e *Engine) *tlsListener {
	t := &tlsListener{Listener: l, e: e, ready: make(chan net.Conn), cfg: &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: e.cfg.Certificate,
	}}
	t.ctx, t.stop = context.WithCancel(context.Background())
	t.wg.Go(t.accept)
	return t
}

func (t *tlsListener) accept() {
	pause := time.Duration(0)
	for {
		raw, err := t.Listener.Accept()
		switch {
		case err == nil:
			pause = 0
			c := newCountedConn(raw, t.e.total, t.e.cfg.Limits.StallTimeout)
			t.wg.Go(func() { t.handshake(c) })
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

func (t *tlsListener) handshake(raw *countedConn) {
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
	select {
	case t.ready <- out:
	case <-t.ctx.Done():
		c.Close()
	}
}

// Accept returns connections whose handshake is done.
func (t *tlsListener) Accept() (net.Conn, error) {
	select {
	case c := <-t.ready:
		return c, nil
	case <-t.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Close stops accepting, breaks off handshakes and waits for them.
func (t *tlsListener) Close() error {
	err := t.Listener.Close()
	t.stop()
	t.wg.Wait()
	return err
}
