//go:build linux

package engine

import (
	"net/netip"
	"syscall"
	"unsafe"
)

// Raw system calls hold the goroutine's processor, so only calls that cannot block are made this way.

const (
	epollET     = 1 << 31
	epollRDHUP  = syscall.EPOLLRDHUP
	interest    = syscall.EPOLLIN | syscall.EPOLLOUT | epollRDHUP | epollET
	msgPeek     = syscall.MSG_PEEK
	soReusePort = 15
)

func recv(fd int32, b []byte, flags uintptr) (int, syscall.Errno) {
	for {
		n, _, e := syscall.RawSyscall6(syscall.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), flags, 0, 0)
		switch e {
		case 0:
			return int(n), 0
		case syscall.EINTR:
		default:
			return 0, e // the result is -1 then
		}
	}
}

func send(fd int32, b []byte) (int, syscall.Errno) {
	for {
		n, _, e := syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), syscall.MSG_NOSIGNAL, 0, 0)
		switch e {
		case 0:
			return int(n), 0
		case syscall.EINTR:
		default:
			return 0, e // the result is -1 then
		}
	}
}

func accept(fd int32, sa *syscall.RawSockaddrAny) (int32, syscall.Errno) {
	n := uint32(unsafe.Sizeof(*sa))
	r, _, e := syscall.RawSyscall6(syscall.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(sa)), uintptr(unsafe.Pointer(&n)), syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0, 0)
	return int32(r), e
}

func closeFD(fd int32) { syscall.RawSyscall(syscall.SYS_CLOSE, uintptr(fd), 0, 0) }

func shutdownWrite(fd int32) {
	syscall.RawSyscall(syscall.SYS_SHUTDOWN, uintptr(fd), syscall.SHUT_WR, 0)
}

// resetOnClose makes the kernel send RST instead of FIN.
func resetOnClose(fd int32) {
	// Fails only on a socket that is dead already.
	_ = syscall.SetsockoptLinger(int(fd), syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1})
}

func noDelay(fd int32) {
	_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1) // costs latency at worst
}

func socketError(fd int32) syscall.Errno {
	v, err := syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_ERROR)
	if err != nil {
		return syscall.EIO
	}
	return syscall.Errno(v)
}

// epollAdd registers fd once and for all, edge-triggered; idx and gen come back with its events.
func epollAdd(ep, fd, idx int32, gen uint32, events uint32) syscall.Errno {
	ev := syscall.EpollEvent{Events: events, Fd: idx, Pad: int32(gen)}
	_, _, e := syscall.RawSyscall6(syscall.SYS_EPOLL_CTL, uintptr(ep), syscall.EPOLL_CTL_ADD, uintptr(fd), uintptr(unsafe.Pointer(&ev)), 0, 0)
	return e
}

func epollDel(ep, fd int32) {
	syscall.RawSyscall6(syscall.SYS_EPOLL_CTL, uintptr(ep), syscall.EPOLL_CTL_DEL, uintptr(fd), 0, 0, 0)
}

// epollPoll looks for events without waiting.
func epollPoll(ep int32, evs []syscall.EpollEvent) int {
	n, _, e := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(ep), uintptr(unsafe.Pointer(unsafe.SliceData(evs))), uintptr(len(evs)), 0, 0, 0)
	if e != 0 {
		return 0
	}
	return int(n)
}

// endsOf gives the addresses of both ends of a connection, the zero value for what is not known.
func endsOf(fd int32) (peer, local netip.AddrPort) {
	var sa syscall.RawSockaddrAny
	get := func(call uintptr) netip.AddrPort {
		n := uint32(unsafe.Sizeof(sa))
		if _, _, e := syscall.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&n))); e != 0 {
			return netip.AddrPort{}
		}
		return addrPort(&sa)
	}
	return get(syscall.SYS_GETPEERNAME), get(syscall.SYS_GETSOCKNAME)
}

func addrPort(sa *syscall.RawSockaddrAny) netip.AddrPort {
	swap := func(p uint16) uint16 { return p<<8 | p>>8 }
	switch sa.Addr.Family {
	case syscall.AF_INET:
		s := (*syscall.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(s.Addr), swap(s.Port))
	case syscall.AF_INET6:
		s := (*syscall.RawSockaddrInet6)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom16(s.Addr).Unmap(), swap(s.Port))
	}
	return netip.AddrPort{}
}
