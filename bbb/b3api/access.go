package b3api

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/lbnode/lbnode/internal/auth"
	"github.com/lbnode/lbnode/state"
)

// scope is what a token may do.
type scope string

// The scopes.
const (
	scopeUser  scope = "b3scale"       // own frontends
	scopeAdmin scope = "b3scale:admin" // everything
	scopeNode  scope = "b3scale:node"  // an agent's: its own backend
)

// principal is who makes a request.
type principal struct {
	ref    string // account or agent
	actor  string // for the history
	scopes []scope
	// reads and blind say what a role of ours lets its bearer do less than an admin: change nothing, see no secret.
	reads, blind bool
	open         bool // as in [state.Command]
}

func (p principal) has(s scope) bool { return slices.Contains(p.scopes, s) }

// agent says that the principal sees its own backend only, even if it is an admin besides.
func (p principal) agent() bool { return p.has(scopeNode) }

// identify finds who makes a request. The failure is nil if it is somebody.
func (s *Server) identify(r *http.Request) (principal, *failure) {
	header := r.Header.Values("Authorization")
	scheme, text, _ := strings.Cut(strings.Join(header, ","), " ")
	if len(header) != 1 || !strings.EqualFold(scheme, "Bearer") || text == "" {
		return principal{}, fail(http.StatusUnauthorized, "missing or malformed jwt")
	}
	if strings.HasPrefix(text, auth.Prefix) || strings.Count(text, ".") != 2 {
		return s.ours(r)
	}
	c, err := parseJWT(text, s.cfg.Secret(), s.cfg.Now())
	if err != nil {
		addr, _ := netip.ParseAddrPort(r.RemoteAddr)
		if wait := s.cfg.Limiter.Fail(addr.Addr()); wait > 0 {
			return principal{}, fail(http.StatusTooManyRequests, "too many wrong tokens; wait")
		}
		s.cfg.Logger.Warn("token for b3scale's API refused", "client", r.RemoteAddr, "method", r.Method, "path", r.URL.EscapedPath())
		return principal{}, fail(http.StatusUnauthorized, errJWT.Error())
	}
	p := principal{ref: c.Subject, actor: "b3scale/" + printable(c.Subject)}
	for f := range strings.FieldsSeq(c.Scope) {
		p.scopes = append(p.scopes, scope(f))
	}
	return p, nil
}

// ours takes a token of our own. One that is bound to pools is of no use: nothing here is bound to one. Where the API
// is open to everybody, as there are no tokens, b3scale's secret still closes this part of it, which shows servers'
// secrets; without one nobody is shown them.
func (s *Server) ours(r *http.Request) (principal, *failure) {
	who, status := s.cfg.Tokens.Identify(r)
	switch {
	case status == http.StatusTooManyRequests:
		return principal{}, fail(status, "too many wrong tokens; wait")
	case status != 0:
		return principal{}, fail(http.StatusUnauthorized, errJWT.Error())
	case who.Bound:
		return principal{}, fail(http.StatusForbidden, "a token that is bound to pools cannot be used here")
	case who.Open && len(s.cfg.Secret()) > 0:
		return principal{}, fail(http.StatusUnauthorized, errJWT.Error())
	}
	return principal{
		ref: who.Actor, actor: who.Actor, scopes: []scope{scopeAdmin},
		reads: who.Role == state.RoleViewer, blind: who.Open || who.Role != state.RoleAdmin, open: who.Open,
	}, nil
}

// allow says whether the principal has one of the scopes, and may do what the method does.
func (p principal) allow(method string, scopes []scope) *failure {
	if len(scopes) > 0 && !slices.ContainsFunc(scopes, p.has) {
		names := make([]string, len(scopes))
		for i, s := range scopes {
			names[i] = string(s)
		}
		return fail(http.StatusForbidden, strings.Join(names, ", ")+" scope required")
	}
	if p.reads && method != http.MethodGet && method != http.MethodHead {
		return fail(http.StatusForbidden, "a token with the role viewer changes nothing")
	}
	return nil
}

// printable is what the history may show of a name that somebody chose.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, s)
	return s[:min(len(s), 64)]
}
