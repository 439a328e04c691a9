package place

import (
	"encoding/json"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lbnode/lbnode/state"
)

func good(id string) Candidate {
	return Candidate{ID: id, LoadFactor: 1, Weight: 1, AdminState: state.AdminReady, HasSecret: true, Tags: []string{"x", "y"}}
}

func TestRank_reasons(t *testing.T) {
	t.Parallel()
	w := Want{Tags: []string{"x"}, Not: []string{"tried"}}
	for _, tc := range []struct {
		name   string
		change func(*Candidate)
		why    string // "" = it may have the meeting
	}{
		{"good", func(*Candidate) {}, ""},
		{"below its bounds", func(c *Candidate) { c.MaxMeetings, c.MaxAttendees, c.Load = 2, 10, Load{Meetings: 1, Attendees: 9} }, ""},
		{"stopped", func(c *Candidate) { c.AdminState = state.AdminStopped }, "admin_state is stopped"},
		{"init", func(c *Candidate) { c.AdminState = state.AdminInit }, "admin_state is init"},
		{"failing", func(c *Candidate) { c.Health = "failing: no route" }, "no route"},
		{"vetoed", func(c *Candidate) { c.Veto = "this node cannot reach it" }, "cannot reach"},
		{"no secret", func(c *Candidate) { c.HasSecret = false }, "secret"},
		{"weight 0", func(c *Candidate) { c.Weight = 0 }, "weight"},
		{"no tags", func(c *Candidate) { c.Tags = nil }, "lacks the tags x"},
		{"meetings", func(c *Candidate) { c.MaxMeetings, c.Load = 2, Load{Meetings: 2} }, "max_meetings is 2"},
		{"attendees on their way", func(c *Candidate) { c.MaxAttendees, c.Load = 10, Load{Attendees: 9, Joins: 1} }, "max_attendees is 10"},
		{"stale", func(c *Candidate) { c.Stale = true }, "older copy"},
		{"tried", func(c *Candidate) { c.ID = "tried" }, "was tried"},
	} {
		c := good("a")
		tc.change(&c)
		id, all, ok := Choose(w, []Candidate{c})
		if ok != (tc.why == "") || ok && id != c.ID || len(all) != 1 || len(all[0].Reasons) != 1 || !strings.Contains(all[0].Reasons[0], tc.why) {
			t.Errorf("%s: chosen %v, %+v, want %q", tc.name, ok, all, tc.why)
		}
	}
	if _, all, ok := Choose(w, nil); ok || len(all) != 0 {
		t.Error("chosen from nothing")
	}
}

func TestRank_load(t *testing.T) {
	t.Parallel()
	with := func(id string, factor float64, l Load) Candidate {
		c := good(id)
		c.LoadFactor, c.Load = factor, l
		return c
	}
	for _, tc := range []struct {
		name string
		in   []Candidate
		want []string
	}{
		{"equal: by id", []Candidate{with("b", 1, Load{}), with("a", 1, Load{})}, []string{"a", "b"}},
		{"an empty meeting counts", []Candidate{with("a", 1, Load{Meetings: 1}), with("b", 1, Load{})}, []string{"b", "a"}},
		{"attendees", []Candidate{with("a", 1, Load{Meetings: 1, Attendees: 50}), with("b", 1, Load{Meetings: 5, Attendees: 10})}, []string{"b", "a"}},
		{"a young meeting as one that is full", []Candidate{with("a", 1, Load{Meetings: 1, Shortfall: 15}), with("b", 1, Load{Meetings: 1, Attendees: 10})}, []string{"b", "a"}},
		{"joins on their way fill the shortfall", []Candidate{with("a", 1, Load{Meetings: 1, Shortfall: 15, Joins: 15}), with("b", 1, Load{Meetings: 1, Attendees: 20})}, []string{"a", "b"}},
		{"the factor", []Candidate{with("a", 2, Load{Attendees: 10}), with("b", 1, Load{Attendees: 19})}, []string{"b", "a"}},
	} {
		var got []string
		for _, v := range Rank(Want{}, tc.in) {
			got = append(got, v.ID)
		}
		if d := cmp.Diff(tc.want, got); d != "" {
			t.Errorf("%s: %s", tc.name, d)
		}
	}
}

