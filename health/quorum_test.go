package health

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/lbnode/lbnode/state"
)

// viewOf makes a view from words such as "a=up b=down c=unknown"; generations are 1, 2, 3...
func viewOf(t testing.TB, words string) *state.View {
	t.Helper()
	v := state.NewView()
	var changes []state.StateChange
	index := uint64(0)
	for w := range strings.FieldsSeq(words) {
		id, verdict, _ := strings.Cut(w, "=")
		index++
		v, _ = state.Apply(v, index, 1, state.Command{Type: state.TypeTxn, Ops: []state.Op{backendOp(t, id)}})
		changes = append(changes, state.StateChange{ID: id, Gen: index, From: state.VerdictUnknown, To: state.Verdict(verdict)})
	}
	v, _ = state.Apply(v, index+1, 1, state.Command{Type: state.TypeStates, Changes: changes})
	return v
}

// report reads "n1: a=up b=down/reason c@9=down" with "n1*2:" for a score of 2. @ is another generation.
func report(t testing.TB, v *state.View, s string) Report {
	t.Helper()
	name, votes, _ := strings.Cut(s, ":")
	r := Report{Observations: map[string]*Observation{}}
	name, score, _ := strings.Cut(name, "*")
	r.Node = name
	if score != "" {
		if _, err := fmt.Sscan(score, &r.Score); err != nil {
			t.Fatal(err)
		}
	}
	for w := range strings.FieldsSeq(votes) {
		w = strings.ReplaceAll(w, "_", " ")
		id, says, _ := strings.Cut(w, "=")
		id, gen, other := strings.Cut(id, "@")
		o := &Observation{Node: name, Backend: id}
		if other {
			if _, err := fmt.Sscan(gen, &o.Gen); err != nil {
				t.Fatal(err)
			}
		} else if b, ok := v.Backend(id); ok {
			o.Gen = b.Gen
		}
		status, why, _ := strings.Cut(says, "/")
		o.Status, o.LastError = Status(status), why
		r.Observations[id] = o
	}
	return r
}

