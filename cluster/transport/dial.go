package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"
)

// Dial opens a stream of proto to the node at addr. ctx bounds dialing and the
// handshake (with HandshakeTimeout on top), not the life of the stream. Errors
// match ErrWrongKey, ErrWrongCluster, ErrNotMember, ErrNoMethod, ErrRefused or
// ErrNotPeer where they apply.
func (m *Mux) Dial(ctx context.Context, addr, proto string) (net.Conn, error) {
	c, err := m.dial(ctx, addr, proto)
	if err != nil {
		return nil, fmt.Errorf("dial %s (%s): %w", addr, proto, err)
	}
	return c, nil
}

// Stream is one stream protocol of a Mux, for those who need no more of it.
type Stream struct {
	mux   *Mux
	proto string
}

// Stream returns the border of one stream protocol.
func (m *Mux) Stream(proto string) Stream { return Stream{m, proto} }

// Dial is Mux.Dial.
func (s Stream) Dial(ctx context.Context, addr string) (net.Conn, error) {
	return s.mux.Dial(ctx, addr, s.proto)
}

// Listener is Mux.Accept.
func (s Stream) Listener() net.Listener { return s.mux.Accept(s.proto) }

func (m *Mux) dial(ctx context.Context, addr, proto string) (*Conn, error) {
	if m.ctx.Err() != nil {
		return nil, ErrClosed
	}
	ctx, cancel := context.WithTimeout(ctx, m.cfg.HandshakeTimeout)
	defer cancel()
	defer context.AfterFunc(m.ctx, cancel)()
	raw, err := m.cfg.Dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	c, err := m.introduce(ctx, raw, proto)
	if err != nil {
		_ = raw.Close()
		if m.ctx.Err() != nil {
			return nil, ErrClosed
		}
		err = explainDial(err)
		m.noteOutbound(addr, err)
		return nil, err
	}
	return c, nil
}

// introduce is the client's half of the handshake.
func (m *Mux) introduce(ctx context.Context, raw net.Conn, proto string) (*Conn, error) {
	cfg := m.tlsConfig()
	cfg.NextProtos = []string{proto}
	cfg.ServerName = serverName(m.creds.Load().keys[0])
	mt := &meter{Conn: raw}
	tc := tls.Client(mt, cfg)
	if err := tc.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	cs := tc.ConnectionState()
	if cs.NegotiatedProtocol != proto {
		return nil, ErrNotPeer
	}
	key, err := m.creds.Load().verify(cs.PeerCertificates[0])
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	c := &Conn{Conn: tc, mux: m, raw: mt, key: key, self: m.identity()}
	ans, err := m.exchange(c)
	if !stop() && err == nil {
		err = context.Cause(ctx) // the deadline is in the past now
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%w: %w", ctx.Err(), err)
		}
		return nil, err
	}
	if proved := clip(cs.PeerCertificates[0].Subject.CommonName, maxID); ans.NodeID != printable(proved) {
		return nil, fmt.Errorf("%w: %q answers with the certificate of %q", ErrNotPeer, ans.NodeID, proved)
	}
	if proto != ProtoRPC {
		if code, _ := checkMembership(c.self, ans.Identity); code != accepted {
			return nil, &RefusedError{Peer: c.peer, Reason: "cluster ids differ", code: code}
		}
	}
	if err := m.track(c); err != nil {
		return nil, err
	}
	return c, nil
}

// exchange sends our hello and reads the verdict.
func (m *Mux) exchange(c *Conn) (answer, error) {
	if _, err := c.Conn.Write(hello{c.self}.encode()); err != nil {
		return answer{}, err
	}
	ans, err := readAnswer(c.Conn)
	if err != nil {
		return answer{}, err
	}
	c.peer = Peer{Identity: ans.Identity, RemoteAddr: c.RemoteAddr().String()}
	if ans.code != accepted {
		return answer{}, &RefusedError{Peer: c.peer, Reason: ans.reason, code: ans.code}
	}
	return ans, nil
}

// explainDial gives the errors of crypto/tls the names that callers test for.
func explainDial(err error) error {
	var notTLS tls.RecordHeaderError
	var op *net.OpError
	switch {
	case errors.Is(err, ErrWrongKey):
		return err
	case isKeyError(err):
		return fmt.Errorf("%w: %w", ErrWrongKey, err)
	case errors.As(err, &notTLS), errors.Is(err, errHello):
		return fmt.Errorf("%w: %w", ErrNotPeer, err)
	case errors.As(err, &op) && op.Op == "remote error" && op.Err != nil && strings.Contains(op.Err.Error(), "no application protocol"):
		return fmt.Errorf("%w: %w", ErrNoMethod, err)
	default:
		return err
	}
}

// noteOutbound tells the operator why a peer does not let us in. What is not a
// refusal is the caller's to log.
func (m *Mux) noteOutbound(addr string, err error) {
	var refused *RefusedError
	switch {
	case errors.Is(err, ErrWrongKey):
		m.notes.say(slog.LevelWarn, "to "+addr+" key", "cluster peer unusable: it holds another cluster key", "peer", addr, "fix", adviseKey)
	case errors.Is(err, ErrNotPeer):
		m.notes.say(slog.LevelWarn, "to "+addr+" alien", "cluster peer unusable: no lbnode cluster port answers there", "peer", addr, "error", err)
	case errors.As(err, &refused):
		m.noteRefused(addr, refused)
	}
}

func (m *Mux) noteRefused(addr string, refused *RefusedError) {
	args := []any{"peer", addr, "node", refused.Peer.NodeID, "cluster", refused.Peer.ClusterID, "reason", refused.Reason}
	if errors.Is(refused, ErrWrongCluster) {
		m.notes.say(slog.LevelWarn, "to "+addr+" cluster", "cluster peer refuses us: it belongs to another cluster", append(args, "fix", adviseCluster)...)
		return
	}
	m.notes.say(slog.LevelInfo, "to "+addr+" refused", "cluster peer refuses us", args...)
}
