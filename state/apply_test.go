package state

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestApply_operations(t *testing.T) {
	t.Parallel()
	const (
		a     = `put backend a {"id":"a","address":"10.0.0.1:80"}`
		route = `put route r {"id":"r","backend_pool":"p"}`
	)
	for _, tc := range []struct {
		name  string
		given []string // earlier entries, one each
		op    []string // one entry
		want  string   // effects as "created backend a@1", joined by ", "; or the refusal's code
		op0   int      // the refused operation
		errs  string   // pointers of the refusal's errors
		refs  string
	}{
		{name: "create", op: []string{`create backend a {"id":"a","address":"h:1"}`}, want: "created backend a@1"},
		{name: "put creates", op: []string{a}, want: "created backend a@1"},
		{name: "the id may be left out of the value", op: []string{`put backend a {"address":"h:1"}`}, want: "created backend a@1"},
		{name: "put replaces", given: []string{a}, op: []string{`put backend a {"id":"a","address":"10.0.0.2:80"}`}, want: "updated backend a@2"},
		{name: "put the same", given: []string{a}, op: []string{a}, want: "unchanged backend a@1"},
		{name: "create the same", given: []string{a}, op: []string{strings.Replace(a, "put", "create", 1)}, want: "unchanged backend a@1"},
		{name: "create another", given: []string{a}, op: []string{`create backend a {"id":"a","address":"10.0.0.2:80"}`}, want: "already_exists"},
		{name: "patch", given: []string{a}, op: []string{`patch backend a {"weight":5}`}, want: "updated backend a@2"},
		{name: "patch that changes nothing", given: []string{a}, op: []string{`patch backend a {"weight":1}`}, want: "unchanged backend a@1"},
		{name: "empty patch", given: []string{a}, op: []string{`patch backend a {}`}, want: "unchanged backend a@1"},
		{name: "patch of nothing", op: []string{`patch backend a {"weight":5}`}, want: "not_found"},
		{name: "patch that is no object", given: []string{a}, op: []string{`patch backend a 5`}, want: "invalid", errs: ""},
		{name: "patch of the id", given: []string{a}, op: []string{`patch backend a {"id":"b"}`}, want: "invalid", errs: "/id"},
		{name: "patch to something invalid", given: []string{a}, op: []string{`patch backend a {"weight":-1}`}, want: "invalid", errs: "/weight"},
		{name: "another id in the value", op: []string{`put backend a {"id":"b","address":"h:1"}`}, want: "invalid", errs: "/id"},
		{name: "no value", op: []string{`put backend a`}, want: "invalid", errs: ""},
		{name: "null", op: []string{`put pool p null`}, want: "invalid", errs: ""},
		{name: "value of a wrong type", op: []string{`put backend a {"weight":"heavy"}`}, want: "invalid", errs: ""},
		{name: "several errors at once", op: []string{`put backend a {"id":"a","address":"","weight":1001,"tags":["-"]}`}, want: "invalid", errs: "/address /weight /tags/0"},
		{name: "bad id", op: []string{`put backend A {"id":"A","address":"h:1"}`}, want: "invalid", errs: "/id"},
		{name: "reserved id", op: []string{`put backend health {"id":"health","address":"h:1"}`}, want: "invalid", errs: "/id"},
		{name: "unknown kind", op: []string{`put cat a {}`}, want: "invalid"},
		{name: "unknown verb", op: []string{`pet backend a {}`}, want: "invalid"},

		{name: "if_match holds", given: []string{a}, op: []string{`patch@1 backend a {"weight":5}`}, want: "updated backend a@2"},
		{name: "if_match does not hold", given: []string{a, `patch backend a {"weight":5}`}, op: []string{`patch@1 backend a {"weight":6}`}, want: "index_mismatch"},
		{name: "if_match before unchanged", given: []string{a}, op: []string{strings.Replace(a, "put", "put@9", 1)}, want: "index_mismatch"},
		{name: "if_match of nothing", op: []string{strings.Replace(a, "put", "put@1", 1)}, want: "not_found"},
		{name: "if_match on delete", given: []string{a}, op: []string{`delete@9 backend a`}, want: "index_mismatch"},

		{name: "delete decommissions", given: []string{a}, op: []string{`delete backend a`}, want: "updated backend a@2"},
		{name: "delete again", given: []string{a, `delete backend a`}, op: []string{`delete backend a`}, want: "unchanged backend a@2"},
		{name: "delete by force", given: []string{a}, op: []string{`delete! backend a`}, want: "deleted backend a@2"},
		{name: "delete nothing", op: []string{`delete backend a`}, want: "not_found"},
		{name: "delete nothing by force", op: []string{`delete! backend a`}, want: "not_found"},
		{name: "delete a route", given: []string{route}, op: []string{`delete route r`}, want: "deleted route r@2"},
		{
			name: "delete a pool in use", given: []string{route, `put backend b {"id":"b","address":"h:1","pool":"p"}`}, op: []string{`delete pool p`},
			want: "in_use", refs: "route/r backend/b",
		},
		{
			name: "delete a pool in use by force", given: []string{route, `put backend b {"id":"b","address":"h:1","pool":"p"}`}, op: []string{`delete! pool p`},
			want: "deleted pool p@3",
		},
		{name: "delete an unused pool", given: []string{`put pool p {"id":"p"}`}, op: []string{`delete pool p`}, want: "deleted pool p@2"},

		{name: "frontend", op: []string{`put frontend f {"id":"f","hosts":["a.example","*.b.example"],"key":"k","secret":"s"}`}, want: "created frontend f@1"},
		{
			name: "frontend with another's host", given: []string{`put frontend f {"id":"f","hosts":["a.example"],"key":"k"}`},
			op: []string{`put frontend g {"id":"g","hosts":["b.example","A.Example"]}`}, want: "in_use", errs: "/hosts/0", refs: "frontend/f",
		},
		{
			name: "frontend with another's key", given: []string{`put frontend f {"id":"f","key":"k"}`},
			op: []string{`put frontend g {"id":"g","key":"k"}`}, want: "in_use", errs: "/key", refs: "frontend/f",
		},
		{
			name: "frontend with its own host and key", given: []string{`put frontend f {"id":"f","hosts":["a.example"],"key":"k"}`},
			op: []string{`patch frontend f {"hosts":["a.example","c.example"]}`}, want: "updated frontend f@2",
		},
		{name: "frontends without keys", given: []string{`put frontend f {"id":"f"}`}, op: []string{`put frontend g {"id":"g"}`}, want: "created frontend g@2"},

		{
			name: "transaction", given: []string{a}, op: []string{`patch backend a {"weight":2}`, `delete! backend a`, a, route},
			want: "updated backend a@2, deleted backend a@2, created backend a@2, created route r@2",
		},
		{name: "transaction sees itself", op: []string{a, `patch@1 backend a {"weight":2}`}, want: "created backend a@1, updated backend a@1"},
		{name: "transaction refused at its end", op: []string{a, route, `delete route x`}, want: "not_found", op0: 2},
		{name: "empty transaction", op: nil, want: ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			l := newLog(t)
			for _, g := range tc.given {
				l.must(parse(t, g))
			}
			config, term, before := l.view.ConfigGen, l.view.Term, Hash(l.view)
			res := l.ops(parseAll(t, tc.op...)...)
			if got := outcomeOf(res); got != tc.want {
				t.Fatalf("got %q, want %q", got, tc.want)
			}
			if r := res.Refusal; r != nil {
				var errs []string
				for _, e := range r.Errors {
					errs = append(errs, e.Pointer)
					if e.Message == "" {
						t.Errorf("the error at %q says nothing", e.Pointer)
					}
				}
				if got := strings.TrimSpace(strings.Join(errs, " ")); got != tc.errs || r.Op != tc.op0 || strings.Join(r.Refs, " ") != tc.refs || r.Message == "" {
					t.Errorf("refusal %+v, want op %d, errors at %q, refs %q", r, tc.op0, tc.errs, tc.refs)
				}
			}
			moved := res.Refusal == nil && strings.ContainsAny(strings.ReplaceAll(tc.want, "unchanged", ""), "abcdefghijklmnopqrstuvwxyz") && !strings.HasPrefix(tc.want, "unchanged")
			if got := l.view.ConfigGen != config; got != moved {
				t.Errorf("ConfigGen moved: %v, want %v", got, moved)
			}
			if !moved {
				same := *l.view
				same.Index, same.Term = same.Index-1, term
				if Hash(&same) != before {
					t.Error("an entry without effect changed more than the index")
				}
			}
		})
	}
}

