package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lbnode/lbnode/api"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// node is a fake API: the steps are its answers, the last one is repeated.
type node struct {
	*httptest.Server
	mu    sync.Mutex
	steps []http.HandlerFunc
	seen  []*http.Request
	body  []string
}

func newNode(t *testing.T, steps ...http.HandlerFunc) *node {
	t.Helper()
	n := &node{steps: steps}
	n.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		n.mu.Lock()
		step := n.steps[0]
		if len(n.steps) > 1 {
			n.steps = n.steps[1:]
		}
		n.seen, n.body = append(n.seen, r), append(n.body, string(b))
		n.mu.Unlock()
		step(w, r)
	}))
	t.Cleanup(n.Close)
	return n
}

func (n *node) requests() []*http.Request {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.seen
}

func ok(body string) http.HandlerFunc { return answer(200, api.ContentJSON, body) }

func answer(status int, ct, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", ct)
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

func problem(status int, code, outcome string) http.HandlerFunc {
	return answer(status, api.ContentProblem, fmt.Sprintf(`{"title":"t","status":%d,"detail":"detail of %s","code":%q,"outcome":%q,"errors":[{"pointer":"/weight","message":"is wrong"}],"refs":["route/r"]}`, status, code, code, outcome))
}

func hangUp(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		conn.Close()
	}
}

