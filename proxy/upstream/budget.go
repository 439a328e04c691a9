package upstream

import (
	"sync/atomic"
	"time"

	"github.com/lbnode/lbnode/state"
)

// budgetWindow is how many whole seconds a retry budget looks back.
const budgetWindow = 10

// ring counts events by second: a slot holds its second + 1 in the upper 32 bits and the count in the lower.
type ring [16]atomic.Uint64

func (r *ring) add(sec uint64) {
	slot := &r[sec%uint64(len(r))]
	for {
		v := slot.Load()
		switch {
		case v>>32 == sec+1:
			slot.Add(1)
			return
		case v>>32 > sec+1 || slot.CompareAndSwap(v, (sec+1)<<32|1):
			return
		}
	}
}

// recent sums the running second and those of the window before it.
func (r *ring) recent(sec uint64) (n uint64) {
	for i := range r {
		v := r[i].Load()
		if at := v >> 32; at > 0 && at <= sec+1 && at+budgetWindow > sec+1 {
			n += v & (1<<32 - 1)
		}
	}
	return n
}

// budget bounds the retries of a pool on this node, so that a pool that fails is not asked twice as much.
type budget struct{ requests, retries ring }

func second(now time.Duration) uint64 { return uint64(max(now, 0) / time.Second) }

// allows says whether one more retry fits among so many requests and retries of the last [budgetWindow] seconds.
func allows(r state.Retry, requests, retries uint64) bool {
	return retries < max(requests*uint64(r.Percent())/100, uint64(r.Min())*budgetWindow)
}

// Count counts a request for the pool's retry budget.
func (p *Pool) Count() { p.budget.requests.add(second(p.set.clock())) }

// Spend takes one retry from the budget; false: it is spent. Retries at the same moment may overdraw it by as
// many as there are.
func (p *Pool) Spend() bool {
	sec := second(p.set.clock())
	if !allows(p.conf.Load().Retry, p.budget.requests.recent(sec), p.budget.retries.recent(sec)) {
		return false
	}
	p.budget.retries.add(sec)
	return true
}