func outcomeOf(r Result) string {
	if r.Refusal != nil {
		return string(r.Refusal.Code)
	}
	var out []string
	for _, o := range r.Ops {
		out = append(out, fmt.Sprintf("%s %s %s@%d", o.Effect, o.Kind, o.ID, o.ModifyIndex))
	}
	return strings.Join(out, ", ")
}

func TestApply_defaults(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	l.must(parseAll(t, `put backend a {"address":" h:1 ","tags":["b","a","b"]}`, `put route r {"backend_pool":"p","match":{"path":"/x/","method":"post, get"}}`)...)
	b := l.backend("a")
	want := BackendSpec{ID: "a", Address: "h:1", Pool: "default", Weight: 1, Tags: []string{"a", "b"}, AdminState: AdminReady, LoadFactor: 1}
	if d := cmp.Diff(want, b.BackendSpec); d != "" {
		t.Error(d)
	}
	if b.CreateIndex != 1 || b.ModifyIndex != 1 || b.Gen != 1 || b.AdminIndex != 1 || b.Verdict != VerdictUnknown || !b.AdminSince.Equal(at) {
		t.Errorf("stamps and status are %+v %+v", b.Stamp, b.BackendStatus)
	}
	r, _ := l.view.Route("r")
	if r.Match.Path != "/x" || r.Match.Method != "GET,POST" || r.Retries != 2 || r.Match.Headers == nil {
		t.Errorf("route is %+v", r.RouteSpec)
	}
	for _, id := range []string{"default", "p"} {
		p, ok := l.view.Pool(id)
		if !ok {
			t.Fatalf("pool %s was not made", id)
		}
		if errs := p.Validate(); len(errs) > 0 {
			t.Errorf("the default settings of pool %s are not valid: %v", id, errs)
		}
		if p.Health.Interval.String() != "2s" || p.Health.Rise != 2 || p.Health.Fall != 3 || p.Health.Path != "/" || p.Health.Method != "GET" {
			t.Errorf("health of pool %s is %+v", id, p.Health)
		}
	}
	// Zero is a value where it means something.
	l.must(parseAll(t, `patch backend a {"weight":0}`, `patch route r {"retries":0}`)...)
	if r, _ := l.view.Route("r"); l.backend("a").Weight != 0 || r.Retries != 0 {
		t.Errorf("weight %d, retries %d, want 0 and 0", l.backend("a").Weight, r.Retries)
	}
	// Null is the default again.
	l.must(parseAll(t, `patch backend a {"weight":null,"tags":null}`, `patch route r {"retries":null}`)...)
	if r, _ := l.view.Route("r"); l.backend("a").Weight != 1 || r.Retries != 2 || len(l.backend("a").Tags) != 0 {
		t.Errorf("weight %d, retries %d, tags %v, want the defaults", l.backend("a").Weight, r.Retries, l.backend("a").Tags)
	}
}

