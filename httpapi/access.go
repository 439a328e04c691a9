package httpapi

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/internal/auth"
	"github.com/lbnode/lbnode/state"
)

// Access says who may use the API besides the bearers of tokens in the replicated state.
type Access struct {
	// Open lets everybody do everything as long as there is no token, neither in the state nor here.
	Open bool
	// Bootstrap is a token that is an admin on this node whatever the state says; "" = none. It is called for each
	// request, so that it can change.
	Bootstrap func() string
	// MetricsOpen lets everybody read /metrics.
	MetricsOpen bool
	// Limiter bounds the answers to wrong tokens.
	Limiter *auth.Limiter
	// Refused hears of each request that is not let in, and why: one of DenialReasons. It must not block; nil = nobody.
	Refused func(reason string)
}

// Why a request is not let in.
const (
	deniedMissing   = "missing"   // no token
	deniedMalformed = "malformed" // no token of this software, or not whole
	deniedUnknown   = "unknown"   // deleted, replaced, or of another cluster
	deniedExpired   = "expired"
	deniedTooMany   = "too_many" // wrong tokens from this address: it was not even answered which
	deniedRole      = "role"     // a right token whose role does not do
	deniedPool      = "pool"     // a right token that is bound to pools
)

// DenialReasons lists why a request may not be let in.
func DenialReasons() []string {
	return []string{deniedMissing, deniedMalformed, deniedUnknown, deniedExpired, deniedTooMany, deniedRole, deniedPool}
}

func (s *Server) denied(reason string) {
	if f := s.cfg.Access.Refused; f != nil {
		f(reason)
	}
}

// denial is why a token is refused.
type denial struct {
	reason string // one of DenialReasons
	text   string
}

// access is what an endpoint asks of who uses it.
type access struct {
	role state.Role // "" = nothing, not even a token
	// bound lets tokens in that are bound to pools: all that the endpoint changes, it changes by commands, which
	// carry the pools and are refused when they touch anything else.
	bound bool
}

// accessTable says who may use which endpoint. One that is not in it is for admins.
func accessTable() map[string]access {
	anyone, viewer := access{}, access{role: state.RoleViewer, bound: true}
	operator, bound := access{role: state.RoleOperator}, access{role: state.RoleOperator, bound: true}
	admin := access{role: state.RoleAdmin}
	t := map[string]access{
		"GET /livez":        anyone,
		"GET /readyz":       anyone,
		"GET /metrics":      viewer,
		"GET /openapi.json": viewer,

		"GET /backends/health":        viewer,
		"GET /backends/{id}/wait":     viewer,
		"POST /backends/{id}/enable":  bound,
		"POST /backends/{id}/disable": bound,
		"POST /backends/{id}/load":    bound,

		"GET /callbacks":             viewer,
		"POST /callbacks/{id}/retry": operator,
		"DELETE /callbacks/{id}":     operator,
		"GET /meetings":              viewer,
		"GET /meetings/{id}":         viewer,
		"DELETE /meetings":           operator,
		"DELETE /meetings/{id}":      operator,

		"POST /txn":                      bound,
		"POST /apply":                    bound,
		"GET /apply/pending":             viewer,
		"POST /apply/confirm":            bound,
		"GET /history":                   viewer,
		"GET /watch":                     viewer,
		"GET /history/diff":              viewer,
		"GET /history/{index}":           viewer,
		"POST /history/{index}/rollback": bound, // of a change of tokens: admin, see rollback

		"GET /settings":   viewer,
		"PUT /settings":   operator,
		"PATCH /settings": operator,

		"GET /stats":                    viewer,
		"GET /explain":                  viewer,
		"GET /cluster":                  viewer,
		"POST /cluster/transfer-leader": operator,
		"GET /cluster/keys":             viewer,
		"POST /cluster/keys":            admin,
		"POST /cluster/keys/{id}/use":   admin,
		"DELETE /cluster/keys/{id}":     admin,
		"GET /nodes":                    viewer,
		"DELETE /nodes/{id}":            admin,
		"POST /nodes/{id}/drain":        operator,
		"POST /nodes/{id}/undrain":      operator,
		"POST /nodes/{id}/leave":        admin,

		"GET /snapshot":          admin,
		"PUT /snapshot":          admin,
		"GET /snapshot/schedule": viewer,

		"GET /tokens":              admin,
		"POST /tokens":             admin,
		"GET /tokens/{id}":         admin,
		"PATCH /tokens/{id}":       admin,
		"DELETE /tokens/{id}":      admin,
		"POST /tokens/{id}/rotate": admin,
	}
	for path, write := range map[string]access{"/backends": bound, "/routes": bound, "/pools": operator, "/frontends": operator, "/certificates": operator} {
		t["GET "+path], t["GET "+path+"/{id}"] = viewer, viewer
		t["POST "+path] = write
		t["PUT "+path+"/{id}"], t["PATCH "+path+"/{id}"], t["DELETE "+path+"/{id}"] = write, write, write
	}
	return t
}

// accessOf is what an endpoint asks for.
func (s *Server) accessOf(e endpoint) access {
	if e.path == "/metrics" && s.cfg.Access.MetricsOpen {
		return access{}
	}
	if a, listed := accessTable()[e.method+" "+e.path]; listed {
		return a
	}
	return access{role: state.RoleAdmin}
}

