package route

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lbnode/lbnode/proxy/internal/viewtest"
	"github.com/lbnode/lbnode/proxy/upstream"
	"github.com/lbnode/lbnode/state"
	"github.com/lbnode/lbnode/stats"
)

// bench is a compiler with its set, fed by a builder.
type bench struct {
	*viewtest.Builder
	set *upstream.Set
	c   *Compiler
}

func newBench(t testing.TB) *bench {
	t.Helper()
	reg, err := stats.New(stats.Config{Now: stats.DefaultConfig().Now, Shards: 1})
	if err != nil {
		t.Fatal(err)
	}
	cfg := upstream.DefaultConfig()
	cfg.Logger, cfg.Stats = slog.New(slog.DiscardHandler), reg
	set, err := upstream.NewSet(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &bench{viewtest.New(t), set, NewCompiler(set, reg)}
}

func (b *bench) table() *Table {
	b.set.Update(b.View())
	return b.c.Compile(b.View())
}

func (b *bench) routes(docs ...string) *bench {
	b.Put(state.KindRoute, docs...)
	return b
}

func get(path string) *Request {
	path, query, _ := strings.Cut(path, "?")
	return &Request{Method: "GET", Host: "www.example.org", Path: path, Query: query}
}

func routeOf(t *Table, r *Request) string {
	m, err := t.Match(r)
	if err != nil {
		return "! " + err.Error()
	}
	return m.Target.RouteID
}

func TestMatch(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		routes []string
		req    *Request
		want   string
	}{
		{"nothing", nil, get("/"), "! no route matches"},
		{"catch-all", []string{`{"id":"a"}`}, get("/x/y"), "a"},
		{"prefix by segment", []string{`{"id":"a","match":{"path":"/users"}}`}, get("/users/7"), "a"},
		{"prefix itself", []string{`{"id":"a","match":{"path":"/users/"}}`}, get("/users"), "a"},
		{"prefix not inside a segment", []string{`{"id":"a","match":{"path":"/users"}}`}, get("/users2"), "! no route matches"},
		{"longer prefix wins", []string{`{"id":"a","match":{"path":"/a"}}`, `{"id":"b","match":{"path":"/a/b"}}`}, get("/a/b/c"), "b"},
		{"longer prefix splits a label", []string{`{"id":"a","match":{"path":"/abc/d"}}`, `{"id":"b","match":{"path":"/abx"}}`, `{"id":"c","match":{"path":"/ab"}}`}, get("/ab/q"), "c"},
		{"exact before prefix", []string{`{"id":"a","match":{"path":"/a/b"}}`, `{"id":"b","match":{"path":"/a/b","path_type":"exact"}}`}, get("/a/b"), "b"},
		{"exact is exact", []string{`{"id":"b","match":{"path":"/a/b","path_type":"exact"}}`}, get("/a/b/"), "! no route matches"},
		{"regex before prefix", []string{`{"id":"a","match":{"path":"/api/v1"}}`, `{"id":"b","match":{"path":"/api/v[0-9]+(/.*)?","path_type":"regex"}}`}, get("/api/v1/x"), "b"},
		{"regex is anchored", []string{`{"id":"b","match":{"path":"/a|/b","path_type":"regex"}}`}, get("/a/x"), "! no route matches"},
		{"regex without literal beginning", []string{`{"id":"b","match":{"path":"(?i)/ABC","path_type":"regex"}}`}, get("/abc"), "b"},
		{"priority beats all", []string{`{"id":"a","match":{"path":"/x","path_type":"exact","host":"www.example.org"}}`, `{"id":"b","priority":1}`}, get("/x"), "b"},
		{"priority below 0", []string{`{"id":"a","match":{"path":"/x"},"priority":-1}`, `{"id":"b"}`}, get("/x"), "b"},
		{"host exact before suffix", []string{`{"id":"a","match":{"host":"*.example.org","path":"/x/y"}}`, `{"id":"b","match":{"host":"www.example.org"}}`}, get("/x/y"), "b"},
		{"longest suffix", []string{`{"id":"a","match":{"host":"*.org"}}`, `{"id":"b","match":{"host":"*.example.org"}}`}, get("/"), "b"},
		{"suffix is no apex", []string{`{"id":"a","match":{"host":"*.example.org"}}`}, &Request{Method: "GET", Host: "example.org", Path: "/"}, "! no route matches"},
		{"suffix of any depth, port, case, dot", []string{`{"id":"a","match":{"host":"*.example.org"}}`}, &Request{Method: "GET", Host: "A.b.EXAMPLE.org.:8080", Path: "/"}, "a"},
		{"IPv6 host", []string{`{"id":"a","match":{"host":"::1"}}`}, &Request{Method: "GET", Host: "[::1]:8080", Path: "/"}, "a"},
		{"method", []string{`{"id":"a","match":{"method":"post,GET"}}`}, get("/"), "a"},
		{"other method", []string{`{"id":"a","match":{"method":"POST"}}`}, get("/"), "! no route matches"},
		{"method list before none", []string{`{"id":"a"}`, `{"id":"b","match":{"method":"GET"}}`}, get("/"), "b"},
		{"falls back to the shorter prefix", []string{`{"id":"a"}`, `{"id":"b","match":{"path":"/x","method":"POST"}}`}, get("/x"), "a"},
		{
			"header",
			[]string{`{"id":"a"}`, `{"id":"b","match":{"headers":{"x-version":"2"}}}`},
			&Request{Method: "GET", Path: "/", Header: http.Header{"X-Version": {"1", "2"}}}, "b",
		},
		{"header present", []string{`{"id":"b","match":{"headers":{"x-version":"*"}}}`}, &Request{Method: "GET", Path: "/", Header: http.Header{"X-Version": {""}}}, "b"},
		{"header regex", []string{`{"id":"b","match":{"headers":{"user-agent":"~.*Firefox.*"}}}`}, &Request{Method: "GET", Path: "/", Header: http.Header{"User-Agent": {"Mozilla Firefox/1"}}}, "b"},
		{"header missing", []string{`{"id":"b","match":{"headers":{"x-version":"*"}}}`}, get("/"), "! no route matches"},
		{"header Host", []string{`{"id":"b","match":{"headers":{"Host":"www.example.org"}}}`}, get("/"), "b"},
		{"query", []string{`{"id":"b","match":{"query":{"a b":"c&d"}}}`}, get("/?x=1&a+b=c%26d"), "b"},
		{"query present", []string{`{"id":"b","match":{"query":{"debug":"*"}}}`}, get("/?debug"), "b"},
		{"query regex", []string{`{"id":"b","match":{"query":{"n":"~[0-9]+"}}}`}, get("/?n=12x"), "! no route matches"},
		{"more conditions win", []string{`{"id":"a","match":{"query":{"x":"1"}}}`, `{"id":"b","match":{"query":{"x":"1"},"headers":{"Host":"*"}}}`}, get("/?x=1"), "b"},
		{"then the id", []string{`{"id":"b"}`, `{"id":"a"}`}, get("/"), "a"},
		{"escaped path of the request", []string{`{"id":"a","match":{"path":"/caf%C3%A9"}}`}, get("/caf%c3%a9/x"), "a"},
		{"asterisk", []string{`{"id":"a"}`}, &Request{Method: "OPTIONS", Path: "*"}, "! no route matches"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			for _, doc := range tt.routes {
				b.routes(strings.Replace(doc, "{", `{"backend_pool":"p",`, 1))
			}
			if got := routeOf(b.table(), tt.req); got != tt.want {
				t.Errorf("Match(%+v) = %q, want %q", tt.req, got, tt.want)
			}
		})
	}
}

