package httpapi

import (
	"cmp"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/state"
)

// settingsEndpoints are those of the one object that holds for the whole cluster.
func settingsEndpoints() []endpoint {
	res := resourceOf(state.KindSettings)
	return []endpoint{
		{method: "GET", path: res.path, params: []string{paramMinIndex}, handle: getSettings},
		{method: "PUT", path: res.path, handle: res.put},
		{method: "PATCH", path: res.path, handle: res.patch},
	}
}

// getSettings does GET /settings. Before they are first written they have no ETag.
func getSettings(c *call) (answer, error) {
	v := c.s.cfg.Store.View()
	s := v.Settings()
	if s.ModifyIndex == 0 {
		return answer{body: settingsAnswer(s), view: v}, nil
	}
	return c.object(v, s), nil
}

func settingsAnswer(s *state.Settings) api.Settings {
	return api.Settings{ID: s.ID, FenceAfter: s.FenceAfter.String(), CreateIndex: s.CreateIndex, ModifyIndex: s.ModifyIndex}
}

func drainAnswer(d state.DrainSpec) api.Drain {
	return api.Drain{
		Deadline: d.Deadline, OnDeadline: string(cmp.Or(d.OnDeadline, state.DeadlineKeep)), Sticky: string(cmp.Or(d.Sticky, state.StickyKeep)),
	}
}
