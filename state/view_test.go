package state

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

func idsOf(bs []*Backend) string {
	ids := make([]string, len(bs))
	for i, b := range bs {
		ids[i] = b.ID
	}
	return strings.Join(ids, " ")
}

func TestView_findBackends(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	l.must(parseAll(t,
		`put backend n22 {"address":"https://node22.bbb.example.org/bigbluebutton/api/"}`,
		`put backend n23 {"address":"https://node23.bbb.example.org/bigbluebutton/api/"}`,
		`put backend n230 {"address":"https://node230.bbb.example.org/bigbluebutton/api/"}`,
		`put backend n23p {"address":"https://node23.bbb.example.org:4430/bigbluebutton/api/"}`,
		`put backend n23h {"address":"http://node23.bbb.example.org/bigbluebutton/api/"}`,
		`put backend plain {"address":"10.0.1.15:8080"}`,
		`put backend twin-a {"address":"10.0.1.16:8080"}`,
		`put backend twin-b {"address":"http://10.0.1.16:8080/"}`,
		`put backend base-a {"address":"http://multi.example:80/a"}`,
		`put backend base-b {"address":"http://multi.example/b"}`,
		`put backend base-ab {"address":"http://multi.example/a/b"}`,
		`put backend v6 {"address":"[2001:db8::1]:8080"}`,
	)...)
	for ref, want := range map[string]string{
		"n23": "n23",
		"https://node23.bbb.example.org/bigbluebutton/api/":     "n23",
		"https://node23.bbb.example.org/bigbluebutton/api":      "n23",
		"https://node23.bbb.example.org":                        "n23",
		"https://node23.bbb.example.org/":                       "n23",
		"https://NODE23.bbb.Example.ORG:443/bigbluebutton/api/": "n23",
		"HTTPS://node23.bbb.example.org":                        "n23",
		"https://node23.bbb.example.org:4430":                   "n23p",
		"http://node23.bbb.example.org":                         "n23h",
		"https://node23.bbb.example.org/bigbluebutton":          "", // a part of the path is not an address
		"https://node23.bbb.example.org/BigBlueButton/api/":     "",
		"https://node2.bbb.example.org":                         "",
		"node23.bbb.example.org":                                "",
		"10.0.1.15:8080":                                        "plain",
		"http://10.0.1.15:8080":                                 "plain",
		"http://10.0.1.15:8080/":                                "plain",
		"https://10.0.1.15:8080":                                "",
		"10.0.1.15":                                             "",
		"10.0.1.16:8080":                                        "twin-a twin-b",
		"http://multi.example":                                  "base-a base-ab base-b",
		"http://multi.example/a":                                "base-a",
		"[2001:db8::1]:8080":                                    "v6",
		"http://[2001:DB8::1]:8080":                             "v6",
		"":                                                      "",
		"://":                                                   "",
		"http://":                                               "",
	} {
		if got := idsOf(l.view.FindBackends(ref)); got != want {
			t.Errorf("FindBackends(%q) = %q, want %q", ref, got, want)
		}
	}
}

func TestView_idBeforeAddress(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	l.must(parse(t, `put backend a.example {"address":"b.example:80"}`), parse(t, `put backend other {"address":"http://a.example"}`))
	if got := idsOf(l.view.FindBackends("a.example")); got != "a.example" {
		t.Errorf("found %q, want the backend with this id", got)
	}
}

func TestView_indexesFollowChanges(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	find := func(addr, want string) {
		t.Helper()
		if got := idsOf(l.view.FindBackends(addr)); got != want {
			t.Errorf("at index %d %s finds %q, want %q", l.view.Index, addr, got, want)
		}
	}
	members := func(pool, want string) {
		t.Helper()
		var bs []*Backend
		for b := range l.view.PoolBackends(pool) {
			bs = append(bs, b)
		}
		if got := idsOf(bs); got != want {
			t.Errorf("at index %d pool %s has %q, want %q", l.view.Index, pool, got, want)
		}
	}
	l.must(parseAll(t, `put backend a {"address":"h:1","pool":"p"}`, `put backend b {"address":"h:1","pool":"p2"}`)...)
	find("h:1", "a b")
	members("p", "a") // and not those of p2
	l.must(parse(t, `patch backend a {"address":"h:2"}`))
	find("h:1", "b")
	find("h:2", "a")
	l.must(parse(t, `patch backend a {"pool":"p2"}`))
	members("p", "")
	members("p2", "a b")
	l.states(StateChange{ID: "a", Gen: l.backend("a").Gen, From: VerdictUnknown, To: VerdictUp})
	find("h:2", "a")
	members("p2", "a b")
	l.must(parse(t, `delete! pool p2`))
	find("h:1", "")
	find("h:2", "")
	members("p2", "")
	if n := l.view.Len(KindBackend); n != 0 {
		t.Errorf("%d backends left without their pool", n)
	}
	if l.view.byAddr.Len() != 0 || l.view.byPool.Len() != 0 {
		t.Errorf("%d and %d entries left in the indexes", l.view.byAddr.Len(), l.view.byPool.Len())
	}
}

