package state

import (
	"fmt"
	"net/url"
	"strings"
	"time"
)

// This file is what operators say about BigBlueButton servers, their pools and tenants. The zero value of each
// type says nothing.

// CheckBBB makes a pool one of BigBlueButton servers: the check calls the server's API by its secret, and tenants'
// meetings are placed on the pool's backends.
const CheckBBB CheckType = "bbb"

// Bounds of the settings for BigBlueButton.
const (
	maxSecrets    = 8
	maxRef        = 64
	maxParams     = 128
	maxParamValue = 8192
	maxQuota      = 1_000_000
	maxYoung      = Duration(24 * time.Hour)
	maxMoveAfter  = Duration(24 * time.Hour)
	minPoll       = Duration(time.Second)
	maxPoll       = Duration(10 * time.Minute)
)

// BackendBBB is what a backend has as a BigBlueButton server.
type BackendBBB struct {
	// Secrets are those of the server's API. The first one signs; the others are accepted in what the server
	// signs, while it is given a new one.
	Secrets  []string `json:"secrets,omitempty"`
	AgentRef string   `json:"agent_ref,omitempty"` // the agent that speaks for the server, by the subject of its token
	// MaxMeetings and MaxAttendees are what the server has at most; with as many it gets no new meeting. 0 = no bound.
	MaxMeetings  int `json:"max_meetings,omitzero"`
	MaxAttendees int `json:"max_attendees,omitzero"`
}

// Secret is what signs calls to the server; "" = none is known.
func (b BackendBBB) Secret() string {
	if len(b.Secrets) == 0 {
		return ""
	}
	return b.Secrets[0]
}

// PoolBBB says how meetings are placed in a pool of BigBlueButton servers.
type PoolBBB struct {
	// MoveAfter is for how long a server must have been failing until a meeting on it can be created elsewhere.
	// 0 = [DefaultMoveAfter].
	MoveAfter Duration `json:"move_after,omitzero"`
	Poll      Duration `json:"poll,omitzero"` // how often each node asks each server for its meetings; 0 = [DefaultPoll]
	// A meeting counts as one with at least YoungAttendees until it is YoungFor old. 0 = [DefaultYoungAttendees], [DefaultYoungFor].
	YoungAttendees int      `json:"young_attendees,omitzero"`
	YoungFor       Duration `json:"young_for,omitzero"`
}

// The defaults of a pool of BigBlueButton servers.
const (
	DefaultMoveAfter      = Duration(time.Minute)
	DefaultPoll           = Duration(10 * time.Second)
	DefaultYoungAttendees = 15
	DefaultYoungFor       = Duration(15 * time.Minute)
)

// WithDefaults fills in what was left out.
func (p PoolBBB) WithDefaults() PoolBBB {
	p.MoveAfter = orDefault(p.MoveAfter, DefaultMoveAfter)
	p.Poll = orDefault(p.Poll, DefaultPoll)
	p.YoungAttendees = orDefault(p.YoungAttendees, DefaultYoungAttendees)
	p.YoungFor = orDefault(p.YoungFor, DefaultYoungFor)
	return p
}

// Presentation is a document that meetings begin with.
type Presentation struct {
	URL   string `json:"url"`
	Force bool   `json:"force,omitzero"` // also if the call brings one
}

// The visibilities of recordings.
const (
	VisibilityUnpublished     = "unpublished"
	VisibilityPublished       = "published"
	VisibilityProtected       = "protected"
	VisibilityPublic          = "public"
	VisibilityPublicProtected = "public_protected"
)

// Visibilities lists all of them, for validation and messages.
func Visibilities() []string {
	return []string{VisibilityUnpublished, VisibilityPublished, VisibilityProtected, VisibilityPublic, VisibilityPublicProtected}
}

// FrontendBBB is what a frontend has as a tenant of BigBlueButton servers.
type FrontendBBB struct {
	Secrets    []string `json:"secrets,omitempty"` // accepted besides the frontend's secret, which signs
	Disabled   bool     `json:"disabled,omitzero"` // every call is refused
	AccountRef string   `json:"account_ref,omitempty"`

	DefaultPresentation *Presentation `json:"default_presentation,omitempty"`
	AttendeesLimit      int           `json:"attendees_limit,omitzero"` // over all meetings of the tenant; 0 = no bound
	// Defaults fill what a call leaves out; overrides replace what it says.
	CreateDefault  map[string]string `json:"create_default,omitempty"`
	CreateOverride map[string]string `json:"create_override,omitempty"`
	JoinDefault    map[string]string `json:"join_default,omitempty"`
	JoinOverride   map[string]string `json:"join_override,omitempty"`

	RecordingVisibility string   `json:"recording_visibility,omitempty"` // of every recording, whatever it says; "" = its own
	MeetingQuota        int      `json:"meeting_quota,omitzero"`         // meetings at a time; 0 = no bound
	AttendeeQuota       int      `json:"attendee_quota,omitzero"`        // attendees of one meeting; 0 = no bound
	MaxDuration         Duration `json:"max_duration,omitzero"`          // of a meeting, whole minutes; 0 = no bound
	// SharedIDs leaves meeting ids as the tenant gives them. Otherwise servers see ids that no other tenant can have.
	SharedIDs bool `json:"shared_ids,omitzero"`
}

