//go:build linux

package engine

import (
	"net/netip"
	"syscall"

	"github.com/lbnode/lbnode/proxy/upstream"
)

// sock is a connection as the loop sees it. What it holds beyond this struct it holds only while a message is
// incomplete or the other end does not take what it is sent.
type sock struct {
	fd, idx  int32 // fd is -1 once it is closed
	readable bool  // the kernel may hold input
	hup      bool  // the peer has sent FIN: read on after a short read, or the end is missed
	in       []byte
	pend     []byte // unsent part of pbuf
	pbuf     []byte
	tls      *tlsConn
	st       *stream // it is no connection but a stream of one
	timer    timer
}

type clientState uint8

const (
	stIdle    clientState = iota // between requests
	stHead                       // in a request head
	stBusy                       // an exchange runs
	stClosing                    // the last answer is being flushed
	stLinger                     // the last answer is out: what still comes in is thrown away
	stH2                         // its streams have states of their own
)

// client is a connection that we accepted.
type client struct {
	sock
	state  clientState
	used   bool // a request has come
	queued bool // stands in loop.again
	seen   int  // bytes of an incomplete head without a line end
	awaits bool // its PROXY header has not come
	named  bool // peer is what a PROXY header says
	peer   netip.Addr
	e      *exchange
	drain  int     // bytes thrown away
	h2     *h2conn // nil = it does not speak HTTP/2
}

// link is the connection itself, for a stream the one that it is part of.
func (c *client) link() *client {
	if c.st != nil {
		return c.st.conn
	}
	return c
}

// secure says that the client came by TLS.
func (c *client) secure() bool { return c.link().tls != nil }

// stalled says that the client does not take what it asked for.
func (c *client) stalled() bool { return len(c.pend) > 0 || c.st != nil && c.st.waits }

// server is a connection to a backend.
type server struct {
	sock
	connecting bool
	reused     bool
	gotByte    bool
	queued     bool
	ep         *upstream.Endpoint
	h2         *upConn   // nil = it does not speak HTTP/2
	us         *upStream // it is no connection but a stream of one
	pool       *pool
	idleAt     int
	e          *exchange
}

// slot is what an index in epoll's data stands for. The generation tells events of a closed descriptor from
// those of its successor.
type slot struct {
	gen uint32
	c   *client
	u   *server
	ln  *listener
}

// takeSlot finds a place for what has no descriptor.
func (l *loop) takeSlot(s slot) int32 {
	var idx int32
	if n := len(l.freeSlots); n > 0 {
		idx = l.freeSlots[n-1]
		l.freeSlots = l.freeSlots[:n-1]
	} else {
		idx = int32(len(l.slots))
		l.slots = append(l.slots, slot{})
	}
	s.gen = l.slots[idx].gen
	l.slots[idx] = s
	return idx
}

func (l *loop) addSlot(fd int32, s slot, events uint32) (int32, bool) {
	idx := l.takeSlot(s)
	if e := epollAdd(l.ep, fd, idx, l.slots[idx].gen, events); e != 0 {
		l.freeSlot(idx)
		return 0, false
	}
	return idx, true
}

func (l *loop) freeSlot(idx int32) {
	l.slots[idx] = slot{gen: l.slots[idx].gen + 1}
	l.freeSlots = append(l.freeSlots, idx)
}

// closeSock closes the descriptor and gives back what the connection holds.
func (l *loop) closeSock(s *sock) {
	if s.fd < 0 {
		return
	}
	closeFD(s.fd)
	s.fd = -1
	l.freeSlot(s.idx)
	l.wheel.drop(&s.timer)
	l.release(s)
}

func (l *loop) release(s *sock) {
	if s.pbuf != nil {
		l.bufs.put(s.pbuf)
		s.pbuf, s.pend = nil, nil
	}
	l.setInput(s, nil)
}

