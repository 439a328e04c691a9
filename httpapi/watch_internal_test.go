package httpapi

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/state"
)

// built applies "op kind id value" lines, one command each; "up id" is a verdict.
func built(t *testing.T, lines ...string) *state.View {
	t.Helper()
	v := state.NewView()
	for _, l := range lines {
		p := strings.SplitN(l, " ", 4)
		c := state.Command{Type: state.TypeTxn, At: time.Unix(0, 0)}
		switch p[0] {
		case "up":
			b, _ := v.Backend(p[1])
			c.Type = state.TypeStates
			for _, id := range p[1:] {
				c.Changes = append(c.Changes, state.StateChange{ID: id, Gen: b.Gen, From: b.Verdict, To: state.VerdictUp})
			}
		case "drained":
			b, _ := v.Backend(p[1])
			c.Type, c.Changes = state.TypeStates, []state.StateChange{{ID: p[1], Drained: b.AdminIndex}}
			if len(p) > 2 {
				o, _ := v.Backend(p[2])
				c.Changes = append(c.Changes, state.StateChange{ID: p[2], Gen: o.Gen, From: o.Verdict, To: state.VerdictUp})
			}
		default:
			op := state.Op{Verb: state.Verb(p[0]), Kind: state.Kind(p[1]), ID: p[2]}
			if len(p) > 3 {
				op.Value = []byte(p[3])
			}
			c.Ops = []state.Op{op}
		}
		next, res := state.Apply(v, v.Index+1, 1, c)
		if res.Refusal != nil {
			t.Fatalf("%s: %v", l, res.Refusal)
		}
		v = next
	}
	return v
}

func TestEventsAfter(t *testing.T) {
	t.Parallel()
	v := built(t,
		`put pool p {}`, // 1
		`put backend a {"address":"h:1","pool":"p"}`, // 2
		`up a`,          // 3
		`put pool q {}`, // 4
		`put backend b {"address":"h:2","pool":"p"}`, // 5
		`delete backend a`,                           // 6
		`patch backend b {"weight":2}`,               // 7
		`drained a b`,                                // 8: a goes, b is up
		`patch backend b {"admin_state":"stopped"}`,  // 9
	)
	all := watchFilter{config: true, state: true}
	for _, tc := range []struct {
		from uint64
		f    watchFilter
		want string
	}{
		{0, all, "1change 2change 4change 5change 6change 7change 8change 9state 9change"},
		{5, all, "6change 7change 8change 9state 9change"},
		{9, all, ""},
		{1 << 62, all, ""},
		{0, watchFilter{config: true}, "1change 2change 4change 5change 6change 7change 8change 9change"},
		{0, watchFilter{state: true}, "9state"},
		{0, watchFilter{config: true, state: true, kinds: []string{"pool"}}, "1change 4change"},
		{0, watchFilter{state: true, kinds: []string{"pool"}}, ""},
		{5, watchFilter{config: true, state: true, kinds: []string{"backend"}}, "6change 7change 8change 9state 9change"},
	} {
		events, ok := eventsAfter(v, tc.from, tc.f)
		var got []string
		for _, e := range events {
			got = append(got, fmt.Sprintf("%d%s", e.index, e.name))
		}
		if d := cmp.Diff(tc.want, strings.Join(got, " ")); d != "" || !ok {
			t.Errorf("after %d with %+v: %s, ok %t", tc.from, tc.f, d, ok)
		}
	}
	events, _ := eventsAfter(v, 8, all)
	if s, ok := events[0].data.(api.BackendState); !ok || s.ID != "b" || s.NodeState != "ready" || !s.Draining || s.Verdict != "up" {
		t.Errorf("state = %+v", events[0].data)
	}
	// Whether an entry's events come in one go or not, each change comes once.
	upTo := built(t, `put pool p {}`, `put backend a {"address":"h:1","pool":"p"}`, `up a`)
	first, _ := eventsAfter(upTo, 0, all)
	if last := first[len(first)-1]; last.index != 3 || last.name != api.EventState {
		t.Errorf("last event = %+v, want the verdict at 3", last)
	}
}

func TestEventsAfter_compacted(t *testing.T) {
	t.Parallel()
	v := state.NewView()
	for i := range 1010 {
		next, res := state.Apply(v, v.Index+1, 1, state.Command{Type: state.TypeTxn, Ops: []state.Op{
			{Verb: state.VerbPut, Kind: state.KindPool, ID: "p", Value: fmt.Appendf(nil, `{"algorithm":%q}`, []string{"random", "ip_hash"}[i%2])},
		}})
		if res.Refusal != nil {
			t.Fatal(res.Refusal)
		}
		v = next
	}
	base := v.HistoryBase()
	if _, ok := eventsAfter(v, base-1, watchFilter{config: true}); ok || base == 0 {
		t.Errorf("the history after %d reaches back to %d", base, base-1)
	}
	if events, ok := eventsAfter(v, base, watchFilter{config: true}); !ok || events[0].index != base+1 {
		t.Errorf("after %d: ok %t, want what comes next", base, ok)
	}
	if _, ok := eventsAfter(v, 0, watchFilter{state: true}); !ok {
		t.Error("states need no history")
	}
}

func TestEventWriter_ids(t *testing.T) {
	t.Parallel()
	rec := httptest.NewRecorder()
	o := &eventWriter{w: rec, ctl: http.NewResponseController(rec)}
	err := o.send(event{"state", 7, map[string]string{"a": "<b>\n"}}, event{"change", 7, 1}, event{"change", 8, nil}, event{"", 9, nil}, event{"end", 0, 2})
	if err != nil || !rec.Flushed {
		t.Fatalf("send = %v, flushed %t", err, rec.Flushed)
	}
	const want = "event: state\ndata: {\"a\":\"<b>\\n\"}\n\n" + "event: change\nid: 7\ndata: 1\n\n" + "event: change\nid: 8\n\n" + ": heartbeat\nid: 9\n\n" + "event: end\ndata: 2\n\n"
	if d := cmp.Diff(want, rec.Body.String()); d != "" {
		t.Error(d)
	}
}
