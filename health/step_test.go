package health

import (
	"testing"
	"time"

	"github.com/lbnode/lbnode/state"
)

func TestStep(t *testing.T) {
	t.Parallel()
	p := policy{rise: 2, fall: 3, interval: 2 * time.Second}
	for _, tc := range []struct {
		name     string
		from     Status
		outcomes string // + passes, - fails
		want     Status
		pause    time.Duration
	}{
		{"new: nothing yet", "", "", "", 500 * time.Millisecond},
		{"new: one pass is enough", "", "+", StatusUp, 2 * time.Second},
		{"new: a failure is not", "", "-", StatusUnknown, 500 * time.Millisecond},
		{"new: a whole fall is", "", "---", StatusDown, 2 * time.Second},
		{"new: a pass after failures", "", "--+", StatusUp, 2 * time.Second},
		{"up: one failure raises doubt", StatusUp, "-", StatusUp, 500 * time.Millisecond},
		{"up: a pass ends the doubt", StatusUp, "--+", StatusUp, 2 * time.Second},
		{"up: failures must be in a row", StatusUp, "--+--", StatusUp, 500 * time.Millisecond},
		{"up: fall", StatusUp, "---", StatusDown, 2 * time.Second},
		{"down: one pass raises doubt", StatusDown, "+", StatusDown, 500 * time.Millisecond},
		{"down: passes must be in a row", StatusDown, "+-+", StatusDown, 500 * time.Millisecond},
		{"down: rise", StatusDown, "++", StatusUp, 2 * time.Second},
		{"down: stays so without counting", StatusDown, "-----", StatusDown, 2 * time.Second},
		{"down and up and down", StatusUp, "---++---", StatusDown, 2 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := counters{status: tc.from}
			for _, o := range tc.outcomes {
				c = step(c, o == '+', p)
			}
			if c.status != tc.want {
				t.Errorf("after %q: status %q, want %q", tc.outcomes, c.status, tc.want)
			}
			if got := c.pause(p); got != tc.pause {
				t.Errorf("after %q: pause %s, want %s", tc.outcomes, got, tc.pause)
			}
		})
	}
}

func TestPolicy_paceInDoubt(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ interval, want time.Duration }{
		{2 * time.Second, 500 * time.Millisecond},
		{200 * time.Millisecond, 100 * time.Millisecond},
		{100 * time.Millisecond, 100 * time.Millisecond},
		{0, 100 * time.Millisecond}, // not valid, but must not spin
	} {
		p := policyOf(state.HealthCheck{Interval: state.Duration(tc.interval)})
		if got := p.fast(); got != tc.want {
			t.Errorf("interval %s: fast() = %s, want %s", tc.interval, got, tc.want)
		}
	}
}
