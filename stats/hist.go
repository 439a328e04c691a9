package stats

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// The histogram is log-linear over nanoseconds: 64 equal buckets in each power of two, so that a bucket
// is at most 1/64 of its lower end wide and its middle is off by at most 1/128 (0.78 %).
// Group 0 covers [0, 512 ns) linearly in steps of 8 ns; groups 1 to 33 cover [2^9, 2^42) ns, and what is
// longer (73 minutes) is counted in the last bucket.
const (
	subBits    = 6
	subBuckets = 1 << subBits
	minExp     = 9
	maxExp     = 42
	groups     = 1 + maxExp - minExp
	buckets    = groups * subBuckets
	maxValue   = 1<<maxExp - 1
)

// cacheLine is the distance that keeps two counters from sharing a line, with the neighbour that the
// hardware prefetches beside it.
const cacheLine = 128

type group [subBuckets]atomic.Uint64

// Hist is a histogram of durations with a relative error of at most 1 % from 512 ns to 73 minutes.
// The zero value is ready. All methods may be called concurrently; Record never blocks. Memory is
// bounded: 512 bytes for each power of two that was ever seen, 17 KiB at most.
type Hist struct {
	groups [groups]atomic.Pointer[group]
	_      [cacheLine]byte // keeps the sum, written by every Record, off the pointers, which are only read
	sum    atomic.Uint64
	_      [cacheLine - 8]byte
}

// Record counts d; a negative d counts as 0. It allocates once for each power of two it meets, else never.
func (h *Hist) Record(d time.Duration) {
	v := uint64(max(d, 0))
	h.sum.Add(v)
	i := bucketOf(v)
	g := h.groups[i>>subBits].Load()
	if g == nil {
		g = h.grow(i >> subBits)
	}
	g[i&(subBuckets-1)].Add(1)
}

//go:noinline
func (h *Hist) grow(n int) *group {
	h.groups[n].CompareAndSwap(nil, new(group))
	return h.groups[n].Load()
}

// Snapshot copies the histogram.
func (h *Hist) Snapshot() HistSnapshot {
	var s HistSnapshot
	h.addTo(&s)
	return s
}

// addTo merges the histogram into s without an intermediate copy.
func (h *Hist) addTo(s *HistSnapshot) {
	var own HistSnapshot
	own.Sum = h.sum.Load()
	for n := range h.groups {
		g := h.groups[n].Load()
		if g == nil {
			continue
		}
		for j := range g {
			if c := g[j].Load(); c > 0 {
				own.Buckets = append(own.Buckets, Bucket{Index: uint16(n<<subBits | j), Count: c})
			}
		}
	}
	if len(s.Buckets) == 0 && s.Sum == 0 {
		*s = own
		return
	}
	*s = s.Merge(own)
}

// bucketOf gives the bucket of a value in nanoseconds.
func bucketOf(v uint64) int {
	if v < 1<<minExp {
		return int(v >> (minExp - subBits))
	}
	v = min(v, maxValue)
	e := bits.Len64(v) - 1
	return (e-minExp+1)<<subBits | int(v>>(e-subBits))&(subBuckets-1)
}

// bounds gives the lowest value of a bucket and the lowest of the next one, in nanoseconds.
func bounds(i int) (lo, hi uint64) {
	n, sub := i>>subBits, uint64(i&(subBuckets-1))
	if n == 0 {
		return sub << (minExp - subBits), (sub + 1) << (minExp - subBits)
	}
	shift := n + minExp - 1 - subBits
	return (subBuckets + sub) << shift, (subBuckets + sub + 1) << shift
}