func hang(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// dead returns the URL of a node that does not listen.
func dead(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	return "http://" + l.Addr().String()
}

func newClient(t *testing.T, change func(*Config), urls ...string) *Client {
	t.Helper()
	cfg := DefaultConfig()
	cfg.URLs, cfg.Timeout, cfg.LeaderWait = urls, 10*time.Second, 0
	if change != nil {
		change(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func patch() Request {
	return Request{Method: http.MethodPatch, Path: Path("backends", "b1"), Body: []byte(`{"weight":2}`)}
}

func get() Request { return Request{Method: http.MethodGet, Path: "/backends"} }

func TestDo_headers(t *testing.T) {
	t.Parallel()
	n := newNode(t, ok(`{}`))
	c := newClient(t, func(c *Config) { c.Token, c.UserAgent = "secret", "lbctl/1" }, n.URL+"/base")
	r := patch()
	r.IfMatch, r.Path = 7, Path("backends", "https://a.example.org/x y/")
	resp, err := c.Do(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	got := n.requests()[0]
	if want := "/base/backends/https:%2F%2Fa.example.org%2Fx%20y%2F"; got.URL.EscapedPath() != want {
		t.Errorf("path = %s, want %s", got.URL.EscapedPath(), want)
	}
	for name, want := range map[string]string{
		"Authorization": "Bearer secret", "User-Agent": "lbctl/1", "If-Match": `"7"`, "Content-Type": api.ContentJSON,
		api.HeaderIdempotencyKey: resp.Key,
	} {
		if got := got.Header.Get(name); got != want || want == "" {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	if _, err := c.Do(t.Context(), get()); err != nil {
		t.Fatal(err)
	}
	if got := n.requests()[1].Header; got.Get(api.HeaderIdempotencyKey) != "" || got.Get("Content-Type") != "" {
		t.Errorf("a read has headers %v, want neither key nor content type", got)
	}
}

func TestDo_errors(t *testing.T) {
	t.Parallel()
	all := []error{ErrNotFound, ErrConflict, ErrUnauthorized, ErrNoLeader, ErrOutcomeUnknown, ErrInvalid, ErrUnreachable}
	tests := []struct {
		name string
		step http.HandlerFunc
		want error // nil = none of them
		text string
	}{
		{"invalid", problem(400, api.CodeInvalid, api.OutcomeNotApplied), ErrInvalid, "/weight is wrong"},
		{"media type", problem(415, api.CodeMediaType, ""), ErrInvalid, ""},
		{"too large", problem(413, api.CodeTooLarge, ""), ErrInvalid, ""},
		{"method", problem(405, api.CodeMethodNotAllowed, ""), ErrInvalid, ""},
		{"token", problem(401, "unauthorized", ""), ErrUnauthorized, ""},
		{"role", problem(403, "forbidden", ""), ErrUnauthorized, ""},
		{"not found", problem(404, api.CodeNotFound, ""), ErrNotFound, ""},
		{"exists", problem(409, api.CodeExists, ""), ErrConflict, ""},
		{"ambiguous", problem(409, api.CodeAmbiguous, ""), ErrConflict, ""},
		{"mismatch", problem(412, api.CodeMismatch, ""), ErrConflict, ""},
		{"reused", problem(422, api.CodeReused, ""), ErrConflict, ""},
		{"internal", problem(500, api.CodeInternal, api.OutcomeNotApplied), nil, "detail of internal"},
		{"internal, outcome unknown", problem(500, api.CodeInternal, api.OutcomeUnknown), ErrOutcomeUnknown, ""},
		{"no leader", problem(503, api.CodeNoLeader, api.OutcomeNotApplied), ErrNoLeader, ""},
		{"busy", problem(503, api.CodeBusy, api.OutcomeNotApplied), ErrConflict, ""},
		{"not ready", problem(503, api.CodeNotReady, ""), nil, ""},
		{"unknown", problem(504, api.CodeOutcomeUnknown, api.OutcomeUnknown), ErrOutcomeUnknown, ""},
		{"hang up", hangUp, ErrOutcomeUnknown, "may or may not"},
		{"gateway", answer(502, "text/plain", "bad gateway"), ErrOutcomeUnknown, ""},
		{"balancer without backend", answer(503, "text/plain", "no backend\n"), ErrUnreachable, "answers 503 Service Unavailable: no backend"},
		{"not ours", answer(200, "text/html", "<html>"), ErrOutcomeUnknown, "is this the API address of a node"},
		{"no page", answer(404, "text/html", "<html>"), ErrNotFound, "answers 404 Not Found"},
		{"redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://x.example.org/", http.StatusMovedPermanently)
		}, nil, "redirects to https://x.example.org/: use that as API address"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, tt.step)
			_, err := newClient(t, nil, n.URL).Do(t.Context(), patch())
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("Do = %v, want an *Error", err)
			}
			for _, s := range all {
				if got := errors.Is(err, s); got != (s == tt.want) {
					t.Errorf("errors.Is(%v, %v) = %v", err, s, got)
				}
			}
			if !strings.Contains(err.Error(), tt.text) {
				t.Errorf("error = %q, want it to hold %q", err, tt.text)
			}
			if e.Problem.RequestID == "" || e.Problem.RequestID != n.requests()[0].Header.Get(api.HeaderIdempotencyKey) {
				t.Errorf("request id = %q, want the key that was sent", e.Problem.RequestID)
			}
			if len(n.requests()) != 1 {
				t.Errorf("%d requests, want 1", len(n.requests()))
			}
		})
	}
}

func TestDo_failover(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		bad  http.HandlerFunc // nil = does not listen
		r    Request
	}{
		{"read, dead", nil, get()},
		{"write, dead", nil, patch()},
		{"read, hung up", hangUp, get()},
		{"write, hung up", hangUp, patch()},
		{"write, no leader", problem(503, api.CodeNoLeader, api.OutcomeNotApplied), patch()},
		{"write, unknown", problem(504, api.CodeOutcomeUnknown, api.OutcomeUnknown), patch()},
		{"read, behind", problem(504, api.CodeIndexNotReached, ""), get()},
		{"read, gateway", answer(502, "text/plain", ""), get()},
		{"read, no JSON", answer(200, "text/html", "<html>"), get()},
		{"read, hangs", hang, get()},
		{"write, hangs", hang, patch()},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			url := dead(t)
			var bad *node
			if tt.bad != nil {
				bad = newNode(t, tt.bad)
				url = bad.URL
			}
			good := newNode(t, ok(`{"id":"b1"}`))
			c := newClient(t, func(c *Config) { c.Timeout = time.Second }, url, good.URL)
			for range 2 {
				resp, err := c.Do(t.Context(), tt.r)
				if err != nil {
					t.Fatalf("Do = %v, want the good node's answer", err)
				}
				if resp.Node != good.URL || c.Node() != good.URL {
					t.Errorf("answered by %s, stays with %s, want %s", resp.Node, c.Node(), good.URL)
				}
			}
			if bad != nil {
				if len(bad.requests()) != 1 {
					t.Errorf("%d requests to the bad node, want 1", len(bad.requests()))
				}
				if key := bad.requests()[0].Header.Get(api.HeaderIdempotencyKey); key != good.requests()[0].Header.Get(api.HeaderIdempotencyKey) {
					t.Errorf("the write went to the second node with another key than %q", key)
				}
			}
			if tt.r.isWrite() {
				a, b := good.requests()[0].Header.Get(api.HeaderIdempotencyKey), good.requests()[1].Header.Get(api.HeaderIdempotencyKey)
				if a == b || a == "" {
					t.Errorf("two writes have keys %q and %q, want two", a, b)
				}
				if good.body[0] != string(tt.r.Body) {
					t.Errorf("body = %q, want %q", good.body[0], tt.r.Body)
				}
			}
		})
	}
}

// A refusal of the second node does not make an open outcome of the first one known.
func TestDo_staysUnknown(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		step http.HandlerFunc
		want error
	}{
		{"no leader", problem(503, api.CodeNoLeader, api.OutcomeNotApplied), ErrOutcomeUnknown},
		{"token", problem(401, "unauthorized", api.OutcomeNotApplied), ErrOutcomeUnknown},
		{"balancer", answer(503, "text/plain", ""), ErrOutcomeUnknown},
		{"busy", problem(503, api.CodeBusy, api.OutcomeNotApplied), ErrOutcomeUnknown},
		{"decided", problem(409, api.CodeExists, api.OutcomeNotApplied), ErrConflict},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a, b := newNode(t, hangUp), newNode(t, tt.step)
			_, err := newClient(t, nil, a.URL, b.URL).Do(t.Context(), patch())
			if !errors.Is(err, tt.want) {
				t.Errorf("Do = %v, want %v", err, tt.want)
			}
		})
	}
}

