package route

import (
	"cmp"
	"net/textproto"
	"regexp"
	"slices"
	"strings"

	"github.com/lbnode/lbnode/proxy/shape"
	"github.com/lbnode/lbnode/state"
)

// rule is a route's conditions, compiled. It is immutable and kept from table to table.
type rule struct {
	route  *state.Route
	host   string // "" = any; for a suffix it begins with a dot
	wild   bool
	path   string // decoded; for a regex the literal text that every match begins with
	re     *regexp.Regexp
	method []string // nil = any
	header []condition
	query  []condition
	shape  *shape.Shape // nil = none
}

// shaped is the shape of a rule that may be nil.
func (c *rule) shaped() *shape.Shape {
	if c == nil {
		return nil
	}
	return c.shape
}

// condition is one header or query condition.
type condition struct {
	name  string
	value string         // exact, unless re or present
	re    *regexp.Regexp // anchored
	any   bool           // present with whatever value
}

func newRule(r *state.Route) *rule {
	m := r.Match
	c := &rule{route: r, path: m.Path}
	switch suffix, wild := strings.CutPrefix(m.Host, "*."); {
	case wild:
		c.host, c.wild = "."+normalHost(suffix), true
	case m.Host != "":
		c.host = normalHost(m.Host)
	}
	if m.PathType == state.PathRegex {
		c.re = anchored(m.Path)
		c.path, _ = regexp.MustCompile(m.Path).LiteralPrefix()
	} else if _, clean, err := readings(m.Path); err == nil {
		c.path = clean
	}
	if m.Method != "" {
		c.method = strings.Split(m.Method, ",")
	}
	c.header = conditions(m.Headers, textproto.CanonicalMIMEHeaderKey)
	c.query = conditions(m.Query, func(s string) string { return s })
	return c
}

// anchored compiles an expression that Apply has checked, so that it must match the whole string.
func anchored(expr string) *regexp.Regexp { return regexp.MustCompile(`^(?:` + expr + `)$`) }

func conditions(m map[string]string, name func(string) string) []condition {
	out := make([]condition, 0, len(m))
	for k, v := range m {
		c := condition{name: name(k), value: v}
		if expr, ok := strings.CutPrefix(v, "~"); ok {
			c.re = anchored(expr)
		} else if v == "*" {
			c.any = true
		}
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b condition) int { return strings.Compare(a.name, b.name) })
	return out
}

func (c *condition) holds(v string) bool {
	switch {
	case c.any:
		return true
	case c.re != nil:
		return c.re.MatchString(v)
	}
	return v == c.value
}

// before is the order of the package comment.
func before(a, b *rule) int {
	pathRank := func(r *rule) int {
		switch r.route.Match.PathType {
		case state.PathExact:
			return 2
		case state.PathRegex:
			return 1
		}
		return 0
	}
	hostRank := func(r *rule) int {
		switch {
		case r.host == "":
			return 0
		case r.wild:
			return 1
		}
		return 2
	}
	ra, rb := a.route, b.route
	return cmp.Or(
		cmp.Compare(rb.Priority, ra.Priority),
		cmp.Compare(hostRank(b), hostRank(a)),
		cmp.Compare(len(b.host), len(a.host)),
		cmp.Compare(pathRank(b), pathRank(a)),
		cmp.Compare(len(rb.Match.Path), len(ra.Match.Path)),
		cmp.Compare(min(len(b.method), 1), min(len(a.method), 1)),
		cmp.Compare(len(b.header)+len(b.query), len(a.header)+len(a.query)),
		strings.Compare(ra.ID, rb.ID),
	)
}

// accepts checks all conditions but host and path prefix, which the table has looked up.
func (c *rule) accepts(r *Request, path string) bool {
	if !c.takesMethod(r.Method) {
		return false
	}
	for i := range c.header {
		if !r.header(&c.header[i]) {
			return false
		}
	}
	for i := range c.query {
		if !r.query(&c.query[i]) {
			return false
		}
	}
	return c.re == nil || c.re.MatchString(path)
}

func (c *rule) takesMethod(method string) bool {
	return c.method == nil || slices.Contains(c.method, method)
}

// header says whether any field of the condition's name holds.
func (r *Request) header(c *condition) bool {
	if c.name == "Host" { // net/http keeps it elsewhere
		return c.holds(r.Host)
	}
	if r.Header == nil {
		return false
	}
	return slices.ContainsFunc(r.Header.Values(c.name), c.holds)
}

// query says whether any parameter of the condition's name holds.
func (r *Request) query(c *condition) bool {
	for rest := r.Query; rest != ""; {
		var pair string
		pair, rest, _ = strings.Cut(rest, "&")
		name, value, _ := strings.Cut(pair, "=")
		if unescape(name) == c.name && c.holds(unescape(value)) {
			return true
		}
	}
	return false
}
