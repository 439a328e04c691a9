package health

import (
	"context"
	"time"

	"github.com/lbnode/lbnode/state"
)

// bbbCheck passes when a BigBlueButton server answers a signed call. How that is made is not health's: the server's
// secret may be another one by each probe.
type bbbCheck struct {
	id      string
	call    func(ctx context.Context, backendID string) error
	timeout time.Duration
}

// withBBB has the backends of pools with the check type bbb checked by call.
func withBBB(build func(*state.Backend, *state.Pool, string) check, call func(context.Context, string) error) func(*state.Backend, *state.Pool, string) check {
	return func(b *state.Backend, p *state.Pool, version string) check {
		if p.Health.Type != state.CheckBBB || call == nil {
			return build(b, p, version)
		}
		return &bbbCheck{id: b.ID, call: call, timeout: policyOf(p.Health).timeout}
	}
}

func (c *bbbCheck) probe(ctx context.Context) outcome {
	begin := time.Now()
	err := c.call(ctx, c.id)
	o := outcome{ok: err == nil, latency: time.Since(begin)}
	if err != nil {
		o.reason = clip(reasonOf(err, c.timeout))
	}
	return o
}
