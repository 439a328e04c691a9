package recording

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"
)

// incoming holds what is being uploaded. No recording is called so: ids begin with a letter or digit.
const incoming = ".incoming"

// Dir keeps files in a directory, as ID/FORMAT/NAME. Nothing that is opened through it can be outside of it.
type Dir struct {
	root   *os.Root
	shared Sharing
}

// Sharing says whether all nodes see the same files.
type Sharing bool

// The sharings.
const (
	PerNode Sharing = false
	ByAll   Sharing = true
)

// OpenDir opens a directory, which is made if it is not there. Close closes it.
func OpenDir(name string, shared Sharing) (*Dir, error) {
	if err := os.MkdirAll(name, 0o750); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	return &Dir{root, shared}, nil
}

// Close closes the directory.
func (d *Dir) Close() error { return d.root.Close() }

// Shared implements [Files].
func (d *Dir) Shared() bool { return bool(d.shared) }

type dirUpload struct {
	d    *Dir
	temp string // below the root
	to   string
	done bool
}

// Begin implements [Files].
func (d *Dir) Begin(_ context.Context, id, format string) (Upload, error) {
	temp := path.Join(incoming, rand.Text())
	if err := d.root.MkdirAll(temp, 0o750); err != nil {
		return nil, err
	}
	return &dirUpload{d: d, temp: temp, to: path.Join(id, format)}, nil
}

// Put implements [Upload].
func (u *dirUpload) Put(_ context.Context, name string, r io.Reader, size int64) error {
	at := path.Join(u.temp, name)
	if err := u.d.root.MkdirAll(path.Dir(at), 0o750); err != nil {
		return err
	}
	f, err := u.d.root.OpenFile(at, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return err
	}
	n, err := io.Copy(f, r)
	if err == nil && n != size {
		err = io.ErrUnexpectedEOF
	}
	return errors.Join(err, f.Sync(), f.Close())
}

// Commit implements [Upload]: what was there of the format is replaced as a whole.
func (u *dirUpload) Commit(context.Context) error {
	if err := u.d.root.MkdirAll(path.Dir(u.to), 0o750); err != nil {
		return err
	}
	old := u.temp + ".old"
	if err := u.d.root.Rename(u.to, old); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := u.d.root.Rename(u.temp, u.to); err != nil {
		return errors.Join(err, ignoreMissing(u.d.root.Rename(old, u.to)))
	}
	u.done = true
	now := time.Now()
	return errors.Join(u.d.root.RemoveAll(old), u.d.root.Chtimes(path.Dir(u.to), now, now))
}

// Abort implements [Upload].
func (u *dirUpload) Abort() {
	if !u.done {
		_ = u.d.root.RemoveAll(u.temp) // Sweep finds what stays
	}
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

type dirFile struct {
	*os.File
	info fs.FileInfo
}

func (f dirFile) Size() int64        { return f.info.Size() }
func (f dirFile) Changed() time.Time { return f.info.ModTime() }

// Open implements [Files].
func (d *Dir) Open(_ context.Context, id, format, name string) (File, error) {
	f, err := d.root.Open(path.Join(id, format, name))
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return dirFile{f, info}, nil
}

// Remove implements [Files].
func (d *Dir) Remove(_ context.Context, id string) error { return d.root.RemoveAll(id) }

// IDs implements [Files]. What is being uploaded is listed as .incoming/NAME.
func (d *Dir) IDs(context.Context) (map[string]time.Time, error) {
	out := map[string]time.Time{}
	for _, dir := range []string{".", incoming} {
		entries, err := fs.ReadDir(d.root.FS(), dir)
		if err = ignoreMissing(err); err != nil {
			return nil, err
		}
		for _, e := range entries {
			info, err := e.Info()
			if err != nil || !e.IsDir() || dir == "." && strings.HasPrefix(e.Name(), ".") {
				continue
			}
			out[path.Join(dir, e.Name())] = info.ModTime()
		}
	}
	return out, nil
}
