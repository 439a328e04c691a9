package fsm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/lbnode/lbnode/state"
)

// Config is what an FSM needs.
type Config struct {
	// Fatal is called at most once, when going on would let this node's state differ from the others':
	// a damaged or unknown entry. It must end the process; the entry is not skipped meanwhile.
	Fatal  func(error)
	Logger *slog.Logger
}

// FSM implements [raft.FSM]. Apply and Restore are called by Raft's one FSM goroutine; everything else may
// be called concurrently.
type FSM struct {
	cfg  Config
	view atomic.Pointer[state.View]

	mu      sync.Mutex // guards changed
	changed chan struct{}
}

// NewFSM returns an FSM with an empty view.
func NewFSM(cfg Config) *FSM {
	f := &FSM{cfg: cfg, changed: make(chan struct{})}
	f.view.Store(state.NewView())
	return f
}

// View returns the newest view. It is never nil.
func (f *FSM) View() *state.View { return f.view.Load() }

// Seed publishes a view that was read from disk. It is used before Raft starts, and Raft's first entry or
// snapshot replaces it.
func (f *FSM) Seed(v *state.View) { f.publish(v) }

func (f *FSM) publish(v *state.View) {
	f.view.Store(v)
	f.mu.Lock()
	close(f.changed)
	f.changed = make(chan struct{})
	f.mu.Unlock()
}

// next returns a channel that is closed when a view newer than the one published now comes.
func (f *FSM) next() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

// Apply implements [raft.FSM]. The response is the encoded [state.Result].
//
// A view from the view file may be ahead of the snapshot that Raft restored. Entries up to its index are
// committed and in it already, so they are skipped: the state never goes back.
func (f *FSM) Apply(l *raft.Log) any {
	cur := f.View()
	if l.Index <= cur.Index {
		return []byte(`{}`)
	}
	cmd, err := state.Decode(l.Data)
	if errors.Is(err, state.ErrIgnorable) {
		f.cfg.Logger.Info("skipped a log entry of a newer version", "index", l.Index, "error", err)
		cmd, err = state.Command{}, nil
	}
	if err != nil {
		return f.halt(fmt.Errorf("log entry %d: %w", l.Index, err))
	}
	next, res := state.Apply(cur, l.Index, l.Term, cmd)
	if res.Refusal != nil && res.Refusal.Code == state.CodeCluster {
		return f.halt(fmt.Errorf("log entry %d: %w", l.Index, res.Refusal))
	}
	resp, err := state.EncodeResult(res)
	if err != nil {
		return f.halt(fmt.Errorf("log entry %d: %w", l.Index, err))
	}
	f.publish(next)
	return resp
}

// halt reports and then holds Raft's FSM goroutine, so that the applied index never passes an entry that
// was not applied. The process ends meanwhile.
func (f *FSM) halt(err error) any {
	f.cfg.Fatal(err)
	select {}
}

// Snapshot implements [raft.FSM]. It only takes the pointer.
func (f *FSM) Snapshot() (raft.FSMSnapshot, error) { return snapshot{f.View()}, nil }

// Restore implements [raft.FSM]. A stream that is short or damaged leaves the view as it was.
func (f *FSM) Restore(r io.ReadCloser) error {
	defer r.Close()
	v, err := state.ReadSnapshot(r)
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	cur := f.View()
	if cur.ClusterID != "" && v.ClusterID != cur.ClusterID {
		return fmt.Errorf("restore: the snapshot is of cluster %s, this is %s", v.ClusterID, cur.ClusterID)
	}
	// At start Raft restores its last snapshot although the view file may be newer; see Apply.
	if v.Index >= cur.Index {
		f.publish(v)
	}
	return nil
}

type snapshot struct{ v *state.View }

// Persist implements [raft.FSMSnapshot]. The view is immutable, so it runs beside Apply.
func (s snapshot) Persist(sink raft.SnapshotSink) error {
	if err := state.WriteSnapshot(sink, s.v); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

// Release implements [raft.FSMSnapshot].
func (s snapshot) Release() {}

// Wait returns once this node has applied the log up to index.
func (f *FSM) Wait(ctx context.Context, index uint64) error {
	for {
		ch := f.next()
		if f.View().Index >= index {
			return nil
		}
		select {
		case <-ch:
		case <-ctx.Done():
			return fmt.Errorf("wait for index %d, at %d: %w", index, f.View().Index, ctx.Err())
		}
	}
}
