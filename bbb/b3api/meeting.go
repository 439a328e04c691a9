package b3api

import (
	"cmp"
	"strings"
	"time"

	"github.com/lbnode/lbnode/bbb/load"
	"github.com/lbnode/lbnode/state"
)

// meeting is one as b3scale shows it.
type meeting struct {
	ID         string      `json:"id"` // as the server calls it
	InternalID string      `json:"internal_id"`
	Meeting    meetingInfo `json:"meeting"`
	FrontendID *string     `json:"frontend_id"`
	BackendID  *string     `json:"backend_id"`
	CreatedAt  time.Time   `json:"created_at"`
	UpdatedAt  time.Time   `json:"updated_at"`
	SyncedAt   time.Time   `json:"synced_at"`
}

// meetingInfo has b3scale's names of what a server lists.
type meetingInfo struct {
	MeetingName           string
	MeetingID             string
	InternalMeetingID     string
	CreateTime            int64 // ms since 1970
	CreateDate            string
	VoiceBridge           string
	DialNumber            string
	AttendeePW            string
	ModeratorPW           string
	Running               bool
	Duration              int
	Recording             bool
	HasBeenForciblyEnded  bool
	StartTime             int64
	EndTime               int64
	ParticipantCount      int
	ListenerCount         int
	VoiceParticipantCount int
	VideoCount            int
	MaxUsers              int
	ModeratorCount        int
	IsBreakout            bool
	Metadata              map[string]string
	Attendees             []attendee
	BreakoutRooms         []string
	Breakout              *breakout
}

type attendee struct {
	UserID          string
	InternalUserID  string
	FullName        string
	Role            string
	IsPresenter     bool
	IsListeningOnly bool
	HasJoinedVoice  bool
	HasVideo        bool
	ClientType      string
}

type breakout struct {
	ParentMeetingID string
	Sequence        int
	FreeJoin        bool
}

// meeting shows what is known of a meeting: where it is, and what its server last listed. Who attends is not kept, only
// how many.
func (c *call) meeting(v *state.View, m *state.Meeting) meeting {
	seen, _ := c.s.cfg.Table.Meeting(m.BackendID, m.OnServer())
	out := meeting{
		ID: m.OnServer(), InternalID: m.InternalID, FrontendID: &m.Frontend, BackendID: &m.BackendID,
		CreatedAt: m.Created.UTC(), UpdatedAt: m.Created.UTC(), SyncedAt: c.s.cfg.Table.Status(m.BackendID).Polled.UTC(),
		Meeting: meetingInfo{
			MeetingName: cmp.Or(seen.Name, m.Params["name"]), MeetingID: m.OnServer(), InternalMeetingID: cmp.Or(m.InternalID, seen.InternalID),
			CreateTime: cmp.Or(m.CreateTime, seen.CreateTime), VoiceBridge: m.Params["voiceBridge"], DialNumber: m.Params["dialNumber"],
			AttendeePW: m.Params["attendeePW"], ModeratorPW: cmp.Or(seen.ModeratorPW, m.Params["moderatorPW"]),
			Running: seen.Running, Recording: m.Recording || seen.Recording, ParticipantCount: seen.Attendees, ListenerCount: seen.Listeners,
			VoiceParticipantCount: seen.Voice, VideoCount: seen.Video, ModeratorCount: seen.Moderators, IsBreakout: seen.Breakout,
			Metadata: map[string]string{},
		},
	}
	for name, value := range m.Params {
		if key, ok := strings.CutPrefix(name, "meta_"); ok {
			out.Meeting.Metadata[key] = value
		}
	}
	if seen.ParentID != "" {
		out.Meeting.Breakout = &breakout{ParentMeetingID: seen.ParentID}
	}
	if c.who.blind {
		out.Meeting.AttendeePW, out.Meeting.ModeratorPW = "", ""
	}
	return out
}

// internalPrefix begins what names a meeting by its internal id.
const internalPrefix = "internal:"

func (c *call) listMeetings() (any, error) {
	v, q := c.view(), c.r.URL.Query()
	if !q.Has("backend_id") && !q.Has("backend_host") {
		return nil, errBadRequest
	}
	all := c.servers(v)
	if q.Has("backend_host") {
		all = byHost(all, q.Get("backend_host"))
	}
	out := []meeting{}
	for _, b := range all {
		if q.Has("backend_id") && b.ID != q.Get("backend_id") {
			continue
		}
		for m := range v.MeetingsOn(b.ID) {
			out = append(out, c.meeting(v, m))
		}
	}
	return out, nil
}

// found finds the meeting that the path names, if the caller may see it.
func (c *call) found(v *state.View) (*state.Meeting, error) {
	backends := c.servers(v)
	if c.who.agent() && len(backends) == 0 {
		return nil, fail(403, "the token's agent has no backend")
	}
	id := c.r.PathValue("id")
	internal, byInternal := strings.CutPrefix(id, internalPrefix)
	for _, b := range backends {
		if !byInternal {
			if m, ok := v.MeetingOnServer(b.ID, id); ok {
				return m, nil
			}
			continue
		}
		if m, ok := v.MeetingByInternal(internal); ok && internal != "" && m.BackendID == b.ID {
			return m, nil
		}
	}
	return nil, errNotFound
}

func (c *call) showMeeting() (any, error) {
	v := c.view()
	m, err := c.found(v)
	if err != nil {
		return nil, err
	}
	return c.meeting(v, m), nil
}

// patchMeeting takes what an agent says of who attends until the server itself says it. The rest is the server's to say.
func (c *call) patchMeeting() (any, error) {
	v := c.view()
	m, err := c.found(v)
	if err != nil {
		return nil, err
	}
	next := c.meeting(v, m)
	before := next.Meeting
	if err := c.decode(&next); err != nil {
		return nil, err
	}
	e := load.Event{Backend: m.BackendID, InternalID: m.InternalID, Running: next.Meeting.Running, Empty: before.Running && !next.Meeting.Running}
	if next.Meeting.Attendees != nil {
		e.Change = len(next.Meeting.Attendees) - before.ParticipantCount
	}
	c.s.cfg.Table.Event(e)
	return c.meeting(v, m), nil
}

// deleteMeeting ends a meeting, also on its server if it is still there.
func (c *call) deleteMeeting() (any, error) {
	v := c.view()
	m, err := c.found(v)
	if err != nil {
		return nil, err
	}
	out := c.meeting(v, m)
	actor := c.who.actor
	if c.who.agent() { // it says that the meeting is over, and orders nothing
		actor = ""
	}
	_, err = c.s.cfg.Meetings.End(c.r.Context(), actor, m)
	return out, err
}
