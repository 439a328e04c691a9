package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/cluster"
	"github.com/lbnode/lbnode/httpapi"
	"github.com/lbnode/lbnode/state"
)

var _ httpapi.Reads = apiReads{}

// apiReads brings this node up to date for a read.
type apiReads struct{ c *cluster.Node }

// CatchUp implements httpapi.Reads. The index to reach counts Raft's own entries, which no view shows; so what is
// waited for is what consensus has applied.
func (r apiReads) CatchUp(ctx context.Context, level string) error {
	ask := r.c.LeaderIndex
	if level == api.ReadLinearizable {
		ask = r.c.ReadIndex
	}
	index, err := ask(ctx)
	if errors.Is(err, cluster.ErrNoLeader) {
		return fmt.Errorf("%w: %w", state.ErrNoLeader, err)
	}
	if err != nil {
		return err
	}
	return r.c.WaitApplied(ctx, index)
}

// Wait implements httpapi.Store: it takes indexes of views as well as those that GET /cluster shows.
func (s apiStore) Wait(ctx context.Context, index uint64) error {
	if s.View().Index >= index {
		return nil
	}
	return s.c.WaitApplied(ctx, index)
}
