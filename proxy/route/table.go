package route

import (
	"errors"
	"net/netip"
	"strings"
	"time"

	"github.com/lbnode/lbnode/proxy/shape"
	"github.com/lbnode/lbnode/proxy/upstream"
	"github.com/lbnode/lbnode/state"
	"github.com/lbnode/lbnode/stats"
)

// What keeps a request from being routed.
var (
	// ErrNoRoute says that no route matches.
	ErrNoRoute = errors.New("no route matches")
	// ErrBadPath says that the path is refused whatever the routes.
	ErrBadPath = errors.New("the path holds NUL, climbs above the root or is not escaped properly")
	// ErrAmbiguous says that the path could mean two different routes.
	ErrAmbiguous = errors.New("the path leads to different routes as it was sent and once it is decoded")
)

// Request is what a match looks at. Strings are as received.
type Request struct {
	Method string
	Host   string // with or without port
	Path   string // escaped, beginning with "/", without the query; or "*"
	Query  string // raw, without "?"
	Header Header // nil = none
	Client netip.Addr
}

// Header gives all values of a field by its canonical name. http.Header is one.
type Header interface{ Values(name string) []string }

// Match is where a request goes.
type Match struct {
	Target   *Target
	Group    *Group
	Frontend string // id of the frontend whose host fits, "" = none
	tags     int    // number of the frontend's tag set
	table    *Table
}

// Target is a route as the proxy needs it. It is immutable.
type Target struct {
	RouteID   string
	Pool      string
	Kind      string // the pool's check type, by which handlers are mounted
	Algorithm state.Algorithm
	Hash      state.HashKey
	Connect   time.Duration // see state.Timeouts; 0 = none
	FirstByte time.Duration
	Total     time.Duration
	Idle      time.Duration
	Upgraded  time.Duration // Idle of upgraded connections
	Retries   int
	Retry     Retry
	Sticky    *Sticky        // nil = none
	Runtime   *upstream.Pool // of the pool
	Stats     *stats.Handle
	Shape     *shape.Shape // nil = requests and answers go as they are
	Mirror    *Mirror      // nil = none

	split    *split // nil = one pool
	total    *stats.Handle
	balancer int // index in Table.balancers
}

// Table is all routes of one view, compiled. It is immutable. Successive tables share what has not changed: rules,
// targets, parts of the index, pools.
type Table struct {
	exact     map[string]*hostRoutes
	suffix    map[string]*hostRoutes // by ".suffix"
	any       *hostRoutes
	frontends map[string]frontend // by host
	wildcards map[string]frontend // by ".suffix"
	entries   []*entry            // all of them, by rank
	balancers []*balancer
	tags      []string // the frontends' tag sets by number, each joined by NUL
}

type frontend struct {
	id   string
	tags int // index of the tag set
}

// entry is a rule at its place in the order of all rules.
type entry struct {
	rank   uint64 // grows along the order, with gaps for rules to come
	rule   *rule
	target *Target
}

// hostRoutes is the routes of one host pattern. Lists are in the order of rank.
type hostRoutes struct {
	gen   uint64 // see Compiler.gen
	size  int
	first uint64 // no rank in here is lower
	exact map[string][]*entry
	tree  node
}

// Count counts an event on the way of a request, for the route and for the node.
func (t *Target) Count(k stats.Kind) {
	t.Stats.Count(k)
	t.total.Count(k)
}

// Len is the number of routes.
func (t *Table) Len() int { return len(t.entries) }

// Match finds where a request goes: ErrNoRoute, ErrBadPath or ErrAmbiguous if nowhere. It allocates only for
// unusual paths and hosts in upper case.
func (t *Table) Match(r *Request) (Match, error) {
	sent, clean, err := readings(r.Path)
	if err != nil {
		return Match{}, err
	}
	host := ""
	if t.byHost() {
		host = normalHost(r.Host)
	}
	e := t.find(r, host, clean)
	if sent != clean && t.find(r, host, sent) != e {
		return Match{}, ErrAmbiguous
	}
	if e == nil {
		return Match{}, ErrNoRoute
	}
	f := t.frontend(host)
	to := e.target.dealt(r)
	return Match{Target: to, Group: t.group(to, f.tags), Frontend: f.id, tags: f.tags, table: t}, nil
}

// group is the group of a target for a tag set.
func (t *Table) group(to *Target, tags int) *Group { return t.balancers[to.balancer].group(tags) }

// byHost says that a host makes a difference.
func (t *Table) byHost() bool {
	return len(t.exact)+len(t.suffix)+len(t.frontends)+len(t.wildcards) > 0
}

func (t *Table) find(r *Request, host, path string) *entry {
	var best *entry
	if len(t.exact) > 0 {
		if h := t.exact[host]; h != nil {
			best = h.find(r, path, best)
		}
	}
	if len(t.suffix) > 0 {
		for i := strings.IndexByte(host, '.'); i >= 0; {
			if h := t.suffix[host[i:]]; h != nil {
				best = h.find(r, path, best)
			}
			k := strings.IndexByte(host[i+1:], '.')
			if k < 0 {
				break
			}
			i += 1 + k
		}
	}
	if t.any != nil {
		best = t.any.find(r, path, best)
	}
	return best
}

// find returns the first entry in the order of ranks that takes the request, or best if that comes before.
func (h *hostRoutes) find(r *Request, path string, best *entry) *entry {
	if best != nil && best.rank < h.first {
		return best
	}
	if len(h.exact) > 0 {
		best = first(h.exact[path], r, path, best)
	}
	n := &h.tree
	for at := 0; ; {
		best = first(n.regex, r, path, best)
		// A prefix ends where a segment does.
		if len(n.prefix) > 0 && (at == len(path) || path[at] == '/' || at > 0 && path[at-1] == '/') {
			best = first(n.prefix, r, path, best)
		}
		if at == len(path) {
			return best
		}
		k := strings.IndexByte(n.index, path[at])
		if k < 0 {
			return best
		}
		n = n.kids[k]
		if !strings.HasPrefix(path[at:], n.label) {
			return best
		}
		at += len(n.label)
	}
}

func first(list []*entry, r *Request, path string, best *entry) *entry {
	for _, e := range list {
		if best != nil && best.rank < e.rank {
			return best
		}
		if e.rule.accepts(r, path) {
			return e
		}
	}
	return best
}

func (t *Table) frontend(host string) frontend {
	if f, ok := t.frontends[host]; ok || len(t.wildcards) == 0 {
		return f
	}
	for i := strings.IndexByte(host, '.'); i >= 0; {
		if f, ok := t.wildcards[host[i:]]; ok {
			return f // the longest comes first
		}
		k := strings.IndexByte(host[i+1:], '.')
		if k < 0 {
			break
		}
		i += 1 + k
	}
	return frontend{}
}
