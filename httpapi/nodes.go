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

// nodeOrder is an order to a node, and what is known of the node once it has taken it.
type nodeOrder struct {
	give     func(context.Context, string) error
	draining bool
	status   int
}

func drainNode(c *call) (answer, error) {
	return c.order(nodeOrder{c.s.cfg.Nodes.Drain, true, http.StatusOK})
}

func undrainNode(c *call) (answer, error) {
	return c.order(nodeOrder{c.s.cfg.Nodes.Undrain, false, http.StatusOK})
}

func leaveNode(c *call) (answer, error) {
	return c.order(nodeOrder{c.s.cfg.Nodes.Leave, true, http.StatusAccepted})
}

// order gives an order and answers with the node as it is then, as far as the asked one knows. That it drains or does
// not is known from its obeying: gossip may say so only later.
func (c *call) order(o nodeOrder) (answer, error) {
	id, err := c.pathID()
	if err != nil {
		return answer{}, err
	}
	if err := c.noBody(); err != nil {
		return answer{}, err
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), c.s.cfg.WriteTimeout)
	defer cancel()
	if err := o.give(ctx, id); err != nil {
		return answer{}, err
	}
	out := api.Node{ID: id}
	for _, m := range c.s.cfg.Cluster.Members() {
		if m.ID == id {
			out = c.nodeAnswer(m, c.s.cfg.Cluster.Status())
		}
	}
	out.Draining = o.draining
	return answer{status: o.status, body: out}, nil
}
