package state

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Kind names a class of replicated objects, in the singular as operators type it.
type Kind string

// The kinds. Snapshots and hashes go through them in the order of [Kinds].
const (
	KindBackend  Kind = "backend"
	KindPool     Kind = "pool"
	KindRoute    Kind = "route"
	KindFrontend Kind = "frontend"

	KindToken       Kind = "token"
	KindCertificate Kind = "certificate"
)

// Kinds lists every kind in a fixed order.
func Kinds() []Kind {
	return []Kind{KindBackend, KindPool, KindRoute, KindFrontend, KindToken, KindCertificate, KindSettings}
}

// DefaultPool is the pool of a backend that names none.
const DefaultPool = "default"

// AdminState is what the operator wants of a backend.
type AdminState string

// The admin states. `error` is never one: it is not something to wish for.
const (
	AdminInit           AdminState = "init"           // known, not yet in use
	AdminReady          AdminState = "ready"          // takes traffic when healthy
	AdminStopped        AdminState = "stopped"        // no new traffic, running requests finish
	AdminDecommissioned AdminState = "decommissioned" // as stopped, then removed
)

// NodeState is what the cluster observes of a backend, as [Backend.NodeState] derives it.
type NodeState string

// The node states.
const (
	NodeInit           NodeState = "init"
	NodeReady          NodeState = "ready"
	NodeStopped        NodeState = "stopped"
	NodeError          NodeState = "error"
	NodeDecommissioned NodeState = "decommissioned"
)

// Verdict is the quorum's opinion of a backend's health.
type Verdict string

// The verdicts. The zero value is not used: a new backend starts with VerdictUnknown.
const (
	VerdictUnknown Verdict = "unknown" // no majority has spoken since the backend (or its address) is new
	VerdictUp      Verdict = "up"
	VerdictDown    Verdict = "down"
)

// Algorithm is how a backend is picked from a pool.
type Algorithm string

// The algorithms. The zero value on a route means "as the pool says".
const (
	RoundRobin       Algorithm = "round_robin"       // smooth weighted
	LeastConnections Algorithm = "least_connections" // in-flight / weight
	Random           Algorithm = "random"            // best of two weighted choices
	IPHash           Algorithm = "ip_hash"           // consistent hash of the client address
	ConsistentHash   Algorithm = "consistent_hash"   // consistent hash of [HashKey]
	LeastLatency     Algorithm = "least_latency"     // peak EWMA × in-flight
	LeastLoad        Algorithm = "least_load"        // the load that backends report × load_factor / weight
)

// Algorithms lists all of them, for validation and messages.
func Algorithms() []Algorithm {
	return []Algorithm{RoundRobin, LeastConnections, Random, IPHash, ConsistentHash, LeastLatency, LeastLoad}
}

// Duration is a time.Duration that reads and writes Go's notation ("1.5s", "200ms") in JSON.
type Duration time.Duration

// String returns Go's notation.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText implements [encoding.TextMarshaler].
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler]. "0" is zero; anything else needs a unit.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil {
		return fmt.Errorf("must be a duration such as \"500ms\" or \"2s\", got %q", b)
	}
	*d = Duration(v)
	return nil
}

// Stamp is when an object was made and last changed by an operator, in Raft log indexes.
type Stamp struct {
	CreateIndex uint64 `json:"create_index"`
	ModifyIndex uint64 `json:"modify_index"`
}

// BackendSpec is what an operator says about one destination server.
type BackendSpec struct {
	ID         string     `json:"id"`
	Address    string     `json:"address"` // host:port or http(s)://host[:port][/base]; see [ParseAddress]
	Pool       string     `json:"pool"`
	Weight     int        `json:"weight"` // share of traffic, 0..[MaxWeight]; 0 takes no new requests
	Tags       []string   `json:"tags"`   // a frontend's required_tags must all be among them
	AdminState AdminState `json:"admin_state"`
	LoadFactor float64    `json:"load_factor"` // multiplies the load that the backend reports, 0 < f ≤ 1000
	// MaxConnections bounds the requests that one node has on the backend at a time; 0 = as the pool says.
	MaxConnections int        `json:"max_connections,omitzero"`
	Drain          DrainSpec  `json:"drain,omitzero"`
	BBB            BackendBBB `json:"bbb,omitzero"`
}

// BackendStatus is what the cluster knows about a backend. No operator writes it and it moves no
// modify_index; it has its own index.
type BackendStatus struct {
	Gen         uint64    `json:"gen"`         // index at which the address or pool last changed; older observations do not count
	AdminIndex  uint64    `json:"admin_index"` // index at which admin_state last changed
	AdminSince  time.Time `json:"admin_since"`
	Verdict     Verdict   `json:"verdict"`
	VerdictText string    `json:"verdict_text"` // why, in words, as the majority's first reporter said it
	StateSince  time.Time `json:"state_since"`  // when verdict or drained last changed
	Drained     bool      `json:"drained"`      // stopped or decommissioned, and in-flight was 0 on every node
	StateIndex  uint64    `json:"state_index"`
}

