package upstream

import (
	"fmt"
	"time"

	"github.com/lbnode/lbnode/state"
)

// hurdle is the set of everything that keeps new requests from a backend, as far as configuration and health
// say it. It is the table of DESIGN §4 for the data path: the flag word is computed from it, and the words
// that operators read, so that the two cannot differ.
type hurdle uint32

const (
	hurdleInit hurdle = 1 << iota
	hurdleStopped
	hurdleReleased // stopped, and its sessions go elsewhere too
	hurdleDecommissioned
	hurdleWeight
	hurdleDown      // the verdict
	hurdleNoVerdict // and the pool lets nobody in without one
	hurdleVeto

	hurdlesOfHealth = hurdleDown | hurdleNoVerdict | hurdleVeto
)

func hurdlesOf(b *state.Backend, pool *state.Pool, vetoed bool) (h hurdle) {
	switch b.AdminState {
	case state.AdminReady:
	case state.AdminStopped:
		h |= hurdleStopped
		if b.Drain.Releases() {
			h |= hurdleReleased
		}
	case state.AdminDecommissioned:
		h |= hurdleDecommissioned
	default:
		h |= hurdleInit
	}
	if b.Weight <= 0 {
		h |= hurdleWeight
	}
	switch b.Verdict {
	case state.VerdictUp:
	case state.VerdictDown:
		h |= hurdleDown
	default:
		// A pool without checks will never get a verdict.
		if pool == nil || pool.Initial != state.InitialUp && pool.Health.Type != state.CheckNone {
			h |= hurdleNoVerdict
		}
	}
	if vetoed {
		h |= hurdleVeto
	}
	return h
}

// flags is the flag word of a backend with these hurdles.
func (h hurdle) flags() (f uint64) {
	wanted := h&^hurdlesOfHealth == 0
	if h == 0 {
		f |= bitNew
	}
	if h&^(hurdleStopped|hurdleWeight) == 0 {
		f |= bitSticky
	}
	if wanted {
		f |= bitPanic
	}
	if wanted && h&(hurdleDown|hurdleVeto) != 0 {
		f |= bitFailing
	}
	return f
}

// The sources of a Reason.
const (
	FromAdmin  = "admin"   // the operator's admin_state
	FromWeight = "weight"  // weight 0
	FromQuorum = "quorum"  // the verdict of the majority of voters
	FromPool   = "pool"    // the pool's settings
	FromLocal  = "local"   // this node's own veto
	FromEject  = "outlier" // this node has ejected it after failures in a row
	FromLimit  = "limit"   // max_connections
)

// Reason is one thing that keeps new requests from a backend on this node.
type Reason struct {
	Source string // one of the From constants
	Text   string
	Since  time.Time // zero = unknown
}

// Why says what keeps new requests from a backend; nothing means that it takes them. It reads what Available
// reads, and is for people: the request path does not call it.
func (u *Upstream) Why() []Reason {
	u.set.mu.RLock()
	defer u.set.mu.RUnlock()
	if u.backend == nil {
		return []Reason{{Source: FromAdmin, Text: "it has been removed"}}
	}
	return append(reasons(u.backend, u.pool, u.veto), u.traffic()...)
}

// traffic says what keeps new requests away that the flag word knows from traffic.
func (u *Upstream) traffic() (out []Reason) {
	u.set.ejectMu.Lock()
	defer u.set.ejectMu.Unlock()
	if u.ejectedFrom != nil {
		e := u.ejections
		out = append(out, Reason{FromEject, fmt.Sprintf("this node has ejected it after failures in a row, until %s (ejections lately: %d)",
			u.ejectedEnd.UTC().Format(time.RFC3339), e.count), u.ejectedAt})
	}
	if u.Full() {
		out = append(out, Reason{FromLimit, fmt.Sprintf("it has %d requests from this node, as many as max_connections allows", u.flags.Load()>>limitShift), time.Time{}})
	}
	return out
}

func reasons(b *state.Backend, pool *state.Pool, v veto) (out []Reason) {
	h := hurdlesOf(b, pool, v.down)
	add := func(on hurdle, source string, since time.Time, text string) {
		if h&on != 0 {
			out = append(out, Reason{source, text, since})
		}
	}
	add(hurdleInit, FromAdmin, b.AdminSince, "admin_state is init: no traffic until it is enabled")
	add(hurdleStopped, FromAdmin, b.AdminSince, "admin_state is stopped: no new requests, running ones finish")
	add(hurdleReleased, FromAdmin, b.AdminSince, "its drain releases sessions: sticky requests go elsewhere too")
	add(hurdleDecommissioned, FromAdmin, b.AdminSince, "admin_state is decommissioned: no new requests, and it is removed once the running ones have finished")
	add(hurdleWeight, FromWeight, time.Time{}, "weight is 0: no new requests")
	down := "a majority of the voters says down"
	if b.VerdictText != "" {
		down += ": " + b.VerdictText
	}
	add(hurdleDown, FromQuorum, b.StateSince, down)
	add(hurdleNoVerdict, FromQuorum, b.StateSince, fmt.Sprintf("no verdict yet, and pool %q lets nobody in before the first one (initial: %s)", b.Pool, state.InitialDown))
	add(hurdleVeto, FromLocal, v.since, "this node sends it nothing new: "+v.reason)
	return out
}
