//go:build linux

package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/lbnode/lbnode/proxy/door"
	"github.com/lbnode/lbnode/proxy/proxyproto"
	"github.com/lbnode/lbnode/stats"
)

// listener is a loop's own listening socket.
type listener struct {
	fd, idx int32
	retry   timer
}

// listen binds one socket for each loop to an address. ":0" takes a port that all of them then share.
func (e *Engine) listen(addr string) ([]int32, net.Addr, error) {
	// SO_REUSEPORT would let two processes of one user share an address without a word: ask first.
	probe, err := listenTCP(addr, false)
	if err != nil {
		return nil, nil, err
	}
	bound := probe.Addr()
	probe.Close()
	var fds []int32
	for range e.loops {
		ln, err := listenTCP(bound.String(), true)
		if err == nil {
			var fd int32
			if fd, err = dup(ln); err == nil {
				fds = append(fds, fd)
			}
			ln.Close()
		}
		if err != nil {
			for _, fd := range fds {
				closeFD(fd)
			}
			return nil, nil, err
		}
	}
	return fds, bound, nil
}

func listenTCP(addr string, shared bool) (net.Listener, error) {
	lc := net.ListenConfig{}
	lc.SetMultipathTCP(false) // costs with every accept
	if shared {
		lc.Control = func(_, _ string, c syscall.RawConn) error {
			var err error
			if cerr := c.Control(func(fd uintptr) {
				err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, soReusePort, 1)
			}); cerr != nil {
				return cerr
			}
			return err
		}
	}
	ln, err := lc.Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("engine: listen on %s: %w", addr, err)
	}
	return ln, nil
}

// dup gives a descriptor of our own for what a connection or listener of package net stands on.
func dup(c any) (int32, error) {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return -1, fmt.Errorf("%T has no descriptor", c)
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return -1, err
	}
	fd, errno := uintptr(0), syscall.Errno(0)
	if err := rc.Control(func(x uintptr) {
		fd, _, errno = syscall.RawSyscall(syscall.SYS_FCNTL, x, syscall.F_DUPFD_CLOEXEC, 0)
	}); err != nil {
		return -1, err
	}
	if errno != 0 {
		return -1, errno
	}
	return int32(fd), nil
}

func peerOf(a net.Addr) netip.Addr {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}

// serve takes a listening socket into the loop.
func (l *loop) serve(fd int32) {
	ln := &listener{fd: fd}
	ln.retry.fire = func() { l.accept(ln) }
	idx, ok := l.addSlot(fd, slot{ln: ln}, syscall.EPOLLIN|epollET)
	if !ok {
		closeFD(fd)
		return
	}
	ln.idx = idx
	l.listeners = append(l.listeners, ln)
	l.accept(ln) // what came before it was registered
}

// acceptRetry is how long to wait when the process is out of descriptors.
const acceptRetry = 100 * time.Millisecond

func (l *loop) accept(ln *listener) {
	var sa syscall.RawSockaddrAny
	for ln.fd >= 0 {
		fd, e := accept(ln.fd, &sa)
		switch {
		case e == syscall.EAGAIN:
			return
		case e == syscall.EINTR || e == syscall.ECONNABORTED:
			continue
		case e != 0:
			l.e.complain(e)
			l.arm(&ln.retry, acceptRetry)
			return
		}
		peer := addrPort(&sa).Addr()
		client := l.e.clientOfPeer(peer)
		if !l.e.admit(client) {
			closeFD(fd)
			continue
		}
		noDelay(fd)
		c := l.newClient(fd)
		if c == nil {
			l.e.leave(client)
			continue
		}
		c.peer, c.awaits = peer, !client.IsValid() && peer.IsValid()
	}
}

// clientOfPeer is under whom the door counts a connection before anything is read from it: its peer, nobody for one
// that is going to say in a PROXY header for whom it speaks.
func (e *Engine) clientOfPeer(peer netip.Addr) netip.Addr {
	if len(e.cfg.ProxyFrom) > 0 && e.cfg.ProxyFrom.Contains(peer) {
		return netip.Addr{}
	}
	return peer
}

// clientOf is under whom the door counts a connection now.
func (e *Engine) clientOf(c *client) netip.Addr {
	if c.named {
		return c.peer
	}
	return e.clientOfPeer(c.peer)
}

// admit counts a new connection; false: it is one too many. One leave must follow true.
func (e *Engine) admit(client netip.Addr) bool {
	switch e.door.Enter(client) {
	case door.Full:
		e.total.Count(stats.ConnRefused)
	case door.ClientFull:
		e.total.Count(stats.ClientConns)
	default:
		e.total.ConnOpened()
		return true
	}
	return false
}

// leave counts a connection out that is closed.
func (e *Engine) leave(client netip.Addr) {
	e.door.Leave(client)
	e.total.ConnClosed()
}

// name counts a connection as one of the client whom its PROXY header names; false: that is one too many.
func (e *Engine) name(client netip.Addr) bool {
	if client.IsValid() && !e.door.Name(client) {
		e.total.Count(stats.ClientConns)
		return false
	}
	return true
}

// proxyHeader takes the PROXY header of a connection off its input and gives what is behind it; nil: there is
// nothing yet, or the connection is closed.
func (l *loop) proxyHeader(c *client, b []byte) []byte {
	h, n, err := proxyproto.Parse(b)
	switch {
	case err == proxyproto.ErrMore:
		l.setInput(&c.sock, b)
		return nil
	case err != nil:
		l.total.Count(stats.BadProxyHeader)
		l.closeClient(c)
		return nil
	}
	c.awaits = false
	if client := h.Source.Addr(); client.IsValid() {
		if client = client.Unmap(); !l.e.name(client) {
			l.closeClient(c)
			return nil
		}
		c.peer, c.named = client, true
	}
	return b[n:]
}

// closeListeners takes what has been accepted by the kernel and closes the sockets.
func (l *loop) closeListeners() {
	for _, ln := range l.listeners {
		l.accept(ln)
		l.wheel.drop(&ln.retry)
		closeFD(ln.fd)
		ln.fd = -1
		l.freeSlot(ln.idx)
	}
	l.listeners = nil
}

// pause waits after a failed accept of a TLS listener. false: the listener is closed.
func (e *Engine) pause(ln net.Listener, err error) bool {
	if errors.Is(err, net.ErrClosed) {
		return false
	}
	e.cfg.Logger.Error("accept failed", "addr", ln.Addr().String(), "error", err)
	t := time.NewTimer(acceptRetry)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-e.ctx.Done():
		return false
	}
}
