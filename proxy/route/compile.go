package route

import (
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

// Compiler makes tables and keeps what successive tables share.
type Compiler struct {
	set *upstream.Set
	reg *stats.Registry

	clients *shape.Clients // of rate limits

	mu    sync.Mutex // guards the rest
	pools map[string]*pool
	rules map[string]*rule
}

// NewCompiler makes a compiler whose tables pick from set and count in reg.
func NewCompiler(set *upstream.Set, reg *stats.Registry) *Compiler {
	return &Compiler{set: set, reg: reg, clients: shape.NewClients()}
}

// Compile makes the table of a view. The set must have been updated with this view or a newer one before.
func (c *Compiler) Compile(v *state.View) *Table {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &Table{
		exact: map[string]*hostRoutes{}, suffix: map[string]*hostRoutes{},
		frontends: map[string]frontend{}, wildcards: map[string]frontend{},
	}
	tags := t.addFrontends(v)
	c.pools = c.compilePools(v)
	rules := c.compileRules(v)

	targets, entries := make([]Target, len(rules)), make([]entry, len(rules))
	balancers := map[groupKey]*balancer{}
	for rank, r := range rules {
		to := func(t *Target, pool string) *Target {
			c.target(t, v, r.route, pool, balancers, tags)
			return t
		}
		to(&targets[rank], r.route.BackendPool)
		c.shaping(&targets[rank], r, func(pool string) *Target { return to(new(Target), pool) })
		entries[rank] = entry{rank: rank, rule: r, target: &targets[rank]}
		t.add(&entries[rank])
	}
	t.routes, t.entries = len(rules), entries
	return t
}

// addFrontends fills the host maps and returns the distinct tag sets; number 0 is the empty one.
func (t *Table) addFrontends(v *state.View) []string {
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
	return tags
}

// compilePools returns the pools of a view, the old ones where nothing changed.
func (c *Compiler) compilePools(v *state.View) map[string]*pool {
	pools := make(map[string]*pool, v.Len(state.KindPool))
	keys := c.set.StickyGen() // before any token is asked for
	for p := range v.Pools() {
		var members []tagged
		limited := p.MaxConnections > 0
		for b := range v.PoolBackends(p.ID) {
			if u := c.set.Get(b.ID); u != nil {
				m := tagged{tags: b.Tags}
				m.Upstream, m.Weight = u, b.Weight
				members = append(members, m)
				limited = limited || b.MaxConnections > 0
			}
		}
		if old := c.pools[p.ID]; old != nil && old.same(&p.PoolSpec, members) && old.sameProtection(&p.PoolSpec, limited, keys) {
			pools[p.ID] = old
			continue
		}
		pools[p.ID] = &pool{spec: p.PoolSpec, members: members, protection: protect(&p.PoolSpec, members, limited, keys)}
	}
	return pools
}

// compileRules returns the rules of a view in order, the old ones where nothing changed.
func (c *Compiler) compileRules(v *state.View) []*rule {
	n := v.Len(state.KindRoute)
	kept, list := make(map[string]*rule, n), make([]*rule, 0, n)
	for r := range v.Routes() {
		old := c.rules[r.ID]
		if old == nil || old.route != r {
			next := newRule(r)
			next.shape = shape.Compile(&r.RouteSpec, old.shaped(), c.clients)
			old = next
		}
		kept[r.ID] = old
		list = append(list, old)
	}
	c.rules = kept
	slices.SortFunc(list, before)
	return list
}

func (c *Compiler) target(t *Target, v *state.View, r *state.Route, poolID string, balancers map[groupKey]*balancer, tags []string) {
	*t = Target{
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
	if t.balancer = balancers[key]; t.balancer == nil {
		p := c.pools[poolID]
		if p == nil { // deleted by force: the route stays and answers 503
			p = &pool{spec: state.PoolSpec{ID: poolID}}
		}
		t.balancer = &balancer{pool: p, alg: t.Algorithm, tags: tags, groups: make([]atomic.Pointer[Group], len(tags))}
		balancers[key] = t.balancer
	}
}

// add puts an entry in its place. Entries come in the order of rank.
func (t *Table) add(e *entry) {
	r := e.rule
	var h *hostRoutes
	switch {
	case r.host == "":
		if t.any == nil {
			t.any = &hostRoutes{first: e.rank}
		}
		h = t.any
	case r.wild:
		h = hostIn(t.suffix, r.host, e.rank)
	default:
		h = hostIn(t.exact, r.host, e.rank)
	}
	switch r.route.Match.PathType {
	case state.PathExact:
		if h.exact == nil {
			h.exact = map[string][]*entry{}
		}
		h.exact[r.path] = append(h.exact[r.path], e)
	case state.PathRegex:
		n := h.tree.at(r.path)
		n.regex = append(n.regex, e)
	default:
		n := h.tree.at(r.path)
		n.prefix = append(n.prefix, e)
	}
}

func hostIn(m map[string]*hostRoutes, host string, rank int) *hostRoutes {
	h := m[host]
	if h == nil {
		h = &hostRoutes{first: rank}
		m[host] = h
	}
	return h
}
