package shape

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/lbnode/lbnode/proxy/http1"
	"github.com/lbnode/lbnode/state"
)

func TestCompile_nothing(t *testing.T) {
	t.Parallel()
	if s := Compile(&state.RouteSpec{ID: "r", BackendPool: "p", Mirror: state.Mirror{Pool: "m"}}, nil, NewClients()); s != nil {
		t.Errorf("a route that does nothing has the shape %+v", s)
	}
}

func TestPath(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		match   string
		rewrite state.Rewrite
		in, out string // out "" = refused
	}{
		{"/", state.Rewrite{StripPrefix: "/api"}, "/api/v1", "/v1"},
		{"/", state.Rewrite{StripPrefix: "/api/"}, "/api", "/"},
		{"/", state.Rewrite{StripPrefix: "/api"}, "/apis", "/apis"},
		{"/", state.Rewrite{StripPrefix: "/"}, "/x", "/x"},
		{"/", state.Rewrite{StripPrefix: "/a%2fb"}, "/a%2Fb/c", "/c"},
		{"/api", state.Rewrite{ReplacePrefix: "/v2"}, "/api/x", "/v2/x"},
		{"/api", state.Rewrite{ReplacePrefix: "/"}, "/api/x", "/x"},
		{"/api", state.Rewrite{ReplacePrefix: "/"}, "/api", "/"},
		{"/api", state.Rewrite{ReplacePrefix: "/v2"}, "/%61p%69/%7ex%c3%a9", "/v2/~x%C3%A9"},
		{"/caf\u00e9", state.Rewrite{ReplacePrefix: "/tea"}, "/caf%c3%a9/x", "/tea/x"},
		{"/api", state.Rewrite{ReplacePrefix: "/v2"}, "/other", ""},
		{"/", state.Rewrite{Regex: "//+", Replacement: "/"}, "/a//b///c", "/a/b/c"},
		{"/", state.Rewrite{Regex: "^.*$", Replacement: ""}, "/a", "/"},
		{"/", state.Rewrite{Regex: "^/", Replacement: ""}, "/a", ""},
		{"/", state.Rewrite{Regex: "%2F", Replacement: "%"}, "/a%2fb", ""},
		{"/", state.Rewrite{Regex: "x", Replacement: "y"}, "*", "*"},
	} {
		s := Compile(&state.RouteSpec{ID: "r", Match: state.Match{Path: tc.match}, Rewrite: tc.rewrite}, nil, NewClients())
		got, ok := s.Path(tc.in)
		if ok != (tc.out != "") || ok && got != tc.out {
			t.Errorf("%+v: %s became %q, %t, want %q", tc.rewrite, tc.in, got, ok, tc.out)
		}
	}
}

func TestLocation(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		r    state.Redirect
		f    From
		want string // "here " in front: is there already; "" = none
	}{
		{state.Redirect{Status: 301, Scheme: "https"}, From{Scheme: "http", Host: "a:80", Path: "/x", To: "/x", Query: "q"}, "https://a/x?q"},
		{state.Redirect{Status: 301, Scheme: "https"}, From{Scheme: "https", Host: "a:443", Path: "/x", To: "/x"}, "here https://a:443/x"},
		{state.Redirect{Status: 301, Host: "b"}, From{Scheme: "http", Host: "B:80", Path: "/x", To: "/x"}, "here http://b/x"},
		{state.Redirect{Status: 301, Host: "b"}, From{Scheme: "http", Host: "", Path: "/x", To: "/y"}, "http://b/y"},
		{state.Redirect{Status: 301}, From{Scheme: "http", Host: "", Path: "/x", To: "/y"}, ""},
		{state.Redirect{Status: 301, StripQuery: true}, From{Scheme: "http", Host: "a", Path: "/x", To: "/x"}, "here http://a/x"},
		{state.Redirect{Status: 301, StripQuery: true}, From{Scheme: "http", Host: "a", Path: "/x", To: "/x", Query: "q"}, "http://a/x"},
		{state.Redirect{Status: 301, Path: "{path}/"}, From{Scheme: "http", Host: "a", Path: "//evil.example", To: "//evil.example"}, "http://a//evil.example/"},
		{state.Redirect{Status: 301, Path: "/login"}, From{Scheme: "http", Host: "a", Path: "*", To: "*"}, "http://a/login"},
		{state.Redirect{Status: 301, Host: "b"}, From{Scheme: "http", Host: "a", Path: "*", To: "*"}, "http://b/"},
	} {
		tc.f.Vars = &Vars{Host: tc.f.Host, Path: tc.f.Path}
		got, here, ok := compileRedirect(tc.r).Location(tc.f)
		if here {
			got = "here " + got
		}
		if got != tc.want || ok != (tc.want != "") {
			t.Errorf("%+v of %+v = %q, %t, want %q", tc.r, tc.f, got, ok, tc.want)
		}
	}
}

type list []string

func (l *list) Remove(name string)     { *l = append(*l, "-"+name) }
func (l *list) Add(name, value string) { *l = append(*l, name+"="+value) }

func TestHeaders_order(t *testing.T) {
	t.Parallel()
	h := compileHeaders(state.HeaderOps{
		Set: map[string]string{"B": "{host}", "A": "1"}, Add: map[string]string{"C": "{backend}{{", "D": "{request_id}", "E": ""}, Remove: []string{"X"},
	})
	var got list
	h.Apply(&got, &Vars{Host: "h\r\nX: y", Backend: "b"})
	want := "[-X -A A=1 -B C=b{ E=]" // B would have been two fields, and D is empty
	if fmt.Sprint(got) != want {
		t.Errorf("operations %v, want %s", got, want)
	}
}

