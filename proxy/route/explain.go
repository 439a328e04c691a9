package route

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/lbnode/lbnode/state"
)

// Clause is one condition of a route, as a request meets it.
type Clause struct {
	Name  string // host, path, method, header NAME, query NAME
	Want  string // what the route says
	Got   string // what the request has; "" = nothing
	Holds bool
}

// Near is a route that a request did not take.
type Near struct {
	RouteID  string
	Priority int
	Clauses  []Clause // at least one does not hold, unless Outranked
	// Outranked says that the route takes the request too, but comes after the one that got it.
	Outranked bool
}

// maxGot bounds what of a request is quoted.
const maxGot = 200

// Clauses says how a request meets the conditions of the route that it was matched to.
func (t *Table) Clauses(r *Request, routeID string) []Clause {
	_, clean, err := readings(r.Path)
	for _, e := range t.entries {
		if err == nil && e.rule.route.ID == routeID {
			return e.rule.clauses(r, normalHost(r.Host), clean)
		}
	}
	return nil
}

// Nearly returns the routes that come nearest to taking a request, apart from the one that takes it ("" = none):
// first those that would take it too but come later, then those with the fewest conditions that do not hold. It
// looks at every route, and is for people: requests do not call it.
func (t *Table) Nearly(r *Request, taken string, limit int) []Near {
	_, clean, err := readings(r.Path)
	if err != nil {
		return nil
	}
	host := normalHost(r.Host)
	type scored struct {
		near                 Near
		fails, holds, common int
	}
	var best []scored
	order := func(a, b scored) int {
		return cmp.Or(cmp.Compare(a.fails, b.fails), cmp.Compare(b.holds, a.holds), cmp.Compare(b.common, a.common))
	}
	for _, e := range t.entries {
		rule := e.rule
		if rule.route.ID == taken {
			continue
		}
		s := scored{near: Near{RouteID: rule.route.ID, Priority: rule.route.Priority, Clauses: rule.clauses(r, host, clean)}}
		for _, p := range s.near.Clauses {
			switch {
			case !p.Holds:
				s.fails++
			case p.Name != "path" || rule.path != "/":
				s.holds++ // a route for every path is near to nothing by its path
			}
		}
		s.common = common(rule.path, clean)
		if s.fails > 0 && s.holds == 0 && s.common < 2 {
			continue
		}
		s.near.Outranked = s.fails == 0
		// Few are kept, so each newcomer finds its place by comparing. Equals stay in the order of rank.
		at := len(best)
		for at > 0 && order(s, best[at-1]) < 0 {
			at--
		}
		if at < limit {
			best = slices.Insert(best, at, s)
			best = best[:min(len(best), limit)]
		}
	}
	out := make([]Near, len(best))
	for i := range best {
		out[i] = best[i].near
	}
	return out
}

// common is the length of the common beginning of two strings.
func common(a, b string) (n int) {
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// clauses checks the conditions of a rule one by one: all hold exactly if the table would let the rule take the
// request.
func (c *rule) clauses(r *Request, host, path string) (out []Clause) {
	m := c.route.Match
	add := func(name, want, got string, holds bool) {
		if len(got) > maxGot {
			got = got[:maxGot] + "…"
		}
		out = append(out, Clause{name, want, got, holds})
	}
	if m.Host != "" {
		add("host", m.Host, host, c.takesHost(host))
	}
	add("path", fmt.Sprintf("%s (%s)", m.Path, cmp.Or(string(m.PathType), string(state.PathPrefix))), path, c.takesPath(path))
	if c.method != nil {
		add("method", m.Method, r.Method, c.takesMethod(r.Method))
	}
	for i := range c.header {
		h := &c.header[i]
		got := ""
		if h.name == "Host" {
			got = r.Host
		} else if r.Header != nil {
			got = strings.Join(r.Header.Values(h.name), ", ")
		}
		add("header "+h.name, h.value, got, r.header(h))
	}
	for i := range c.query {
		q := &c.query[i]
		add("query "+q.name, q.value, r.parameter(q.name), r.query(q))
	}
	return out
}

func (c *rule) takesHost(host string) bool {
	switch {
	case c.host == "":
		return true
	case c.wild:
		return strings.HasSuffix(host, c.host)
	}
	return host == c.host
}

func (c *rule) takesPath(path string) bool {
	switch {
	case c.re != nil:
		return c.re.MatchString(path)
	case c.route.Match.PathType == state.PathExact:
		return path == c.path
	case !strings.HasPrefix(path, c.path):
		return false
	}
	at := len(c.path)
	return at == len(path) || path[at] == '/' || at > 0 && path[at-1] == '/'
}

// parameter is the first value of a query parameter.
func (r *Request) parameter(name string) string {
	for rest := r.Query; rest != ""; {
		var pair string
		pair, rest, _ = strings.Cut(rest, "&")
		if n, v, _ := strings.Cut(pair, "="); unescape(n) == name {
			return unescape(v)
		}
	}
	return ""
}
