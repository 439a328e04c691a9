package httpapi

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strings"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/state"
)

// Meetings knows and ends meetings on BigBlueButton servers. Its methods may be called concurrently.
type Meetings interface {
	// Seen is a meeting as its server last listed it to this node; false if it has not. It does not block.
	Seen(backendID, serverID string) (MeetingSeen, bool)
	// End ends meetings on their servers, and forgets them. It blocks until the servers have answered, or most of ctx's
	// time has passed. The error is one of Store.Do: then it is not known which are forgotten.
	End(ctx context.Context, actor string, meetings ...*state.Meeting) (api.MeetingsEnded, error)
}

// MeetingSeen is what a server lists of a meeting.
type MeetingSeen struct {
	Name                  string
	Running               bool
	Attendees, Moderators int
}

const (
	paramFrontend = "frontend"
	paramBackend  = "backend"
)

func meetingEndpoints() []endpoint {
	return []endpoint{
		{method: http.MethodGet, path: "/meetings", params: []string{paramMinIndex, paramFrontend, paramBackend, paramLimit, paramAfter}, handle: listMeetings},
		{method: http.MethodDelete, path: "/meetings", params: []string{paramFrontend, paramBackend}, handle: endMeetings},
		{method: http.MethodGet, path: "/meetings/{id}", params: []string{paramMinIndex, paramFrontend}, handle: getMeeting},
		{method: http.MethodDelete, path: "/meetings/{id}", params: []string{paramFrontend}, handle: endMeeting},
	}
}

// listMeetings does GET /meetings.
func listMeetings(c *call) (answer, error) {
	v := c.s.cfg.Store.View()
	all, err := c.chosen(v)
	if err != nil {
		return answer{}, err
	}
	meetings, header, err := page(c, all, cursor)
	if err != nil {
		return answer{}, err
	}
	out := make([]api.Meeting, len(meetings))
	for i, m := range meetings {
		out[i] = c.meetingAnswer(m)
	}
	return answer{body: out, view: v, header: header}, nil
}

// cursor names a meeting in the order of lists: a comma sorts before all that an id of a frontend may hold.
func cursor(m *state.Meeting) string { return m.Frontend + "," + m.ID }

// chosen goes through the meetings that the parameters frontend and backend leave, by tenant and id.
func (c *call) chosen(v *state.View) (iter.Seq[*state.Meeting], error) {
	f, err := c.frontendParam(v)
	if err != nil {
		return nil, err
	}
	ref, given := c.params.get(paramBackend), c.params.has(paramBackend)
	switch {
	case !given && f == nil:
		return v.Meetings(), nil
	case !given:
		return v.MeetingsOf(f.ID), nil
	}
	b, ok := v.Backend(ref)
	if !ok {
		if b, err = byAddress(v, ref); err != nil {
			return nil, err
		}
	}
	if b == nil {
		return nil, badParam(paramBackend, "must be the id or address of a backend, got %q", ref)
	}
	var on []*state.Meeting
	for m := range v.MeetingsOn(b.ID) {
		if f == nil || m.Frontend == f.ID {
			on = append(on, m)
		}
	}
	slices.SortFunc(on, func(a, b *state.Meeting) int {
		return cmp.Or(strings.Compare(a.Frontend, b.Frontend), strings.Compare(a.ID, b.ID))
	})
	return slices.Values(on), nil
}

// frontendParam is the frontend that the parameter names by its id or key; nil = there is no parameter.
func (c *call) frontendParam(v *state.View) (*state.Frontend, error) {
	if !c.params.has(paramFrontend) {
		return nil, nil
	}
	ref := c.params.get(paramFrontend)
	if f, ok := v.Frontend(ref); ok {
		return f, nil
	}
	for f := range v.Frontends() {
		if f.Key == ref && ref != "" {
			return f, nil
		}
	}
	return nil, badParam(paramFrontend, "must be the id or key of a frontend, got %q", ref)
}