// Backend is one destination server.
type Backend struct {
	BackendSpec
	Stamp
	BackendStatus
}

// NodeState derives the state that the cluster observes from admin state, verdict and drain (the table in
// DESIGN §4). A failing verdict shows in every admin state but `init`, so that an operator sees when a
// stopped server goes away and when it comes back.
func (b *Backend) NodeState() NodeState {
	switch {
	case b.AdminState == AdminInit:
		return NodeInit
	case b.AdminState == AdminDecommissioned && b.Drained:
		return NodeDecommissioned
	case b.Verdict == VerdictDown:
		return NodeError
	case b.AdminState == AdminStopped && b.Drained:
		return NodeStopped
	case b.Verdict == VerdictUp:
		return NodeReady
	}
	return NodeInit
}

// Draining says that the operator took the backend out and requests may still be running on it.
func (b *Backend) Draining() bool {
	return b.AdminState.OutOfUse() && !b.Drained
}

// HealthCheck says how a pool's backends are probed.
type HealthCheck struct {
	Type     CheckType `json:"type"`
	Method   string    `json:"method"`   // http: GET or HEAD
	Path     string    `json:"path"`     // http: path and query
	Host     string    `json:"host"`     // http: Host header and TLS server name; "" = the backend's own
	Statuses string    `json:"statuses"` // http: what passes, e.g. "200-399,401"; "" = any answer below 500
	Interval Duration  `json:"interval"`
	Timeout  Duration  `json:"timeout"`
	Rise     int       `json:"rise"`             // passes in a row until a node says up
	Fall     int       `json:"fall"`             // failures in a row until a node says down
	Service  string    `json:"service,omitzero"` // grpc: what is asked for; "" = the server as a whole
}

// CheckType is the protocol of a health check.
type CheckType string

// The check types.
const (
	CheckHTTP CheckType = "http"
	CheckTCP  CheckType = "tcp"
	CheckGRPC CheckType = "grpc" // grpc.health.v1.Health/Check says SERVING
	CheckNone CheckType = "none" // always up: only live traffic tells
)

// OnEmpty says what happens when failing health leaves a pool without a usable backend.
type OnEmpty string

// The values of OnEmpty.
const (
	OnEmptyPanic OnEmpty = "panic" // ignore health, use every backend the operator wants used
	OnEmptyFail  OnEmpty = "fail"  // answer 503
)

// Initial says whether a backend takes traffic before the first verdict.
type Initial string

// The values of Initial.
const (
	InitialDown Initial = "down"
	InitialUp   Initial = "up"
)

// Protocol is the HTTP version spoken to a pool's backends.
type Protocol string

// The protocols.
const (
	ProtocolAuto  Protocol = "auto"  // https: what ALPN gives; http: HTTP/1.1
	ProtocolHTTP1 Protocol = "http1" // HTTP/1.1
	ProtocolH2    Protocol = "h2"    // HTTP/2 over TLS
	ProtocolH2C   Protocol = "h2c"   // HTTP/2 in clear text with prior knowledge
)

// HashKey is what consistent_hash hashes.
type HashKey struct {
	Source HashSource `json:"source"`
	Name   string     `json:"name"` // of the header, cookie or query parameter
}

// HashSource is a part of a request.
type HashSource string

// The hash sources.
const (
	HashClientIP HashSource = "client_ip"
	HashHeader   HashSource = "header"
	HashCookie   HashSource = "cookie"
	HashQuery    HashSource = "query"
	HashPath     HashSource = "path"
)

// BackendTLS says how TLS to the backends (https addresses) is verified.
type BackendTLS struct {
	SkipVerify bool   `json:"skip_verify"`
	ServerName string `json:"server_name"` // "" = the address's host
	CA         string `json:"ca"`          // PEM; "" = the system's roots
	// ClientCertificate is the id of the certificate that backends are shown if they ask for one; "" = none.
	ClientCertificate string `json:"client_certificate,omitzero"`
}

