package cluster

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/lbnode/lbnode/cluster/transport"
)

// streamLayer carries Raft's connections inside the cluster port. It keeps track
// of all of them, because raft.NetworkTransport closes neither those that came
// in nor those in use, and a node that must fall silent has to do so at once.
type streamLayer struct {
	mux  *transport.Mux
	ln   net.Listener
	addr raftAddr

	ctx    context.Context
	cancel context.CancelFunc

	mu     sync.Mutex
	conns  map[*trackedConn]struct{} // nil once fenced
	closed chan struct{}
}

// raftAddr is the address that Raft tells the others.
type raftAddr string

func (raftAddr) Network() string  { return "tcp" }
func (a raftAddr) String() string { return string(a) }

func newStreamLayer(mux *transport.Mux) *streamLayer {
	ctx, cancel := context.WithCancel(context.Background())
	return &streamLayer{
		mux: mux, ln: mux.Accept(transport.ProtoRaft), addr: raftAddr(mux.Advertise()),
		ctx: ctx, cancel: cancel, conns: make(map[*trackedConn]struct{}), closed: make(chan struct{}),
	}
}

// dialTarget names a peer together with its address, so that Dial can tell
// whether the right node answers there.
func dialTarget(id raft.ServerID, addr string) raft.ServerAddress {
	return raft.ServerAddress(string(id) + "@" + addr)
}

// Dial implements raft.StreamLayer. Nodes may take over each other's addresses;
// an entry that the wrong one acknowledged would count as stored by the other.
func (s *streamLayer) Dial(target raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(s.ctx, timeout)
	defer cancel()
	id, addr, ok := strings.Cut(string(target), "@")
	if !ok {
		id, addr = "", string(target)
	}
	c, err := s.mux.Dial(ctx, addr, transport.ProtoRaft)
	if err != nil {
		return nil, err
	}
	if p, ok := c.(interface{ Peer() transport.Peer }); ok && id != "" && p.Peer().NodeID != id {
		_ = c.Close()
		return nil, fmt.Errorf("dial %s: node %q answers, not %q", addr, p.Peer().NodeID, id)
	}
	return s.track(c)
}

// Accept implements net.Listener. Once fenced it waits for Close.
func (s *streamLayer) Accept() (net.Conn, error) {
	c, err := s.ln.Accept()
	if err == nil {
		c, err = s.track(c)
	}
	if err != nil && s.ctx.Err() != nil {
		<-s.closed
	}
	return c, err
}

// Addr implements net.Listener; it is the advertised address.
func (s *streamLayer) Addr() net.Addr { return s.addr }

// fence breaks every connection and lets no new one come about.
func (s *streamLayer) fence() {
	s.cancel()
	s.mu.Lock()
	conns := s.conns
	s.conns = nil
	s.mu.Unlock()
	for c := range conns {
		_ = c.Conn.Close()
	}
	if conns != nil {
		_ = s.ln.Close()
	}
}

// Close implements net.Listener.
func (s *streamLayer) Close() error {
	s.fence()
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.closed:
	default:
		close(s.closed)
	}
	return nil
}

func (s *streamLayer) track(c net.Conn) (net.Conn, error) {
	t := &trackedConn{Conn: c, layer: s}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns == nil {
		_ = c.Close()
		return nil, fmt.Errorf("raft streams: %w", net.ErrClosed)
	}
	s.conns[t] = struct{}{}
	return t, nil
}

type trackedConn struct {
	net.Conn
	layer *streamLayer
}

// Close implements net.Conn.
func (t *trackedConn) Close() error {
	t.layer.mu.Lock()
	delete(t.layer.conns, t)
	t.layer.mu.Unlock()
	return t.Conn.Close()
}

// raftTransport is Raft's view of the network. It differs from the one of the
// library in how it treats a peer that cannot be reached: Raft pauses its
// replication to such a peer for up to ten seconds, which is how long a node
// that came back would wait for its first entry, and how long a rolling restart
// could stall all writes. Here the call itself waits for the peer to return, so
// that Raft counts few failures, if any.
type raftTransport struct {
	*raft.NetworkTransport
	layer *streamLayer
	// lead reports whether this node still leads in that term, with that peer in
	// its configuration.
	lead func(term uint64, peer raft.ServerID) bool

	mu    sync.Mutex
	alive map[raft.ServerID]chan struct{} // closed by the next heartbeat that gets through
}

func newRaftTransport(layer *streamLayer, cfg *raft.NetworkTransportConfig) *raftTransport {
	return &raftTransport{
		NetworkTransport: raft.NewNetworkTransportWithConfig(cfg), layer: layer,
		lead: func(uint64, raft.ServerID) bool { return false }, alive: make(map[raft.ServerID]chan struct{}),
	}
}

// EncodePeer implements raft.Transport: on the wire a peer is its plain address.
func (t *raftTransport) EncodePeer(id raft.ServerID, addr raft.ServerAddress) []byte {
	_, plain, ok := strings.Cut(string(t.NetworkTransport.EncodePeer(id, addr)), "@")
	if !ok {
		return []byte(addr)
	}
	return []byte(plain)
}

// AppendEntries implements raft.Transport.
func (t *raftTransport) AppendEntries(id raft.ServerID, target raft.ServerAddress, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	heartbeat := req.PrevLogEntry == 0 && req.PrevLogTerm == 0 && len(req.Entries) == 0 && req.LeaderCommitIndex == 0
	for {
		back := t.returned(id)
		err := t.NetworkTransport.AppendEntries(id, target, req, resp)
		switch {
		case heartbeat && err == nil:
			t.answered(id)
			return nil
		case heartbeat || err == nil:
			return err
		}
		if !t.wait(back, req.Term, id) {
			return err
		}
	}
}

// returned is closed by the next heartbeat that gets through to id.
func (t *raftTransport) returned(id raft.ServerID) <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.alive[id]
	if c == nil {
		c = make(chan struct{})
		t.alive[id] = c
	}
	return c
}

func (t *raftTransport) answered(id raft.ServerID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c := t.alive[id]; c != nil {
		close(c)
		delete(t.alive, id)
	}
}

// wait waits until the peer is back, and reports false when there is no point
// in trying again.
func (t *raftTransport) wait(back <-chan struct{}, term uint64, id raft.ServerID) bool {
	check := time.NewTicker(50 * time.Millisecond)
	defer check.Stop()
	for {
		select {
		case <-back:
			return true
		case <-t.layer.ctx.Done():
			return false
		case <-check.C:
			if !t.lead(term, id) {
				return false
			}
		}
	}
}
