package proxyproto

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"
)

// Trust is the networks of peers that send a header. Empty = nobody does.
type Trust []netip.Prefix

// Contains says whether a peer must send a header.
func (t Trust) Contains(peer netip.Addr) bool {
	peer = peer.Unmap().WithZone("")
	return slices.ContainsFunc(t, func(p netip.Prefix) bool { return p.Contains(peer) })
}

// ContainsAddr is Contains for the address of a connection.
func (t Trust) ContainsAddr(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return ok && t.Contains(tcp.AddrPort().Addr())
}

// Conn is a connection behind its header.
type Conn struct {
	net.Conn
	ahead  []byte // read with the header, not yet asked for
	remote net.Addr
	named  bool // remote is what a header says
}

// Accept reads the header of a connection within timeout, or until ctx ends. On error the connection is left to
// the caller, who must close it.
func Accept(ctx context.Context, c net.Conn, timeout time.Duration) (*Conn, error) {
	if err := c.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		return nil, fmt.Errorf("set deadline for the PROXY header: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	buf := make([]byte, 0, 256)
	for {
		if len(buf) == cap(buf) {
			buf = slices.Grow(buf, len(buf))
		}
		n, err := c.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		h, used, perr := Parse(buf)
		switch {
		case perr == nil:
			out := &Conn{Conn: c, ahead: buf[used:], remote: c.RemoteAddr()}
			if h.Source.IsValid() {
				out.remote, out.named = net.TCPAddrFromAddrPort(h.Source), true
			}
			if err := c.SetReadDeadline(time.Time{}); err != nil {
				return nil, fmt.Errorf("lift deadline of the PROXY header: %w", err)
			}
			return out, nil
		case perr != ErrMore:
			return nil, perr
		case err != nil:
			return nil, fmt.Errorf("read the PROXY header: %w", err)
		}
	}
}

// Known gives a connection whose header was read elsewhere the address that it said.
func Known(c net.Conn, client netip.Addr) *Conn {
	return &Conn{Conn: c, remote: net.TCPAddrFromAddrPort(netip.AddrPortFrom(client, 0)), named: true}
}

// Read gives what came with the header first.
func (c *Conn) Read(p []byte) (int, error) {
	if len(c.ahead) > 0 {
		n := copy(p, c.ahead)
		if c.ahead = c.ahead[n:]; len(c.ahead) == 0 {
			c.ahead = nil
		}
		return n, nil
	}
	return c.Conn.Read(p)
}

// Client is who the header says that the connection is made for; not valid if it does not say.
func (c *Conn) Client() netip.Addr {
	if t, ok := c.remote.(*net.TCPAddr); ok && c.named {
		return t.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// RemoteAddr is the client, as the header says.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// CloseWrite ends our side of the connection.
func (c *Conn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return c.Close()
}
