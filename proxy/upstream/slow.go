package upstream

import "time"

// FullShare is the share of a backend that is not in slow start.
const FullShare = 1024

// Share is the part of its weight that a backend is to get now, in 1/[FullShare]: less than all only in slow
// start.
func (u *Upstream) Share() uint64 {
	if u.flags.Load()&bitSlow == 0 {
		return FullShare
	}
	return u.ramp()
}

func (u *Upstream) ramp() uint64 {
	over := time.Duration(u.slowFor.Load())
	s := share(u.set.clock()-time.Duration(u.slowAt.Load()), over)
	if s == FullShare {
		u.flags.And(^bitSlow) // a slow start that begins at this moment is lost: it would be one for nothing
	}
	return s
}

// share grows in a straight line from a tenth to all.
func share(since, over time.Duration) uint64 {
	if since >= over {
		return FullShare
	}
	const first = FullShare / 10
	return first + uint64(max(since, 0)*(FullShare-first)/over)
}

// slowStart begins one, if the pool has any.
func (u *Upstream) slowStart(over time.Duration) {
	if over <= 0 {
		return
	}
	u.slowFor.Store(int64(over))
	u.slowAt.Store(int64(u.set.clock()))
	u.flags.Or(bitSlow)
}
