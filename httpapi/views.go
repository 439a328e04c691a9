package httpapi

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/internal/strictjson"
	"github.com/lbnode/lbnode/stats"
)

// backendsHealth does GET /backends/health.
func backendsHealth(c *call) (answer, error) {
	verbose, err := c.params.flag(paramVerbose)
	if err != nil {
		return answer{}, err
	}
	v := c.s.cfg.Store.View()
	short, long := api.Health{}, api.VerboseHealth{}
	for b := range backendsOf(v, c.params.get(paramPool)) {
		short[b.ID] = healthAnswer(b.Verdict)
		if !verbose {
			continue
		}
		veto := c.s.cfg.Runtime.Backend(b.ID).Standing
		obs := slices.Clone(c.s.cfg.Runtime.Observations(b.ID))
		sortObservations(obs)
		h := api.BackendHealth{
			Health: short[b.ID], Text: b.VerdictText, Since: b.StateSince.UTC(), Vetoed: veto.Vetoed, VetoReason: veto.VetoReason,
			Observations: make([]api.Observation, len(obs)),
		}
		if veto.Vetoed {
			h.VetoSince = moment(veto.VetoSince)
		}
		for i, o := range obs {
			h.Observations[i] = observationAnswer(o)
		}
		long[b.ID] = h
	}
	if verbose {
		return answer{body: long, view: v}, nil
	}
	return answer{body: short, view: v}, nil
}

// getStats does GET /stats.
func getStats(c *call) (answer, error) {
	if err := oneOf(c.params, paramScope, api.ScopeCluster, api.ScopeNode); err != nil {
		return answer{}, err
	}
	out := api.Stats{Scope: api.ScopeNode}
	snap, missing := c.s.cfg.Stats.Local(), []string(nil)
	ctx, cancel := context.WithTimeout(c.r.Context(), c.s.cfg.StatsTimeout)
	defer cancel()
	switch node := c.params.get(paramNode); {
	case c.params.get(paramScope) != api.ScopeNode && node != "":
		return answer{}, badParam(paramNode, "goes with scope=node only")
	case c.params.get(paramScope) != api.ScopeNode:
		out.Scope = api.ScopeCluster
		snap, missing = c.s.cfg.Stats.Cluster(ctx)
	case node != "" && node != c.s.cfg.NodeID:
		var err error
		if snap, err = c.s.cfg.Stats.Node(ctx, node); errors.Is(err, ErrUnknownNode) {
			return answer{}, err
		} else if err != nil {
			snap, missing = stats.Snapshot{}, []string{node}
		}
	}
	out.Nodes, out.Missing = list(slices.Sorted(slices.Values(snap.Nodes))), list(slices.Sorted(slices.Values(missing)))
	out.Summary = summaryAnswer(snap.Total)
	out.Backends, out.Routes = summariesAnswer(snap.Backends), summariesAnswer(snap.Routes)
	return answer{body: out}, nil
}

// getCluster does GET /cluster.
func getCluster(c *call) (answer, error) { return c.clusterAnswer(), nil }

func (c *call) clusterAnswer() answer {
	st, v := c.s.cfg.Cluster.Status(), c.s.cfg.Store.View()
	out := api.Cluster{
		ID: st.ClusterID, Node: c.s.cfg.NodeID, State: st.State, Healthy: st.Healthy, FailureTolerance: st.FailureTolerance,
		Index: v.Index, Term: st.Term, CommitIndex: st.CommitIndex, LastIndex: st.LastIndex, Voters: []string{}, LiveVoters: st.LiveVoters,
		LastContact: elapsed(st.LastContact), Stale: c.s.cfg.Store.Stale(),
	}
	if out.ID == "" {
		out.ID = v.ClusterID
	}
	if st.LeaderID != "" {
		out.Leader = &api.Leader{ID: st.LeaderID}
	}
	for _, m := range c.s.cfg.Cluster.Members() {
		if m.Voter {
			out.Voters = append(out.Voters, m.ID)
		}
		if out.Leader != nil && m.ID == out.Leader.ID {
			out.Leader.API, out.Leader.Proxy = m.API, m.Proxy
		}
	}
	return answer{body: out, view: v}
}

// listNodes does GET /nodes.
func listNodes(c *call) (answer, error) {
	st := c.s.cfg.Cluster.Status()
	members := slices.SortedFunc(slices.Values(c.s.cfg.Cluster.Members()), func(a, b Member) int { return strings.Compare(a.ID, b.ID) })
	members, header, err := page(c, slices.Values(members), func(m Member) string { return m.ID })
	if err != nil {
		return answer{}, err
	}
	out := make([]api.Node, len(members))
	for i, m := range members {
		out[i] = c.nodeAnswer(m, st)
	}
	return answer{body: out, header: header}, nil
}

// removeNode does DELETE /nodes/{id}.
func removeNode(c *call) (answer, error) {
	force, err := c.params.flag(paramForce)
	if err != nil {
		return answer{}, err
	}
	id, err := c.pathID()
	if err != nil {
		return answer{}, err
	}
	if err := c.noBody(); err != nil {
		return answer{}, err
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), c.s.cfg.WriteTimeout)
	defer cancel()
	if err := c.s.cfg.Cluster.Remove(ctx, id, force); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusNoContent}, nil
}

// transferLeader does POST /cluster/transfer-leader.
func transferLeader(c *call) (answer, error) {
	body, err := c.readBody()
	if err != nil {
		return answer{}, err
	}
	var in api.TransferInput
	if len(strings.TrimSpace(string(body))) > 0 {
		if _, err := strictjson.Decode(body, &in, strictjson.Options{}); err != nil {
			return answer{}, err
		}
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), c.s.cfg.WriteTimeout)
	defer cancel()
	if err := c.s.cfg.Cluster.Transfer(ctx, in.To); err != nil {
		return answer{}, err
	}
	return c.clusterAnswer(), nil
}

// livez says that the process answers.
func livez(*call) (answer, error) { return answer{body: api.Live{Status: "ok"}}, nil }

// readyz says whether this node should get traffic.
func readyz(c *call) (answer, error) {
	ok, reasons := c.s.cfg.Ready()
	if ok {
		return answer{body: api.Ready{Ready: true, Reasons: []string{}}}, nil
	}
	return answer{}, &failure{
		status: http.StatusServiceUnavailable, code: api.CodeNotReady, detail: "this node is not ready: " + strings.Join(reasons, "; "),
		notReady: list(reasons),
	}
}

// getOpenAPI does GET /openapi.json.
func getOpenAPI(c *call) (answer, error) { return answer{body: c.s.openAPI}, nil }