func TestMatch_ambiguousPaths(t *testing.T) {
	t.Parallel()
	table := newBench(t).routes(`{"id":"root","backend_pool":"p"}`, `{"id":"admin","backend_pool":"p","match":{"path":"/admin"}}`,
		`{"id":"pub","backend_pool":"p","match":{"path":"/pub"}}`).table()
	tests := []struct{ path, want string }{
		{"/pub/../admin", "ambiguous"},
		{"/pub/%2e%2E/admin", "ambiguous"},
		{"/pub/..%2fadmin", "ambiguous"},
		{"/pub%2f..%2fadmin", "ambiguous"},
		{"/x/..%5cadmin", "ambiguous"},
		{`/x/..\admin`, "ambiguous"},
		{"/admin%2fx", "ambiguous"}, // /admin/x if decoded, one segment as sent
		{"/./admin", "ambiguous"},
		{"/pub/a/../b", "pub"},
		{"/pub/a%2fb", "pub"},
		{"/x/./y", "root"},
		{"/.well-known/x", "root"},
		{"/x/..", "root"},
		{"/admin/x%20y", "admin"},
		{"/%61dmin", "admin"}, // escaped letters mean the same either way
		{"/pub/%252e%252e/admin", "pub"},
		{"/..", "bad"},
		{"/x/../../y", "bad"},
		{"/%2e%2e/%2e%2e/etc/passwd", "bad"},
		{"/a%00", "bad"},
		{"/a%0", "bad"},
		{"/a%zz", "bad"},
		{"", "bad"},
		{"x", "bad"},
	}
	for _, tt := range tests {
		m, err := table.Match(&Request{Method: "GET", Path: tt.path})
		got := ""
		switch {
		case errors.Is(err, ErrAmbiguous):
			got = "ambiguous"
		case errors.Is(err, ErrBadPath):
			got = "bad"
		case err == nil:
			got = m.Target.RouteID
		}
		if got != tt.want {
			t.Errorf("Match(%q) = %q, %v, want %q", tt.path, got, err, tt.want)
		}
	}
}

