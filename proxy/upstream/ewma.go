package upstream

import (
	"math"
	"sync/atomic"
	"time"
)

// decay is the time constant of the latency average: an old observation weighs half after about 7 s.
const decay = 10 * time.Second

// ewma is a peak-sensitive exponentially weighted moving average: it jumps up to a worse value at once and
// comes down slowly, so that a backend that starts to stall is noticed with its first slow answer.
//
// The two words are not read or written as one. A reader that mixes an old value with a new time sees an
// average that some interleaving of whole updates could have given to within one observation, which is all
// that balancing needs.
type ewma struct {
	value atomic.Int64 // nanoseconds; 0 = no observation
	stamp atomic.Int64 // when value was written, by Set.clock
}

// record adds one observation.
func (e *ewma) record(now, d time.Duration) {
	old := e.value.Load()
	next := int64(max(d, 1))
	if old > next {
		since := max(int64(now)-e.stamp.Load(), 0)
		w := weight(float64(since) / float64(decay))
		next = int64(float64(old)*w + float64(next)*(1-w))
	}
	e.stamp.Store(int64(now))
	e.value.Store(max(next, 1))
}

// weight is e^-x for x >= 0. Most observations follow each other closely, and the first terms of the series are exact to
// 1e-7 there.
func weight(x float64) float64 {
	if x < 1.0/128 {
		return 1 - x + x*x/2
	}
	return math.Exp(-x)
}

// at is the average as of now. Without new observations it falls (hyperbolically, which is cheaper than
// an exponential and close enough), so that a backend that was slow once is tried again.
func (e *ewma) at(now time.Duration) time.Duration {
	v := e.value.Load()
	if v == 0 {
		return 0
	}
	since := max(int64(now)-e.stamp.Load(), 0)
	return time.Duration(max(float64(v)*float64(decay)/float64(int64(decay)+since), 1))
}

func (e *ewma) reset() { e.value.Store(0) }
