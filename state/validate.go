package state

import (
	"encoding/pem"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Bounds of what an operator may write.
const (
	MaxWeight     = 1000
	MaxRetries    = 10
	maxTags       = 64
	maxMatchers   = 32
	maxPattern    = 1024
	maxPriority   = 1_000_000
	minInterval   = Duration(100 * time.Millisecond)
	maxInterval   = Duration(time.Hour)
	maxTimeout    = Duration(24 * time.Hour)
	maxRiseFall   = 100
	maxLoadFactor = 1000
	maxCA         = 256 << 10
)

// FieldError is one thing wrong with what an operator sent.
type FieldError struct {
	Pointer string `json:"pointer"` // RFC 6901, into the object
	Message string `json:"message"` // what is wrong and what would be right
}

var (
	idPattern  = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]{0,62})$`)
	tagPattern = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._:/=-]{0,62})$`)
)

// reservedIDs are sub-paths of the API's collections.
var reservedIDs = []string{"health"}

// CheckID says what is wrong with an id, or "".
func CheckID(id string) string {
	switch {
	case id == "":
		return "must not be empty"
	case !idPattern.MatchString(id):
		return fmt.Sprintf("must be 1 to 63 of a-z, 0-9, '.', '_' and '-', starting with a letter or digit, got %q", id)
	case slices.Contains(reservedIDs, id):
		return fmt.Sprintf("%q is reserved; choose another id", id)
	}
	return ""
}

// checks collects field errors.
type checks struct{ errs []FieldError }

func (c *checks) add(pointer, format string, args ...any) {
	c.errs = append(c.errs, FieldError{Pointer: pointer, Message: fmt.Sprintf(format, args...)})
}

func (c *checks) id(pointer, id string) {
	if msg := CheckID(id); msg != "" {
		c.add(pointer, "%s", msg)
	}
}

func (c *checks) between(pointer string, v, lo, hi int) {
	if v < lo || v > hi {
		c.add(pointer, "must be between %d and %d, got %d", lo, hi, v)
	}
}

func (c *checks) duration(pointer string, v, lo, hi Duration) {
	if v < lo || v > hi {
		c.add(pointer, "must be between %s and %s, got %s", lo, hi, v)
	}
}

func oneOf[T ~string](c *checks, pointer string, v T, allowed []T) {
	if slices.Contains(allowed, v) {
		return
	}
	names := make([]string, len(allowed))
	for i, a := range allowed {
		names[i] = string(a)
	}
	c.add(pointer, "must be one of %s, got %q", strings.Join(names, ", "), string(v))
}

func (c *checks) tags(pointer string, tags []string) {
	if len(tags) > maxTags {
		c.add(pointer, "must have at most %d entries, got %d", maxTags, len(tags))
	}
	for i, t := range tags {
		if !tagPattern.MatchString(t) {
			c.add(fmt.Sprintf("%s/%d", pointer, i), "must be 1 to 63 letters, digits or . _ : / = -, got %q", t)
		}
	}
}

// Normalize implements [Spec].
func (s *BackendSpec) Normalize() {
	s.Address = strings.TrimSpace(s.Address)
	setDefault(&s.Pool, DefaultPool)
	setDefault(&s.AdminState, AdminReady)
	if s.Weight == unset {
		s.Weight = 1
	}
	if s.LoadFactor == unset {
		s.LoadFactor = 1
	}
	s.Tags = sortedSet(s.Tags)
	s.normalizeDrain()
	s.BBB.normalize()
}

// Validate implements [Spec].
func (s *BackendSpec) Validate() []FieldError {
	var c checks
	c.id("/id", s.ID)
	if _, err := ParseAddress(s.Address); err != nil {
		c.add("/address", "%s", err)
	}
	c.id("/pool", s.Pool)
	c.between("/weight", s.Weight, 0, MaxWeight)
	c.between("/max_connections", s.MaxConnections, 0, MaxConnections)
	c.tags("/tags", s.Tags)
	oneOf(&c, "/admin_state", s.AdminState, []AdminState{AdminInit, AdminReady, AdminStopped, AdminDecommissioned})
	if !(s.LoadFactor > 0 && s.LoadFactor <= maxLoadFactor) {
		c.add("/load_factor", "must be greater than 0 and at most %d, got %v", maxLoadFactor, s.LoadFactor)
	}
	c.drain(s.Drain)
	c.backendBBB(s.BBB)
	return c.errs
}

// Normalize implements [Spec].
func (s *PoolSpec) Normalize() {
	setDefault(&s.Algorithm, RoundRobin)
	setDefault(&s.Hash.Source, HashClientIP)
	setDefault(&s.Protocol, ProtocolAuto)
	setDefault(&s.OnEmpty, OnEmptyPanic)
	setDefault(&s.Initial, InitialDown)
	h := &s.Health
	setDefault(&h.Type, CheckHTTP)
	setDefault(&h.Method, "GET")
	setDefault(&h.Path, "/")
	setDefault(&h.Interval, Duration(2*time.Second))
	setDefault(&h.Timeout, Duration(time.Second))
	setDefault(&h.Rise, 2)
	setDefault(&h.Fall, 3)
	s.normalizeProtection()
	s.BBB.normalize()
}

