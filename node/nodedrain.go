package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/lbnode/lbnode/cluster"
	"github.com/lbnode/lbnode/cluster/transport"
	"github.com/lbnode/lbnode/httpapi"
)

const (
	nodeOrderMethod = "node-order"

	shedPause   = time.Second     // between two tries to hand leadership over
	shedTimeout = 5 * time.Second // for one
	leaveWithin = 20 * time.Second
)

var _ httpapi.Nodes = apiNodes{}

// order is what an operator wants of a node.
type order string

const (
	orderDrain   order = "drain"
	orderUndrain order = "undrain"
	orderLeave   order = "leave"
)

// orderAnswer is what came of an order.
type orderAnswer struct {
	Error   string `json:"error,omitempty"`
	NotSafe bool   `json:"not_safe,omitempty"` // leaving would cost the quorum
}

// apiNodes gives orders to any node of the cluster, this one included.
type apiNodes struct{ n *Node }

// Drain implements httpapi.Nodes.
func (a apiNodes) Drain(ctx context.Context, id string) error { return a.give(ctx, id, orderDrain) }

// Undrain implements httpapi.Nodes.
func (a apiNodes) Undrain(ctx context.Context, id string) error {
	return a.give(ctx, id, orderUndrain)
}

// Leave implements httpapi.Nodes.
func (a apiNodes) Leave(ctx context.Context, id string) error { return a.give(ctx, id, orderLeave) }

// Fences implements httpapi.Nodes.
func (a apiNodes) Fences(id string) bool {
	s := a.n.store.View().Settings()
	return s.FenceAfter > 0 && a.n.fence.promises.of(id).index == s.ModifyIndex
}

func (a apiNodes) give(ctx context.Context, id string, o order) error {
	if id == a.n.ID() {
		return a.n.obey(ctx, o)
	}
	known := false
	for _, m := range a.n.cluster.Members() {
		known = known || m.ID == id
	}
	if !known {
		return fmt.Errorf("%w: %s", httpapi.ErrUnknownNode, id)
	}
	b, err := a.n.cluster.Call(ctx, id, nodeOrderMethod, []byte(o))
	var ans orderAnswer
	if err == nil {
		err = json.Unmarshal(b, &ans)
	}
	switch {
	case err != nil:
		return fmt.Errorf("%w: %s: %w", httpapi.ErrUnreachable, id, err)
	case ans.NotSafe:
		return fmt.Errorf("%w: %s", httpapi.ErrNotSafe, strings.TrimPrefix(ans.Error, httpapi.ErrNotSafe.Error()+": "))
	case ans.Error != "":
		return errors.New(ans.Error)
	}
	return nil
}

// serveOrder takes an order by way of another node.
func (n *Node) serveOrder(ctx context.Context, p transport.Peer, req []byte) ([]byte, error) {
	n.log.Info("order from an operator", "order", string(req), "by_way_of", p.NodeID)
	var ans orderAnswer
	if err := n.obey(ctx, order(req)); err != nil {
		ans = orderAnswer{Error: err.Error(), NotSafe: errors.Is(err, httpapi.ErrNotSafe)}
	}
	return json.Marshal(ans)
}

func (n *Node) obey(ctx context.Context, o order) error {
	switch o {
	case orderDrain, orderUndrain:
		return n.setDrained(ctx, o == orderDrain)
	case orderLeave:
		if err := n.cluster.CheckRemove(ctx, n.ID()); err != nil {
			return apiError(err)
		}
		select {
		case n.leave <- struct{}{}:
		default: // it is leaving
		}
		return nil
	}
	return fmt.Errorf("this lbnode (%s) does not know the order %q: upgrade it", n.opts.Version, o)
}

// setDrained takes the node out of use, or back into it, until the contrary is said: also after a restart.
func (n *Node) setDrained(ctx context.Context, drained bool) error {
	n.drainMu.Lock()
	defer n.drainMu.Unlock()
	if n.stopping.Load() {
		return errors.New("the node is stopping")
	}
	if err := n.setMarks(func(m *marks) { m.Drained = drained }); err != nil {
		return err
	}
	n.drained.Store(drained)
	if drained {
		n.engine.Drain()
	} else {
		n.engine.Undrain()
	}
	n.log.Info("out of use by an operator", "drained", drained)
	if err := n.cluster.SetMeta(n.meta()); err != nil {
		n.log.Debug("could not tell the others", "error", err)
	}
	if drained {
		n.shed(ctx)
	}
	return nil
}

// draining says that the node finishes what it has and wants no new traffic.
func (n *Node) draining() bool { return n.stopping.Load() || n.drained.Load() }

// setMarks changes what outlives a restart.
func (n *Node) setMarks(change func(*marks)) error {
	n.marksMu.Lock()
	defer n.marksMu.Unlock()
	next := n.marks
	change(&next)
	if next == n.marks {
		return nil
	}
	if err := n.marksFile.save(next); err != nil {
		return err
	}
	n.marks = next
	return nil
}

// shedLeadership hands leadership over whenever this node leads while it is drained, as long as the term lasts.
func (n *Node) shedLeadership(term context.Context) {
	tick := time.NewTicker(shedPause)
	defer tick.Stop()
	for {
		if n.drained.Load() {
			n.shed(term)
		}
		select {
		case <-tick.C:
		case <-term.Done():
			return
		}
	}
}

// shed hands leadership to a voter that is in use, if there is one and this node leads.
func (n *Node) shed(ctx context.Context) {
	to := successor(n.cluster.Members())
	if to == "" || !n.cluster.IsLeader() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, shedTimeout)
	defer cancel()
	if err := n.cluster.Transfer(ctx, to); err != nil && n.cluster.IsLeader() {
		n.log.Warn("a drained node still leads", "to", to, "error", err)
	}
}

// successor is the voter that is in use and has applied most, "" without one.
func successor(members []cluster.Member) string {
	id, applied := "", uint64(0)
	for _, m := range members {
		if m.Voter && !m.Self && !m.Draining && m.Status == "alive" && (id == "" || m.AppliedIndex > applied) {
			id, applied = m.ID, m.AppliedIndex
		}
	}
	return id
}

// leaveCluster gives up the membership, after the node was drained.
func (n *Node) leaveCluster() error {
	ctx, cancel := context.WithTimeout(context.Background(), leaveWithin)
	defer cancel()
	for {
		err := n.cluster.Leave(ctx)
		if err == nil {
			n.log.Info("left the cluster for good", "node", n.ID())
			return nil
		}
		again := errors.Is(err, cluster.ErrBusy) || errors.Is(err, cluster.ErrNoLeader)
		t := time.NewTimer(200 * time.Millisecond)
		select {
		case <-t.C:
		case <-ctx.Done():
			again = false
		}
		t.Stop()
		if !again {
			return fmt.Errorf("leave the cluster: %w; the node is still a member, start it again or remove it", err)
		}
	}
}
