package httpapi

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/state"
)

func TestExplain(t *testing.T) {
	t.Parallel()
	adminSince := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	stateSince, vetoSince := adminSince.Add(time.Hour), adminSince.Add(2*time.Hour)
	const (
		adminReady   = "admin_state is ready: it takes traffic when healthy"
		adminStopped = "admin_state is stopped: no new requests, running ones finish"
		up           = "a majority of the voters says up"
		down         = "a majority of the voters says down: connection refused"
		unknown      = "no verdict yet: no majority of the voters has said up or down"
	)
	type reason struct{ source, text string }
	tests := []struct {
		name     string
		change   func(*circumstances)
		routable bool
		want     []reason
	}{
		{"up", func(*circumstances) {}, true, []reason{{"admin", adminReady}, {"quorum", up}}},
		{
			"down", func(c *circumstances) {
				c.backend.Verdict, c.backend.VerdictText = state.VerdictDown, "connection refused"
			}, false,
			[]reason{{"admin", adminReady}, {"quorum", down}},
		},
		{
			"unknown, initial down", func(c *circumstances) { c.backend.Verdict = state.VerdictUnknown }, false,
			[]reason{{"admin", adminReady}, {"quorum", unknown}, {"pool", `pool "p" has initial "down": it takes no traffic before the first verdict`}},
		},
		{
			"unknown, initial up", func(c *circumstances) { c.backend.Verdict, c.pool.Initial = state.VerdictUnknown, state.InitialUp }, true,
			[]reason{{"admin", adminReady}, {"quorum", unknown}, {"pool", `pool "p" has initial "up": it takes traffic before the first verdict`}},
		},
		{
			"unknown, no check", func(c *circumstances) { c.backend.Verdict, c.pool.Health.Type = state.VerdictUnknown, state.CheckNone }, true,
			[]reason{{"admin", adminReady}, {"quorum", unknown}, {"pool", `pool "p" has no health check: it takes traffic without a verdict`}},
		},
		{
			"unknown, pool unknown", func(c *circumstances) { c.backend.Verdict, c.pool = state.VerdictUnknown, nil }, false,
			[]reason{{"admin", adminReady}, {"quorum", unknown}, {"pool", `pool "p" has initial "down": it takes no traffic before the first verdict`}},
		},
		{"vetoed", func(c *circumstances) {
			c.runtime = BackendRuntime{Vetoed: true, VetoReason: "3 connect failures", VetoSince: vetoSince}
		}, false, []reason{{"admin", adminReady}, {"quorum", up}, {"local", "node n1 sends it nothing new: 3 connect failures"}}},
		{"weight 0", func(c *circumstances) { c.backend.Weight = 0 }, false, []reason{{"admin", adminReady}, {"quorum", up}, {"weight", "weight is 0: no new requests"}}},
		{
			"weight 0 in a failed pool", func(c *circumstances) { c.backend.Weight, c.backend.Verdict, c.poolFailed = 0, state.VerdictDown, true }, false,
			[]reason{{"admin", adminReady}, {"quorum", "a majority of the voters says down"}, {"weight", "weight is 0: no new requests"}},
		},
		{
			"failed pool", func(c *circumstances) { c.backend.Verdict, c.poolFailed = state.VerdictDown, true }, true,
			[]reason{
				{"admin", adminReady},
				{"quorum", "a majority of the voters says down"},
				{"pool", `failing health leaves pool "p" without a backend, and its on_empty is "panic": health is ignored`},
			},
		},
		{
			"failed pool that fails", func(c *circumstances) {
				c.backend.Verdict, c.poolFailed, c.pool.OnEmpty = state.VerdictDown, true, state.OnEmptyFail
			}, false,
			[]reason{{"admin", adminReady}, {"quorum", "a majority of the voters says down"}},
		},
		{
			"ejected", func(c *circumstances) { c.runtime.Ejected, c.runtime.EjectedUntil = true, stateSince }, false,
			[]reason{{"admin", adminReady}, {"quorum", up}, {"outlier", "node n1 has ejected it after failures in a row, until " + stateSince.UTC().Format(time.RFC3339)}},
		},
		{
			"full", func(c *circumstances) { c.runtime.Full, c.runtime.Limit = true, 7 }, false,
			[]reason{{"admin", adminReady}, {"quorum", up}, {"limit", "it has 7 requests from node n1, as many as max_connections allows"}},
		},
		{
			"slow start", func(c *circumstances) { c.runtime.SlowShare = 0.25 }, true,
			[]reason{{"admin", adminReady}, {"quorum", up}, {"slow_start", "in slow start: node n1 gives it 25 % of its share"}},
		},
		{
			"init", func(c *circumstances) { c.backend.AdminState = state.AdminInit }, false,
			[]reason{{"admin", "admin_state is init: no traffic until it is enabled"}, {"quorum", up}},
		},
		{
			"stopped, busy", func(c *circumstances) { c.backend.AdminState, c.inFlight = state.AdminStopped, 12 }, false,
			[]reason{{"admin", adminStopped}, {"drain", "draining: 12 requests are still running on it"}, {"quorum", up}},
		},
		{
			"stopped, idle", func(c *circumstances) { c.backend.AdminState = state.AdminStopped }, false,
			[]reason{{"admin", adminStopped}, {"drain", "draining: no request is known to run on it, not yet confirmed by every node"}, {"quorum", up}},
		},
		{
			"stopped, drained", func(c *circumstances) { c.backend.AdminState, c.backend.Drained = state.AdminStopped, true }, false,
			[]reason{{"admin", adminStopped}, {"drain", "drained: no request runs on it on any node"}, {"quorum", up}},
		},
		{
			"stopped in a failed pool", func(c *circumstances) {
				c.backend.AdminState, c.backend.Drained, c.poolFailed = state.AdminStopped, true, true
			}, false,
			[]reason{{"admin", adminStopped}, {"drain", "drained: no request runs on it on any node"}, {"quorum", up}},
		},
		{
			"decommissioned", func(c *circumstances) { c.backend.AdminState, c.inFlight = state.AdminDecommissioned, 1 }, false,
			[]reason{
				{"admin", "admin_state is decommissioned: no new requests, and it is removed once the running ones have finished"},
				{"drain", "draining: 1 request is still running on it"},
				{"quorum", up},
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := circumstances{node: "n1", pool: &state.Pool{PoolSpec: state.PoolSpec{ID: "p"}}, backend: &state.Backend{
				BackendSpec:   state.BackendSpec{ID: "b", Pool: "p", Weight: 1, AdminState: state.AdminReady},
				BackendStatus: state.BackendStatus{AdminSince: adminSince, StateSince: stateSince, Verdict: state.VerdictUp},
			}}
			c.pool.Normalize()
			tt.change(&c)
			routable, got := explain(c)
			since := map[string]time.Time{api.SourceAdmin: adminSince, api.SourceQuorum: stateSince, api.SourceLocal: vetoSince, api.SourceDrain: adminSince}
			if c.backend.Drained {
				since[api.SourceDrain] = stateSince
			}
			var want []api.Reason
			for _, r := range tt.want {
				w := api.Reason{Source: r.source, Text: r.text}
				if s, ok := since[r.source]; ok {
					w.Since = &s
				}
				want = append(want, w)
			}
			if diff := cmp.Diff(want, got); diff != "" || routable != tt.routable {
				t.Errorf("explain: routable %v, want %v (-want +got)\n%s", routable, tt.routable, diff)
			}
		})
	}
}

func TestNewUUID(t *testing.T) {
	t.Parallel()
	a, b := newUUID(), newUUID()
	if a == b || state.CheckID(a) != "" || a[14] != '4' {
		t.Errorf("newUUID() = %s, %s, want two different ids of version 4", a, b)
	}
}
