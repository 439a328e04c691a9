package httpapi_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/httpapi"
	"github.com/lbnode/lbnode/httpapi/apitest"
	"github.com/lbnode/lbnode/state"
)

// writes are one request of each kind that changes something, on a store with pool "p" and backend "b".
func writes() []struct{ method, target, body string } {
	return []struct{ method, target, body string }{
		{http.MethodPost, "/backends", `{"id":"n","address":"10.0.0.9:80"}`},
		{http.MethodPut, "/pools/p", `{"algorithm":"random"}`},
		{http.MethodPatch, "/backends/b", `{"weight":7}`},
		{http.MethodDelete, "/backends/b", ""},
		{http.MethodPost, "/backends/b/disable", ""},
	}
}

func prepared(t *testing.T, change ...func(*httpapi.Config)) *harness {
	t.Helper()
	h := newHarness(t, change...)
	h.do(http.MethodPost, "/backends", `{"id":"b","address":"10.0.0.1:80","pool":"p"}`).want(http.StatusCreated)
	return h
}

func TestStoreErrors(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		err     error
		status  int
		code    string
		outcome string
		retry   string
	}{
		{"no leader", fmt.Errorf("propose: %w", state.ErrNoLeader), 503, api.CodeNoLeader, api.OutcomeNotApplied, "1"},
		{"unknown", fmt.Errorf("propose: %w: connection reset", state.ErrOutcomeUnknown), 504, api.CodeOutcomeUnknown, api.OutcomeUnknown, ""},
		{"both", fmt.Errorf("%w, then %w", state.ErrNoLeader, state.ErrOutcomeUnknown), 504, api.CodeOutcomeUnknown, api.OutcomeUnknown, ""},
		{"no leader in time", fmt.Errorf("%w: %w", state.ErrNoLeader, context.DeadlineExceeded), 503, api.CodeNoLeader, api.OutcomeNotApplied, "1"},
		{"deadline", context.DeadlineExceeded, 504, api.CodeOutcomeUnknown, api.OutcomeUnknown, ""},
		{"client gone", context.Canceled, 504, api.CodeOutcomeUnknown, api.OutcomeUnknown, ""},
		{"anything", errors.New("disk on fire at /var/secret"), 500, api.CodeInternal, api.OutcomeUnknown, ""},
		{"a refusal that no request can cause", &state.Refusal{Code: state.CodeCluster}, 500, api.CodeInternal, api.OutcomeUnknown, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := prepared(t)
			for _, w := range writes() {
				h.store.Fail(apitest.Failure{Err: tt.err})
				r := h.do(w.method, w.target, w.body)
				p := r.problem(tt.status, tt.code)
				if p.Outcome != tt.outcome || r.header.Get("Retry-After") != tt.retry {
					t.Errorf("%s = %+v with Retry-After %q, want outcome %s and %q", r.name, p, r.header.Get("Retry-After"), tt.outcome, tt.retry)
				}
				if strings.Contains(r.body, "secret") {
					t.Errorf("%s shows the inner error: %s", r.name, r.body)
				}
			}
		})
	}
}

// After an unknown outcome, a repeat with the request id has its effect once and gets the first result.
func TestOutcomeUnknown_repeat(t *testing.T) {
	t.Parallel()
	for _, applied := range []bool{true, false} {
		h := newHarness(t)
		const body = `{"address":"10.0.0.1:80"}`
		h.store.Fail(apitest.Failure{Err: state.ErrOutcomeUnknown, Applied: applied})
		p := h.do(http.MethodPost, "/backends", body, "Idempotency-Key: key-1").problem(http.StatusGatewayTimeout, api.CodeOutcomeUnknown)
		if p.RequestID != "key-1" {
			t.Errorf("request_id = %q, want the Idempotency-Key", p.RequestID)
		}
		for range 2 {
			h.do(http.MethodPost, "/backends", body, header("Idempotency-Key: "+p.RequestID)).want(http.StatusCreated)
		}
		if n := h.store.View().Len(state.KindBackend); n != 1 {
			t.Errorf("applied %v: %d backends after repeats, want 1", applied, n)
		}

		// The same without a key of one's own: the generated id is in the problem.
		h.store.Fail(apitest.Failure{Err: state.ErrOutcomeUnknown, Applied: applied})
		p = h.do(http.MethodPost, "/backends", `{"id":"x","address":"10.0.0.2:80"}`).problem(http.StatusGatewayTimeout, api.CodeOutcomeUnknown)
		h.do(http.MethodPost, "/backends", `{"id":"x","address":"10.0.0.2:80"}`, header("Idempotency-Key: "+p.RequestID)).want(http.StatusCreated)
	}
}

// An object that is gone by the time its write is answered.
func TestWrite_thenDeleted(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.do(http.MethodPost, "/backends", seedBackend, "Idempotency-Key: k").want(http.StatusCreated)
	h.do(http.MethodDelete, "/backends/users-v1?force", "").want(http.StatusNoContent)
	p := h.do(http.MethodPost, "/backends", seedBackend, "Idempotency-Key: k").problem(http.StatusNotFound, api.CodeNotFound)
	if !strings.Contains(p.Detail, "deleted since") {
		t.Errorf("repeat after the delete: %q, want it explained", p.Detail)
	}
}

