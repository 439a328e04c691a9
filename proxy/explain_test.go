package proxy_test

import (
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/lbnode/lbnode/proxy"
	"github.com/lbnode/lbnode/proxy/internal/viewtest"
	"github.com/lbnode/lbnode/state"
	"github.com/lbnode/lbnode/stats"
)

// asked is a proxy before backends that answer with their ids.
type asked struct {
	t     *testing.T
	p     *proxy.Proxy
	views *viewtest.Builder
}

func newAsked(t *testing.T, backends int) *asked {
	t.Helper()
	reg, err := stats.New(stats.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	cfg := proxy.DefaultConfig()
	cfg.NodeID, cfg.Logger, cfg.Stats = "n", slog.New(slog.DiscardHandler), reg
	p, err := proxy.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	a := &asked{t, p, viewtest.New(t)}
	a.views.Put(state.KindPool, `{"id":"web","health":{"type":"none"}}`)
	for i := range backends {
		id := fmt.Sprintf("b%d", i)
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, id) }))
		t.Cleanup(s.Close)
		a.views.Put(state.KindBackend, fmt.Sprintf(`{"id":%q,"address":%q,"pool":"web","weight":%d}`, id, s.Listener.Addr(), i+1))
	}
	return a
}

func (a *asked) update() {
	a.t.Helper()
	if err := a.p.Update(a.views.View()); err != nil {
		a.t.Fatal(err)
	}
}

