package backup

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// ErrExists says that there is a file already.
var ErrExists = errors.New("the file exists")

// Overwrite says whether WriteFile may replace a file.
type Overwrite bool

// The values of Overwrite.
const (
	KeepFile    Overwrite = false
	ReplaceFile Overwrite = true
)

// WriteFile makes a file, mode 0600, that is whole or not there, also after a crash: it is written under another
// name in the same directory, synced, and renamed. What write does not make a whole backup is not kept.
func WriteFile(path string, replace Overwrite, write func(io.Writer) error) (_ *Backup, err error) {
	if _, serr := os.Lstat(path); serr == nil && replace == KeepFile {
		return nil, fmt.Errorf("%w: %s", ErrExists, path)
	}
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*.tmp") // mode 0600
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if err := write(f); err != nil {
		return nil, err
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	b, err := Read(f)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	if replace == KeepFile { // Link, unlike Rename, does not replace what came meanwhile
		if err := os.Link(f.Name(), path); err == nil {
			_ = os.Remove(f.Name())
			return b, syncDir(dir)
		} else if errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("%w: %s", ErrExists, path)
		}
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return nil, err
	}
	return b, syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// ReadFile checks a file.
func ReadFile(path string) (*Backup, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := Read(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return b, nil
}