func TestMatch_tags(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Put(state.KindBackend, `{"id":"a","address":"10.0.0.1:80","pool":"p","tags":["eu","gpu"]}`,
		`{"id":"b","address":"10.0.0.2:80","pool":"p","tags":["eu"]}`, `{"id":"c","address":"10.0.0.3:80","pool":"p"}`).Verdict(state.VerdictUp)
	b.Put(state.KindFrontend, `{"id":"f1","hosts":["one.example.org"],"required_tags":["gpu","eu"]}`,
		`{"id":"f2","hosts":["*.example.org"],"required_tags":["eu"]}`, `{"id":"f3","hosts":["three.example.org"],"required_tags":["mars"]}`,
		`{"id":"f4","hosts":["open.example.org"]}`)
	b.routes(`{"id":"r","backend_pool":"p"}`)
	table := b.table()
	for _, tt := range []struct {
		host, frontend, backends string
	}{
		{"one.example.org", "f1", "a"},
		{"ONE.example.org:443", "f1", "a"},
		{"two.example.org", "f2", "a b"},
		{"three.example.org", "f3", ""},
		{"open.example.org", "f4", "a b c"},
		{"elsewhere", "", "a b c"},
	} {
		m, err := table.Match(&Request{Method: "GET", Host: tt.host, Path: "/"})
		if err != nil {
			t.Fatalf("Match(%s): %v", tt.host, err)
		}
		seen := map[string]bool{}
		for range 20 {
			if u, _ := m.Group.Pick(0, nil); u != nil {
				seen[u.ID()] = true
			}
		}
		var got []string
		for _, id := range []string{"a", "b", "c"} {
			if seen[id] {
				got = append(got, id)
			}
		}
		if m.Frontend != tt.frontend || strings.Join(got, " ") != tt.backends {
			t.Errorf("%s: frontend %q with backends %q, want %q with %q", tt.host, m.Frontend, got, tt.frontend, tt.backends)
		}
	}
}