func TestMerge(t *testing.T) {
	t.Parallel()
	all := func(s string) string { // nodes that say the same of a, b, c and d
		return "a=" + s + " b=" + s + " c=" + s + " d=" + s
	}
	for _, tc := range []struct {
		name    string
		view    string
		voters  string
		reports []string
		want    string // "a→down (text)", joined by "; "
		sick    string
	}{
		{"nobody says anything", "a=up", "n1 n2 n3", nil, "", ""},
		{"no voters", "a=up", "", []string{"n1: a=down"}, "", ""},
		{"one node decides alone", "a=unknown", "n1", []string{"n1: a=up"}, "a→up (1 of 1 nodes: passing)", ""},
		{
			"majority says down", "a=up", "n1 n2 n3",
			[]string{"n1: a=down/connection_refused", "n2: a=down/connection_refused", "n3: a=up"},
			"a→down (2 of 3 nodes: connection refused)", "",
		},
		{"minority says down", "a=up", "n1 n2 n3", []string{"n1: a=down/x", "n2: a=up", "n3: a=up"}, "", ""},
		{"missing votes change nothing", "a=up", "n1 n2 n3", []string{"n1: a=down/x"}, "", ""},
		{"unknown is a missing vote", "a=up", "n1 n2 n3", []string{"n1: a=down/x", "n2: a=unknown", "n3: a=unknown"}, "", ""},
		{"two of two", "a=up", "n1 n2", []string{"n1: a=down/x", "n2: a=up"}, "", ""},
		{"three of four", "a=up", "n1 n2 n3 n4", []string{"n1: a=down/x", "n2: a=down/x", "n3: a=up", "n4: a=up"}, "", ""},
		{
			"three of five, two dead", "a=up", "n1 n2 n3 n4 n5",
			[]string{"n1: a=down/x", "n2: a=down/x", "n3: a=down/x"},
			"a→down (3 of 5 nodes: x)", "",
		},
		{"non-voters have no vote", "a=up", "n1 n2 n3", []string{"n1: a=down/x", "n8: a=down/x", "n9: a=down/x"}, "", ""},
		{"old generation", "a=unknown", "n1 n2 n3", []string{"n1: a@7=down/x", "n2: a@7=down/x", "n3: a=up"}, "", ""},
		{"already so", "a=down b=up", "n1 n2 n3", []string{"n1: a=down/x b=up", "n2: a=down/x b=up"}, "", ""},
		{
			"most frequent reason", "a=up", "n1 n2 n3",
			[]string{"n1: a=down/timeout", "n2: a=down/refused", "n3: a=down/refused"},
			"a→down (3 of 3 nodes: refused)", "",
		},
		{"first reason among equals", "a=up", "n1 n2 n3", []string{"n1: a=down/timeout", "n2: a=down/refused"}, "a→down (2 of 3 nodes: timeout)", ""},
		{
			"several backends, in order", "b=up a=down c=unknown", "n1 n2 n3",
			[]string{"n1: a=up b=down/x c=up", "n2: a=up b=down/x"},
			"a→up (2 of 3 nodes: passing); b→down (2 of 3 nodes: x)", "",
		},

		{
			"a sick reporter is left out", "a=up b=up c=up d=up", "n1 n2 n3",
			[]string{"n1: " + all("down/x"), "n2: a=down/x b=up c=up d=up", "n3: " + all("up")},
			"", "n1",
		},
		{
			"the others still decide", "a=up b=up c=up d=up", "n1 n2 n3",
			[]string{"n1: " + all("down/x"), "n2: a=down/y b=up c=up d=up", "n3: a=down/y b=up c=up d=up"},
			"a→down (2 of 3 nodes: y)", "n1",
		},
		{
			"all fail: nobody is sick", "a=up b=up c=up d=up", "n1 n2 n3",
			[]string{"n1: " + all("down/x"), "n2: " + all("down/x"), "n3: " + all("up")},
			"a→down (2 of 3 nodes: x); b→down (2 of 3 nodes: x); c→down (2 of 3 nodes: x); d→down (2 of 3 nodes: x)", "",
		},
		{
			"the first to see that all fail waits for a second", "a=up b=up c=up d=up", "n1 n2 n3",
			[]string{"n1: " + all("down/x"), "n2: " + all("up"), "n3: " + all("up")},
			"", "n1",
		},
		{
			"with two backends nobody is called sick", "a=up b=up", "n1 n2 n3",
			[]string{"n1: a=down/x b=down/x", "n2: a=down/x b=up", "n3: a=up b=up"},
			"a→down (2 of 3 nodes: x)", "",
		},
		{
			"failures in part are no sickness", "a=up b=up c=up d=up", "n1 n2 n3",
			[]string{"n1: a=down/x b=down/x c=up d=up", "n2: a=down/x b=up c=up d=up", "n3: " + all("up")},
			"a→down (2 of 3 nodes: x)", "",
		},

		{
			"unwell reporters are left out", "a=up", "n1 n2 n3 n4 n5",
			[]string{"n1*3: a=down/x", "n2*1: a=down/x", "n3: a=down/x", "n4: a=up", "n5: a=up"},
			"", "",
		},
		{"unless no majority of others is there", "a=up", "n1 n2 n3", []string{"n1*3: a=down/x", "n2*1: a=down/x"}, "a→down (2 of 3 nodes: x)", ""},
		{
			"only as many as it takes", "a=up", "n1 n2 n3 n4 n5",
			[]string{"n1*5: a=down/x", "n2*1: a=down/x", "n3*1: a=down/x", "n4: a=up"},
			"", "",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			v := viewOf(t, tc.view)
			var reports []Report
			for _, r := range tc.reports {
				reports = append(reports, report(t, v, r))
			}
			got := Merge(v, strings.Fields(tc.voters), reports)
			var words []string
			for _, ch := range got.Changes {
				words = append(words, fmt.Sprintf("%s→%s (%s)", ch.ID, ch.To, ch.Text))
				b, _ := v.Backend(ch.ID)
				if ch.From != b.Verdict || ch.Gen != b.Gen {
					t.Errorf("change %+v does not compare with what is stored", ch)
				}
			}
			if d := cmp.Diff(tc.want, strings.Join(words, "; ")); d != "" {
				t.Errorf("changes: %s", d)
			}
			if got := strings.Join(got.Sick, " "); got != tc.sick {
				t.Errorf("sick: %q, want %q", got, tc.sick)
			}
		})
	}
}

