package route

import (
	"github.com/lbnode/lbnode/proxy/shape"
	"github.com/lbnode/lbnode/state"
)

// Mirror is the pool that gets copies of a route's requests.
type Mirror struct {
	Target  *Target
	Percent float64
}

// split is the pools that share a route's requests.
type split struct {
	deal   *shape.Deal
	shares []*Target
}

// shaping gives a target what its route does beside sending requests to a pool.
func (c *Compiler) shaping(t *Target, r *rule, to func(pool string) *Target) {
	t.Shape = r.shape
	if m := r.route.Mirror; m.Pool != "" && m.Percent > 0 {
		t.Mirror = &Mirror{to(m.Pool), m.Percent}
	}
	if deal := shape.NewDeal(&r.route.RouteSpec); deal != nil {
		s := &split{deal: deal}
		for _, share := range r.route.Split {
			u := to(share.Pool)
			u.Shape, u.Mirror, u.split = t.Shape, t.Mirror, s
			s.shares = append(s.shares, u)
		}
		t.split = s
	}
}

// dealt is the target of a request: the share of a split that it falls to, or t.
func (t *Target) dealt(r *Request) *Target {
	s := t.split
	if s == nil {
		return t
	}
	if s.deal.By.Source == "" {
		return s.shares[s.deal.Random()]
	}
	return s.shares[s.deal.Keyed(Part(r, s.deal.By))]
}

// Part is the part of a request that a key names. A request that lacks it is told by its client's address.
func Part(r *Request, by state.HashKey) string {
	t := Target{Hash: by}
	if v, ok := t.part(r); ok {
		return v
	}
	return shape.ClientKey(r.Client)
}

// EachGroup calls f with the group of every share of the route's split, or with the match's own, until f says
// false, and says whether it never did.
func (m *Match) EachGroup(f func(*Group) bool) bool {
	if m.Target.split == nil {
		return f(m.Group)
	}
	for _, t := range m.Target.split.shares {
		if !f(m.table.group(t, m.tags)) {
			return false
		}
	}
	return true
}

// MirrorGroup is the group that gets copies of the request; nil if the route has no mirror.
func (m *Match) MirrorGroup() *Group {
	if m.Target.Mirror == nil {
		return nil
	}
	return m.table.group(m.Target.Mirror.Target, m.tags)
}

// SameReading says whether a path can be read in one way only: without dot segments, backslashes and escaped
// slashes. Of others a rewrite would make something that the backend reads differently.
func SameReading(path string) bool {
	sent, clean, err := readings(path)
	return err == nil && sent == clean
}