func TestApply_putKeepsWhatItMustNotReset(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	l.must(parseAll(t, `put backend a {"address":"h:1","admin_state":"stopped"}`, `put frontend f {"key":"k","secret":"s3cret"}`)...)
	l.must(parseAll(t, `put backend a {"address":"h:1","weight":9}`, `put frontend f {"key":"k2"}`)...)
	if got := l.backend("a").AdminState; got != AdminStopped {
		t.Errorf("a replacement without admin_state made it %s, want stopped", got)
	}
	if f, _ := l.view.Frontend("f"); f.Secret != "s3cret" || f.Key != "k2" {
		t.Errorf("frontend is %+v, want the old secret and the new key", f.FrontendSpec)
	}
	l.must(parseAll(t, `patch backend a {"admin_state":null}`, `patch frontend f {"secret":null}`)...)
	if got := l.backend("a").AdminState; got != AdminReady {
		t.Errorf("admin_state null in a patch made it %s, want the default", got)
	}
	if f, _ := l.view.Frontend("f"); f.Secret != "" {
		t.Error("secret null in a patch kept the secret")
	}
}

func TestApply_refusedTransactionChangesNothing(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	l.must(parse(t, `put backend a {"address":"h:1"}`))
	before := l.view
	res := l.ops(parseAll(t, `delete! backend a`, `put backend b {"address":"h:2"}`, `put route r {}`)...)
	if res.Refusal == nil || res.Refusal.Op != 2 || res.Ops != nil {
		t.Fatalf("result %+v, want a refusal of the third operation and no effects", res)
	}
	if l.view.Index != before.Index+1 || l.view.ConfigGen != before.ConfigGen || l.view.Len(KindBackend) != 1 || len(l.view.FindBackends("h:1")) != 1 {
		t.Errorf("a refused transaction changed something")
	}
}

