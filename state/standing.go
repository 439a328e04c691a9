package state

import (
	"fmt"
	"time"
)

// Hurdles is the set of everything that keeps new requests from a backend, as far as configuration and health say
// it. It is the table of DESIGN §4: what the data path does and what operators read are both made of it, so that
// the two cannot differ.
type Hurdles uint32

const (
	hurdleInit Hurdles = 1 << iota
	hurdleStopped
	hurdleReleased // stopped, and its sessions go elsewhere too
	hurdleDecommissioned
	hurdleWeight
	hurdleDown      // the verdict
	hurdleNoVerdict // and the pool lets nobody in without one
	hurdleVeto

	hurdlesOfHealth = hurdleDown | hurdleNoVerdict | hurdleVeto
)

// HurdlesOf is the hurdles of a backend in a pool, nil = unknown, on a node that vetoes it or not.
func HurdlesOf(b *Backend, pool *Pool, vetoed bool) (h Hurdles) {
	switch b.AdminState {
	case AdminReady:
	case AdminStopped:
		h |= hurdleStopped
		if b.Drain.Releases() {
			h |= hurdleReleased
		}
	case AdminDecommissioned:
		h |= hurdleDecommissioned
	default:
		h |= hurdleInit
	}
	if b.Weight <= 0 {
		h |= hurdleWeight
	}
	switch b.Verdict {
	case VerdictUp:
	case VerdictDown:
		h |= hurdleDown
	default:
		if !letsInUnchecked(pool) {
			h |= hurdleNoVerdict
		}
	}
	if vetoed {
		h |= hurdleVeto
	}
	return h
}

// letsInUnchecked says that a pool's backends get requests before a verdict. A pool without checks will never get
// one.
func letsInUnchecked(p *Pool) bool {
	return p != nil && (p.Initial == InitialUp || p.Health.Type == CheckNone)
}

// None says that the backend takes new requests.
func (h Hurdles) None() bool { return h == 0 }

// Wanted says that nothing but health keeps new requests away.
func (h Hurdles) Wanted() bool { return h&^hurdlesOfHealth == 0 }

// Sticky says that the backend takes requests of sessions that are tied to it.
func (h Hurdles) Sticky() bool { return h&^(hurdleStopped|hurdleWeight) == 0 }

// Failing says that health keeps the backend from requests that the operator wants it to have. One that merely has
// no verdict yet is not failing.
func (h Hurdles) Failing() bool { return h.Wanted() && h&(hurdleDown|hurdleVeto) != 0 }

// The sources of a [Reason].
const (
	FromAdmin     = "admin"      // the operator's admin_state
	FromDrain     = "drain"      // how far taking it out has come
	FromQuorum    = "quorum"     // the verdict of the majority of voters
	FromPool      = "pool"       // the pool's initial and on_empty
	FromLocal     = "local"      // the node's own veto
	FromEject     = "outlier"    // the node has ejected it after failures in a row
	FromLimit     = "limit"      // it has as many requests from the node as max_connections allows
	FromSlowStart = "slow_start" // it gets only part of its share, by the node
	FromFence     = "fence"      // the node is cut off for longer than fence_after
	FromWeight    = "weight"     // weight 0
	FromTags      = "tags"       // the frontend requires others
)

// Reason is one thing that decides whether a backend gets new requests, for people.
type Reason struct {
	Source  string // one of the From constants
	Text    string
	Since   time.Time // zero = unknown
	Against bool      // it keeps requests away
}

// Standing is a backend as one node has it. Fields that a caller does not know stay zero.
type Standing struct {
	Backend *Backend
	Pool    *Pool  // nil = unknown
	Node    string // "" = this node

	Vetoed       bool
	VetoReason   string
	VetoSince    time.Time
	Ejected      bool // by the node, after failures in a row
	EjectedAt    time.Time
	EjectedUntil time.Time
	Ejections    int     // lately
	Full         bool    // it has Limit requests from the node
	Limit        int64   // max_connections
	SlowShare    float64 // part of its weight that it gets in slow start; 0 = it is not in one
	Fenced       string  // why the node sends nothing new to any backend; "" = it does

	InFlight   int64 // requests on every node, as last heard
	PoolFailed bool  // failing health leaves the pool without an available backend
}

func (s *Standing) hurdles() Hurdles { return HurdlesOf(s.Backend, s.Pool, s.Vetoed) }

// panics says that health is ignored.
func (s *Standing) panics() bool {
	h := s.hurdles()
	return s.PoolFailed && h.Wanted() && (h != 0 || s.Ejected) && (s.Pool == nil || s.Pool.OnEmpty != OnEmptyFail)
}

