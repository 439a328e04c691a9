package proxy

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"
)

var errIdleTimeout = errors.New("idle timeout")

// idleTimer ends an attempt on which nothing moves in either direction. A nil one does nothing.
type idleTimer struct {
	limit time.Duration
	start time.Time
	last  atomic.Int64 // when something moved, since start
	timer *time.Timer
}

// newIdleTimer starts one; nil if there is no limit.
func newIdleTimer(limit time.Duration, cancel context.CancelCauseFunc) *idleTimer {
	if limit <= 0 {
		return nil
	}
	t := &idleTimer{limit: limit, start: time.Now()}
	armed := make(chan struct{})
	t.timer = time.AfterFunc(limit, func() {
		<-armed
		// Moving the timer with every read would cost more than looking here how late it is.
		if rest := limit - (time.Since(t.start) - time.Duration(t.last.Load())); rest > 0 {
			t.timer.Reset(rest)
			return
		}
		cancel(errIdleTimeout)
	})
	close(armed)
	return t
}

// touch says that something has moved.
func (t *idleTimer) touch() {
	if t != nil {
		t.last.Store(int64(time.Since(t.start)))
	}
}

func (t *idleTimer) stop() {
	if t != nil {
		t.timer.Stop()
	}
}

// watched is a reader whose bytes keep an idle timer from running out.
type watched struct {
	io.Reader
	idle *idleTimer
}

func (w watched) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	if n > 0 {
		w.idle.touch()
	}
	return n, err
}