func TestApply_init(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	for _, tc := range []struct {
		id   string
		want Code
	}{{"one", ""}, {"one", ""}, {"two", CodeCluster}} {
		res := l.do(Command{Type: TypeInit, ClusterID: tc.id})
		var got Code
		if res.Refusal != nil {
			got = res.Refusal.Code
		}
		if got != tc.want || l.view.ClusterID != "one" {
			t.Errorf("init %s: %q in cluster %q, want %q in cluster one", tc.id, got, l.view.ClusterID, tc.want)
		}
	}
}

func TestApply_states(t *testing.T) {
	t.Parallel()
	up := StateChange{ID: "a", Gen: 1, From: VerdictUnknown, To: VerdictUp, Text: "2 of 3"}
	for _, tc := range []struct {
		name    string
		given   []string
		states  []StateChange // each its own entry; the last is looked at
		verdict Verdict
		drained bool
		moved   bool
	}{
		{"verdict", nil, []StateChange{up}, VerdictUp, false, true},
		{"same again", nil, []StateChange{up, up}, VerdictUp, false, false},
		{"from another verdict", nil, []StateChange{{ID: "a", Gen: 1, From: VerdictDown, To: VerdictUp}}, VerdictUnknown, false, false},
		{"to the present verdict", nil, []StateChange{up, {ID: "a", Gen: 1, From: VerdictUp, To: VerdictUp}}, VerdictUp, false, false},
		{"of another generation", nil, []StateChange{{ID: "a", Gen: 7, From: VerdictUnknown, To: VerdictUp}}, VerdictUnknown, false, false},
		{"of nobody", nil, []StateChange{{ID: "x", Gen: 1, From: VerdictUnknown, To: VerdictUp}}, VerdictUnknown, false, false},
		{"drained without a drain", nil, []StateChange{{ID: "a", Drained: 1}}, VerdictUnknown, false, false},
		{"drained", []string{`patch backend a {"admin_state":"stopped"}`}, []StateChange{{ID: "a", Drained: 2}}, VerdictUnknown, true, true},
		{"drained twice", []string{`patch backend a {"admin_state":"stopped"}`}, []StateChange{{ID: "a", Drained: 2}, {ID: "a", Drained: 2}}, VerdictUnknown, true, false},
		{
			"an older drain",
			[]string{`patch backend a {"admin_state":"stopped"}`, `patch backend a {"admin_state":"ready"}`, `patch backend a {"admin_state":"stopped"}`},
			[]StateChange{{ID: "a", Drained: 2}},
			VerdictUnknown, false, false,
		},
		{"both at once", []string{`patch backend a {"admin_state":"stopped"}`}, []StateChange{{ID: "a", Gen: 1, From: VerdictUnknown, To: VerdictDown, Drained: 2}}, VerdictDown, true, true},
		{"half of both", []string{`patch backend a {"admin_state":"stopped"}`}, []StateChange{{ID: "a", Gen: 9, From: VerdictUnknown, To: VerdictDown, Drained: 2}}, VerdictUnknown, true, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			l := newLog(t)
			l.must(parse(t, `put backend a {"address":"h:1"}`))
			for _, g := range tc.given {
				l.must(parse(t, g))
			}
			modify, config := l.backend("a").ModifyIndex, l.view.ConfigGen
			var before *View
			for _, ch := range tc.states {
				before = l.view
				l.states(ch)
			}
			b := l.backend("a")
			if b.Verdict != tc.verdict || b.Drained != tc.drained {
				t.Errorf("verdict %s, drained %v, want %s and %v", b.Verdict, b.Drained, tc.verdict, tc.drained)
			}
			if got := l.view.StateGen != before.StateGen; got != tc.moved {
				t.Errorf("StateGen moved: %v, want %v", got, tc.moved)
			}
			if got := b.StateIndex == l.view.Index; got != tc.moved {
				t.Errorf("StateIndex moved: %v, want %v", got, tc.moved)
			}
			if b.ModifyIndex != modify || l.view.ConfigGen != config {
				t.Error("health moved what counts operators' changes")
			}
		})
	}
}

