package bbb

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/lbnode/lbnode/bbb/server"
	"github.com/lbnode/lbnode/bbb/sign"
	"github.com/lbnode/lbnode/bbb/xml"
	"github.com/lbnode/lbnode/state"
)

var (
	notFound = refused(xml.KeyNotFound, "A meeting with that ID does not exist")
	silent   = refused(xml.KeyServer, "The server of the meeting does not answer at present. Please try again.")
)

// call makes a call of the server at a backend.
func (g *Gateway) call(ctx context.Context, backend, call string, q *request, p sign.Params) (*server.Answer, error) {
	s, err := g.server(backend)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", server.ErrNotSent, err)
	}
	return g.cfg.Client.Call(ctx, s, call, p, q.body)
}

func (g *Gateway) server(backend string) (server.Server, error) {
	b, ok := g.cfg.Store.View().Backend(backend)
	if !ok {
		return server.Server{}, fmt.Errorf("there is no backend %q", backend)
	}
	return server.Of(&b.BackendSpec)
}

// back is a server's answer as the tenant gets it.
func (g *Gateway) back(q *request, a *server.Answer) answer {
	doc, err := q.rewrite(a.Doc)
	if err != nil { // the client has read it before
		return silent
	}
	return answer{doc: doc}
}

// newest is a view that is as new as the leader's was, unless it cannot be had in time.
func (g *Gateway) newest(ctx context.Context) *state.View {
	if g.cfg.CatchUp != nil {
		ctx, cancel := context.WithTimeout(ctx, g.cfg.CatchUpWithin)
		defer cancel()
		if err := g.cfg.CatchUp(ctx); err != nil {
			g.cfg.Log.Debug("answered by what this node has", "error", err)
		}
	}
	return g.cfg.Store.View()
}

// meeting finds the meeting that a call is about. Another node may have created it a moment ago.
func (g *Gateway) meeting(ctx context.Context, q *request) (*state.View, *state.Meeting, bool) {
	id := q.p.Get("meetingID")
	v := g.cfg.Store.View()
	m, ok := v.Meeting(q.ID, id)
	if !ok {
		v = g.newest(ctx)
		m, ok = v.Meeting(q.ID, id)
	}
	return v, m, ok
}

// join sends a browser to the server that has the meeting, or asks it for the tenant if the browser is to stay.
func (g *Gateway) join(ctx context.Context, q *request) answer {
	v, m, ok := g.meeting(ctx, q)
	if !ok {
		return notFound
	}
	if b, ok := v.Backend(m.BackendID); !ok || b.Verdict == state.VerdictDown {
		return silent
	}
	if g.full(v, q.tenant, m) {
		return refused(xml.KeyMaxParticipants, "The number of participants allowed has been reached.")
	}
	p := merge(q.p, q.BBB.JoinDefault, q.BBB.JoinOverride).With("meetingID", m.OnServer())
	if strings.EqualFold(p.Get("redirect"), "false") {
		a, err := g.call(ctx, m.BackendID, q.call, q, p)
		if err != nil {
			return g.failed(q, m, err)
		}
		if a.OK {
			g.cfg.Loads.Joined(m.BackendID)
		}
		return g.back(q, a)
	}
	s, err := g.server(m.BackendID)
	if err != nil {
		return g.failed(q, m, err)
	}
	u, err := g.cfg.Client.URL(ctx, s, q.call, p)
	if err != nil {
		return g.failed(q, m, err)
	}
	g.cfg.Loads.Joined(m.BackendID)
	return answer{location: u}
}

// full says that a tenant has as many attendees as it may have, by what the servers last said.
func (g *Gateway) full(v *state.View, t tenant, m *state.Meeting) bool {
	if most := t.BBB.AttendeeQuota; most > 0 {
		if on, ok := g.cfg.Loads.Meeting(m.BackendID, m.OnServer()); ok && on.Attendees >= most {
			return true
		}
	}
	if t.BBB.AttendeesLimit == 0 {
		return false
	}
	n := 0
	for each := range v.MeetingsOf(t.ID) {
		if on, ok := g.cfg.Loads.Meeting(each.BackendID, each.OnServer()); ok {
			n += on.Attendees
		}
	}
	return n >= t.BBB.AttendeesLimit
}

