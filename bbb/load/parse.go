package load

import (
	"fmt"
	"strconv"

	"github.com/lbnode/lbnode/bbb/xml"
)

// Running is a meeting as a server lists it.
type Running struct {
	ServerID, InternalID, Name string
	ParentID                   string // of a breakout room
	ModeratorPW                string
	CreateTime                 int64 // ms since 1970, by the server's clock
	Attendees, Moderators      int
	Listeners, Voice, Video    int
	Running                    bool // somebody has joined
	Breakout, Recording        bool

	over bool
}

// Parse reads the answer to getMeetings, without the meetings that are over and that a server goes on to list for a
// while. The error says what is wrong with it, or how the server refused the call.
func Parse(doc []byte) ([]Running, error) {
	o, err := xml.OutcomeOf(doc)
	if err != nil {
		return nil, err
	}
	if !o.OK {
		return nil, fmt.Errorf("the server refuses getMeetings: %s: %s", o.Key, o.Message)
	}
	var out []Running
	var m Running
	err = xml.Walk(doc, func(e *xml.Element) error {
		if len(e.Path) < 3 || e.Path[0] != "response" || e.Path[1] != "meetings" || e.Path[2] != "meeting" {
			return nil
		}
		switch len(e.Path) {
		case 3:
			if m.ServerID != "" && !m.over {
				out = append(out, m)
			}
			m = Running{}
		case 4:
			m.set(e.Path[3], e)
		}
		return nil
	})
	return out, err
}

func (m *Running) set(name string, e *xml.Element) {
	number := func() int {
		n, err := strconv.Atoi(e.Text())
		if err != nil || n < 0 {
			return 0
		}
		return n
	}
	switch name {
	case "meetingID":
		m.ServerID = e.Text()
	case "internalMeetingID":
		m.InternalID = e.Text()
	case "meetingName":
		m.Name = e.Text()
	case "parentMeetingID":
		m.ParentID = e.Text()
	case "moderatorPW":
		m.ModeratorPW = e.Text()
	case "createTime":
		m.CreateTime, _ = strconv.ParseInt(e.Text(), 10, 64) // 0 = unknown
	case "participantCount":
		m.Attendees = number()
	case "moderatorCount":
		m.Moderators = number()
	case "listenerCount":
		m.Listeners = number()
	case "voiceParticipantCount":
		m.Voice = number()
	case "videoCount":
		m.Video = number()
	case "hasBeenForciblyEnded":
		m.over = m.over || e.Text() == "true"
	case "endTime":
		m.over = m.over || number() > 0
	case "running":
		m.Running = e.Text() == "true"
	case "isBreakout":
		m.Breakout = e.Text() == "true"
	case "recording":
		m.Recording = e.Text() == "true"
	}
}
