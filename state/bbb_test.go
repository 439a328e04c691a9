package state

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// bbbLog is a log with two tenants and three servers.
func bbbLog(t testing.TB) *log {
	l := newLog(t)
	l.must(parseAll(t,
		`put pool bbb {"health":{"type":"bbb"},"bbb":{"move_after":"30s","poll":"10s"}}`,
		`put backend a {"address":"https://a.example.org/bigbluebutton/api/","pool":"bbb","bbb":{"secrets":["sa","old"],"agent_ref":"agent-a"}}`,
		`put backend b {"address":"https://b.example.org/bigbluebutton/api/","pool":"bbb","bbb":{"secrets":["sb"],"max_meetings":5}}`,
		`put backend c {"address":"https://c.example.org/bigbluebutton/api/","pool":"bbb","admin_state":"stopped"}`,
		`put frontend uni {"key":"uni","secret":"s","bbb":{"meeting_quota":2,"create_default":{"welcome":"hi"},"default_presentation":{"url":"https://x.example.org/a.pdf"}}}`,
		`put frontend school {"key":"school","secret":"s2","bbb":{"secrets":["s3"],"shared_ids":true}}`,
	)...)
	return l
}

func (l *log) bbb(ops ...BBBOp) Result { return l.do(BBB(ops...)) }

// one applies a single operation that is not to be refused.
func (l *log) one(op BBBOp) BBBResult {
	l.t.Helper()
	res := l.bbb(op)
	if res.Refusal != nil {
		l.t.Fatalf("refused: %v", res.Refusal)
	}
	return res.BBB[0]
}

func bindOp(frontend, id, backend, attempt string) BBBOp {
	return BBBOp{Bind: &BindMeeting{Frontend: frontend, ID: id, ServerID: frontend + "/" + id, BackendID: backend, Attempt: attempt}}
}

func confirmOp(frontend, id, backend, internal string) BBBOp {
	return BBBOp{Confirm: &ConfirmMeeting{Frontend: frontend, ID: id, ServerID: frontend + "/" + id, BackendID: backend, InternalID: internal, CreateTime: 1767323045000}}
}

func moveOp(frontend, id, from, to, attempt string) BBBOp {
	return BBBOp{Move: &MoveMeeting{Frontend: frontend, ID: id, From: from, To: to, Attempt: attempt}}
}

// stales lists the stale copies as backend/id.
func (l *log) stales() string {
	var out []string
	for s := range l.view.Stales("") {
		out = append(out, s.BackendID+":"+s.MeetingID)
	}
	return strings.Join(out, " ")
}

// Of two creators one wins, and the other finds the winner's reservation, however often either says it again.
func TestBind_oneWins(t *testing.T) {
	t.Parallel()
	l := bbbLog(t)
	first := l.one(bindOp("uni", "room", "a", "x"))
	second := l.one(bindOp("uni", "room", "b", "y"))
	again := l.one(bindOp("uni", "room", "a", "x"))
	if !first.Won || second.Won || !again.Won {
		t.Errorf("won %v, %v and %v, want the first and its repeat", first.Won, second.Won, again.Won)
	}
	for _, r := range []BBBResult{first, second, again} {
		if r.Meeting.BackendID != "a" || r.Meeting.Reserved != 2 {
			t.Errorf("the meeting is on %s since %d, want a since 2", r.Meeting.BackendID, r.Meeting.Reserved)
		}
	}
	if l.view.LenMeetings() != 1 {
		t.Errorf("%d meetings, want 1", l.view.LenMeetings())
	}
}

