package portable

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"github.com/lbnode/lbnode/proxy/door"
	"github.com/lbnode/lbnode/proxy/http1"
	"github.com/lbnode/lbnode/stats"
)

// stallStep is how much of the stall timeout may pass before a write sets the deadline anew.
const stallStep = 8

// countedConn is a client connection as it was accepted: counted while it is open, and with a deadline on
// writing that moves on as long as the client takes something.
type countedConn struct {
	net.Conn
	stats  *stats.Handle
	stall  time.Duration
	armed  atomic.Int64 // when the deadline was last set, in nanoseconds since start; 0 = not
	start  time.Time
	closed atomic.Bool
	door   *door.Door
	client netip.Addr // under which the door counts it
}

// counted wraps a connection that the door has let in.
func (e *Engine) counted(c net.Conn, client netip.Addr) *countedConn {
	return &countedConn{Conn: c, stats: e.total, stall: e.cfg.Limits.StallTimeout, start: time.Now(), door: e.door, client: client}
}

// enter wraps a connection that was accepted; nil: it is one too many, and closed.
func (e *Engine) enter(c net.Conn) *countedConn {
	var client netip.Addr
	if t, ok := c.RemoteAddr().(*net.TCPAddr); ok && !e.cfg.ProxyFrom.Contains(t.AddrPort().Addr()) {
		client = t.AddrPort().Addr()
	}
	switch e.door.Enter(client) {
	case door.Full:
		e.total.Count(stats.ConnRefused)
	case door.ClientFull:
		e.total.Count(stats.ClientConns)
	default:
		e.total.ConnOpened()
		return e.counted(c, client)
	}
	c.Close()
	return nil
}

// name counts a connection as one of the client whom its PROXY header names.
func (c *countedConn) name(client netip.Addr) error {
	if !client.IsValid() {
		return nil
	}
	if !c.door.Name(client) {
		c.stats.Count(stats.ClientConns)
		return errTooMany
	}
	c.client = client
	return nil
}

var errTooMany = errors.New("the client has too many connections")

func (c *countedConn) Write(p []byte) (int, error) {
	now := time.Since(c.start)
	if at := c.armed.Load(); at == 0 || now-time.Duration(at) > c.stall/stallStep {
		if err := c.Conn.SetWriteDeadline(c.start.Add(now + c.stall)); err != nil {
			return 0, err
		}
		c.armed.Store(int64(max(now, 1)))
	}
	n, err := c.Conn.Write(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		if l, ok := c.Conn.(interface{ SetLinger(sec int) error }); ok {
			_ = l.SetLinger(0) // or the kernel would go on trying to deliver what it holds
		}
	}
	return n, err
}

// SetWriteDeadline and SetDeadline are net/http's; the next write brings ours back.
func (c *countedConn) SetWriteDeadline(t time.Time) error {
	c.armed.Store(0)
	return c.Conn.SetWriteDeadline(t)
}

// SetDeadline: see SetWriteDeadline.
func (c *countedConn) SetDeadline(t time.Time) error {
	c.armed.Store(0)
	return c.Conn.SetDeadline(t)
}

func (c *countedConn) Close() error {
	if c.closed.CompareAndSwap(false, true) {
		c.stats.ConnClosed()
		c.door.Leave(c.client)
	}
	return c.Conn.Close()
}

// CloseWrite ends our side of the connection.
func (c *countedConn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return c.Close()
}

// strictConn is what net/http gets to see of an HTTP/1.1 connection: only requests that are unambiguous.
type strictConn struct {
	net.Conn
	reader *http1.Reader
	hurry  *atomic.Bool // set when connections are cut off: Close must not linger
	closed atomic.Bool
}

const (
	// lingerTime and lingerBytes bound what a refused client may still send before its connection is closed.
	lingerTime  = 500 * time.Millisecond
	lingerBytes = 256 << 10
)

// Close closes the connection. If a request was refused, what its client still sends is read for a moment
// first: closing with unread bytes resets the connection, and the client would lose the answer that says why.
func (c *strictConn) Close() error {
	if c.reader.Refused() != http1.OK && !c.hurry.Load() && c.closed.CompareAndSwap(false, true) {
		if c.CloseWrite() == nil && c.Conn.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
			_, _ = io.CopyN(io.Discard, c.Conn, lingerBytes) // whatever ends it, the connection is done
		}
	}
	return c.Conn.Close()
}

// Read reads cleared bytes. After a refused request the reader says that the stream has ended, which net/http
// would take for a client that has gone, and break off the requests before it. So what follows is thrown
// away until the client does go, or the connection is closed after the refusal was answered.
func (c *strictConn) Read(p []byte) (int, error) {
	n, err := c.reader.Read(p)
	if err != io.EOF || c.reader.Refused() == http1.OK {
		return n, err
	}
	scratch := make([]byte, 512)
	for {
		if _, err := c.Conn.Read(scratch); err != nil {
			return 0, err
		}
	}
}

// Refused implements proxy.Guarded.
func (c *strictConn) Refused() http1.Reason { return c.reader.Refused() }

// Upgraded opens the connection for bytes that are no HTTP. See http1.Reader.Upgraded.
func (c *strictConn) Upgraded() { c.reader.Upgraded() }

// CloseWrite ends our side of the connection.
func (c *strictConn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return c.Conn.Close()
}

// strictTLSConn is a strictConn over TLS. net/http takes the connection state from here.
type strictTLSConn struct {
	strictConn
	tls *tls.Conn
}

// ConnectionState makes net/http set Request.TLS.
func (c *strictTLSConn) ConnectionState() tls.ConnectionState { return c.tls.ConnectionState() }
