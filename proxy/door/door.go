// Package door counts the client connections of a node, and says which are too many: of all together, and of one
// client. A [Door] is shared by all listeners of a node, whichever engine serves them, so that a connection that goes
// from one engine to another keeps its place. The engines call it; it closes nothing and knows no sockets.
package door

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"sync/atomic"
)

// Verdict is what a Door says about a connection.
type Verdict uint8

// The verdicts.
const (
	Open       Verdict = iota // it has its place
	Full                      // there are too many connections
	ClientFull                // there are too many of this client
)

// shards keep apart what goes on at the same time.
const shards = 64

// Door counts connections. All methods may be called by any number of goroutines.
type Door struct {
	total   int64
	each    int // of one client; 0 = without bound, and nothing is kept of clients
	open    atomic.Int64
	seed    maphash.Seed
	clients [shards]clients
}

type clients struct {
	mu sync.Mutex // guards n. Held for one look at a map, so that event loops may take it
	n  map[netip.Addr]int
	_  [64]byte
}

// New makes a door for total connections, at least 1, of which one client may have each; 0 = all.
func New(total, each int) *Door {
	d := &Door{total: int64(total), each: each, seed: maphash.MakeSeed()}
	if each > 0 {
		for i := range d.clients {
			d.clients[i].n = map[netip.Addr]int{}
		}
	}
	return d
}

// Conns is the number of connections that have a place.
func (d *Door) Conns() int { return int(d.open.Load()) }

// Enter gives a new connection a place. A peer that is not valid is a connection whose client is not known yet, such
// as that of a load balancer that is going to name it; see Name. One Leave must follow Open, and nothing else.
func (d *Door) Enter(client netip.Addr) Verdict {
	if d.open.Add(1) > d.total {
		d.open.Add(-1)
		return Full
	}
	if !d.count(client) {
		d.open.Add(-1)
		return ClientFull
	}
	return Open
}

// Name counts a connection that entered without a client as one of client's; false: there are too many of them, and
// the connection still has none.
func (d *Door) Name(client netip.Addr) bool { return d.count(client) }

// Leave takes the place of a connection back. client is the one under which it is counted.
func (d *Door) Leave(client netip.Addr) {
	d.open.Add(-1)
	if d.each == 0 || !client.IsValid() {
		return
	}
	key := clientOf(client)
	s := d.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.n[key]; n > 1 {
		s.n[key] = n - 1
	} else {
		delete(s.n, key) // or the map would remember everybody
	}
}

func (d *Door) count(client netip.Addr) bool {
	if d.each == 0 || !client.IsValid() {
		return true
	}
	key := clientOf(client)
	s := d.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.n[key] >= d.each {
		return false
	}
	s.n[key]++
	return true
}

func (d *Door) shard(key netip.Addr) *clients {
	return &d.clients[maphash.Comparable(d.seed, key)%shards]
}

// clientOf is what tells one client from another: its address, or for IPv6 its /64, which is what one subscriber
// has (RFC 6177).
func clientOf(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		p, _ := a.Prefix(64) // cannot fail: 64 bits are there
		return p.Addr()
	}
	return a
}
