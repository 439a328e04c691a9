package stats

import (
	"sync/atomic"
	"time"
	"unsafe"
)

const (
	// rateWindow is how many whole seconds a rate looks back.
	rateWindow = 10
	// ringSlots is the number of per-second slots: the window, the running second, and room for a writer
	// that is late by some seconds. A power of two.
	ringSlots = 16
	classes   = 6
)

// Outcome is how one request, or one attempt on a backend, ended.
type Outcome struct {
	Status   int           // status sent on; 0 or anything outside 100..599 = none
	Kind     Kind          // OK, or what went wrong
	Duration time.Duration // from the complete head to the last byte; negative = keep out of the histogram (tunnels)
	BytesIn  uint64        // received from the client, head included
	BytesOut uint64        // sent to the client, head included
	End      time.Time     // when it ended, by the registry's clock; zero = ask that clock
	Shard    int           // 1 + index of the event loop that calls; 0 = choose one by the goroutine
}

// shard is one copy of the counters that every request writes. Each copy has cache lines of its own.
type shard struct {
	classes  [classes]atomic.Uint64 // by status/100; 0 = no status
	bytesIn  atomic.Uint64
	bytesOut atomic.Uint64
	active   atomic.Int64 // may be below 0 in one copy: begin and end need not meet in the same one
	_        [cacheLine - (classes+3)*8]byte
	ring     [ringSlots]atomic.Uint64 // second + 1 in the upper 32 bits, requests in the lower
}

// Handle is the set of counters of one route, of one backend or of the node. Every method may be called
// concurrently, blocks on nothing and allocates nothing (but for what Hist.Record says).
type Handle struct {
	now    func() time.Time
	start  time.Time
	shards []shard // length is a power of two
	hists  []Hist  // one, or as many as shards
	errs   [kindCount]atomic.Uint64
	_      [cacheLine]byte
	conns  atomic.Int64
	opened atomic.Uint64
}

func newHandle(r *Registry, hists int) *Handle {
	return &Handle{now: r.now, start: r.start, shards: make([]shard, r.shards), hists: make([]Hist, hists)}
}

// pick chooses a copy of the counters. Goroutines that run at the same time have different stacks, so the
// address of a variable on the stack spreads them without asking the scheduler.
func (h *Handle) pick(n int) int {
	if n == 0 {
		var x byte
		p := uint64(uintptr(unsafe.Pointer(&x))) >> 11 // the smallest stacks are 2 KiB apart
		n = int(p * 0x9E3779B97F4A7C15 >> 32)
	} else {
		n--
	}
	return n & (len(h.shards) - 1)
}

// Begin says that a request is in flight now. Exactly one Record or Abandon must follow.
func (h *Handle) Begin() { h.shards[h.pick(0)].active.Add(1) }

// Abandon takes back a Begin without counting a request.
func (h *Handle) Abandon() { h.shards[h.pick(0)].active.Add(-1) }

// Record counts a request that Begin announced, and takes it out of flight.
func (h *Handle) Record(o Outcome) {
	i := h.pick(o.Shard)
	s := &h.shards[i]
	s.active.Add(-1)
	class := uint(o.Status) / 100
	if class >= classes {
		class = 0
	}
	s.classes[class].Add(1)
	if o.BytesIn > 0 {
		s.bytesIn.Add(o.BytesIn)
	}
	if o.BytesOut > 0 {
		s.bytesOut.Add(o.BytesOut)
	}
	if o.Kind != OK {
		h.Count(o.Kind)
	}
	if o.Duration >= 0 {
		h.hists[i&(len(h.hists)-1)].Record(o.Duration)
	}
	if o.End.IsZero() {
		o.End = h.now()
	}
	s.tick(second(h.start, o.End))
}

// Count counts an event of kind k that is no end of a request, such as a retry.
func (h *Handle) Count(k Kind) {
	if k < kindCount {
		h.errs[k].Add(1)
	}
}

// ConnOpened counts a connection that was accepted (or, on a backend's handle, made).
func (h *Handle) ConnOpened() {
	h.conns.Add(1)
	h.opened.Add(1)
}

// ConnClosed ends what ConnOpened began.
func (h *Handle) ConnClosed() { h.conns.Add(-1) }

// Active is the number of requests in flight now.
func (h *Handle) Active() int64 {
	var n int64
	for i := range h.shards {
		n += h.shards[i].active.Load()
	}
	return max(n, 0)
}

// Conns is the number of connections open now.
func (h *Handle) Conns() int64 { return max(h.conns.Load(), 0) }

// Snapshot copies the counters. The rate is that of the last 10 seconds, the running one included.
func (h *Handle) Snapshot() Series { return h.snapshotAt(h.now()) }

func (h *Handle) snapshotAt(now time.Time) Series {
	s := Series{Active: h.Active(), Conns: h.Conns(), ConnsOpened: h.opened.Load(), Errors: map[string]uint64{}}
	sec := second(h.start, now)
	var recent uint64
	for i := range h.shards {
		sh := &h.shards[i]
		for c := range sh.classes {
			s.Classes[c] += sh.classes[c].Load()
		}
		s.BytesIn += sh.bytesIn.Load()
		s.BytesOut += sh.bytesOut.Load()
		recent += sh.recent(sec)
	}
	for k := OK + 1; k < kindCount; k++ {
		if n := h.errs[k].Load(); n > 0 {
			s.Errors[k.String()] = n
		}
	}
	for i := range h.hists {
		h.hists[i].addTo(&s.Latency)
	}
	s.RateMilli = rateMilli(recent, now.Sub(h.start))
	return s
}

// tick counts one request in the ring. A slot holds its second beside its count, so that one atomic add
// does for all but the first writer of a second, and nobody has to clear old slots.
func (s *shard) tick(sec uint64) {
	slot := &s.ring[sec&(ringSlots-1)]
	for {
		v := slot.Load()
		switch {
		case v>>32 == sec+1:
			// The slot can only be taken over 16 seconds from now; a count that then lands in the wrong
			// second is not worth a compare-and-swap for every request.
			slot.Add(1)
			return
		case v>>32 > sec+1:
			return // a writer that was 16 seconds late
		case slot.CompareAndSwap(v, (sec+1)<<32|1):
			return
		}
	}
}

// recent sums the running second and the rateWindow seconds before it.
func (s *shard) recent(sec uint64) uint64 {
	var n uint64
	for i := range s.ring {
		v := s.ring[i].Load()
		if at := v >> 32; at > 0 && at <= sec+1 && at+rateWindow >= sec+1 {
			n += v & (1<<32 - 1)
		}
	}
	return n
}

// second numbers the seconds since the registry began. Both times carry a monotonic reading, so a step
// of the wall clock moves nothing.
func second(start, t time.Time) uint64 {
	return uint64(max(t.Sub(start), 0) / time.Second)
}

// rateMilli divides a count by the time it covers: the whole seconds of the window and the part of the
// running one, less for a process that is younger. The first second counts as whole, else a single
// request right after the start would look like a thousand a second.
func rateMilli(n uint64, up time.Duration) uint64 {
	covered := up
	if up >= rateWindow*time.Second {
		covered = rateWindow*time.Second + up%time.Second
	}
	covered = max(covered, time.Second)
	return uint64(float64(n) * 1000 / covered.Seconds())
}
