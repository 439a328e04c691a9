package bbb

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lbnode/lbnode/state"
)

// lagging is the store of a node that has not applied yet what another one has.
type lagging struct {
	*world
	old atomic.Pointer[state.View] // nil = it is up to date
}

func (l *lagging) View() *state.View {
	if v := l.old.Load(); v != nil {
		return v
	}
	return l.world.View()
}

func TestGateway_meetingOfAnotherNode(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		catchUp func(ctx context.Context, l *lagging) error
		found   bool
	}{
		"catches up": {func(_ context.Context, l *lagging) error { l.old.Store(nil); return nil }, true},
		"no leader":  {func(context.Context, *lagging) error { return state.ErrNoLeader }, false},
		"the leader does not answer": {func(ctx context.Context, _ *lagging) error {
			if _, ok := ctx.Deadline(); !ok {
				return errors.New("no deadline")
			}
			<-ctx.Done()
			return ctx.Err()
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 1)
			l := &lagging{world: w}
			g := w.nodes[1]
			g.cfg.Store, g.cfg.CatchUpWithin = l, 20*time.Millisecond
			g.cfg.CatchUp = func(ctx context.Context) error { return c.catchUp(ctx, l) }
			before := w.View()
			doc, _ := w.call(0, "uni", "s1", "create", "name", "A", "meetingID", "room")
			wants(t, doc, "SUCCESS")
			for _, want := range []struct{ call, found, missing string }{
				{"join", "<session_token>", "notFound"},
				{"isMeetingRunning", "<running>true", "<running>false"},
				{"getMeetingInfo", "<meetingID>room</meetingID>", "notFound"},
				{"getMeetings", "<meetingID>room</meetingID>", "noMeetings"},
				{"sendChatMessage", "SUCCESS", "notFound"},
			} {
				l.old.Store(before)
				doc, _ := w.call(1, "uni", "s1", want.call, "meetingID", "room", "fullName", "B", "role", "VIEWER", "redirect", "false", "message", "m")
				if c.found {
					wants(t, doc, want.found)
				} else {
					wants(t, doc, want.missing)
				}
			}
		})
	}
}