func TestDrained(t *testing.T) {
	t.Parallel()
	v := viewOf(t, "a=up b=up")
	v, _ = state.Apply(v, 10, 1, state.Command{Type: state.TypeTxn, Ops: []state.Op{
		op(t, state.VerbPatch, state.KindBackend, "a", map[string]any{"admin_state": "stopped"}),
	}})
	type obs struct {
		node     string
		inFlight int64
		applied  uint64
	}
	for _, tc := range []struct {
		name string
		live []string
		obs  []obs
		want bool
	}{
		{"all idle", []string{"n1", "n2"}, []obs{{"n1", 0, 10}, {"n2", 0, 11}}, true},
		{"nobody is live", nil, []obs{{"n1", 0, 10}}, false},
		{"one is busy", []string{"n1", "n2"}, []obs{{"n1", 0, 10}, {"n2", 1, 10}}, false},
		{"one has not applied", []string{"n1", "n2"}, []obs{{"n1", 0, 10}, {"n2", 0, 9}}, false},
		{"one says nothing", []string{"n1", "n2"}, []obs{{"n1", 0, 10}}, false},
		{"the dead do not count", []string{"n1"}, []obs{{"n1", 0, 10}, {"n2", 5, 3}}, true},
	} {
		var reports []Report
		for _, o := range tc.obs {
			reports = append(reports, Report{Node: o.node, Observations: map[string]*Observation{
				"a": {InFlight: o.inFlight, Applied: o.applied}, "b": {InFlight: 0, Applied: 99},
			}})
		}
		got := Drained(v, tc.live, reports)
		var want []state.StateChange
		if tc.want {
			want = []state.StateChange{{ID: "a", Drained: 10}}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", tc.name, d)
		}
	}
}

// People in meetings talk to the server directly, and keep it in use.
func TestDrained_meetings(t *testing.T) {
	t.Parallel()
	v := viewOf(t, "a=up")
	apply := func(c state.Command) {
		t.Helper()
		var res state.Result
		if v, res = state.Apply(v, v.Index+1, 1, c); res.Refusal != nil {
			t.Fatal(res.Refusal)
		}
	}
	apply(state.Command{Type: state.TypeTxn, Ops: []state.Op{op(t, state.VerbPut, state.KindFrontend, "uni", map[string]any{})}})
	apply(state.BBB(state.BBBOp{Bind: &state.BindMeeting{Frontend: "uni", ID: "m", BackendID: "a"}}))
	apply(state.Command{Type: state.TypeTxn, Ops: []state.Op{op(t, state.VerbPatch, state.KindBackend, "a", map[string]any{"admin_state": "stopped"})}})
	reports := []Report{{Node: "n1", Observations: map[string]*Observation{"a": {Applied: 99}}}}
	if got := Drained(v, []string{"n1"}, reports); len(got) != 0 {
		t.Errorf("drained with a meeting on it: %+v", got)
	}
	apply(state.BBB(state.BBBOp{End: &state.EndMeetings{Keys: []state.MeetingKey{{Frontend: "uni", ID: "m"}}}}))
	if got := Drained(v, []string{"n1"}, reports); len(got) != 1 {
		t.Errorf("not drained after the last meeting: %+v", got)
	}
}

func BenchmarkMerge_10k(b *testing.B) {
	v := state.NewView()
	var ops []state.Op
	for i := range 10_000 {
		ops = append(ops, backendOp(b, fmt.Sprintf("backend-%05d", i)))
	}
	v, _ = state.Apply(v, 1, 1, state.Command{Type: state.TypeTxn, Ops: ops})
	var reports []Report
	for _, n := range []string{"n1", "n2", "n3"} {
		r := Report{Node: n, Observations: map[string]*Observation{}}
		for x := range v.Backends() {
			r.Observations[x.ID] = &Observation{Gen: 1, Status: StatusUnknown}
		}
		reports = append(reports, r)
	}
	b.ReportAllocs()
	for b.Loop() {
		if got := Merge(v, []string{"n1", "n2", "n3"}, reports); len(got.Changes) != 0 {
			b.Fatal("changes")
		}
	}
}
