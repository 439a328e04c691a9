package health

import (
	"fmt"
	"slices"

	"github.com/lbnode/lbnode/state"
)

const (
	// sickLeast is from how many backends on a reporter can be recognised as sick. With fewer, "nearly
	// all" says nothing.
	sickLeast = 3
	// passing is what a verdict of up says; checks have no more to tell.
	passing = "passing"
)

// Tally is what the quorum rule found.
type Tally struct {
	Changes []state.StateChange // new verdicts, by backend id
	Sick    []string            // voters whose reports were left out as their own trouble
}

// Merge is the quorum rule. A verdict changes when a majority of all voters, not just of those heard,
// freshly says so of the backend's present generation; missing votes change nothing. Left out are
// reporters that are sick (see sick) and, as far as a majority of others has spoken at all, reporters whose
// own gossip is unwell. Reports must hold fresh observations only and be in a fixed order.
func Merge(v *state.View, voters []string, reports []Report) Tally {
	var t Tally
	need := len(voters)/2 + 1
	var jury []Report
	for _, r := range reports {
		if slices.Contains(voters, r.Node) && len(r.Observations) > 0 {
			jury = append(jury, r)
		}
	}
	if len(voters) == 0 || len(jury) < need {
		return t
	}
	jury, t.Sick = dismiss(v, jury, need)
	for b := range v.Backends() {
		if ch, ok := decide(b, jury, len(voters)); ok {
			t.Changes = append(t.Changes, ch)
		}
	}
	return t
}

// vote is what a report says of a backend as it is now.
func (r *Report) vote(b *state.Backend) (Status, string) {
	if o := r.Observations[b.ID]; o != nil && o.Gen == b.Gen {
		return o.Status, o.LastError
	}
	return StatusUnknown, ""
}

// dismiss leaves out those who should not be asked.
func dismiss(v *state.View, jury []Report, need int) ([]Report, []string) {
	sick := sickOnes(v, jury)
	var (
		fit    []Report
		names  []string
		scores []int
	)
	for i, r := range jury {
		if sick[i] {
			names = append(names, r.Node)
			continue
		}
		fit = append(fit, r)
		scores = append(scores, r.Score)
	}
	if len(fit) < need {
		return fit, names
	}
	slices.Sort(scores)
	worst := max(scores[need-1], 0) // the best majority, and all who are as well as its worst
	return slices.DeleteFunc(fit, func(r Report) bool { return r.Score > worst }), names
}

// sickOnes says which reporters find nearly every backend (nine of ten) down while, for half of those or
// more, most of the others who speak say up: their own network or processor is in trouble, not the backends.
func sickOnes(v *state.View, jury []Report) []bool {
	sick := make([]bool, len(jury))
	if len(jury) < 2 {
		return sick
	}
	type count struct{ said, down, alone int }
	counts := make([]count, len(jury))
	votes := make([]Status, len(jury))
	for b := range v.Backends() {
		ups, downs := 0, 0
		for i := range jury {
			votes[i], _ = jury[i].vote(b)
			switch votes[i] {
			case StatusUp:
				ups++
			case StatusDown:
				downs++
			}
		}
		for i, s := range votes {
			switch s {
			case StatusUp:
				counts[i].said++
			case StatusDown:
				counts[i].said++
				counts[i].down++
				if ups > downs-1 {
					counts[i].alone++
				}
			}
		}
	}
	for i, c := range counts {
		sick[i] = c.said >= sickLeast && c.down*10 >= c.said*9 && c.alone*2 >= c.down
	}
	return sick
}

// decide gives the new verdict on one backend, if there is one.
func decide(b *state.Backend, jury []Report, voters int) (state.StateChange, bool) {
	ups, downs := 0, 0
	for i := range jury {
		switch s, _ := jury[i].vote(b); s {
		case StatusUp:
			ups++
		case StatusDown:
			downs++
		}
	}
	to, n, why := state.VerdictUnknown, 0, ""
	switch need := voters/2 + 1; {
	case downs >= need:
		to, n, why = state.VerdictDown, downs, commonReason(b, jury)
	case ups >= need:
		to, n, why = state.VerdictUp, ups, passing
	}
	if to == state.VerdictUnknown || to == b.Verdict {
		return state.StateChange{}, false
	}
	return state.StateChange{
		ID: b.ID, Gen: b.Gen, From: b.Verdict, To: to,
		Text: fmt.Sprintf("%d of %d nodes: %s", n, voters, why),
	}, true
}

// commonReason is what most of those say who say down; among equals, the first.
func commonReason(b *state.Backend, jury []Report) string {
	var reasons []string
	for i := range jury {
		if s, why := jury[i].vote(b); s == StatusDown {
			reasons = append(reasons, why)
		}
	}
	best, most := "", 0
	for _, r := range reasons {
		n := 0
		for _, x := range reasons {
			if x == r {
				n++
			}
		}
		if n > most {
			best, most = r, n
		}
	}
	if best == "" {
		return "failing"
	}
	return best
}

// Drained names the drains that are complete: every live member has freshly said that the operator's stop
// is in force in its proxy and that it has no request left on the backend, counted in this order. A live
// member that said nothing keeps the drain open, and so do meetings, whose people talk to the server directly.
func Drained(v *state.View, live []string, reports []Report) []state.StateChange {
	if len(live) == 0 {
		return nil
	}
	by := make(map[string]*Report, len(reports))
	for i := range reports {
		by[reports[i].Node] = &reports[i]
	}
	var out []state.StateChange
	for b := range v.Backends() {
		if b.Draining() && !v.HasMeetings(b.ID) && idleOn(b, live, by) {
			out = append(out, state.StateChange{ID: b.ID, Drained: b.AdminIndex})
		}
	}
	return out
}

func idleOn(b *state.Backend, live []string, by map[string]*Report) bool {
	for _, node := range live {
		r := by[node]
		if r == nil {
			return false
		}
		o := r.Observations[b.ID]
		if o == nil || o.InFlight != 0 || o.Applied < b.AdminIndex {
			return false
		}
	}
	return true
}
