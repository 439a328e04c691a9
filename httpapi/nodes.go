package httpapi

import (
	"context"
	"errors"
	"net/http"

	"github.com/lbnode/lbnode/api"
)

// Nodes gives orders to single nodes of the cluster, whichever is asked. Its errors are those of Cluster, and
// ErrUnreachable. All methods may be called concurrently and may block.
type Nodes interface {
	// Drain takes a node out of use until Undrain, also across a restart: it is not ready, hands leadership
	// over and asks clients to go elsewhere, while it serves what still comes.
	Drain(ctx context.Context, id string) error
	Undrain(ctx context.Context, id string) error
	// Leave returns once the node has begun to drain, after which it gives up its membership and ends. It
	// refuses with ErrNotSafe what would cost the quorum.
	Leave(ctx context.Context, id string) error
	// Fences says that a node is known to keep the fence_after of now. It does not block.
	Fences(id string) bool
}

// ErrUnreachable says that a node did not answer: the order may or may not be carried out.
var ErrUnreachable = errors.New("the node does not answer")

func drainNode(c *call) (answer, error)   { return c.nodeOrder(c.s.cfg.Nodes.Drain, http.StatusOK) }
func undrainNode(c *call) (answer, error) { return c.nodeOrder(c.s.cfg.Nodes.Undrain, http.StatusOK) }

func leaveNode(c *call) (answer, error) {
	return c.nodeOrder(c.s.cfg.Nodes.Leave, http.StatusAccepted)
}

// nodeOrder gives an order and answers with the node as it is then, as far as the asked one knows.
func (c *call) nodeOrder(give func(context.Context, string) error, status int) (answer, error) {
	id, err := c.pathID()
	if err != nil {
		return answer{}, err
	}
	if err := c.noBody(); err != nil {
		return answer{}, err
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), c.s.cfg.WriteTimeout)
	defer cancel()
	if err := give(ctx, id); err != nil {
		return answer{}, err
	}
	out := api.Node{ID: id}
	for _, m := range c.s.cfg.Cluster.Members() {
		if m.ID == id {
			out = c.nodeAnswer(m, c.s.cfg.Cluster.Status())
		}
	}
	return answer{status: status, body: out}, nil
}
