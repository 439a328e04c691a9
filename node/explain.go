package node

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/cluster"
	"github.com/lbnode/lbnode/cluster/transport"
	"github.com/lbnode/lbnode/httpapi"
	"github.com/lbnode/lbnode/proxy"
	"github.com/lbnode/lbnode/proxy/route"
	"github.com/lbnode/lbnode/state"
)

var _ httpapi.Explainer = apiExplain{}

const explainMethod = "explain"

// apiExplain asks this node's proxy, and the other nodes for theirs.
type apiExplain struct{ n *Node }

// Explain implements httpapi.Explainer.
func (e apiExplain) Explain(ctx context.Context, q api.ExplainedRequest, all bool) ([]api.NodeExplanation, []string) {
	if !all {
		return []api.NodeExplanation{e.n.explain(q)}, nil
	}
	body, err := json.Marshal(q)
	if err != nil { // strings always encode
		return nil, []string{e.n.ID()}
	}
	var (
		mu      sync.Mutex
		nodes   []api.NodeExplanation
		missing []string
		asked   sync.WaitGroup
	)
	for _, m := range e.n.cluster.Members() {
		if m.Status == "left" {
			continue
		}
		asked.Go(func() {
			a, err := e.ask(ctx, m, q, body)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				missing = append(missing, m.ID)
				return
			}
			nodes = append(nodes, a)
		})
	}
	asked.Wait()
	slices.SortFunc(nodes, func(a, b api.NodeExplanation) int { return strings.Compare(a.Node, b.Node) })
	slices.Sort(missing)
	return nodes, missing
}

func (e apiExplain) ask(ctx context.Context, m cluster.Member, q api.ExplainedRequest, body []byte) (a api.NodeExplanation, err error) {
	switch {
	case m.Self:
		return e.n.explain(q), nil
	case m.Status == "dead":
		return a, fmt.Errorf("%s is dead", m.ID)
	}
	b, err := e.n.cluster.Call(ctx, m.ID, explainMethod, body)
	if err != nil {
		return a, err
	}
	return a, json.Unmarshal(b, &a)
}

// serveExplain answers another node's question.
func (n *Node) serveExplain(_ context.Context, _ transport.Peer, body []byte) ([]byte, error) {
	var q api.ExplainedRequest
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, fmt.Errorf("read the question: %w", err)
	}
	return json.Marshal(n.explain(q))
}

// explain asks this node's proxy.
func (n *Node) explain(q api.ExplainedRequest) api.NodeExplanation {
	addr, _ := netip.ParseAddr(q.ClientIP) // has been checked; an invalid one is nobody's
	x := n.proxy.Explain(proxy.Question{Method: q.Method, URL: q.URL, Headers: q.Headers, Client: addr})
	out := api.NodeExplanation{
		Node: n.ID(), Index: x.Index, Read: api.ReadRequest{Method: x.Method, Host: x.Host, Path: x.Path, Query: x.Query},
		Outcome: api.OutcomeForwarded, Near: nearRoutes(x.Near), Pick: x.Pick, Notes: append([]string{}, x.Notes...),
	}
	if f := x.Refusal; f != nil {
		out.Outcome, out.Refusal = api.OutcomeRefused, &api.ExplainedRefusal{Status: f.Status, Code: f.Code, Detail: f.Detail}
	}
	m := x.Match
	if m == nil {
		return out
	}
	out.Route = &api.ExplainedRoute{
		ID: m.Target.RouteID, Clauses: clauses(x.Clauses), Retries: m.Target.Retries,
		Timeouts: api.RouteDeadlines{Connect: m.Target.Connect.String(), FirstByte: m.Target.FirstByte.String(), Total: m.Target.Total.String()},
	}
	if m.Frontend != "" {
		out.Frontend = &api.ExplainedFrontend{ID: m.Frontend, RequiredTags: append([]string{}, m.RequiredTags()...)}
	}
	out.Pool = &api.ExplainedPool{
		ID: m.Target.Pool, Algorithm: string(m.Target.Algorithm), Hash: proxy.HashText(m.Target.Algorithm, m.Target.Hash), Panic: x.Panic,
		Split: append([]string{}, x.Split...), Backends: make([]api.ExplainedBackend, len(x.Backends)), Omitted: x.Omitted,
	}
	for i, c := range x.Backends {
		out.Pool.Backends[i] = api.ExplainedBackend{
			ID: c.ID, Address: c.Address, Eligible: c.Eligible, Picked: c.ID == x.Pick, Weight: c.Weight, InFlight: c.InFlight,
			LatencyMS: float64(c.Latency.Round(time.Microsecond).Microseconds()) / 1000, Reasons: reasonsOf(c.Reasons),
		}
	}
	return out
}

func clauses(in []route.Clause) []api.Clause {
	out := make([]api.Clause, len(in))
	for i, c := range in {
		out[i] = api.Clause{Part: c.Name, Want: c.Want, Got: c.Got, Holds: c.Holds}
	}
	return out
}

func nearRoutes(in []route.Near) []api.NearRoute {
	out := make([]api.NearRoute, len(in))
	for i, r := range in {
		out[i] = api.NearRoute{ID: r.RouteID, Priority: r.Priority, Outranked: r.Outranked, Clauses: clauses(r.Clauses)}
	}
	return out
}

func reasonsOf(in []state.Reason) []api.Reason {
	out := make([]api.Reason, len(in))
	for i, r := range in {
		out[i] = api.Reason{Source: r.Source, Text: r.Text}
		if !r.Since.IsZero() {
			since := r.Since.UTC()
			out[i].Since = &since
		}
	}
	return out
}
