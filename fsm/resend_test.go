package fsm

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/lbnode/lbnode/state"
)

// losing is a cluster whose leader is lost with some proposals: before or after they were applied.
type losing struct {
	inner Proposer
	// fates says for each proposal what becomes of it: "" answered, "lost" not applied and unknown, "deaf"
	// applied and unknown, "none" no leader. The last one holds for all further ones.
	fates []string
	sent  int
}

func (l *losing) Propose(ctx context.Context, cmd []byte) ([]byte, uint64, error) {
	fate := l.fates[min(l.sent, len(l.fates)-1)]
	l.sent++
	switch fate {
	case "lost":
		return nil, 0, state.ErrOutcomeUnknown
	case "none":
		return nil, 0, state.ErrNoLeader
	}
	resp, index, err := l.inner.Propose(ctx, cmd)
	if fate == "deaf" {
		return nil, 0, state.ErrOutcomeUnknown
	}
	return resp, index, err
}

// A write that got lost with its leader is sent again and has its effect once; what cannot be known is never
// called "not applied".
func TestStore_sendsAgainWhatIsUnknown(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		fates   []string
		sent    int
		err     error
		applied bool
	}{
		{[]string{""}, 1, nil, true},
		{[]string{"lost", ""}, 2, nil, true},
		{[]string{"deaf", ""}, 2, nil, true},
		{[]string{"deaf", "deaf", ""}, 3, nil, true},
		{[]string{"none"}, 1, state.ErrNoLeader, false},
		{[]string{"lost", "none"}, 2, state.ErrOutcomeUnknown, false},
		{[]string{"deaf", "none"}, 2, state.ErrOutcomeUnknown, true},
		{[]string{"lost"}, maxSends, state.ErrOutcomeUnknown, false},
	} {
		f := newFSM(t)
		l := &losing{inner: &single{fsm: f}, fates: tc.fates}
		s := NewStore(f, l, time.Now)
		res, err := s.Do(t.Context(), putBackend("a", 1))
		if !errors.Is(err, tc.err) || l.sent != tc.sent {
			t.Errorf("fates %q: Do = %v after %d proposals, want %v after %d", tc.fates, err, l.sent, tc.err, tc.sent)
		}
		b, ok := f.View().Backend("a")
		if ok != tc.applied {
			t.Errorf("fates %q: applied %v, want %v", tc.fates, ok, tc.applied)
		}
		if err == nil && (b.ModifyIndex != 1 || res.Ops[0].ModifyIndex != b.ModifyIndex || res.Ops[0].Effect != state.EffectCreated) {
			t.Errorf("fates %q: result %+v of backend %+v, want created once, by the first proposal that got through", tc.fates, res, b)
		}
	}
}

// Without a request id a repeat could have its effect twice.
func TestStore_sendsNothingTwiceWithoutRequestID(t *testing.T) {
	t.Parallel()
	f := newFSM(t)
	l := &losing{inner: &single{fsm: f}, fates: []string{"lost"}}
	s := NewStore(f, l, time.Now)
	_, err := s.Do(t.Context(), state.Command{Type: state.TypeInit, ClusterID: "c"})
	if !errors.Is(err, state.ErrOutcomeUnknown) || l.sent != 1 {
		t.Errorf("Do = %v after %d proposals, want unknown after 1", err, l.sent)
	}
}

// A meeting that was reserved with the answer lost is the caller's when it is sent again.
func TestStore_sendsMeetingsAgain(t *testing.T) {
	t.Parallel()
	f := newFSM(t)
	s := NewStore(f, &losing{inner: &single{fsm: f}, fates: []string{"", "", "deaf", ""}}, time.Now)
	if _, err := s.Do(t.Context(), putBackend("a", 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Do(t.Context(), state.Command{Type: state.TypeTxn, Ops: []state.Op{{Verb: state.VerbPut, Kind: state.KindFrontend, ID: "uni", Value: []byte(`{}`)}}}); err != nil {
		t.Fatal(err)
	}
	res, err := s.Do(t.Context(), state.BBB(state.BBBOp{Bind: &state.BindMeeting{Frontend: "uni", ID: "room", BackendID: "a", Attempt: "x"}}))
	if err != nil || len(res.BBB) != 1 || !res.BBB[0].Won || res.BBB[0].Meeting.Reserved != 3 {
		t.Errorf("Do = %+v, %v, want the meeting won at index 3", res, err)
	}
}