func TestBind_refusals(t *testing.T) {
	t.Parallel()
	l := bbbLog(t)
	l.one(bindOp("uni", "one", "a", "x"))
	for _, tc := range []struct {
		name string
		op   BindMeeting
		code Code
	}{
		{"no such tenant", BindMeeting{Frontend: "nobody", ID: "m", BackendID: "a"}, CodeNotFound},
		{"no such backend", BindMeeting{Frontend: "uni", ID: "m", BackendID: "z"}, CodeUnavailable},
		{"a stopped backend", BindMeeting{Frontend: "uni", ID: "m", BackendID: "c"}, CodeUnavailable},
		{"the id of another tenant on that server", BindMeeting{Frontend: "school", ID: "uni/one", BackendID: "a"}, CodeUnavailable},
		{"no id", BindMeeting{Frontend: "uni", BackendID: "a"}, CodeInvalid},
		{"NUL in the id", BindMeeting{Frontend: "uni", ID: "a\x00b", BackendID: "a"}, CodeInvalid},
		{"too much", BindMeeting{Frontend: "uni", ID: "m", BackendID: "a", Params: map[string]string{"x": strings.Repeat("y", maxMeetingBytes)}}, CodeInvalid},
	} {
		res := l.bbb(BBBOp{Bind: &tc.op})
		if res.Refusal == nil || res.Refusal.Code != tc.code || res.Refusal.Message == "" {
			t.Errorf("%s: %+v, want %s", tc.name, res.Refusal, tc.code)
		}
	}
	if res := l.bbb(BBBOp{}); res.Refusal == nil || res.Refusal.Code != CodeInvalid {
		t.Errorf("an operation that says nothing: %+v", res.Refusal)
	}
	// One that runs on a stopped server already is adopted.
	adopted := l.one(BBBOp{Bind: &BindMeeting{Frontend: "school", ID: "m", BackendID: "c", InternalID: "i-1", CreateTime: 5}})
	if m := adopted.Meeting; !adopted.Won || !m.Confirmed || m.InternalID != "i-1" {
		t.Errorf("adopted: %+v", adopted)
	}
	if m, ok := l.view.MeetingByInternal("i-1"); !ok || m.ID != "m" {
		t.Errorf("by its internal id: %+v, %v", m, ok)
	}
}

func TestBind_quota(t *testing.T) {
	t.Parallel()
	l := bbbLog(t)
	l.one(bindOp("uni", "one", "a", "x"))
	l.one(bindOp("uni", "two", "b", "x"))
	if res := l.bbb(bindOp("uni", "three", "a", "x")); res.Refusal == nil || res.Refusal.Code != CodeQuota {
		t.Errorf("a third meeting: %+v, want the quota to refuse it", res.Refusal)
	}
	if r := l.one(bindOp("uni", "one", "b", "y")); r.Won || r.Meeting.BackendID != "a" {
		t.Errorf("a meeting that is there already is not found at the quota: %+v", r)
	}
	l.one(BBBOp{End: &EndMeetings{Keys: []MeetingKey{{Frontend: "uni", ID: "two"}}}})
	l.one(bindOp("uni", "three", "a", "x"))
}

func TestConfirm(t *testing.T) {
	t.Parallel()
	l := bbbLog(t)
	l.one(bindOp("uni", "room", "a", "x"))
	for range 2 {
		r := l.one(confirmOp("uni", "room", "a", "internal-1"))
		if !r.Won || !r.Meeting.Confirmed || r.Meeting.InternalID != "internal-1" || r.Meeting.Reserved != 2 {
			t.Fatalf("confirmed: %+v", r)
		}
	}
	if m, ok := l.view.MeetingByInternal("internal-1"); !ok || m.Key() != (MeetingKey{Frontend: "uni", ID: "room"}) {
		t.Errorf("by its internal id: %+v", m)
	}
	// Created anew after it had ended on the server: the old internal id finds nothing.
	l.one(confirmOp("uni", "room", "a", "internal-2"))
	if _, ok := l.view.MeetingByInternal("internal-1"); ok {
		t.Error("the old internal id still finds the meeting")
	}
	if l.stales() != "" {
		t.Errorf("stale: %s", l.stales())
	}
	// A creator that comes too late leaves something to end, if the server is still there.
	l.one(moveOp("uni", "room", "a", "b", "y"))
	if r := l.one(confirmOp("uni", "room", "a", "internal-3")); r.Won || r.Meeting.BackendID != "b" {
		t.Errorf("confirmed on the wrong server: %+v", r)
	}
	l.one(confirmOp("uni", "gone", "b", "internal-4"))
	l.one(confirmOp("uni", "gone", "z", "internal-5"))
	if got := l.stales(); got != "a:uni/room b:uni/gone" {
		t.Errorf("stale: %s", got)
	}
}

