package route

import "github.com/lbnode/lbnode/proxy/upstream"

// All says whether a condition holds for every backend of the group, usable or not.
func (g *Group) All(holds func(*upstream.Upstream) bool) bool {
	for _, m := range g.members {
		if !holds(m.Upstream) {
			return false
		}
	}
	return true
}
