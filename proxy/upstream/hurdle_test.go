package upstream

import (
	"slices"
	"testing"

	"github.com/lbnode/lbnode/state"
)

// TestWhy_agreesWithFlags goes through every combination: there are reasons exactly when new requests are kept
// away, and each names a source.
func TestWhy_agreesWithFlags(t *testing.T) {
	t.Parallel()
	pools := []*state.Pool{nil, {PoolSpec: state.PoolSpec{Initial: state.InitialUp}}, {PoolSpec: state.PoolSpec{Initial: state.InitialDown, Health: state.HealthCheck{Type: state.CheckHTTP}}}, {PoolSpec: state.PoolSpec{Initial: state.InitialDown, Health: state.HealthCheck{Type: state.CheckNone}}}}
	for _, admin := range []state.AdminState{state.AdminInit, state.AdminReady, state.AdminStopped, state.AdminDecommissioned} {
		for _, verdict := range []state.Verdict{state.VerdictUnknown, state.VerdictUp, state.VerdictDown} {
			for _, weight := range []int{0, 1} {
				for _, down := range []bool{false, true} {
					for _, pool := range pools {
						b := &state.Backend{BackendSpec: state.BackendSpec{AdminState: admin, Weight: weight}, BackendStatus: state.BackendStatus{Verdict: verdict}}
						standing := state.Standing{Backend: b, Pool: pool, Vetoed: down, VetoReason: "refused"}
						why := slices.DeleteFunc(standing.Reasons(), func(r state.Reason) bool { return !r.Against })
						if takes := flagsOf(b, pool, down)&bitNew != 0; takes != (len(why) == 0) || takes != standing.Routable() {
							t.Errorf("%s, %s, weight %d, veto %t: takes requests %t, reasons %v", admin, verdict, weight, down, takes, why)
						}
						if slices.ContainsFunc(why, func(r state.Reason) bool { return r.Source == "" || r.Text == "" }) {
							t.Errorf("a reason is empty: %v", why)
						}
					}
				}
			}
		}
	}
}