// setInput keeps unconsumed input, in a buffer of its own.
func (l *loop) setInput(s *sock, b []byte) {
	if len(b) == 0 {
		if s.in != nil {
			l.bufs.put(s.in)
			s.in = nil
		}
		return
	}
	buf := s.in
	if cap(buf) < len(b) {
		buf = l.bufs.get(len(b))
	}
	old := s.in
	s.in = append(buf[:0], b...) // b may lie in s.in itself, further behind: append moves it
	if old != nil && cap(old) != cap(s.in) {
		l.bufs.put(old)
	}
}

type readResult uint8

const (
	readSome readResult = iota
	readAgain
	readEnd
	readError
)

// fill reads once and gives all unconsumed input, in the loop's read buffer.
func (l *loop) fill(s *sock) ([]byte, readResult) {
	if s.st != nil {
		return l.fillStream(s.st)
	}
	return l.fillInto(s, l.buf[headroom:headroom+readSize])
}

// fillInto is fill for another buffer: of readSize, or less for a connection without TLS.
func (l *loop) fillInto(s *sock, buf []byte) ([]byte, readResult) {
	k := len(s.in)
	if k > readSize/2 { // more than any head: the caller should not have asked
		return nil, readError
	}
	var n int
	if s.tls != nil {
		var r readResult
		if n, r = s.tls.open(l, s, buf[k:]); r != readSome {
			return nil, r
		}
	} else {
		b := buf[k:]
		var e syscall.Errno
		n, e = recv(s.fd, b, 0)
		switch {
		case e == syscall.EAGAIN:
			s.readable = false
			return nil, readAgain
		case e != 0:
			return nil, readError
		case n == 0:
			return nil, readEnd
		}
		// A short read has emptied the socket, unless the end stands behind it.
		s.readable = n == len(b) || s.hup
	}
	return l.before(s, buf[:k+n]), readSome
}

// input gives kept input, in the read buffer.
func (l *loop) input(s *sock) []byte {
	return l.before(s, l.buf[headroom:headroom+len(s.in)])
}

// before puts kept input at the beginning of buf, where there is room for it.
func (l *loop) before(s *sock, buf []byte) []byte {
	if len(s.in) > 0 {
		copy(buf, s.in)
		l.setInput(s, nil)
	}
	return buf
}

// write sends b and keeps what the kernel does not take. false: the connection is dead.
func (l *loop) write(s *sock, b []byte) bool {
	if s.tls != nil {
		var ok bool
		if b, ok = s.tls.seal(l, b); !ok {
			return false
		}
	}
	return l.writeRaw(s, b)
}

func (l *loop) writeRaw(s *sock, b []byte) bool {
	if len(s.pend) == 0 {
		n, e := send(s.fd, b)
		if e != 0 && e != syscall.EAGAIN {
			return false
		}
		if e == 0 {
			if n == len(b) {
				return true
			}
			b = b[n:]
		}
	}
	l.keepPending(s, b)
	return true
}

// keepPending keeps bytes that are to be sent later.
func (l *loop) keepPending(s *sock, b []byte) {
	if need := len(s.pend) + len(b); cap(s.pend)-len(s.pend) < len(b) {
		buf := l.bufs.get(need)
		buf = append(buf, s.pend...)
		if s.pbuf != nil {
			l.bufs.put(s.pbuf)
		}
		s.pbuf, s.pend = buf, buf
	}
	s.pend = append(s.pend, b...)
}

// flush sends what is kept. done says that nothing is left.
func (l *loop) flush(s *sock) (done, ok bool) {
	for len(s.pend) > 0 {
		n, e := send(s.fd, s.pend)
		if e == syscall.EAGAIN {
			return false, true
		}
		if e != 0 {
			return false, false
		}
		s.pend = s.pend[n:]
	}
	if s.pbuf != nil {
		l.bufs.put(s.pbuf)
		s.pbuf, s.pend = nil, nil
	}
	return true, true
}