// PoolSpec is a named group of backends with its health check and balancing policy.
type PoolSpec struct {
	ID        string      `json:"id"`
	Algorithm Algorithm   `json:"algorithm"`
	Hash      HashKey     `json:"hash"`
	Protocol  Protocol    `json:"protocol"`
	Health    HealthCheck `json:"health"`
	OnEmpty   OnEmpty     `json:"on_empty"`
	Initial   Initial     `json:"initial"`
	TLS       BackendTLS  `json:"tls"`

	SlowStart      Duration      `json:"slow_start,omitzero"`      // a backend that becomes usable gets 10 % of its share, growing to all in this time
	MaxConnections int           `json:"max_connections,omitzero"` // requests on each backend at a time from each node; 0 = no bound
	Queue          Queue         `json:"queue,omitzero"`
	Retry          Retry         `json:"retry,omitzero"`
	Outlier        Outlier       `json:"outlier,omitzero"`
	Sticky         Sticky        `json:"sticky,omitzero"`
	ProxyProtocol  ProxyProtocol `json:"proxy_protocol,omitzero"` // sent to the backends; "" = none
	BBB            PoolBBB       `json:"bbb,omitzero"`
}

// Pool is a stored pool.
type Pool struct {
	PoolSpec
	Stamp
}

// PathType is how a route's path is compared.
type PathType string

// The path types.
const (
	PathPrefix PathType = "prefix" // by whole segments: /users matches /users and /users/7, not /users2
	PathExact  PathType = "exact"
	PathRegex  PathType = "regex" // RE2, anchored at both ends
)

// Match says which requests a route takes. Empty fields match everything.
type Match struct {
	Host     string            `json:"host"` // exact, or *.suffix for any depth of subdomains
	Path     string            `json:"path"`
	PathType PathType          `json:"path_type"`
	Method   string            `json:"method"`  // one, or several separated by commas
	Headers  map[string]string `json:"headers"` // exact value; "*" = present; "~re" = RE2, anchored
	Query    map[string]string `json:"query"`   // as headers
}

// Timeouts bound the parts of one request. 0 = none.
type Timeouts struct {
	Connect   Duration `json:"connect"`    // until the backend connection stands
	FirstByte Duration `json:"first_byte"` // from the request's end to the response head
	Total     Duration `json:"total"`      // the whole exchange; upgraded connections are exempt

	Idle         Duration `json:"idle,omitzero"`          // without a byte in either direction; upgraded connections are exempt
	UpgradedIdle Duration `json:"upgraded_idle,omitzero"` // the same for upgraded connections
}

// RouteSpec sends the requests that it matches to a pool.
type RouteSpec struct {
	ID          string    `json:"id"`
	Priority    int       `json:"priority"` // higher wins; then the more specific; then the id
	Match       Match     `json:"match"`
	BackendPool string    `json:"backend_pool"`
	Algorithm   Algorithm `json:"algorithm"` // "" = the pool's
	Hash        HashKey   `json:"hash"`      // source "" = the pool's
	Timeouts    Timeouts  `json:"timeouts"`
	Retries     int       `json:"retries"` // further backends tried after the failures in the pool's retry.on, 0..10

	RequestHeaders  HeaderOps `json:"request_headers,omitzero"`
	ResponseHeaders HeaderOps `json:"response_headers,omitzero"`
	Rewrite         Rewrite   `json:"rewrite,omitzero"`
	Redirect        Redirect  `json:"redirect,omitzero"`
	Split           []Share   `json:"split,omitempty"`    // instead of BackendPool
	SplitBy         string    `json:"split_by,omitempty"` // "" or [SplitRandom], client_ip, header:NAME or cookie:NAME
	Mirror          Mirror    `json:"mirror,omitzero"`
	RateLimit       RateLimit `json:"rate_limit,omitzero"`
}

// Route is a stored route.
type Route struct {
	RouteSpec
	Stamp
}

// FrontendSpec is a tenant or site in front of the balancer.
type FrontendSpec struct {
	ID           string      `json:"id"`
	Hosts        []string    `json:"hosts"` // exact, or *.suffix
	Key          string      `json:"key"`
	Secret       string      `json:"secret"`
	RequiredTags []string    `json:"required_tags"`
	BBB          FrontendBBB `json:"bbb,omitzero"`
}

// Frontend is a stored frontend.
type Frontend struct {
	FrontendSpec
	Stamp
}

// Object is a stored object of any kind. Stored objects are never changed; a change stores a new one.
type Object interface {
	Kind() Kind
	ObjectID() string
	Stamps() Stamp
	// Spec returns a copy of what the operator said, for comparison and merging.
	Spec() Spec
}

// Spec is what an operator says about one object.
type Spec interface {
	Kind() Kind
	ObjectID() string
	// Inherit takes over from the stored object what a whole replacement that leaves it out must not reset.
	Inherit(old Object)
	// Normalize fills defaults and canonical forms in place. It never refuses; Validate does.
	Normalize()
	// Validate checks one normalized object by itself, without looking at other objects.
	Validate() []FieldError
}

