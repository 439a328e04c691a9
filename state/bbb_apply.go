package state

import "fmt"

// TypeBBB is the type of commands about meetings and what comes of them: [Command.BBB], in order, all or nothing.
// They leave no trace in the history, unless an operator has ordered them: then [Command.Note] says what. Each operation is idempotent, so that a command
// whose outcome is unknown can be sent again without a request id.
const TypeBBB CommandType = 5

// The refusal codes of commands about meetings.
const (
	CodeUnavailable Code = "unavailable" // the backend takes no new meeting: another one may
	CodeQuota       Code = "quota"       // the tenant has as many meetings as it may have
)

// maxEnded bounds the meetings that one operation ends.
const maxEnded = 10_000

// BBBOp is one operation; exactly one field is set.
type BBBOp struct {
	Bind    *BindMeeting    `json:"bind,omitempty"`
	Confirm *ConfirmMeeting `json:"confirm,omitempty"`
	Move    *MoveMeeting    `json:"move,omitempty"`
	End     *EndMeetings    `json:"end,omitempty"`
	Clear   *ClearStale     `json:"clear,omitempty"`

	Enqueue *EnqueueCallbacks `json:"enqueue,omitempty"`
	Finish  *FinishCallbacks  `json:"finish,omitempty"`

	PutRecordings    *PutRecordings    `json:"put_recordings,omitempty"`
	PatchRecordings  *PatchRecordings  `json:"patch_recordings,omitempty"`
	DeleteRecordings *DeleteRecordings `json:"delete_recordings,omitempty"`
}

// BBBResult is what came of one operation.
type BBBResult struct {
	// Won says that the operation had, or once had, the effect that it was sent for. Otherwise another one was first.
	Won     bool     `json:"won,omitzero"`
	Meeting *Meeting `json:"meeting,omitempty"` // as it is now; nil = there is none
	Ended   int      `json:"ended,omitzero"`    // meetings that [EndMeetings] has ended

	Count      int      `json:"count,omitzero"`       // callbacks or recordings that the operation was about and found
	Recordings []string `json:"recordings,omitempty"` // ids of those
}

// BBB makes a command of operations.
func BBB(ops ...BBBOp) Command { return Command{Type: TypeBBB, BBB: ops} }

// BindMeeting reserves a meeting on a backend, unless there is one of this id: then that one is the result.
type BindMeeting struct {
	Frontend  string            `json:"frontend"`
	ID        string            `json:"id"`
	ServerID  string            `json:"server_id,omitempty"` // "" = like ID
	BackendID string            `json:"backend_id"`
	Attempt   string            `json:"attempt"` // random: tells the reservations of two callers apart
	Recording bool              `json:"recording,omitzero"`
	Params    map[string]string `json:"params,omitempty"`
	// InternalID says that the server has the meeting already: it is adopted, whatever the backend's admin state.
	InternalID string `json:"internal_id,omitempty"`
	CreateTime int64  `json:"create_time,omitzero"`
}

// ConfirmMeeting notes that the server has created a meeting. If it is no longer to be on that backend, what was
// created is noted as stale, and the result is not won.
type ConfirmMeeting struct {
	Frontend   string `json:"frontend"`
	ID         string `json:"id"`
	BackendID  string `json:"backend_id"`
	ServerID   string `json:"server_id,omitempty"`
	InternalID string `json:"internal_id,omitempty"`
	CreateTime int64  `json:"create_time,omitzero"`
	// Params, if there are any, take the place of those of the reservation.
	Params map[string]string `json:"params,omitempty"`
}

// MoveMeeting reserves a meeting anew on another backend, if it is still on From. What may run on From is noted as
// stale, even if it was never confirmed: the server may have created it all the same.
type MoveMeeting struct {
	Frontend string `json:"frontend"`
	ID       string `json:"id"`
	From     string `json:"from"`
	To       string `json:"to"`
	Attempt  string `json:"attempt"`
	// Clean says that the server on From has certainly not created it, so that nothing is left there.
	Clean bool `json:"clean,omitzero"`
}

// EndMeetings forgets meetings. Those that are not there, or have been placed anew, are left out.
type EndMeetings struct {
	Keys []MeetingKey `json:"keys"`
	// Stale notes what is left of them on their backends as stale, so that it is ended there.
	Stale bool `json:"stale,omitzero"`
}

