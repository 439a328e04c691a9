package state

import (
	"fmt"
	"slices"
	"time"
)

// Bounds of how a pool picks and protects its backends.
const (
	MaxConnections = 1_000_000
	MaxQueue       = 100_000
	maxSlowStart   = Duration(time.Hour)
	maxErrors      = 10_000
	maxBudget      = 10_000
	maxCookieName  = 64
	maxCookiePath  = 256
)

// Queue is where requests wait while every backend of a pool has its max_connections, on each node by itself.
type Queue struct {
	Size    int      `json:"size,omitzero"`    // requests that may wait, 0..[MaxQueue]; 0 = none does
	Timeout Duration `json:"timeout,omitzero"` // how long one waits; 0 = [DefaultQueueTimeout]
}

// DefaultQueueTimeout is how long a request waits in a queue that says nothing else.
const DefaultQueueTimeout = Duration(5 * time.Second)

// Wait is how long a request waits.
func (q Queue) Wait() Duration { return orDefault(q.Timeout, DefaultQueueTimeout) }

// RetryOn is a failure after which another backend is tried.
type RetryOn string

// The failures. A status means the backend's answer, of which nothing has been sent on yet.
const (
	RetryConnect RetryOn = "connect_failure" // no connection, so nothing was sent
	RetryReset   RetryOn = "reset"           // the connection ended before a byte of the answer
	RetryTimeout RetryOn = "timeout"         // no byte of the answer within the route's first_byte timeout
	Retry502     RetryOn = "502"
	Retry503     RetryOn = "503"
	Retry504     RetryOn = "504"
)

// Retry says when a request that failed on one backend is sent to another. How often is said by the route.
type Retry struct {
	On []RetryOn `json:"on,omitempty"` // connect_failure is always among them; none = connect_failure alone
	// NonIdempotent lets requests that may have had an effect be sent again too, such as POST.
	NonIdempotent bool `json:"non_idempotent,omitzero"`
	// BudgetPercent bounds the retries of requests that were sent, in percent of the pool's requests on this
	// node in the last 10 s; 0 = [DefaultBudgetPercent]. BudgetMin is how many a second are always allowed; 0 =
	// [DefaultBudgetMin]. Retries after connect_failure are free: no backend has had work with the request.
	BudgetPercent int `json:"budget_percent,omitzero"`
	BudgetMin     int `json:"budget_min,omitzero"`
}

// The defaults of a retry budget.
const (
	DefaultBudgetPercent = 20
	DefaultBudgetMin     = 10
)

// Conditions are the failures after which another backend is tried.
func (r Retry) Conditions() []RetryOn {
	if len(r.On) == 0 {
		return []RetryOn{RetryConnect}
	}
	return r.On
}

// Percent and Min are the budget.
func (r Retry) Percent() int { return orDefault(r.BudgetPercent, DefaultBudgetPercent) }

// Min is the number of retries a second that are always allowed.
func (r Retry) Min() int { return orDefault(r.BudgetMin, DefaultBudgetMin) }

// Outlier says when a node stops sending requests to a backend that keeps failing them. Failures are broken or
// refused connections, silence, broken HTTP, and the answers 502, 503 and 504.
type Outlier struct {
	ConsecutiveErrors int      `json:"consecutive_errors,omitzero"` // failures in a row that eject; 0 = never
	BaseEjection      Duration `json:"base_ejection,omitzero"`      // × the number of ejections lately; 0 = [DefaultBaseEjection]
	MaxEjection       Duration `json:"max_ejection,omitzero"`       // 0 = [DefaultMaxEjection]
	MaxPercent        int      `json:"max_percent,omitzero"`        // of the pool that may be out at a time, but one always may; 0 = [DefaultEjectPercent]
}

// The defaults of outlier ejection.
const (
	DefaultBaseEjection = Duration(30 * time.Second)
	DefaultMaxEjection  = Duration(5 * time.Minute)
	DefaultEjectPercent = 10
)

// WithDefaults fills in what was left out.
func (o Outlier) WithDefaults() Outlier {
	o.BaseEjection = orDefault(o.BaseEjection, DefaultBaseEjection)
	o.MaxEjection = orDefault(o.MaxEjection, max(DefaultMaxEjection, o.BaseEjection))
	o.MaxPercent = orDefault(o.MaxPercent, DefaultEjectPercent)
	return o
}

// SameSite is the attribute of a cookie.
type SameSite string

// The values of SameSite.
const (
	SameSiteLax    SameSite = "lax"
	SameSiteStrict SameSite = "strict"
	SameSiteNone   SameSite = "none" // browsers want Secure with it
)

// Sticky keeps a client on the backend that served it first, by a cookie.
type Sticky struct {
	Cookie   string   `json:"cookie,omitzero"`    // its name; "" = not sticky
	TTL      Duration `json:"ttl,omitzero"`       // Max-Age, whole seconds; 0 = as long as the browser runs
	Secure   bool     `json:"secure,omitzero"`    // only sent over TLS
	SameSite SameSite `json:"same_site,omitzero"` // "" = lax
	Path     string   `json:"path,omitzero"`      // "" = /
}

// WithDefaults fills in what was left out.
func (s Sticky) WithDefaults() Sticky {
	s.SameSite = orDefault(s.SameSite, SameSiteLax)
	s.Path = orDefault(s.Path, "/")
	return s
}

