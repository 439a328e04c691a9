package apitest

import (
	"context"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/httpapi"
)

// drain is an httpapi.Drain that never blocks: a backend is idle once SetDrained says so, and a node has
// applied what its AppliedIndex says.
type drain struct {
	s *Store
	f *Fake
}

func (d drain) Await(_ context.Context, id string, index uint64, level string) httpapi.DrainStatus {
	b, there := d.s.View().Backend(id)
	st := httpapi.DrainStatus{InFlight: d.f.Backend(id).InFlight}
	for _, m := range d.f.Members() {
		switch {
		case m.Status == "dead":
			st.Dead = append(st.Dead, m.ID)
		case level == api.WaitApplied && m.AppliedIndex < index, level == api.WaitIdle && there && !b.Drained:
			st.Unconfirmed = append(st.Unconfirmed, m.ID)
		default:
			st.Confirmed = append(st.Confirmed, m.ID)
		}
	}
	st.Reached = len(st.Unconfirmed) == 0
	return st
}
