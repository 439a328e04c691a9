package main

import "github.com/lbnode/lbnode/api"

// explained is what two nodes say of a request, of which one has ejected what the other would pick.
func explained() []api.NodeExplanation {
	node := func(id string, index uint64) api.NodeExplanation {
		return api.NodeExplanation{
			Node: id, Index: index, Read: api.ReadRequest{Method: "POST", Host: "www.example.org", Path: "/users", Query: "v=1"}, Outcome: api.OutcomeForwarded,
			Route: &api.ExplainedRoute{
				ID: "users", Retries: 1, Timeouts: api.RouteDeadlines{Connect: "5s", FirstByte: "1m0s", Total: "0s"},
				Clauses: []api.Clause{{Part: "path", Want: "/users (prefix)", Got: "/users", Holds: true}, {Part: "method", Want: "GET,POST", Got: "POST", Holds: true}},
			},
			Frontend: &api.ExplainedFrontend{ID: "shop", RequiredTags: []string{"eu"}},
			Pool: &api.ExplainedPool{ID: "users", Algorithm: "consistent_hash", Hash: "header X-User", Split: []string{}, Backends: []api.ExplainedBackend{
				{ID: "users-v1", Address: "10.0.1.15:8080", Eligible: true, Picked: true, Weight: 3, InFlight: 2, LatencyMS: 12.5, Reasons: []api.Reason{}},
				{ID: "users-v2", Address: "10.0.1.16:8080", Weight: 1, Reasons: []api.Reason{{Source: "tags", Text: `frontend "shop" requires tags that it does not have: eu`}}},
			}},
			Pick: "users-v1", Notes: []string{},
			Near: []api.NearRoute{
				{ID: "all", Outranked: true, Clauses: []api.Clause{{Part: "path", Want: "/ (prefix)", Got: "/users", Holds: true}}},
				{ID: "beta", Priority: 5, Clauses: []api.Clause{{Part: "path", Want: "/users (prefix)", Got: "/users", Holds: true}, {Part: "header X-Beta", Want: "1"}}},
			},
		}
	}
	other := node("n2", 41)
	other.Outcome, other.Pick = api.OutcomeRefused, ""
	other.Refusal = &api.ExplainedRefusal{Status: 503, Code: "no_backend", Detail: "no backend can take this request now"}
	b := &other.Pool.Backends[0]
	b.Eligible, b.Picked, b.Reasons = false, false, []api.Reason{{Source: "local", Text: "this node sends it nothing new: connection refused"}}
	other.Near = nil
	return []api.NodeExplanation{node("n1", 42), other}
}