// ClearStale notes that stale copies are no more.
type ClearStale struct {
	Stales []Stale `json:"stales"` // At is not compared
}

// bbb applies the operations of a command.
func (a *applier) bbb(ops []BBBOp) ([]BBBResult, *Refusal) {
	out := make([]BBBResult, 0, len(ops))
	for i, op := range ops {
		res, refusal := a.bbbOp(op)
		if refusal != nil {
			refusal.Op = i
			return nil, refusal
		}
		out = append(out, res)
	}
	return out, nil
}

func (a *applier) bbbOp(op BBBOp) (BBBResult, *Refusal) {
	switch {
	case op.Bind != nil:
		return a.bind(op.Bind)
	case op.Confirm != nil:
		return a.confirmMeeting(op.Confirm), nil
	case op.Move != nil:
		return a.move(op.Move)
	case op.End != nil:
		return a.end(op.End)
	case op.Clear != nil:
		for _, s := range op.Clear.Stales {
			if old, ok := a.t.v.Stale(s.BackendID, s.MeetingID); ok && old.InternalID == s.InternalID {
				a.t.v.bbb.removeStale(old)
			}
		}
		return BBBResult{Won: true}, nil
	case op.Enqueue != nil:
		return a.enqueue(op.Enqueue)
	case op.Finish != nil:
		return a.finish(op.Finish)
	case op.PutRecordings != nil:
		return a.putRecordings(op.PutRecordings)
	case op.PatchRecordings != nil:
		return a.patchRecordings(op.PatchRecordings)
	case op.DeleteRecordings != nil:
		return a.deleteRecordings(op.DeleteRecordings), nil
	}
	return BBBResult{}, &Refusal{Code: CodeInvalid, Message: "the operation says nothing"}
}

func (a *applier) bind(op *BindMeeting) (BBBResult, *Refusal) {
	m := &Meeting{
		Frontend: op.Frontend, ID: op.ID, ServerID: op.ServerID, BackendID: op.BackendID, Reserved: a.index, Attempt: op.Attempt,
		Created: a.at, Recording: op.Recording, Params: op.Params,
		Confirmed: op.InternalID != "", InternalID: op.InternalID, CreateTime: op.CreateTime,
	}
	if m.ServerID == m.ID {
		m.ServerID = ""
	}
	if msg := m.check(); msg != "" {
		return BBBResult{}, &Refusal{Code: CodeInvalid, Message: "the meeting's " + msg}
	}
	if old, ok := a.t.v.Meeting(op.Frontend, op.ID); ok {
		return BBBResult{Won: old.Attempt == op.Attempt && op.Attempt != "" && old.BackendID == op.BackendID, Meeting: old}, nil
	}
	f, ok := a.t.get(KindFrontend, op.Frontend).(*Frontend)
	if !ok {
		return BBBResult{}, &Refusal{Code: CodeNotFound, Message: fmt.Sprintf("there is no frontend %q", op.Frontend)}
	}
	if refusal := a.takes(m, op.InternalID != ""); refusal != nil {
		return BBBResult{}, refusal
	}
	if most := f.BBB.MeetingQuota; most > 0 && op.InternalID == "" {
		n := 0
		for range a.t.v.MeetingsOf(op.Frontend) {
			n++
		}
		if n >= most {
			return BBBResult{}, &Refusal{Code: CodeQuota, Message: fmt.Sprintf("frontend %q has %d meetings, which is its quota", op.Frontend, n)}
		}
	}
	a.t.v.bbb.put(m)
	return BBBResult{Won: true, Meeting: m}, nil
}

// takes says why a meeting cannot be placed on its backend; nil = it can. One that runs there already can stay on a
// backend that is out of use.
func (a *applier) takes(m *Meeting, running bool) *Refusal {
	why := ""
	b, ok := a.t.get(KindBackend, m.BackendID).(*Backend)
	other, taken := a.t.v.MeetingOnServer(m.BackendID, m.OnServer())
	_, stale := a.t.v.Stale(m.BackendID, m.OnServer())
	switch {
	case !ok:
		why = "there is no such backend"
	case b.AdminState != AdminReady && !running:
		why = "it is " + string(b.AdminState)
	case taken && other.Key() != m.Key():
		why = "it has another tenant's meeting of this id"
	case stale:
		why = "an older copy of the meeting has not been ended there yet"
	default:
		return nil
	}
	return &Refusal{Code: CodeUnavailable, Message: fmt.Sprintf("backend %q does not take the meeting: %s", m.BackendID, why), Refs: []string{string(KindBackend) + "/" + m.BackendID}}
}

