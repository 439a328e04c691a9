package cluster

import (
	"context"
	"sync"
	"time"
)

// callCount counts calls into Raft. Waiting for it can be given up, which a
// WaitGroup cannot offer: Raft may never answer what it had not yet applied
// when it was shut down.
type callCount struct {
	mu   sync.Mutex
	n    int
	none chan struct{} // closed when n is 0; nil while nobody waits
}

func (c *callCount) enter() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
}

func (c *callCount) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n--; c.n == 0 && c.none != nil {
		close(c.none)
		c.none = nil
	}
}

// wait returns when no call is under way, after limit, or when ctx ends.
func (c *callCount) wait(ctx context.Context, limit time.Duration) {
	c.mu.Lock()
	if c.n == 0 {
		c.mu.Unlock()
		return
	}
	if c.none == nil {
		c.none = make(chan struct{})
	}
	none := c.none
	c.mu.Unlock()
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-none:
	case <-t.C:
	case <-ctx.Done():
	}
}
