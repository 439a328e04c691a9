package cluster

import (
	"context"
	"testing"
	"time"

	"github.com/lbnode/lbnode/cluster/transport"
)

// A leader that takes a request and never answers is not waited for once another one leads.
func TestPropose_leaderNeverAnswers(t *testing.T) {
	t.Parallel()
	all := three(t)
	deaf := leaderOf(t, all)
	rest := others(all, deaf)
	taken := make(chan struct{}, 1)
	deaf.mux.Handle(methodPropose, func(ctx context.Context, _ transport.Peer, _ []byte) ([]byte, error) {
		taken <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	})
	done := make(chan error, 1)
	go func() {
		_, _, err := rest[0].Propose(context.Background(), []byte("in doubt"))
		done <- err
	}()
	<-taken
	must(t, deaf.Transfer(t.Context(), rest[1].ID()))
	select {
	case err := <-done:
		wantError(t, err, ErrOutcomeUnknown)
	case <-time.After(slowdown * 5 * time.Second): // ApplyTimeout is twice that
		t.Fatal("the request still waits for a node that does not lead any more")
	}
	rest[0].propose("next")
}
