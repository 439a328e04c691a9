package httpapi

import (
	"fmt"
	"time"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/state"
)

// circumstances are all that decides whether a backend gets new requests from this node.
type circumstances struct {
	backend    *state.Backend
	pool       *state.Pool // nil = defaults
	runtime    BackendRuntime
	inFlight   int64  // on every node, as last heard
	node       string // this node
	poolFailed bool   // failing health leaves the pool without an available backend
}

// explain says whether a backend gets new requests, and why. It is a pure function.
func explain(c circumstances) (routable bool, reasons []api.Reason) {
	b := c.backend
	add := func(source string, since time.Time, format string, args ...any) {
		r := api.Reason{Source: source, Text: fmt.Sprintf(format, args...)}
		if !since.IsZero() {
			since = since.UTC()
			r.Since = &since
		}
		reasons = append(reasons, r)
	}
	add(api.SourceAdmin, b.AdminSince, "%s", adminText(b.AdminState))
	switch {
	case b.Draining() && c.inFlight == 1:
		add(api.SourceDrain, b.AdminSince, "draining: 1 request is still running on it")
	case b.Draining() && c.inFlight > 1:
		add(api.SourceDrain, b.AdminSince, "draining: %d requests are still running on it", c.inFlight)
	case b.Draining():
		add(api.SourceDrain, b.AdminSince, "draining: no request is known to run on it, not yet confirmed by every node")
	case b.Drained:
		add(api.SourceDrain, b.StateSince, "drained: no request runs on it on any node")
	}
	add(api.SourceQuorum, b.StateSince, "%s", verdictText(b))
	if b.Verdict == state.VerdictUnknown {
		add(api.SourcePool, time.Time{}, "%s", initialText(b, c.pool))
	}
	if c.runtime.Vetoed {
		add(api.SourceLocal, c.runtime.VetoSince, "node %s sends it nothing new: %s", c.node, c.runtime.VetoReason)
	}
	if c.runtime.Ejected {
		add(api.SourceOutlier, time.Time{}, "node %s has ejected it after failures in a row, until %s", c.node, c.runtime.EjectedUntil.UTC().Format(time.RFC3339))
	}
	if c.runtime.Full {
		add(api.SourceLimit, time.Time{}, "it has %d requests from node %s, as many as max_connections allows", c.runtime.Limit, c.node)
	}
	if s := c.runtime.SlowShare; s > 0 {
		add(api.SourceSlowStart, time.Time{}, "in slow start: node %s gives it %.0f %% of its share", c.node, 100*s)
	}
	if c.runtime.Fenced != "" {
		add(api.SourceFence, time.Time{}, "node %s sends nothing new to any backend: %s", c.node, c.runtime.Fenced)
	}
	if b.Weight == 0 {
		add(api.SourceWeight, time.Time{}, "weight is 0: no new requests")
	}
	switch {
	case !wanted(b) || c.runtime.Fenced != "":
	case trusted(b, c.pool) && !c.runtime.Vetoed && !c.runtime.Ejected:
		routable = !c.runtime.Full
	case c.poolFailed && !failsEmpty(c.pool):
		add(api.SourcePool, time.Time{}, "failing health leaves pool %q without a backend, and its on_empty is %q: health is ignored", b.Pool, state.OnEmptyPanic)
		routable = true
	}
	return routable, reasons
}

// wanted says that the operator wants new requests to go to a backend.
func wanted(b *state.Backend) bool { return b.AdminState == state.AdminReady && b.Weight > 0 }

// trusted says that the committed verdict, or before the first one the pool, lets traffic in. This and what
// follows are the rules that the proxy's flags and groups obey (DESIGN §4), said once more for people.
func trusted(b *state.Backend, p *state.Pool) bool {
	if b.Verdict == state.VerdictUnknown && p != nil {
		return p.Initial == state.InitialUp || p.Health.Type == state.CheckNone
	}
	return b.Verdict == state.VerdictUp
}

// failing says that health keeps a backend from the traffic that the operator wants it to have. One that merely
// has no verdict yet is not failing.
func failing(b *state.Backend, vetoed bool) bool {
	return wanted(b) && (b.Verdict == state.VerdictDown || vetoed)
}

func failsEmpty(p *state.Pool) bool { return p != nil && p.OnEmpty == state.OnEmptyFail }

func initialText(b *state.Backend, p *state.Pool) string {
	switch {
	case !trusted(b, p):
		return fmt.Sprintf("pool %q has initial %q: it takes no traffic before the first verdict", b.Pool, state.InitialDown)
	case p.Initial == state.InitialUp:
		return fmt.Sprintf("pool %q has initial %q: it takes traffic before the first verdict", b.Pool, state.InitialUp)
	}
	return fmt.Sprintf("pool %q has no health check: it takes traffic without a verdict", b.Pool)
}

func adminText(a state.AdminState) string {
	switch a {
	case state.AdminInit:
		return "admin_state is init: no traffic until it is enabled"
	case state.AdminReady:
		return "admin_state is ready: it takes traffic when healthy"
	case state.AdminStopped:
		return "admin_state is stopped: no new requests, running ones finish"
	case state.AdminDecommissioned:
		return "admin_state is decommissioned: no new requests, and it is removed once the running ones have finished"
	}
	return "admin_state is " + string(a)
}

func verdictText(b *state.Backend) string {
	s := "no verdict yet: no majority of the voters has said up or down"
	switch b.Verdict {
	case state.VerdictUnknown:
		return s
	case state.VerdictUp:
		s = "a majority of the voters says up"
	case state.VerdictDown:
		s = "a majority of the voters says down"
	}
	if b.VerdictText != "" {
		s += ": " + b.VerdictText
	}
	return s
}