func TestDo_waitsForLeader(t *testing.T) {
	t.Parallel()
	none := problem(503, api.CodeNoLeader, api.OutcomeNotApplied)
	n := newNode(t, none, none, ok(`{}`))
	c := newClient(t, func(c *Config) { c.LeaderWait = 8 * time.Second }, n.URL, dead(t))
	if _, err := c.Do(t.Context(), patch()); err != nil {
		t.Fatalf("Do = %v, want success after the election", err)
	}
	keys := map[string]bool{}
	for _, r := range n.requests() {
		keys[r.Header.Get(api.HeaderIdempotencyKey)] = true
	}
	if len(n.requests()) != 3 || len(keys) != 1 {
		t.Errorf("%d requests with %d keys, want 3 with 1", len(n.requests()), len(keys))
	}

	n = newNode(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "3")
		none(w, r)
	})
	began := time.Now()
	_, err := newClient(t, func(c *Config) { c.LeaderWait = 2 * time.Second }, n.URL, dead(t)).Do(t.Context(), patch())
	if !errors.Is(err, ErrNoLeader) || time.Since(began) > time.Second {
		t.Errorf("Do = %v after %s, want %v at once: Retry-After is past the wait", err, time.Since(began), ErrNoLeader)
	}
}

// What stands between a node and a client speaks for neither.
func TestDo_gatewayOfRead(t *testing.T) {
	t.Parallel()
	for _, status := range []int{502, 503, 504} {
		n := newNode(t, answer(status, "text/plain", ""))
		if _, err := newClient(t, nil, n.URL).Do(t.Context(), get()); !errors.Is(err, ErrUnreachable) {
			t.Errorf("read through a gateway that answers %d = %v, want %v", status, err, ErrUnreachable)
		}
	}
}

func TestDo_unreachable(t *testing.T) {
	t.Parallel()
	a, b := dead(t), dead(t)
	_, err := newClient(t, func(c *Config) { c.LeaderWait = time.Hour }, a, b).Do(t.Context(), patch())
	if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), a) || !strings.Contains(err.Error(), b) {
		t.Errorf("Do = %v, want %v with both addresses", err, ErrUnreachable)
	}
}

func TestDo_deadline(t *testing.T) {
	t.Parallel()
	n := newNode(t, hang)
	c := newClient(t, func(c *Config) { c.Timeout = 50 * time.Millisecond }, n.URL)
	if _, err := c.Do(t.Context(), get()); !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "no answer in time") {
		t.Errorf("read = %v, want %v", err, ErrUnreachable)
	}
	if _, err := c.Do(t.Context(), patch()); !errors.Is(err, ErrOutcomeUnknown) {
		t.Errorf("write = %v, want %v", err, ErrOutcomeUnknown)
	}
}

func TestDo_canceled(t *testing.T) {
	t.Parallel()
	for _, r := range []Request{get(), patch()} {
		ctx, cancel := context.WithCancel(t.Context())
		n := newNode(t, func(w http.ResponseWriter, r *http.Request) {
			cancel()
			hang(w, r)
		})
		_, err := newClient(t, nil, n.URL, n.URL).Do(ctx, r)
		if !errors.Is(err, context.Canceled) || errors.Is(err, ErrOutcomeUnknown) != r.isWrite() || errors.Is(err, ErrUnreachable) {
			t.Errorf("%s = %v, want canceled, with an open outcome only of a write", r.Method, err)
		}
		if len(n.requests()) != 1 {
			t.Errorf("%s: %d requests, want 1", r.Method, len(n.requests()))
		}
	}
}

func TestDo_boundsAnswer(t *testing.T) {
	t.Parallel()
	n := newNode(t, ok(`"`+strings.Repeat("x", 100)+`"`))
	c := newClient(t, func(c *Config) { c.MaxAnswer = 101 }, n.URL)
	if _, err := c.Do(t.Context(), get()); err == nil || !strings.Contains(err.Error(), "over 101 bytes") {
		t.Errorf("Do = %v, want a bound", err)
	}
}

func TestDo_refusesLocally(t *testing.T) {
	t.Parallel()
	n := newNode(t, ok(`{}`))
	c := newClient(t, nil, n.URL)
	for _, r := range []Request{
		{Method: "GET", Path: Path("backends", "")},
		{Method: "DELETE", Path: Path("backends", "..")},
		{Method: "GET", Path: Path("backends", ".")},
		{Method: "GET", Path: "backends"},
		{Method: "PUT", Path: "/backends/b", Body: make([]byte, api.MaxBody+1)},
		{Method: "PUT", Path: "/backends/b", Key: "with space"},
		{Method: "PUT", Path: "/backends/b", Key: strings.Repeat("k", api.MaxIdempotencyKey+1)},
	} {
		if _, err := c.Do(t.Context(), r); !errors.Is(err, ErrInvalid) {
			t.Errorf("Do(%s %s) = %v, want %v", r.Method, r.Path, err, ErrInvalid)
		}
	}
	if len(n.requests()) != 0 {
		t.Errorf("%d requests, want none", len(n.requests()))
	}
}
