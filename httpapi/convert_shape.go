package httpapi

import (
	"cmp"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/state"
)

// shapeAnswer fills in what a route does to requests, with the defaults of what it does not.
func shapeAnswer(out *api.Route, r *state.RouteSpec) {
	out.RequestHeaders, out.ResponseHeaders = headerOpsAnswer(r.RequestHeaders), headerOpsAnswer(r.ResponseHeaders)
	out.Rewrite = api.Rewrite(r.Rewrite)
	out.Rewrite.Host = cmp.Or(out.Rewrite.Host, state.HostPreserve)
	out.Redirect = api.Redirect(r.Redirect)
	out.Split = make([]api.Share, len(r.Split))
	for i, s := range r.Split {
		out.Split[i] = api.Share(s)
	}
	out.SplitBy = cmp.Or(r.SplitBy, state.SplitRandom)
	out.Mirror = api.Mirror(r.Mirror)
	if r.Mirror == (state.Mirror{}) {
		out.Mirror.Percent = 100
	}
	out.RateLimit = api.RateLimit(r.RateLimit)
	if r.RateLimit == (state.RateLimit{}) {
		out.RateLimit.Per, out.RateLimit.Status = state.PerRoute, 429
	}
}

func headerOpsAnswer(h state.HeaderOps) api.HeaderOps {
	return api.HeaderOps{Set: dict(h.Set), Add: dict(h.Add), Remove: list(h.Remove)}
}