func limit(t *testing.T, rate float64, burst int, per string, c *Clients) *Limit {
	t.Helper()
	return newLimit("r", state.RateLimit{RequestsPerSecond: rate, Burst: burst, Per: per, Status: 429}, c)
}

func TestLimit_rate(t *testing.T) {
	t.Parallel()
	l := limit(t, 10, 5, "route", NewClients())
	passed := 0
	for ms := range 10_000 { // 1000 requests a second for 10 s
		if l.Allow("", time.Duration(ms)*time.Millisecond) == 0 {
			passed++
		}
	}
	if passed < 104 || passed > 105 {
		t.Errorf("%d requests passed in 10 s at 10/s with a burst of 5, want 104", passed)
	}
	l.Allow("", 10*time.Second)
	if wait := l.Allow("", 10*time.Second); wait <= 0 || wait > 100*time.Millisecond {
		t.Errorf("wait = %s, want up to 100ms", wait)
	}
	if wait := l.Allow("", time.Hour); wait != 0 {
		t.Errorf("after an hour of rest: wait %s", wait)
	}
}

func TestLimit_clientsApart(t *testing.T) {
	t.Parallel()
	c := NewClients()
	l := limit(t, 1, 1, "client_ip", c)
	other := limit(t, 1, 1, "client_ip", c)
	other.id = "s"
	for _, addr := range []string{"10.0.0.1", "10.0.0.2", "2001:db8::1", "2001:db8:0:1::1"} {
		if l.Allow(ClientKey(netip.MustParseAddr(addr)), 0) != 0 {
			t.Errorf("the first request of %s was refused", addr)
		}
	}
	for _, addr := range []string{"10.0.0.1", "::ffff:10.0.0.1", "2001:db8::ffff:1"} { // the last: another host of one /64
		if l.Allow(ClientKey(netip.MustParseAddr(addr)), 0) == 0 {
			t.Errorf("the second request of %s passed", addr)
		}
	}
	if other.Allow(ClientKey(netip.MustParseAddr("10.0.0.1")), 0) != 0 {
		t.Error("routes share a client's bucket")
	}
}

// A flood of new clients must not let one that is over its limit off.
func TestLimit_floodDoesNotForget(t *testing.T) {
	t.Parallel()
	l := limit(t, 1, 100, "client_ip", NewClients())
	for l.Allow("busy", 0) == 0 {
	}
	for i := range 4 * MaxClients {
		l.Allow(fmt.Sprint(i), 0)
	}
	if l.Allow("busy", 0) == 0 {
		t.Error("the busy client has a new burst")
	}
}

func TestLimit_staysOverTables(t *testing.T) {
	t.Parallel()
	c := NewClients()
	r := &state.RouteSpec{ID: "r", RateLimit: state.RateLimit{RequestsPerSecond: 1, Burst: 1, Per: "route", Status: 429}}
	a := Compile(r, nil, c)
	changed := *r
	changed.Priority = 5
	if b := Compile(&changed, a, c); b.Limit != a.Limit {
		t.Error("a change of something else made a new limit")
	}
	changed.RateLimit.Burst = 2
	if b := Compile(&changed, a, c); b.Limit == a.Limit {
		t.Error("a change of the limit kept the old one")
	}
}

func TestDeal(t *testing.T) {
	t.Parallel()
	d := NewDeal(&state.RouteSpec{ID: "r", Split: []state.Share{{Pool: "a", Weight: 3}, {Pool: "b", Weight: 0}, {Pool: "c", Weight: 1}}})
	var random, keyed [3]int
	for i := range 40_000 {
		random[d.Random()]++
		keyed[d.Keyed(fmt.Sprint(i))]++
	}
	for _, n := range [][3]int{random, keyed} {
		if n[1] != 0 || n[0] < 29_000 || n[0] > 31_000 { // 30 000 ± 11 sigma
			t.Errorf("shares 3:0:1 of 40000 gave %v", n)
		}
	}
	if !Chance(100) || Chance(0) {
		t.Error("100 % and 0 % are certain")
	}
}

func FuzzPath(f *testing.F) {
	f.Add("/api", "/v2", "/api/x", "^/a(.)", "/$1")
	f.Add("/%61", "/", "/a%2f", "/+", "/")
	f.Fuzz(func(t *testing.T, match, with, path, re, to string) {
		for _, w := range []state.Rewrite{{StripPrefix: match}, {ReplacePrefix: with}, {Regex: re, Replacement: to}} {
			s := Compile(&state.RouteSpec{ID: "r", Match: state.Match{Path: match}, Rewrite: w}, nil, nil)
			if s == nil || !http1.ValidPath(path) {
				continue
			}
			if out, ok := s.Path(path); ok && !http1.ValidPath(out) {
				t.Fatalf("%+v made %q of %q", w, out, path)
			}
		}
		if n := Normal(path); Normal(n) != n {
			t.Fatalf("Normal(%q) = %q is not normal", path, n)
		}
	})
}

func BenchmarkLimit_client(b *testing.B) {
	l := newLimit("r", state.RateLimit{RequestsPerSecond: 1e6, Burst: 1000, Per: "client_ip"}, NewClients())
	now := time.Duration(0)
	for b.Loop() {
		now += time.Microsecond
		l.Allow("\x0a\x00\x00\x01", now)
	}
}
