package upstream

import "github.com/lbnode/lbnode/state"

// Update brings the flags and endpoints in line with a view. When it returns they are in force: see
// Upstream.Begin. A view older than the one applied is ignored. It looks at what differs from the view applied
// before, and at the backends of pools that do.
func (s *Set) Update(v *state.View) { s.update(v) }

// update is Update, and returns how many backends it has looked at.
func (s *Set) update(v *state.View) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.Index < s.applied.Load() {
		return 0
	}
	seen := map[string]bool{}
	touch := func(id string) {
		if !seen[id] {
			seen[id] = true
			s.touch(v, id)
		}
	}
	pools := v.Changed(s.view, state.KindPool)
	for _, id := range pools {
		if p, ok := v.Pool(id); ok {
			s.pool(id).conf.Store(&p.PoolSpec)
			s.pool(id).named = true
		} else if home := s.pools[id]; home != nil {
			home.named = false
		}
	}
	for _, id := range v.Changed(s.view, state.KindBackend) {
		touch(id)
	}
	for _, id := range pools {
		for b := range v.PoolBackends(id) {
			touch(b.ID)
		}
		s.forget(s.pools[id])
	}
	for u := range s.leaving {
		if u.InFlight() == 0 {
			delete(s.leaving, u)
			delete(s.byID, u.id)
			s.goTo(u, nil)
		}
	}
	s.sweep()
	s.admit(seen)
	s.warm = s.warm || len(s.byID) > 0
	s.view = v
	s.applied.Store(v.Index)
	return len(seen)
}

// touch brings one backend in line with a view.
func (s *Set) touch(v *state.View, id string) {
	b, ok := v.Backend(id)
	if !ok {
		s.remove(id)
		return
	}
	u := s.byID[id]
	fresh := u == nil
	if fresh {
		u = &Upstream{id: id, set: s, stats: s.cfg.Stats.Backend(id), veto: s.early[id]}
		delete(s.early, id)
		s.byID[id] = u
	}
	delete(s.leaving, u)
	home := s.pool(b.Pool)
	pool, _ := v.Pool(b.Pool)
	if u.backend == b && u.pool == pool {
		return // unchanged objects keep their identity from view to view
	}
	s.reach(u, b, pool)
	if u.backend == nil || u.backend.BackendSpec.Drain != b.Drain || u.backend.AdminState != b.AdminState {
		u.expired = false
	}
	another := u.backend != nil && u.backend.Gen != b.Gen
	if another {
		u.load.Store(nil)
	}
	if another || home.conf.Load().Outlier.ConsecutiveErrors == 0 {
		u.readmit(0)
	}
	s.move(u, home)
	u.backend, u.pool = b, pool
	// A backend that comes with a verdict was there before: it is this node that is new.
	s.allow(u, s.warm && !(fresh && b.Verdict == state.VerdictUp))
}

// remove takes a backend out of use that the view does not name any more.
func (s *Set) remove(id string) {
	u := s.byID[id]
	if u == nil || u.backend == nil {
		return
	}
	s.move(u, nil)
	// The flags go first: a request that counts itself after this sees them.
	u.backend, u.pool, u.veto = nil, nil, veto{}
	u.configure(0)
	u.readmit(0)
	s.leaving[u] = true
}

// move makes a pool an upstream's home; nil = it leaves, and has its last home until then.
func (s *Set) move(u *Upstream, to *Pool) {
	from := u.home.Load()
	if u.backend != nil && from != to { // before it is counted nowhere
		from.size.Add(-1)
		s.forget(from)
	}
	if to != nil {
		if u.backend == nil || from != to {
			to.size.Add(1)
		}
		u.home.Store(to)
	}
}

// forget drops a pool that the view does not name and that has no backends.
func (s *Set) forget(p *Pool) {
	if p != nil && !p.named && p.size.Load() == 0 {
		delete(s.pools, p.id)
	}
}

// admit lets in who waits for what has changed.
func (s *Set) admit(changed map[string]bool) {
	for id := range changed {
		if u := s.byID[id]; u != nil && u.home.Load() != nil {
			u.home.Load().hand(u)
		}
	}
}

// goTo gives an upstream an endpoint, or none.
func (s *Set) goTo(u *Upstream, ep *Endpoint) {
	if ep != nil {
		s.users[ep.key()]++
	}
	if old := u.endpoint.Swap(ep); old != nil {
		s.users[old.key()]--
	}
}

func (e *Endpoint) key() transportKey { return transportKey{e.Protocol, e.TLS, e.Proxy} }

// sweep drops transports that no endpoint uses any more. Requests that run on them go on.
func (s *Set) sweep() {
	for key, t := range s.transports {
		if s.users[key] == 0 {
			t.CloseIdleConnections()
			delete(s.transports, key)
			delete(s.users, key)
		}
	}
}
