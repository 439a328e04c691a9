package recording

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"
)

// Files is where the files of recordings are. Its methods may be called concurrently and may block until their context
// ends. Names are as CheckName accepts them, below a recording and format.
type Files interface {
	// Begin starts to store one format of a recording. What is there of it stays until Commit.
	Begin(ctx context.Context, id, format string) (Upload, error)
	// Open returns a file, or an error that wraps fs.ErrNotExist.
	Open(ctx context.Context, id, format, name string) (File, error)
	// Remove removes all files of a recording. It is no error if there are none.
	Remove(ctx context.Context, id string) error
	// IDs are those of the recordings that have files, and when these were last changed.
	IDs(ctx context.Context) (map[string]time.Time, error)
	// Shared says that every node sees the same files.
	Shared() bool
}

// Upload is one format on its way in. Commit or Abort ends it.
type Upload interface {
	Put(ctx context.Context, name string, r io.Reader, size int64) error
	Commit(ctx context.Context) error
	// Abort leaves nothing of it. After Commit it does nothing.
	Abort()
}

// File is an open file.
type File interface {
	io.ReadSeekCloser
	Size() int64
	Changed() time.Time
}

const (
	maxName  = 512
	maxDepth = 16
)

// ErrName says that the name of a file is not one below the recording's directory.
var ErrName = errors.New("the name of the file leads elsewhere")

// CheckName returns a name in its shortest form, or an error that wraps ErrName for one that is absolute, leads
// upwards, is hidden, or holds what no recording needs.
func CheckName(name string) (string, error) {
	clean := path.Clean(name)
	bad := clean == "." || path.IsAbs(clean) || len(clean) > maxName || strings.Count(clean, "/") >= maxDepth ||
		strings.ContainsAny(clean, "\\:") || strings.ContainsFunc(clean, func(r rune) bool { return r < ' ' || r == 0x7f })
	for part := range strings.SplitSeq(clean, "/") {
		bad = bad || strings.HasPrefix(part, ".")
	}
	if bad || !fs.ValidPath(clean) {
		return "", fmt.Errorf("%w: %.80q", ErrName, name)
	}
	return clean, nil
}

// ErrNoFiles says that this node is to keep no files of recordings.
var ErrNoFiles = errors.New("no place for recordings is set: --recordings-dir or --recordings-bucket")

// NoFiles is the Files of a node that keeps none. Recordings whose files are elsewhere can be in the index all the same.
type NoFiles struct{}

// Begin implements [Files].
func (NoFiles) Begin(context.Context, string, string) (Upload, error) { return nil, ErrNoFiles }

// Open implements [Files].
func (NoFiles) Open(context.Context, string, string, string) (File, error) {
	return nil, fs.ErrNotExist
}

// Remove implements [Files].
func (NoFiles) Remove(context.Context, string) error { return nil }

// IDs implements [Files].
func (NoFiles) IDs(context.Context) (map[string]time.Time, error) { return nil, nil }

// Shared implements [Files].
func (NoFiles) Shared() bool { return false }
