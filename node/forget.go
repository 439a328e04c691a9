package node

import (
	"time"

	"github.com/lbnode/lbnode/state"
	"github.com/lbnode/lbnode/stats"
)

// forgetInterval bounds how often the counters are searched for what is gone.
const forgetInterval = time.Minute

// forget drops the counters of routes and backends that a view does not have, so that their number is bounded by
// what there is. It is for the goroutine that hands views to the proxy: nobody else makes counters.
func (n *Node) forget(v *state.View) {
	n.requests.Prune(func(k stats.Key) bool {
		switch k.Scope {
		case stats.Route:
			_, there := v.Route(k.ID)
			return there
		case stats.Backend:
			_, there := v.Backend(k.ID)
			return there || n.proxy.Set().Get(k.ID) != nil // it may come back, and then goes on with its counters
		}
		return true
	})
}
