package bbb

import (
	"context"
	"crypto/rand"
	"errors"
	"strconv"

	"github.com/lbnode/lbnode/bbb/place"
	"github.com/lbnode/lbnode/bbb/server"
	"github.com/lbnode/lbnode/bbb/xml"
	"github.com/lbnode/lbnode/state"
)

// maxServers bounds the servers that one create tries.
const maxServers = 5

var unavailable = refused(xml.KeyServer, "There is no server for the meeting at present. Please try again.")

// creation is one create on its way.
type creation struct {
	g       *Gateway
	q       *request
	id      string // the tenant's
	attempt string
	tried   []string
	m       *state.Meeting // the reservation in force; nil = none
}

// create has a meeting created on the server that it is reserved on, and reserves it first if it is new.
func (g *Gateway) create(ctx context.Context, q *request) answer {
	c := &creation{g: g, q: q, id: q.p.Get("meetingID"), attempt: rand.Text()}
	if q.p.Get("name") == "" && q.BBB.CreateDefault["name"] == "" && q.BBB.CreateOverride["name"] == "" {
		return refused(xml.KeyMissingName, "You must specify a name for the meeting.")
	}
	if msg := q.checkID(c.id); msg != "" {
		return refused(xml.KeyValidation, msg)
	}
	p := q.p
	if g.cfg.Callbacks != nil {
		p = g.cfg.Callbacks.Create(q.Frontend, c.id, q.base, p)
	}
	q.p, q.body = createParams(q.tenant, p), presentation(q.BBB.DefaultPresentation, q.body)
	for range maxServers {
		if bad := c.reserve(ctx); bad != nil {
			return *bad
		}
		a, done := c.ask(ctx)
		if done {
			return a
		}
	}
	return unavailable
}

// reserve finds the meeting's place in the state, or makes one. The result is nil if c.m is set.
func (c *creation) reserve(ctx context.Context) *answer {
	for range maxServers {
		v := c.g.cfg.Store.View()
		c.m, _ = v.Meeting(c.q.ID, c.id)
		if c.m != nil && !place.Movable(v, c.m.BackendID, c.g.cfg.Now()) {
			return nil
		}
		to, ok := c.place(v)
		if !ok {
			return &unavailable
		}
		op := state.BBBOp{Bind: &state.BindMeeting{
			Frontend: c.q.ID, ID: c.id, ServerID: c.q.onServer(c.id), BackendID: to, Attempt: c.attempt,
			Recording: c.q.p.Get("record") == "true",
		}}
		if c.m != nil {
			op = state.BBBOp{Move: &state.MoveMeeting{Frontend: c.q.ID, ID: c.id, From: c.m.BackendID, To: to, Attempt: c.attempt}}
		}
		if again, bad := c.do(ctx, op, to); bad != nil || !again {
			return bad
		}
	}
	return &unavailable
}

// place is the best server that has not been tried.
func (c *creation) place(v *state.View) (string, bool) {
	candidates := place.Candidates(v, "", c.q.onServer(c.id), c.g.cfg.Loads, c.g.cfg.Now())
	id, _, ok := place.Choose(place.Want{Tags: c.q.RequiredTags, Not: c.tried}, candidates)
	return id, ok
}

// do commits a reservation; again says that another server is to be taken.
func (c *creation) do(ctx context.Context, op state.BBBOp, to string) (again bool, bad *answer) {
	res, err := c.g.cfg.Store.Do(ctx, state.BBB(op))
	if r, is := errors.AsType[*state.Refusal](err); is {
		switch r.Code {
		case state.CodeUnavailable:
			c.tried = append(c.tried, to)
			return true, nil
		case state.CodeQuota:
			return false, new(refused(xml.KeyQuota, "The tenant has as many meetings as it may have."))
		}
	}
	if err != nil || len(res.BBB) != 1 {
		c.g.cfg.Log.Warn("meeting not reserved", "frontend", c.q.ID, "error", err)
		return false, &unavailable
	}
	c.m = res.BBB[0].Meeting
	return c.m == nil, nil // it was ended meanwhile
}

// ask has the server create the meeting. done is false if another round is to be made.
func (c *creation) ask(ctx context.Context) (a answer, done bool) {
	m := c.m
	got, err := c.g.call(ctx, m.BackendID, c.q.call, c.q, c.q.p)
	switch {
	case err == nil && got.OK:
		return c.created(ctx, m, got)
	case err == nil && got.Key != xml.KeyInternal:
		if !m.Confirmed && m.Attempt == c.attempt {
			c.release(ctx, m)
		}
		return c.g.back(c.q, got), true
	}
	c.g.cfg.Log.Warn("server did not create a meeting", "backend", m.BackendID, "frontend", c.q.ID, "error", err)
	c.tried = append(c.tried, m.BackendID)
	if m.Confirmed {
		return unavailable, true // it may well run there
	}
	to, ok := c.place(c.g.cfg.Store.View())
	if !ok {
		return unavailable, true
	}
	clean := m.Attempt == c.attempt && (err == nil || errors.Is(err, server.ErrNotSent) || errors.Is(err, server.ErrSecret))
	_, bad := c.do(ctx, state.BBBOp{Move: &state.MoveMeeting{Frontend: c.q.ID, ID: c.id, From: m.BackendID, To: to, Attempt: c.attempt, Clean: clean}}, to)
	if bad != nil {
		return *bad, true
	}
	return answer{}, false
}

// created notes that the server has the meeting. Without a leader the reservation, which is in the log, stands for it.
func (c *creation) created(ctx context.Context, m *state.Meeting, got *server.Answer) (answer, bool) {
	internal, _ := xml.Text(got.Doc, "response", "internalMeetingID")
	if m.Confirmed && m.InternalID == internal {
		return c.g.back(c.q, got), true
	}
	at, _ := xml.Text(got.Doc, "response", "createTime")
	ms, _ := strconv.ParseInt(at, 10, 64)
	res, err := c.g.cfg.Store.Do(ctx, state.BBB(state.BBBOp{Confirm: &state.ConfirmMeeting{
		Frontend: c.q.ID, ID: c.id, BackendID: m.BackendID, ServerID: m.OnServer(), InternalID: internal, CreateTime: ms,
	}}))
	if err != nil {
		c.g.cfg.Log.Warn("created meeting not confirmed", "backend", m.BackendID, "frontend", c.q.ID, "error", err)
	} else if len(res.BBB) == 1 && !res.BBB[0].Won {
		return answer{}, false // it was placed elsewhere meanwhile; this copy is noted as stale
	}
	return c.g.back(c.q, got), true
}

// release takes back a reservation that came to nothing.
func (c *creation) release(ctx context.Context, m *state.Meeting) {
	key := m.Key()
	key.Reserved = m.Reserved
	if _, err := c.g.cfg.Store.Do(ctx, state.BBB(state.BBBOp{End: &state.EndMeetings{Keys: []state.MeetingKey{key}}})); err != nil {
		c.g.cfg.Log.Warn("reservation not taken back", "frontend", c.q.ID, "error", err)
	}
}
