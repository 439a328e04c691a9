package proxy

import (
	"errors"
	"time"

	"github.com/lbnode/lbnode/proxy/route"
	"github.com/lbnode/lbnode/proxy/upstream"
	"github.com/lbnode/lbnode/stats"
)

// lostRaces bounds how often a pick may meet a backend that was taken out a moment ago.
const lostRaces = 16

// Exchange is the course of one request: where it goes, where it has been, what came of it. It belongs to
// one goroutine.
type Exchange struct {
	route.Match
	key    uint64
	left   int // retries
	tried  upstream.Tried
	shaped *shaped // what the route's shape makes of it; nil = nothing
	protection
}

// Route matches a request and counts it as in flight on its route. Exactly one Finish must follow unless
// there is a refusal. Admit comes next.
func (p *Proxy) Route(x *Exchange, r *route.Request) *Refusal {
	t := p.table.Load()
	if t == nil {
		return refuseNotReady
	}
	if f := p.match(x, t, r); f != nil {
		return f
	}
	if x.Target.Retry.Any() {
		x.Target.Runtime.Count()
	}
	x.Target.Stats.Begin()
	return nil
}

// match is Route without counting: also explanations take this way.
func (p *Proxy) match(x *Exchange, t *route.Table, r *route.Request) *Refusal {
	m, err := t.Match(r)
	switch {
	case err == nil:
	case errors.Is(err, route.ErrNoRoute):
		return refuseNoRoute
	case errors.Is(err, route.ErrAmbiguous):
		return refuseAmbiguous
	default:
		return refuseBadPath
	}
	x.Match, x.key, x.left = m, m.Target.Key(r), m.Target.Retries
	x.recall(r)
	if p.set.Fenced() {
		return refuseFenced
	}
	return nil
}

var errNoEndpoint = errors.New("the backend's address cannot be used")

// Attempts is the number of backends that the request has been to.
func (x *Exchange) Attempts() int { return x.tried.Len() }

// Finish counts the request on its route.
func (x *Exchange) Finish(o stats.Outcome) {
	x.Leave()
	if x.next.Upstream != nil {
		x.next.Abandon()
	}
	x.Target.Stats.Record(o)
}

// outcome is what is counted of a request in the end.
func outcome(status int, k stats.Kind, d time.Duration, in, out uint64) stats.Outcome {
	return stats.Outcome{Status: status, Kind: k, Duration: d, BytesIn: in, BytesOut: out}
}