// ProxyProtocol is the version of the PROXY protocol in which backends are told the client's address.
type ProxyProtocol string

// The versions; "" on a pool means none, and so does ProxyProtocolNone.
const (
	ProxyProtocolNone ProxyProtocol = "none"
	ProxyProtocolV1   ProxyProtocol = "v1"
	ProxyProtocolV2   ProxyProtocol = "v2"
)

func orDefault[T comparable](v, def T) T {
	setDefault(&v, def)
	return v
}

// forget zeroes a field that says its default, so that a document that was read and is written back changes
// nothing.
func forget[T comparable](p *T, def T) {
	if *p == def {
		var zero T
		*p = zero
	}
}

// normalizeProtection puts into canonical form what keeps a pool's backends from harm.
func (s *PoolSpec) normalizeProtection() {
	forget(&s.Queue.Timeout, DefaultQueueTimeout)
	switch on := s.Retry.On; {
	case len(on) == 0 || slices.Equal(on, []RetryOn{RetryConnect}):
		s.Retry.On = nil
	case !slices.Contains(on, RetryConnect): // behind the others, so that errors point to what was written
		s.Retry.On = append(slices.Clip(on), RetryConnect)
	}
	forget(&s.Retry.BudgetPercent, DefaultBudgetPercent)
	forget(&s.Retry.BudgetMin, DefaultBudgetMin)
	forget(&s.Outlier.BaseEjection, DefaultBaseEjection)
	forget(&s.Outlier.MaxEjection, DefaultMaxEjection)
	forget(&s.Outlier.MaxPercent, DefaultEjectPercent)
	forget(&s.Sticky.SameSite, SameSiteLax)
	forget(&s.Sticky.Path, "/")
	forget(&s.ProxyProtocol, ProxyProtocolNone)
}

func (c *checks) protection(s *PoolSpec) {
	c.duration("/slow_start", s.SlowStart, 0, maxSlowStart)
	c.between("/max_connections", s.MaxConnections, 0, MaxConnections)
	c.between("/queue/size", s.Queue.Size, 0, MaxQueue)
	c.duration("/queue/timeout", s.Queue.Timeout, 0, maxTimeout)
	c.retry(s.Retry)
	c.between("/outlier/consecutive_errors", s.Outlier.ConsecutiveErrors, 0, maxErrors)
	c.duration("/outlier/base_ejection", s.Outlier.BaseEjection, 0, maxTimeout)
	c.duration("/outlier/max_ejection", s.Outlier.MaxEjection, 0, maxTimeout)
	if o := s.Outlier.WithDefaults(); o.MaxEjection < o.BaseEjection {
		c.add("/outlier/max_ejection", "must be at least base_ejection (%s), got %s", o.BaseEjection, o.MaxEjection)
	}
	c.between("/outlier/max_percent", s.Outlier.MaxPercent, 0, 100)
	c.sticky(s.Sticky)
	if s.ProxyProtocol != "" {
		oneOf(c, "/proxy_protocol", s.ProxyProtocol, []ProxyProtocol{ProxyProtocolNone, ProxyProtocolV1, ProxyProtocolV2})
		if s.Protocol == ProtocolH2 || s.Protocol == ProtocolH2C {
			c.add("/proxy_protocol", "needs protocol %q or %q: a connection that carries several clients' requests cannot name one client", ProtocolAuto, ProtocolHTTP1)
		}
	}
}

func (c *checks) retry(r Retry) {
	all := []RetryOn{RetryConnect, RetryReset, RetryTimeout, Retry502, Retry503, Retry504}
	for i, on := range r.On {
		at := fmt.Sprintf("/retry/on/%d", i)
		oneOf(c, at, on, all)
		if slices.Contains(r.On[:i], on) {
			c.add(at, "is there twice: %q", on)
		}
	}
	c.between("/retry/budget_percent", r.BudgetPercent, 0, 100)
	c.between("/retry/budget_min", r.BudgetMin, 0, maxBudget)
}

func (c *checks) sticky(s Sticky) {
	if s.Cookie == "" {
		if s != (Sticky{}) {
			c.add("/sticky/cookie", "must name the cookie")
		}
		return
	}
	if !validToken(s.Cookie) || len(s.Cookie) > maxCookieName {
		c.add("/sticky/cookie", "must be a token of at most %d bytes, got %q", maxCookieName, s.Cookie)
	}
	if s.TTL < 0 || s.TTL > 365*maxTimeout || s.TTL%Duration(time.Second) != 0 {
		c.add("/sticky/ttl", "must be whole seconds, at most a year, got %s", s.TTL)
	}
	if s.SameSite != "" {
		oneOf(c, "/sticky/same_site", s.SameSite, []SameSite{SameSiteLax, SameSiteStrict, SameSiteNone})
	}
	if s.SameSite == SameSiteNone && !s.Secure {
		c.add("/sticky/secure", "must be true with same_site %q: browsers drop the cookie otherwise", SameSiteNone)
	}
	if p := s.Path; p != "" && (p[0] != '/' || len(p) > maxCookiePath || !cookieText(p)) {
		c.add("/sticky/path", "must start with / and hold printable ASCII without ';', got %q", p)
	}
}

// cookieText says whether an attribute of a cookie may hold the text (RFC 6265 §4.1.1).
func cookieText(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' || s[i] == ';' {
			return false
		}
	}
	return true
}
