package state

import (
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// Role is what the bearer of a token may do.
type Role string

// The roles. Each may do what the one before it may.
const (
	RoleViewer   Role = "viewer"   // read
	RoleOperator Role = "operator" // change what traffic does: backends, pools, routes, frontends, certificates
	RoleAdmin    Role = "admin"    // tokens, members of the cluster, backup and restore
)

// Roles lists them, the weakest first.
func Roles() []Role { return []Role{RoleViewer, RoleOperator, RoleAdmin} }

// Bounds of a token.
const (
	maxDescription = 256
	hashLen        = 64 // SHA-256 in hex
)

// TokenSpec lets whoever bears a secret use the API. The secret itself is stored nowhere.
type TokenSpec struct {
	ID          string    `json:"id"`
	Role        Role      `json:"role"`
	Description string    `json:"description"`
	Pools       []string  `json:"pools"`               // writes are bound to backends and routes of these pools; none = not bound
	ExpiresAt   time.Time `json:"expires_at,omitzero"` // by the clock of the node that is asked; zero = never
	Hash        string    `json:"hash"`                // SHA-256 of the token's text, in hex
}

// Token is a stored token.
type Token struct {
	TokenSpec
	Stamp
}

// Expired says that a token is of no use any more.
func (t *Token) Expired(now time.Time) bool { return !t.ExpiresAt.IsZero() && !now.Before(t.ExpiresAt) }

// Kind implements [Spec] and [Object].
func (*TokenSpec) Kind() Kind { return KindToken }

// ObjectID implements [Spec] and [Object].
func (s *TokenSpec) ObjectID() string { return s.ID }

// Inherit implements [Spec]: the API never shows a hash, so what was read can be written back.
func (s *TokenSpec) Inherit(old Object) {
	if t, ok := old.(*Token); ok && s.Hash == "" {
		s.Hash = t.Hash
	}
}

// Normalize implements [Spec].
func (s *TokenSpec) Normalize() {
	setDefault(&s.Role, RoleViewer)
	s.Description = strings.TrimSpace(s.Description)
	s.Pools = sortedSet(s.Pools)
	s.ExpiresAt = s.ExpiresAt.UTC().Truncate(time.Second)
	s.Hash = strings.ToLower(s.Hash)
}

// Validate implements [Spec].
func (s *TokenSpec) Validate() []FieldError {
	var c checks
	c.id("/id", s.ID)
	oneOf(&c, "/role", s.Role, Roles())
	if len(s.Description) > maxDescription || strings.ContainsFunc(s.Description, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		c.add("/description", "must be one line of at most %d bytes", maxDescription)
	}
	if len(s.Pools) > maxTags {
		c.add("/pools", "must have at most %d entries, got %d", maxTags, len(s.Pools))
	}
	for i, p := range s.Pools {
		c.id(fmt.Sprintf("/pools/%d", i), p)
	}
	if len(s.Pools) > 0 && s.Role == RoleAdmin {
		c.add("/pools", "must be empty for an admin, who can change any token and so is bound to no pool")
	}
	if _, err := hex.DecodeString(s.Hash); err != nil || len(s.Hash) != hashLen {
		c.add("/hash", "must be a SHA-256 in hex")
	}
	return c.errs
}

// Spec implements [Object].
func (t *Token) Spec() Spec { s := t.TokenSpec; return &s }

// keepAdmin refuses what would leave no admin among the tokens, by mistake. next is nil for a deletion.
func (a *applier) keepAdmin(old Object, next Spec, force bool) *Refusal {
	t, ok := old.(*Token)
	if !ok || t.Role != RoleAdmin || force {
		return nil
	}
	if n, ok := next.(*TokenSpec); ok && n.Role == RoleAdmin {
		return nil
	}
	another := false
	a.t.tree(KindToken).Root().Walk(func(_ []byte, o Object) bool {
		other := o.(*Token)
		another = other.ID != t.ID && other.Role == RoleAdmin
		return another
	})
	if another {
		return nil
	}
	return &Refusal{
		Code: CodeInUse, Refs: []string{"token/" + t.ID},
		Message: fmt.Sprintf("%q is the last token of an admin; make another one first, or delete this one with force", t.ID),
	}
}

// outOfScope refuses what a command that is bound to pools may not touch: anything but backends and routes, and
// those of other pools, be it before or after the change. next is nil for a deletion.
func (a *applier) outOfScope(op Op, old Object, next Spec) *Refusal {
	if len(a.scope) == 0 {
		return nil
	}
	var pools []string
	for _, o := range []any{old, next} {
		switch o := o.(type) {
		case *Backend:
			pools = append(pools, o.Pool)
		case *BackendSpec:
			pools = append(pools, o.Pool)
		case *Route:
			pools = append(pools, o.BackendPool)
		case *RouteSpec:
			pools = append(pools, o.BackendPool)
		}
	}
	bound := strings.Join(a.scope, ", ")
	if len(pools) == 0 {
		return &Refusal{Code: CodeForbidden, Message: fmt.Sprintf("the token may change only backends and routes of %s, not %s %q", bound, op.Kind, op.ID)}
	}
	for _, p := range pools {
		if !contains(a.scope, p) {
			return &Refusal{Code: CodeForbidden, Message: fmt.Sprintf("the token may change only backends and routes of %s; %s %q is of pool %q", bound, op.Kind, op.ID, p)}
		}
	}
	return nil
}

// allowed refuses a command that was made without a token because its node knew of none, when there is one.
func (a *applier) allowed(c Command) *Refusal {
	if !c.Open || a.t.v.Len(KindToken) == 0 {
		return nil
	}
	return &Refusal{Code: CodeForbidden, Message: "the cluster has tokens: this needs one"}
}