// A meeting moves once, leaves a stale copy, and the server it left takes none of this id until that has ended.
func TestMove_fencesWhatItLeaves(t *testing.T) {
	t.Parallel()
	l := bbbLog(t)
	l.one(bindOp("uni", "room", "a", "x"))
	l.one(confirmOp("uni", "room", "a", "i-1"))
	first := l.one(moveOp("uni", "room", "a", "b", "y"))
	late := l.one(moveOp("uni", "room", "a", "b", "z"))
	again := l.one(moveOp("uni", "room", "a", "b", "y"))
	if !first.Won || late.Won || !again.Won || late.Meeting.BackendID != "b" || late.Meeting.Confirmed || late.Meeting.InternalID != "" {
		t.Errorf("moves: %+v, %+v, %+v", first, late, again)
	}
	if first.Meeting.Created != at.Add(1e9) {
		t.Errorf("created at %s, want when it was first reserved", first.Meeting.Created)
	}
	s, ok := l.view.Stale("a", "uni/room")
	if !ok || s.InternalID != "i-1" || l.stales() != "a:uni/room" {
		t.Fatalf("stale: %+v, all %s", s, l.stales())
	}
	if _, ok := l.view.MeetingByInternal("i-1"); ok {
		t.Error("the copy that was left is still found by its internal id")
	}
	for _, op := range []BBBOp{moveOp("uni", "room", "b", "a", "w"), moveOp("uni", "room", "b", "c", "w"), moveOp("uni", "room", "b", "z", "w")} {
		if res := l.bbb(op); res.Refusal == nil || res.Refusal.Code != CodeUnavailable {
			t.Errorf("moved to %s: %+v", op.Move.To, res)
		}
	}
	if r := l.one(moveOp("uni", "nothing", "a", "b", "y")); r.Won || r.Meeting != nil {
		t.Errorf("moved what is not there: %+v", r)
	}
	// Another copy than the one that was seen to be gone is not cleared.
	l.one(BBBOp{Clear: &ClearStale{Stales: []Stale{{BackendID: "a", MeetingID: "uni/room", InternalID: "i-0"}}}})
	if l.stales() == "" {
		t.Error("cleared by another copy")
	}
	l.one(BBBOp{Clear: &ClearStale{Stales: []Stale{*s}}})
	if !l.one(moveOp("uni", "room", "b", "a", "w")).Won || l.stales() != "b:uni/room" {
		t.Errorf("after it was cleared: stale %s", l.stales())
	}
	// What was certainly not created leaves nothing.
	clean := moveOp("uni", "room", "a", "b", "v")
	clean.Move.Clean = true
	l.one(BBBOp{Clear: &ClearStale{Stales: []Stale{{BackendID: "b", MeetingID: "uni/room"}}}})
	l.one(clean)
	if l.stales() != "" {
		t.Errorf("stale after a clean move: %s", l.stales())
	}
}

func TestEnd(t *testing.T) {
	t.Parallel()
	l := bbbLog(t)
	l.one(bindOp("uni", "room", "a", "x"))
	l.one(bindOp("school", "room", "a", "x"))
	old := MeetingKey{Frontend: "uni", ID: "room", Reserved: 1}
	if r := l.one(BBBOp{End: &EndMeetings{Keys: []MeetingKey{old, {Frontend: "uni", ID: "none"}}}}); r.Ended != 0 || l.view.LenMeetings() != 2 {
		t.Errorf("ended %d by an old reservation", r.Ended)
	}
	old.Reserved = 2
	if r := l.one(BBBOp{End: &EndMeetings{Keys: []MeetingKey{old}, Stale: true}}); r.Ended != 1 || l.stales() != "a:uni/room" {
		t.Errorf("ended %d, stale %q", r.Ended, l.stales())
	}
	if ids := slices.Collect(l.view.MeetingsOn("a")); len(ids) != 1 || ids[0].Frontend != "school" {
		t.Errorf("left on a: %+v", ids)
	}
	if res := l.bbb(BBBOp{End: &EndMeetings{Keys: make([]MeetingKey, maxEnded+1)}}); res.Refusal == nil {
		t.Error("too many were accepted")
	}
}

// A refused operation takes the whole command with it.
func TestBBB_allOrNothing(t *testing.T) {
	t.Parallel()
	l := bbbLog(t)
	res := l.bbb(bindOp("uni", "one", "a", "x"), bindOp("uni", "two", "z", "x"))
	if res.Refusal == nil || res.Refusal.Op != 1 || res.BBB != nil || l.view.LenMeetings() != 0 {
		t.Errorf("%+v with %d meetings", res, l.view.LenMeetings())
	}
	gen, changes := l.view.ConfigGen, len(slices.Collect(l.view.ChangesAfter(0)))
	l.one(bindOp("uni", "one", "a", "x"))
	if l.view.ConfigGen != gen || len(slices.Collect(l.view.ChangesAfter(0))) != changes {
		t.Error("a meeting is a change of the configuration, or in the history")
	}
}