func TestView_readers(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	l.must(parseAll(t, `put backend b {"address":"h:1"}`, `put backend a {"address":"h:2"}`, `put route r {"backend_pool":"default"}`, `put frontend f {"key":"k"}`)...)
	v := l.view
	var got []string
	for _, k := range append(Kinds(), "cat") {
		for o := range v.All(k) {
			got = append(got, string(o.Kind())+"/"+o.ObjectID())
			if v.Get(k, o.ObjectID()) != o {
				t.Errorf("Get(%s, %s) is another object", k, o.ObjectID())
			}
			if d := o.Spec(); d.Kind() != k || d.ObjectID() != o.ObjectID() {
				t.Errorf("the spec of %s/%s is of %s/%s", k, o.ObjectID(), d.Kind(), d.ObjectID())
			}
			if o.Stamps() != (Stamp{1, 1}) {
				t.Errorf("stamps of %s/%s are %+v", k, o.ObjectID(), o.Stamps())
			}
		}
	}
	if want := "backend/a backend/b pool/default route/r frontend/f"; strings.Join(got, " ") != want {
		t.Errorf("All gives %v, want %s", got, want)
	}
	if v.Len(KindBackend) != 2 || v.Len("cat") != 0 || v.Get("cat", "a") != nil {
		t.Error("counts are wrong")
	}
	_, noPool := v.Pool("a")
	_, noRoute := v.Route("a")
	_, noFrontend := v.Frontend("a")
	if noPool || noRoute || noFrontend {
		t.Error("an object was found as another kind")
	}
	for range v.Backends() { // stopping early is allowed
		break
	}
	for range v.PoolBackends("default") {
		break
	}
}

// TestView_isImmutable reads one old view from several goroutines while the log goes on; the race detector
// watches.
func TestView_isImmutable(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	for i := range 50 {
		l.must(parse(t, fmt.Sprintf(`put backend b%d {"address":"h%d:1","tags":["x"]}`, i, i)))
	}
	l.do(Command{Type: TypeTxn, RequestID: "kept", Ops: parseAll(t, `put route r {"backend_pool":"default"}`)})
	frozen := l.view
	want := Hash(frozen)
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				if got := Hash(frozen); got != want {
					t.Error("an old view changed")
					return
				}
				if got := idsOf(frozen.FindBackends("h7:1")); got != "b7" {
					t.Errorf("an old view finds %q", got)
					return
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	v := frozen
	for i := range 300 {
		id := fmt.Sprintf("b%d", i%50)
		var c Command
		switch i % 5 {
		case 0:
			c = Command{Type: TypeTxn, RequestID: fmt.Sprint("r", i), Ops: []Op{parse(t, `patch backend `+id+` {"tags":["y","z"],"address":"other:1"}`)}}
		case 1:
			c = Command{Type: TypeStates, Changes: []StateChange{{ID: id, Gen: 1, From: VerdictUnknown, To: VerdictUp}}}
		case 2:
			c = Command{Type: TypeTxn, Ops: []Op{parse(t, `delete! backend `+id)}}
		case 3:
			c = Command{Type: TypeTxn, Ops: []Op{parse(t, `delete backend `+id)}}
		case 4:
			c = Command{Type: TypeTxn, Ops: []Op{parse(t, `put backend `+id+` {"address":"again:1"}`), parse(t, `put pool default {"on_empty":"fail"}`)}}
		}
		v, _ = Apply(v, v.Index+1, 2, c)
	}
	close(done)
	wg.Wait()
	if Hash(v) == want || Hash(frozen) != want {
		t.Error("the new view equals the old one, or the old one changed")
	}
}

func BenchmarkApply_10kBackends(b *testing.B) {
	v := NewView()
	for i := range 10_000 {
		v, _ = Apply(v, v.Index+1, 1, Command{Type: TypeTxn, Ops: []Op{{Verb: VerbPut, Kind: KindBackend, ID: fmt.Sprintf("b%d", i), Value: []byte(`{"address":"h:1"}`)}}})
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		c := Command{Type: TypeTxn, RequestID: fmt.Sprint("r", i), Ops: []Op{{Verb: VerbPatch, Kind: KindBackend, ID: fmt.Sprintf("b%d", i%10_000), Value: fmt.Appendf(nil, `{"weight":%d}`, i%1000)}}}
		v, _ = Apply(v, v.Index+1, 1, c)
	}
}
