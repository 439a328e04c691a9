package route

import (
	"iter"
	"slices"
	"strings"

	"github.com/lbnode/lbnode/proxy/upstream"
	"github.com/lbnode/lbnode/state"
)

// Peek is what Pick would return now. It moves nothing and counts nothing.
func (g *Group) Peek(key uint64, tried *upstream.Tried) (*upstream.Upstream, upstream.Mode) {
	f := Group{Pool: g.Pool, members: g.members, picker: g.picker.Fork(), onEmpty: g.onEmpty}
	return f.Pick(key, tried)
}

// Panics says that the group is in panic: see Pick.
func (g *Group) Panics() bool { return g.onEmpty == state.OnEmptyPanic && g.failed() }

// Candidate is a backend of a pool as one request sees it.
type Candidate struct {
	Upstream *upstream.Upstream
	Weight   int
	Missing  []string // of the tags that the request's frontend requires
}

// RequiredTags are the tags that a backend must have for the request's frontend, sorted.
func (m Match) RequiredTags() []string {
	if tags := m.table.tags[m.tags]; tags != "" {
		return strings.Split(tags, "\x00")
	}
	return nil
}

// Candidates yields every backend of the pool that a request was matched to, those without the tags of its
// frontend included, in the order of their ids.
func (m Match) Candidates() iter.Seq[Candidate] {
	required := m.RequiredTags()
	return func(yield func(Candidate) bool) {
		for _, t := range m.table.balancers[m.Target.balancer].pool.members {
			var missing []string
			for _, tag := range required {
				if _, ok := slices.BinarySearch(t.tags, tag); !ok {
					missing = append(missing, tag)
				}
			}
			if !yield(Candidate{Upstream: t.Upstream, Weight: t.Weight, Missing: missing}) {
				return
			}
		}
	}
}

// Split is the pools that share the route's requests, nil if there is only one; chance says that each request is
// dealt anew.
func (m Match) Split() (pools []string, chance bool) {
	s := m.Target.split
	if s == nil {
		return nil, false
	}
	for _, t := range s.shares {
		pools = append(pools, t.Pool)
	}
	return pools, s.deal.By.Source == ""
}