func TestPanic(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	h := newHarness(t, func(c *httpapi.Config) {
		c.Ready = func() (bool, []string) { panic("boom") }
		c.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte("half"))
			panic("boom later")
		})
		c.Logger = slog.New(slog.NewTextHandler(&log, nil))
	})
	h.do(http.MethodGet, "/readyz", "").problem(http.StatusInternalServerError, api.CodeInternal)
	if !strings.Contains(log.String(), "boom") || !strings.Contains(log.String(), "stack=") {
		t.Errorf("log = %s, want the panic and its stack", log.String())
	}
	func() {
		defer func() {
			if p := recover(); p != http.ErrAbortHandler {
				t.Errorf("a panic after half an answer: %v, want the connection aborted", p)
			}
		}()
		h.srv.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/metrics", nil))
	}()
	h.do(http.MethodGet, "/livez", "").want(http.StatusOK)
}

func TestLog(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	h := newHarness(t, func(c *httpapi.Config) {
		c.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	h.do(http.MethodPost, "/frontends", `{"id":"f","secret":"hush-hush"}`, "Idempotency-Key: my-key").want(http.StatusCreated)
	line := log.String()
	for _, want := range []string{"level=DEBUG", "method=POST", "path=/frontends", "status=201", "request_id=my-key", "duration="} {
		if !strings.Contains(line, want) {
			t.Errorf("log = %s, want %s", line, want)
		}
	}
	if strings.Contains(line, "hush-hush") {
		t.Error("the log holds a secret")
	}
}

func TestMinIndex(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		go func() {
			time.Sleep(3 * time.Second) // of the bubble's clock
			if _, err := h.store.Do(context.Background(), state.Command{Type: state.TypeTxn, Ops: []state.Op{
				{Verb: state.VerbPut, Kind: state.KindPool, ID: "p", Value: []byte(`{"id":"p"}`)},
			}}); err != nil {
				t.Error(err)
			}
		}()
		start := time.Now()
		if r := h.do(http.MethodGet, "/pools?min_index=2", "").want(http.StatusOK); !strings.Contains(r.body, `"id":"p"`) || time.Since(start) != 3*time.Second {
			t.Errorf("min_index=2 answered %s after %s, want the pool after 3s", r.body, time.Since(start))
		}
		start = time.Now()
		r := h.do(http.MethodGet, "/pools/p?min_index=3", "")
		p := r.problem(http.StatusGatewayTimeout, api.CodeIndexNotReached)
		if took := time.Since(start); took != 5*time.Second || !strings.Contains(p.Detail, "to index 2, not yet to 3") {
			t.Errorf("min_index=3 gave up after %s with %q, want 5s and where it is", took, p.Detail)
		}
		start = time.Now()
		h.do(http.MethodGet, "/pools/p?min_index=3&timeout=30s", "").problem(http.StatusGatewayTimeout, api.CodeIndexNotReached)
		if took := time.Since(start); took != 30*time.Second {
			t.Errorf("min_index=3&timeout=30s gave up after %s", took)
		}
	})
	h := newHarness(t)
	for _, bad := range []string{"x", "-1", "", "99999999999999999999", "1&min_index=2"} {
		h.do(http.MethodGet, "/pools?min_index="+bad, "").problem(http.StatusBadRequest, api.CodeInvalid)
	}
}

// Many clients at once: every write has its effect once, and every answer is whole.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	const clients, each = 8, 15
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for i := range each {
				id := fmt.Sprintf("b-%d-%d", c, i)
				h.do(http.MethodPost, "/backends", fmt.Sprintf(`{"id":%q,"address":"10.0.%d.%d:80","pool":"p%d"}`, id, c, i, c%3)).want(http.StatusCreated)
				h.do(http.MethodPatch, "/backends/"+id, `{"weight":5}`).want(http.StatusOK)
				h.do(http.MethodGet, "/backends?limit=5", "").want(http.StatusOK)
				h.do(http.MethodGet, "/backends/health?verbose", "").want(http.StatusOK)
				if i%3 == 0 {
					h.do(http.MethodDelete, "/backends/"+id+"?force", "").want(http.StatusNoContent)
				}
			}
		})
	}
	// One counter that all of them raise with If-Match: no update may be lost.
	h.do(http.MethodPut, "/pools/counter", `{"health":{"rise":1}}`).want(http.StatusCreated)
	for range 4 {
		wg.Go(func() {
			for done := 0; done < 5; {
				var p api.Pool
				r := h.do(http.MethodGet, "/pools/counter", "").want(http.StatusOK).into(&p)
				w := h.do(http.MethodPatch, "/pools/counter", fmt.Sprintf(`{"health":{"rise":%d}}`, p.Health.Rise+1), "If-Match: "+header(r.header.Get("ETag")))
				if w.status == http.StatusOK {
					done++
				} else {
					w.problem(http.StatusPreconditionFailed, api.CodeMismatch)
				}
			}
		})
	}
	wg.Wait()
	if p, _ := h.store.View().Pool("counter"); p.Health.Rise != 21 {
		t.Errorf("20 guarded increments of 1 gave %d, want 21", p.Health.Rise)
	}
	if n := h.store.View().Len(state.KindBackend); n != clients*(each-5) {
		t.Errorf("%d backends, want %d", n, clients*(each-5))
	}
}
