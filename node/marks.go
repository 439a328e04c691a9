package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/lbnode/lbnode/state"
)

// marks is what a node must remember about itself across a restart, beyond its state and its place in the
// cluster. It is kept in the data dir, as marks.json.
type marks struct {
	// Drained says that an operator has taken the node out of use.
	Drained bool `json:"drained,omitempty"`
	// Fence is the newest fence_after that the node has promised to keep.
	Fence promise `json:"fence,omitzero"`
}

// promise is a fence_after with the modify_index of the settings that it comes from.
type promise struct {
	Index uint64         `json:"index"`
	After state.Duration `json:"after"` // 0 = no fence
}

func (p promise) after() time.Duration { return time.Duration(p.After) }

// marksFile keeps marks on disk.
type marksFile struct{ path string }

// load returns the zero value if there is no file.
func (f marksFile) load() (m marks, err error) {
	b, err := os.ReadFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &m)
	}
	if err != nil {
		return m, fmt.Errorf("read %s: %w; a node without it is not drained: remove it to start anyway", f.path, err)
	}
	return m, nil
}

// save replaces the file; when it returns nil, the marks outlive a crash of the machine.
func (f marksFile) save(m marks) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := f.write(append(b, '\n')); err != nil {
		return fmt.Errorf("keep %s: %w", f.path, err)
	}
	return nil
}

func (f marksFile) write(b []byte) (err error) {
	dir := filepath.Dir(f.path)
	w, err := os.CreateTemp(dir, ".marks-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			w.Close()
			_ = os.Remove(w.Name())
		}
	}()
	if _, err = w.Write(b); err != nil {
		return err
	}
	if err = w.Sync(); err != nil {
		return err
	}
	if err = w.Close(); err != nil {
		return err
	}
	if err = os.Rename(w.Name(), f.path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
