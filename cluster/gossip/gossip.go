package gossip

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
)

var (
	// ErrClosed says that the Gossip was closed. It matches net.ErrClosed.
	ErrClosed = fmt.Errorf("gossip: %w", net.ErrClosed)
	// ErrLeft says that this node has left and must be made anew to come back.
	ErrLeft = errors.New("gossip: this node has left")
	// ErrPlainText refuses to take the last key away from a running node.
	ErrPlainText = errors.New("gossip: at least one key must stay")
)

// leaveTimeout bounds a Leave whose context has no deadline.
const leaveTimeout = 5 * time.Second

// Gossip is one node's part in the gossip of its cluster. Its methods may be
// called concurrently.
type Gossip struct {
	cfg      Config
	log      *slog.Logger
	logs     *logWriter
	instance uint64 // of this process, random
	list     *memberlist.Memberlist
	keyring  *memberlist.Keyring
	table    *table

	packets memberlist.TransmitLimitedQueue // small messages, to be sent
	large   *queue                          // big messages, to be sent
	inbound *queue                          // messages that came
	counts  counts

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup // our loops

	statesMu sync.RWMutex
	states   map[stateKey]*registered
	order    []stateKey // append only, so that a reader may keep a prefix

	metaMu  sync.Mutex // held over SetMeta
	current atomic.Pointer[Meta]
	keysMu  sync.Mutex // held over SetKeys

	// lifeMu is held over Leave and Close: memberlist panics on a Leave after
	// its Shutdown.
	lifeMu sync.Mutex
	closed bool
	left   atomic.Bool
}

// Stats counts what was lost, since New.
type Stats struct {
	InboundDropped uint64 // received messages dropped from a full queue
	PacketsDropped uint64 // small messages dropped unsent, or not sent often enough
	LargeDropped   uint64 // big messages dropped unsent
	SendFailed     uint64 // big messages not delivered to one member
	Malformed      uint64 // messages or states that could not be merged
	UnknownState   uint64 // messages for a state that is not registered here
}

type counts struct {
	packetsDropped, sendFailed, malformed, unknownState atomic.Uint64
}

// New binds UDP and starts to gossip, alone until somebody joins. The error
// matches syscall.EADDRINUSE if the UDP port is taken: callers that let the
// system choose the TCP port try again with another. On error nothing is left
// behind, but Streams' listener may have been closed.
func New(cfg Config) (*Gossip, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	mc, err := cfg.memberlistConfig()
	if err != nil {
		return nil, err
	}
	var instance [8]byte
	_, _ = rand.Read(instance[:])
	g := &Gossip{
		cfg:      cfg,
		log:      cfg.Logger,
		instance: binary.BigEndian.Uint64(instance[:]),
		keyring:  mc.Keyring,
		table:    newTable(cfg.Logger, cfg.DeadRetention, cfg.suspicion),
		large:    newQueue(maxLargeQueued, maxInboundBytes),
		inbound:  newQueue(cfg.MaxQueued, maxInboundBytes),
		states:   make(map[stateKey]*registered),
	}
	g.current.Store(&cfg.Meta)
	g.logs = newLogWriter(cfg.Logger, func(id string) { g.table.suspected(id, time.Now()) })
	g.addState(stateKey{kind: kindLeave}, departures{g.table})
	g.packets.RetransmitMult = mc.RetransmitMult
	g.packets.NumNodes = g.table.count
	g.ctx, g.cancel = context.WithCancel(context.Background())

	ctx, cancel := context.WithTimeout(g.ctx, cfg.StreamTimeout)
	defer cancel()
	nw, err := newNetwork(ctx, cfg)
	if err != nil {
		g.cancel()
		return nil, err
	}
	mc.Transport = nw
	mc.BindPort = int(nw.advertise.Port())
	mc.Logger = log.New(g.logs, "", 0)
	d := delegate{g}
	mc.Delegate, mc.Events, mc.Alive, mc.Conflict, mc.Ping = d, d, d, d, d
	if g.list, err = memberlist.Create(mc); err != nil {
		g.cancel()
		_ = nw.Shutdown()
		return nil, fmt.Errorf("gossip: %w", err)
	}
	g.wg.Go(g.mergeLoop)
	g.wg.Go(g.largeLoop)
	g.wg.Go(g.sweepLoop)
	return g, nil
}

func (g *Gossip) sweepLoop() {
	t := time.NewTicker(max(min(g.cfg.DeadRetention/4, g.cfg.ProbeInterval), 10*time.Millisecond))
	defer t.Stop()
	for {
		select {
		case now := <-t.C:
			g.table.sweep(now)
		case <-g.ctx.Done():
			return
		}
	}
}

// Join exchanges full states with the given members, host:port each, names
// allowed, and returns how many answered. It is an error if none did. One
// answer suffices: the others become known through it. States have been merged
// when it returns.
func (g *Gossip) Join(ctx context.Context, addrs []string) (int, error) {
	n := 0
	var errs []error
	for _, addr := range addrs {
		if err := g.joinOne(ctx, addr); err != nil {
			errs = append(errs, fmt.Errorf("join %s: %w", addr, err))
			if ctx.Err() != nil || errors.Is(err, ErrClosed) {
				break
			}
			continue
		}
		n++
	}
	if n > 0 {
		return n, nil
	}
	if len(errs) == 0 {
		return 0, errors.New("gossip: no address to join")
	}
	return 0, fmt.Errorf("gossip: %w", errors.Join(errs...))
}

