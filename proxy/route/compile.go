package route

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lbnode/lbnode/proxy/shape"
	"github.com/lbnode/lbnode/proxy/upstream"
	"github.com/lbnode/lbnode/state"
	"github.com/lbnode/lbnode/stats"
)

const (
	// rankGap is between the ranks of neighbours in a table that was made from nothing: forty rules fit in between
	// however they come.
	rankGap = 1 << 40
	// manyRoutes is how many routes may change before all are placed anew, as a part of all (one in so many).
	manyRoutes = 16
	// spareBalancers is how many balancers may be left behind by routes that changed.
	spareBalancers = 256
)

// Compiler makes tables and keeps what successive tables share.
type Compiler struct {
	set *upstream.Set
	reg *stats.Registry

	clients *shape.Clients // of rate limits

	mu    sync.Mutex // guards the rest
	view  *state.View
	keys  uint64 // upstream.Set.StickyGen
	table *Table // the last one; nil = none
	// gen is the number of the last table. What is marked with an older one is shared with tables that are in use.
	gen   uint64
	pools map[string]*pool
	rules map[string]*rule
	slots map[groupKey]int // of pools and algorithms in the table's balancers; the key's tags are pool ids
	first int              // balancers in the last table made from nothing
	// placed counts the entries that Compile has put in their places.
	placed int
}

// NewCompiler makes a compiler whose tables pick from set and count in reg.
func NewCompiler(set *upstream.Set, reg *stats.Registry) *Compiler {
	return &Compiler{
		set: set, reg: reg, clients: shape.NewClients(), view: state.NewView(),
		pools: map[string]*pool{}, rules: map[string]*rule{},
	}
}

// Compile makes the table of a view. The set must have been updated with this view or a newer one before. It makes
// anew what differs from the view compiled before, and shares the rest with its table.
func (c *Compiler) Compile(v *state.View) *Table {
	c.mu.Lock()
	defer c.mu.Unlock()
	keys := c.set.StickyGen() // before any token is asked for
	renewed, changed := c.updatePools(v, keys)
	routes := c.changedRoutes(v, renewed)
	c.gen++
	t := c.revise(v, routes, changed)
	if t == nil {
		t = c.build(v)
	}
	c.view, c.keys, c.table = v, keys, t
	return t
}

// build makes a table from nothing but rules and pools.
func (c *Compiler) build(v *state.View) *Table {
	t := &edit{Table: &Table{exact: map[string]*hostRoutes{}, suffix: map[string]*hostRoutes{}}, gen: c.gen, exact: true, suffix: true, fresh: true}
	t.addFrontends(v)
	rules := slices.SortedFunc(maps.Values(c.rules), before)
	old, oldSlots := c.table, c.slots
	c.slots = map[groupKey]int{}
	t.entries = make([]*entry, len(rules))
	for i, r := range rules {
		t.entries[i] = c.enter(t, v, r, uint64(i+1)*rankGap)
	}
	c.first = len(t.balancers)
	if old != nil {
		for key, i := range c.slots {
			if k, ok := oldSlots[key]; ok && k < len(old.balancers) {
				t.balancers[i].warm(old.balancers[k])
			}
		}
	}
	return t.Table
}

// revise makes a table out of the last one, in which only the given routes and pools have changed; nil: it is better
// made from nothing.
func (c *Compiler) revise(v *state.View, routes []routeChange, pools map[string]bool) *Table {
	if c.table == nil || len(routes) > 16+len(c.table.entries)/manyRoutes || len(c.table.balancers) > spareBalancers+2*c.first {
		return nil
	}
	next := *c.table
	t := &edit{Table: &next, gen: c.gen}
	t.balancers = slices.Clone(t.balancers)
	if len(v.Changed(c.view, state.KindFrontend)) > 0 {
		before := t.tags
		t.addFrontends(v)
		if !slices.Equal(before, t.tags) {
			for i, b := range t.balancers {
				t.balancers[i] = newBalancer(b.pool, b.alg, t.tags)
			}
		}
	}
	for id := range pools {
		for _, alg := range append(state.Algorithms(), "") { // none, if a route's pool was missing
			if i, ok := c.slots[groupKey{alg, id}]; ok {
				b := newBalancer(c.poolOr(id), alg, t.tags)
				b.warm(t.balancers[i])
				t.balancers[i] = b
			}
		}
	}
	if len(routes) > 0 && !c.place(t, v, routes) {
		return nil
	}
	return t.Table
}

// place puts changed routes in their places; false: there is no room for one.
func (c *Compiler) place(t *edit, v *state.View, routes []routeChange) bool {
	t.entries = slices.Clone(t.entries)
	var moved []*rule
	for _, r := range routes {
		if r.old == nil {
			moved = append(moved, r.new)
			continue
		}
		at := position(t.entries, r.old)
		old := t.entries[at]
		t.drop(old)
		if r.new != nil && fits(t.entries, at, r.new) {
			t.entries[at] = c.enter(t, v, r.new, old.rank)
			continue
		}
		t.entries = slices.Delete(t.entries, at, at+1)
		if r.new != nil {
			moved = append(moved, r.new)
		}
	}
	for _, r := range moved {
		at := position(t.entries, r)
		rank, ok := between(t.entries, at)
		if !ok {
			return false
		}
		t.entries = slices.Insert(t.entries, at, c.enter(t, v, r, rank))
	}
	return true
}

