package state

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestStanding(t *testing.T) {
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
		change   func(*Standing)
		routable bool
		want     []reason
	}{
		{"up", func(*Standing) {}, true, []reason{{"admin", adminReady}, {"quorum", up}}},
		{
			"down", func(c *Standing) {
				c.Backend.Verdict, c.Backend.VerdictText = VerdictDown, "connection refused"
			}, false,
			[]reason{{"admin", adminReady}, {"quorum", down}},
		},
		{
			"unknown, initial down", func(c *Standing) { c.Backend.Verdict = VerdictUnknown }, false,
			[]reason{{"admin", adminReady}, {"quorum", unknown}, {"pool", `pool "p" has initial "down": it takes no traffic before the first verdict`}},
		},
		{
			"unknown, initial up", func(c *Standing) { c.Backend.Verdict, c.Pool.Initial = VerdictUnknown, InitialUp }, true,
			[]reason{{"admin", adminReady}, {"quorum", unknown}, {"pool", `pool "p" has initial "up": it takes traffic before the first verdict`}},
		},
		{
			"unknown, no check", func(c *Standing) { c.Backend.Verdict, c.Pool.Health.Type = VerdictUnknown, CheckNone }, true,
			[]reason{{"admin", adminReady}, {"quorum", unknown}, {"pool", `pool "p" has no health check: it takes traffic without a verdict`}},
		},
		{
			"unknown, pool unknown", func(c *Standing) { c.Backend.Verdict, c.Pool = VerdictUnknown, nil }, false,
			[]reason{{"admin", adminReady}, {"quorum", unknown}, {"pool", `pool "p" has initial "down": it takes no traffic before the first verdict`}},
		},
		{"vetoed", func(c *Standing) {
			c.Vetoed, c.VetoReason, c.VetoSince = true, "3 connect failures", vetoSince
		}, false, []reason{{"admin", adminReady}, {"quorum", up}, {"local", "node n1 sends it nothing new: 3 connect failures"}}},
		{"weight 0", func(c *Standing) { c.Backend.Weight = 0 }, false, []reason{{"admin", adminReady}, {"quorum", up}, {"weight", "weight is 0: no new requests"}}},
		{
			"weight 0 in a failed pool", func(c *Standing) { c.Backend.Weight, c.Backend.Verdict, c.PoolFailed = 0, VerdictDown, true }, false,
			[]reason{{"admin", adminReady}, {"quorum", "a majority of the voters says down"}, {"weight", "weight is 0: no new requests"}},
		},
		{
			"failed pool", func(c *Standing) { c.Backend.Verdict, c.PoolFailed = VerdictDown, true }, true,
			[]reason{
				{"admin", adminReady},
				{"quorum", "a majority of the voters says down"},
				{"pool", `failing health leaves pool "p" without a backend, and its on_empty is "panic": health is ignored`},
			},
		},
		{
			"failed pool that fails", func(c *Standing) {
				c.Backend.Verdict, c.PoolFailed, c.Pool.OnEmpty = VerdictDown, true, OnEmptyFail
			}, false,
			[]reason{{"admin", adminReady}, {"quorum", "a majority of the voters says down"}},
		},
		{
			"ejected", func(c *Standing) { c.Ejected, c.EjectedUntil = true, stateSince }, false,
			[]reason{{"admin", adminReady}, {"quorum", up}, {"outlier", "node n1 has ejected it after failures in a row, until " + stateSince.UTC().Format(time.RFC3339) + " (ejections lately: 0)"}},
		},
		{
			"full", func(c *Standing) { c.Full, c.Limit = true, 7 }, false,
			[]reason{{"admin", adminReady}, {"quorum", up}, {"limit", "it has 7 requests from node n1, as many as max_connections allows"}},
		},
		{
			"slow start", func(c *Standing) { c.SlowShare = 0.25 }, true,
			[]reason{{"admin", adminReady}, {"quorum", up}, {"slow_start", "in slow start: node n1 gives it 25 % of its share"}},
		},
		{
			"init", func(c *Standing) { c.Backend.AdminState = AdminInit }, false,
			[]reason{{"admin", "admin_state is init: no traffic until it is enabled"}, {"quorum", up}},
		},
		{
			"stopped, busy", func(c *Standing) { c.Backend.AdminState, c.InFlight = AdminStopped, 12 }, false,
			[]reason{{"admin", adminStopped}, {"drain", "draining: 12 requests are still running on it"}, {"quorum", up}},
		},
		{
			"stopped, idle", func(c *Standing) { c.Backend.AdminState = AdminStopped }, false,
			[]reason{{"admin", adminStopped}, {"drain", "draining: no request is known to run on it, not yet confirmed by every node"}, {"quorum", up}},
		},
		{
			"stopped, drained", func(c *Standing) { c.Backend.AdminState, c.Backend.Drained = AdminStopped, true }, false,
			[]reason{{"admin", adminStopped}, {"drain", "drained: no request runs on it on any node"}, {"quorum", up}},
		},
		{
			"stopped in a failed pool", func(c *Standing) {
				c.Backend.AdminState, c.Backend.Drained, c.PoolFailed = AdminStopped, true, true
			}, false,
			[]reason{{"admin", adminStopped}, {"drain", "drained: no request runs on it on any node"}, {"quorum", up}},
		},
		{
			"decommissioned", func(c *Standing) { c.Backend.AdminState, c.InFlight = AdminDecommissioned, 1 }, false,
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
			c := Standing{Node: "n1", Pool: &Pool{PoolSpec: PoolSpec{ID: "p"}}, Backend: &Backend{
				BackendSpec:   BackendSpec{ID: "b", Pool: "p", Weight: 1, AdminState: AdminReady},
				BackendStatus: BackendStatus{AdminSince: adminSince, StateSince: stateSince, Verdict: VerdictUp},
			}}
			c.Pool.Normalize()
			tt.change(&c)
			routable, got := c.Routable(), c.Reasons()
			since := map[string]time.Time{FromAdmin: adminSince, FromQuorum: stateSince, FromLocal: vetoSince, FromDrain: adminSince}
			if c.Backend.Drained {
				since[FromDrain] = stateSince
			}
			var want []Reason
			for _, r := range tt.want {
				w := Reason{Source: r.source, Text: r.text}
				if s, ok := since[r.source]; ok {
					w.Since = s
				}
				want = append(want, w)
			}
			if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Reason{}, "Against")); diff != "" || routable != tt.routable {
				t.Errorf("Routable() = %v, want %v (-want +got)\n%s", routable, tt.routable, diff)
			}
		})
	}
}
