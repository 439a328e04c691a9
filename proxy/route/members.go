package route

import (
	"slices"

	"github.com/lbnode/lbnode/state"
)

// updatePools brings the pools in line with a view. It returns those whose own settings have changed, for what routes
// take from them, and those that are another object now.
func (c *Compiler) updatePools(v *state.View, keys uint64) (renewed, changed map[string]bool) {
	renewed, changed = map[string]bool{}, map[string]bool{}
	touched := map[string]bool{} // pools whose backends or settings have changed
	for _, id := range v.Changed(c.view, state.KindPool) {
		renewed[id], touched[id] = true, true
	}
	for _, id := range v.Changed(c.view, state.KindBackend) {
		old, was := c.view.Backend(id)
		b, is := v.Backend(id)
		if was && is && sameMember(old, b) {
			continue
		}
		if was {
			touched[old.Pool] = true
		}
		if is {
			touched[b.Pool] = true
		}
	}
	if keys != c.keys {
		for id := range c.pools {
			touched[id] = true
		}
	}
	for id := range touched {
		old := c.pools[id]
		p, ok := v.Pool(id)
		switch {
		case ok:
			c.pools[id] = c.compilePool(v, p, old, keys)
		case old != nil:
			delete(c.pools, id)
		}
		if c.pools[id] != old {
			changed[id] = true
		}
	}
	return renewed, changed
}

// sameMember says that a backend is to its pool what it was.
func sameMember(a, b *state.Backend) bool {
	return a.Gen == b.Gen && a.Pool == b.Pool && a.Weight == b.Weight && slices.Equal(a.Tags, b.Tags) &&
		(a.MaxConnections > 0) == (b.MaxConnections > 0)
}

// compilePool returns a pool as a view has it, the old one (which may be nil) if it is the same.
func (c *Compiler) compilePool(v *state.View, p *state.Pool, old *pool, keys uint64) *pool {
	var members []tagged
	if old != nil {
		members = make([]tagged, 0, len(old.members)+1)
	}
	limited := p.MaxConnections > 0
	for b := range v.PoolBackends(p.ID) {
		if u := c.set.Get(b.ID); u != nil {
			m := tagged{tags: b.Tags}
			m.Upstream, m.Weight = u, b.Weight
			members = append(members, m)
			limited = limited || b.MaxConnections > 0
		}
	}
	if old != nil && old.same(&p.PoolSpec, members) && old.sameProtection(&p.PoolSpec, limited, keys) {
		return old
	}
	return &pool{spec: p.PoolSpec, members: members, protection: protect(&p.PoolSpec, members, limited, keys)}
}

// poolOr is a pool by id. One that was deleted by force has no members: its routes stay, and answer 503.
func (c *Compiler) poolOr(id string) *pool {
	if p := c.pools[id]; p != nil {
		return p
	}
	return &pool{spec: state.PoolSpec{ID: id}}
}