// enter makes the entry of a rule and puts it in its place in the index.
func (c *Compiler) enter(t *edit, v *state.View, r *rule, rank uint64) *entry {
	e := &entry{rank: rank, rule: r, target: c.newTarget(t, v, r)}
	t.add(e)
	c.placed++
	return e
}

// fits says that a rule may stand in the place of the one at an index.
func fits(entries []*entry, at int, r *rule) bool {
	return (at == 0 || before(entries[at-1].rule, r) < 0) && (at+1 == len(entries) || before(r, entries[at+1].rule) < 0)
}

// position is where a rule stands among all entries, or would stand.
func position(entries []*entry, r *rule) int {
	at, _ := slices.BinarySearchFunc(entries, r, func(e *entry, r *rule) int { return before(e.rule, r) })
	return at
}

// between is a rank for an entry to come at an index; false: its neighbours leave no room.
func between(entries []*entry, at int) (rank uint64, ok bool) {
	var lo uint64
	if at > 0 {
		lo = entries[at-1].rank
	}
	if at == len(entries) {
		return lo + rankGap, lo+rankGap > lo
	}
	rank = lo + (entries[at].rank-lo)/2
	return rank, rank > lo
}

// routeChange is a route's rule before and after a change; nil = none. Both may be the same, with a pool that changed.
type routeChange struct{ old, new *rule }

// changedRoutes brings the rules in line with a view and returns what changed: routes, and those of changed pools.
func (c *Compiler) changedRoutes(v *state.View, pools map[string]bool) []routeChange {
	var out []routeChange
	done := map[string]bool{}
	for _, id := range v.Changed(c.view, state.KindRoute) {
		done[id] = true
		old := c.rules[id]
		r, ok := v.Route(id)
		if !ok {
			delete(c.rules, id)
			out = append(out, routeChange{old: old})
			continue
		}
		next := newRule(r)
		next.shape = shape.Compile(&r.RouteSpec, old.shaped(), c.clients)
		c.rules[id] = next
		out = append(out, routeChange{old, next})
	}
	if len(pools) == 0 || c.table == nil {
		return out
	}
	for _, e := range c.table.entries {
		if r := e.rule.route; !done[r.ID] && usesAny(r, pools) {
			out = append(out, routeChange{e.rule, e.rule})
		}
	}
	return out
}

func usesAny(r *state.Route, pools map[string]bool) bool {
	return pools[r.BackendPool] || pools[r.Mirror.Pool] ||
		slices.ContainsFunc(r.Split, func(s state.Share) bool { return pools[s.Pool] })
}

// addFrontends fills the host maps and the distinct tag sets; number 0 is the empty one.
func (t *Table) addFrontends(v *state.View) {
	t.frontends, t.wildcards = map[string]frontend{}, map[string]frontend{}
	tags, numbers := []string{""}, map[string]int{"": 0}
	for f := range v.Frontends() {
		key := strings.Join(f.RequiredTags, "\x00")
		n, ok := numbers[key]
		if !ok {
			n = len(tags)
			tags = append(tags, key)
			numbers[key] = n
		}
		for _, h := range f.Hosts {
			if suffix, wild := strings.CutPrefix(h, "*."); wild {
				t.wildcards["."+normalHost(suffix)] = frontend{f.ID, n}
			} else {
				t.frontends[normalHost(h)] = frontend{f.ID, n}
			}
		}
	}
	t.tags = tags
}

// newTarget makes a rule's target and those of its split and mirror.
func (c *Compiler) newTarget(t *edit, v *state.View, r *rule) *Target {
	to := func(pool string) *Target { return c.target(t, v, r.route, pool) }
	out := to(r.route.BackendPool)
	c.shaping(out, r, to)
	return out
}

func (c *Compiler) target(table *edit, v *state.View, r *state.Route, poolID string) *Target {
	t := &Target{
		RouteID: r.ID, Pool: poolID, Algorithm: r.Algorithm, Hash: r.Hash, Retries: r.Retries,
		Connect:   time.Duration(r.Timeouts.Connect),
		FirstByte: time.Duration(r.Timeouts.FirstByte),
		Total:     time.Duration(r.Timeouts.Total),
		Idle:      time.Duration(r.Timeouts.Idle),
		Upgraded:  time.Duration(r.Timeouts.UpgradedIdle),
		Runtime:   c.set.Pool(poolID),
		Stats:     c.reg.Route(r.ID), total: c.reg.Total(),
	}
	if p, ok := v.Pool(poolID); ok {
		if t.Algorithm == "" {
			t.Algorithm = p.Algorithm
		}
		if t.Hash.Source == "" {
			t.Hash = p.Hash
		}
		t.Kind = string(p.Health.Type)
		t.Retry, t.Sticky = newRetry(p.Retry), newSticky(p.Sticky)
	}
	key := groupKey{t.Algorithm, poolID}
	slot, ok := c.slots[key]
	if !ok {
		slot = len(table.balancers)
		c.slots[key] = slot
		table.balancers = append(table.balancers, newBalancer(c.poolOr(poolID), t.Algorithm, table.tags))
	}
	t.balancer = slot
	return t
}

func newBalancer(p *pool, alg state.Algorithm, tags []string) *balancer {
	return &balancer{pool: p, alg: alg, tags: tags, groups: make([]atomic.Pointer[Group], len(tags))}
}

// warm makes the groups that were in use in another balancer, so that no request has to.
func (b *balancer) warm(old *balancer) {
	for n := range old.groups {
		if old.groups[n].Load() == nil {
			continue
		}
		if at := slices.Index(b.tags, old.tags[n]); at >= 0 {
			b.group(at)
		}
	}
}
