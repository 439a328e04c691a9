package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/lbnode/lbnode/cluster/gossip"
	"github.com/lbnode/lbnode/cluster/transport"
)

// Node is one member of a cluster, or a process on its way to become one. All
// methods may be called concurrently; those that may block take a context.
type Node struct {
	cfg    Config
	timing Timing
	log    *slog.Logger

	dir   *dataDir
	store *store
	space *space
	keys  heldKeys
	mux   *transport.Mux
	layer atomic.Pointer[streamLayer]
	book  *addressBook
	fsm   *fsm

	raft   atomic.Pointer[raft.Raft] // nil until the node has a cluster id
	gossip atomic.Pointer[gossip.Gossip]
	joined chan struct{} // closed once in a configuration
	isIn   atomic.Bool   // joined is closed

	ctx      context.Context // ends when Stop begins to close things
	cancel   context.CancelFunc
	started  atomic.Bool
	stopping atomic.Bool // takes no new work
	leaving  atomic.Bool // Leave is under way
	stopOnce sync.Once
	stopDone chan struct{}
	stopErr  error
	failed   chan error
	failOnce sync.Once
	isFailed chan struct{}  // closed on failure
	wg       sync.WaitGroup // our goroutines
	calls    callCount      // calls into Raft
	lifeMu   sync.Mutex     // guards closed against a late start
	closed   bool           // nothing more starts

	lead     leadership
	reads    readBatcher
	peers    peerTable
	news     bell // leader or configuration changed
	changes  subscribers
	handlers handlerTable
	promises promiseTable
	states   gossipStates

	memberMu  chan struct{} // held (by its one slot) over a membership change or a transfer
	joinErrMu sync.Mutex
	joinErr   error
}

// bell wakes everybody who waits for something to change.
type bell struct {
	mu sync.Mutex
	ch chan struct{}
}

// wait returns a channel that the next ring closes. Take it before looking.
func (b *bell) wait() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch == nil {
		b.ch = make(chan struct{})
	}
	return b.ch
}

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch != nil {
		close(b.ch)
		b.ch = nil
	}
}

// subscribers holds the channels of Changes.
type subscribers struct {
	mu  sync.Mutex
	chs []chan struct{}
}