func (a *applier) confirmMeeting(op *ConfirmMeeting) BBBResult {
	m, ok := a.t.v.Meeting(op.Frontend, op.ID)
	if !ok || m.BackendID != op.BackendID {
		serverID := op.ServerID
		if serverID == "" {
			serverID = op.ID
		}
		a.leave(op.BackendID, serverID, op.InternalID)
		return BBBResult{Meeting: m}
	}
	next := *m
	next.Confirmed, next.InternalID, next.CreateTime = true, op.InternalID, op.CreateTime
	if len(op.Params) > 0 {
		next.Params = op.Params
	}
	if next.check() != "" { // what the server says is too much to keep; the reservation stands
		return BBBResult{Won: true, Meeting: m}
	}
	a.t.v.bbb.put(&next)
	return BBBResult{Won: true, Meeting: &next}
}

func (a *applier) move(op *MoveMeeting) (BBBResult, *Refusal) {
	m, ok := a.t.v.Meeting(op.Frontend, op.ID)
	if !ok {
		return BBBResult{}, nil
	}
	if m.BackendID != op.From || op.From == op.To {
		return BBBResult{Won: m.BackendID == op.To && m.Attempt == op.Attempt && op.Attempt != "", Meeting: m}, nil
	}
	next := *m
	next.BackendID, next.Reserved, next.Attempt = op.To, a.index, op.Attempt
	next.Confirmed, next.InternalID, next.CreateTime = false, "", 0
	if msg := next.check(); msg != "" {
		return BBBResult{}, &Refusal{Code: CodeInvalid, Message: "the meeting's " + msg}
	}
	if refusal := a.takes(&next, false); refusal != nil {
		return BBBResult{}, refusal
	}
	a.t.v.bbb.put(&next)
	if !op.Clean {
		a.leave(m.BackendID, m.OnServer(), m.InternalID)
	}
	return BBBResult{Won: true, Meeting: &next}, nil
}

func (a *applier) end(op *EndMeetings) (BBBResult, *Refusal) {
	if len(op.Keys) > maxEnded {
		return BBBResult{}, &Refusal{Code: CodeInvalid, Message: fmt.Sprintf("at most %d meetings can be ended at once, got %d", maxEnded, len(op.Keys))}
	}
	res := BBBResult{Won: true}
	for _, k := range op.Keys {
		m, ok := a.t.v.Meeting(k.Frontend, k.ID)
		if !ok || k.Reserved != 0 && k.Reserved != m.Reserved {
			continue
		}
		a.t.v.bbb.remove(k)
		if op.Stale {
			a.leave(m.BackendID, m.OnServer(), m.InternalID)
		}
		res.Ended++
	}
	return res, nil
}

// ordered is the entry of the history for meetings that an operator has had ended; nil if none were, or nobody has.
func ordered(c Command, res Result) *Change {
	if c.Type != TypeBBB || c.Note == "" {
		return nil
	}
	for _, r := range res.BBB {
		if r.Ended > 0 {
			out := &Change{Index: res.Index, At: c.At, Actor: c.Actor, RequestID: c.RequestID, Note: c.Note, Summary: c.Note, Objects: []ObjectChange{}}
			out.measure()
			return out
		}
	}
	return nil
}

// leave notes what is to be ended on a backend. One that is gone cannot be asked.
func (a *applier) leave(backend, serverID, internalID string) {
	if a.t.get(KindBackend, backend) == nil || checkMeetingID(serverID) != "" || len(internalID) > maxMeetingID {
		return
	}
	if _, ok := a.t.v.MeetingOnServer(backend, serverID); ok { // the id is somebody's by now
		return
	}
	a.t.v.bbb.putStale(&Stale{BackendID: backend, MeetingID: serverID, InternalID: internalID, At: a.at})
}