// pass forwards a call about a meeting to the server that has it.
func (g *Gateway) pass(ctx context.Context, q *request) answer {
	_, m, ok := g.meeting(ctx, q)
	switch {
	case !ok && q.call == "isMeetingRunning":
		return answer{doc: xml.Answer(xml.Field{Name: "running", Text: "false"})}
	case !ok:
		return notFound
	}
	a, err := g.call(ctx, m.BackendID, q.call, q, q.p.With("meetingID", m.OnServer()))
	if err != nil {
		return g.failed(q, m, err)
	}
	if q.call == "end" && (a.OK || a.Key == xml.KeyNotFound) {
		key := m.Key()
		key.Reserved = m.Reserved
		if _, err := g.cfg.Store.Do(ctx, state.BBB(state.BBBOp{End: &state.EndMeetings{Keys: []state.MeetingKey{key}}})); err != nil {
			g.cfg.Log.Warn("ended meeting not forgotten yet", "frontend", q.ID, "error", err)
		}
	}
	return g.back(q, a)
}

func (g *Gateway) failed(q *request, m *state.Meeting, err error) answer {
	g.cfg.Log.Warn("call not answered by the server of the meeting", "call", q.call, "backend", m.BackendID, "frontend", q.ID, "error", err)
	return silent
}

// maxAsked is how many servers are asked at a time for their meetings.
const maxAsked = 64

// list is the meetings of the tenant on all servers that have some of it. Those that do not answer in time are left out.
func (g *Gateway) list(ctx context.Context, q *request) answer {
	v := g.newest(ctx)
	var backends []string
	seen := map[string]bool{}
	for m := range v.MeetingsOf(q.ID) {
		if !seen[m.BackendID] {
			seen[m.BackendID] = true
			backends = append(backends, m.BackendID)
		}
	}
	slices.Sort(backends)
	ctx, cancel := context.WithTimeout(ctx, g.cfg.ListWithin)
	defer cancel()
	parts := make([][]byte, len(backends))
	room := make(chan struct{}, maxAsked)
	var wg sync.WaitGroup
	for i, id := range backends {
		room <- struct{}{}
		wg.Go(func() {
			defer func() { <-room }()
			a, err := g.call(ctx, id, "getMeetings", q, nil)
			if err == nil {
				parts[i], err = own(v, q.tenant, id, a.Doc)
			}
			if err != nil {
				g.cfg.Log.Warn("getMeetings without a server", "backend", id, "frontend", q.ID, "error", err)
			}
		})
	}
	wg.Wait()
	all := bytes.Join(parts, nil)
	if len(all) == 0 {
		return answer{doc: xml.Answer(xml.Field{Name: "meetings"}, xml.Field{Name: "messageKey", Text: xml.KeyNoMeetings}, xml.Field{Name: "message", Text: "no meetings were found on this server"})}
	}
	return answer{doc: xml.Answer(xml.Field{Name: "meetings", Raw: all})}
}

// own is the elements of those meetings in a server's list that are the tenant's, with its ids. Copies that have been
// placed elsewhere are left out.
func own(v *state.View, t tenant, backend string, doc []byte) ([]byte, error) {
	var out []byte
	var id, parent string
	err := xml.Walk(doc, func(e *xml.Element) error {
		if len(e.Path) < 3 || e.Path[1] != "meetings" || e.Path[2] != "meeting" {
			return nil
		}
		switch {
		case len(e.Path) == 4 && e.Path[3] == "meetingID":
			id = e.Text()
		case len(e.Path) == 4 && e.Path[3] == "parentMeetingID":
			parent = e.Text()
		case len(e.Path) == 3:
			mine := isOwn(v, t, backend, id, parent)
			id, parent = "", ""
			if !mine {
				return nil
			}
			part, err := t.rewrite(e.Raw)
			if err != nil {
				return err
			}
			out = append(out, part...)
		}
		return nil
	})
	return out, err
}

func isOwn(v *state.View, t tenant, backend, id, parent string) bool {
	if m, ok := v.MeetingOnServer(backend, id); ok {
		return m.Frontend == t.ID
	}
	if parent == "" {
		return false
	}
	m, ok := v.MeetingByInternal(parent) // of a breakout room, which the server has made itself
	if !ok {
		m, ok = v.MeetingOnServer(backend, parent)
	}
	return ok && m.Frontend == t.ID && m.BackendID == backend
}