// Meetings keep their server in use: a drain ends after the last one.
func TestMeetings_holdTheDrain(t *testing.T) {
	t.Parallel()
	for _, op := range []string{`patch backend a {"admin_state":"stopped"}`, `delete backend a`} {
		l := bbbLog(t)
		l.one(bindOp("uni", "room", "a", "x"))
		l.must(parse(t, op))
		drained := StateChange{ID: "a", Drained: l.backend("a").AdminIndex}
		l.states(drained)
		if b := l.backend("a"); b.Drained {
			t.Errorf("%s: drained with a meeting on it", op)
		}
		if !l.view.HasMeetings("a") || l.one(confirmOp("uni", "room", "a", "i")).Meeting == nil {
			t.Errorf("%s: the meeting does not go on", op)
		}
		l.one(BBBOp{End: &EndMeetings{Keys: []MeetingKey{{Frontend: "uni", ID: "room"}}}})
		l.states(drained)
		if b, ok := l.view.Backend("a"); ok && (!b.Drained || b.AdminState != AdminStopped) {
			t.Errorf("%s: not drained after the last meeting: %+v", op, b)
		}
	}
}

func TestMeetings_goWithWhatHasThem(t *testing.T) {
	t.Parallel()
	l := bbbLog(t)
	l.one(bindOp("uni", "room", "a", "x"))
	l.one(confirmOp("uni", "late", "a", "i"))
	if res := l.ops(parse(t, `delete frontend uni`)); res.Refusal == nil || res.Refusal.Code != CodeInUse {
		t.Errorf("a tenant with meetings was deleted: %+v", res)
	}
	l.must(parse(t, `delete! frontend uni`))
	if l.view.LenMeetings() != 0 || l.stales() == "" {
		t.Errorf("%d meetings, stale %q", l.view.LenMeetings(), l.stales())
	}
	l.one(bindOp("school", "room", "a", "x"))
	l.must(parse(t, `delete! pool bbb`))
	if l.view.LenMeetings() != 0 || l.stales() != "" || l.view.HasMeetings("a") {
		t.Errorf("%d meetings, stale %q", l.view.LenMeetings(), l.stales())
	}
}

// Secrets that are never shown are kept by a replacement that leaves them out.
func TestBBB_secretsAreInherited(t *testing.T) {
	t.Parallel()
	l := bbbLog(t)
	l.must(parseAll(t, `put backend a {"address":"h:1","pool":"bbb","bbb":{"max_meetings":1}}`, `put frontend school {"key":"school","bbb":{}}`)...)
	f, _ := l.view.Frontend("school")
	if got := l.backend("a").BBB; got.Secret() != "sa" || len(got.Secrets) != 2 || got.MaxMeetings != 1 || got.AgentRef != "" {
		t.Errorf("backend: %+v", got)
	}
	if d := cmp.Diff([]string{"s2", "s3"}, f.AllSecrets()); d != "" {
		t.Error(d)
	}
	l.must(parse(t, `patch backend a {"bbb":null}`))
	if got := l.backend("a").BBB; len(got.Secrets) != 0 || got.Secret() != "" {
		t.Errorf("after bbb null: %+v", got)
	}
}

func TestBBB_validation(t *testing.T) {
	t.Parallel()
	for op, pointer := range map[string]string{
		`put backend x {"address":"h:1","bbb":{"secrets":["a\nb"]}}`:                            "/bbb/secrets/0",
		`put backend x {"address":"h:1","bbb":{"agent_ref":"` + strings.Repeat("x", 65) + `"}}`: "/bbb/agent_ref",
		`put backend x {"address":"h:1","bbb":{"max_meetings":-1}}`:                             "/bbb/max_meetings",
		`put pool x {"bbb":{"move_after":"1ms"}}`:                                               "/bbb/move_after",
		`put pool x {"bbb":{"poll":"1h"}}`:                                                      "/bbb/poll",
		`put pool x {"bbb":{"young_attendees":-1}}`:                                             "/bbb/young_attendees",
		`put frontend x {"bbb":{"default_presentation":{"url":"/x"}}}`:                          "/bbb/default_presentation/url",
		`put frontend x {"bbb":{"recording_visibility":"secret"}}`:                              "/bbb/recording_visibility",
		`put frontend x {"bbb":{"max_duration":"90s"}}`:                                         "/bbb/max_duration",
		`put frontend x {"bbb":{"create_override":{"meetingID":"x"}}}`:                          "/bbb/create_override/meetingID",
		`put frontend x {"bbb":{"join_default":{"a&b":"x"}}}`:                                   "/bbb/join_default/a&b",
	} {
		res := newLog(t).ops(parse(t, op))
		if res.Refusal == nil || len(res.Refusal.Errors) != 1 || res.Refusal.Errors[0].Pointer != pointer {
			t.Errorf("%s: %+v, want it refused at %q", op, res.Refusal, pointer)
		}
	}
	l := newLog(t)
	l.must(parse(t, `put pool x {"bbb":{"move_after":"1m","poll":"10s","young_attendees":15,"young_for":"15m"}}`))
	if p, _ := l.view.Pool("x"); p.BBB != (PoolBBB{}) || p.BBB.WithDefaults().MoveAfter != DefaultMoveAfter {
		t.Errorf("defaults are stored: %+v", p.BBB)
	}
}

