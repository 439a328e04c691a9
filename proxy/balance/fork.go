package balance

import "sync/atomic"

// A fork is a copy of a picker as it is now: it picks what the original would pick from here on, and moves only
// its own turns and random numbers. It shares members and tables, which never change. So "who would be next?" is
// answered by the code that picks, without taking anybody's turn. A fork allocates a few words; it is for people
// who ask, not for requests.

func (p *roundRobin) Fork() Picker { return &roundRobin{p.fork()} }

func (p *least) Fork() Picker {
	f := *p
	f.group, f.counted = p.fork(), false
	return &f
}

func (p *random) Fork() Picker { return &random{group: p.fork(), alias: p.alias} }

func (p *hrw) Fork() Picker {
	f := *p
	f.group = p.fork()
	return &f
}

func (g *group) fork() *group {
	f := &group{members: g.members, total: g.total, order: g.order.fork()}
	f.random.n.Store(g.random.n.Load())
	return f
}

func (c *classes) fork() classes {
	f := *c
	if c.at != nil {
		f.at = copied(c.at)
	}
	f.list = make([]class, len(c.list))
	for i, k := range c.list {
		f.list[i] = class{upTo: k.upTo, members: k.members, turn: copied(k.turn)}
	}
	return f
}

func copied(n *atomic.Uint64) *atomic.Uint64 {
	c := new(atomic.Uint64)
	c.Store(n.Load())
	return c
}
