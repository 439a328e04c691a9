package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/lbnode/lbnode/bbb/place"
	"github.com/lbnode/lbnode/bbb/sign"
	"github.com/lbnode/lbnode/state"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const answer = `<response><returncode>SUCCESS</returncode><meetings>
<meeting><meetingName>Maths &amp; more</meetingName><meetingID>room</meetingID><internalMeetingID>i-1</internalMeetingID><createTime>1767323045000</createTime>
 <moderatorPW>mp</moderatorPW><running>true</running><recording>true</recording><participantCount>12</participantCount><moderatorCount>2</moderatorCount>
 <listenerCount>3</listenerCount><voiceParticipantCount>4</voiceParticipantCount><videoCount>5</videoCount><attendees><attendee><meetingID>nested</meetingID></attendee></attendees>
 <metadata><running>x</running></metadata><isBreakout>false</isBreakout></meeting>
<meeting><meetingID>room-b1</meetingID><internalMeetingID>i-2</internalMeetingID><participantCount>4</participantCount><isBreakout>true</isBreakout><parentMeetingID>i-1</parentMeetingID></meeting>
<meeting><meetingName>no id</meetingName></meeting>
<meeting><meetingID>ended</meetingID><hasBeenForciblyEnded>true</hasBeenForciblyEnded></meeting>
<meeting><meetingID>over</meetingID><endTime>1767323045999</endTime></meeting>
</meetings></response>`

func TestParse(t *testing.T) {
	t.Parallel()
	got, err := Parse([]byte(answer))
	if err != nil {
		t.Fatal(err)
	}
	want := []Running{
		{ServerID: "room", InternalID: "i-1", Name: "Maths & more", ModeratorPW: "mp", CreateTime: 1767323045000, Attendees: 12, Moderators: 2, Listeners: 3, Voice: 4, Video: 5, Running: true, Recording: true},
		{ServerID: "room-b1", InternalID: "i-2", ParentID: "i-1", Attendees: 4, Breakout: true},
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(Running{})); d != "" {
		t.Error(d)
	}
	for _, bad := range []string{"", "<html/>", `<response><returncode>FAILED</returncode><messageKey>checksumError</messageKey><message>no</message></response>`, answer[:len(answer)-20]} {
		if _, err := Parse([]byte(bad)); err == nil {
			t.Errorf("%.40q was read", bad)
		}
	}
	empty, err := Parse([]byte(`<response><returncode>SUCCESS</returncode><meetings/><messageKey>noMeetings</messageKey></response>`))
	if err != nil || len(empty) != 0 {
		t.Errorf("no meetings: %v, %v", empty, err)
	}
}

// FuzzParse: no answer of a server makes it panic, and every meeting has an id.
func FuzzParse(f *testing.F) {
	f.Add([]byte(answer))
	f.Add([]byte(answer[:200]))
	f.Fuzz(func(t *testing.T, doc []byte) {
		got, err := Parse(doc)
		for _, m := range got {
			if err == nil && (m.ServerID == "" || m.Attendees < 0) {
				t.Fatalf("%+v", m)
			}
		}
	})
}

// viewOf has a pool of servers a, b, … and one of web servers.
func viewOf(t testing.TB, ids ...string) *state.View {
	t.Helper()
	v := state.NewView()
	apply := func(k state.Kind, id, value string) {
		t.Helper()
		var res state.Result
		v, res = state.Apply(v, v.Index+1, 1, state.Command{Type: state.TypeTxn, Ops: []state.Op{{Verb: state.VerbPut, Kind: k, ID: id, Value: json.RawMessage(value)}}})
		if res.Refusal != nil {
			t.Fatal(res.Refusal)
		}
	}
	apply(state.KindPool, "bbb", `{"health":{"type":"bbb"}}`)
	apply(state.KindBackend, "web", `{"address":"h:1"}`)
	for _, id := range ids {
		apply(state.KindBackend, id, `{"address":"h:1","pool":"bbb","bbb":{"secrets":["s"]}}`)
	}
	return v
}

