package httpapi

import (
	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/state"
)

func backendBBBAnswer(b state.BackendBBB) api.BackendBBB {
	return api.BackendBBB{AgentRef: b.AgentRef, MaxMeetings: b.MaxMeetings, MaxAttendees: b.MaxAttendees}
}

func poolBBBAnswer(p state.PoolBBB) api.PoolBBB {
	p = p.WithDefaults()
	return api.PoolBBB{MoveAfter: p.MoveAfter.String(), Poll: p.Poll.String(), YoungAttendees: p.YoungAttendees, YoungFor: p.YoungFor.String()}
}

func frontendBBBAnswer(f state.FrontendBBB) api.FrontendBBB {
	out := api.FrontendBBB{
		Disabled: f.Disabled, AccountRef: f.AccountRef, AttendeesLimit: f.AttendeesLimit,
		CreateDefault: dict(f.CreateDefault), CreateOverride: dict(f.CreateOverride), JoinDefault: dict(f.JoinDefault), JoinOverride: dict(f.JoinOverride),
		RecordingVisibility: f.RecordingVisibility, MeetingQuota: f.MeetingQuota, AttendeeQuota: f.AttendeeQuota,
		MaxDuration: f.MaxDuration.String(), SharedIDs: f.SharedIDs,
	}
	if p := f.DefaultPresentation; p != nil {
		out.DefaultPresentation = api.Presentation{URL: p.URL, Force: p.Force}
	}
	return out
}