// Validate implements [Spec].
func (s *PoolSpec) Validate() []FieldError {
	var c checks
	c.id("/id", s.ID)
	oneOf(&c, "/algorithm", s.Algorithm, Algorithms())
	c.hash("/hash", s.Hash)
	oneOf(&c, "/protocol", s.Protocol, []Protocol{ProtocolAuto, ProtocolHTTP1, ProtocolH2, ProtocolH2C})
	oneOf(&c, "/on_empty", s.OnEmpty, []OnEmpty{OnEmptyPanic, OnEmptyFail})
	oneOf(&c, "/initial", s.Initial, []Initial{InitialDown, InitialUp})
	c.health(s.Health)
	c.protection(s)
	c.poolBBB(s.BBB)
	if len(s.TLS.CA) > maxCA {
		c.add("/tls/ca", "must be at most %d bytes", maxCA)
	} else if s.TLS.CA != "" {
		if b, _ := pem.Decode([]byte(s.TLS.CA)); b == nil || b.Type != "CERTIFICATE" {
			c.add("/tls/ca", "must hold at least one PEM block of type CERTIFICATE")
		}
	}
	return c.errs
}

func (c *checks) health(h HealthCheck) {
	oneOf(c, "/health/type", h.Type, []CheckType{CheckHTTP, CheckTCP, CheckGRPC, CheckBBB, CheckNone})
	if len(h.Service) > maxPattern || strings.ContainsFunc(h.Service, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		c.add("/health/service", "must be at most %d bytes without control characters", maxPattern)
	} else if h.Service != "" && h.Type != CheckGRPC {
		c.add("/health/service", "goes with type %q alone", CheckGRPC)
	}
	oneOf(c, "/health/method", h.Method, []string{"GET", "HEAD"})
	if u, err := url.ParseRequestURI(h.Path); err != nil || !strings.HasPrefix(h.Path, "/") || u.Fragment != "" {
		c.add("/health/path", "must be a path that starts with /, got %q", h.Path)
	}
	if h.Host != "" && !validHostPattern(strings.ToLower(h.Host), false) {
		c.add("/health/host", "must be a host name, got %q", h.Host)
	}
	if _, err := ParseStatuses(h.Statuses); err != nil {
		c.add("/health/statuses", "%s", err)
	}
	c.duration("/health/interval", h.Interval, minInterval, maxInterval)
	c.duration("/health/timeout", h.Timeout, minInterval/10, maxInterval)
	c.between("/health/rise", h.Rise, 1, maxRiseFall)
	c.between("/health/fall", h.Fall, 1, maxRiseFall)
}

func (c *checks) hash(pointer string, h HashKey) {
	oneOf(c, pointer+"/source", h.Source, []HashSource{HashClientIP, HashHeader, HashCookie, HashQuery, HashPath})
	named := h.Source == HashHeader || h.Source == HashCookie || h.Source == HashQuery
	if named && !validToken(h.Name) {
		c.add(pointer+"/name", "must name the %s to hash, got %q", h.Source, h.Name)
	}
}

// StatusRange is an inclusive range of HTTP status codes.
type StatusRange struct{ Lo, Hi int }

// ParseStatuses reads a list such as "200-399,401". An empty string is any answer below 500.
func ParseStatuses(s string) ([]StatusRange, error) {
	if s == "" {
		return []StatusRange{{100, 499}}, nil
	}
	var out []StatusRange
	for part := range strings.SplitSeq(s, ",") {
		lo, hi, isRange := strings.Cut(strings.TrimSpace(part), "-")
		a, err := strconv.Atoi(lo)
		b := a
		if err == nil && isRange {
			b, err = strconv.Atoi(hi)
		}
		if err != nil || a < 100 || b > 599 || b < a {
			return nil, fmt.Errorf("must be a list such as \"200-399,401\" of codes from 100 to 599, got %q", s)
		}
		out = append(out, StatusRange{a, b})
	}
	return out, nil
}

// Normalize implements [Spec].
func (s *RouteSpec) Normalize() {
	m := &s.Match
	m.Host = strings.ToLower(strings.TrimSpace(m.Host))
	setDefault(&m.Path, "/")
	setDefault(&m.PathType, PathPrefix)
	if m.PathType == PathPrefix && len(m.Path) > 1 {
		m.Path = strings.TrimRight(m.Path, "/")
		setDefault(&m.Path, "/")
	}
	m.Method = strings.Join(sortedSet(splitList(strings.ToUpper(m.Method))), ",")
	if m.Headers == nil {
		m.Headers = map[string]string{}
	}
	if m.Query == nil {
		m.Query = map[string]string{}
	}
	setDefault(&s.Timeouts.Connect, Duration(2*time.Second))
	if s.Retries == unset {
		s.Retries = 2
	}
	s.normalizeShape()
}

