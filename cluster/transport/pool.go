package transport

import (
	"context"
	"sync"
	"time"
)

// pool keeps idle rpc connections by address and bounds how many calls one
// address gets at a time.
type pool struct {
	limit int

	mu    sync.Mutex
	slots map[string]*slot
}

// slot is one address. It stays in the map while somebody uses it or it holds
// idle connections.
type slot struct {
	addr  string
	turns chan struct{} // one token per call under way
	users int           // callers that hold or wait for a token
	idle  []*clientConn // last used last
}

func (p *pool) init(limit int) {
	p.limit = limit
	p.slots = make(map[string]*slot)
}

// enter waits for a turn at addr. closing ends the wait with ErrClosed.
func (p *pool) enter(ctx, closing context.Context, addr string) (*slot, error) {
	p.mu.Lock()
	s := p.slots[addr]
	if s == nil {
		s = &slot{addr: addr, turns: make(chan struct{}, p.limit)}
		p.slots[addr] = s
	}
	s.users++
	p.mu.Unlock()
	var err error
	select {
	case s.turns <- struct{}{}:
		return s, nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-closing.Done():
		err = ErrClosed
	}
	p.drop(s)
	return nil, err
}

func (p *pool) leave(s *slot) {
	<-s.turns
	p.drop(s)
}

func (p *pool) drop(s *slot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.users--
	p.reap(s)
}

func (p *pool) reap(s *slot) {
	if s.users == 0 && len(s.idle) == 0 {
		delete(p.slots, s.addr)
	}
}

// take returns a living idle connection, or nil. Connections that introduced
// us with another cluster id than today's are not used any more, nor are those
// that rest on another key than the first one: its removal would cut off calls.
func (p *pool) take(s *slot, clusterID string, key Key) *clientConn {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(s.idle) > 0 {
		last := len(s.idle) - 1
		c := s.idle[last]
		s.idle[last] = nil
		s.idle = s.idle[:last]
		if c.alive() && c.nc.self.ClusterID == clusterID && c.nc.key == key {
			return c
		}
		c.abort()
	}
	return nil
}

func (p *pool) put(s *slot, c *clientConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c.idle = time.Now()
	s.idle = append(s.idle, c)
}

// expire removes and returns the connections that are idle since before then,
// and those that died.
func (p *pool) expire(then time.Time) []*clientConn {
	p.mu.Lock()
	defer p.mu.Unlock()
	var gone []*clientConn
	for _, s := range p.slots {
		keep := s.idle[:0]
		for _, c := range s.idle {
			if c.alive() && c.idle.After(then) {
				keep = append(keep, c)
			} else {
				gone = append(gone, c)
			}
		}
		clear(s.idle[len(keep):])
		s.idle = keep
		p.reap(s)
	}
	return gone
}