func (c *call) meetingAnswer(m *state.Meeting) api.Meeting {
	seen, _ := c.s.cfg.Meetings.Seen(m.BackendID, m.OnServer())
	out := api.Meeting{
		ID: m.ID, Frontend: m.Frontend, Name: cmp.Or(seen.Name, m.Params["name"]), Backend: m.BackendID, ServerID: m.OnServer(), InternalID: m.InternalID,
		State: api.MeetingCreated, Created: m.Created.UTC(), Recording: m.Recording,
		Running: seen.Running, Attendees: seen.Attendees, Moderators: seen.Moderators,
	}
	if !m.Confirmed {
		out.State = api.MeetingReserved
	}
	return out
}

// meeting is the meeting that the path names: by the tenant's id, the server's, or the internal one.
func (c *call) meeting(v *state.View) (*state.Meeting, error) {
	ref, err := c.pathID()
	if err != nil {
		return nil, err
	}
	only, err := c.frontendParam(v)
	if err != nil {
		return nil, err
	}
	var found []*state.Meeting
	add := func(m *state.Meeting, ok bool) {
		if ok && (only == nil || m.Frontend == only.ID) && !slices.Contains(found, m) {
			found = append(found, m)
		}
	}
	for f := range v.Frontends() {
		add(v.Meeting(f.ID, ref))
	}
	if len(found) == 0 {
		add(v.MeetingByInternal(ref))
		for b := range v.Backends() {
			add(v.MeetingOnServer(b.ID, ref))
		}
	}
	switch len(found) {
	case 0:
		return nil, &failure{status: http.StatusNotFound, code: api.CodeNotFound, detail: fmt.Sprintf("there is no meeting %q: it has ended, or was never created", ref)}
	case 1:
		return found[0], nil
	}
	f := &failure{status: http.StatusConflict, code: api.CodeAmbiguous}
	for _, m := range found {
		f.refs = append(f.refs, string(state.KindFrontend)+"/"+m.Frontend)
	}
	f.detail = fmt.Sprintf("%d frontends have a meeting %q: name the frontend too, such as %s, or use the id that the server has for it", len(found), ref, found[0].Frontend)
	return nil, f
}

// getMeeting does GET /meetings/{id}.
func getMeeting(c *call) (answer, error) {
	v := c.s.cfg.Store.View()
	m, err := c.meeting(v)
	if err != nil {
		return answer{}, err
	}
	return answer{body: c.meetingAnswer(m), view: v}, nil
}

// endMeeting does DELETE /meetings/{id}.
func endMeeting(c *call) (answer, error) {
	if err := c.noBody(); err != nil {
		return answer{}, err
	}
	m, err := c.meeting(c.s.cfg.Store.View())
	if err != nil {
		return answer{}, err
	}
	return c.end(m)
}

// endMeetings does DELETE /meetings: all of a backend, of a frontend, or of a frontend on a backend.
func endMeetings(c *call) (answer, error) {
	if err := c.noBody(); err != nil {
		return answer{}, err
	}
	if !c.params.has(paramBackend) && !c.params.has(paramFrontend) {
		return answer{}, badParam(paramBackend, "say whose meetings are to end: ?backend=, ?frontend=, or both")
	}
	all, err := c.chosen(c.s.cfg.Store.View())
	if err != nil {
		return answer{}, err
	}
	return c.end(slices.Collect(all)...)
}

// end ends meetings, also if the client does not wait for it.
func (c *call) end(meetings ...*state.Meeting) (answer, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.r.Context()), c.s.cfg.WriteTimeout)
	defer cancel()
	out, err := c.s.cfg.Meetings.End(ctx, c.who.actor, meetings...)
	if err != nil {
		return answer{}, err
	}
	a := answer{body: out}
	if out.Later > 0 {
		a.status = http.StatusAccepted
	}
	return a, nil
}