// Whatever happens to meetings in whatever order, the indexes hold the same meetings, no server has two of one id,
// nothing is live and stale at once, and replicas that were restored on the way agree.
func TestBBB_indexesAgree(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		l := bbbLog(t)
		l.must(parse(t, `patch frontend uni {"bbb":{"meeting_quota":0}}`))
		twin := restored(t, l.view)
		pick := func(of ...string) string { return of[rng.IntN(len(of))] }
		for range 150 {
			f, id, from, to, try := pick("uni", "school"), pick("r1", "r2", "r3"), pick("a", "b", "c"), pick("a", "b", "c"), pick("x", "y")
			c := Command{Type: TypeTxn, At: at}
			switch rng.IntN(12) {
			case 0:
				c.Ops = parseAll(t, fmt.Sprintf(`patch backend %s {"admin_state":%q}`, to, pick("ready", "stopped")))
			case 1:
				c.Ops = parseAll(t, fmt.Sprintf(`delete! backend %s`, to), fmt.Sprintf(`put backend %s {"address":"h:1","pool":"bbb"}`, to))
			case 2, 3:
				c = BBB(moveOp(f, id, from, to, try))
			case 4, 5:
				c = BBB(confirmOp(f, id, from, pick("i1", "i2", "i3")))
			case 6:
				c = BBB(BBBOp{End: &EndMeetings{Keys: []MeetingKey{{Frontend: f, ID: id}}, Stale: rng.IntN(2) == 0}})
			case 7:
				c = BBB(BBBOp{Clear: &ClearStale{Stales: []Stale{{BackendID: from, MeetingID: f + "/" + id, InternalID: pick("", "i1", "i2", "i3")}}}})
			case 8:
				c = BBB(BBBOp{Bind: &BindMeeting{Frontend: f, ID: id, BackendID: to, Attempt: try, InternalID: pick("", "i9")}})
			default:
				c = BBB(bindOp(f, id, to, try))
			}
			c.At = at
			b, err := Encode(c)
			if err != nil {
				t.Fatal(err)
			}
			decoded, err := Decode(b)
			if err != nil {
				t.Fatal(err)
			}
			l.do(c)
			twin, _ = Apply(twin, twin.Index+1, 1, decoded)
			if rng.IntN(10) == 0 {
				twin = restored(t, twin)
			}
			checkMeetings(t, l.view)
		}
		if Hash(twin) != Hash(l.view) {
			t.Fatalf("seed %d: replicas differ", seed)
		}
	}
}

func checkMeetings(t *testing.T, v *View) {
	t.Helper()
	internal := 0
	for m := range v.Meetings() {
		if got, ok := v.MeetingOnServer(m.BackendID, m.OnServer()); !ok || got != m {
			t.Fatalf("%+v is not found on its server: %+v", m, got)
		}
		if _, ok := v.Stale(m.BackendID, m.OnServer()); ok {
			t.Fatalf("%+v is live and stale", m)
		}
		if _, ok := v.Backend(m.BackendID); !ok {
			t.Fatalf("%+v is on no backend", m)
		}
		if m.InternalID != "" {
			internal++
		}
	}
	if v.bbb.byServer.Len() != v.LenMeetings() || v.bbb.byInternal.Len() != internal {
		t.Fatalf("%d meetings, %d on servers; %d internal ids, %d found by them", v.LenMeetings(), v.bbb.byServer.Len(), internal, v.bbb.byInternal.Len())
	}
}

