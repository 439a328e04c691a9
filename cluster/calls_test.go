package cluster

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestCallCount(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var c callCount
		took := func(ctx context.Context) time.Duration {
			start := time.Now()
			c.wait(ctx, time.Second)
			return time.Since(start)
		}
		if d := took(t.Context()); d != 0 {
			t.Errorf("waited %v for no call", d)
		}
		c.enter()
		c.enter()
		if d := took(t.Context()); d != time.Second {
			t.Errorf("gave up on two calls after %v, want 1s", d)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if d := took(ended); d != 0 {
			t.Errorf("waited %v though the context had ended", d)
		}
		c.leave()
		go func() {
			time.Sleep(300 * time.Millisecond)
			c.leave()
		}()
		if d := took(t.Context()); d != 300*time.Millisecond {
			t.Errorf("waited %v for the last call, want 300ms", d)
		}
	})
}
