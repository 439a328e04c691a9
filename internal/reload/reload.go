// Package reload reads files anew when they change: certificates, keys, tokens. A [Files] knows which ones and how;
// package node asks it from time to time, and at once on SIGHUP. What cannot be read leaves what was read before in
// force.
package reload

import (
	"fmt"
	"os"
	"sync"
)

// Files is a set of files that is read as a whole. Its methods may be called concurrently.
type Files struct {
	paths []string
	read  func() error

	mu   sync.Mutex
	seen string // how the files were at the last attempt to read them
}

// New reads files for the first time. read is called again when they change, one call at a time.
func New(read func() error, paths ...string) (*Files, error) {
	f := &Files{paths: paths, read: read}
	_, err := f.reload(true)
	return f, err
}

// Paths names the files.
func (f *Files) Paths() []string { return f.paths }

// Check reads the files if they are not as they were at the last attempt, and says whether it did so.
func (f *Files) Check() (bool, error) { return f.reload(false) }

// Reload reads the files.
func (f *Files) Reload() error {
	_, err := f.reload(true)
	return err
}

func (f *Files) reload(always bool) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.stamp() // before reading: what changes meanwhile is found the next time
	if !always && now == f.seen {
		return false, nil
	}
	f.seen = now
	return true, f.read()
}

// stamp tells one state of the files from another.
func (f *Files) stamp() string {
	s := ""
	for _, p := range f.paths {
		info, err := os.Stat(p)
		if err != nil {
			s += "missing;"
			continue
		}
		s += fmt.Sprintf("%d %d;", info.ModTime().UnixNano(), info.Size())
	}
	return s
}
