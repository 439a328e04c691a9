package health

import (
	"math/rand/v2"
	"time"

	"github.com/lbnode/lbnode/state"
)

// Status is one node's own opinion of a backend.
type Status string

// The statuses.
const (
	StatusUnknown Status = "unknown" // not yet probed often enough to say
	StatusUp      Status = "up"
	StatusDown    Status = "down"
)

// fastest is the shortest time between two probes of one backend that nothing has just gone wrong with.
const fastest = 100 * time.Millisecond

// policy is how the outcomes of a pool's checks become a status.
type policy struct {
	rise, fall        int
	interval, timeout time.Duration
}

func policyOf(h state.HealthCheck) policy {
	return policy{
		rise: max(h.Rise, 1), fall: max(h.Fall, 1),
		interval: max(time.Duration(h.Interval), fastest),
		timeout:  max(time.Duration(h.Timeout), time.Millisecond),
	}
}

// counters are what is known of one backend from its outcomes so far. The zero value has no status.
type counters struct {
	status Status
	passes int // in a row, while they speak against the status
	fails  int // in a row, while they speak against the status
}

// step is the rise/fall rule: the counters after one more outcome. Out of unknown one pass is enough, so
// that a new backend serves at once; failures need a whole fall even then, at the fast pace, since a
// backend that is just starting is not worth a down verdict that an operator will read.
func step(c counters, ok bool, p policy) counters {
	if c.status == "" {
		c.status = StatusUnknown
	}
	if ok {
		c.fails = 0
		c.passes++
		if c.status == StatusUnknown || c.passes >= p.rise {
			c.status = StatusUp
		}
		if c.status == StatusUp {
			c.passes = 0
		}
		return c
	}
	c.passes = 0
	c.fails++
	if c.fails >= p.fall {
		c.status = StatusDown
	}
	if c.status == StatusDown {
		c.fails = 0
	}
	return c
}

// inDoubt says that the last outcomes speak against the status, or that there is none.
func (c counters) inDoubt() bool {
	return c.status == "" || c.status == StatusUnknown || c.passes > 0 || c.fails > 0
}

// pause is the time until the next probe, before jitter: a quarter of the interval while in doubt.
func (c counters) pause(p policy) time.Duration {
	if c.inDoubt() {
		return p.fast()
	}
	return p.interval
}

func (p policy) fast() time.Duration { return min(max(p.interval/4, fastest), p.interval) }

func defaultJitter() float64 { return rand.Float64() }
