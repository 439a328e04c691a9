//go:build linux

package engine

import (
	"net"
	"net/netip"
	"os"

	"github.com/lbnode/lbnode/proxy/proxyproto"
)

// handOver gives a connection to the portable engine, with what has been read from it. Nothing is pending on
// it: requests are only looked at once the answers before them are out.
func (l *loop) handOver(c *client, ahead []byte) {
	fd, t, peer, client := c.fd, c.tls, netip.Addr{}, l.e.clientOf(c)
	if c.named {
		peer = c.peer
	}
	ahead = append([]byte(nil), ahead...) // the loop's buffer goes on being used
	epollDel(l.ep, fd)
	l.freeSlot(c.idx)
	l.wheel.drop(&c.timer)
	l.release(&c.sock)
	c.fd = -1
	l.forget(c)
	l.e.wg.Go(func() { l.e.adopted(fd, t, peer, client, ahead) })
}

// adopted goes on with a connection; named is what a PROXY header said, invalid if there was none, and client the one
// under which the door counts it.
func (e *Engine) adopted(fd int32, t *tlsConn, named, client netip.Addr, ahead []byte) {
	f := os.NewFile(uintptr(fd), "client")
	raw, err := net.FileConn(f)
	f.Close() // FileConn has duplicated it
	if err != nil {
		e.cfg.Logger.Error("hand connection over", "error", err)
		e.leave(client)
		return
	}
	if named.IsValid() {
		raw = proxyproto.Known(raw, named)
	}
	raw = e.portable.Guard(raw, client)
	if t == nil {
		e.portable.ServeConn(raw, ahead)
		return
	}
	t.mem.Conn, t.mem.on = raw, false
	e.portable.ServeConn(t.conn, ahead)
}
