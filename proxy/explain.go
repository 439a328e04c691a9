package proxy

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/textproto"
	"strings"
	"time"

	"github.com/lbnode/lbnode/proxy/http1"
	"github.com/lbnode/lbnode/proxy/route"
	"github.com/lbnode/lbnode/proxy/upstream"
	"github.com/lbnode/lbnode/state"
)

const (
	// nearRoutes is how many routes that nearly matched are named.
	nearRoutes = 5
	// MaxExplained is how many backends of a pool an explanation names.
	MaxExplained = 1000
	// assumedHost is the Host of a question that names none: HTTP/1.1 wants one.
	assumedHost = "localhost"
)

// Question is a request that somebody asks about. No part may hold CR, LF or NUL: what is asked about is one
// request.
type Question struct {
	Method  string   // "" = GET
	URL     string   // http://host/path?query, host/path, or /path
	Headers []string // "Name: value"
	Client  netip.Addr
}

// Explanation is what this node would do with a request now, and why.
type Explanation struct {
	Index                             uint64 // of the view in force
	Method, Scheme, Host, Path, Query string // as the request would be read; "" = it would not be
	Client                            netip.Addr
	Refusal                           *Refusal // the answer of our own that it would get, nil = a backend's
	Notes                             []string // what else happens to it

	Match    *route.Match // nil = no route takes it
	Clauses  []route.Clause
	Near     []route.Near
	Split    []string // pools that share the route's requests
	Panic    bool     // failing health has left no backend of the pool, so health is ignored
	Backends []Candidate
	Omitted  int    // backends of the pool beyond MaxExplained
	Pick     string // id of the backend that would be picked, "" = none
}

// Candidate is a backend as the request sees it.
type Candidate struct {
	ID       string
	Address  string
	Weight   int
	InFlight int64 // from this node
	Latency  time.Duration
	Eligible bool
	Reasons  []state.Reason // what speaks against it
}

// Explain says what this node would do with a request now. It takes the way of a request through parser, table and
// picker up to where the request would begin on a backend, and moves nothing: no turn is taken, no limit used up,
// nothing counted.
func (p *Proxy) Explain(q Question) Explanation {
	out := Explanation{Index: p.set.Applied(), Client: q.Client, Scheme: "http"}
	t := p.table.Load()
	if t == nil {
		out.Refusal = refuseNotReady
		return out
	}
	head, scheme := q.head()
	out.Scheme = scheme
	var m http1.Request
	lim := http1.DefaultLimits()
	_, why := m.Parse(head, &lim)
	switch {
	case why == http1.More:
		out.Refusal = refuseReason(http1.HeadTooLarge) // the head is whole, so only its size can be in the way
		return out
	case why != http1.OK:
		out.Refusal = refuseReason(why)
		return out
	}
	out.Method, out.Host, out.Path, out.Query = string(m.Method), string(m.Host), string(m.Path), string(m.Query)
	if out.Refusal = RefuseVerb(m.Verb); out.Refusal != nil {
		return out
	}
	header := http.Header{}
	for _, f := range m.Fields() {
		name := textproto.CanonicalMIMEHeaderKey(string(f.Name()))
		header[name] = append(header[name], string(f.Value()))
	}
	p.explain(&out, t, &route.Request{Method: out.Method, Host: out.Host, Path: out.Path, Query: out.Query, Header: header, Client: q.Client})
	return out
}

func (p *Proxy) explain(out *Explanation, t *route.Table, r *route.Request) {
	var x Exchange
	out.Refusal = p.match(&x, t, r)
	if x.Target == nil {
		out.Near = t.Nearly(r, "", nearRoutes)
		return
	}
	out.Match = &x.Match
	out.Clauses, out.Near = t.Clauses(r, x.Target.RouteID), t.Nearly(r, x.Target.RouteID, nearRoutes)
	out.describe(&x)
	out.Panic = x.Group.Panics()
	for c := range x.Candidates() {
		if len(out.Backends) == MaxExplained {
			out.Omitted++
			continue
		}
		out.Backends = append(out.Backends, x.candidate(c, out.Panic, p.cfg.NodeID))
	}
	if out.Refusal != nil {
		return
	}
	u, full := x.peek()
	switch wait := x.Target.Runtime.QueueWait(); {
	case u != nil:
		out.Pick = u.ID()
	case full && wait > 0:
		out.Notes = append(out.Notes, fmt.Sprintf("every backend that it may go to has as many requests as max_connections allows: it would wait in the pool's queue, for up to %s", wait))
	case full:
		out.Refusal = refuseQueueFull
	default:
		out.Refusal = refuseNoBackend
	}
}