// AllSecrets are those that a tenant's calls may be signed with, the one that signs what we send it first.
func (s *FrontendSpec) AllSecrets() []string {
	out := make([]string, 0, 1+len(s.BBB.Secrets))
	if s.Secret != "" {
		out = append(out, s.Secret)
	}
	return append(out, s.BBB.Secrets...)
}

func (b *BackendBBB) normalize() {
	b.Secrets = withoutRepeats(b.Secrets)
	b.AgentRef = strings.TrimSpace(b.AgentRef)
}

func (p *PoolBBB) normalize() {
	forget(&p.MoveAfter, DefaultMoveAfter)
	forget(&p.Poll, DefaultPoll)
	forget(&p.YoungAttendees, DefaultYoungAttendees)
	forget(&p.YoungFor, DefaultYoungFor)
}

func (f *FrontendBBB) normalize() {
	f.Secrets = withoutRepeats(f.Secrets)
	f.AccountRef = strings.TrimSpace(f.AccountRef)
	for _, m := range []*map[string]string{&f.CreateDefault, &f.CreateOverride, &f.JoinDefault, &f.JoinOverride} {
		if len(*m) == 0 {
			*m = nil
		}
	}
	if p := f.DefaultPresentation; p != nil && *p == (Presentation{}) {
		f.DefaultPresentation = nil
	}
}

// withoutRepeats keeps the order, and nil for nothing.
func withoutRepeats(in []string) []string {
	var out []string
	for _, s := range in {
		if s != "" && !contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

func (c *checks) secrets(pointer string, secrets []string) {
	if len(secrets) > maxSecrets {
		c.add(pointer, "must have at most %d entries, got %d", maxSecrets, len(secrets))
	}
	for i, s := range secrets {
		if len(s) > maxPattern || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			c.add(fmt.Sprintf("%s/%d", pointer, i), "must be at most %d bytes without control characters", maxPattern)
		}
	}
}

func (c *checks) reference(pointer, s string) {
	if len(s) > maxRef || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		c.add(pointer, "must be at most %d bytes without control characters", maxRef)
	}
}

func (c *checks) backendBBB(b BackendBBB) {
	c.secrets("/bbb/secrets", b.Secrets)
	c.reference("/bbb/agent_ref", b.AgentRef)
	c.between("/bbb/max_meetings", b.MaxMeetings, 0, maxQuota)
	c.between("/bbb/max_attendees", b.MaxAttendees, 0, maxQuota)
}

func (c *checks) poolBBB(p PoolBBB) {
	p = p.WithDefaults()
	c.duration("/bbb/move_after", p.MoveAfter, Duration(time.Second), maxMoveAfter)
	c.duration("/bbb/poll", p.Poll, minPoll, maxPoll)
	c.between("/bbb/young_attendees", p.YoungAttendees, 1, maxQuota)
	c.duration("/bbb/young_for", p.YoungFor, Duration(time.Second), maxYoung)
}

func (c *checks) frontendBBB(f FrontendBBB) {
	c.secrets("/bbb/secrets", f.Secrets)
	c.reference("/bbb/account_ref", f.AccountRef)
	if p := f.DefaultPresentation; p != nil {
		if u, err := url.Parse(p.URL); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || len(p.URL) > maxParamValue {
			c.add("/bbb/default_presentation/url", "must be an http or https URL, got %q", p.URL)
		}
	}
	c.between("/bbb/attendees_limit", f.AttendeesLimit, 0, maxQuota)
	c.params("/bbb/create_default", f.CreateDefault)
	c.params("/bbb/create_override", f.CreateOverride)
	c.params("/bbb/join_default", f.JoinDefault)
	c.params("/bbb/join_override", f.JoinOverride)
	if f.RecordingVisibility != "" {
		oneOf(c, "/bbb/recording_visibility", f.RecordingVisibility, Visibilities())
	}
	c.between("/bbb/meeting_quota", f.MeetingQuota, 0, maxQuota)
	c.between("/bbb/attendee_quota", f.AttendeeQuota, 0, maxQuota)
	if f.MaxDuration < 0 || f.MaxDuration > 365*maxTimeout || f.MaxDuration%Duration(time.Minute) != 0 {
		c.add("/bbb/max_duration", "must be whole minutes, at most a year, got %s", f.MaxDuration)
	}
}

// params checks parameters of calls, which are names and values of any text.
func (c *checks) params(pointer string, m map[string]string) {
	if len(m) > maxParams {
		c.add(pointer, "must have at most %d entries, got %d", maxParams, len(m))
	}
	for _, name := range sortedKeys(m) {
		at := pointer + "/" + escapePointer(name)
		if name == "" || len(name) > maxPattern || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune("&=?#", r) }) {
			c.add(at, "is not the name of a parameter: %q", name)
		}
		if name == "checksum" || name == "meetingID" {
			c.add(at, "cannot be set: each call has its own %s", name)
		}
		if len(m[name]) > maxParamValue {
			c.add(at, "must be at most %d bytes long", maxParamValue)
		}
	}
}
