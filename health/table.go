package health

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lbnode/lbnode/state"
)

// Table is every node's observations: a CRDT in which each node writes only its own, and newer versions
// win. It is one piece of gossip state. All methods may be called by any goroutine; none blocks on anything
// but the function given to [Table.SetBroadcast].
type Table struct {
	self  string
	wake  func() // something that decisions depend on has changed; must not block
	dirty func() // this node has something to publish; must not block
	fresh func() // refreshes what travels with whole states only; takes mu itself through update

	mu        sync.Mutex // taken after a shard's mu; nothing is called under it
	nodes     map[string]*reporter
	gone      map[string]head // last head of nodes that were dropped: what they said until then stays unheard
	view      *state.View     // tells whether a backend exists; nil = not known yet
	broadcast func([]byte)

	// The own part.
	log    []change // own versions in order; only those that are still current count
	sent   uint64   // own versions up to here have been published
	marks  []uint64 // own seq at the last heartbeats, oldest first
	failed int      // observations that were dropped because of a bound
}

// echo is up to how many nodes heartbeats without news are passed on too: a broken link between two nodes
// should not cost a vote, and a hundred nodes should not echo each other every second.
const echo = 16

// change is one entry of the own log.
type change struct {
	seq     uint64
	backend string
}

// reporter is one node's part of the table.
type reporter struct {
	head    head
	headAt  time.Time // when the newest head came in
	known   spans
	wholeAt time.Time               // headAt of the newest head with which nothing was missing
	obs     map[string]*Observation // never changed once in here, only replaced
}

// newTable makes a table for a node that started as incarnation inc.
func newTable(self string, inc uint64) *Table {
	none := func() {}
	t := &Table{
		self: self, wake: none, dirty: none, fresh: none,
		nodes: map[string]*reporter{}, gone: map[string]head{},
	}
	t.nodes[self] = &reporter{head: head{inc: inc}, obs: map[string]*Observation{}}
	return t
}

// SetBroadcast sets where messages to all nodes go: small ones (at most 900 bytes) are to be gossiped, large
// ones to be sent to each member reliably. It must not wait for other nodes. Merge calls it with small ones only.
func (t *Table) SetBroadcast(broadcast func([]byte)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.broadcast = broadcast
}

// MarshalBinary returns the whole table for an exchange of states. A table is cut into frames of at most
// 16 KiB which the receiver takes in any order and number.
func (t *Table) MarshalBinary() ([]byte, error) {
	t.fresh()
	t.mu.Lock()
	defer t.mu.Unlock()
	out := []byte{messageFormat}
	for _, node := range slices.Sorted(maps.Keys(t.nodes)) {
		r := t.nodes[node]
		if node == t.self {
			r.known = nil
			r.known, _ = r.known.add(span{0, r.head.seq})
		}
		for _, f := range r.frames(node) {
			out = append(out, f...)
		}
	}
	return out, nil
}

// frames encodes one node's part.
func (r *reporter) frames(node string) [][]byte {
	obs := slices.SortedFunc(maps.Values(r.obs), bySeq)
	var out [][]byte
	rest := obs[:0:0]
	i := 0
	for _, s := range r.known {
		for ; i < len(obs) && obs[i].Seq <= s.from; i++ {
			rest = append(rest, obs[i])
		}
		first := i
		for i < len(obs) && obs[i].Seq <= s.to {
			i++
		}
		out = append(out, cutFrames(kindState, node, r.head, s, obs[first:i], maxFrame)...)
	}
	rest = append(rest, obs[i:]...)
	if len(rest) > 0 || len(out) == 0 {
		out = append(out, cutFrames(kindState, node, r.head, span{}, rest, maxFrame)...)
	}
	return out
}

// bySeq orders one node's observations. Only a node that breaks the rules uses a version twice.
func bySeq(a, b *Observation) int {
	return cmp.Or(cmp.Compare(a.Seq, b.Seq), strings.Compare(a.Backend, b.Backend))
}

// Merge takes in a message from another node: all of it, or, if it cannot be read, none of it and an error
// that wraps [ErrMessage]. News that came as small messages are passed on once.
func (t *Table) Merge(b []byte) error {
	frames, raw, err := decodeMessage(b)
	if err != nil {
		return err
	}
	now := time.Now()
	t.mu.Lock()
	var (
		pass    [][]byte
		changed bool
		again   bool
	)
	for i := range frames {
		f := &frames[i]
		if f.node == t.self {
			again = t.refute(f) || again
			continue
		}
		news, heard := t.merge(f, now)
		changed = changed || news
		if f.kind == kindDelta && (news || heard && len(t.nodes) <= echo) {
			pass = append(pass, append([]byte{messageFormat}, raw[i]...))
		}
	}
	broadcast := t.broadcast
	t.mu.Unlock()
	if changed {
		t.wake()
	}
	if again {
		t.dirty()
	}
	if broadcast != nil && len(b) <= maxDelta {
		for _, p := range pass {
			broadcast(p)
		}
	}
	return nil
}

// refute notices that others know a later process of this node than this one: the clock went back before
// this start, and nobody would listen. It takes the next incarnation, and what was said is said again.
func (t *Table) refute(f *frame) bool {
	own := t.nodes[t.self]
	if f.inc <= own.head.inc {
		return false
	}
	own.head.inc = f.inc + 1
	t.sent = 0
	t.log = t.log[:0]
	for _, o := range slices.SortedFunc(maps.Values(own.obs), bySeq) {
		t.log = append(t.log, change{o.Seq, o.Backend})
	}
	return true
}