// Validate implements [Spec].
func (s *RouteSpec) Validate() []FieldError {
	var c checks
	c.id("/id", s.ID)
	c.between("/priority", s.Priority, -maxPriority, maxPriority)
	if s.Algorithm != "" {
		oneOf(&c, "/algorithm", s.Algorithm, Algorithms())
	}
	if s.Hash.Source != "" {
		c.hash("/hash", s.Hash)
	}
	c.match(s.Match)
	c.shape(s)
	c.duration("/timeouts/connect", s.Timeouts.Connect, Duration(time.Millisecond), maxTimeout)
	c.duration("/timeouts/first_byte", s.Timeouts.FirstByte, 0, maxTimeout)
	c.duration("/timeouts/total", s.Timeouts.Total, 0, maxTimeout)
	c.duration("/timeouts/idle", s.Timeouts.Idle, 0, maxTimeout)
	c.duration("/timeouts/upgraded_idle", s.Timeouts.UpgradedIdle, 0, maxTimeout)
	c.between("/retries", s.Retries, 0, MaxRetries)
	return c.errs
}

func (c *checks) match(m Match) {
	if m.Host != "" && !validHostPattern(m.Host, true) {
		c.add("/match/host", "must be a host name without port, or *.suffix, got %q", m.Host)
	}
	oneOf(c, "/match/path_type", m.PathType, []PathType{PathPrefix, PathExact, PathRegex})
	switch {
	case len(m.Path) > maxPattern:
		c.add("/match/path", "must be at most %d bytes long", maxPattern)
	case m.PathType == PathRegex:
		c.regex("/match/path", m.Path)
	case !strings.HasPrefix(m.Path, "/") || strings.ContainsAny(m.Path, "?# \t\r\n\x00"):
		c.add("/match/path", "must start with / and hold no query, got %q", m.Path)
	}
	for _, method := range splitList(m.Method) {
		if !validToken(method) {
			c.add("/match/method", "must be a method or a list such as \"GET,POST\", got %q", m.Method)
		}
	}
	c.matchers("/match/headers", m.Headers, true)
	c.matchers("/match/query", m.Query, false)
}

func (c *checks) matchers(pointer string, m map[string]string, tokens bool) {
	if len(m) > maxMatchers {
		c.add(pointer, "must have at most %d entries, got %d", maxMatchers, len(m))
	}
	for _, name := range sortedKeys(m) {
		at := pointer + "/" + escapePointer(name)
		if name == "" || tokens && !validToken(name) {
			c.add(at, "is not a valid name: %q", name)
		}
		if re, ok := strings.CutPrefix(m[name], "~"); ok {
			c.regex(at, re)
		} else if len(m[name]) > maxPattern {
			c.add(at, "must be at most %d bytes long", maxPattern)
		}
	}
}

func (c *checks) regex(pointer, re string) {
	if len(re) > maxPattern {
		c.add(pointer, "must be at most %d bytes long", maxPattern)
	} else if _, err := regexp.Compile(re); err != nil {
		c.add(pointer, "is not a valid RE2 expression: %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
}

// Normalize implements [Spec].
func (s *FrontendSpec) Normalize() {
	hosts := make([]string, len(s.Hosts))
	for i, h := range s.Hosts {
		hosts[i] = strings.ToLower(strings.TrimSpace(h))
	}
	s.Hosts = sortedSet(hosts)
	s.RequiredTags = sortedSet(s.RequiredTags)
	s.BBB.normalize()
}

// Validate implements [Spec].
func (s *FrontendSpec) Validate() []FieldError {
	var c checks
	c.id("/id", s.ID)
	if len(s.Hosts) > maxTags {
		c.add("/hosts", "must have at most %d entries, got %d", maxTags, len(s.Hosts))
	}
	for i, h := range s.Hosts {
		if !validHostPattern(h, true) {
			c.add(fmt.Sprintf("/hosts/%d", i), "must be a host name without port, or *.suffix, got %q", h)
		}
	}
	if len(s.Key) > maxPattern || strings.ContainsFunc(s.Key, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		c.add("/key", "must be at most %d bytes without spaces or control characters", maxPattern)
	}
	if len(s.Secret) > maxPattern {
		c.add("/secret", "must be at most %d bytes long", maxPattern)
	}
	c.tags("/required_tags", s.RequiredTags)
	c.frontendBBB(s.BBB)
	return c.errs
}

// validHostPattern takes a host name or address in lower case without a port and, if wild, *.suffix.
func validHostPattern(h string, wild bool) bool {
	if wild {
		h = strings.TrimPrefix(h, "*.")
	}
	return checkHost(strings.Trim(h, "[]")) == nil
}

// validToken is RFC 9110 §5.6.2.
func validToken(s string) bool {
	if s == "" || len(s) > 256 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return true
}

func setDefault[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// sortedSet returns a sorted copy without blanks and repeats, never nil.
func sortedSet(in []string) []string {
	out := make([]string, 0, len(in))
	for _, s := range in {
		if s != "" {
			out = append(out, s)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func splitList(s string) []string {
	if s == "" {
		return nil
	}
	parts := strings.Split(s, ",")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// escapePointer is RFC 6901 §3.
func escapePointer(s string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(s)
}
