package gossip

import (
	"cmp"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// Status is how a member looks from this node.
type Status string

// The statuses. Suspect means that this node's own last probe failed, directly
// and through others; it precedes dead or goes away.
const (
	Alive   Status = "alive"
	Suspect Status = "suspect"
	Left    Status = "left"
	Dead    Status = "dead"
)

// Member is one node as known here.
type Member struct {
	ID     string
	Addr   string // ip:port of the cluster port
	Meta   Meta
	Status Status
	Since  time.Time // of the status, by this node's clock
}

// table is our own copy of the membership: memberlist hands out pointers that
// it keeps writing to, and hides suspicion and the reason of a departure.
type table struct {
	log    *slog.Logger
	forget time.Duration // dead and left members are dropped after this
	// suspect gives the longest suspicion in a cluster of n: after it the member
	// was declared dead, or has refuted.
	suspect func(n int) time.Duration
	changed chan struct{} // cap 1

	mu   sync.Mutex
	byID map[string]*entry
	left map[departure]time.Time // who said goodbye, and when we heard
}

type entry struct {
	Member
	instance uint64
}

// departure names one life of a node.
type departure struct {
	id       string
	instance uint64
}

func newTable(log *slog.Logger, forget time.Duration, suspect func(n int) time.Duration) *table {
	return &table{
		log:     log,
		forget:  forget,
		suspect: suspect,
		changed: make(chan struct{}, 1),
		byID:    make(map[string]*entry),
		left:    make(map[departure]time.Time),
	}
}

func (t *table) signal() {
	select {
	case t.changed <- struct{}{}:
	default:
	}
}

// seen records an alive member, new, back, or with new metadata.
func (t *table) seen(n *memberlist.Node, now time.Time) {
	meta, err := decodeMeta(n.Meta)
	if err != nil {
		return // NotifyAlive refused it already
	}
	addr := net.JoinHostPort(n.Addr.String(), strconv.Itoa(int(n.Port)))
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.byID[n.Name]
	if e == nil {
		e = &entry{Member: Member{ID: n.Name}}
		t.byID[n.Name] = e
	}
	e.Addr, e.Meta, e.instance = addr, meta.Meta, meta.instance
	if e.Status != Alive {
		t.log.Info("gossip member is alive", "node", e.ID, "addr", addr, "before", string(e.Status))
		e.Status, e.Since = Alive, now
	}
	t.signal()
}

// gone records that memberlist gave a member up.
func (t *table) gone(id string, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.byID[id]
	if e == nil {
		return
	}
	status := Dead
	if _, ok := t.left[departure{id, e.instance}]; ok {
		status = Left
	}
	t.set(e, status, now)
}

// suspected records that a probe failed, heard that one succeeded.
func (t *table) suspected(id string, now time.Time) { t.swap(id, Alive, Suspect, now) }
func (t *table) heard(id string, now time.Time)     { t.swap(id, Suspect, Alive, now) }

func (t *table) swap(id string, from, to Status, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.byID[id]; e != nil && e.Status == from {
		t.set(e, to, now)
	}
}

// set is called with the lock held.
func (t *table) set(e *entry, s Status, now time.Time) {
	if e.Status == s {
		return
	}
	t.log.Info("gossip member changed", "node", e.ID, "addr", e.Addr, "status", string(s), "before", string(e.Status))
	e.Status, e.Since = s, now
	t.signal()
}

// leaving records a goodbye, which may come before or after memberlist's
// verdict. It reports whether it is news.
func (t *table) leaving(d departure, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.left[d]; ok {
		return false
	}
	t.left[d] = now
	if e := t.byID[d.id]; e != nil && e.instance == d.instance && e.Status == Dead {
		t.set(e, Left, now)
	}
	return true
}

func (t *table) departures() []departure {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]departure, 0, len(t.left))
	for d := range t.left {
		all = append(all, d)
	}
	slices.SortFunc(all, func(a, b departure) int {
		return cmp.Or(cmp.Compare(a.id, b.id), cmp.Compare(a.instance, b.instance))
	})
	return all
}

// sweep forgets what is over.
func (t *table) sweep(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	longest := t.suspect(len(t.byID))
	for id, e := range t.byID {
		age := now.Sub(e.Since)
		switch {
		case (e.Status == Dead || e.Status == Left) && age >= t.forget:
			delete(t.byID, id)
			t.signal()
		case e.Status == Suspect && age >= longest:
			t.set(e, Alive, now) // memberlist would have declared it dead
		}
	}
	for d, at := range t.left {
		if now.Sub(at) >= t.forget {
			delete(t.left, d)
		}
	}
}

func (t *table) list() []Member {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]Member, 0, len(t.byID))
	for _, e := range t.byID {
		all = append(all, e.Member)
	}
	slices.SortFunc(all, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// reachable lists those worth sending to, without self.
func (t *table) reachable(self string) []Member {
	return slices.DeleteFunc(t.list(), func(m Member) bool {
		return m.ID == self || (m.Status != Alive && m.Status != Suspect)
	})
}

// count is the number of members that are not gone.
func (t *table) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for _, e := range t.byID {
		if e.Status == Alive || e.Status == Suspect {
			n++
		}
	}
	return n
}
