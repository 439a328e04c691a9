package transport

import (
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Mux is the cluster port. Its methods may be called concurrently.
type Mux struct {
	cfg       Config
	log       *slog.Logger
	notes     *notes
	nodeID    string
	ln        net.Listener
	advertise string
	creds     atomic.Pointer[credentials]
	serverTLS *tls.Config
	methods   methods
	pool      pool

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	keysMu sync.Mutex // serializes SetKeys

	mu        sync.Mutex // guards what follows; never held over I/O
	closed    bool
	conns     map[*Conn]struct{}
	accepted  int        // of conns, those that came in
	pending   *list.List // of net.Conn: accepted, not yet through the hello, oldest first
	listeners map[string]*listener
}

// Listen binds the port and serves it until Close. On error nothing is left
// behind.
func Listen(cfg Config) (*Mux, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	nodeID := cfg.Identity().NodeID
	creds, err := newCredentials(cfg.Keys, nodeID)
	if err != nil {
		return nil, err
	}
	lc := net.ListenConfig{KeepAliveConfig: keepAlive()}
	ln, err := lc.Listen(context.Background(), "tcp", cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("cluster address %s: %w", cfg.Addr, err)
	}
	adv, err := advertised(cfg.Advertise, ln.Addr().(*net.TCPAddr), net.InterfaceAddrs)
	if err != nil {
		_ = ln.Close()
		return nil, err
	}
	m := &Mux{
		cfg:       cfg,
		log:       cfg.Logger,
		notes:     newNotes(cfg.Logger),
		nodeID:    nodeID,
		ln:        ln,
		advertise: adv,
		conns:     make(map[*Conn]struct{}),
		pending:   list.New(),
		listeners: make(map[string]*listener),
	}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.creds.Store(creds)
	m.serverTLS = m.serverConfig()
	m.pool.init(cfg.MaxCallsPerPeer)
	if bound := ln.Addr().(*net.TCPAddr); len(cfg.Keys) == 0 && !bound.IP.IsLoopback() {
		m.log.Warn("cluster port without a secret: everybody who reaches it can join", "addr", bound.String(), "fix", "set --cluster-key-file (`lbnode keygen` makes one)")
	}
	m.start(m.acceptLoop)
	m.start(m.janitor)
	return m, nil
}

// keepAlive notices a silently vanished peer in about half a minute.
func keepAlive() net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}
}

// Addr is the bound address.
func (m *Mux) Addr() net.Addr { return m.ln.Addr() }

// Advertise is the host:port that other nodes dial.
func (m *Mux) Advertise() string { return m.advertise }

// SetKeys replaces the valid keys; the first one issues our certificate from
// now on, for peers that know it. To rotate without a gap: install [old new] on every node, then
// [new old] on every node, then [new]. Connections that rest on a key no
// longer valid are closed.
func (m *Mux) SetKeys(keys []Key) error {
	m.keysMu.Lock()
	defer m.keysMu.Unlock()
	creds, err := newCredentials(keys, m.nodeID)
	if err != nil {
		return err
	}
	m.creds.Store(creds)
	var stale []*Conn
	m.mu.Lock()
	for c := range m.conns {
		if !creds.holds(c.key) {
			stale = append(stale, c)
		}
	}
	m.mu.Unlock()
	for _, c := range stale {
		_ = c.raw.Close()
	}
	m.log.Info("cluster keys set", "primary", creds.keys[0], "valid", len(creds.keys), "closed_connections", len(stale))
	return nil
}

// Close stops listening, breaks every connection and waits for all goroutines,
// handlers included: their context is done.
func (m *Mux) Close() error {
	m.mu.Lock()
	already := m.closed
	m.closed = true
	var open []net.Conn
	for c := range m.conns {
		open = append(open, c.raw)
	}
	for e := m.pending.Front(); e != nil; e = e.Next() {
		open = append(open, e.Value.(net.Conn))
	}
	listeners := make([]*listener, 0, len(m.listeners))
	for _, l := range m.listeners {
		listeners = append(listeners, l)
	}
	m.mu.Unlock()

	var err error
	if !already {
		m.cancel()
		err = m.ln.Close()
		for _, l := range listeners {
			_ = l.Close()
		}
		for _, c := range open {
			_ = c.Close() // the raw one: a TLS goodbye could block
		}
	}
	m.wg.Wait()
	return err
}

// start runs f on a goroutine that Close waits for; after Close it does not.
func (m *Mux) start(f func()) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return false
	}
	m.wg.Go(f)
	return true
}

func (m *Mux) acceptLoop() {
	const maxDelay = time.Second
	delay := 5 * time.Millisecond
	for {
		raw, err := m.ln.Accept()
		switch {
		case err == nil:
			delay = 5 * time.Millisecond
			if !m.admit(raw) {
				_ = raw.Close()
			}
		case m.ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return
		default: // out of file descriptors, most likely: it passes, or it does not
			m.notes.say(slog.LevelError, "accept", "cluster port cannot accept", "error", err)
			select {
			case <-time.After(delay):
			case <-m.ctx.Done():
				return
			}
			delay = min(2*delay, maxDelay)
		}
	}
}

// admit starts serving a connection; when too many are still unproved, the
// oldest of them goes.
func (m *Mux) admit(raw net.Conn) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return false
	}
	if m.pending.Len() >= m.cfg.MaxPending {
		oldest := m.pending.Front()
		m.pending.Remove(oldest)
		_ = oldest.Value.(net.Conn).Close()
	}
	e := m.pending.PushBack(raw)
	m.wg.Go(func() { m.serve(raw, e) })
	return true
}

func (m *Mux) settle(e *list.Element) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pending.Remove(e) // does nothing if it was dropped before
}

// track registers a connection so that Close and SetKeys find it.
func (m *Mux) track(c *Conn) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return ErrClosed
	}
	m.conns[c] = struct{}{}
	if c.inbound {
		m.accepted++
	}
	return nil
}

func (m *Mux) forget(c *Conn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.conns[c]; !ok {
		return
	}
	delete(m.conns, c)
	if c.inbound {
		m.accepted--
	}
}

func (m *Mux) full() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.accepted >= m.cfg.MaxConns
}

// janitor closes pooled connections that nobody used for a while.
func (m *Mux) janitor() {
	t := time.NewTicker(max(m.cfg.IdleTimeout/2, time.Millisecond))
	defer t.Stop()
	for {
		select {
		case <-t.C:
			for _, c := range m.pool.expire(time.Now().Add(-m.cfg.IdleTimeout)) {
				_ = c.nc.Close()
			}
		case <-m.ctx.Done():
			return
		}
	}
}