// NewSpec returns an empty spec of a kind, or nil if there is no such kind.
func NewSpec(k Kind) Spec {
	switch k {
	case KindBackend:
		return &BackendSpec{Weight: unset, LoadFactor: unset}
	case KindPool:
		return &PoolSpec{}
	case KindRoute:
		return &RouteSpec{Retries: unset, Mirror: Mirror{Percent: unset}}
	case KindFrontend:
		return &FrontendSpec{}
	case KindToken:
		return &TokenSpec{}
	case KindCertificate:
		return &CertificateSpec{}
	case KindSettings:
		return &SettingsSpec{}
	}
	return nil
}

// unset marks a number that the operator left out where zero means something else. Normalize replaces it.
const unset = -1 << 31

// DecodeSpec reads one object as JSON in the log's format, takes over from the stored object (or nil) what
// it leaves out and must keep, fills its defaults and checks it.
func DecodeSpec(k Kind, raw json.RawMessage, old Object) (Spec, []FieldError) {
	return decodeSpec(k, "", raw, old)
}

// decodeSpec is DecodeSpec with the id that an object gets which names none.
func decodeSpec(k Kind, id string, raw json.RawMessage, old Object) (Spec, []FieldError) {
	s := NewSpec(k)
	if s == nil {
		return nil, []FieldError{{Pointer: "", Message: fmt.Sprintf("unknown kind %q", k)}}
	}
	if err := json.Unmarshal(raw, s); err != nil {
		return nil, []FieldError{{Pointer: "", Message: err.Error()}}
	}
	if string(bytes.TrimSpace(raw)) == "null" { // which Unmarshal takes for nothing to do
		return nil, []FieldError{{Pointer: "", Message: "must be an object, got null"}}
	}
	if s.ObjectID() == "" {
		setID(s, id)
	}
	if old != nil {
		s.Inherit(old)
	}
	s.Normalize()
	if errs := s.Validate(); len(errs) > 0 {
		return nil, errs
	}
	return s, nil
}

func setID(s Spec, id string) {
	switch s := s.(type) {
	case *BackendSpec:
		s.ID = id
	case *PoolSpec:
		s.ID = id
	case *RouteSpec:
		s.ID = id
	case *FrontendSpec:
		s.ID = id
	case *TokenSpec:
		s.ID = id
	case *CertificateSpec:
		s.ID = id
	case *SettingsSpec:
		s.ID = id
	}
}

// Kind implements [Spec] and [Object].
func (*BackendSpec) Kind() Kind { return KindBackend }

// ObjectID implements [Spec] and [Object].
func (s *BackendSpec) ObjectID() string { return s.ID }

// Kind implements [Spec] and [Object].
func (*PoolSpec) Kind() Kind { return KindPool }

// ObjectID implements [Spec] and [Object].
func (s *PoolSpec) ObjectID() string { return s.ID }

// Kind implements [Spec] and [Object].
func (*RouteSpec) Kind() Kind { return KindRoute }

// ObjectID implements [Spec] and [Object].
func (s *RouteSpec) ObjectID() string { return s.ID }

// Kind implements [Spec] and [Object].
func (*FrontendSpec) Kind() Kind { return KindFrontend }

// ObjectID implements [Spec] and [Object].
func (s *FrontendSpec) ObjectID() string { return s.ID }

// Inherit implements [Spec]: replacing a backend's configuration does not undo a drain.
func (s *BackendSpec) Inherit(old Object) {
	if b, ok := old.(*Backend); ok && s.AdminState == "" {
		s.AdminState = b.AdminState
		if s.Drain == (DrainSpec{}) {
			s.Drain = b.Drain
		}
	}
	if b, ok := old.(*Backend); ok && len(s.BBB.Secrets) == 0 { // as a frontend's secret
		s.BBB.Secrets = slices.Clone(b.BBB.Secrets)
	}
}

// Inherit implements [Spec].
func (*PoolSpec) Inherit(Object) {}

// Inherit implements [Spec].
func (*RouteSpec) Inherit(Object) {}

// Inherit implements [Spec]: the API never shows a secret, so what was read can be written back.
func (s *FrontendSpec) Inherit(old Object) {
	f, ok := old.(*Frontend)
	if !ok {
		return
	}
	if s.Secret == "" {
		s.Secret = f.Secret
	}
	if len(s.BBB.Secrets) == 0 {
		s.BBB.Secrets = slices.Clone(f.BBB.Secrets)
	}
}

// Stamps implements [Object].
func (s Stamp) Stamps() Stamp { return s }

// Spec implements [Object].
func (b *Backend) Spec() Spec { s := b.BackendSpec; return &s }

// Spec implements [Object].
func (p *Pool) Spec() Spec { s := p.PoolSpec; return &s }

// Spec implements [Object].
func (r *Route) Spec() Spec { s := r.RouteSpec; return &s }

// Spec implements [Object].
func (f *Frontend) Spec() Spec { s := f.FrontendSpec; return &s }
