package httpapi_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/httpapi/apitest"
)

func explained(node string, eligible bool) api.NodeExplanation {
	return api.NodeExplanation{
		Node: node, Outcome: api.OutcomeForwarded, Near: []api.NearRoute{}, Notes: []string{}, Pick: "b",
		Route: &api.ExplainedRoute{ID: "r", Clauses: []api.Clause{}},
		Pool: &api.ExplainedPool{ID: "p", Split: []string{}, Backends: []api.ExplainedBackend{
			{ID: "b", Eligible: true, Picked: true, Reasons: []api.Reason{}}, {ID: "c", Eligible: eligible, Reasons: []api.Reason{}},
		}},
	}
}

func explanation(r reply) (x api.Explanation) {
	r.t.Helper()
	r.want(http.StatusOK).into(&x)
	return x
}

func TestExplain(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.fake.SetExplanations(explained("n1", true), explained("n2", true))
	r := h.do(http.MethodGet, "/explain?url=/users&method=POST&header=A:+1&header=B:+2&client_ip=::ffff:10.0.0.1", "").want(http.StatusOK)
	got := explanation(r)
	if q := got.Request; q.Method != "POST" || q.URL != "/users" || len(q.Headers) != 2 || q.Headers[1] != "B: 2" || q.ClientIP != "10.0.0.1" {
		t.Errorf("the question was read as %+v", q)
	}
	if len(got.Nodes) != 1 || got.Nodes[0].Node != "n1" || !got.Agree {
		t.Errorf("answer = %s, want that of this node", r.body)
	}
	if q := explanation(h.do(http.MethodGet, "/explain?url=/", "")).Request; q.Method != "GET" || q.ClientIP != "192.0.2.1" || q.Headers == nil {
		t.Errorf("without more than a URL the question is %+v", q)
	}
	h.fake.Update(func(f *apitest.Fake) {
		f.Nodes = append(f.Nodes, f.Nodes[0])
		f.Nodes[1].ID, f.Nodes[1].Self, f.Nodes[1].Status = "n3", false, "dead"
	})
	all := explanation(h.do(http.MethodGet, "/explain?url=/&node=all", ""))
	if len(all.Nodes) != 2 || !all.Agree || len(all.Missing) != 1 || all.Missing[0] != "n3" {
		t.Errorf("all nodes: %+v", all)
	}
	for name, change := range map[string]func(*api.NodeExplanation){
		"eligible": func(n *api.NodeExplanation) { *n = explained("n2", false) },
		"route":    func(n *api.NodeExplanation) { n.Route.ID = "x" },
		"no route": func(n *api.NodeExplanation) { n.Route = nil },
		"refusal": func(n *api.NodeExplanation) {
			n.Outcome, n.Refusal = api.OutcomeRefused, &api.ExplainedRefusal{Status: 503}
		},
	} {
		other := explained("n2", true)
		change(&other)
		h.fake.SetExplanations(explained("n1", true), other)
		if explanation(h.do(http.MethodGet, "/explain?url=/&node=all", "")).Agree {
			t.Errorf("nodes that differ in %s agree", name)
		}
	}
}

func TestExplain_badQuestions(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for query, want := range map[string]string{
		"":                    `"url" must be there`,
		"url=/&node=some":     `"node" must be one of local, all`,
		"url=/&client_ip=me":  `"client_ip" must be an IP address`,
		"url=/&header=x":      `"header" must be "Name: value"`,
		"url=/%0d%0aX:1":      `"url" must not hold CR`,
		"url=/&method=GET%0a": `"method" must not hold CR`,
		"url=/&header=a:b%00": `"header" must not hold CR`,
		"url=/&url=/x":        `"url" must be given once`,
		"url=/" + strings.Repeat("&header="+url.QueryEscape("a: b"), api.MaxExplainHeaders+1): `"header" may be given 100 times`,
	} {
		h.do(http.MethodGet, "/explain?"+query, "").at("", want)
	}
}
