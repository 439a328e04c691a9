package fsm

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/lbnode/lbnode/state"
)

// Proposer commits one encoded command on whatever node leads and reports its response and log index. It
// may block until ctx ends. Its errors wrap [state.ErrNoLeader] when the command was certainly not applied
// and [state.ErrOutcomeUnknown] otherwise.
type Proposer interface {
	Propose(ctx context.Context, cmd []byte) (resp []byte, index uint64, err error)
}

// Store is the rest of the node's access to the replicated state. All methods may be called concurrently.
type Store struct {
	fsm *FSM
	p   Proposer
	now func() time.Time
}

// NewStore returns a store over an FSM and the way to propose. now stamps commands, for people to read.
func NewStore(f *FSM, p Proposer, now func() time.Time) *Store { return &Store{fsm: f, p: p, now: now} }

// View returns the newest view that this node has applied.
func (s *Store) View() *state.View { return s.fsm.View() }

// Wait returns once this node has applied the log up to index, or with ctx's error.
func (s *Store) Wait(ctx context.Context, index uint64) error { return s.fsm.Wait(ctx, index) }

// Do has the cluster apply a command and returns once this node has applied it too, so that its view shows
// the effect. RequestID and At are filled in when empty; a transaction whose outcome is unknown is sent again
// under its id. A refused command returns the result and its
// [*state.Refusal] as error; otherwise the errors are those of [Proposer].
func (s *Store) Do(ctx context.Context, c state.Command) (state.Result, error) {
	if c.RequestID == "" && c.Type == state.TypeTxn {
		c.RequestID = rand.Text()
	}
	if c.At.IsZero() {
		c.At = s.now().UTC()
	}
	b, err := state.Encode(c)
	if err != nil {
		return state.Result{}, err
	}
	resp, index, err := s.propose(ctx, c.RequestID != "" || c.Type == state.TypeBBB, b)
	if err != nil {
		return state.Result{}, err
	}
	res, err := state.DecodeResult(resp)
	if err != nil {
		return res, fmt.Errorf("%w: %w", state.ErrOutcomeUnknown, err)
	}
	if err := s.fsm.Wait(ctx, index); err != nil {
		return res, fmt.Errorf("%w: the cluster applied it at index %d, this node has not yet: %w", state.ErrOutcomeUnknown, index, err)
	}
	if res.Refusal != nil {
		return res, res.Refusal
	}
	return res, nil
}

// maxSends bounds how often one command is sent.
const maxSends = 3

// propose sends a command again whose outcome is unknown, as when the leader dies with it, if it has its effect
// once all the same: under its request id, by which the answer is the first one's, or by its nature.
func (s *Store) propose(ctx context.Context, repeatable bool, cmd []byte) (resp []byte, index uint64, err error) {
	for sent := 1; ; sent++ {
		resp, index, err = s.p.Propose(ctx, cmd)
		switch {
		case err == nil:
			return resp, index, nil
		case repeatable && errors.Is(err, state.ErrOutcomeUnknown) && sent < maxSends && ctx.Err() == nil:
		case sent > 1 && !errors.Is(err, state.ErrOutcomeUnknown): // this time it was not applied, but before?
			return nil, 0, fmt.Errorf("%w: sent %d times: %w", state.ErrOutcomeUnknown, sent, err)
		default:
			return nil, 0, err
		}
	}
}

// Watch sends the newest view whenever there is a newer one, the current one at once. Views that the
// receiver is too slow for are left out. The channel is closed when ctx ends.
func (s *Store) Watch(ctx context.Context) <-chan *state.View {
	out := make(chan *state.View)
	go func() {
		defer close(out)
		var sent *state.View
		for {
			changed := s.fsm.next()
			v := s.fsm.View()
			if v == sent {
				select {
				case <-changed:
					continue
				case <-ctx.Done():
					return
				}
			}
			select {
			case out <- v:
				sent = v
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}
