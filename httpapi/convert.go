package httpapi

import (
	"slices"
	"strings"
	"time"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/state"
	"github.com/lbnode/lbnode/stats"
)

// converter makes answers of what one view holds.
type converter struct {
	s      *Server
	v      *state.View
	failed map[string]bool // by pool id; see poolFailed
}

func (s *Server) converter(v *state.View) *converter {
	return &converter{s: s, v: v, failed: map[string]bool{}}
}

func (c *converter) object(o state.Object) any {
	switch o := o.(type) {
	case *state.Backend:
		return c.backend(o)
	case *state.Pool:
		return poolAnswer(o)
	case *state.Route:
		return routeAnswer(o)
	case *state.Frontend:
		return frontendAnswer(o)
	case *state.Settings:
		return settingsAnswer(o)
	case *state.Certificate:
		return certificateAnswer(o, c.s.cfg.Now())
	case *state.Token:
		return tokenAnswer(o, c.s.cfg.Now())
	}
	return nil
}

func (c *converter) backend(b *state.Backend) api.Backend {
	rt := c.s.cfg.Runtime.Backend(b.ID)
	inFlight, latency := rt.InFlight, rt.Latency
	for _, o := range c.s.cfg.Runtime.Observations(b.ID) {
		if o.Node != c.s.cfg.NodeID {
			inFlight += o.InFlight
		} else if latency == 0 { // no traffic has measured it: the probes have
			latency = o.Latency
		}
	}
	pool, _ := c.v.Pool(b.Pool)
	standing := rt.Standing
	standing.Backend, standing.Pool, standing.Node, standing.InFlight, standing.PoolFailed = b, pool, c.s.cfg.NodeID, inFlight, c.poolFailed(b.Pool, pool)
	out := backendSaid(&b.BackendSpec)
	out.NodeState, out.Draining, out.Drained, out.Verdict, out.VerdictText = string(b.NodeState()), b.Draining(), b.Drained, string(b.Verdict), b.VerdictText
	out.AdminSince, out.StateSince = b.AdminSince.UTC(), b.StateSince.UTC()
	out.Routable, out.Reasons, out.LatencyMS, out.InFlight, out.Meetings, out.Attendees = standing.Routable(), reasonsAnswer(standing.Reasons()), ms(latency), inFlight, rt.Meetings, rt.Attendees
	out.CreateIndex, out.ModifyIndex, out.StateIndex, out.AdminIndex, out.Gen = b.CreateIndex, b.ModifyIndex, b.StateIndex, b.AdminIndex, b.Gen
	return out
}

// backendSaid is what an operator has said of a backend.
func backendSaid(b *state.BackendSpec) api.Backend {
	return api.Backend{
		ID: b.ID, Address: b.Address, Pool: b.Pool, Weight: b.Weight, Tags: list(b.Tags), AdminState: string(b.AdminState), LoadFactor: b.LoadFactor, MaxConnections: b.MaxConnections,
		Drain: drainAnswer(b.Drain), BBB: backendBBBAnswer(b.BBB), BBBSecrets: len(b.BBB.Secrets),
	}
}

// poolFailed says that no backend of a pool is available and at least one is failing. It looks through a pool
// once for each answer.
func (c *converter) poolFailed(id string, pool *state.Pool) bool {
	if failed, known := c.failed[id]; known {
		return failed
	}
	failed := false
	for b := range c.v.PoolBackends(id) {
		rt := c.s.cfg.Runtime.Backend(b.ID).Standing
		h := state.HurdlesOf(b, pool, rt.Vetoed || rt.Ejected)
		if h.None() {
			failed = false
			break
		}
		failed = failed || h.Failing()
	}
	c.failed[id] = failed
	return failed
}

func reasonsAnswer(in []state.Reason) []api.Reason {
	out := make([]api.Reason, len(in))
	for i, r := range in {
		out[i] = api.Reason{Source: r.Source, Text: r.Text, Since: moment(r.Since)}
	}
	return out
}

func poolAnswer(p *state.Pool) api.Pool {
	h := p.Health
	return api.Pool{
		ID: p.ID, Algorithm: string(p.Algorithm), Hash: hashAnswer(p.Hash), Protocol: string(p.Protocol),
		Health: api.HealthCheck{
			Type: string(h.Type), Method: h.Method, Path: h.Path, Host: h.Host, Statuses: h.Statuses,
			Interval: h.Interval.String(), Timeout: h.Timeout.String(), Rise: h.Rise, Fall: h.Fall, Service: h.Service,
		},
		OnEmpty: string(p.OnEmpty), Initial: string(p.Initial), TLS: tlsAnswer(p.TLS),
		SlowStart: p.SlowStart.String(), MaxConnections: p.MaxConnections, Queue: queueAnswer(p.Queue), Retry: retryAnswer(p.Retry),
		Outlier: outlierAnswer(p.Outlier), Sticky: stickyAnswer(p.Sticky), ProxyProtocol: proxyProtocolAnswer(p.ProxyProtocol),
		BBB:         poolBBBAnswer(p.BBB),
		CreateIndex: p.CreateIndex, ModifyIndex: p.ModifyIndex,
	}
}

