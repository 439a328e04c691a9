package upstream

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"
)

// noLease stands for the absence of a bound.
const noLease = math.MaxInt64

// SetLease bounds until when requests may begin, on any backend and in any mode; the zero time takes the bound
// away. It is looked at by Begin itself, so that no request begins later, whatever held this process up.
func (s *Set) SetLease(until time.Time) {
	if until.IsZero() {
		s.lease.Store(noLease)
		return
	}
	s.lease.Store(int64(until.Sub(s.start)))
}

// Fenced says that the lease has run out: no request may begin.
func (s *Set) Fenced() bool {
	return s.lease.Load() != noLease && s.lapsed(s.clock()) // the clock is not read for each request
}

func (s *Set) lapsed(now time.Duration) bool {
	return int64(now) >= s.lease.Load()
}

// ErrDrained is the cause with which CutOff cancels requests.
var ErrDrained = errors.New("the drain of the backend has reached its deadline")

// Running is a request that CutOff reaches. It belongs to one attempt; the zero value is none.
type Running struct {
	prev, next *Running
	cancel     context.CancelCauseFunc
}

// running is the attempts on a backend that can be cut off: a ring around its head.
type running struct {
	mu   sync.Mutex
	head Running
}

// Track lets CutOff cancel a request until Untrack.
func (u *Upstream) Track(r *Running, cancel context.CancelCauseFunc) {
	u.running.mu.Lock()
	defer u.running.mu.Unlock()
	h := &u.running.head
	if h.next == nil {
		h.prev, h.next = h, h
	}
	r.cancel, r.prev, r.next = cancel, h.prev, h
	h.prev.next, h.prev = r, r
}

// Untrack ends Track.
func (u *Upstream) Untrack(r *Running) {
	u.running.mu.Lock()
	defer u.running.mu.Unlock()
	r.prev.next, r.next.prev = r.next, r.prev
	*r = Running{}
}

// CutOff cancels the tracked requests on a backend with the cause ErrDrained.
func (s *Set) CutOff(id string) {
	u := s.Get(id)
	if u == nil {
		return
	}
	var all []context.CancelCauseFunc
	u.running.mu.Lock()
	for r := u.running.head.next; r != nil && r != &u.running.head; r = r.next {
		all = append(all, r.cancel)
	}
	u.running.mu.Unlock()
	for _, cancel := range all {
		cancel(ErrDrained)
	}
}

// Expire takes a backend whose drain has reached its deadline from sticky sessions too, until the view says
// something else of it.
func (s *Set) Expire(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.byID[id]
	if u == nil || u.backend == nil || !u.backend.AdminState.OutOfUse() {
		return
	}
	u.configure(0)
	u.expired = true
}
