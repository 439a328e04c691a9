package httpapi

import (
	"context"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/lbnode/lbnode/api"
)

// Explainer says what nodes would do with a request. It changes nothing, and blocks until the nodes have answered
// or ctx ends.
type Explainer interface {
	// Explain asks this node, or all of them, whose answers come in the order of their ids; missing are those that
	// did not answer.
	Explain(ctx context.Context, q api.ExplainedRequest, all bool) (nodes []api.NodeExplanation, missing []string)
}

const (
	paramMethod   = "method"
	paramURL      = "url"
	paramHeader   = "header"
	paramClientIP = "client_ip"
)

// getExplain does GET /explain.
func getExplain(c *call) (answer, error) {
	q, err := c.question()
	if err != nil {
		return answer{}, err
	}
	if err := oneOf(c.params, paramNode, api.ExplainLocal, api.ExplainAll); err != nil {
		return answer{}, err
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), api.ExplainTimeout)
	defer cancel()
	nodes, missing := c.s.cfg.Explain.Explain(ctx, q, c.params.get(paramNode) == api.ExplainAll)
	return answer{body: api.Explanation{Request: q, Agree: agree(nodes), Nodes: append([]api.NodeExplanation{}, nodes...), Missing: list(missing)}}, nil
}

// question reads the request that is asked about. What a parser would refuse is for the nodes to say; here is
// refused only what is not one request.
func (c *call) question() (q api.ExplainedRequest, err error) {
	q = api.ExplainedRequest{Method: c.params.get(paramMethod), URL: c.params.get(paramURL), Headers: list(url.Values(c.params)[paramHeader])}
	if q.Method == "" {
		q.Method = "GET"
	}
	if q.URL == "" {
		return q, badParam(paramURL, "must be there, such as http://www.example.org/users?page=2 or /users")
	}
	for _, p := range []struct{ name, value string }{{paramMethod, q.Method}, {paramURL, q.URL}, {paramHeader, strings.Join(q.Headers, "")}} {
		if strings.ContainsAny(p.value, "\r\n\x00") {
			return q, badParam(p.name, "must not hold CR, LF or NUL")
		}
	}
	if len(q.Headers) > api.MaxExplainHeaders {
		return q, badParam(paramHeader, "may be given %d times, got %d", api.MaxExplainHeaders, len(q.Headers))
	}
	for _, h := range q.Headers {
		if !strings.Contains(h, ":") {
			return q, badParam(paramHeader, "must be \"Name: value\", got %q", h)
		}
	}
	ip := c.params.get(paramClientIP)
	if ip == "" { // whoever asks
		if ip, _, err = net.SplitHostPort(c.r.RemoteAddr); err != nil {
			ip = "127.0.0.1"
		}
	}
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return q, badParam(paramClientIP, "must be an IP address, got %q", ip)
	}
	q.ClientIP = addr.Unmap().WithZone("").String()
	return q, nil
}

// agree says whether nodes would do the same: the same answer of their own, route, pool and eligible backends. The
// pick may differ, as nodes take their turns each by itself.
func agree(nodes []api.NodeExplanation) bool {
	for i := 1; i < len(nodes); i++ {
		if !sameCourse(&nodes[0], &nodes[i]) {
			return false
		}
	}
	return true
}

func sameCourse(a, b *api.NodeExplanation) bool {
	if a.Outcome != b.Outcome || (a.Refusal == nil) != (b.Refusal == nil) || (a.Route == nil) != (b.Route == nil) || (a.Pool == nil) != (b.Pool == nil) {
		return false
	}
	if a.Refusal != nil && a.Refusal.Code != b.Refusal.Code || a.Route != nil && a.Route.ID != b.Route.ID {
		return false
	}
	return a.Pool == nil || a.Pool.Panic == b.Pool.Panic && a.Pool.Algorithm == b.Pool.Algorithm &&
		slices.EqualFunc(a.Pool.Backends, b.Pool.Backends, func(x, y api.ExplainedBackend) bool { return x.ID == y.ID && x.Eligible == y.Eligible })
}
