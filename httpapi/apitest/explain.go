package apitest

import (
	"context"

	"github.com/lbnode/lbnode/api"
)

// explainer is an httpapi.Explainer whose nodes say what SetExplanations told them; those that are dead are missing.
type explainer struct{ f *Fake }

func (e explainer) Explain(_ context.Context, _ api.ExplainedRequest, all bool) ([]api.NodeExplanation, []string) {
	e.f.mu.Lock()
	nodes := e.f.explained
	e.f.mu.Unlock()
	if !all {
		return nodes[:min(len(nodes), 1)], nil
	}
	var missing []string
	for _, m := range e.f.Members() {
		if m.Status == "dead" {
			missing = append(missing, m.ID)
		}
	}
	return nodes, missing
}

// SetExplanations sets what the nodes answer to GET /explain, this one first.
func (f *Fake) SetExplanations(nodes ...api.NodeExplanation) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.explained = nodes
}
