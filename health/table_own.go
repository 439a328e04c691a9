package health

import (
	"cmp"
	"slices"
	"time"
)

// weight says how far a change of an own observation travels.
type weight int

const (
	soft weight = iota // only people read it: with whole states
	hard               // decisions depend on it: at once
)

const (
	// repeats is how many heartbeats say a change again. A lost packet then costs no more than a
	// heartbeat, without waiting for an exchange of states.
	repeats = 3
	// smallBurst is how many small messages may go out at once. More changes than fit are sent as one
	// large message, reliably: gossip moves only a few packets each round.
	smallBurst = 4
)

// update changes this node's own observation of a backend, which is made if there is none. The function
// gets a private copy and returns how much it changed; returning false leaves all as it was.
func (t *Table) update(backend string, fn func(*Observation) (weight, bool)) {
	t.mu.Lock()
	own := t.nodes[t.self]
	o := Observation{Node: t.self, Backend: backend, Status: StatusUnknown}
	old := own.obs[backend]
	if old != nil {
		o = *old
	}
	w, changed := fn(&o)
	if !changed || old == nil && len(own.obs) >= maxPerNode {
		t.mu.Unlock()
		return
	}
	if old == nil || w == hard {
		w = hard
		own.head.seq++
		o.Seq, o.Rev = own.head.seq, 0
		t.log = append(t.log, change{o.Seq, backend})
	} else {
		o.Rev++
	}
	own.obs[backend] = &o
	t.mu.Unlock()
	if w == hard {
		t.wake()
		t.dirty()
	}
}

// each calls fn with the ids of all own observations, outside the lock.
func (t *Table) each(fn func(backend string)) {
	t.mu.Lock()
	own := t.nodes[t.self].obs
	ids := make([]string, 0, len(own))
	for id := range own {
		ids = append(ids, id)
	}
	t.mu.Unlock()
	for _, id := range ids {
		fn(id)
	}
}

// forget removes this node's own observation of a backend. Others drop it with the backend.
func (t *Table) forget(backend string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.nodes[t.self].obs, backend)
}

// publish sends what changed since the last time, if anything did.
func (t *Table) publish(score int) {
	t.mu.Lock()
	own := t.nodes[t.self]
	if t.sent == own.head.seq {
		t.mu.Unlock()
		return
	}
	t.send(score, t.sent, true)
}

// heartbeat says that all own observations still hold, and repeats the latest changes.
func (t *Table) heartbeat(score int) {
	t.mu.Lock()
	from := t.sent
	if len(t.marks) > 0 {
		from = min(from, t.marks[0])
	}
	t.marks = append(t.marks, t.nodes[t.self].head.seq)
	if len(t.marks) > repeats {
		t.marks = t.marks[1:]
	}
	t.send(score, from, t.sent < t.nodes[t.self].head.seq)
}

// send publishes own versions above from with a new head. It is called with mu held and releases it. Where
// there are too many for small messages, all go out as large ones if some are new, else only the latest.
func (t *Table) send(score int, from uint64, news bool) {
	own := t.nodes[t.self]
	own.head.beat++
	own.head.score = uint64(max(score, 0))
	own.headAt = time.Now()
	h := own.head
	obs := t.since(from)
	frames := cutFrames(kindDelta, t.self, h, span{from, h.seq}, obs, maxDelta-1)
	t.sent = h.seq
	t.trim()
	broadcast := t.broadcast
	t.mu.Unlock()
	if broadcast == nil {
		return
	}
	large := len(frames) > smallBurst && news
	if !large && len(frames) > smallBurst {
		frames = frames[len(frames)-smallBurst:]
	}
	for _, m := range messages(frames, large) {
		broadcast(m)
	}
}

// messages packs frames: one in each small message, many in a large one.
func messages(frames [][]byte, large bool) [][]byte {
	var out [][]byte
	for _, f := range frames {
		if last := len(out) - 1; large && last >= 0 && len(out[last])+len(f) <= maxBulk {
			out[last] = append(out[last], f...)
			continue
		}
		out = append(out, append([]byte{messageFormat}, f...))
	}
	return out
}

// since returns the own observations with versions above from, by version.
func (t *Table) since(from uint64) []*Observation {
	own := t.nodes[t.self].obs
	first, _ := slices.BinarySearchFunc(t.log, from+1, func(c change, seq uint64) int {
		return cmp.Compare(c.seq, seq)
	})
	var out []*Observation
	for _, c := range t.log[first:] {
		if o := own[c.backend]; o != nil && o.Seq == c.seq {
			out = append(out, o)
		}
	}
	return out
}

// trim cuts off the part of the own log that will not be repeated.
func (t *Table) trim() {
	keep := t.sent
	if len(t.marks) > 0 {
		keep = min(keep, t.marks[0])
	}
	i := 0
	for i < len(t.log) && t.log[i].seq <= keep {
		i++
	}
	if i > 0 {
		t.log = slices.Delete(t.log, 0, i)
	}
}
