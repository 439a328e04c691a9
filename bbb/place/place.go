package place

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/lbnode/lbnode/state"
)

// Load is how much a server has to do.
type Load struct {
	Meetings  int
	Attendees int
	// Shortfall is by how much young meetings have fewer attendees than they are counted with: at the full hour
	// meetings are created before their people come.
	Shortfall int
	Joins     int // sent to the server since its attendees were last counted
}

// Units is the load as a number: every meeting costs something, even an empty one.
func (l Load) Units() float64 {
	return float64(l.Meetings + l.Attendees + max(l.Shortfall, l.Joins))
}

// Candidate is what is known of a server.
type Candidate struct {
	ID         string
	Tags       []string
	LoadFactor float64 // multiplies the load: a server with 2 gets half of what one with 1 gets
	Weight     int     // 0 = nothing new
	AdminState state.AdminState
	Health     string // why it is not healthy; "" = it is
	Veto       string // why this node does not use it; "" = it does
	HasSecret  bool
	Load       Load

	MaxMeetings, MaxAttendees int  // 0 = no bound
	Stale                     bool // it has an older copy of the very meeting
}

// Want is what a meeting needs.
type Want struct {
	Tags []string // all of which the server must have
	Not  []string // servers that have been tried
}

// Verdict says whether a server may have a meeting.
type Verdict struct {
	ID      string
	OK      bool
	Stress  float64  // load factor × load; the lowest gets the meeting
	Reasons []string // why not; one of its load if it may
}

// Rank judges every candidate: those that may have the meeting first, the least loaded of them in front.
func Rank(w Want, candidates []Candidate) []Verdict {
	out := make([]Verdict, len(candidates))
	for i, c := range candidates {
		out[i] = judge(w, c)
	}
	slices.SortFunc(out, func(a, b Verdict) int {
		if a.OK != b.OK {
			if a.OK {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.Stress, b.Stress), strings.Compare(a.ID, b.ID))
	})
	return out
}

// Choose returns the best server, and what was found of each. ok is false if none may have the meeting.
func Choose(w Want, candidates []Candidate) (id string, all []Verdict, ok bool) {
	all = Rank(w, candidates)
	if len(all) == 0 || !all[0].OK {
		return "", all, false
	}
	return all[0].ID, all, true
}

func judge(w Want, c Candidate) Verdict {
	v := Verdict{ID: c.ID, Stress: Stress(c)}
	no := func(format string, args ...any) { v.Reasons = append(v.Reasons, fmt.Sprintf(format, args...)) }
	if c.AdminState != state.AdminReady {
		no("admin_state is %s", c.AdminState)
	}
	if c.Health != "" {
		no("%s", c.Health)
	}
	if c.Veto != "" {
		no("%s", c.Veto)
	}
	if !c.HasSecret {
		no("no secret of its API is known")
	}
	if c.Weight == 0 {
		no("weight is 0")
	}
	if lacks := lacking(w.Tags, c.Tags); len(lacks) > 0 {
		no("lacks the tags %s", strings.Join(lacks, ", "))
	}
	if c.MaxMeetings > 0 && c.Load.Meetings >= c.MaxMeetings {
		no("has %d meetings, and max_meetings is %d", c.Load.Meetings, c.MaxMeetings)
	}
	if n := c.Load.Attendees + c.Load.Joins; c.MaxAttendees > 0 && n >= c.MaxAttendees {
		no("has %d attendees, and max_attendees is %d", n, c.MaxAttendees)
	}
	if c.Stale {
		no("an older copy of the meeting has not been ended there yet")
	}
	if slices.Contains(w.Not, c.ID) {
		no("was tried")
	}
	v.OK = len(v.Reasons) == 0
	if v.OK {
		no("load %.2f: %d meetings, %d attendees, load factor %g", v.Stress, c.Load.Meetings, c.Load.Attendees, c.LoadFactor)
	}
	return v
}

// Stress is how loaded a server is, by its load factor and weight.
func Stress(c Candidate) float64 {
	f := c.LoadFactor
	if f <= 0 {
		f = 1
	}
	return f * c.Load.Units() / float64(max(c.Weight, 1))
}

func lacking(want, have []string) []string {
	var out []string
	for _, t := range want {
		if !slices.Contains(have, t) {
			out = append(out, t)
		}
	}
	return out
}
