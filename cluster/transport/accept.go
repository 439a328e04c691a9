package transport

import (
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"
)

const (
	adviseKey     = "give every node the same --cluster-key-file; where the key was rotated, that is a copy of the file cluster-keys in the data dir of a member, and the node's own cluster-keys goes"
	adviseCluster = "correct --join or --advertise-addr on the node that is wrong, or start it with an empty data dir"
)

// serve brings an accepted connection through TLS and hello, then hands it to
// its protocol.
func (m *Mux) serve(raw net.Conn, e *list.Element) {
	defer m.settle(e)
	c, err := m.welcome(raw)
	if err != nil {
		m.noteInbound(raw.RemoteAddr().String(), err)
		_ = raw.Close()
		return
	}
	m.settle(e)
	if proto := c.ConnectionState().NegotiatedProtocol; proto == ProtoRPC {
		m.serveRPC(c)
	} else if l := m.listenerFor(proto); l == nil || !l.deliver(c) {
		_ = c.Close()
	}
}

// welcome is the server's half of the handshake.
func (m *Mux) welcome(raw net.Conn) (*Conn, error) {
	_ = raw.SetDeadline(time.Now().Add(m.cfg.HandshakeTimeout))
	mt := &meter{Conn: raw}
	tc := tls.Server(mt, m.serverTLS)
	if err := tc.HandshakeContext(m.ctx); err != nil {
		linger(raw)
		return nil, err
	}
	cs := tc.ConnectionState()
	leaf := cs.PeerCertificates[0]
	key, err := m.creds.Load().verify(leaf)
	if err != nil {
		return nil, err
	}
	h, err := readHello(tc)
	if err != nil {
		return nil, err
	}
	c := &Conn{
		Conn: tc, mux: m, raw: mt, key: key, inbound: true, self: m.identity(),
		peer: Peer{Identity: h.Identity, RemoteAddr: raw.RemoteAddr().String()},
	}
	code, reason := m.judge(c, cs.NegotiatedProtocol, leaf.Subject.CommonName)
	ans := answer{Identity: c.self, code: code, reason: reason}
	if code == accepted {
		// Tracked before the answer: whoever gets one is seen by Close.
		if err := m.track(c); err != nil {
			return nil, err
		}
	}
	if _, err := tc.Write(ans.encode()); err != nil {
		m.forget(c)
		return nil, err
	}
	if code != accepted {
		_ = tc.Close()
		return nil, &RefusedError{Peer: c.peer, Reason: reason, code: code}
	}
	_ = raw.SetDeadline(time.Time{})
	return c, nil
}

func (m *Mux) identity() Identity {
	id := m.cfg.Identity()
	id.NodeID = m.nodeID
	return id
}

// judge decides whether a peer that holds the key may speak proto.
func (m *Mux) judge(c *Conn, proto, proved string) (refusal, string) {
	switch {
	case c.peer.NodeID == "" || clip(proved, maxID) != c.peer.NodeID:
		return refusedHello, "the node id in the hello is not the one in the certificate"
	case m.full():
		return refusedOther, fmt.Sprintf("too many connections (%d)", m.cfg.MaxConns)
	case proto == ProtoRPC:
		return accepted, "" // judged per request: open methods serve non-members
	case proto == "":
		return refusedHello, "no protocol was asked for"
	}
	if code, reason := checkMembership(c.self, c.peer.Identity); code != accepted {
		return code, reason
	}
	if m.listenerFor(proto) == nil {
		return refusedMethod, fmt.Sprintf("%s does not serve %s at the moment", m.nodeID, proto)
	}
	return accepted, ""
}

// linger lets a peer read our alert: closing with its unread bytes in the
// buffer would reset the connection and eat the reason.
func linger(raw net.Conn) {
	if cw, ok := raw.(interface{ CloseWrite() error }); ok && cw.CloseWrite() == nil {
		_ = raw.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
		_, _ = io.CopyN(io.Discard, raw, 16<<10)
	}
}

// noteInbound tells the operator about a peer that did not get in.
func (m *Mux) noteInbound(addr string, err error) {
	if m.ctx.Err() != nil {
		return
	}
	h := host(addr)
	var refused *RefusedError
	var notTLS tls.RecordHeaderError
	switch {
	case errors.As(err, &refused):
		args := []any{"peer", addr, "node", refused.Peer.NodeID, "cluster", refused.Peer.ClusterID, "reason", refused.Reason}
		if errors.Is(err, ErrWrongCluster) {
			m.notes.say(slog.LevelWarn, h+" cluster", "cluster connection refused: the peer belongs to another cluster", append(args, "fix", adviseCluster)...)
			return
		}
		m.notes.say(slog.LevelInfo, h+" refused", "cluster connection refused", args...)
	case isKeyError(err):
		m.notes.say(slog.LevelWarn, h+" key", "cluster connection refused: the peer holds another cluster key", "peer", addr, "fix", adviseKey)
	case errors.As(err, &notTLS), errors.Is(err, errHello):
		m.notes.say(slog.LevelWarn, h+" alien", "cluster connection refused: the peer is not an lbnode", "peer", addr, "error", err)
	default: // port scans, tcp checks, timeouts, peers that went away
		m.notes.say(slog.LevelDebug, h+" other", "cluster connection not established", "peer", addr, "error", err)
	}
}

// isKeyError recognizes both halves of a key mismatch: our verdict, and the
// alert by which the peer tells us its own.
func isKeyError(err error) bool {
	if errors.Is(err, ErrWrongKey) {
		return true
	}
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" || op.Err == nil {
		return false
	}
	text := op.Err.Error() // crypto/tls does not export its alerts
	return strings.Contains(text, "bad certificate") || strings.Contains(text, "unknown certificate authority")
}

// Accept returns the listener of a stream protocol. While it is open, streams
// of members are delivered to it; before and after, they are refused. Asking
// twice returns the same listener; after its Close a new one. Unknown protocols
// get a closed listener, and so does everybody after Mux.Close.
func (m *Mux) Accept(proto string) net.Listener {
	m.mu.Lock()
	defer m.mu.Unlock()
	if l := m.listeners[proto]; l != nil {
		return l
	}
	l := &listener{mux: m, proto: proto, ch: make(chan *Conn), done: make(chan struct{})}
	if m.closed || (proto != ProtoRaft && proto != ProtoGossip) {
		l.once.Do(func() { close(l.done) })
		return l
	}
	m.listeners[proto] = l
	return l
}

func (m *Mux) listenerFor(proto string) *listener {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.listeners[proto]
}

type listener struct {
	mux   *Mux
	proto string
	ch    chan *Conn
	done  chan struct{}
	once  sync.Once
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.ch:
		return c, nil
	case <-l.done:
		return nil, ErrClosed
	}
}

// Close implements net.Listener. Connections that were accepted live on.
func (l *listener) Close() error {
	l.once.Do(func() {
		l.mux.mu.Lock()
		if l.mux.listeners[l.proto] == l {
			delete(l.mux.listeners, l.proto)
		}
		l.mux.mu.Unlock()
		close(l.done)
	})
	return nil
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return l.mux.Addr() }

// deliver waits for the owner to accept; one that does not in the time of a
// handshake is overloaded, and its peer had better try again.
func (l *listener) deliver(c *Conn) bool {
	ctx, cancel := context.WithTimeout(l.mux.ctx, l.mux.cfg.HandshakeTimeout)
	defer cancel()
	select {
	case l.ch <- c:
		return true
	case <-l.done:
	case <-ctx.Done():
	}
	return false
}
