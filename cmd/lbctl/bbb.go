package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lbnode/lbnode/api"
)

// backendBBBFacts says what a backend has as a BigBlueButton server, as far as it has anything.
func backendBBBFacts(b api.Backend) []fact {
	var facts []fact
	if b.BBBSecrets > 0 {
		facts = append(facts, fact{"BBB secrets", count(b.BBBSecrets, "secret")})
	}
	if b.BBB.AgentRef != "" {
		facts = append(facts, fact{"Agent", b.BBB.AgentRef})
	}
	if b.BBB.MaxMeetings > 0 {
		facts = append(facts, fact{"Max meetings", fmt.Sprint(b.BBB.MaxMeetings)})
	}
	if b.BBB.MaxAttendees > 0 {
		facts = append(facts, fact{"Max attendees", fmt.Sprint(b.BBB.MaxAttendees)})
	}
	return facts
}

// poolBBBFacts says how meetings are placed, in a pool that has them.
func poolBBBFacts(p api.Pool) []fact {
	if p.Health.Type != "bbb" {
		return nil
	}
	return []fact{
		{"Meetings", fmt.Sprintf("polled every %s; at least %d attendees for %s; created elsewhere after %s of failure", p.BBB.Poll, p.BBB.YoungAttendees, p.BBB.YoungFor, p.BBB.MoveAfter)},
	}
}

// frontendBBBFacts says what is special about a tenant of BigBlueButton servers.
func frontendBBBFacts(f api.Frontend) []fact {
	var facts []fact
	add := func(name, format string, args ...any) {
		facts = append(facts, fact{name, fmt.Sprintf(format, args...)})
	}
	b := f.BBB
	if b.Disabled {
		add("Disabled", "yes: every call is refused")
	}
	if f.BBBSecrets > 0 {
		add("More secrets", "%d", f.BBBSecrets)
	}
	if b.AccountRef != "" {
		add("Account", "%s", b.AccountRef)
	}
	if p := b.DefaultPresentation; p.URL != "" {
		add("Presentation", "%s%s", p.URL, map[bool]string{true: " (always)"}[p.Force])
	}
	for _, l := range []struct {
		name string
		n    int
	}{{"Attendees limit", b.AttendeesLimit}, {"Meeting quota", b.MeetingQuota}, {"Attendee quota", b.AttendeeQuota}} {
		if l.n > 0 {
			add(l.name, "%d", l.n)
		}
	}
	if b.MaxDuration != "0s" && b.MaxDuration != "" {
		add("Max duration", "%s", b.MaxDuration)
	}
	for _, m := range []struct {
		name   string
		params map[string]string
	}{{"Create default", b.CreateDefault}, {"Create override", b.CreateOverride}, {"Join default", b.JoinDefault}, {"Join override", b.JoinOverride}} {
		if len(m.params) > 0 {
			add(m.name, "%s", paramsText(m.params))
		}
	}
	if b.RecordingVisibility != "" {
		add("Recordings", "%s", b.RecordingVisibility)
	}
	if b.SharedIDs {
		add("Meeting ids", "shared with other tenants")
	}
	return facts
}

func paramsText(m map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, k+"="+m[k])
	}
	return strings.Join(out, " ")
}