func TestTable_load(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1767323045000).Add(time.Minute)
	tab := NewTable(func() time.Time { return now }, nil)
	v := viewOf(t, "a")
	b, _ := v.Backend("a")
	p, _ := v.Pool("bbb")
	reserved := []*state.Meeting{{ID: "room"}, {ID: "x", ServerID: "not listed yet"}}
	load := func() place.Load { return tab.Load(b, p, slices.Values(reserved), now) }
	check := func(what string, want place.Load) {
		t.Helper()
		if d := cmp.Diff(want, load()); d != "" {
			t.Errorf("%s: %s", what, d)
		}
	}
	check("before the first list", place.Load{Meetings: 2, Shortfall: 30})
	running, err := Parse([]byte(answer))
	if err != nil {
		t.Fatal(err)
	}
	tab.Polled("a", running, time.Second)
	check("listed, without the breakout room", place.Load{Meetings: 2, Attendees: 12, Shortfall: 3 + 15})
	tab.Joined("a")
	tab.Joined("a")
	check("joins", place.Load{Meetings: 2, Attendees: 12, Shortfall: 18, Joins: 2})
	tab.Event(Event{Backend: "a", InternalID: "i-1", Change: 1})
	tab.Event(Event{Backend: "a", InternalID: "unknown", Change: 1})
	check("one of them has come", place.Load{Meetings: 2, Attendees: 13, Shortfall: 17, Joins: 1})
	now = now.Add(time.Second)
	tab.Report("a", Report{Counted: true, Meetings: 7, Attendees: 70})
	tab.Report("a", Report{}) // a sign of life
	if l := load(); l.Meetings != 8 || l.Attendees != 70 || l.Joins != 0 {
		t.Errorf("by the agent: %+v", l)
	}
	if s := tab.Status("a"); !s.Reported.Equal(now) || s.Meetings != 7 || s.Latency != time.Second {
		t.Errorf("status %+v", s)
	}
	now = now.Add(freshReport)
	if l := load(); l.Attendees != 13 {
		t.Errorf("with an agent that says nothing any more: %+v", l)
	}
	now = now.Add(time.Hour)
	check("not young any more", place.Load{Meetings: 2, Attendees: 13, Shortfall: 15})
	tab.Event(Event{Backend: "a", InternalID: "i-1", Empty: true})
	if m, ok := tab.Meeting("a", "room"); !ok || m.Attendees != 0 || m.Running {
		t.Errorf("everybody has left: %+v, %v", m, ok)
	}
	tab.Failed("a", errors.New("refused"))
	if s := tab.Status("a"); s.Error != "refused" || s.Meetings != 1 {
		t.Errorf("after a failure %+v, want what was listed before", s)
	}
	tab.Keep(func(string) bool { return false })
	if s := tab.Status("a"); s != (Status{}) {
		t.Errorf("forgotten, and yet %+v", s)
	}
}

// What one node learned the others know after its news, once, and do not pass on.
func TestTable_news(t *testing.T) {
	t.Parallel()
	now := time.Now()
	one, two := NewTable(func() time.Time { return now }, nil), NewTable(func() time.Time { return now }, nil)
	running := []Running{{ServerID: "m", InternalID: "i", Attendees: 1}}
	one.Polled("a", running, 0)
	two.Polled("a", slices.Clone(running), 0)
	one.Joined("a")
	one.Joined("a")
	one.Report("b", Report{Counted: true, Meetings: 3, Attendees: 4})
	one.Report("b", Report{})
	one.Event(Event{Backend: "a", InternalID: "i", Change: 1})
	n := one.TakeNews()
	b, err := json.Marshal(n)
	if err != nil {
		t.Fatal(err)
	}
	var heard News
	if err := json.Unmarshal(b, &heard); err != nil {
		t.Fatal(err)
	}
	two.Merge(heard)
	for _, id := range []string{"a", "b"} {
		if d := cmp.Diff(one.Status(id), two.Status(id)); d != "" {
			t.Errorf("%s: %s", id, d)
		}
	}
	if !one.TakeNews().Empty() || !two.TakeNews().Empty() {
		t.Error("news are told twice")
	}
}

// A server that does not answer delays no other, is asked again at its own pace, and keeps what it listed before.
func TestPoller_slowServerDelaysNoOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := viewOf(t, "a", "slow", "bad")
		tab := NewTable(time.Now, nil)
		var mu sync.Mutex
		calls, polled := map[string]int{}, map[string]int{}
		p, err := NewPoller(Config{
			Table: tab, View: func() *state.View { return v }, Timeout: 8 * time.Second, Logger: slog.New(slog.DiscardHandler), Now: time.Now,
			Jitter: func() float64 { return 0.5 },
			Call: func(ctx context.Context, b *state.BackendSpec, call string, _ sign.Params) ([]byte, error) {
				mu.Lock()
				calls[b.ID+" "+call]++
				mu.Unlock()
				switch b.ID {
				case "slow":
					<-ctx.Done()
					return nil, ctx.Err()
				case "bad":
					return []byte("<html>"), nil
				}
				return []byte(answer), nil
			},
			Polled: func(_ context.Context, p Poll) {
				mu.Lock()
				defer mu.Unlock()
				polled[fmt.Sprintf("%s %d %v", p.Backend, len(p.Running), p.Err != nil)]++
				if p.Index != v.Index {
					t.Errorf("poll of the view at %d, want %d", p.Index, v.Index)
				}
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { p.Run(ctx); close(done) }()
		time.Sleep(55 * time.Second)
		cancel()
		<-done
		if d := cmp.Diff(map[string]int{"a getMeetings": 6, "slow getMeetings": 6, "bad getMeetings": 6}, calls); d != "" {
			t.Errorf("calls in 55 s: %s", d)
		}
		if polled["a 2 false"] != 6 || polled["bad 0 true"] != 6 || polled["slow 0 true"] != 5 {
			t.Errorf("polled: %v", polled)
		}
		if s := tab.Status("slow"); !s.Polled.IsZero() || !strings.Contains(s.Error, "deadline") {
			t.Errorf("the slow server: %+v", s)
		}
	})
}

func TestConfig_validate(t *testing.T) {
	t.Parallel()
	if _, err := NewPoller(Config{}); err == nil {
		t.Error("an empty config was accepted")
	}
}