// merge takes in one frame of another node. news: an observation that decisions depend on changed. heard: a
// newer sign of life.
func (t *Table) merge(f *frame, now time.Time) (news, heard bool) {
	if last, ok := t.gone[f.node]; ok {
		if f.head.compare(last) <= 0 {
			return false, false
		}
		delete(t.gone, f.node)
	}
	r := t.nodes[f.node]
	switch {
	case r == nil:
		if len(t.nodes) >= maxNodes {
			t.failed += len(f.obs)
			return false, false
		}
		fallthrough
	case f.inc > r.head.inc:
		r = &reporter{head: head{inc: f.inc}, obs: map[string]*Observation{}}
		t.nodes[f.node] = r
	case f.inc < r.head.inc:
		return false, false
	}
	direct := f.kind == kindDelta && f.head.compare(r.head) >= 0
	lost := false
	for i := range f.obs {
		o := f.obs[i] // a copy: frames are not kept
		old := r.obs[o.Backend]
		switch {
		case !t.exists(o.Backend, o.Gen):
			continue
		case old == nil && len(r.obs) >= maxPerNode:
			t.failed++
			lost = true
			continue
		case old != nil && !o.newer(old) && (o.Seq != old.Seq || !direct):
			continue
		case old != nil && !o.newer(old):
			o = *old // the reporter repeats itself: only its sign of life is new
		}
		news = news || old == nil || o.Seq != old.Seq
		if direct {
			o.at = now
		}
		r.obs[o.Backend] = &o
	}
	if !lost {
		r.known, _ = r.known.add(f.cover)
	}
	if f.head.compare(r.head) > 0 {
		heard = heard || f.beat > r.head.beat
		r.head, r.headAt = f.head, now
	}
	if r.known.whole() >= r.head.seq {
		news = news || r.wholeAt.IsZero()
		r.wholeAt = r.headAt
	}
	return news, heard
}

// exists says whether an observation can be about a backend that is or will be there. Generations are log
// indexes: one that this node has not reached yet may belong to a backend that is still to come.
func (t *Table) exists(backend string, gen uint64) bool {
	if t.view == nil || gen > t.view.Index {
		return true
	}
	_, ok := t.view.Backend(backend)
	return ok
}

// setView drops what is about backends that are no more, and remembers the view for what comes in.
func (t *Table) setView(v *state.View) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.view = v
	for _, r := range t.nodes {
		for id, o := range r.obs {
			if !t.exists(id, o.Gen) {
				delete(r.obs, id)
			}
		}
	}
}

// drop forgets a node. What it had said comes back from others only when it says something new itself.
func (t *Table) drop(node string) {
	if node == t.self {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.nodes[node]
	if r == nil {
		return
	}
	delete(t.nodes, node)
	if len(t.gone) >= maxNodes {
		clear(t.gone) // rare, and harmless: what comes back is not fresh for long
	}
	t.gone[node] = r.head
}

// dropSilent forgets nodes that have not been heard of for so long that they must be gone.
func (t *Table) dropSilent(now time.Time, after time.Duration) {
	t.mu.Lock()
	var silent []string
	for node, r := range t.nodes {
		if node != t.self && now.Sub(r.headAt) > after {
			silent = append(silent, node)
		}
	}
	t.mu.Unlock()
	for _, node := range silent {
		t.drop(node)
	}
}

// lastHeard is when a node was last known to stand by an observation: with its newest head if nothing of
// it is missing here, else when it last sent this one.
func (r *reporter) lastHeard(o *Observation) time.Time {
	if o.at.After(r.wholeAt) {
		return o.at
	}
	return r.wholeAt
}

// Report is what one node says, as far as it counts now.
type Report struct {
	Node         string
	Score        int                     // how unwell its gossip finds itself; 0 = well
	Observations map[string]*Observation // by backend; only fresh ones; not to be changed
}

// reports returns the fresh observations of every node, in the order of node ids.
func (t *Table) reports(now time.Time, fresh time.Duration) []Report {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]Report, 0, len(t.nodes))
	for _, node := range slices.Sorted(maps.Keys(t.nodes)) {
		r := t.nodes[node]
		rep := Report{Node: node, Score: int(r.head.score)}
		if node == t.self || !r.wholeAt.IsZero() && now.Sub(r.wholeAt) <= fresh {
			rep.Observations = maps.Clone(r.obs)
		} else {
			rep.Observations = map[string]*Observation{}
			for id, o := range r.obs {
				if !o.at.IsZero() && now.Sub(o.at) <= fresh {
					rep.Observations[id] = o
				}
			}
		}
		out = append(out, rep)
	}
	return out
}

// about returns every node's observation of one backend, in the order of node ids.
func (t *Table) about(backend string, now time.Time) []Observation {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []Observation
	for _, node := range slices.Sorted(maps.Keys(t.nodes)) {
		r := t.nodes[node]
		p := r.obs[backend]
		if p == nil {
			continue
		}
		o := *p
		if node != t.self {
			o.Age = max(now.Sub(r.lastHeard(p)), 0)
		}
		out = append(out, o)
	}
	return out
}
