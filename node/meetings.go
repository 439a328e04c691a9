package node

import (
	"context"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/httpapi"
	"github.com/lbnode/lbnode/state"
)

// apiMeetings shows and ends the meetings of BigBlueButton servers for the admin API.
type apiMeetings struct{ n *Node }

var _ httpapi.Meetings = apiMeetings{}

func (a apiMeetings) Seen(backendID, serverID string) (httpapi.MeetingSeen, bool) {
	m, ok := a.n.bbbLoads.Meeting(backendID, serverID)
	return httpapi.MeetingSeen{Name: m.Name, Running: m.Running, Attendees: m.Attendees, Moderators: m.Moderators}, ok
}

func (a apiMeetings) End(ctx context.Context, actor string, meetings ...*state.Meeting) (api.MeetingsEnded, error) {
	done, err := a.n.bbbControl.End(ctx, actor, meetings...)
	out := api.MeetingsEnded{Ended: done.Ended, Later: done.Later}
	if done.Err != nil {
		out.Error = done.Err.Error()
	}
	return out, err
}
