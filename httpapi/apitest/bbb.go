package apitest

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/httpapi"
	"github.com/lbnode/lbnode/state"
)

// Report implements httpapi.Loads.
func (f *Fake) Report(backendID string, r httpapi.LoadReport) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.Loads == nil {
		f.Loads = map[string]httpapi.LoadReport{}
	}
	f.Loads[backendID] = r
}

// Progress implements httpapi.Callbacks.
func (f *Fake) Progress(context.Context) map[string]httpapi.CallbackProgress {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.Tried)
}

// meetings is an httpapi.Meetings over a store: End forgets them, those on silent servers for later.
type meetings struct {
	s *Store
	f *Fake
}

func (m meetings) Seen(backendID, serverID string) (httpapi.MeetingSeen, bool) {
	m.f.mu.Lock()
	defer m.f.mu.Unlock()
	seen, ok := m.f.Listed[backendID+"/"+serverID]
	return seen, ok
}

func (m meetings) End(ctx context.Context, actor string, all ...*state.Meeting) (api.MeetingsEnded, error) {
	m.f.mu.Lock()
	defer m.f.mu.Unlock()
	var out api.MeetingsEnded
	for _, one := range all {
		end := &state.EndMeetings{Keys: []state.MeetingKey{one.Key()}}
		if m.f.Silent[one.BackendID] {
			end.Stale = true
			out.Later++
			out.Error = fmt.Sprintf("backend %q does not answer", one.BackendID)
		} else {
			out.Ended++
		}
		cmd := state.BBB(state.BBBOp{End: end})
		cmd.Actor, cmd.Note, cmd.At = actor, "end meeting "+one.ID, time.Now().UTC()
		if _, err := m.s.Do(ctx, cmd); err != nil {
			return out, err
		}
	}
	return out, nil
}
