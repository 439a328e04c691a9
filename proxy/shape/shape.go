// Package shape is what a route does to requests and answers on their way, compiled from the replicated state:
// header changes, rewriting of path and host, redirects, rate limits and the dealing of a split.
//
// [Compile] makes a [Shape] of a route, nil if it does nothing. All decisions are pure functions of a message's
// parts; [Limit] alone keeps state, which outlives tables and is bounded for all routes together by [Clients].
// Package route compiles shapes into its targets, package proxy applies them for both engines. Nothing here
// reads or writes a message.
package shape

import (
	"net/netip"
	"regexp"
	"strings"

	"github.com/lbnode/lbnode/proxy/http1"
	"github.com/lbnode/lbnode/state"
)

// Shape is what one route does. It is immutable but for its rate limit.
type Shape struct {
	Request, Response *Headers // nil = none
	Limit             *Limit   // nil = none
	Redirect          *Redirect
	Host              string // "" = as received, state.HostBackend, or the value

	path rewrite // nil = as sent
	spec state.RouteSpec
}

// Compile makes the shape of a route; nil if it does nothing. prev is the one that it takes the place of, or
// nil: a rate limit that stays as it was keeps its counts.
func Compile(r *state.RouteSpec, prev *Shape, clients *Clients) *Shape {
	s := &Shape{
		Request: compileHeaders(r.RequestHeaders), Response: compileHeaders(r.ResponseHeaders),
		Host: r.Rewrite.Host, Redirect: compileRedirect(r.Redirect), path: compileRewrite(r), spec: *r,
	}
	if r.RateLimit.RequestsPerSecond > 0 {
		if prev != nil && prev.Limit != nil && prev.spec.RateLimit == r.RateLimit {
			s.Limit = prev.Limit
		} else {
			s.Limit = newLimit(r.ID, r.RateLimit, clients)
		}
	}
	if s.Request == nil && s.Response == nil && s.Limit == nil && s.Redirect == nil && s.Host == "" && s.path == nil {
		return nil
	}
	return s
}

// Vars are what templates put in place of variables.
type Vars struct {
	Client                                netip.Addr
	Host, Path, RequestID, Route, Backend string
}

type template []state.TemplatePart

// compileTemplate reads a template that Apply has checked.
func compileTemplate(s string) template {
	parts, _ := state.ParseTemplate(s)
	return parts
}

func (t template) expand(v *Vars) string {
	if len(t) == 1 && t[0].Var == "" {
		return t[0].Text
	}
	var b strings.Builder
	for _, p := range t {
		switch p.Var {
		case "":
			b.WriteString(p.Text)
		case state.VarClientIP:
			if v.Client.IsValid() {
				b.WriteString(v.Client.String())
			}
		case state.VarHost:
			b.WriteString(v.Host)
		case state.VarPath:
			b.WriteString(v.Path)
		case state.VarRequestID:
			b.WriteString(v.RequestID)
		case state.VarRoute:
			b.WriteString(v.Route)
		case state.VarBackend:
			b.WriteString(v.Backend)
		}
	}
	return b.String()
}

// Fields are those of a message that is about to be sent.
type Fields interface {
	// Remove takes all fields of a name away, whatever its case.
	Remove(name string)
	// Add appends a field. Name and value are valid.
	Add(name, value string)
}

// Headers are changes to the fields of a message.
type Headers struct {
	remove   []string
	set, add []field
}

type field struct {
	name  string
	value template
}

func compileHeaders(h state.HeaderOps) *Headers {
	if len(h.Set)+len(h.Add)+len(h.Remove) == 0 {
		return nil
	}
	return &Headers{remove: h.Remove, set: compileFields(h.Set), add: compileFields(h.Add)}
}

func compileFields(m map[string]string) []field {
	var out []field
	for _, name := range sortedNames(m) {
		out = append(out, field{name, compileTemplate(m[name])})
	}
	return out
}

