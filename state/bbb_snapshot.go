package state

import "fmt"

// bbb writes what the log knows of meetings, and what comes of them.
func (s *snapshotWriter) bbb(v *View) error {
	for m := range v.Meetings() {
		if err := s.line(snapshotRecord{Meeting: m}); err != nil {
			return err
		}
	}
	for st := range v.Stales("") {
		if err := s.line(snapshotRecord{Stale: st}); err != nil {
			return err
		}
	}
	for c := range v.Callbacks() {
		if err := s.line(snapshotRecord{Callback: c}); err != nil {
			return err
		}
	}
	for r := range v.Recordings() {
		if err := s.line(snapshotRecord{Recording: r}); err != nil {
			return err
		}
	}
	return nil
}

// loadBBB puts what bbb wrote in place; known is false for any other record.
func (v *View) loadBBB(rec snapshotRecord) (known bool, err error) {
	switch {
	case rec.Meeting != nil:
		return true, v.loadMeeting(rec.Meeting)
	case rec.Stale != nil:
		return true, v.loadStale(rec.Stale)
	case rec.Callback != nil:
		if msg := rec.Callback.check(); msg != "" {
			return true, fmt.Errorf("callback: %s", msg)
		}
		v.bbb.callbacks.put(rec.Callback)
		return true, nil
	case rec.Recording != nil:
		if msg := rec.Recording.check(); msg != "" {
			return true, fmt.Errorf("recording: %s", msg)
		}
		v.bbb.recordings.put(rec.Recording)
		return true, nil
	}
	return false, nil
}

func (v *View) loadMeeting(m *Meeting) error {
	if msg := m.check(); msg != "" {
		return fmt.Errorf("meeting: %s", msg)
	}
	v.bbb.put(m)
	return nil
}

func (v *View) loadStale(s *Stale) error {
	if msg := CheckID(s.BackendID); msg != "" {
		return fmt.Errorf("stale meeting: backend_id %s", msg)
	}
	if msg := checkMeetingID(s.MeetingID); msg != "" {
		return fmt.Errorf("stale meeting: meeting_id %s", msg)
	}
	v.bbb.putStale(s)
	return nil
}