func (a *asked) request(path, client string) (int, string) {
	r := httptest.NewRequestWithContext(a.t.Context(), "GET", path, nil)
	r.RequestURI, r.Host, r.RemoteAddr = path, "localhost", client+":1"
	w := httptest.NewRecorder()
	a.p.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

// TestExplain_pickIsWhatARequestDoes asks before each request where it will go, with every algorithm, while backends
// fail and come back.
func TestExplain_pickIsWhatARequestDoes(t *testing.T) {
	t.Parallel()
	for _, alg := range state.Algorithms() {
		t.Run(string(alg), func(t *testing.T) {
			t.Parallel()
			a := newAsked(t, 5)
			a.views.Put(state.KindRoute, fmt.Sprintf(`{"id":"r","backend_pool":"web","algorithm":%q,"hash":{"source":"path"}}`, alg))
			a.update()
			r := rand.New(rand.NewPCG(7, uint64(len(alg))))
			wrong := 0
			for range 200 {
				a.p.Set().SetLocal(fmt.Sprintf("b%d", r.IntN(5)), r.IntN(2) == 0, "refused")
				path, client := fmt.Sprintf("/p%d", r.IntN(100)), fmt.Sprintf("10.0.0.%d", r.IntN(100))
				q := proxy.Question{URL: path, Client: netip.MustParseAddr(client)}
				first := a.p.Explain(q)
				if again := a.p.Explain(q); alg != state.LeastLatency && again.Pick != first.Pick {
					t.Fatalf("asking twice gave %s and %s: asking moves something", first.Pick, again.Pick)
				}
				if active := a.p.Stats().Route("r").Active(); active != 0 {
					t.Fatalf("asking counts %d requests", active)
				}
				if _, got := a.request(path, client); got != first.Pick {
					wrong++
				}
				eligible := slices.DeleteFunc(slices.Clone(first.Backends), func(c proxy.Candidate) bool { return !c.Eligible })
				if len(first.Backends) != 5 || !slices.ContainsFunc(eligible, func(c proxy.Candidate) bool { return c.ID == first.Pick }) {
					t.Fatalf("the pick %q is none of the eligible ones of %+v", first.Pick, first.Backends)
				}
			}
			// Latencies fade with time, also between the question and the request: two that are level may change places.
			if allowed := map[state.Algorithm]int{state.LeastLatency: 4}[alg]; wrong > allowed {
				t.Errorf("%d of 200 requests did not go where they were said to go", wrong)
			}
		})
	}
}

func TestExplain_reasons(t *testing.T) {
	t.Parallel()
	a := newAsked(t, 5)
	a.views.Put(state.KindFrontend, `{"id":"site","hosts":["site.test"],"required_tags":["new"]}`)
	a.views.Put(state.KindRoute, `{"id":"r","match":{"path":"/a"},"backend_pool":"web","timeouts":{"connect":"1s"},"retries":3}`)
	a.views.Admin(state.AdminStopped, "b1").Verdict(state.VerdictDown, "b2")
	a.update()
	a.p.Set().SetLocal("b3", true, "connection refused")
	sources := func(e proxy.Explanation) string {
		var out []string
		for _, c := range e.Backends {
			var s []string
			for _, r := range c.Reasons {
				s = append(s, r.Source)
			}
			if c.Eligible != (len(s) == 0) && !e.Panic {
				t.Errorf("%s: eligible %t with reasons %v", c.ID, c.Eligible, s)
			}
			out = append(out, c.ID+"="+strings.Join(s, "+"))
		}
		return strings.Join(out, " ")
	}
	e := a.p.Explain(proxy.Question{URL: "http://other.test/a/x?q=1", Client: netip.MustParseAddr("10.0.0.1")})
	if got, want := sources(e), "b0= b1=admin b2=quorum b3=local b4="; got != want || e.Refusal != nil || e.Pick == "" || e.Panic {
		t.Errorf("reasons = %s, want %s; %+v", got, want, e)
	}
	e = a.p.Explain(proxy.Question{URL: "http://other.test/a", Headers: []string{"Host: site.test"}})
	if got, want := sources(e), "b0=tags b1=admin+tags b2=quorum+tags b3=local+tags b4=tags"; got != want || e.Refusal == nil || e.Refusal.Code != "no_backend" || e.Match.Frontend != "site" || e.Host != "site.test" {
		t.Errorf("with tags: reasons = %s, want %s; %+v", got, want, e)
	}
	for _, id := range []string{"b0", "b4"} {
		a.p.Set().SetLocal(id, true, "connection refused")
	}
	e = a.p.Explain(proxy.Question{URL: "/a"})
	if got, want := sources(e), "b0=local b1=admin b2=quorum b3=local b4=local"; got != want || !e.Panic || e.Pick == "" {
		t.Errorf("all failing: reasons = %s, want %s; %+v", got, want, e)
	}
	for _, c := range e.Backends {
		if c.Eligible == (c.ID == "b1") {
			t.Errorf("in panic %s is eligible: %t", c.ID, c.Eligible)
		}
	}
}

// TestExplain_refusals compares what is said with what a request gets.
func TestExplain_refusals(t *testing.T) {
	t.Parallel()
	a := newAsked(t, 1)
	if e := a.p.Explain(proxy.Question{URL: "/"}); e.Refusal == nil || e.Refusal.Code != "not_ready" {
		t.Errorf("before the first view: %+v", e)
	}
	a.views.Put(state.KindRoute, `{"id":"r","match":{"path":"/a"},"backend_pool":"web"}`, `{"id":"admin","match":{"path":"/admin"},"backend_pool":"web"}`)
	a.update()
	for _, tt := range []struct {
		q    proxy.Question
		code string
	}{
		{proxy.Question{URL: "/none"}, "no_route"},
		{proxy.Question{URL: "/a/..%2fadmin"}, "ambiguous_path"},
		{proxy.Question{URL: "/a/%00"}, "bad_path"},
		{proxy.Question{URL: "http://user@host/a"}, "bad_host"},
		{proxy.Question{URL: "http://ho st/a"}, "bad_host"},
		{proxy.Question{URL: "/a b"}, "bad_version"},
		{proxy.Question{URL: "/a", Method: "TRACE"}, "method_not_allowed"},
		{proxy.Question{URL: "/a", Method: "G(T"}, "bad_method"},
		{proxy.Question{URL: "/a", Headers: []string{"Host: a", "Host: b"}}, "duplicate_host"},
		{proxy.Question{URL: "/a", Headers: []string{"Content-Length: 1", "Transfer-Encoding: chunked"}}, "te_and_cl"},
		{proxy.Question{URL: "/a", Headers: []string{"no colon"}}, "space_before_colon"},
		{proxy.Question{URL: "/" + strings.Repeat("x", 40<<10)}, "target_too_long"},
		{proxy.Question{URL: "/a#fragment"}, ""},
		{proxy.Question{URL: "example.test/a"}, ""},
		{proxy.Question{URL: "https://example.test?q"}, "no_route"},
	} {
		e := a.p.Explain(tt.q)
		code := ""
		if e.Refusal != nil {
			code = e.Refusal.Code
		}
		if code != tt.code {
			t.Errorf("Explain(%.60v) is refused with %q, want %q", tt.q, code, tt.code)
		}
	}
	if near := a.p.Explain(proxy.Question{URL: "/adminx"}).Near; len(near) == 0 || near[0].RouteID != "admin" {
		t.Errorf("near /adminx is %+v, want admin first", near)
	}
	for _, u := range []string{"/a\r\nX: 1", "/a\n", "/\x00"} {
		if q := (proxy.Question{URL: u}); q.Valid() {
			t.Errorf("Question{%q}.Valid() = true", u)
		}
	}
}

// TestExplain_sticky asks with the cookie that a request was given: it goes where the cookie says, also while that
// backend is stopped.
func TestExplain_sticky(t *testing.T) {
	t.Parallel()
	a := newAsked(t, 3)
	a.views.Put(state.KindPool, `{"id":"web","health":{"type":"none"},"sticky":{"cookie":"sid"}}`)
	a.views.Put(state.KindRoute, `{"id":"r","backend_pool":"web"}`)
	a.update()
	r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
	w := httptest.NewRecorder()
	a.p.ServeHTTP(w, r)
	home := w.Body.String()
	value, _, _ := strings.Cut(w.Header().Get("Set-Cookie"), ";")
	if home == "" || value == "" {
		t.Fatalf("answer = %d %q %v, want a cookie", w.Code, home, w.Header())
	}
	q := proxy.Question{URL: "/", Headers: []string{"Cookie: " + value}}
	for range 5 {
		if e := a.p.Explain(q); e.Pick != home || len(e.Notes) != 1 || !strings.Contains(e.Notes[0], home) {
			t.Errorf("with the cookie: %q, %v; want %s", e.Pick, e.Notes, home)
		}
	}
	a.views.Admin(state.AdminStopped, home)
	a.update()
	if e := a.p.Explain(q); e.Pick != home {
		t.Errorf("with the cookie of a stopped backend: %q, want %s", e.Pick, home)
	}
	if e := a.p.Explain(proxy.Question{URL: "/"}); e.Pick == home || e.Pick == "" {
		t.Errorf("without the cookie: %q, want another than %s", e.Pick, home)
	}
}
