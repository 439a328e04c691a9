package httpapi

import (
	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/state"
)

func queueAnswer(q state.Queue) api.Queue { return api.Queue{Size: q.Size, Timeout: q.Wait().String()} }

func retryAnswer(r state.Retry) api.Retry {
	out := api.Retry{NonIdempotent: r.NonIdempotent, BudgetPercent: r.Percent(), BudgetMin: r.Min()}
	for _, on := range r.Conditions() {
		out.On = append(out.On, string(on))
	}
	return out
}

func outlierAnswer(o state.Outlier) api.Outlier {
	o = o.WithDefaults()
	return api.Outlier{
		ConsecutiveErrors: o.ConsecutiveErrors, MaxPercent: o.MaxPercent,
		BaseEjection: o.BaseEjection.String(), MaxEjection: o.MaxEjection.String(),
	}
}

func stickyAnswer(s state.Sticky) api.Sticky {
	s = s.WithDefaults()
	return api.Sticky{Cookie: s.Cookie, TTL: s.TTL.String(), Secure: s.Secure, SameSite: string(s.SameSite), Path: s.Path}
}

func proxyProtocolAnswer(p state.ProxyProtocol) string {
	if p == "" {
		p = state.ProxyProtocolNone
	}
	return string(p)
}
