package agent

import "encoding/json"

// Event is what happened on a BigBlueButton server, as far as its load goes.
type Event struct {
	Name    string
	Meeting string // internal id
	User    string // internal id; "" where the event is about nobody
}

// The events that count. BigBlueButton's akka-apps publishes them on Redis.
const (
	eventMeetingCreated   = "MeetingCreatedEvtMsg"
	eventMeetingEnded     = "MeetingEndedEvtMsg"
	eventMeetingDestroyed = "MeetingDestroyedEvtMsg"
	eventUserJoined       = "UserJoinedMeetingEvtMsg"
	eventUserLeft         = "UserLeftMeetingEvtMsg"
)

// channelPattern matches the channels of akka-apps.
const channelPattern = "*akka-apps-redis-channel"

const maxEvent = 1 << 20

// ParseEvent reads a message of akka-apps. It says false to what is no event that counts, which is most of them.
func ParseEvent(b []byte) (Event, bool) {
	if len(b) > maxEvent {
		return Event{}, false
	}
	var m struct {
		Envelope struct{ Name string } `json:"envelope"`
		Core     struct {
			Header struct {
				MeetingID string `json:"meetingId"`
			} `json:"header"`
			Body struct {
				MeetingID string `json:"meetingId"`
				IntID     string `json:"intId"`
				UserID    string `json:"userId"`
				Props     struct {
					MeetingProp struct {
						IntID string `json:"intId"`
					} `json:"meetingProp"`
				} `json:"props"`
			} `json:"body"`
		} `json:"core"`
	}
	if json.Unmarshal(b, &m) != nil {
		return Event{}, false
	}
	body := m.Core.Body
	e := Event{Name: m.Envelope.Name, Meeting: first(body.MeetingID, m.Core.Header.MeetingID)}
	switch e.Name {
	case eventMeetingCreated:
		e.Meeting = first(body.Props.MeetingProp.IntID, e.Meeting)
	case eventUserJoined, eventUserLeft:
		if e.User = first(body.IntID, body.UserID); e.User == "" {
			return Event{}, false
		}
	case eventMeetingEnded, eventMeetingDestroyed:
	default:
		return Event{}, false
	}
	return e, e.Meeting != ""
}

func first(s ...string) string {
	for _, v := range s {
		if v != "" {
			return v
		}
	}
	return ""
}

// Bounds of a tally: a server has some hundred meetings; beyond the bounds events count no more and the next poll
// says what is.
const (
	maxRooms = 10_000
	maxUsers = 100_000
)

// Tally counts meetings and attendees: from what a poll found, and by the events since.
type Tally struct {
	rooms map[string]*room
	users int // known by name, in all rooms
}

type room struct {
	attendees int
	since     map[string]bool // users by name that joined since the poll; a second event about one changes nothing
}

// Reset starts anew with the attendees of each meeting.
func (t *Tally) Reset(found map[string]int) {
	t.rooms, t.users = make(map[string]*room, len(found)), 0
	for id, n := range found {
		t.rooms[id] = &room{attendees: max(n, 0), since: map[string]bool{}}
	}
}

// Apply counts an event. It says whether the totals changed.
func (t *Tally) Apply(e Event) bool {
	r := t.rooms[e.Meeting]
	switch e.Name {
	case eventMeetingCreated, eventUserJoined:
		created := r == nil
		if created {
			if len(t.rooms) >= maxRooms {
				return false
			}
			if t.rooms == nil {
				t.rooms = map[string]*room{}
			}
			r = &room{since: map[string]bool{}}
			t.rooms[e.Meeting] = r
		}
		if e.Name == eventMeetingCreated || r.since[e.User] || t.users >= maxUsers {
			return created
		}
		r.since[e.User] = true
		r.attendees++
		t.users++
		return true
	case eventUserLeft:
		if r == nil || r.attendees == 0 {
			return false
		}
		if r.since[e.User] {
			delete(r.since, e.User)
			t.users--
		}
		r.attendees--
		return true
	case eventMeetingEnded, eventMeetingDestroyed:
		if r == nil {
			return false
		}
		t.users -= len(r.since)
		delete(t.rooms, e.Meeting)
		return true
	}
	return false
}

// Totals returns how many meetings and attendees there are.
func (t *Tally) Totals() (meetings, attendees int) {
	for _, r := range t.rooms {
		attendees += r.attendees
	}
	return len(t.rooms), attendees
}
