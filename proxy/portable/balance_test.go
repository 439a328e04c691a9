package portable_test

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/lbnode/lbnode/state"
)

// tally sends n requests and counts the names in the answers.
func (b *bed) tally(n int, path string, header ...string) map[string]int {
	b.t.Helper()
	c, got := b.client("h1"), map[string]int{}
	for range n {
		resp, body := b.do(c, "GET", b.url(path), nil, header...)
		if resp.StatusCode != 200 {
			b.t.Fatalf("status %d: %s", resp.StatusCode, body)
		}
		got[body]++
	}
	return got
}

func TestAlgorithms_endToEnd(t *testing.T) {
	t.Parallel()
	urls := map[string]string{}
	for _, n := range []string{"a", "b", "c"} {
		urls[n] = server(t, named(n))
	}
	for _, alg := range state.Algorithms() {
		t.Run(string(alg), func(t *testing.T) {
			t.Parallel()
			b := newBed(t).backend("a", urls["a"], "p", `"weight":3`).backend("b", urls["b"], "p").backend("c", urls["c"], "p", `"weight":0`)
			b.route(fmt.Sprintf(`{"id":"r","backend_pool":"p","algorithm":%q,"hash":{"source":"header","name":"X-User"}}`, alg)).apply()
			got := map[string]int{}
			const users, each = 100, 2
			c := b.client("h1")
			moved := 0
			for u := range users {
				first := ""
				for range each {
					_, body := b.do(c, "GET", b.url("/"), nil, "X-User", fmt.Sprint("user", u))
					got[body]++
					if first != "" && first != body {
						moved++
					}
					first = body
				}
			}
			if got["c"] != 0 || got["a"]+got["b"] != users*each {
				t.Fatalf("answers = %v, want none from the backend of weight 0", got)
			}
			switch alg {
			case state.RoundRobin, state.LeastConnections:
				// One request at a time: exactly by weight.
				if got["a"] != 150 {
					t.Errorf("answers = %v, want 150 of a", got)
				}
			case state.Random, state.ConsistentHash:
				if math.Abs(float64(got["a"])-150) > 30 {
					t.Errorf("answers = %v, want about 150 of a", got)
				}
			case state.IPHash:
				if len(got) != 1 {
					t.Errorf("answers = %v, want one backend for one client", got)
				}
			}
			if alg == state.ConsistentHash && moved != 0 {
				t.Errorf("%d users changed their backend", moved)
			}
		})
	}
}

func TestLeastConnections_avoidsBusy(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	var once sync.Once
	defer once.Do(func() { close(release) })
	entered := make(chan struct{}, 10)
	h := func(name string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				entered <- struct{}{}
				<-release
			}
			named(name)(w, r)
		}
	}
	b := newBed(t).backend("a", server(t, h("a")), "p").backend("b", server(t, h("b")), "p")
	b.route(`{"id":"r","backend_pool":"p","algorithm":"least_connections"}`).apply()
	var wg sync.WaitGroup
	wg.Go(func() { b.get("/slow") })
	<-entered
	if got := b.tally(20, "/"); len(got) != 1 {
		t.Errorf("answers = %v, want only the idle backend's", got)
	}
	once.Do(func() { close(release) })
	wg.Wait()
}

