package route

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lbnode/lbnode/proxy/upstream"
	"github.com/lbnode/lbnode/state"
)

// Retry is when a request is sent to another backend although it may have reached one.
type Retry struct {
	on            uint8 // bits below
	NonIdempotent bool
}

const (
	retryReset uint8 = 1 << iota
	retryTimeout
	retry502
	retry503
	retry504
)

func newRetry(r state.Retry) Retry {
	out := Retry{NonIdempotent: r.NonIdempotent}
	for bit, on := range map[uint8]state.RetryOn{
		retryReset: state.RetryReset, retryTimeout: state.RetryTimeout, retry502: state.Retry502, retry503: state.Retry503, retry504: state.Retry504,
	} {
		if slices.Contains(r.On, on) {
			out.on |= bit
		}
	}
	return out
}

// Any says that there are failures beside that of connecting after which another backend is tried.
func (r Retry) Any() bool { return r.on != 0 }

// After says whether another backend is tried after a failure before the first byte of an answer.
func (r Retry) After(k upstream.Kind) bool {
	return k == upstream.Reset && r.on&retryReset != 0 || k == upstream.FirstByteTimeout && r.on&retryTimeout != 0
}

// AfterStatus says whether another backend is tried after an answer.
func (r Retry) AfterStatus(status int) bool {
	return status == 502 && r.on&retry502 != 0 || status == 503 && r.on&retry503 != 0 || status == 504 && r.on&retry504 != 0
}

// Sticky is the cookie that ties clients to backends.
type Sticky struct {
	Name       string
	Attributes string // what follows the value, beginning with "; "
}

func newSticky(s state.Sticky) *Sticky {
	if s.Cookie == "" {
		return nil
	}
	s = s.WithDefaults()
	var b strings.Builder
	b.WriteString("; Path=" + s.Path + "; HttpOnly")
	if s.TTL > 0 {
		b.WriteString("; Max-Age=" + strconv.FormatInt(int64(time.Duration(s.TTL)/time.Second), 10))
	}
	if s.Secure {
		b.WriteString("; Secure")
	}
	b.WriteString("; SameSite=" + strings.ToUpper(string(s.SameSite[:1])) + string(s.SameSite[1:]))
	return &Sticky{Name: s.Cookie, Attributes: b.String()}
}

// Find finds the cookie's value in the Cookie fields of a request.
func (s *Sticky) Find(lines []string) (string, bool) { return cookie(lines, s.Name) }

// Strip appends a Cookie field's value without the cookie, after what stands in dst from an index on.
func (s *Sticky) Strip(dst []byte, from int, line string) []byte {
	for line != "" {
		var pair string
		pair, line, _ = strings.Cut(line, ";")
		pair = strings.Trim(pair, " ")
		if name, _, _ := strings.Cut(pair, "="); name == s.Name || pair == "" {
			continue
		}
		if len(dst) > from {
			dst = append(dst, "; "...)
		}
		dst = append(dst, pair...)
	}
	return dst
}

// protection is what a pool keeps to find backends by, for sticky cookies and queues.
type protection struct {
	limited bool // a backend has a bound on its requests
	tokens  map[string]token
	keys    uint64                     // see upstream.Set.StickyGen
	at      map[*upstream.Upstream]int // index in pool.members; nil = not needed
}

// token is what a sticky cookie says.
type token struct {
	u       *upstream.Upstream
	current bool // said with the key that new cookies are made with
}

func protect(spec *state.PoolSpec, members []tagged, limited bool, keys uint64) protection {
	p := protection{limited: limited, keys: keys}
	if spec.Sticky.Cookie != "" {
		p.tokens = make(map[string]token, len(members))
		for _, m := range members {
			for i, t := range m.Upstream.Tokens() {
				p.tokens[t] = token{m.Upstream, i == 0}
			}
		}
	}
	if p.tokens != nil || limited {
		p.at = make(map[*upstream.Upstream]int, len(members))
		for i, m := range members {
			p.at[m.Upstream] = i
		}
	}
	return p
}

// sameProtection says that the pool finds what another configuration of it would.
func (p *pool) sameProtection(spec *state.PoolSpec, limited bool, keys uint64) bool {
	sticky := spec.Sticky.Cookie != ""
	return p.limited == limited && (p.spec.Sticky.Cookie != "") == sticky && (!sticky || p.keys == keys)
}

// Has says whether a backend belongs to the group, usable or not. It is for groups that are sticky or have bounds
// on the requests of a backend; others say no.
func (g *Group) Has(u *upstream.Upstream) bool {
	if g.pool == nil {
		return false
	}
	i, ok := g.pool.at[u]
	return ok && hasAll(g.pool.members[i].tags, g.required)
}

// Sticky is the backend that a sticky cookie's value means, nil for none of the group's. current says that a new
// cookie would say the same.
func (g *Group) Sticky(value string) (u *upstream.Upstream, current bool) {
	if g.pool == nil {
		return nil, false
	}
	t := g.pool.tokens[value]
	if t.u == nil || !g.Has(t.u) {
		return nil, false
	}
	return t.u, t.current
}

// Full says that the group has backends that would take the request if they had not all they may have, and in
// which mode.
func (g *Group) Full(tried *upstream.Tried) (upstream.Mode, bool) {
	if g.pool == nil || !g.pool.limited {
		return upstream.New, false
	}
	mode := upstream.New
	if g.onEmpty == state.OnEmptyPanic && g.failed() {
		mode = upstream.Panic
	}
	for _, m := range g.members {
		if m.Weight > 0 && m.Upstream.Allowed(mode) && m.Upstream.Full() && !tried.Has(m.Upstream) {
			return mode, true
		}
	}
	return mode, false
}
