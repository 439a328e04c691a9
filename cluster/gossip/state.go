package gossip

import (
	"fmt"
	"net"
	"sync"

	"github.com/hashicorp/memberlist"
)

// State is one piece of gossiped, mergeable data. Messages get lost, repeated
// and reordered, so Merge must be commutative, associative and idempotent, and
// deltas and full states must have one encoding.
type State interface {
	// MarshalBinary encodes the full state. It may be called concurrently with
	// everything else and must not wait for the network.
	MarshalBinary() ([]byte, error)
	// Merge takes in a delta or a full state. It is called by one goroutine at a
	// time per State and must not keep the slice. Bytes that make no sense are
	// an error, never a panic. It may broadcast what was news.
	Merge([]byte) error
}

const (
	// maxDatagram is the largest message that goes by packet, header included:
	// label, sealing and memberlist's own news must fit in beside it.
	maxDatagram = 1000
	// maxFull is kept below the 20 MiB at which memberlist refuses an exchange.
	maxFull = 16 << 20
	// maxInboundBytes and maxLargeQueued bound what waits, in bytes and messages.
	maxInboundBytes = 64 << 20
	maxLargeQueued  = 64
	// fanOut is how many streams one node's large messages use at a time.
	fanOut = 4
)

type registered struct {
	State
	mu sync.Mutex // one Merge at a time
}

// AddState registers s under key (1 to 255 bytes, the same on all nodes; a
// second AddState replaces the first) and returns the function that spreads a
// delta. broadcast never blocks, copies its argument and may be called from
// Merge; what does not fit into a packet goes to every member by stream. Both
// ways may lose it, and the next full exchange makes that good.
func (g *Gossip) AddState(key string, s State) (broadcast func([]byte)) {
	k := stateKey{kindState, key}
	g.addState(k, s)
	return func(b []byte) { g.spread(encodeMessage(k, b)) }
}

func (g *Gossip) addState(k stateKey, s State) {
	g.statesMu.Lock()
	defer g.statesMu.Unlock()
	if g.states[k] == nil {
		g.order = append(g.order, k)
	}
	g.states[k] = &registered{State: s}
}

func (g *Gossip) state(k stateKey) *registered {
	g.statesMu.RLock()
	defer g.statesMu.RUnlock()
	return g.states[k]
}

// spread takes ownership of msg.
func (g *Gossip) spread(msg []byte) {
	if g.ctx.Err() != nil {
		return
	}
	if len(msg) > maxDatagram {
		g.large.push(msg)
		return
	}
	g.packets.QueueBroadcast(packet(msg))
	if over := g.packets.NumQueued() - g.cfg.MaxQueued; over > 0 {
		g.packets.Prune(g.cfg.MaxQueued) // most often sent first
		g.counts.packetsDropped.Add(uint64(over))
	}
}

// mergeLoop works off what arrived by message.
func (g *Gossip) mergeLoop() {
	for {
		select {
		case <-g.inbound.ready:
		case <-g.ctx.Done():
			return
		}
		for g.ctx.Err() == nil {
			b, ok := g.inbound.pop()
			if !ok {
				break
			}
			if s, err := decodeMessage(b); err != nil {
				g.counts.malformed.Add(1)
			} else {
				g.merge(s)
			}
		}
	}
}

func (g *Gossip) merge(s section) {
	r := g.state(s.key)
	if r == nil {
		g.counts.unknownState.Add(1) // a newer node's, or not registered yet
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.Merge(s.payload); err != nil {
		g.counts.malformed.Add(1)
		g.log.Debug("gossip state not merged", "state", s.key.name, "error", err)
	}
}

func (g *Gossip) localState() []byte {
	g.statesMu.RLock()
	order := g.order
	g.statesMu.RUnlock()
	var out []byte
	for _, k := range order {
		b, err := g.state(k).MarshalBinary()
		if err == nil && len(out)+len(b) > maxFull {
			err = fmt.Errorf("%d bytes are too many for a full exchange", len(b))
		}
		if err != nil {
			g.log.Error("gossip state left out of a full exchange", "state", k.name, "error", err)
			continue
		}
		out = appendSection(out, section{k, b})
	}
	return out
}

func (g *Gossip) mergeAll(b []byte) {
	for len(b) > 0 {
		s, rest, err := cutSection(b)
		if err != nil {
			g.counts.malformed.Add(1)
			return
		}
		g.merge(s)
		b = rest
	}
}

// largeLoop sends big messages by stream, to all members, a few at a time.
func (g *Gossip) largeLoop() {
	for {
		select {
		case <-g.large.ready:
		case <-g.ctx.Done():
			return
		}
		for g.ctx.Err() == nil {
			msg, ok := g.large.pop()
			if !ok {
				break
			}
			g.sendAll(msg)
		}
	}
}

// sendAll delivers msg to every reachable member and waits for it.
func (g *Gossip) sendAll(msg []byte) {
	var wg sync.WaitGroup
	turns := make(chan struct{}, fanOut)
	for _, m := range g.table.reachable(g.cfg.NodeID) {
		turns <- struct{}{}
		wg.Go(func() {
			defer func() { <-turns }()
			if err := g.sendTo(m, msg); err != nil {
				g.counts.sendFailed.Add(1)
				g.log.Debug("gossip message not delivered", "node", m.ID, "addr", m.Addr, "error", err)
			}
		})
	}
	wg.Wait()
}

func (g *Gossip) sendTo(m Member, msg []byte) error {
	a, err := net.ResolveUDPAddr("udp", m.Addr) // ip:port, nothing is looked up
	if err != nil {
		return err
	}
	return g.list.SendReliable(&memberlist.Node{Name: m.ID, Addr: a.IP, Port: uint16(a.Port)}, msg)
}
