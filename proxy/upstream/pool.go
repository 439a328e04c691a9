package upstream

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/lbnode/lbnode/state"
)

// Pool is the runtime of one pool on this node: its queue, its retry budget and how many of its backends are
// ejected. It belongs to a pool's id, not to a configuration.
type Pool struct {
	id   string
	set  *Set
	conf atomic.Pointer[state.PoolSpec] // never nil

	size    atomic.Int32 // backends in the view
	ejected atomic.Int32
	budget  budget

	counts  queueCounts
	waiting atomic.Int32
	mu      sync.Mutex // guards the queue. Nothing is called under it but begin
	first   *Ticket
	last    *Ticket

	named bool // by the view, not only by its backends or a route; guarded by Set.mu
}

// Ticket is a request in a pool's queue.
type Ticket struct {
	// Only is the backend that the request must go to; nil = any that In has and Tried has not.
	Only  *Upstream
	In    interface{ Has(u *Upstream) bool }
	Tried Tried
	Mode  Mode
	// Ready is called once with an attempt that has begun, by whoever ended the request that made room: on any
	// goroutine, and it must not block. It is not called after a Leave that returned true.
	Ready func(t *Ticket, a Attempt)

	prev, next *Ticket
	queued     bool
}

// queueCounts is what became of requests that found every backend full.
type queueCounts struct{ queued, refused, timedOut atomic.Uint64 }

func (t *Ticket) wants(u *Upstream) bool {
	if t.Only != nil {
		return t.Only == u
	}
	return !t.Tried.Has(u) && t.In.Has(u)
}

// Wait puts a request into the queue; false: it is full, or there is none. Who waits must look once more for a
// backend that has room, because the last one may have become free just before.
func (p *Pool) Wait(t *Ticket) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if int(p.waiting.Load()) >= p.conf.Load().Queue.Size {
		p.counts.refused.Add(1)
		return false
	}
	p.counts.queued.Add(1)
	p.waiting.Add(1)
	t.queued, t.prev, t.next = true, p.last, nil
	if p.last == nil {
		p.first = t
	} else {
		p.last.next = t
	}
	p.last = t
	return true
}

// Leave takes a request out of the queue; false: it has been given an attempt, which Ready is or will be called
// with.
func (p *Pool) Leave(t *Ticket) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.remove(t)
}

func (p *Pool) remove(t *Ticket) bool {
	if !t.queued {
		return false
	}
	if t.prev == nil {
		p.first = t.next
	} else {
		t.prev.next = t.next
	}
	if t.next == nil {
		p.last = t.prev
	} else {
		t.next.prev = t.prev
	}
	t.queued, t.prev, t.next = false, nil, nil
	p.waiting.Add(-1)
	return true
}

// hand gives the room on a backend to those that have waited longest.
func (p *Pool) hand(u *Upstream) {
	for p.waiting.Load() > 0 {
		t, a := p.next(u)
		if t == nil {
			return
		}
		t.Ready(t, a)
	}
}

// pass gives the place of a request that has ended to the one that has waited longest for it; false: nobody does. The
// place is never free in between, or a request that comes at that instant would overtake those that wait.
func (p *Pool) pass(u *Upstream) bool {
	if p.waiting.Load() == 0 {
		return false
	}
	t, a := p.successor(u)
	if t == nil {
		return false
	}
	t.Ready(t, a)
	return true
}

func (p *Pool) successor(u *Upstream) (*Ticket, Attempt) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if u.inflight.Load() > int64(u.flags.Load()>>limitShift) {
		return nil, Attempt{} // the bound was lowered meanwhile
	}
	for t := p.first; t != nil; t = t.next {
		if !t.wants(u) {
			continue
		}
		if a, ok := u.start(t.Mode); ok {
			p.remove(t)
			return t, a
		}
	}
	return nil, Attempt{}
}

func (p *Pool) next(u *Upstream) (*Ticket, Attempt) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for t := p.first; t != nil && !u.Full(); t = t.next {
		if !t.wants(u) {
			continue
		}
		a, ok, counted := u.begin(t.Mode)
		switch {
		case ok:
			p.remove(t)
			return t, a
		case counted:
			u.inflight.Add(-1)
		}
	}
	return nil, Attempt{}
}

// QueueWait is how long a request waits in the queue; 0 = there is none.
func (p *Pool) QueueWait() time.Duration {
	q := p.conf.Load().Queue
	if q.Size == 0 {
		return 0
	}
	return time.Duration(q.Wait())
}

// TimedOut counts a request that has waited too long.
func (p *Pool) TimedOut() { p.counts.timedOut.Add(1) }

// PoolRuntime is what metrics show of a pool on this node.
type PoolRuntime struct {
	ID      string
	Waiting int // requests in its queue
	Ejected int // backends
	// Queued, Refused and TimedOut count requests that found every backend full: they had to wait, found the queue
	// full too, or waited too long.
	Queued, Refused, TimedOut uint64
}

// Pools returns the runtime of the pools that the last view has.
func (s *Set) Pools() []PoolRuntime {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]PoolRuntime, 0, len(s.pools))
	for id, p := range s.pools {
		out = append(out, PoolRuntime{
			ID: id, Waiting: int(p.waiting.Load()), Ejected: int(p.ejected.Load()),
			Queued: p.counts.queued.Load(), Refused: p.counts.refused.Load(), TimedOut: p.counts.timedOut.Load(),
		})
	}
	return out
}

// Pool returns the runtime of a pool, which is made if no view has named it. It never returns nil.
func (s *Set) Pool(id string) *Pool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pool(id)
}

func (s *Set) pool(id string) *Pool {
	p := s.pools[id]
	if p == nil {
		p = &Pool{id: id, set: s}
		p.conf.Store(&state.PoolSpec{ID: id})
		s.pools[id] = p
	}
	return p
}