// describe says what the route does beside sending the request to a backend.
func (out *Explanation) describe(x *Exchange) {
	note := func(format string, args ...any) { out.Notes = append(out.Notes, fmt.Sprintf(format, args...)) }
	pools, chance := x.Split()
	if out.Split = pools; chance {
		note("the route's requests are shared by the pools %s by chance: this is one that falls to %s", strings.Join(pools, ", "), x.Target.Pool)
	} else if pools != nil {
		note("the route's requests are shared by the pools %s: this one always falls to %s", strings.Join(pools, ", "), x.Target.Pool)
	}
	if s := x.Target.Shape; s != nil {
		if s.Limit != nil {
			note("the route has a rate limit, which an explanation does not use up")
		}
		if s.Redirect != nil {
			note("the route answers with a redirect (%d): no backend is asked", s.Redirect.Status)
		}
	}
	if s := x.Target.Sticky; s != nil {
		switch {
		case x.home != nil:
			note("the cookie %s ties the request to %s", s.Name, x.home.ID())
		case x.cookie:
			note("the cookie %s means none of the backends that the request may go to", s.Name)
		default:
			note("without the cookie %s the request is tied to no backend; the answer sets it", s.Name)
		}
	}
	if m := x.Target.Mirror; m != nil {
		note("%g %% of the route's requests are copied to pool %s", m.Percent, m.Target.Pool)
	}
}

func (x *Exchange) candidate(c route.Candidate, panics bool, node string) Candidate {
	u := c.Upstream
	out := Candidate{ID: u.ID(), Weight: c.Weight, InFlight: u.InFlight(), Latency: u.Latency(), Reasons: u.Why(node)}
	if ep := u.Endpoint(); ep != nil {
		out.Address = ep.HostPort
	}
	mode := upstream.New
	if panics {
		mode = upstream.Panic
	}
	out.Eligible = u.Available(mode) && len(c.Missing) == 0
	if len(c.Missing) > 0 {
		out.Reasons = append(out.Reasons, state.Reason{Source: state.FromTags, Against: true, Text: fmt.Sprintf("frontend %q requires tags that it does not have: %s", x.Frontend, strings.Join(c.Missing, ", "))})
	}
	return out
}

// peek is the backend that Next would begin on; full says that there is none because those that there are have as
// many requests as they may have.
func (x *Exchange) peek() (u *upstream.Upstream, full bool) {
	if home := x.home; home != nil {
		switch {
		case home.Available(upstream.Sticky):
			return home, false
		case home.Allowed(upstream.Sticky):
			return nil, true
		}
	}
	if u, _ = x.Group.Peek(x.key, &x.tried); u != nil {
		return u, false
	}
	_, full = x.Group.Full(&x.tried)
	return nil, full
}

// head writes the request as a client would send it. A Host among the headers takes the place of the URL's.
func (q *Question) head() (head []byte, scheme string) {
	url, _, _ := strings.Cut(q.URL, "#") // fragments stay with clients: RFC 9110 §4.2.5
	scheme, host, target := "http", assumedHost, url
	if !strings.HasPrefix(url, "/") && url != "*" {
		rest := url
		if before, after, ok := strings.Cut(url, "://"); ok {
			scheme, rest = strings.ToLower(before), after
		}
		host, target = rest, "/"
		if k := strings.IndexAny(rest, "/?"); k >= 0 {
			if host, target = rest[:k], rest[k:]; target[0] == '?' {
				target = "/" + target
			}
		}
	}
	method := q.Method
	if method == "" {
		method = http.MethodGet
	}
	head = fmt.Appendf(nil, "%s %s HTTP/1.1\r\n", method, target)
	named := false
	for _, h := range q.Headers {
		name, _, _ := strings.Cut(h, ":")
		named = named || strings.EqualFold(name, "Host")
	}
	if !named {
		head = fmt.Appendf(head, "Host: %s\r\n", host)
	}
	for _, h := range q.Headers {
		head = fmt.Appendf(head, "%s\r\n", h)
	}
	return append(head, "\r\n"...), scheme
}

// Valid says whether a question is about one request.
func (q *Question) Valid() bool {
	return !strings.ContainsAny(q.Method+q.URL+strings.Join(q.Headers, ""), "\r\n\x00")
}

// HashText says what a hash key is, for people.
func HashText(alg state.Algorithm, k state.HashKey) string {
	switch {
	case alg == state.IPHash:
		return "client_ip"
	case alg != state.ConsistentHash:
		return ""
	case k.Name != "":
		return string(k.Source) + " " + k.Name
	}
	return string(k.Source)
}
