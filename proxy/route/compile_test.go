package route

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lbnode/lbnode/state"
)

// picture is everything about a table that matters, as text.
func picture(t *Table) map[string]string {
	out := map[string]string{}
	var order []string
	for i, e := range t.entries {
		order = append(order, e.rule.route.ID)
		out["target "+e.rule.route.ID] = t.targetText(e.target)
		if i > 0 && t.entries[i-1].rank >= e.rank {
			out["ranks"] = "do not grow at " + e.rule.route.ID
		}
	}
	out["order"] = strings.Join(order, " ")
	if t.any != nil {
		out["host any"] = t.any.text()
	}
	for _, m := range []map[string]*hostRoutes{t.exact, t.suffix} {
		for host, h := range m {
			out["host "+host] = h.text()
		}
	}
	for host, f := range t.frontends {
		out["frontend "+host] = fmt.Sprint(f.id, " ", t.tags[f.tags])
	}
	return out
}

func (t *Table) targetText(to *Target) string {
	b := t.balancers[to.balancer]
	s := fmt.Sprint(to.Pool, " ", to.Algorithm, " ", to.Retries, " ", to.Retry, " ", to.Sticky, " ", to.Kind, " ", b.alg, " ", b.pool.limited)
	for tags := range t.tags {
		s += " |"
		for _, m := range t.group(to, tags).members {
			s += fmt.Sprint(" ", m.Upstream.ID(), "*", m.Weight)
		}
	}
	if to.Mirror != nil {
		s += " mirror " + t.targetText(to.Mirror.Target)
	}
	if to.split != nil {
		for _, share := range to.split.shares {
			s += " share " + share.Pool
		}
	}
	return s
}

func ids(list []*entry) (s string) {
	for i, e := range list {
		s += " " + e.rule.route.ID
		if i > 0 && list[i-1].rank >= e.rank {
			s += "!"
		}
	}
	return s
}

func (h *hostRoutes) text() string {
	s := fmt.Sprint(h.size)
	for _, path := range slices.Sorted(maps.Keys(h.exact)) {
		s += " =" + path + ids(h.exact[path])
	}
	return s + h.tree.text(h.first)
}

func (n *node) text(first uint64) string {
	s := fmt.Sprintf(" (%s", n.label) + ids(n.prefix) + " ~" + ids(n.regex)
	for _, e := range slices.Concat(n.prefix, n.regex) {
		if e.rank < first {
			s += " before the first"
		}
	}
	kids := slices.Clone(n.kids)
	slices.SortFunc(kids, func(a, b *node) int { return strings.Compare(a.label, b.label) })
	for _, k := range kids {
		s += k.text(first)
	}
	for i, k := range n.kids {
		if n.index[i] != k.label[0] {
			s += " wrong index"
		}
	}
	return s + ")"
}

// TestCompile_stepByStep: a table that was made out of others is the one that is made from nothing, and those that it
// was made out of stay as they were.
func TestCompile_stepByStep(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(5, 5))
	b := newBench(t)
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	route := func() string {
		body := fmt.Sprintf(`{"id":"r%d","priority":%d,"retries":%d,"match":{"host":%q,"path":%q,"path_type":%q,"method":%q}`,
			r.IntN(40), r.IntN(2), r.IntN(3), pick("", "", "a.test", "b.test", "*.test", "*.b.test"),
			pick("/", "/a", "/ab", "/abc", "/a/b", "/a/bc", "/b/c/d", "/b/c"), pick("prefix", "exact", "regex"), pick("", "GET", "POST"))
		switch r.IntN(4) {
		case 0:
			return body + fmt.Sprintf(`,"split":[{"pool":"p0","weight":1},{"pool":"p%d","weight":2}]}`, 1+r.IntN(3))
		case 1:
			body += fmt.Sprintf(`,"mirror":{"pool":"p%d","percent":5}`, r.IntN(4))
		}
		return body + fmt.Sprintf(`,"backend_pool":"p%d","algorithm":%q}`, r.IntN(4), pick("random", "least_load"))
	}
	for i := range 4 {
		b.Put(state.KindPool, fmt.Sprintf(`{"id":"p%d"}`, i))
	}
	for i := range 12 {
		b.Put(state.KindBackend, fmt.Sprintf(`{"id":"b%d","address":"10.0.0.1:80","pool":"p%d"}`, i, i%4))
	}
	old := b.table()
	for step := range 600 {
		was := picture(old)
		for range r.IntN(4) {
			known := func(k state.Kind, id string) bool { return b.View().Get(k, id) != nil }
			id, rid := fmt.Sprintf("b%d", r.IntN(12)), fmt.Sprintf("r%d", r.IntN(40))
			switch n := r.IntN(12); {
			case n < 5:
				b.Put(state.KindRoute, route())
			case n < 7 && known(state.KindRoute, rid):
				b.Delete(state.KindRoute, rid)
			case n == 7:
				b.Put(state.KindBackend, fmt.Sprintf(`{"id":%q,"address":"10.0.0.%d:80","pool":"p%d","weight":%d,"tags":[%q],"max_connections":%d}`,
					id, 1+r.IntN(3), r.IntN(4), r.IntN(3), pick("x", "y"), r.IntN(2)))
			case n == 8 && known(state.KindBackend, id):
				b.Delete(state.KindBackend, id)
			case n == 9 && known(state.KindBackend, id):
				b.Admin([]state.AdminState{state.AdminStopped, state.AdminReady}[r.IntN(2)], id)
			case n == 10 && r.IntN(4) == 0:
				b.Put(state.KindPool, fmt.Sprintf(`{"id":"p%d","max_connections":%d,"sticky":{"cookie":%q}}`, r.IntN(4), r.IntN(2), pick("", "sid")))
			case n == 11 && r.IntN(4) == 0:
				b.Put(state.KindFrontend, fmt.Sprintf(`{"id":"f%d","hosts":[%q],"required_tags":[%q]}`, step%2, []string{"h.test", "*.test"}[step%2], pick("x", "y")))
			}
		}
		got := b.table()
		want := picture(NewCompiler(b.set, b.c.reg).Compile(b.View()))
		if diff := cmp.Diff(want, picture(got)); diff != "" {
			t.Fatalf("after step %d (-from nothing +step by step):\n%s", step, diff)
		}
		if diff := cmp.Diff(was, picture(old)); diff != "" {
			t.Fatalf("step %d changed the table before (-before +after):\n%s", step, diff)
		}
		old = got
	}
}

