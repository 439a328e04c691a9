//go:build linux

package engine

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"unsafe"

	"github.com/lbnode/lbnode/proxy"
	"github.com/lbnode/lbnode/proxy/http2"
	"github.com/lbnode/lbnode/proxy/upstream"
)

// pool is a loop's unused connections to one endpoint, the one used last on top.
type pool struct {
	ep   *upstream.Endpoint
	addr netip.AddrPort
	idle []*server
}

func (l *loop) pool(ep *upstream.Endpoint) (*pool, error) {
	if p := l.pools[ep]; p != nil {
		return p, nil
	}
	addr, err := addrOf(ep)
	if err != nil {
		return nil, err
	}
	p := &pool{ep: ep, addr: addr}
	l.pools[ep] = p
	return p, nil
}

// addrOf gives the address to dial, if it is a numeric one.
func addrOf(ep *upstream.Endpoint) (netip.AddrPort, error) {
	if !ep.IP.IsValid() {
		return netip.AddrPort{}, fmt.Errorf("backend address %q is none of IP", ep.Host)
	}
	return netip.AddrPortFrom(ep.IP, ep.Port), nil
}

func (l *loop) takeIdle(ep *upstream.Endpoint) *server {
	for {
		p := l.pools[ep]
		if p == nil || len(p.idle) == 0 {
			return nil
		}
		u := p.idle[len(p.idle)-1]
		if u.hup || u.readable { // ended, or said something unasked, as it went back
			l.closeServer(u)
			continue
		}
		p.idle = p.idle[:len(p.idle)-1]
		u.idleAt = -1
		u.timer.deadline = 0
		return u
	}
}

// keepServer puts a connection back for the next request, if its backend is still reached that way.
func (l *loop) keepServer(u *server, up *upstream.Upstream) {
	if up.Endpoint() != u.ep || len(u.pool.idle) >= l.e.maxIdle || l.stage != stageServe {
		l.closeServer(u)
		return
	}
	u.idleAt = len(u.pool.idle)
	u.pool.idle = append(u.pool.idle, u)
	l.arm(&u.timer, l.e.idleTimeout)
}

func (l *loop) closeServer(u *server) {
	switch {
	case u.fd < 0:
		return
	case u.us != nil:
		l.closeUp(u.us)
		return
	case u.h2 != nil:
		l.dropUp(u)
	}
	if p := u.pool; u.idleAt >= 0 {
		last := len(p.idle) - 1
		p.idle[u.idleAt] = p.idle[last]
		p.idle[u.idleAt].idleAt = u.idleAt
		p.idle = p.idle[:last]
		if last == 0 {
			delete(l.pools, u.ep) // an address that is still in use gets a new one
		}
	}
	l.closeSock(&u.sock)
	delete(l.servers, u)
	*u = server{sock: sock{fd: -1, timer: timer{fire: u.timer.fire}}}
	l.freeSv = append(l.freeSv, u)
}

// dial begins a connection for an exchange, or has it wait for a stream of one.
func (l *loop) dial(e *exchange) error {
	if multiplexed(e.at.Endpoint) {
		return l.awaitRoom(e)
	}
	p, err := l.pool(e.at.Endpoint)
	if err != nil {
		return err
	}
	u, err := l.newServer(e.at.Endpoint, p.addr)
	if err != nil {
		return err
	}
	u.pool = p
	u.e, e.u = e, u
	if d := e.x.Target.Connect; d > 0 {
		l.arm(&u.timer, d)
	}
	return nil
}

// newServer begins a connection.
func (l *loop) newServer(ep *upstream.Endpoint, addr netip.AddrPort) (*server, error) {
	family := syscall.AF_INET
	if addr.Addr().Is6() {
		family = syscall.AF_INET6
	}
	fd, _, errno := syscall.RawSyscall(syscall.SYS_SOCKET, uintptr(family), syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if errno != 0 {
		return nil, fmt.Errorf("socket: %w", errno)
	}
	noDelay(int32(fd))
	errno = connect(int32(fd), addr)
	if errno != 0 && errno != syscall.EINPROGRESS {
		closeFD(int32(fd))
		return nil, fmt.Errorf("connect: %w", errno)
	}
	var u *server
	if n := len(l.freeSv); n > 0 {
		u = l.freeSv[n-1]
		l.freeSv = l.freeSv[:n-1]
	} else {
		u = &server{}
		u.timer.fire = func() { l.serverTimeout(u) }
	}
	u.idleAt = -1
	idx, ok := l.addSlot(int32(fd), slot{u: u}, interest)
	if !ok {
		closeFD(int32(fd))
		u.fd = -1
		l.freeSv = append(l.freeSv, u)
		return nil, errors.New("epoll_ctl failed")
	}
	u.fd, u.idx, u.ep, u.connecting = int32(fd), idx, ep, true
	l.servers[u] = struct{}{}
	return u, nil
}

func connect(fd int32, addr netip.AddrPort) syscall.Errno {
	port := addr.Port()<<8 | addr.Port()>>8
	if addr.Addr().Is4() {
		sa := syscall.RawSockaddrInet4{Family: syscall.AF_INET, Port: port, Addr: addr.Addr().As4()}
		_, _, e := syscall.RawSyscall(syscall.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&sa)), unsafe.Sizeof(sa))
		return e
	}
	sa := syscall.RawSockaddrInet6{Family: syscall.AF_INET6, Port: port, Addr: addr.Addr().As16()}
	_, _, e := syscall.RawSyscall(syscall.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&sa)), unsafe.Sizeof(sa))
	return e
}