func (g *Gossip) joinOne(ctx context.Context, addr string) error {
	switch {
	case g.ctx.Err() != nil:
		return ErrClosed
	case g.left.Load():
		return ErrLeft
	}
	ap, err := resolve(ctx, addr)
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	if !g.start(func() {
		_, err := g.list.Join([]string{ap.String()})
		done <- err
	}) {
		return ErrClosed
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err() // memberlist goes on for StreamTimeout at most
	}
}

// start runs f on a goroutine that Close waits for.
func (g *Gossip) start(f func()) bool {
	g.lifeMu.Lock()
	defer g.lifeMu.Unlock()
	if g.closed {
		return false
	}
	g.wg.Go(f)
	return true
}

// Members lists all members known, this one included, sorted by id. Those that
// died or left stay for Config.DeadRetention.
func (g *Gossip) Members() []Member { return g.table.list() }

// Changes gets a value after Members changed. It is one channel for all calls,
// coalescing, never closed: for one reader.
func (g *Gossip) Changes() <-chan struct{} { return g.table.changed }

// HealthScore is memberlist's view of this node's own timeliness: 0 is well,
// above it this node's probes were answered late or not at all, and what it
// says about others should count less.
func (g *Gossip) HealthScore() int { return g.list.GetHealthScore() }

// Stats returns the counters of what was lost.
func (g *Gossip) Stats() Stats {
	return Stats{
		InboundDropped: g.inbound.drops(),
		PacketsDropped: g.counts.packetsDropped.Load(),
		LargeDropped:   g.large.drops(),
		SendFailed:     g.counts.sendFailed.Load(),
		Malformed:      g.counts.malformed.Load(),
		UnknownState:   g.counts.unknownState.Load(),
	}
}

func (g *Gossip) meta() Meta { return *g.current.Load() }

// SetMeta changes what others know about this node. It does not wait until they
// know.
func (g *Gossip) SetMeta(m Meta) error {
	if err := m.Validate(); err != nil {
		return err
	}
	g.metaMu.Lock()
	defer g.metaMu.Unlock()
	switch {
	case g.ctx.Err() != nil:
		return ErrClosed
	case g.left.Load():
		return ErrLeft
	case m == g.meta():
		return nil
	}
	g.current.Store(&m)
	// The message is queued when the wait for its delivery begins, so that the
	// shortest wait is enough and its timeout no error.
	_ = g.list.UpdateNode(1)
	return nil
}

// SetKeys replaces the keys; the first one seals from now on. To rotate without
// a gap: [old new] on every node, then [new old] on every node, then [new].
func (g *Gossip) SetKeys(keys [][]byte) error {
	g.keysMu.Lock()
	defer g.keysMu.Unlock()
	if len(keys) == 0 {
		if len(g.keyring.GetKeys()) == 0 {
			return nil
		}
		return ErrPlainText
	}
	wanted := make(map[string]bool, len(keys))
	for i, k := range keys {
		if err := memberlist.ValidateKey(k); err != nil {
			return fmt.Errorf("gossip: key %d: %w", i+1, err)
		}
		wanted[string(k)] = true
	}
	for _, k := range keys {
		if err := g.keyring.AddKey(append([]byte(nil), k...)); err != nil {
			return fmt.Errorf("gossip: install key: %w", err)
		}
	}
	// Using them in reverse leaves the wanted keys in front, in order, and the
	// others at the end. That matters: RemoveKey shifts the tail of a slice that
	// memberlist's readers hold, and at the end there is no tail.
	for i := len(keys) - 1; i >= 0; i-- {
		if err := g.keyring.UseKey(keys[i]); err != nil {
			return fmt.Errorf("gossip: use key: %w", err)
		}
	}
	have := g.keyring.GetKeys()
	for i := len(have) - 1; i >= 0 && !wanted[string(have[i])]; i-- {
		if err := g.keyring.RemoveKey(have[i]); err != nil {
			return fmt.Errorf("gossip: remove key: %w", err)
		}
	}
	return nil
}

// Leave tells the others that this node goes on purpose, and waits until the
// word is out (5 s at most if ctx has no deadline). After it only Close makes
// sense.
func (g *Gossip) Leave(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	g.lifeMu.Lock()
	defer g.lifeMu.Unlock()
	if g.closed {
		return ErrClosed
	}
	if g.left.Swap(true) {
		return nil
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(leaveTimeout)
	}
	// The reason first, on both ways, then the fact.
	bye := departure{g.cfg.NodeID, g.instance}
	g.table.leaving(bye, time.Now())
	msg := encodeMessage(stateKey{kind: kindLeave}, appendDeparture(nil, bye))
	g.spread(msg)
	told := make(chan struct{})
	g.wg.Go(func() { defer close(told); g.sendAll(msg) })
	if err := g.list.Leave(max(time.Until(deadline), 1)); err != nil {
		return fmt.Errorf("gossip: %w", err)
	}
	select {
	case <-told:
		return nil
	case <-time.After(time.Until(deadline)):
		return fmt.Errorf("gossip: leave: %w", context.DeadlineExceeded)
	case <-ctx.Done():
		return fmt.Errorf("gossip: leave: %w", ctx.Err())
	}
}

// Close stops gossiping without a word; the others will notice. It waits for
// this package's goroutines; memberlist's own end by themselves within a
// ProbeInterval.
func (g *Gossip) Close() error {
	g.lifeMu.Lock()
	if g.closed {
		g.lifeMu.Unlock()
		return nil
	}
	g.closed = true
	g.cancel()
	err := g.list.Shutdown()
	g.lifeMu.Unlock()
	g.wg.Wait()
	return err
}
