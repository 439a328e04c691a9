package state

import (
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// This file is what a route may do to requests beside sending them to a pool. The zero value of each type
// does nothing.

const (
	maxHeaderOps   = 64
	maxHeaderValue = 4096
	maxSplit       = 16
	maxRate        = 1_000_000
	maxBurst       = 1_000_000
)

// HeaderOps change the fields of a message: first Remove, then Set, then Add.
type HeaderOps struct {
	Set    map[string]string `json:"set,omitempty"` // values may hold variables; see [ParseTemplate]
	Add    map[string]string `json:"add,omitempty"`
	Remove []string          `json:"remove,omitempty"`
}

// Rewrite changes the target and host of a request on its way to the backend. One of StripPrefix,
// ReplacePrefix and Regex at most. All look at the path as it was sent, without the query, which stays.
type Rewrite struct {
	StripPrefix   string `json:"strip_prefix,omitempty"`   // taken off by whole segments
	ReplacePrefix string `json:"replace_prefix,omitempty"` // put in the place of the route's own path
	Regex         string `json:"regex,omitempty"`          // RE2; every match is replaced
	Replacement   string `json:"replacement,omitempty"`    // $1 or ${name} stand for groups
	Host          string `json:"host,omitempty"`           // "" or [HostPreserve], [HostBackend], or a host with or without port
}

// Values of Rewrite.Host.
const (
	HostPreserve = "preserve" // as received
	HostBackend  = "backend"  // that of the backend's address
)

// Redirect is an answer of the node's own that sends the client elsewhere. Status 0 = none.
type Redirect struct {
	Status     int    `json:"status"`           // 301, 302, 303, 307 or 308
	Scheme     string `json:"scheme,omitempty"` // "" = the request's
	Host       string `json:"host,omitempty"`   // with or without port; "" = the request's
	Path       string `json:"path,omitempty"`   // may hold variables; "" = the request's, after Rewrite
	StripQuery bool   `json:"strip_query,omitempty"`
}

// Share is one pool of a split.
type Share struct {
	Pool   string `json:"pool"`
	Weight int    `json:"weight"` // 0..[MaxWeight]
}

// Mirror sends copies of requests to a pool and throws the answers away. Pool "" = none.
type Mirror struct {
	Pool    string  `json:"pool"`
	Percent float64 `json:"percent"` // of requests, 0..100
}

// RateLimit bounds the requests that one node lets through. RequestsPerSecond 0 = no limit.
type RateLimit struct {
	RequestsPerSecond float64 `json:"requests_per_second"`
	Burst             int     `json:"burst"` // requests at once
	Per               string  `json:"per"`   // [PerRoute], client_ip or header:NAME
	Status            int     `json:"status"`
}

// PerRoute is one bucket for all requests of a route.
const PerRoute = "route"

// SplitRandom deals each request by chance.
const SplitRandom = "random"

// Pools lists every pool that a route names, without repeats.
func (s *RouteSpec) Pools() []string {
	var out []string
	add := func(id string) {
		if id != "" && !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	add(s.BackendPool)
	for _, p := range s.Split {
		add(p.Pool)
	}
	add(s.Mirror.Pool)
	return out
}

// KeyOf reads "client_ip", "header:NAME" or "cookie:NAME".
func KeyOf(s string) (HashKey, bool) {
	source, name, named := strings.Cut(s, ":")
	k := HashKey{Source: HashSource(source), Name: name}
	switch k.Source {
	case HashClientIP:
		return k, !named
	case HashHeader, HashCookie:
		return k, validToken(name)
	}
	return HashKey{}, false
}

func (s *RouteSpec) normalizeShape() {
	for _, h := range []*HeaderOps{&s.RequestHeaders, &s.ResponseHeaders} {
		h.Remove = sortedSet(h.Remove)
		if len(h.Remove) == 0 {
			h.Remove = nil
		}
		if len(h.Set) == 0 {
			h.Set = nil
		}
		if len(h.Add) == 0 {
			h.Add = nil
		}
	}
	if s.Rewrite.Host == HostPreserve {
		s.Rewrite.Host = ""
	}
	s.Rewrite.Host = strings.ToLower(s.Rewrite.Host)
	s.Redirect.Scheme, s.Redirect.Host = strings.ToLower(s.Redirect.Scheme), strings.ToLower(s.Redirect.Host)
	if len(s.Split) == 0 {
		s.Split = nil
	}
	if s.SplitBy == SplitRandom {
		s.SplitBy = ""
	}
	if s.Mirror.Percent == unset {
		s.Mirror.Percent = 100
	}
	if s.Mirror.Pool == "" && (s.Mirror.Percent == 100 || s.Mirror.Percent == 0) {
		s.Mirror = Mirror{}
	}
	l := &s.RateLimit
	setDefault(&l.Per, PerRoute)
	setDefault(&l.Status, 429)
	if l.RequestsPerSecond > 0 && l.Burst == 0 {
		l.Burst = max(1, int(min(l.RequestsPerSecond, maxRate)))
	}
	if *l == (RateLimit{Per: PerRoute, Status: 429}) {
		*l = RateLimit{}
	}
}

func (c *checks) shape(s *RouteSpec) {
	c.headerOps("/request_headers", s.RequestHeaders)
	c.headerOps("/response_headers", s.ResponseHeaders)
	c.rewrite(s)
	c.redirect(s.Redirect)
	c.targets(s)
	if m := s.Mirror; m.Pool != "" {
		c.id("/mirror/pool", m.Pool)
	} else if m.Percent != 0 {
		c.add("/mirror/pool", "must name the pool that gets the copies")
	}
	if p := s.Mirror.Percent; !(p >= 0 && p <= 100) {
		c.add("/mirror/percent", "must be between 0 and 100, got %v", p)
	}
	c.rateLimit(s.RateLimit)
}

// targets checks where requests go.
func (c *checks) targets(s *RouteSpec) {
	switch {
	case s.BackendPool != "":
		c.id("/backend_pool", s.BackendPool)
		if len(s.Split) > 0 {
			c.add("/split", "excludes backend_pool; set one of them to null")
		}
	case len(s.Split) == 0 && s.Redirect.Status == 0:
		c.add("/backend_pool", "must name a pool, unless there is a split or a redirect")
	}
	if len(s.Split) > maxSplit {
		c.add("/split", "must have at most %d entries, got %d", maxSplit, len(s.Split))
	}
	sum, seen := 0, map[string]bool{}
	for i, p := range s.Split {
		at := fmt.Sprintf("/split/%d", i)
		c.id(at+"/pool", p.Pool)
		if seen[p.Pool] {
			c.add(at+"/pool", "%q is in the split twice", p.Pool)
		}
		seen[p.Pool] = true
		c.between(at+"/weight", p.Weight, 0, MaxWeight)
		sum += p.Weight
	}
	if len(s.Split) > 0 && sum <= 0 {
		c.add("/split", "must have a weight above 0")
	}
	if s.SplitBy != "" {
		if _, ok := KeyOf(s.SplitBy); !ok {
			c.add("/split_by", "must be random, client_ip, header:NAME or cookie:NAME, got %q", s.SplitBy)
		}
	}
}

func (c *checks) rateLimit(l RateLimit) {
	if l == (RateLimit{}) {
		return
	}
	if !(l.RequestsPerSecond > 0 && l.RequestsPerSecond <= maxRate) || l.RequestsPerSecond < 0.001 {
		c.add("/rate_limit/requests_per_second", "must be between 0.001 and %d, or 0 for no limit, got %v", maxRate, l.RequestsPerSecond)
	}
	c.between("/rate_limit/burst", l.Burst, 1, maxBurst)
	c.between("/rate_limit/status", l.Status, 400, 599)
	if k, ok := KeyOf(l.Per); l.Per != PerRoute && (!ok || k.Source == HashCookie) {
		c.add("/rate_limit/per", "must be route, client_ip or header:NAME, got %q", l.Per)
	}
}

// refusedFields are those that frame a message or belong to one connection, with what to use instead.
var refusedFields = map[string]string{
	"host":                "use rewrite.host",
	"content-length":      "it frames the body",
	"transfer-encoding":   "it frames the body",
	"trailer":             "it frames the body",
	"connection":          "it belongs to one connection",
	"keep-alive":          "it belongs to one connection",
	"proxy-connection":    "it belongs to one connection",
	"proxy-authenticate":  "it belongs to one connection",
	"proxy-authorization": "it belongs to one connection",
	"te":                  "it belongs to one connection",
	"upgrade":             "it belongs to one connection",
	"http2-settings":      "it belongs to one connection",
	"expect":              "it belongs to one connection",
}

func (c *checks) headerOps(pointer string, h HeaderOps) {
	if n := len(h.Set) + len(h.Add) + len(h.Remove); n > maxHeaderOps {
		c.add(pointer, "must have at most %d entries, got %d", maxHeaderOps, n)
	}
	for _, part := range []struct {
		name string
		m    map[string]string
	}{{"set", h.Set}, {"add", h.Add}} {
		seen := map[string]bool{}
		for _, name := range slices.Sorted(maps.Keys(part.m)) {
			at := pointer + "/" + part.name + "/" + escapePointer(name)
			c.fieldName(at, name)
			if lower := strings.ToLower(name); seen[lower] {
				c.add(at, "is there twice; names differ in more than case")
			} else {
				seen[lower] = true
			}
			c.fieldValue(at, part.m[name])
		}
	}
	for i, name := range h.Remove {
		c.fieldName(fmt.Sprintf("%s/remove/%d", pointer, i), name)
	}
}

func (c *checks) fieldName(pointer, name string) {
	if !validToken(name) {
		c.add(pointer, "is not a valid header name: %q", name)
		return
	}
	if why := refusedFields[strings.ReplaceAll(strings.ToLower(name), "_", "-")]; why != "" {
		c.add(pointer, "%s cannot be changed: %s", name, why)
	}
}

func (c *checks) fieldValue(pointer, v string) {
	switch {
	case len(v) > maxHeaderValue:
		c.add(pointer, "must be at most %d bytes long", maxHeaderValue)
	case strings.ContainsFunc(v, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
		c.add(pointer, "must hold no line breaks or control characters, got %q", v)
	case v != strings.Trim(v, " \t"):
		c.add(pointer, "must not begin or end with white space, got %q", v)
	default:
		if _, err := ParseTemplate(v); err != nil {
			c.add(pointer, "%s", err)
		}
	}
}

func (c *checks) rewrite(s *RouteSpec) {
	r, n := s.Rewrite, 0
	for _, v := range []string{r.StripPrefix, r.ReplacePrefix, r.Regex} {
		if v != "" {
			n++
		}
	}
	if n > 1 {
		c.add("/rewrite", "must have one of strip_prefix, replace_prefix and regex")
	}
	for _, p := range []struct{ name, v string }{{"strip_prefix", r.StripPrefix}, {"replace_prefix", r.ReplacePrefix}} {
		if p.v != "" && (p.v[0] != '/' || !validTarget(p.v)) {
			c.add("/rewrite/"+p.name, "must start with / and hold neither query nor spaces, got %q", p.v)
		}
	}
	if r.ReplacePrefix != "" && s.Match.PathType == PathRegex {
		c.add("/rewrite/replace_prefix", "needs a route with path_type prefix or exact; use regex and replacement")
	}
	switch {
	case r.Regex != "":
		c.replacement(r)
	case r.Replacement != "":
		c.add("/rewrite/replacement", "needs regex")
	}
	if r.Host != "" && r.Host != HostBackend && !validAuthority(r.Host) {
		c.add("/rewrite/host", "must be preserve, backend, or a host with or without port, got %q", r.Host)
	}
}

var groupRef = regexp.MustCompile(`\$(\$|\w+|\{\w+\})?`)

// replacement checks that a rewrite names only groups that there are; Go's own rule is to put nothing.
func (c *checks) replacement(r Rewrite) {
	before := len(c.errs)
	if c.regex("/rewrite/regex", r.Regex); len(c.errs) > before {
		return
	}
	if len(r.Replacement) > maxPattern || !validTarget(strings.NewReplacer("{", "", "}", "").Replace(r.Replacement)) {
		c.add("/rewrite/replacement", "must be at most %d bytes that a path may hold, got %q", maxPattern, r.Replacement)
	}
	re := regexp.MustCompile(r.Regex)
	for _, m := range groupRef.FindAllStringSubmatch(r.Replacement, -1) {
		name := strings.Trim(m[1], "{}")
		known := name == "$"
		for i, g := range re.SubexpNames() {
			known = known || name != "" && (g == name || name == fmt.Sprint(i))
		}
		if !known {
			c.add("/rewrite/replacement", "%s stands for no group of the regex; write ${1} for a group and $$ for a dollar", m[0])
		}
	}
}

func (c *checks) redirect(r Redirect) {
	if r == (Redirect{}) {
		return
	}
	if !slices.Contains([]int{301, 302, 303, 307, 308}, r.Status) {
		c.add("/redirect/status", "must be 301, 302, 303, 307 or 308, or 0 for no redirect, got %d", r.Status)
	}
	if r.Scheme != "" {
		oneOf(c, "/redirect/scheme", r.Scheme, []string{"http", "https"})
	}
	if r.Host != "" && !validAuthority(r.Host) {
		c.add("/redirect/host", "must be a host with or without port, got %q", r.Host)
	}
	if r.Path != "" {
		parts, err := ParseTemplate(r.Path)
		bare := ""
		for _, p := range parts {
			bare += p.Text
			if p.Var == VarBackend || p.Var == VarRequestID {
				err = fmt.Errorf("cannot hold {%s}: a redirect has none", p.Var)
			}
		}
		switch {
		case err != nil:
			c.add("/redirect/path", "%s", err)
		case !validTarget(bare) || parts[0].Var != VarPath && !strings.HasPrefix(parts[0].Text, "/"):
			c.add("/redirect/path", "must start with / or {path} and hold neither query nor spaces, got %q", r.Path)
		}
	}
}

// validTarget says whether text may stand in the path of a request target (what package proxy/http1 lets
// through, less "?").
func validTarget(s string) bool {
	if len(s) > maxPattern {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '#' || c == '?' || c == '\\' {
			return false
		}
	}
	return true
}

// validAuthority takes a host with or without a port; IPv6 stands in brackets.
func validAuthority(s string) bool {
	host := s
	if k := strings.LastIndexByte(s, ':'); k > strings.LastIndexByte(s, ']') {
		if n, err := strconv.ParseUint(s[k+1:], 10, 16); err != nil || n == 0 {
			return false
		}
		host = s[:k]
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		a, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		return err == nil && a.Is6() && a.Zone() == "" && strings.HasSuffix(host, "]")
	}
	return !strings.Contains(host, ":") && checkHost(host) == nil
}
