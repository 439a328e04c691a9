package upstream

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lbnode/lbnode/proxy/internal/viewtest"
	"github.com/lbnode/lbnode/state"
)

// picture is what Update decides.
func picture(s *Set) map[string]string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := map[string]string{}
	users := map[transportKey]int{}
	for id, u := range s.byID {
		ep := u.Endpoint()
		out["backend "+id] = fmt.Sprint(u.flags.Load(), ep.HostPort, ep.key(), u.home.Load().id, u.backend != nil)
		users[ep.key()]++
	}
	for id, p := range s.pools {
		out["pool "+id] = fmt.Sprint(p.size.Load(), p.conf.Load().MaxConnections, p.conf.Load().Queue)
	}
	for key := range s.transports {
		out[fmt.Sprint("transport ", key)] = fmt.Sprint(users[key], s.users[key])
	}
	return out
}

// TestUpdate_stepByStep: a set that went through many views is in the state of one that sees only the last of them.
func TestUpdate_stepByStep(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(7, 7))
	b, s := viewtest.New(t), newSet(t, nil)
	for range 40 {
		b.Put(state.KindBackend, fmt.Sprintf(`{"id":"b%d","address":"10.0.0.1:80","pool":"p%d"}`, r.IntN(30), r.IntN(5)))
	}
	s.Update(b.View())
	for step := range 400 {
		for range 1 + r.IntN(3) {
			id := fmt.Sprintf("b%d", r.IntN(30))
			pool := fmt.Sprintf("p%d", r.IntN(5))
			_, known := b.View().Backend(id)
			_, named := b.View().Pool(pool)
			switch r.IntN(8) {
			case 0, 1:
				b.Put(state.KindBackend, fmt.Sprintf(`{"id":%q,"address":"10.0.0.%d:80","pool":%q,"weight":%d,"max_connections":%d}`, id, 1+r.IntN(3), pool, r.IntN(3), r.IntN(2)))
			case 2:
				if known {
					b.Delete(state.KindBackend, id)
				}
			case 3:
				if known {
					b.Admin([]state.AdminState{state.AdminStopped, state.AdminReady}[r.IntN(2)], id)
				}
			case 4, 5:
				if known {
					b.Verdict([]state.Verdict{state.VerdictDown, state.VerdictUp}[r.IntN(2)], id)
				}
			case 6:
				b.Put(state.KindPool, fmt.Sprintf(`{"id":%q,"max_connections":%d,"protocol":%q}`, pool, r.IntN(3), []string{"auto", "h2c"}[r.IntN(2)]))
			case 7:
				if named && r.IntN(4) == 0 {
					b.Delete(state.KindPool, pool)
				}
			}
		}
		s.Update(b.View())
		fresh := newSet(t, nil)
		fresh.Update(b.View())
		got, want := picture(s), picture(fresh)
		for id, p := range fresh.pools { // the configuration of a pool that is gone stays in force for its backends
			if !p.named && s.pools[id] != nil {
				got["pool "+id], want["pool "+id] = "", ""
			}
		}
		if len(s.byID) == 0 {
			t.Fatalf("after step %d no backend is left: the test tests nothing", step)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("after step %d (-fresh +went along):\n%s", step, diff)
		}
	}
}

// TestUpdate_looksAtWhatChanged counts the backends that a change makes Update look at.
func TestUpdate_looksAtWhatChanged(t *testing.T) {
	t.Parallel()
	b, s := viewtest.New(t), newSet(t, nil)
	docs := make([]string, 2000)
	for i := range docs {
		docs[i] = fmt.Sprintf(`{"id":"b%04d","address":"10.0.0.1:80","pool":"p%d"}`, i, i%50)
	}
	b.Put(state.KindBackend, docs...)
	for _, tt := range []struct {
		name   string
		change func()
		want   int
	}{
		{"all are new", func() {}, 2000},
		{"nothing", func() {}, 0},
		{"a verdict", func() { b.Verdict(state.VerdictUp, "b0007") }, 1},
		{"an admin state", func() { b.Admin(state.AdminStopped, "b0008", "b1008") }, 2},
		{"a backend that moves", func() { b.Put(state.KindBackend, `{"id":"b0007","address":"10.0.0.1:80","pool":"p1"}`) }, 1},
		{"a backend that goes", func() { b.Delete(state.KindBackend, "b0007") }, 1},
		{"a pool's settings", func() { b.Put(state.KindPool, `{"id":"p2","max_connections":9}`) }, 40},
		{"a route", func() { b.Put(state.KindRoute, `{"id":"r","backend_pool":"p2"}`) }, 0},
	} {
		tt.change()
		if got := s.update(b.View()); got != tt.want {
			t.Errorf("%s: Update looked at %d backends, want %d", tt.name, got, tt.want)
		}
	}
}
