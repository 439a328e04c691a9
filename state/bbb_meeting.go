package state

import (
	"bytes"
	"fmt"
	"iter"
	"strings"
	"time"

	iradix "github.com/hashicorp/go-immutable-radix/v2"
)

// Bounds of a meeting.
const (
	maxMeetingID    = 1024 // BigBlueButton allows 256, of what a server sees
	maxMeetingBytes = 32 << 10
)

// Meeting says on which server a tenant's meeting is, or is about to be. It is reserved in the log before the server
// is asked to create it, so that of two nodes with the same call one finds the other's reservation. Who attends is
// never in the log.
type Meeting struct {
	Frontend  string `json:"frontend"`            // id of the tenant
	ID        string `json:"id"`                  // as the tenant calls it
	ServerID  string `json:"server_id,omitempty"` // as the server calls it; "" = like ID
	BackendID string `json:"backend_id"`
	Reserved  uint64 `json:"reserved"`          // index at which it was placed on this backend
	Attempt   string `json:"attempt,omitempty"` // whose reservation it is, until it is confirmed

	Confirmed  bool      `json:"confirmed,omitzero"` // the server has created it
	InternalID string    `json:"internal_id,omitempty"`
	CreateTime int64     `json:"create_time,omitzero"` // as the server says, in ms since 1970
	Created    time.Time `json:"created"`              // when it was first reserved
	Recording  bool      `json:"recording,omitzero"`   // it may be recorded
	// Params are what callbacks and listings need of the call that created it.
	Params map[string]string `json:"params,omitempty"`
}

// OnServer is the id by which the server knows the meeting.
func (m *Meeting) OnServer() string {
	if m.ServerID == "" {
		return m.ID
	}
	return m.ServerID
}

// Key names the meeting.
func (m *Meeting) Key() MeetingKey { return MeetingKey{Frontend: m.Frontend, ID: m.ID} }

// MeetingKey names a meeting.
type MeetingKey struct {
	Frontend string `json:"frontend"`
	ID       string `json:"id"`
	// Reserved, if not 0, is the reservation that must be in force: what was seen of an older one does not count.
	Reserved uint64 `json:"reserved,omitzero"`
}

func (k MeetingKey) bytes() []byte { return []byte(k.Frontend + "\x00" + k.ID) }

// Stale is a copy of a meeting on a server that it was moved away from, or whose creation came too late. It must be
// ended there before the server can have a meeting of this id again.
type Stale struct {
	BackendID  string    `json:"backend_id"`
	MeetingID  string    `json:"meeting_id"` // as the server calls it
	InternalID string    `json:"internal_id,omitempty"`
	At         time.Time `json:"at"`
}

func (s Stale) key() []byte { return []byte(s.BackendID + "\x00" + s.MeetingID) }

// bbbTrees is what the log knows of meetings. It is a part of a view, and as immutable.
type bbbTrees struct {
	meetings   *iradix.Tree[*Meeting] // frontend NUL id
	byServer   *iradix.Tree[*Meeting] // backend NUL id on it
	byInternal *iradix.Tree[*Meeting] // internal id NUL frontend NUL id
	stales     *iradix.Tree[*Stale]   // backend NUL id on it
	callbacks  callbackTree
	recordings recordingTree
}

func newBBBTrees() bbbTrees {
	return bbbTrees{
		meetings: iradix.New[*Meeting](), byServer: iradix.New[*Meeting](), byInternal: iradix.New[*Meeting](),
		stales: iradix.New[*Stale](), callbacks: newCallbackTree(), recordings: newRecordingTree(),
	}
}

// Meeting returns a tenant's meeting by its own id.
func (v *View) Meeting(frontend, id string) (*Meeting, bool) {
	return v.bbb.meetings.Get(MeetingKey{Frontend: frontend, ID: id}.bytes())
}

// MeetingByInternal returns the meeting that a server gave an internal id.
func (v *View) MeetingByInternal(internalID string) (*Meeting, bool) {
	for m := range prefixed(v.bbb.byInternal, internalID+"\x00") {
		return m, true
	}
	return nil, false
}

// MeetingOnServer returns the meeting that a server knows by an id.
func (v *View) MeetingOnServer(backend, serverID string) (*Meeting, bool) {
	return v.bbb.byServer.Get([]byte(backend + "\x00" + serverID))
}

// Meetings goes through all meetings by tenant and id.
func (v *View) Meetings() iter.Seq[*Meeting] { return prefixed(v.bbb.meetings, "") }

// MeetingsOf goes through a tenant's meetings by id.
func (v *View) MeetingsOf(frontend string) iter.Seq[*Meeting] {
	return prefixed(v.bbb.meetings, frontend+"\x00")
}