func TestGroup_Pick_onEmpty(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		pool   string
		change func(b *bench)
		want   string // ids that get picks
		panics bool
	}{
		{"healthy", `{"id":"p"}`, func(b *bench) { b.Verdict(state.VerdictUp) }, "a b", false},
		{"one down", `{"id":"p"}`, func(b *bench) { b.Verdict(state.VerdictUp, "a").Verdict(state.VerdictDown, "b") }, "a", false},
		{"all down", `{"id":"p"}`, func(b *bench) { b.Verdict(state.VerdictDown) }, "a b", true},
		{"all down, fail", `{"id":"p","on_empty":"fail"}`, func(b *bench) { b.Verdict(state.VerdictDown) }, "", false},
		{"all vetoed", `{"id":"p"}`, func(b *bench) {
			b.Verdict(state.VerdictUp)
			b.set.Update(b.View())
			b.set.SetLocal("a", true, "")
			b.set.SetLocal("b", true, "")
		}, "a b", true},
		{"one stopped, one down", `{"id":"p"}`, func(b *bench) {
			b.Verdict(state.VerdictUp, "a").Verdict(state.VerdictDown, "b").Admin(state.AdminStopped, "a")
		}, "b", true},
		{"all stopped", `{"id":"p"}`, func(b *bench) { b.Verdict(state.VerdictUp).Admin(state.AdminStopped, "a", "b") }, "", false},
		{"all stopped and down", `{"id":"p"}`, func(b *bench) { b.Verdict(state.VerdictDown).Admin(state.AdminStopped, "a", "b") }, "", false},
		{"no verdict yet", `{"id":"p"}`, func(*bench) {}, "", false},
		{"no verdict yet, initial up", `{"id":"p","initial":"up"}`, func(*bench) {}, "a b", false},
		{"one without verdict, one down", `{"id":"p"}`, func(b *bench) { b.Verdict(state.VerdictDown, "a") }, "a b", true},
		{"weight 0 and down", `{"id":"p"}`, func(b *bench) {
			b.Put(state.KindBackend, `{"id":"a","address":"10.0.0.1:80","pool":"p","weight":0}`).Admin(state.AdminStopped, "b").Verdict(state.VerdictDown)
		}, "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.Put(state.KindPool, tt.pool).Put(state.KindBackend, `{"id":"a","address":"10.0.0.1:80","pool":"p"}`, `{"id":"b","address":"10.0.0.2:80","pool":"p"}`)
			b.routes(`{"id":"r","backend_pool":"p"}`)
			tt.change(b)
			m, err := b.table().Match(get("/"))
			if err != nil {
				t.Fatal(err)
			}
			seen, panics := map[string]bool{}, false
			for range 10 {
				u, mode := m.Group.Pick(0, nil)
				if u == nil {
					continue
				}
				seen[u.ID()] = true
				panics = panics || mode == upstream.Panic
				a, ok := u.Begin(mode)
				if !ok {
					t.Fatalf("Begin(%v) on the picked %s = false", mode, u.ID())
				}
				a.End(upstream.Outcome{Status: 200})
			}
			var got []string
			for _, id := range []string{"a", "b"} {
				if seen[id] {
					got = append(got, id)
				}
			}
			if strings.Join(got, " ") != tt.want || panics != tt.panics {
				t.Errorf("picks = %q, panic %v, want %q, %v", got, panics, tt.want, tt.panics)
			}
		})
	}
}

func TestGroup_Pick_noPanicWhileOneIsUp(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Put(state.KindBackend, `{"id":"a","address":"10.0.0.1:80","pool":"p"}`, `{"id":"b","address":"10.0.0.2:80","pool":"p"}`).
		Verdict(state.VerdictUp, "a").Verdict(state.VerdictDown, "b")
	m, err := b.routes(`{"id":"r","backend_pool":"p"}`).table().Match(get("/"))
	if err != nil {
		t.Fatal(err)
	}
	var tried upstream.Tried
	tried.Add(b.set.Get("a"))
	if u, _ := m.Group.Pick(0, &tried); u != nil {
		t.Errorf("Pick after the only healthy backend was tried = %s, want nil", u.ID())
	}
}

func TestCompile_keepsWhatIsUnchanged(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Put(state.KindBackend, `{"id":"a","address":"10.0.0.1:80","pool":"p"}`, `{"id":"b","address":"10.0.0.2:80","pool":"q"}`).Verdict(state.VerdictUp)
	b.routes(`{"id":"r","backend_pool":"p"}`, `{"id":"s","backend_pool":"q","match":{"path":"/s"}}`)
	group := func(path string) *Group {
		m, err := b.table().Match(get(path))
		if err != nil {
			t.Fatal(err)
		}
		return m.Group
	}
	p, q := group("/"), group("/s")
	b.Put(state.KindBackend, `{"id":"c","address":"10.0.0.3:80","pool":"q"}`)
	if group("/") != p {
		t.Error("a change of another pool made a new group")
	}
	if group("/s") == q {
		t.Error("a new backend is not in its group")
	}
	b.Put(state.KindRoute, `{"id":"r","backend_pool":"p","retries":5}`)
	if group("/") != p {
		t.Error("a change of a route made a new group of its pool")
	}
	b.Delete(state.KindPool, "p") // by force: the route stays
	if u, _ := group("/").Pick(0, nil); u != nil {
		t.Errorf("Pick in a deleted pool = %s, want nil", u.ID())
	}
}