func TestApply_drainedDecommissionedIsRemoved(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	l.must(parse(t, `put backend a {"address":"h:1"}`))
	l.must(parse(t, `delete backend a`))
	b := l.backend("a")
	if b.AdminState != AdminDecommissioned || !b.Draining() {
		t.Fatalf("deleted backend is %s, draining %v", b.AdminState, b.Draining())
	}
	l.states(StateChange{ID: "a", Drained: b.AdminIndex})
	if _, ok := l.view.Backend("a"); ok || len(l.view.FindBackends("h:1")) != 0 {
		t.Error("it is still there after its drain")
	}
	if l.view.ConfigGen != l.view.Index || l.view.StateGen != l.view.Index {
		t.Error("its removal does not show in the generations")
	}
}

func TestApply_whatAChangeOfABackendResets(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		patch                string
		gen, admin, undrains bool
	}{
		{`{"weight":3}`, false, false, false},
		{`{"tags":["x"]}`, false, false, false},
		{`{"address":"h:2"}`, true, false, false},
		{`{"pool":"p"}`, true, false, false},
		{`{"admin_state":"ready"}`, false, true, true},
		{`{"admin_state":"decommissioned"}`, false, true, true},
	} {
		l := newLog(t)
		l.must(parse(t, `put backend a {"address":"h:1","admin_state":"stopped"}`))
		l.states(StateChange{ID: "a", Gen: 1, From: VerdictUnknown, To: VerdictUp, Text: "why", Drained: 1})
		before := l.backend("a")
		l.must(parse(t, `patch backend a `+tc.patch))
		b := l.backend("a")
		if got := b.Gen != before.Gen; got != tc.gen {
			t.Errorf("%s: generation moved: %v, want %v", tc.patch, got, tc.gen)
		}
		if forgot := b.Verdict == VerdictUnknown && b.VerdictText == ""; forgot != tc.gen {
			t.Errorf("%s: verdict forgotten: %v, want %v", tc.patch, forgot, tc.gen)
		}
		if got := b.AdminIndex != before.AdminIndex; got != tc.admin {
			t.Errorf("%s: admin_index moved: %v, want %v", tc.patch, got, tc.admin)
		}
		if got := !b.Drained; got != tc.undrains {
			t.Errorf("%s: no longer drained: %v, want %v", tc.patch, got, tc.undrains)
		}
		if b.CreateIndex != 1 || b.ModifyIndex != l.view.Index {
			t.Errorf("%s: stamps are %+v", tc.patch, b.Stamp)
		}
	}
}

// TestBackend_nodeState is the table of DESIGN §4.
func TestBackend_nodeState(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		admin                              AdminState
		none, up, down                     NodeState // by verdict
		drainedNone, drainedUp, drainedBad NodeState // the same, once drained
	}{
		{AdminInit, NodeInit, NodeInit, NodeInit, NodeInit, NodeInit, NodeInit},
		{AdminReady, NodeInit, NodeReady, NodeError, NodeInit, NodeReady, NodeError},
		{AdminStopped, NodeInit, NodeReady, NodeError, NodeStopped, NodeStopped, NodeError},
		{AdminDecommissioned, NodeInit, NodeReady, NodeError, NodeDecommissioned, NodeDecommissioned, NodeDecommissioned},
	} {
		for _, x := range []struct {
			verdict Verdict
			drained bool
			want    NodeState
		}{
			{VerdictUnknown, false, tc.none},
			{VerdictUp, false, tc.up},
			{VerdictDown, false, tc.down},
			{VerdictUnknown, true, tc.drainedNone},
			{VerdictUp, true, tc.drainedUp},
			{VerdictDown, true, tc.drainedBad},
		} {
			b := Backend{BackendSpec: BackendSpec{AdminState: tc.admin}, BackendStatus: BackendStatus{Verdict: x.verdict, Drained: x.drained}}
			if got := b.NodeState(); got != x.want {
				t.Errorf("%s, %s, drained %v: node state %s, want %s", tc.admin, x.verdict, x.drained, got, x.want)
			}
			if draining := (tc.admin == AdminStopped || tc.admin == AdminDecommissioned) && !x.drained; b.Draining() != draining {
				t.Errorf("%s, drained %v: Draining() = %v", tc.admin, x.drained, b.Draining())
			}
		}
	}
}
