package health

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/lbnode/lbnode/state"
)

func TestBBBCheck(t *testing.T) {
	t.Parallel()
	fail := errors.New("checksumError: the server takes none of the secrets")
	asked := ""
	build := withBBB(newCheck, func(_ context.Context, id string) error {
		asked = id
		return fail
	})
	p := pool(func(p *state.PoolSpec) { p.Health.Type = state.CheckBBB })
	b := backend("https://h/bigbluebutton/api/")
	b.ID = "node23"
	c := build(b, p, "1")
	if o := c.probe(t.Context()); o.ok || !strings.Contains(o.reason, "none of the secrets") || asked != "node23" {
		t.Errorf("probe of %q = %+v, want it failed with the reason", asked, o)
	}
	fail = nil
	if o := c.probe(t.Context()); !o.ok || o.reason != "" {
		t.Errorf("probe = %+v, want it passed", o)
	}
	for _, c := range []check{build(b, pool(nil), "1"), withBBB(newCheck, nil)(b, p, "1")} {
		if _, ok := c.(*httpCheck); !ok {
			t.Errorf("%T, want the check of a web server", c)
		}
	}
}