// bbbCommands has one command of each operation.
func bbbCommands(t testing.TB) []Command {
	first := parseAll(t,
		`put pool bbb {"health":{"type":"bbb"},"bbb":{"move_after":"30s","poll":"5s","young_attendees":20,"young_for":"10m"}}`,
		`put backend a {"address":"https://a.example.org/bigbluebutton/api/","pool":"bbb","bbb":{"secrets":["sa","old"],"agent_ref":"agent-a"}}`,
		`put backend b {"address":"https://b.example.org/bigbluebutton/api/","pool":"bbb","bbb":{"secrets":["sb"],"max_meetings":5,"max_attendees":300}}`,
		`put frontend uni {"key":"uni","secret":"s","bbb":{"secrets":["s2"],"disabled":true,"account_ref":"acc","default_presentation":{"url":"https://x.example.org/a.pdf","force":true},"attendees_limit":100,"create_default":{"welcome":"hi"},"create_override":{"record":"false"},"join_default":{"guest":"true"},"join_override":{"userdata-x":"y"},"recording_visibility":"protected","meeting_quota":9,"attendee_quota":50,"max_duration":"2h0m0s","shared_ids":true}}`,
	)
	commands := []Command{
		{Type: TypeTxn, RequestID: "r1", Actor: "ann", At: at, Ops: first},
		BBB(
			BBBOp{Bind: &BindMeeting{Frontend: "uni", ID: "one", ServerID: "srv-1", BackendID: "a", Attempt: "x", Recording: true, Params: map[string]string{"meta_endCallbackUrl": "https://lms.example.org/end"}}},
			BBBOp{Bind: &BindMeeting{Frontend: "uni", ID: "two", BackendID: "b", InternalID: "i-2", CreateTime: 1767323045001}},
			BBBOp{Bind: &BindMeeting{Frontend: "uni", ID: "three", BackendID: "b", Attempt: "z"}},
		),
		BBB(BBBOp{Confirm: &ConfirmMeeting{Frontend: "uni", ID: "one", ServerID: "srv-1", BackendID: "a", InternalID: "i-1", CreateTime: 1767323045000}}),
		BBB(BBBOp{Move: &MoveMeeting{Frontend: "uni", ID: "one", From: "a", To: "b", Attempt: "y"}}),
		BBB(
			BBBOp{End: &EndMeetings{Keys: []MeetingKey{{Frontend: "uni", ID: "two", Reserved: 2}}, Stale: true}},
			BBBOp{Confirm: &ConfirmMeeting{Frontend: "uni", ID: "four", BackendID: "a", InternalID: "i-4"}},
			BBBOp{Clear: &ClearStale{Stales: []Stale{{BackendID: "b", MeetingID: "two", InternalID: "i-2", At: at}}}},
		),
	}
	for i := range commands {
		commands[i].At = at
	}
	return commands
}

func TestGolden_bbb(t *testing.T) {
	t.Parallel()
	v := NewView()
	var all, results []byte
	for i, c := range bbbCommands(t) {
		b, err := Encode(c)
		if err != nil {
			t.Fatal(err)
		}
		all = append(append(all, b...), '\n')
		decoded, err := Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(c, decoded); d != "" {
			t.Errorf("command %d reads as another one: %s", i, d)
		}
		var res Result
		v, res = Apply(v, uint64(i+1), 1, decoded)
		if res.Refusal != nil {
			t.Fatalf("command %d: %v", i, res.Refusal)
		}
		rb, err := EncodeResult(res)
		if err != nil {
			t.Fatal(err)
		}
		results = append(append(results, rb...), '\n')
	}
	var snap bytes.Buffer
	if err := WriteSnapshot(&snap, v); err != nil {
		t.Fatal(err)
	}
	golden(t, "v3/bbb-commands.bin", all)
	golden(t, "v3/bbb-results.jsonl", results)
	golden(t, "v3/bbb-snapshot.jsonl", snap.Bytes())
	golden(t, "v3/bbb-hash.txt", []byte(Hash(v)+"\n"))
	f, err := os.Open("testdata/v3/bbb-snapshot.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	back, err := ReadSnapshot(f)
	if err != nil {
		t.Fatal(err)
	}
	checkMeetings(t, back)
	if Hash(back) != Hash(v) || back.LenMeetings() != 2 {
		t.Errorf("the snapshot reads as something else, with %d meetings", back.LenMeetings())
	}
}

func TestSnapshot_refusesMeetings(t *testing.T) {
	t.Parallel()
	v := NewView()
	for _, rec := range []snapshotRecord{
		{Meeting: &Meeting{}},
		{Meeting: &Meeting{Frontend: "uni", BackendID: "a"}},
		{Stale: &Stale{}},
		{Stale: &Stale{BackendID: "a"}},
	} {
		if known, err := v.loadBBB(rec); !known || err == nil {
			t.Errorf("%+v was read", rec)
		}
	}
}
