package fsm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/lbnode/lbnode/state"
)

// ViewFile keeps the last applied view on disk, in the format of a snapshot.
type ViewFile struct{ Path string }

// Load returns the view that was saved last, or an empty one if there is no file. A damaged file is an
// error that names it; the file holds nothing that the Raft store does not, so it may be deleted.
func (f ViewFile) Load() (*state.View, error) {
	r, err := os.Open(f.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return state.NewView(), nil
	}
	if err != nil {
		return nil, err
	}
	defer r.Close()
	v, err := state.ReadSnapshot(r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; it is a copy of what the Raft store holds: move it away and start again", f.Path, err)
	}
	return v, nil
}

// Save replaces the file in one step: a crash leaves the old or the new one whole.
func (f ViewFile) Save(v *state.View) (err error) {
	w, err := os.CreateTemp(filepath.Dir(f.Path), filepath.Base(f.Path)+".*.tmp")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(w.Name()))
		}
	}()
	err = state.WriteSnapshot(w, v)
	if err == nil {
		err = w.Sync()
	}
	if err = errors.Join(err, w.Close()); err != nil {
		return err
	}
	return os.Rename(w.Name(), f.Path)
}

// Follow saves the newest view at most once per interval until ctx ends, and then a last time. Errors go
// to report; the next change tries again.
func (f ViewFile) Follow(ctx context.Context, s *Store, interval time.Duration, report func(error)) {
	var saved, newest *state.View
	save := func() {
		if newest == nil || newest == saved || newest.Index == 0 {
			return
		}
		if err := f.Save(newest); err != nil {
			report(fmt.Errorf("save %s: %w", f.Path, err))
			return
		}
		saved = newest
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	views := s.Watch(ctx)
	for {
		select {
		case v, ok := <-views:
			if !ok {
				newest = s.View()
				save()
				return
			}
			newest = v
		case <-tick.C:
			save()
		}
	}
}