// Whatever the servers are like: the chosen one may have the meeting, none that may has less to do, the order in which
// they are given does not matter, and more load never makes a server more attractive.
func TestRank_properties(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	some := func() Candidate {
		c := good(string(rune('a' + rng.IntN(26))))
		c.Load = Load{Meetings: rng.IntN(5), Attendees: rng.IntN(30), Shortfall: rng.IntN(20), Joins: rng.IntN(20)}
		c.LoadFactor, c.Weight = float64(rng.IntN(4)), rng.IntN(3)
		c.MaxMeetings, c.MaxAttendees = rng.IntN(8), rng.IntN(40)
		c.AdminState = []state.AdminState{state.AdminReady, state.AdminReady, state.AdminStopped}[rng.IntN(3)]
		c.Stale = rng.IntN(10) == 0
		return c
	}
	for range 3000 {
		byID := map[string]Candidate{}
		for range rng.IntN(8) {
			c := some()
			byID[c.ID] = c
		}
		var in []Candidate
		for _, c := range byID {
			in = append(in, c)
		}
		w := Want{Tags: [][]string{nil, {"x"}, {"x", "z"}}[rng.IntN(3)]}
		id, all, ok := Choose(w, in)
		for i, v := range all {
			if len(v.Reasons) == 0 {
				t.Fatalf("no reason: %+v", v)
			}
			if v.OK && (!ok || v.Stress < all[0].Stress || i > 0 && !all[i-1].OK) {
				t.Fatalf("%s chosen, %+v", id, all)
			}
		}
		rng.Shuffle(len(in), func(i, j int) { in[i], in[j] = in[j], in[i] })
		if d := cmp.Diff(all, Rank(w, in)); d != "" {
			t.Fatalf("the order of the candidates matters: %s", d)
		}
		if !ok {
			continue
		}
		for i := range in {
			if in[i].ID != id {
				in[i].Load.Attendees += rng.IntN(5)
				in[i].Load.Meetings += rng.IntN(2)
			}
		}
		if again, _, _ := Choose(w, in); again != id {
			t.Fatalf("%s instead of %s once the others have more to do", again, id)
		}
	}
}

type known struct{}

func (known) Veto(id string) string {
	if id == "vetoed" {
		return "no"
	}
	return ""
}

func (known) Load(_ *state.Backend, _ *state.Pool, reserved iter.Seq[*state.Meeting], _ time.Time) Load {
	return Load{Meetings: len(slices.Collect(reserved))}
}

func TestCandidates_ofAView(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	v := state.NewView()
	apply := func(c state.Command) {
		t.Helper()
		c.At = at
		var res state.Result
		if v, res = state.Apply(v, v.Index+1, 1, c); res.Refusal != nil {
			t.Fatal(res.Refusal)
		}
	}
	put := func(k state.Kind, id, value string) {
		t.Helper()
		apply(state.Command{Type: state.TypeTxn, Ops: []state.Op{{Verb: state.VerbPut, Kind: k, ID: id, Value: json.RawMessage(value)}}})
	}
	put(state.KindPool, "bbb", `{"health":{"type":"bbb"},"bbb":{"move_after":"30s"}}`)
	put(state.KindPool, "web", `{}`)
	put(state.KindFrontend, "uni", `{"key":"uni"}`)
	for _, id := range []string{"a", "down", "new", "vetoed", "moved"} {
		put(state.KindBackend, id, `{"address":"h:1","pool":"bbb","tags":["x"],"bbb":{"secrets":["s"]}}`)
	}
	put(state.KindBackend, "w", `{"address":"h:1","pool":"web"}`)
	verdict := func(id string, to state.Verdict) {
		b, _ := v.Backend(id)
		apply(state.Command{Type: state.TypeStates, Changes: []state.StateChange{{ID: id, Gen: b.Gen, From: b.Verdict, To: to, Text: "because"}}})
	}
	for _, id := range []string{"a", "vetoed", "moved"} {
		verdict(id, state.VerdictUp)
	}
	verdict("down", state.VerdictDown)
	apply(state.BBB(state.BBBOp{Bind: &state.BindMeeting{Frontend: "uni", ID: "m", BackendID: "moved"}}))
	apply(state.BBB(state.BBBOp{Move: &state.MoveMeeting{Frontend: "uni", ID: "m", From: "moved", To: "a"}}))
	got := map[string]string{}
	for _, r := range Rank(Want{Tags: []string{"x"}}, Candidates(v, "", "m", known{}, at)) {
		got[r.ID] = strings.Join(r.Reasons, "; ")
	}
	want := map[string]string{
		"a": "load 1.00: 1 meetings, 0 attendees, load factor 1", "down": "failing: because", "new": "no verdict of its health yet",
		"vetoed": "no", "moved": "an older copy of the meeting has not been ended there yet",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if n := len(Candidates(v, "web", "", known{}, at)); n != 0 {
		t.Errorf("%d candidates in a pool of web servers", n)
	}
	for id, want := range map[string]bool{"a": false, "gone": true, "down": false} {
		if Movable(v, id, at) != want {
			t.Errorf("movable from %s: %v, want %v", id, !want, want)
		}
	}
	if !Movable(v, "down", at.Add(30*time.Second)) || Movable(v, "down", at.Add(29*time.Second)) {
		t.Error("move_after is not what decides")
	}
}