// Routable says whether the backend gets new requests from the node.
func (s *Standing) Routable() bool {
	h := s.hurdles()
	return s.Fenced == "" && !s.Full && (h.None() && !s.Ejected || s.panics())
}

// Reasons says why, and what else there is to know.
func (s *Standing) Reasons() (out []Reason) {
	b, h, node := s.Backend, s.hurdles(), "node "+s.Node
	if s.Node == "" {
		node = "this node"
	}
	add := func(r Reason, format string, args ...any) {
		r.Text = fmt.Sprintf(format, args...)
		out = append(out, r)
	}
	against := func(source string, since time.Time) Reason {
		return Reason{Source: source, Since: since, Against: true}
	}

	add(Reason{Source: FromAdmin, Since: b.AdminSince, Against: b.AdminState != AdminReady}, "%s", adminText(b.AdminState))
	if h&hurdleReleased != 0 {
		add(against(FromAdmin, b.AdminSince), "its drain releases sessions: sticky requests go elsewhere too")
	}
	switch {
	case b.Draining() && s.InFlight == 1:
		add(Reason{Source: FromDrain, Since: b.AdminSince}, "draining: 1 request is still running on it")
	case b.Draining() && s.InFlight > 1:
		add(Reason{Source: FromDrain, Since: b.AdminSince}, "draining: %d requests are still running on it", s.InFlight)
	case b.Draining():
		add(Reason{Source: FromDrain, Since: b.AdminSince}, "draining: no request is known to run on it, not yet confirmed by every node")
	case b.Drained:
		add(Reason{Source: FromDrain, Since: b.StateSince}, "drained: no request runs on it on any node")
	}
	add(Reason{Source: FromQuorum, Since: b.StateSince, Against: h&(hurdleDown|hurdleNoVerdict) != 0}, "%s", verdictText(b))
	if b.Verdict != VerdictUp && b.Verdict != VerdictDown {
		add(Reason{Source: FromPool, Against: h&hurdleNoVerdict != 0}, "%s", initialText(b, s.Pool))
	}
	if s.Vetoed {
		add(against(FromLocal, s.VetoSince), "%s sends it nothing new: %s", node, s.VetoReason)
	}
	if s.Ejected {
		add(against(FromEject, s.EjectedAt), "%s has ejected it after failures in a row, until %s (ejections lately: %d)", node, s.EjectedUntil.UTC().Format(time.RFC3339), s.Ejections)
	}
	if s.Full {
		add(against(FromLimit, time.Time{}), "it has %d requests from %s, as many as max_connections allows", s.Limit, node)
	}
	if s.SlowShare > 0 {
		add(Reason{Source: FromSlowStart}, "in slow start: %s gives it %.0f %% of its share", node, 100*s.SlowShare)
	}
	if s.Fenced != "" {
		add(against(FromFence, time.Time{}), "%s sends nothing new to any backend: %s", node, s.Fenced)
	}
	if h&hurdleWeight != 0 {
		add(against(FromWeight, time.Time{}), "weight is 0: no new requests")
	}
	if s.panics() && s.Fenced == "" {
		add(Reason{Source: FromPool}, "failing health leaves pool %q without a backend, and its on_empty is %q: health is ignored", b.Pool, OnEmptyPanic)
	}
	return out
}

func initialText(b *Backend, p *Pool) string {
	switch {
	case !letsInUnchecked(p):
		return fmt.Sprintf("pool %q has initial %q: it takes no traffic before the first verdict", b.Pool, InitialDown)
	case p.Initial == InitialUp:
		return fmt.Sprintf("pool %q has initial %q: it takes traffic before the first verdict", b.Pool, InitialUp)
	}
	return fmt.Sprintf("pool %q has no health check: it takes traffic without a verdict", b.Pool)
}

func adminText(a AdminState) string {
	switch a {
	case AdminInit:
		return "admin_state is init: no traffic until it is enabled"
	case AdminReady:
		return "admin_state is ready: it takes traffic when healthy"
	case AdminStopped:
		return "admin_state is stopped: no new requests, running ones finish"
	case AdminDecommissioned:
		return "admin_state is decommissioned: no new requests, and it is removed once the running ones have finished"
	}
	return "admin_state is " + string(a)
}

func verdictText(b *Backend) string {
	s := "no verdict yet: no majority of the voters has said up or down"
	switch b.Verdict {
	case VerdictUnknown:
		return s
	case VerdictUp:
		s = "a majority of the voters says up"
	case VerdictDown:
		s = "a majority of the voters says down"
	}
	if b.VerdictText != "" {
		s += ": " + b.VerdictText
	}
	return s
}
