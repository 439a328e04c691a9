// Package apitest holds in-memory stand-ins for what package httpapi talks to, for tests of the API, of its
// clients and of lbctl: a [Store] that runs the real state.Apply behind a mutex, and a [Fake] of everything
// else, joined by [NewConfig].
package apitest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/lbnode/lbnode/state"
)

// Store is a cluster of one that never fails unless told to.
type Store struct {
	mu      sync.Mutex
	view    *state.View
	changed chan struct{} // closed and replaced at each change
	next    int           // generated request ids
	fail    []Failure
	stale   bool
}

// Failure is what becomes of one command.
type Failure struct {
	Err     error
	Applied bool // the command has its effect nevertheless
}

// NewStore returns an empty store of cluster "test-cluster", at index 1.
func NewStore() *Store {
	s := &Store{view: state.NewView(), changed: make(chan struct{})}
	s.apply(state.Command{Type: state.TypeInit, ClusterID: "test-cluster"})
	return s
}

func (s *Store) apply(c state.Command) state.Result {
	next, res := state.Apply(s.view, s.view.Index+1, 1, c)
	s.view = next
	close(s.changed)
	s.changed = make(chan struct{})
	return res
}

// View implements httpapi.Store.
func (s *Store) View() *state.View {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.view
}

// Fail sets what becomes of the next commands, one each.
func (s *Store) Fail(f ...Failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = f
}

// SetStale sets what Stale says.
func (s *Store) SetStale(stale bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stale = stale
}

// Stale implements httpapi.Store.
func (s *Store) Stale() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stale
}

// Do implements httpapi.Store. The command goes through the log's encoding, as in a real cluster.
func (s *Store) Do(ctx context.Context, c state.Command) (state.Result, error) {
	if err := ctx.Err(); err != nil {
		return state.Result{}, fmt.Errorf("%w: %w", state.ErrNoLeader, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.RequestID == "" {
		s.next++
		c.RequestID = fmt.Sprintf("generated-%d", s.next)
	}
	if c.At.IsZero() {
		c.At = time.Now().UTC()
	}
	b, err := state.Encode(c)
	if err != nil {
		return state.Result{}, err
	}
	if c, err = state.Decode(b); err != nil {
		return state.Result{}, err
	}
	if len(s.fail) > 0 {
		f := s.fail[0]
		s.fail = s.fail[1:]
		if f.Applied {
			s.apply(c)
		}
		if f.Err != nil {
			return state.Result{}, f.Err
		}
	}
	res := s.apply(c)
	if res.Refusal != nil {
		return res, res.Refusal
	}
	return res, nil
}

// Wait implements httpapi.Store.
func (s *Store) Wait(ctx context.Context, index uint64) error {
	for {
		s.mu.Lock()
		done, changed := s.view.Index >= index, s.changed
		s.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Watch implements httpapi.Store.
func (s *Store) Watch(ctx context.Context) <-chan *state.View {
	ch := make(chan *state.View, 1)
	go func() {
		defer close(ch)
		for {
			s.mu.Lock()
			v, changed := s.view, s.changed
			s.mu.Unlock()
			select {
			case <-ch: // nobody took the older one
			default:
			}
			ch <- v
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}()
	return ch
}