func tlsAnswer(t state.BackendTLS) api.BackendTLS {
	return api.BackendTLS{SkipVerify: t.SkipVerify, ServerName: t.ServerName, CA: t.CA, ClientCertificate: t.ClientCertificate}
}

func hashAnswer(h state.HashKey) api.HashKey {
	return api.HashKey{Source: string(h.Source), Name: h.Name}
}

func routeAnswer(r *state.Route) api.Route {
	m := r.Match
	out := api.Route{
		ID: r.ID, Priority: r.Priority, BackendPool: r.BackendPool, Algorithm: string(r.Algorithm), Hash: hashAnswer(r.Hash), Retries: r.Retries,
		Match: api.Match{Host: m.Host, Path: m.Path, PathType: string(m.PathType), Method: m.Method, Headers: dict(m.Headers), Query: dict(m.Query)},
		Timeouts: api.Timeouts{
			Connect: r.Timeouts.Connect.String(), FirstByte: r.Timeouts.FirstByte.String(),
			Total: r.Timeouts.Total.String(), Idle: r.Timeouts.Idle.String(), UpgradedIdle: r.Timeouts.UpgradedIdle.String(),
		},
		CreateIndex: r.CreateIndex, ModifyIndex: r.ModifyIndex,
	}
	shapeAnswer(&out, &r.RouteSpec)
	return out
}

func frontendAnswer(f *state.Frontend) api.Frontend {
	return api.Frontend{
		ID: f.ID, Hosts: list(f.Hosts), Key: f.Key, SecretSet: f.Secret != "", RequiredTags: list(f.RequiredTags),
		BBB: frontendBBBAnswer(f.BBB), BBBSecrets: len(f.BBB.Secrets),
		CreateIndex: f.CreateIndex, ModifyIndex: f.ModifyIndex,
	}
}

func healthAnswer(v state.Verdict) string {
	switch v {
	case state.VerdictUp:
		return api.Healthy
	case state.VerdictDown:
		return api.Unhealthy
	case state.VerdictUnknown:
	}
	return api.Unknown
}

func observationAnswer(o Observation) api.Observation {
	status := o.Status
	if status == "" {
		status = state.VerdictUnknown
	}
	age := "" // unknown
	if o.Age > 0 {
		age = o.Age.String()
	}
	return api.Observation{Node: o.Node, Status: string(status), Error: o.Error, LatencyMS: ms(o.Latency), InFlight: o.InFlight, Since: moment(o.Since), Age: age, Seq: o.Seq}
}

func summaryAnswer(s stats.Series) api.Summary {
	m := s.Summary()
	return api.Summary{
		Requests: m.Requests, RPS: m.RPS, ActiveRequests: m.ActiveRequests, ActiveConnections: m.ActiveConnections, Connections: m.Connections,
		Responses: dict(m.Responses), Errors: dict(m.Errors), BytesIn: m.BytesIn, BytesOut: m.BytesOut, MeanLatencyMS: m.MeanLatency,
		P50LatencyMS: m.P50, P90LatencyMS: m.P90, P95LatencyMS: m.P95, P99LatencyMS: m.P99, P999LatencyMS: m.P999,
	}
}

func summariesAnswer(all map[string]stats.Series) map[string]api.Summary {
	out := make(map[string]api.Summary, len(all))
	for id, s := range all {
		out[id] = summaryAnswer(s)
	}
	return out
}

func (c *call) nodeAnswer(m Member, st ClusterStatus) api.Node {
	n := api.Node{
		ID: m.ID, Address: m.Addr, API: m.API, Proxy: m.Proxy, Version: m.Version, Status: m.Status, Voter: m.Voter, Leader: m.Leader,
		Self: m.Self, Draining: m.Draining, Fences: c.s.cfg.Nodes.Fences(m.ID), LastContact: elapsed(m.LastContact), AppliedIndex: m.AppliedIndex, StoreFull: m.StoreFull,
	}
	if m.Self {
		n.AppliedIndex = st.AppliedIndex
	}
	if n.AppliedIndex > 0 {
		lag := st.CommitIndex - min(st.CommitIndex, n.AppliedIndex)
		n.Lag = &lag
	}
	return n
}

// list and dict keep null out of answers.
func list(in []string) []string {
	if in == nil {
		return []string{}
	}
	return in
}

func dict[V any](in map[string]V) map[string]V {
	if in == nil {
		return map[string]V{}
	}
	return in
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// elapsed is "" for an unknown time.
func elapsed(d time.Duration) string {
	if d < 0 {
		return ""
	}
	return d.String()
}

// moment is nil for an unknown time.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func sortObservations(obs []Observation) {
	slices.SortFunc(obs, func(a, b Observation) int { return strings.Compare(a.Node, b.Node) })
}
