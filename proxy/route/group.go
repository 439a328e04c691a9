package route

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/lbnode/lbnode/proxy/balance"
	"github.com/lbnode/lbnode/proxy/upstream"
	"github.com/lbnode/lbnode/state"
)

// Group is the backends of a pool that a class of requests may use, with a picker.
type Group struct {
	Pool    string
	members []balance.Member
	picker  balance.Picker
	onEmpty state.OnEmpty

	pool     *pool
	required []string // tags
}

// Pick picks a backend that is not in tried (which may be nil), and says in which mode to begin there; nil
// if there is none.
//
// If no backend of the group is available and at least one of them is failing, and the pool's on_empty is
// panic, every backend that the operator wants used is a candidate, whatever verdicts and vetoes say: that a
// whole group is dead is less likely than that its checks are wrong, and a wrong answer costs no more than
// none. A group that the operator emptied (by stopping, weight or init), or whose backends merely have no
// verdict yet, stays empty.
func (g *Group) Pick(key uint64, tried *upstream.Tried) (*upstream.Upstream, upstream.Mode) {
	if u := g.picker.Pick(key, upstream.New, tried); u != nil {
		return u, upstream.New
	}
	if g.onEmpty != state.OnEmptyPanic || !g.failed() {
		return nil, upstream.New
	}
	return g.picker.Pick(key, upstream.Panic, tried), upstream.Panic
}

// failed says that failing health has left no backend.
func (g *Group) failed() bool {
	failing := false
	for _, m := range g.members {
		if m.Upstream.Allowed(upstream.New) { // a full one is none the worse
			return false
		}
		failing = failing || m.Upstream.Failing()
	}
	return failing
}

// Len is the number of backends, usable or not.
func (g *Group) Len() int { return len(g.members) }

// pool is a pool's backends, kept from table to table while they stay the same.
type pool struct {
	spec    state.PoolSpec
	members []tagged
	protection

	mu     sync.Mutex // guards groups
	groups map[groupKey]*Group
}

type tagged struct {
	balance.Member
	tags []string // sorted
}

type groupKey struct {
	alg  state.Algorithm
	tags string // sorted, joined by NUL
}

func (p *pool) same(spec *state.PoolSpec, members []tagged) bool {
	return p.spec.ID == spec.ID && p.spec.OnEmpty == spec.OnEmpty && p.spec.Health.Type == spec.Health.Type &&
		slices.EqualFunc(p.members, members, func(a, b tagged) bool {
			return a.Member == b.Member && slices.Equal(a.tags, b.tags)
		})
}

// group returns the group for an algorithm and a tag set, making it if need be.
func (p *pool) group(key groupKey) *Group {
	p.mu.Lock()
	defer p.mu.Unlock()
	if g := p.groups[key]; g != nil {
		return g
	}
	g := &Group{Pool: p.spec.ID, onEmpty: p.spec.OnEmpty, pool: p}
	if key.tags != "" {
		g.required = strings.Split(key.tags, "\x00")
	}
	for _, m := range p.members {
		if hasAll(m.tags, g.required) {
			g.members = append(g.members, m.Member)
		}
	}
	g.picker = balance.New(key.alg, g.members)
	if p.groups == nil {
		p.groups = map[groupKey]*Group{}
	}
	p.groups[key] = g
	return g
}

func hasAll(tags, required []string) bool {
	for _, r := range required {
		if _, ok := slices.BinarySearch(tags, r); !ok {
			return false
		}
	}
	return true
}

// balancer is a pool with an algorithm in one table. Groups are looked up by the table's number of the tag
// set, so that only a group's first request takes the pool's lock.
type balancer struct {
	pool   *pool
	alg    state.Algorithm
	tags   []string // by number
	groups []atomic.Pointer[Group]
}

func (b *balancer) group(tags int) *Group {
	if g := b.groups[tags].Load(); g != nil {
		return g
	}
	g := b.pool.group(groupKey{b.alg, b.tags[tags]})
	b.groups[tags].Store(g)
	return g
}