// principal is who makes a request.
type principal struct {
	actor string // for the history
	role  state.Role
	pools []string // to which writes are bound; none = not bound
	open  bool     // without a token, since there is none
}

// authorize finds who makes a request and refuses what they may not do.
func (s *Server) authorize(r *http.Request, need access) (principal, error) {
	if need.role == "" {
		return principal{}, nil
	}
	p, err := s.authenticate(r)
	if err != nil {
		return p, err
	}
	switch {
	case slices.Index(state.Roles(), p.role) < slices.Index(state.Roles(), need.role):
		s.denied(deniedRole)
		return p, forbidden(fmt.Sprintf("this needs the role %s; %s has the role %s", need.role, p.actor, p.role))
	case len(p.pools) > 0 && need.role != state.RoleViewer && !need.bound:
		s.denied(deniedPool)
		return p, forbidden(fmt.Sprintf("%s may change only backends and routes of %s", p.actor, strings.Join(p.pools, ", ")))
	}
	return p, nil
}

func forbidden(detail string) error {
	return &failure{status: http.StatusForbidden, code: api.CodeForbidden, detail: detail, challenge: challenge + `, error="insufficient_scope"`}
}

// challenge is the WWW-Authenticate header of RFC 6750 §3.
const challenge = `Bearer realm="lbnode"`

// authenticate finds who makes a request. A right token is let in whatever has gone before: only wrong ones are
// counted and, when there are too many, no longer answered.
func (s *Server) authenticate(r *http.Request) (principal, error) {
	v, bootstrap := s.cfg.Store.View(), s.cfg.Access.Bootstrap()
	if s.cfg.Access.Open && bootstrap == "" && v.Len(state.KindToken) == 0 {
		return principal{actor: anonymous(r), role: state.RoleAdmin, open: true}, nil
	}
	header := r.Header.Values("Authorization")
	if len(header) == 0 {
		s.denied(deniedMissing)
		return principal{}, &failure{
			status: http.StatusUnauthorized, code: api.CodeUnauthorized, challenge: challenge,
			detail: "this needs a token, as Authorization: Bearer TOKEN",
		}
	}
	p, why := s.bearer(v, bootstrap, header)
	if why.text == "" {
		return p, nil
	}
	client := clientAddr(r)
	if wait := s.cfg.Access.Limiter.Fail(client); wait > 0 {
		s.denied(deniedTooMany)
		return p, &failure{
			status: http.StatusTooManyRequests, code: api.CodeTooManyFailures, retryAfter: wait,
			detail: "too many wrong tokens; wait, or use a right one, which is always let in",
		}
	}
	s.cfg.Logger.LogAttrs(r.Context(), slog.LevelWarn, "api token refused", slog.String("client", client.String()), slog.String("reason", why.text), slog.String("method", r.Method), slog.String("path", r.URL.EscapedPath()))
	s.denied(why.reason)
	return p, &failure{
		status: http.StatusUnauthorized, code: api.CodeUnauthorized, challenge: challenge + `, error="invalid_token"`,
		detail: "the token is not valid: " + why.text,
	}
}

// bearer finds whose token a request brings, or says why it is nobody's.
func (s *Server) bearer(v *state.View, bootstrap string, header []string) (p principal, why denial) {
	scheme, text, _ := strings.Cut(strings.TrimSpace(header[0]), " ")
	text = strings.TrimSpace(text)
	if len(header) > 1 || !strings.EqualFold(scheme, "Bearer") || text == "" {
		return p, denial{deniedMalformed, "it must come once, as Authorization: Bearer TOKEN"}
	}
	if bootstrap != "" && same(text, bootstrap) {
		return principal{actor: "bootstrap@" + s.cfg.NodeID, role: state.RoleAdmin}, denial{}
	}
	id, ok := auth.Parse(text)
	if !ok {
		return p, denial{deniedMalformed, "it is not one of this cluster, or was not copied whole"}
	}
	t, ok := v.Token(id)
	switch {
	case !ok || !auth.Matches(text, t.Hash):
		return p, denial{deniedUnknown, "it was deleted or replaced, or belongs to another cluster"}
	case t.Expired(s.cfg.Now()):
		return p, denial{deniedExpired, "it expired at " + t.ExpiresAt.Format(time.RFC3339)}
	}
	return principal{actor: "token/" + t.ID, role: t.Role, pools: t.Pools}, denial{}
}

// same compares without telling by its time how near a text is, or how long.
func same(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// anonymous is the actor of a request without a token: local, or where it comes from.
func anonymous(r *http.Request) string {
	if a := clientAddr(r); a.IsValid() && !a.IsLoopback() {
		return "anonymous@" + a.String()
	}
	return "local"
}

// clientAddr is where a request comes from; the zero address if that is no address.
func clientAddr(r *http.Request) netip.Addr {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	a, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}
	}
	return a.Unmap()
}

// command is a transaction in the name of who makes the request.
func (c *call) command(ops []state.Op) state.Command {
	return state.Command{
		Type: state.TypeTxn, RequestID: c.requestID(), Actor: c.actor(), At: c.now(), Ops: ops,
		Scope: c.who.pools, Open: c.who.open,
	}
}

// actor says who asks, for people who read the history.
func (c *call) actor() string { return c.who.actor }

// seconds is a Retry-After.
func seconds(d time.Duration) string {
	return strconv.Itoa(max(1, int(math.Ceil(d.Seconds()))))
}
