package agent

import (
	"fmt"
	"strings"
	"testing"
)

// envelope is a message as akka-apps publishes it.
func envelope(name, meeting, body string) string {
	return fmt.Sprintf(`{"envelope":{"name":%q,"routing":{"sender":"bbb-apps-akka"},"timestamp":1},"core":{"header":{"name":%q,"meetingId":%q,"userId":"u"},"body":%s}}`, name, name, meeting, body)
}

func TestParseEvent(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		in   string
		want Event
		ok   bool
	}{
		"created":   {envelope(eventMeetingCreated, "", `{"props":{"meetingProp":{"intId":"m1","extId":"x"}}}`), Event{eventMeetingCreated, "m1", ""}, true},
		"joined":    {envelope(eventUserJoined, "m1", `{"intId":"w_1","name":"A"}`), Event{eventUserJoined, "m1", "w_1"}, true},
		"left":      {envelope(eventUserLeft, "m1", `{"intId":"w_1"}`), Event{eventUserLeft, "m1", "w_1"}, true},
		"ended":     {envelope(eventMeetingEnded, "", `{"meetingId":"m1"}`), Event{eventMeetingEnded, "m1", ""}, true},
		"destroyed": {envelope(eventMeetingDestroyed, "", `{"meetingId":"m1"}`), Event{eventMeetingDestroyed, "m1", ""}, true},
		"nobody":    {envelope(eventUserJoined, "m1", `{}`), Event{}, false},
		"another":   {envelope("UserTypingEvtMsg", "m1", `{"intId":"w_1"}`), Event{}, false},
		"no json":   {"PING", Event{}, false},
		"odd types": {`{"envelope":{"name":7}}`, Event{}, false},
		"huge":      {envelope(eventUserLeft, "m1", `{"intId":"`+strings.Repeat("x", maxEvent)+`"}`), Event{}, false},
	} {
		if got, ok := ParseEvent([]byte(tc.in)); ok != tc.ok || ok && got != tc.want {
			t.Errorf("%s: ParseEvent = %v, %v, want %v, %v", name, got, ok, tc.want, tc.ok)
		}
	}
}

func FuzzParseEvent(f *testing.F) {
	f.Add([]byte(envelope(eventUserJoined, "m1", `{"intId":"w_1"}`)))
	f.Add([]byte(`{"envelope":{}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, ok := ParseEvent(b); ok && e.Meeting == "" {
			t.Errorf("ParseEvent(%q) = %v, an event about no meeting", b, e)
		}
	})
}

func TestTally(t *testing.T) {
	t.Parallel()
	var tally Tally
	for i, step := range []struct {
		event               Event
		news                bool
		meetings, attendees int
	}{
		{Event{eventUserLeft, "m1", "a"}, false, 0, 0},
		{Event{eventMeetingCreated, "m1", ""}, true, 1, 0},
		{Event{eventMeetingCreated, "m1", ""}, false, 1, 0},
		{Event{eventUserJoined, "m1", "a"}, true, 1, 1},
		{Event{eventUserJoined, "m1", "a"}, false, 1, 1}, // the same one again
		{Event{eventUserJoined, "m2", "b"}, true, 2, 2},  // its creation was before us
		{Event{eventUserLeft, "m1", "a"}, true, 2, 1},
		{Event{eventUserLeft, "m1", "a"}, false, 2, 1}, // never below nobody
		{Event{eventUserJoined, "m1", "a"}, true, 2, 2},
		{Event{eventMeetingEnded, "m1", ""}, true, 1, 1},
		{Event{eventMeetingDestroyed, "m1", ""}, false, 1, 1},
	} {
		news := tally.Apply(step.event)
		if m, a := tally.Totals(); news != step.news || m != step.meetings || a != step.attendees {
			t.Errorf("step %d %v: news %v, %d meetings, %d attendees; want %v, %d, %d", i, step.event, news, m, a, step.news, step.meetings, step.attendees)
		}
	}
	tally.Reset(map[string]int{"m9": 7})
	tally.Apply(Event{eventUserLeft, "m9", "somebody from before"})
	if m, a := tally.Totals(); m != 1 || a != 6 {
		t.Errorf("after a poll: %d meetings, %d attendees, want 1, 6", m, a)
	}
}
