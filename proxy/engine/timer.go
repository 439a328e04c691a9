//go:build linux

package engine

import "time"

const (
	tick  = int64(20 * time.Millisecond)
	slots = 1024 // a power of two; what is further away than all of them goes round again
)

// timer is one deadline of a connection or an exchange. Moving a deadline that is ahead further away, which
// every request does, is one store: the wheel looks again when the old one comes.
type timer struct {
	deadline   int64 // in the loop's time; 0 = off
	slot       int64 // tick at which the wheel looks; 0 = not in the wheel
	next, prev *timer
	fire       func() // made once with the connection
}

// wheel is the timers of one loop.
type wheel struct {
	slots [slots]timer // list heads
	at    int64        // the tick that is done
	count int
	next  int64 // no timer is looked at before this tick, if count > 0
}

func (w *wheel) init(now int64) {
	w.at = now / tick
	for i := range w.slots {
		w.slots[i].next, w.slots[i].prev = &w.slots[i], &w.slots[i]
	}
}

// set moves a timer's deadline.
func (w *wheel) set(t *timer, deadline int64) {
	t.deadline = deadline
	at := max(deadline/tick+1, w.at+1)
	if t.slot != 0 {
		if t.slot <= at {
			return
		}
		w.unlink(t)
	}
	w.link(t, min(at, w.at+slots-1))
}

func (w *wheel) link(t *timer, at int64) {
	head := &w.slots[at&(slots-1)]
	t.slot, t.prev, t.next = at, head.prev, head
	head.prev.next, head.prev = t, t
	if w.count == 0 || at < w.next {
		w.next = at
	}
	w.count++
}

func (w *wheel) unlink(t *timer) {
	t.prev.next, t.next.prev = t.next, t.prev
	t.slot, t.next, t.prev = 0, nil, nil
	w.count--
}

// drop takes a timer out for good.
func (w *wheel) drop(t *timer) {
	t.deadline = 0
	if t.slot != 0 {
		w.unlink(t)
	}
}

// advance fires what is due. Firing may set and drop any timer.
func (w *wheel) advance(now int64) {
	if w.count == 0 || now/tick < w.next {
		if w.count == 0 {
			w.at = now / tick
		}
		return
	}
	for ; w.at < now/tick; w.at++ {
		head := &w.slots[(w.at+1)&(slots-1)]
		for head.next != head {
			t := head.next
			w.unlink(t)
			switch {
			case t.deadline == 0:
			case t.deadline > now:
				w.link(t, min(max(t.deadline/tick+1, w.at+2), w.at+slots))
			default:
				t.deadline = 0
				t.fire()
			}
		}
	}
	w.next = w.at + slots
	for i := int64(1); i <= slots; i++ {
		if head := &w.slots[(w.at+i)&(slots-1)]; head.next != head {
			w.next = w.at + i
			break
		}
	}
}