func TestTagsAndFrontends(t *testing.T) {
	t.Parallel()
	b := newBed(t).backend("a", server(t, named("a")), "p", `"tags":["gold","eu"]`).backend("b", server(t, named("b")), "p", `"tags":["eu"]`)
	b.Put(state.KindFrontend, `{"id":"f","hosts":["gold.example.org"],"required_tags":["gold"]}`, `{"id":"g","hosts":["mars.example.org"],"required_tags":["mars"]}`)
	b.route(`{"id":"r","backend_pool":"p"}`).apply()
	if got := b.tally(10, "/", "Host", "gold.example.org:8080"); got["a"] != 10 {
		t.Errorf("frontend that needs gold: %v, want only a", got)
	}
	if got := b.tally(10, "/"); got["a"] != 5 || got["b"] != 5 {
		t.Errorf("no frontend: %v, want both", got)
	}
	resp, body := b.get("/", "Host", "mars.example.org")
	wantProblem(t, resp, body, 503, "no_backend")
	if resp.Header.Get("Retry-After") == "" {
		t.Error("503 without Retry-After")
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	resp, body := b.get("/")
	wantProblem(t, resp, body, 503, "not_ready")
	b.apply()
	resp, body = b.get("/")
	wantProblem(t, resp, body, 404, "no_route")
	b.backend("a", server(t, named("a")), "p").route(`{"id":"r","backend_pool":"p"}`).apply()
	if _, body = b.get("/"); body != "a" {
		t.Errorf("body = %q, want a", body)
	}
	b.Admin(state.AdminStopped, "a")
	b.apply()
	resp, body = b.get("/")
	wantProblem(t, resp, body, 503, "no_backend")
	// Verdicts and panic: the operator wants it used and its check fails.
	b.Admin(state.AdminReady, "a").Verdict(state.VerdictDown, "a")
	b.apply()
	if resp, body = b.get("/"); resp.StatusCode != 200 || body != "a" {
		t.Errorf("panic: %d %q, want the answer of a", resp.StatusCode, body)
	}
	b.Put(state.KindPool, `{"id":"p","on_empty":"fail"}`)
	b.apply()
	resp, body = b.get("/")
	wantProblem(t, resp, body, 503, "no_backend")
	s := b.proxy.Stats().Snapshot("n")
	if got := s.Total.Errors; got["no_route"] != 1 || got["no_backend"] != 3 || s.Total.Classes[2] != 2 || s.Routes["r"].Requests() != 4 || s.Backends["a"].Requests() != 2 {
		t.Errorf("stats = %+v", s)
	}
}

func TestMethodsAndTargets(t *testing.T) {
	t.Parallel()
	b := simple(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Method, " ", r.RequestURI, " ", r.Host) })
	tests := []struct{ send, want string }{
		{"GET /a%2fb/c%7e//d?x=1;y=2&z=%2F& HTTP/1.1\r\nHost: h\r\n", "GET /a%2fb/c%7e//d?x=1;y=2&z=%2F& h"},
		{"GET //a?b HTTP/1.1\r\nHost: h:81\r\n", "GET //a?b h:81"},
		{"GET /? HTTP/1.1\r\nHost: h\r\n", "GET /? h"},
		{"GET /^|{} HTTP/1.1\r\nHost: h\r\n", ""}, // either way, but never changed
		{"GET http://h/x?y HTTP/1.1\r\nHost: h\r\n", "GET /x?y h"},
		{"PURGE / HTTP/1.1\r\nHost: h\r\n", "PURGE / h"},
		{"TRACE / HTTP/1.1\r\nHost: h\r\n", "405"},
		{"CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n", "405"},
		{"GET /../x HTTP/1.1\r\nHost: h\r\n", "400"},
		{"GET /%00 HTTP/1.1\r\nHost: h\r\n", "400"},
		{"GET http://u@h/ HTTP/1.1\r\nHost: h\r\n", "400"},
		{"OPTIONS * HTTP/1.1\r\nHost: h\r\n", "404"},
	}
	for _, tt := range tests {
		got := b.raw(tt.send + "Connection: close\r\n\r\n")
		status, rest, _ := strings.Cut(strings.TrimPrefix(got, "HTTP/1.1 "), " ")
		_, body, _ := strings.Cut(rest, "\r\n\r\n")
		switch {
		case tt.want == "":
			if status == "200" && body != "GET /^|{} h" {
				t.Errorf("%q: backend saw %q", tt.send, body)
			}
		case len(tt.want) == 3:
			if status != tt.want {
				t.Errorf("%q = %q, want %s", tt.send, got, tt.want)
			}
		case body != tt.want:
			t.Errorf("%q: backend saw %q, want %q", tt.send, body, tt.want)
		}
	}
}

func TestBasePath(t *testing.T) {
	t.Parallel()
	b := newBed(t).backend("a", server(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.RequestURI) })+"/base/api/", "p")
	b.route(`{"id":"r","backend_pool":"p"}`).apply()
	if _, got := b.get("/x%20y?z"); got != "/base/api/x%20y?z" {
		t.Errorf("backend saw %q", got)
	}
}
