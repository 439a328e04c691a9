package proxy

import (
	"errors"
	"io"
	"sync"
)

var errNotKept = errors.New("the request's body is too long to be sent again")

// replay is the beginning of a request's body, kept so that another backend can get it too. Attempts read from it
// one after the other, but the transport may still be reading for an attempt that has ended: what it gets is kept
// like the rest, so that nothing is lost to the next attempt.
type replay struct {
	mu   sync.Mutex // held while the client is read from
	kept []byte     // everything read so far, unless lost
	read int        // bytes read so far
	lost bool       // more than MaxReplay
}

// intact says that all that was read can be read again. It may have to wait for a read that goes on.
func (r *replay) intact() bool {
	if !r.mu.TryLock() { // somebody waits for the client, which may take long
		return false
	}
	defer r.mu.Unlock()
	return !r.lost
}

// from reads for an attempt that has had the bytes before at.
func (r *replay) from(src io.Reader, at int, p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case at < r.read && r.lost:
		return 0, errNotKept
	case at < r.read:
		return copy(p, r.kept[at:]), nil
	}
	n, err := src.Read(p)
	r.read += n
	if r.lost = r.lost || r.read > MaxReplay; r.lost {
		r.kept = nil
	} else {
		r.kept = append(r.kept, p[:n]...)
	}
	return n, err
}
