//go:build linux

package engine

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/lbnode/lbnode/proxy/proxyproto"
	"github.com/lbnode/lbnode/stats"
)

// tlsConn runs crypto/tls in a loop. The handshake is done on a goroutine over the net package; then the
// connection below is switched to memory: a Read without ciphertext gives a temporary error, which crypto/tls
// does not remember, and a Write collects records.
type tlsConn struct {
	conn *tls.Conn
	mem  *memConn
}

type memConn struct {
	net.Conn
	on  bool
	in  []byte
	out []byte
}

// noInput is the temporary error of a memConn that has been read out.
type noInput struct{}

func (noInput) Error() string   { return "no input" }
func (noInput) Timeout() bool   { return true }
func (noInput) Temporary() bool { return true }

var errNoInput net.Error = noInput{}

func (m *memConn) Read(b []byte) (int, error) {
	if !m.on {
		return m.Conn.Read(b)
	}
	if len(m.in) == 0 {
		return 0, errNoInput
	}
	n := copy(b, m.in)
	m.in = m.in[n:]
	return n, nil
}

func (m *memConn) Write(b []byte) (int, error) {
	if !m.on {
		return m.Conn.Write(b)
	}
	m.out = append(m.out, b...) // takes everything: a failed write would break crypto/tls for good
	return len(b), nil
}

// SetWriteDeadline is what crypto/tls calls before it says goodbye. A write to memory never waits.
func (m *memConn) SetWriteDeadline(t time.Time) error {
	if !m.on {
		return m.Conn.SetWriteDeadline(t)
	}
	return nil
}

// cipherSize leaves room in the read buffer for a record that crypto/tls has held back.
const cipherSize = readSize/2 - 64<<10

// open reads ciphertext once and decrypts into dst, which is larger than what can come.
func (t *tlsConn) open(l *loop, s *sock, dst []byte) (int, readResult) {
	if l.cipher == nil {
		l.cipher = make([]byte, cipherSize)
	}
	for {
		n, ended := 0, false
		if s.readable {
			var e syscall.Errno
			n, e = recv(s.fd, l.cipher, 0)
			switch {
			case e == syscall.EAGAIN:
				s.readable = false
			case e != 0:
				return 0, readError
			case n == 0:
				ended = true
			default:
				s.readable = n == len(l.cipher) || s.hup
			}
		}
		t.mem.in = l.cipher[:n]
		total := 0
		for { // until crypto/tls asks for more: it may hold several records
			k, err := t.conn.Read(dst[total:])
			total += k
			if err == nil {
				continue
			}
			t.answer(l, s)
			if err == io.EOF { // close_notify
				if total > 0 {
					s.readable, s.hup = true, true // the next read finds it again
					return total, readSome
				}
				return 0, readEnd
			}
			if err != error(errNoInput) {
				return 0, readError
			}
			break
		}
		switch {
		case total > 0:
			if ended {
				s.readable = true
			}
			return total, readSome
		case ended:
			return 0, readEnd // without close_notify, as many clients do
		case !s.readable:
			return 0, readAgain
		}
	}
}

// answer sends what reading has made crypto/tls say, such as a key update or an alert.
func (t *tlsConn) answer(l *loop, s *sock) {
	if len(t.mem.out) > 0 {
		l.writeRaw(s, t.mem.out) // if the connection is dead, the next write finds it
		t.mem.out = nil
	}
}

func (t *tlsConn) seal(l *loop, b []byte) ([]byte, bool) {
	t.mem.out = l.sealed[:0]
	_, err := t.conn.Write(b)
	l.sealed, t.mem.out = t.mem.out, nil
	return l.sealed, err == nil
}

// closeNotify ends our side, so that the client can tell the end from a cut.
func (t *tlsConn) closeNotify(l *loop, s *sock) {
	t.mem.out = nil
	_ = t.conn.CloseWrite() // writes to memory
	if len(t.mem.out) > 0 {
		l.writeRaw(s, t.mem.out)
		t.mem.out = nil
	}
}

// acceptTLS accepts connections and shakes hands, each on a goroutine, and gives them to the loops in turn.
func (e *Engine) acceptTLS(ln net.Listener) {
	cfg := &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: e.cfg.Certificate, DynamicRecordSizingDisabled: true,
	}
	if e.cfg.TLS != nil {
		cfg = e.cfg.TLS
	}
	var next atomic.Uint32
	for {
		raw, err := ln.Accept()
		if err != nil {
			if e.ctx.Err() != nil || !e.pause(ln, err) {
				return
			}
			continue
		}
		if !e.admit(e.clientOfPeer(peerOf(raw.RemoteAddr()))) {
			raw.Close()
			continue
		}
		l := e.loops[int(next.Add(1))%len(e.loops)]
		e.wg.Go(func() { e.handshake(raw, cfg, l) })
	}
}

func (e *Engine) handshake(raw net.Conn, cfg *tls.Config, l *loop) {
	peer, client := peerOf(raw.RemoteAddr()), e.clientOfPeer(peerOf(raw.RemoteAddr()))
	behind, name, err := e.behindProxy(raw)
	if err != nil || !e.name(name) {
		e.leave(client)
		raw.Close()
		return
	}
	if name.IsValid() {
		peer, client = name, name
	}
	ctx, cancel := context.WithTimeout(e.ctx, e.cfg.Limits.HandshakeTimeout)
	defer cancel()
	mem := &memConn{Conn: behind}
	conn := tls.Server(mem, cfg)
	if err := conn.HandshakeContext(ctx); err != nil {
		e.cfg.Logger.Debug("TLS handshake failed", "client", raw.RemoteAddr().String(), "error", err)
		e.leave(client)
		mem.Close()
		return
	}
	fd, err := dup(raw)
	mem.Close()
	if err != nil {
		e.cfg.Logger.Error("duplicate descriptor", "error", err)
		e.leave(client)
		return
	}
	mem.Conn, mem.on = nil, true
	if !l.post(func() { l.adopt(fd, peer, name.IsValid(), &tlsConn{conn: conn, mem: mem}) }) {
		closeFD(fd)
		e.leave(client)
	}
}

// behindProxy reads the PROXY header of a peer that sends one, and gives the client that it names, if any.
func (e *Engine) behindProxy(raw net.Conn) (net.Conn, netip.Addr, error) {
	if !e.cfg.ProxyFrom.ContainsAddr(raw.RemoteAddr()) {
		return raw, netip.Addr{}, nil
	}
	c, err := proxyproto.Accept(e.ctx, raw, e.cfg.Limits.HeadTimeout)
	if err != nil {
		e.total.Count(stats.BadProxyHeader)
		return nil, netip.Addr{}, err
	}
	return c, c.Client(), nil
}

// adopt takes a connection whose handshake is done; named says that peer is what a PROXY header says.
func (l *loop) adopt(fd int32, peer netip.Addr, named bool, t *tlsConn) {
	client := peer
	if !named {
		client = l.e.clientOfPeer(peer)
	}
	if l.stage != stageServe {
		closeFD(fd)
		l.e.leave(client)
		return
	}
	noDelay(fd)
	c := l.newClient(fd)
	if c == nil {
		l.e.leave(client)
		return
	}
	c.peer, c.named, c.tls, c.readable = peer, named, t, true
	if t.conn.ConnectionState().NegotiatedProtocol == "h2" {
		l.openH2(c)
	}
	l.readClient(c) // the handshake may have read the first request already
}