// Apply changes a message: first removals, then what is set, then what is added. A value that the request's
// parts make invalid, or an empty one that comes of variables alone, is left out.
func (h *Headers) Apply(f Fields, v *Vars) {
	for _, name := range h.remove {
		f.Remove(name)
	}
	for i := range h.set {
		f.Remove(h.set[i].name)
		h.set[i].put(f, v)
	}
	for i := range h.add {
		h.add[i].put(f, v)
	}
}

func (d *field) put(f Fields, v *Vars) {
	if value := d.value.expand(v); http1.ValidValue(value) && (value != "" || len(d.value) == 0) {
		f.Add(d.name, value)
	}
}

// Removes says whether a field is gone or replaced whatever came in.
func (h *Headers) Removes(name string) bool {
	if h == nil {
		return false
	}
	for _, n := range h.remove {
		if strings.EqualFold(n, name) {
			return true
		}
	}
	return false
}

// rewrite gives the path to send for one that came in; false if there is none.
type rewrite func(path string) (string, bool)

// Rewrites says whether the path may change.
func (s *Shape) Rewrites() bool { return s.path != nil }

// Path gives the path to send in place of one that has a single reading (see route.SameReading). false: the
// rewrite makes no valid path of it. The caller checks the reading of the result.
func (s *Shape) Path(path string) (string, bool) {
	if s.path == nil || path == "*" {
		return path, true
	}
	out, ok := s.path(Normal(path))
	return out, ok && http1.ValidPath(out) && out != "*"
}

func compileRewrite(r *state.RouteSpec) rewrite {
	w := r.Rewrite
	switch {
	case w.StripPrefix != "":
		prefix := literal(w.StripPrefix)
		return func(path string) (string, bool) {
			if rest, ok := cutSegments(path, prefix); ok {
				return rooted(rest), true
			}
			return path, true
		}
	case w.ReplacePrefix != "":
		prefix, with := literal(r.Match.Path), literal(w.ReplacePrefix)
		return func(path string) (string, bool) {
			rest, ok := cutSegments(path, prefix)
			return rooted(with + rest), ok
		}
	case w.Regex != "":
		re, err := regexp.Compile(w.Regex)
		if err != nil { // Apply has checked it
			return nil
		}
		return func(path string) (string, bool) { return rooted(re.ReplaceAllString(path, w.Replacement)), true }
	}
	return nil
}

// literal is an operator's prefix as it stands in normal paths, without a slash at its end.
func literal(p string) string { return strings.TrimRight(Normal(p), "/") }

// rooted gives an empty path its slash.
func rooted(p string) string {
	if p == "" {
		return "/"
	}
	return p
}

// cutSegments takes a prefix of whole segments off a path.
func cutSegments(path, prefix string) (rest string, ok bool) {
	rest, ok = strings.CutPrefix(path, prefix)
	return rest, ok && (rest == "" || rest[0] == '/')
}

// Normal gives the one way of many to write a path (RFC 3986 §6.2.2): escapes of characters that need none
// decoded, the others in upper case, and what needs one escaped. Without this /%61pi would evade a rule for /api.
func Normal(p string) string {
	const hex = "0123456789ABCDEF"
	if !strings.ContainsFunc(p, func(r rune) bool { return r == '%' || r <= ' ' || r >= 0x7f }) {
		return p
	}
	b := make([]byte, 0, len(p)+16)
	for i := 0; i < len(p); i++ {
		c := p[i]
		if c == '%' && i+2 < len(p) {
			hi, lo := unhex(p[i+1]), unhex(p[i+2])
			if hi < 16 && lo < 16 {
				if c = hi<<4 | lo; !unreserved(c) {
					b = append(b, '%', hex[hi], hex[lo])
				} else {
					b = append(b, c)
				}
				i += 2
				continue
			}
		}
		if c <= ' ' || c >= 0x7f {
			b = append(b, '%', hex[c>>4], hex[c&15])
		} else {
			b = append(b, c)
		}
	}
	return string(b)
}

func unreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}

// unhex gives the value of a digit, 16 or more for anything else.
func unhex(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return 16
}