func TestCompile_target(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Put(state.KindPool, `{"id":"p","algorithm":"consistent_hash","hash":{"source":"cookie","name":"sid"},"health":{"type":"tcp"}}`)
	b.routes(`{"id":"r","backend_pool":"p","timeouts":{"connect":"1s","first_byte":"2s","total":"3s"},"retries":4}`,
		`{"id":"s","backend_pool":"p","match":{"path":"/s"},"algorithm":"random","hash":{"source":"path"}}`)
	table := b.table()
	got := map[string][]any{}
	for _, path := range []string{"/", "/s"} {
		m, err := table.Match(get(path))
		if err != nil {
			t.Fatal(err)
		}
		x := m.Target
		got[x.RouteID] = []any{x.Algorithm, x.Hash.Source, x.Kind, x.Connect.String(), x.FirstByte.String(), x.Total.String(), x.Retries}
	}
	want := map[string][]any{
		"r": {state.ConsistentHash, state.HashCookie, "tcp", "1s", "2s", "3s", 4},
		"s": {state.Random, state.HashPath, "tcp", "2s", "0s", "0s", 2},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("targets (-want +got):\n%s", diff)
	}
}

func TestTarget_Key(t *testing.T) {
	t.Parallel()
	req := func() *Request {
		r := get("/p?u=7")
		r.Client = netip.MustParseAddr("192.0.2.1")
		r.Header = http.Header{"X-User": {"7"}, "Cookie": {"a=b; c=d", `sid="7"`}}
		return r
	}
	key := func(alg state.Algorithm, h state.HashKey, r *Request) uint64 {
		return (&Target{Algorithm: alg, Hash: h}).Key(r)
	}
	byIP := key(state.IPHash, state.HashKey{Source: state.HashPath}, req())
	seven := key(state.ConsistentHash, state.HashKey{Source: state.HashHeader, Name: "x-user"}, req())
	for _, h := range []state.HashKey{{Source: state.HashCookie, Name: "sid"}, {Source: state.HashQuery, Name: "u"}} {
		if got := key(state.ConsistentHash, h, req()); got != seven {
			t.Errorf("Key by %s = %x, want %x as by header", h.Source, got, seven)
		}
	}
	for _, h := range []state.HashKey{{Source: state.HashClientIP}, {Source: state.HashHeader, Name: "X-None"}, {Source: state.HashCookie, Name: "none"}, {Source: state.HashQuery, Name: "none"}} {
		if got := key(state.ConsistentHash, h, req()); got != byIP {
			t.Errorf("Key by %v = %x, want %x, that of the address", h, got, byIP)
		}
	}
	mapped := req()
	mapped.Client = netip.MustParseAddr("::ffff:192.0.2.1")
	if got := key(state.IPHash, state.HashKey{}, mapped); got != byIP {
		t.Error("an IPv4 address in IPv6 form has another key")
	}
	if byIP == seven || key(state.RoundRobin, state.HashKey{}, req()) != 0 {
		t.Error("keys are not what they should be")
	}
}

func TestMatch_allocs(t *testing.T) {
	b := newBench(t)
	b.Put(state.KindFrontend, `{"id":"f","hosts":["*.example.org"]}`)
	table := b.routes(`{"id":"a","backend_pool":"p","match":{"host":"*.example.org","path":"/users","method":"GET","query":{"q":"1"},"headers":{"x-a":"1"}}}`).table()
	r := get("/users/7?q=1")
	r.Header = http.Header{"X-A": {"1"}}
	r.Client = netip.MustParseAddr("192.0.2.1")
	target := Target{Algorithm: state.IPHash}
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := table.Match(r); err != nil {
			t.Fatal(err)
		}
		target.Key(r)
	}); n > 0 {
		t.Errorf("Match and Key allocate %v times, want 0", n)
	}
}

func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{10, 1000, 50_000} {
		for _, kind := range []string{"paths", "hosts"} {
			be := newBench(b)
			docs := make([]string, n)
			for i := range docs {
				docs[i] = fmt.Sprintf(`{"id":"r%d","backend_pool":"p","match":{"path":"/svc%d/api"}}`, i, i)
				if kind == "hosts" {
					docs[i] = fmt.Sprintf(`{"id":"r%d","backend_pool":"p","match":{"host":"h%d.example.org","path":"/api"}}`, i, i)
				}
			}
			table := be.routes(docs...).table()
			r := &Request{Method: "GET", Host: fmt.Sprintf("h%d.example.org", n/2), Path: fmt.Sprintf("/svc%d/api/x", n/2)}
			if kind == "hosts" {
				r.Path = "/api/x"
			}
			b.Run(fmt.Sprintf("%s/%d", kind, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := table.Match(r); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run(fmt.Sprintf("compile/%s/%d", kind, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					be.c.Compile(be.View())
				}
			})
		}
	}
}
