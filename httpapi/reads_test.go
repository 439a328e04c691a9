package httpapi_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/httpapi"
	"github.com/lbnode/lbnode/httpapi/apitest"
	"github.com/lbnode/lbnode/state"
)

// Every read can be asked for the level that it must have, and asks for it before it looks.
func TestConsistency(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.do(http.MethodPost, "/backends", `{"id":"a","address":"h:1"}`).want(http.StatusCreated)
	for _, path := range []string{
		"/backends", "/backends/a", "/backends/health", "/pools", "/pools/default", "/routes", "/frontends", "/history", "/history/2",
		"/history/diff?from=1", "/cluster", "/nodes", "/stats", "/explain?url=/", "/backends/a/wait?wait=applied&timeout=1s",
	} {
		sep := "?"
		if strings.Contains(path, "?") {
			sep = "&"
		}
		for level, asked := range map[string][]string{"": nil, api.ReadStale: nil, api.ReadLeader: {api.ReadLeader}, api.ReadLinearizable: {api.ReadLinearizable}} {
			h.fake.Update(func(f *apitest.Fake) { f.CaughtUp = nil })
			target := path
			if level != "" {
				target += sep + "consistency=" + level
			}
			if r := h.do(http.MethodGet, target, ""); r.status >= 400 {
				t.Errorf("GET %s = %d %s", target, r.status, r.body)
			}
			h.fake.Update(func(f *apitest.Fake) {
				if !slices.Equal(f.CaughtUp, asked) {
					t.Errorf("GET %s caught up with %v, want %v", target, f.CaughtUp, asked)
				}
			})
		}
		h.do(http.MethodGet, path+sep+"consistency=strong", "").at("", `"consistency" must be one of stale, leader, linearizable`)
	}
	for _, bad := range []string{"x", "-1s", "2m", "5"} {
		h.do(http.MethodGet, "/pools?timeout="+bad, "").at("", `"timeout" must be a duration`)
	}
	h.do(http.MethodPost, "/pools?consistency=leader", `{"id":"p"}`).at("", "unknown parameter")
}

// Without a leader only a stale read is answered.
func TestConsistency_noLeader(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.fake.Update(func(f *apitest.Fake) {
		f.ReadErr = fmt.Errorf("asked around: %w", state.ErrNoLeader)
		f.ClusterStatus.LeaderID, f.ClusterStatus.LastContact = "", 2345678*time.Microsecond
	})
	for _, level := range []string{api.ReadLeader, api.ReadLinearizable} {
		r := h.do(http.MethodGet, "/pools?consistency="+level, "")
		p := r.problem(http.StatusServiceUnavailable, api.CodeNoLeader)
		if r.header.Get("Retry-After") == "" || !strings.Contains(p.Detail, "consistency=stale") || p.Outcome != api.OutcomeNotApplied {
			t.Errorf("consistency=%s without a leader: %+v, Retry-After %q", level, p, r.header.Get("Retry-After"))
		}
	}
	r := h.do(http.MethodGet, "/pools?consistency=stale", "").want(http.StatusOK)
	if got := r.header.Get(api.HeaderLastContact); got != "2.346s" || r.header.Get(api.HeaderLeader) != "" || r.header.Get(api.HeaderIndex) != "1" {
		t.Errorf("a stale read has the headers %v, want last contact 2.346s and no leader", r.header)
	}
	h.fake.Update(func(f *apitest.Fake) { f.ClusterStatus.LastContact = -1 })
	if r := h.do(http.MethodGet, "/pools", ""); r.header.Get(api.HeaderLastContact) != "" {
		t.Errorf("a node that never heard a leader says %q", r.header.Get(api.HeaderLastContact))
	}
}

// A node that does not get there in time says where it is.
func TestConsistency_tooLate(t *testing.T) {
	t.Parallel()
	h := newHarness(t, func(c *httpapi.Config) { c.Reads = never{} })
	p := h.do(http.MethodGet, "/pools?consistency=linearizable&timeout=10ms", "").problem(http.StatusGatewayTimeout, api.CodeIndexNotReached)
	if !strings.Contains(p.Detail, "within 10ms; it is at index 1") {
		t.Errorf("detail = %q", p.Detail)
	}
}

type never struct{}

func (never) CatchUp(ctx context.Context, _ string) error {
	<-ctx.Done()
	return ctx.Err()
}
