package place

import (
	"iter"
	"time"

	"github.com/lbnode/lbnode/state"
)

// Known is what a node knows beside the replicated state. Its methods do not block.
type Known interface {
	// Load is what a server has to do. reserved are the meetings that the state has on it.
	Load(b *state.Backend, p *state.Pool, reserved iter.Seq[*state.Meeting], now time.Time) Load
	// Veto is why this node sends nothing new to a server; "" = it does.
	Veto(backendID string) string
}

// IsBBB says that a pool is one of BigBlueButton servers.
func IsBBB(p *state.Pool) bool { return p != nil && p.Health.Type == state.CheckBBB }

// Pools goes through the pools of BigBlueButton servers; only the one with the id if it is not "".
func Pools(v *state.View, id string) iter.Seq[*state.Pool] {
	return func(yield func(*state.Pool) bool) {
		for p := range v.Pools() {
			if IsBBB(p) && (id == "" || p.ID == id) && !yield(p) {
				return
			}
		}
	}
}

// Backends goes through the backends of those pools.
func Backends(v *state.View, pool string) iter.Seq2[*state.Backend, *state.Pool] {
	return func(yield func(*state.Backend, *state.Pool) bool) {
		for p := range Pools(v, pool) {
			for b := range v.PoolBackends(p.ID) {
				if !yield(b, p) {
					return
				}
			}
		}
	}
}

// Candidates is what is known of the servers of a pool, or of all pools of BigBlueButton servers for "", with regard
// to a meeting that servers know by serverID ("" = any).
func Candidates(v *state.View, pool, serverID string, known Known, now time.Time) []Candidate {
	var out []Candidate
	for b, p := range Backends(v, pool) {
		c := CandidateOf(v, b, p, known, now)
		if serverID != "" {
			_, c.Stale = v.Stale(b.ID, serverID)
		}
		out = append(out, c)
	}
	return out
}

// CandidateOf is what is known of one server.
func CandidateOf(v *state.View, b *state.Backend, p *state.Pool, known Known, now time.Time) Candidate {
	return Candidate{
		ID: b.ID, Tags: b.Tags, LoadFactor: b.LoadFactor, Weight: b.Weight, AdminState: b.AdminState,
		Health: health(b, p), Veto: known.Veto(b.ID), HasSecret: b.BBB.Secret() != "",
		MaxMeetings: b.BBB.MaxMeetings, MaxAttendees: b.BBB.MaxAttendees,
		Load: known.Load(b, p, v.MeetingsOn(b.ID), now),
	}
}

func health(b *state.Backend, p *state.Pool) string {
	switch {
	case b.Verdict == state.VerdictDown && b.VerdictText != "":
		return "failing: " + b.VerdictText
	case b.Verdict == state.VerdictDown:
		return "failing"
	case b.Verdict == state.VerdictUnknown && p.Initial != state.InitialUp:
		return "no verdict of its health yet"
	}
	return ""
}

// Movable says whether a meeting on a server may be created on another one: the server is gone, or has been failing
// for the pool's move_after.
func Movable(v *state.View, backendID string, now time.Time) bool {
	b, ok := v.Backend(backendID)
	if !ok {
		return true
	}
	p, ok := v.Pool(b.Pool)
	if !ok {
		return true
	}
	return b.Verdict == state.VerdictDown && now.Sub(b.StateSince) >= time.Duration(p.BBB.WithDefaults().MoveAfter)
}
