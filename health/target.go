package health

import (
	"time"
)

// maxVeto bounds how long a veto by live traffic is held against probes that pass.
const maxVeto = 30 * time.Second

// askEvery bounds how often connections that break ask for a probe of one backend.
const askEvery = time.Second

// target is what a node does about one backend. Its shard's mutex guards it.
type target struct {
	id     string
	gen    uint64
	policy policy
	check  check // nil: not probed here, by the pool's setting or because this node does not vote
	source any   // what the check was built from, for comparison
	mark   uint64

	counters counters
	since    time.Time // of the status
	reported bool      // has an own observation of this generation
	probing  bool
	gone     bool // not in the view any more

	// A veto by live traffic: the proxy could not connect. It holds until a probe that began afterwards
	// passes, or, where nothing probes, until its time is up.
	passive    bool
	passiveWhy string
	vetoSeq    int       // counts vetoes, to tell probes that began before one
	vetoes     int       // how often lately
	vetoAt     time.Time // of the last
	holdUntil  time.Time // probes that begin before do not lift it
	asked      time.Time // when a connection that broke last asked for a probe
	errorRun   int       // answers of 500 and above in a row

	// What the overlay was last told.
	told    bool
	toldWhy string

	due   time.Time
	index int // in the queue; -1 = not in it
}

// verdict is this node's own veto and its reason.
func (t *target) verdict(lastError string) (down bool, why string) {
	switch {
	case t.passive:
		return true, "live traffic: " + t.passiveWhy
	case t.counters.status == StatusDown:
		return true, "health check: " + lastError
	}
	return false, ""
}

// veto begins or renews a veto by live traffic. Vetoes in quick succession mean that probes pass where
// traffic fails; each then holds longer, so that traffic does not run against the backend in between.
func (t *target) veto(why string, now time.Time) {
	if now.Sub(t.vetoAt) > 2*maxVeto {
		t.vetoes = 0
	}
	t.vetoes = min(t.vetoes+1, 16)
	t.vetoSeq++
	t.passive, t.passiveWhy, t.vetoAt = true, clip(why), now
	t.holdUntil = now.Add(t.vetoHold())
}

// vetoHold is how long the present veto holds at least. With probes the first one ends as soon as one
// passes.
func (t *target) vetoHold() time.Duration {
	n, d := t.vetoes-1, t.policy.interval
	if t.check != nil {
		if n == 0 {
			return 0
		}
		n, d = n-1, t.policy.fast()
	}
	for range n {
		if d *= 2; d >= maxVeto {
			break
		}
	}
	return min(d, maxVeto)
}

// queue is a heap of targets by the time they are due.
type queue []*target

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

// Push implements heap.Interface.
func (q *queue) Push(x any) {
	t := x.(*target)
	t.index = len(*q)
	*q = append(*q, t)
}

// Pop implements heap.Interface.
func (q *queue) Pop() any {
	old := *q
	t := old[len(old)-1]
	old[len(old)-1] = nil
	t.index = -1
	*q = old[:len(old)-1]
	return t
}