func (s *subscribers) add() <-chan struct{} {
	ch := make(chan struct{}, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.chs = append(s.chs, ch)
	return ch
}

func (s *subscribers) tell() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ch := range s.chs {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

// New opens the data directory, which it locks, checks what is in there and
// listens on the cluster port. Nothing is sent to other nodes before Start. On
// error nothing is left open.
func New(cfg Config) (_ *Node, err error) {
	return newNode(cfg, nil)
}

func newNode(cfg Config, wrap func(boltStore) boltStore) (_ *Node, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	cfg.Join = slices.Clone(cfg.Join)
	if err := cfg.Meta.Validate(); err != nil {
		return nil, err
	}
	n := &Node{
		cfg: cfg, timing: cfg.Timing.withDefaults(), log: cfg.Logger,
		joined: make(chan struct{}), stopDone: make(chan struct{}), failed: make(chan error, 1), isFailed: make(chan struct{}),
		memberMu: make(chan struct{}, 1),
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.lead.init(n)
	n.states = gossipStates{meta: cfg.Meta, states: make(map[string]gossip.State), send: make(map[string]func([]byte))}
	n.states.meta.Voter = false // until it is known
	n.fsm = &fsm{FSM: cfg.FSM, onConf: n.onConfiguration}
	defer func() {
		if err != nil {
			n.cancel()
			n.closeStore()
			n.closeDir()
		}
	}()
	if n.dir, err = openDataDir(cfg.DataDir, cfg.NodeID); err != nil {
		return nil, err
	}
	n.cfg.NodeID = n.dir.get().NodeID
	if err := n.loadKeys(); err != nil {
		return nil, err
	}
	n.space = n.newSpace()
	n.store, err = openStore(storeConfig{dir: n.dir, stall: n.timing.StoreStall, onFail: n.fail, space: n.space, log: n.log, wrap: wrap})
	if err != nil {
		return nil, err
	}
	n.space.open()
	if n.book, err = openAddressBook(n.dir.file(peersFile), n.cfg.NodeID); err != nil {
		return nil, err
	}
	n.book.configured = n.configuredAddr
	now := uint64(max(time.Now().Unix(), 0))
	if err := n.dir.update(func(id *identity) { id.Epoch = max(id.Epoch+1, now) }); err != nil {
		return nil, err
	}
	if err := n.listen(); err != nil {
		return nil, err
	}
	n.handleRPC()
	n.book.announce(claim{Addr: n.mux.Advertise(), Epoch: n.dir.get().Epoch, Proto: n.cfg.Meta.Proto[1]})
	return n, nil
}

// listen binds the cluster port, TCP and UDP. The UDP side is bound for good
// only when gossip starts; trying it here makes a taken port an error now.
func (n *Node) listen() error {
	const tries = 20
	for i := 0; ; i++ {
		mux, err := transport.Listen(transport.Config{
			Addr: n.cfg.Addr, Advertise: n.cfg.Advertise, Keys: n.cfg.Keys, Dial: n.cfg.dial, Logger: n.log,
			Identity: func() transport.Identity {
				id := n.dir.get()
				return transport.Identity{NodeID: id.NodeID, ClusterID: id.ClusterID}
			},
			CallTimeout: n.timing.ApplyTimeout,
		})
		if err != nil {
			return err
		}
		udp, err := net.ListenPacket("udp", mux.Addr().String())
		if err == nil {
			_ = udp.Close()
			n.mux = mux
			return nil
		}
		_ = mux.Close()
		// With port 0 the system picks a free TCP port whose UDP twin may be taken.
		if _, port, _ := net.SplitHostPort(n.cfg.Addr); port != "0" || i == tries {
			return fmt.Errorf("cluster address %s: %w", n.cfg.Addr, err)
		}
	}
}

// Start begins to take part: it resumes with what the data directory holds, or
// bootstraps or joins by the configuration. It returns once that work is
// running; Joined tells when it is done. ctx bounds Start itself.
func (n *Node) Start(ctx context.Context) error {
	if n.stopping.Load() {
		return ErrStopped
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if !n.started.CompareAndSwap(false, true) {
		return errors.New("cluster node was started before")
	}
	id := n.dir.get()
	if id.Replaces != "" {
		n.spawn(n.replace)
	}
	switch {
	case id.Phase == phaseNew && id.Replaces != "" && len(n.cfg.Join) == 0:
		return fmt.Errorf("this node is to take the place of %q in a cluster: start it with --join and the cluster address of a member", id.Replaces)
	case id.Phase != phaseNew:
		n.log.Info("resuming membership", "node", id.NodeID, "cluster", id.ClusterID, "phase", string(id.Phase))
		if err := n.resume(id); err != nil {
			return err
		}
	case len(n.cfg.Join) == 0 && n.cfg.BootstrapExpect <= 1:
		if err := n.form([]server{{ID: id.NodeID, Addr: n.mux.Advertise()}}, newUUID()); err != nil {
			return err
		}
	default:
		n.spawn(n.enter)
	}
	return nil
}

// resume takes the place that the data directory says this node has.
func (n *Node) resume(id identity) error {
	if id.Phase == phaseForming {
		if err := n.bootstrap(id); err != nil {
			return err
		}
	}
	if err := n.run(); err != nil {
		return err
	}
	if id.Phase == phaseJoining {
		n.spawn(n.enter)
	}
	return nil
}

// fail reports the first fatal error and makes the node fall silent: its
// heartbeats would otherwise keep it leader for as long as the process lives.
func (n *Node) fail(err error) {
	n.failOnce.Do(func() {
		close(n.isFailed)
		n.failed <- err
		n.lead.lost()
		n.news.ring()
		if n.leaving.Load() {
			n.log.Info("membership has ended", "reason", err)
		} else {
			n.log.Error("cluster node failed, the process must exit", "error", err)
		}
		n.spawn(n.fence)
	})
}

// fence cuts the Raft connections.
func (n *Node) fence() {
	if l := n.layer.Load(); l != nil {
		l.fence()
	}
}

// Failed delivers the one error upon which the process has to exit: the disk
// failed or hung (ErrStoreFailed), Raft is stuck (ErrStuck), no cluster takes
// this node (ErrJoinRefused), or it was removed (ErrRemoved, an orderly end).
func (n *Node) Failed() <-chan error { return n.failed }

// spawn runs f on a goroutine that Stop waits for; after Stop it does not.
func (n *Node) spawn(f func()) bool {
	n.lifeMu.Lock()
	defer n.lifeMu.Unlock()
	if n.closed {
		return false
	}
	n.wg.Go(f)
	return true
}

// dead reports whether the node failed or is being stopped.
func (n *Node) dead() bool {
	select {
	case <-n.isFailed:
		return true
	case <-n.ctx.Done():
		return true
	default:
		return false
	}
}

// Joined is closed once this node has a cluster id and is in a configuration.
func (n *Node) Joined() <-chan struct{} { return n.joined }

// ID is this node's id, from the configuration or the data directory.
func (n *Node) ID() string { return n.cfg.NodeID }

// Addr is the bound cluster address, Advertise the one that others dial.
func (n *Node) Addr() net.Addr    { return n.mux.Addr() }
func (n *Node) Advertise() string { return n.mux.Advertise() }

// ClusterID is the cluster's UUID, "" before there is one.
func (n *Node) ClusterID() string { return n.dir.get().ClusterID }

// Changes returns a new subscription: it holds a value whenever members, their
// state, the leader or the cluster keys may have changed since it was last read.
func (n *Node) Changes() <-chan struct{} { return n.changes.add() }

// Handle serves method to the other members; Call calls it. A second Handle
// replaces the first. Names beginning with "cluster." are taken.
func (n *Node) Handle(method string, h func(ctx context.Context, p transport.Peer, req []byte) ([]byte, error)) {
	n.handlers.set(method, h)
	n.mux.Handle(method, h)
}

// Call calls a method of the member nodeID, or of this node itself. The errors
// are those of transport.Mux.Call, or ErrUnknownNode.
func (n *Node) Call(ctx context.Context, nodeID, method string, req []byte) ([]byte, error) {
	if nodeID == n.ID() {
		h, ok := n.handlers.get(method)
		if !ok {
			return nil, fmt.Errorf("call %s on this node: %w", method, transport.ErrNoMethod)
		}
		return h(ctx, transport.Peer{Identity: transport.Identity{NodeID: n.ID(), ClusterID: n.ClusterID()}, RemoteAddr: n.Advertise()}, req)
	}
	addr := n.book.lookup(nodeID)
	if addr == "" {
		return nil, fmt.Errorf("%w: %s", ErrUnknownNode, nodeID)
	}
	return n.mux.Call(ctx, addr, method, req)
}

type handler = func(ctx context.Context, p transport.Peer, req []byte) ([]byte, error)

// handlerTable holds what Handle registered, for calls to ourselves.
type handlerTable struct {
	mu sync.Mutex
	m  map[string]handler
}

func (t *handlerTable) set(method string, h handler) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.m == nil {
		t.m = make(map[string]handler)
	}
	t.m[method] = h
}

func (t *handlerTable) get(method string) (handler, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	h, ok := t.m[method]
	return h, ok
}