// MeetingsOn goes through the meetings on a backend, by the server's ids.
func (v *View) MeetingsOn(backend string) iter.Seq[*Meeting] {
	return prefixed(v.bbb.byServer, backend+"\x00")
}

// HasMeetings says that a backend has meetings, and so is not drained.
func (v *View) HasMeetings(backend string) bool {
	for range v.MeetingsOn(backend) {
		return true
	}
	return false
}

// LenMeetings returns how many meetings there are.
func (v *View) LenMeetings() int { return v.bbb.meetings.Len() }

// Stales goes through the stale copies on a backend; "" = on all of them.
func (v *View) Stales(backend string) iter.Seq[*Stale] {
	if backend == "" {
		return prefixed(v.bbb.stales, "")
	}
	return prefixed(v.bbb.stales, backend+"\x00")
}

// Stale returns the stale copy that a backend has under an id.
func (v *View) Stale(backend, serverID string) (*Stale, bool) {
	return v.bbb.stales.Get(Stale{BackendID: backend, MeetingID: serverID}.key())
}

// prefixed goes through the values below a prefix in the order of their keys.
func prefixed[T any](t *iradix.Tree[T], prefix string) iter.Seq[T] {
	return func(yield func(T) bool) {
		it := t.Root().Iterator()
		it.SeekPrefix([]byte(prefix))
		for _, x, ok := it.Next(); ok; _, x, ok = it.Next() {
			if !yield(x) {
				return
			}
		}
	}
}

// put stores a meeting in the place of what was there.
func (b *bbbTrees) put(m *Meeting) {
	b.remove(m.Key())
	b.meetings, _, _ = b.meetings.Insert(m.Key().bytes(), m)
	b.byServer, _, _ = b.byServer.Insert([]byte(m.BackendID+"\x00"+m.OnServer()), m)
	if m.InternalID != "" {
		b.byInternal, _, _ = b.byInternal.Insert(m.internalKey(), m)
	}
}

func (b *bbbTrees) remove(k MeetingKey) {
	old, ok := b.meetings.Get(k.bytes())
	if !ok {
		return
	}
	b.meetings, _, _ = b.meetings.Delete(k.bytes())
	b.byServer, _, _ = b.byServer.Delete([]byte(old.BackendID + "\x00" + old.OnServer()))
	if old.InternalID != "" {
		b.byInternal, _, _ = b.byInternal.Delete(old.internalKey())
	}
}

func (m *Meeting) internalKey() []byte {
	return bytes.Join([][]byte{[]byte(m.InternalID), m.Key().bytes()}, []byte{0})
}

func (b *bbbTrees) putStale(s *Stale) { b.stales, _, _ = b.stales.Insert(s.key(), s) }

func (b *bbbTrees) removeStale(s *Stale) { b.stales, _, _ = b.stales.Delete(s.key()) }

// forgetBackend drops what is known of the meetings on a backend that is no more.
func (b *bbbTrees) forgetBackend(id string) {
	for m := range prefixed(b.byServer, id+"\x00") {
		b.remove(m.Key())
	}
	b.stales, _ = b.stales.DeletePrefix([]byte(id + "\x00"))
}

// forgetFrontend drops a tenant's meetings, callbacks and recordings. Meetings go on where they are until their
// people leave.
func (b *bbbTrees) forgetFrontend(id string) {
	for m := range prefixed(b.meetings, id+"\x00") {
		b.remove(m.Key())
	}
	for c := range prefixed(b.callbacks.byID, "") {
		if c.Frontend == id {
			b.callbacks.remove(c.ID)
		}
	}
	for r := range prefixed(b.recordings.byTenant, id+"\x00") {
		b.recordings.remove(r.ID)
	}
}

// check says what is wrong with a meeting, or "".
func (m *Meeting) check() string {
	size := len(m.ID) + len(m.ServerID) + len(m.InternalID) + len(m.Attempt)
	for k, v := range m.Params {
		size += len(k) + len(v)
	}
	switch {
	case CheckID(m.Frontend) != "":
		return "frontend " + CheckID(m.Frontend)
	case CheckID(m.BackendID) != "":
		return "backend_id " + CheckID(m.BackendID)
	case size > maxMeetingBytes:
		return fmt.Sprintf("must have at most %d bytes, got %d", maxMeetingBytes, size)
	}
	if msg := checkMeetingID(m.ID); msg != "" {
		return "id " + msg
	}
	if msg := checkMeetingID(m.OnServer()); msg != "" {
		return "server_id " + msg
	}
	if strings.ContainsRune(m.InternalID, 0) {
		return "internal_id must be without NUL"
	}
	return ""
}

func checkMeetingID(id string) string {
	if id == "" || len(id) > maxMeetingID || strings.ContainsFunc(id, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return fmt.Sprintf("must be 1 to %d bytes without control characters", maxMeetingID)
	}
	return ""
}
