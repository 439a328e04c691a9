package upstream

// The flag word of an Upstream. Its lowest bits are indexed by Mode. Those above ownBits are what configuration
// and health say, and are written by Set.Update; the own ones are set and cleared by traffic and time.
const (
	bitNew     uint64 = 1 << New
	bitSticky  uint64 = 1 << Sticky
	bitPanic   uint64 = 1 << Panic
	bitFailing uint64 = 1 << 3 // the operator wants it used, but its verdict is down or this node has a veto
	bitWatched uint64 = 1 << 4 // outcomes are looked at for outliers
	bitEjected uint64 = 1 << 5 // taken out by this node as an outlier
	bitSlow    uint64 = 1 << 6 // in slow start
	ownBits           = bitEjected | bitSlow

	// limitShift is where the most requests at a time stand; 0 = no bound.
	limitShift = 32
)

// allowed says whether a word lets requests of a mode in, whatever is in flight.
func allowed(w uint64, m Mode) bool {
	return w&(1<<m) != 0 && (w&bitEjected == 0 || m == Panic)
}

// Available says whether a request may start in the mode. It may stop being true right after; only Begin
// decides.
func (u *Upstream) Available(m Mode) bool {
	w := u.flags.Load()
	if !allowed(w, m) {
		return false
	}
	limit := w >> limitShift
	return limit == 0 || u.inflight.Load() < int64(limit)
}

// Allowed is Available for a backend that has room.
func (u *Upstream) Allowed(m Mode) bool { return allowed(u.flags.Load(), m) }

// Full says that a backend has as many requests as it may have.
func (u *Upstream) Full() bool {
	limit := u.flags.Load() >> limitShift
	return limit != 0 && u.inflight.Load() >= int64(limit)
}

// Failing says that the operator wants the backend used and its health, or this node, forbids it.
func (u *Upstream) Failing() bool {
	w := u.flags.Load()
	return w&bitFailing != 0 || w&(bitEjected|bitPanic) == bitEjected|bitPanic
}

// configure puts the part of the word in force that configuration and health decide, and says whether the
// backend has become usable.
func (u *Upstream) configure(w uint64) (usable bool) {
	for {
		old := u.flags.Load()
		next := w | old&ownBits
		if u.flags.CompareAndSwap(old, next) {
			return !allowed(old, New) && allowed(next, New)
		}
	}
}

// take counts a request in if that stays within the limit.
func (u *Upstream) take(limit int64) bool {
	for {
		n := u.inflight.Load()
		if n >= limit {
			return false
		}
		if u.inflight.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// release counts a request out, and lets one in that waits.
func (u *Upstream) release() {
	limited := u.flags.Load()>>limitShift != 0
	p := u.home.Load()
	if limited && p != nil && p.pass(u) {
		return
	}
	u.inflight.Add(-1)
	if limited && p != nil {
		p.hand(u) // somebody may have come in between
	}
}
