package upstream

import "github.com/lbnode/lbnode/state"

// flagsFor is the flag word of a backend with these hurdles.
func flagsFor(h state.Hurdles) (f uint64) {
	if h.None() {
		f |= bitNew
	}
	if h.Sticky() {
		f |= bitSticky
	}
	if h.Wanted() {
		f |= bitPanic
	}
	if h.Failing() {
		f |= bitFailing
	}
	return f
}

// Why says what keeps new requests from a backend on a node; nothing means that it takes them. It reads what
// Available reads, and is for people: the request path does not call it.
func (u *Upstream) Why(node string) (against []state.Reason) {
	u.set.mu.RLock()
	defer u.set.mu.RUnlock()
	if u.backend == nil {
		return []state.Reason{{Source: state.FromAdmin, Text: "it has been removed", Against: true}}
	}
	s := u.set.runtime(u).Standing()
	s.Backend, s.Pool, s.Node = u.backend, u.pool, node
	for _, r := range s.Reasons() {
		if r.Against {
			against = append(against, r)
		}
	}
	return against
}

// Standing is what a node knows of a backend, less the backend itself.
func (r Runtime) Standing() state.Standing {
	s := state.Standing{
		Vetoed: r.Vetoed, VetoReason: r.VetoReason, VetoSince: r.VetoSince, Full: r.Full, Limit: r.Limit,
		Ejected: r.Ejected, EjectedAt: r.EjectedAt, EjectedUntil: r.EjectedUntil, Ejections: r.Ejections,
	}
	if r.Share < 1 {
		s.SlowShare = r.Share
	}
	return s
}