// TestCompile_placesWhatChanged counts the routes that are put in place anew.
func TestCompile_placesWhatChanged(t *testing.T) {
	t.Parallel()
	const n = 2000
	b := newBench(t)
	var routes, backends []string
	for i := range n {
		routes = append(routes, fmt.Sprintf(`{"id":"r%d","backend_pool":"p%d","match":{"path":"/s%d"}}`, i, i%100, i))
		backends = append(backends, fmt.Sprintf(`{"id":"b%d","address":"10.0.0.1:80","pool":"p%d"}`, i, i%100))
	}
	b.Put(state.KindBackend, backends...).Put(state.KindRoute, routes...)
	for _, tt := range []struct {
		name   string
		change func()
		want   int
	}{
		{"all are new", func() {}, n},
		{"nothing", func() {}, 0},
		{"a weight", func() { b.Put(state.KindBackend, `{"id":"b7","address":"10.0.0.1:80","pool":"p7","weight":9}`) }, 0},
		{"an admin state", func() { b.Admin(state.AdminStopped, "b8") }, 0},
		{"a route's timeout", func() { b.routes(`{"id":"r7","backend_pool":"p7","match":{"path":"/s7"},"timeouts":{"total":"9s"}}`) }, 1},
		{"a route's path", func() { b.routes(`{"id":"r7","backend_pool":"p7","match":{"path":"/elsewhere"}}`) }, 1},
		{"a new route", func() { b.routes(`{"id":"new","backend_pool":"p7","match":{"path":"/new"}}`) }, 1},
		{"a route that goes", func() { b.Delete(state.KindRoute, "new") }, 0},
		{"a pool's settings", func() { b.Put(state.KindPool, `{"id":"p2","retry":{"on":["reset"]}}`) }, n / 100},
	} {
		tt.change()
		before := b.c.placed
		b.table()
		if got := b.c.placed - before; got != tt.want {
			t.Errorf("%s: %d routes were put in place, want %d", tt.name, got, tt.want)
		}
	}
}

// TestCompile_noRoomBetween: a table whose ranks leave no room is made from nothing.
func TestCompile_noRoomBetween(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	docs := make([]string, 200)
	for i := range docs {
		docs[i] = fmt.Sprintf(`{"id":"r%03d","backend_pool":"p","match":{"path":"/"}}`, i)
	}
	b.routes(docs[0], docs[len(docs)-1]).table()
	for _, doc := range docs[1 : len(docs)-1] { // each just before the last
		b.routes(doc).table()
	}
	if got := routeOf(b.table(), get("/")); got != "r000" {
		t.Errorf("the first of all routes is %s", got)
	}
	if b.c.placed < 2*len(docs) {
		t.Errorf("%d routes were placed: the test has never filled a gap", b.c.placed)
	}
	if diff := cmp.Diff(picture(NewCompiler(b.set, b.c.reg).Compile(b.View())), picture(b.table())); diff != "" {
		t.Errorf("(-from nothing +step by step):\n%s", diff)
	}
}