func (l *loop) serverEvent(u *server, ev uint32) {
	if u.h2 != nil {
		l.eventUp(u, ev)
		return
	}
	if u.e == nil { // unused: whatever comes, nobody asked for it
		if ev&(syscall.EPOLLIN|syscall.EPOLLERR|syscall.EPOLLHUP|epollRDHUP) != 0 {
			l.closeServer(u)
		}
		return
	}
	gen, idx := l.slots[u.idx].gen, u.idx
	e := u.e
	if u.connecting {
		if ev&(syscall.EPOLLOUT|syscall.EPOLLERR|syscall.EPOLLHUP) == 0 {
			return
		}
		if errno := socketError(u.fd); errno != 0 {
			l.connectFailed(e, upstream.ConnectFailed, fmt.Errorf("connect: %w", errno))
			return
		}
		u.connecting = false
		if !l.connected(e) {
			return
		}
	} else if ev&syscall.EPOLLOUT != 0 && len(u.pend) > 0 {
		l.serverWritable(u)
	}
	if l.slots[idx].gen != gen || u.fd < 0 {
		return
	}
	if ev&(epollRDHUP|syscall.EPOLLHUP|syscall.EPOLLERR) != 0 {
		u.hup = true
	}
	if ev&(syscall.EPOLLIN|epollRDHUP|syscall.EPOLLHUP|syscall.EPOLLERR) != 0 {
		u.readable = true
		l.readServer(u)
	}
}

// connected sends what has waited. false: the exchange has left the connection.
func (l *loop) connected(e *exchange) bool {
	u, c := e.u, e.c
	if !l.announce(e) {
		l.serverGone(u, syscall.ECONNRESET)
		return false
	}
	rest, ok := l.sendRequest(e, l.input(&c.sock), false)
	if !ok {
		l.setInput(&c.sock, rest)
		l.serverGone(u, syscall.ECONNRESET)
		return false
	}
	if c.fd < 0 || c.e != e {
		return false
	}
	l.setInput(&c.sock, rest)
	if c.readable {
		l.later(c.idx, &c.queued)
	}
	return true
}

// connectFailed ends an attempt that never had a connection, and tries another backend.
func (l *loop) connectFailed(e *exchange, k upstream.Kind, err error) {
	l.endAttempt(e, k, err)
	l.dropServer(e)
	if !e.x.Retry(k, e.replayable()) {
		l.refuse(e, proxy.RefusalOf(k))
		return
	}
	e.last = k
	l.resume(e)
}

func (l *loop) serverWritable(u *server) {
	e := u.e
	done, ok := l.flush(&u.sock)
	switch {
	case !ok:
		l.serverGone(u, syscall.EPIPE)
	case !done:
		l.arm(&u.timer, l.lim.StallTimeout)
	case e.tunnel:
		l.tunnelFlushed(e)
	default:
		l.requestSent(e)
		l.readClient(e.c)
	}
}

// serverGone handles the loss of a backend's connection.
func (l *loop) serverGone(u *server, err error) {
	e := u.e
	if u.reused && !u.gotByte && e.replay && !e.begun && (u.us == nil || u.us.lost && !e.again) {
		// The keep-alive race (RFC 9112 §9.5): the backend closed as we sent. Same backend, fresh connection. A stream
		// that was reset is no such race, and what carries many streams may be lost again: once.
		e.again = u.us != nil
		l.dropServer(e)
		e.sent = false
		if err := l.dial(e); err != nil {
			l.connectFailed(e, upstream.ConnectFailed, err)
		}
		return
	}
	if !u.gotByte && l.elsewhere(e, upstream.Reset, err) {
		return
	}
	l.fail(e, upstream.Reset, err)
}

func (l *loop) serverTimeout(u *server) {
	e := u.e
	switch {
	case u.fd < 0:
	case u.h2 != nil:
		l.timeoutUp(u)
	case e == nil:
		l.closeServer(u)
	case u.connecting:
		l.connectFailed(e, upstream.ConnectTimeout, errors.New("connect timeout"))
	case len(u.pend) > 0:
		l.fail(e, upstream.Reset, errStalled)
	case e.expect && !e.done:
		l.tellContinue(e)
	case !u.gotByte && l.elsewhere(e, upstream.FirstByteTimeout, errFirstByte):
	default:
		l.fail(e, upstream.FirstByteTimeout, errFirstByte)
	}
}

var errFirstByte = errors.New("first byte timeout")

// tellContinue lets the client send its body.
func (l *loop) tellContinue(e *exchange) {
	e.expect, e.told = false, true
	if st := e.c.st; st != nil {
		l.headers(st, 100, nil, -1, http2.Open)
	} else if !l.write(&e.c.sock, continueHead) {
		l.fail(e, upstream.ClientGone, nil)
		return
	}
	l.requestSent(e)
	if e.c.readable {
		l.later(e.c.idx, &e.c.queued) // not now: the read buffer may be in use
	}
}

var continueHead = []byte("HTTP/1.1 100 Continue\r\n\r\n") // read only
