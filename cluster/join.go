package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/lbnode/lbnode/cluster/transport"
)

// Joining takes two questions to the leader. The first, "is this id free?", is
// asked by a node that has nothing yet; a node whose disk was wiped, but which
// is still a member, stops here: it might vote a second time in a term or have
// forgotten entries that it acknowledged. Only when the answer was yes, and is
// noted on disk, does the node adopt the cluster's id, so that Raft may talk to
// it, and asks to be added. That one may be repeated until it is answered: a
// member of this id and address can only be this node.

const (
	stepAsk = "ask"
	stepAdd = "add"
	// maxRedirects bounds how often a joining node is sent on to the leader.
	maxRedirects = 3
)

type joinRequest struct {
	Step     string   `json:"step"`
	ID       string   `json:"id"`
	Addr     string   `json:"addr"`
	NonVoter bool     `json:"non_voter,omitempty"`
	Version  string   `json:"version,omitempty"`
	Proto    [2]uint8 `json:"proto"`              // lowest and highest command protocol
	Replaces string   `json:"replaces,omitempty"` // the member that the node was before Rejoin; it is to go first
}

type joinResponse struct {
	ClusterID string `json:"cluster_id"`
	ConfIndex uint64 `json:"conf_index"`
}

// enter brings a node that is in no configuration into one, however long it takes.
func (n *Node) enter() {
	wait := n.timing.Retry
	logged := ""
	for n.ctx.Err() == nil && !n.isIn.Load() {
		err := n.tryEnter(n.ctx)
		n.setJoinError(err)
		switch {
		case errors.Is(err, ErrJoinRefused), errors.Is(err, ErrStoreFailed):
			n.fail(err)
			return
		case err != nil && err.Error() != logged && n.ctx.Err() == nil:
			n.log.Warn("not in a cluster yet, trying again", "error", err)
			logged = err.Error()
		}
		if n.cfg.BootstrapExpect > 1 || err == nil {
			wait = n.timing.Retry
		}
		t := time.NewTimer(wait/2 + rand.N(wait))
		select {
		case <-n.joined:
		case <-t.C:
		case <-n.ctx.Done():
		}
		t.Stop()
		wait = min(2*wait, 16*n.timing.Retry)
	}
	if n.isIn.Load() {
		n.setJoinError(nil)
	}
}

func (n *Node) setJoinError(err error) {
	n.joinErrMu.Lock()
	defer n.joinErrMu.Unlock()
	n.joinErr = err
}

// JoinError is why the last attempt to get into a cluster failed, nil once the
// node is in one or has not tried.
func (n *Node) JoinError() error {
	n.joinErrMu.Lock()
	defer n.joinErrMu.Unlock()
	return n.joinErr
}

// found is a node that answered.
type found struct {
	addr string
	nodeStatus
}

// look asks every address that might be a member's.
func (n *Node) look(ctx context.Context) (all []found, err error) {
	addrs := append(expand(ctx, n.cfg.Join), n.promises.heard()...)
	addrs = append(addrs, n.book.others()...)
	slices.Sort(addrs)
	addrs = slices.Compact(addrs)
	var mu sync.Mutex
	var wg sync.WaitGroup
	var errs []error
	for _, addr := range addrs {
		if addr == n.Advertise() {
			continue
		}
		wg.Add(1)
		if !n.spawn(func() {
			defer wg.Done()
			s, err := n.ask(ctx, addr)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				errs = append(errs, err)
			case s.NodeID == n.ID() && s.Claim == n.book.own(): // by another of our names
			case s.NodeID == n.ID():
				errs = append(errs, fmt.Errorf("%s is also a node %q: give one of the two another --name", addr, s.NodeID))
			default:
				all = append(all, found{addr, s})
			}
		}) {
			wg.Done()
		}
	}
	wg.Wait()
	slices.SortFunc(all, func(a, b found) int { return strings.Compare(a.NodeID, b.NodeID) })
	return all, errors.Join(errs...)
}

// tryEnter makes one attempt; nil means that there is nothing to do but wait.
func (n *Node) tryEnter(ctx context.Context) error {
	all, lookErr := n.look(ctx)
	id := n.dir.get()
	clusters := make(map[string][]string) // addresses by cluster
	for _, f := range all {
		if f.ClusterID != "" {
			clusters[f.ClusterID] = append(clusters[f.ClusterID], f.addr)
		}
	}
	if id.ClusterID != "" {
		addrs := clusters[id.ClusterID]
		switch {
		case id.Promise == id.ClusterID:
			return nil // in the list that the cluster started with: Raft will come
		case len(addrs) > 0:
			return n.join(ctx, stepAdd, addrs)
		case len(clusters) > 0:
			return fmt.Errorf("%w: this directory was about to join cluster %s, but %s; move %s aside to join that", ErrJoinRefused, id.ClusterID, describe(clusters), n.dir.path)
		}
		return fmt.Errorf("no member of cluster %s answers: %w", id.ClusterID, orNothing(lookErr))
	}
	switch {
	case len(clusters) > 1:
		return fmt.Errorf("the join addresses lead to different clusters: %s; leave only those of one", describe(clusters))
	case len(clusters) == 1:
		for cid, addrs := range clusters {
			if cid == id.Promise {
				return n.adopt(cid)
			}
			return n.join(ctx, stepAsk, addrs)
		}
	case n.cfg.BootstrapExpect > 1:
		return n.tryForm(ctx, all, lookErr)
	case len(all) > 0:
		return fmt.Errorf("the nodes that answer are in no cluster either (%s); one has to start it (without --join)", ids(all))
	}
	return fmt.Errorf("no member answers at %s: %w", strings.Join(n.cfg.Join, ", "), orNothing(lookErr))
}

func orNothing(err error) error {
	if err == nil {
		return errors.New("no address but this node's own")
	}
	return err
}

func ids(all []found) string {
	names := make([]string, len(all))
	for i, f := range all {
		names[i] = f.NodeID
	}
	return strings.Join(names, ", ")
}

func describe(clusters map[string][]string) string {
	var parts []string
	for _, cid := range slices.Sorted(maps.Keys(clusters)) {
		parts = append(parts, fmt.Sprintf("%s is in cluster %s", strings.Join(clusters[cid], ", "), cid))
	}
	return strings.Join(parts, "; ")
}

// adopt takes this node into a cluster that counts on it from its start.
func (n *Node) adopt(clusterID string) error {
	err := n.dir.update(func(id *identity) {
		id.ClusterID, id.Phase, id.NonVoter = clusterID, phaseJoining, n.cfg.NonVoter
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrStoreFailed, err)
	}
	n.log.Info("entering the new cluster", "cluster", clusterID)
	return n.runOrFail()
}

// join asks to be let in, and goes on to be added if the answer was yes.
func (n *Node) join(ctx context.Context, step string, addrs []string) error {
	resp, err := n.askLeader(ctx, step, addrs)
	if err != nil || step == stepAdd {
		return err
	}
	err = n.dir.update(func(id *identity) {
		id.ClusterID, id.Phase, id.NonVoter, id.NotBefore = resp.ClusterID, phaseJoining, n.cfg.NonVoter, resp.ConfIndex
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrStoreFailed, err)
	}
	n.log.Info("joining", "cluster", resp.ClusterID)
	if err := n.runOrFail(); err != nil {
		return err
	}
	_, err = n.askLeader(ctx, stepAdd, addrs)
	return err
}

// askLeader puts the question to one member after the other, following each to
// the leader it names.
func (n *Node) askLeader(ctx context.Context, step string, addrs []string) (resp joinResponse, err error) {
	req := joinRequest{Step: step, ID: n.ID(), Addr: n.Advertise(), NonVoter: n.dir.get().NonVoter || n.cfg.NonVoter, Version: n.cfg.Meta.Version, Proto: n.cfg.Meta.Proto, Replaces: n.dir.get().Replaces}
	var errs []error
	for _, addr := range addrs {
		for range maxRedirects + 1 {
			cctx, cancel := context.WithTimeout(ctx, n.timing.ApplyTimeout)
			resp, err = callJSON[joinResponse](cctx, n.mux, addr, methodJoin, req)
			cancel()
			var remote *transport.RemoteError
			if errors.As(err, &remote) && remote.Code == codeRedirect {
				addr = remote.Msg
				continue
			}
			break
		}
		if err == nil {
			return resp, nil
		}
		if err = fromRemote(err); errors.Is(err, ErrJoinRefused) {
			return resp, err
		}
		errs = append(errs, fmt.Errorf("join by %s: %w", addr, err))
	}
	return resp, errors.Join(errs...)
}

// serveJoin decides about a node that wants in.
func (n *Node) serveJoin(ctx context.Context, p transport.Peer, req joinRequest) (joinResponse, error) {
	self := n.dir.get()
	refuse := func(format string, args ...any) (joinResponse, error) {
		msg := fmt.Sprintf(format, args...)
		n.log.Warn("join refused", "node", req.ID, "addr", req.Addr, "reason", msg)
		return joinResponse{}, fmt.Errorf("%w by %s: %s", ErrJoinRefused, self.NodeID, msg)
	}
	if p.ClusterID != "" && p.ClusterID != self.ClusterID {
		return refuse("node %s belongs to cluster %s, this is cluster %s; a node keeps to one cluster", p.NodeID, p.ClusterID, self.ClusterID)
	}
	if _, ok := n.lead.ready(ctx); !ok {
		if id, addr := n.leader(); id != "" && id != n.ID() {
			return joinResponse{}, &transport.RemoteError{Code: codeRedirect, Msg: addr}
		}
		return joinResponse{}, fmt.Errorf("%w: the cluster has no leader at the moment", errNotTaken)
	}
	own := n.states.currentMeta()
	switch {
	case p.NodeID != req.ID || !nodeIDPattern.MatchString(req.ID) || req.Addr == "":
		return refuse("node id %q and address %q do not do", req.ID, req.Addr)
	case req.Proto[0] > own.Proto[1] || req.Proto[1] < own.Proto[0]:
		return refuse("lbnode %s speaks command protocols %d to %d, this cluster (lbnode %s) %d to %d: install a version in between on the older side first",
			req.Version, req.Proto[0], req.Proto[1], own.Version, own.Proto[0], own.Proto[1])
	}
	if req.Replaces != "" && req.Step == stepAsk {
		if err := n.makeRoom(ctx, req); err != nil {
			return joinResponse{}, err
		}
	}
	if err := n.lockMembership(ctx); err != nil {
		return joinResponse{}, err
	}
	defer n.endMembership()
	prev := n.store.conf.Load()
	member, in := n.server(req.ID)
	resp := joinResponse{ClusterID: self.ClusterID, ConfIndex: prev}
	switch {
	case in && req.Step == stepAsk:
		return refuse("node %s is a member already, and a directory without its log must not take its place: remove the member first (lbctl node remove %s) or use a new --name", req.ID, req.ID)
	case in && string(member.Address) != req.Addr:
		return refuse("another node %s has joined from %s in the meantime: use a new --name", req.ID, member.Address)
	case in:
		return resp, nil
	}
	if other := taken(n.servers(), req.Addr); other != "" {
		return refuse("address %s belongs to member %s: remove that first (lbctl node remove %s) if it is gone", req.Addr, other, other)
	}
	if req.Step == stepAsk {
		return resp, nil
	}
	if p.ClusterID != self.ClusterID {
		return refuse("node %s asks to be added without having asked whether it may", req.ID)
	}
	n.log.Info("adding a node", "node", req.ID, "addr", req.Addr, "non_voter", req.NonVoter)
	return resp, n.change(ctx, func(r *raft.Raft, limit time.Duration) raft.Future {
		return r.AddNonvoter(raft.ServerID(req.ID), raft.ServerAddress(req.Addr), prev, limit)
	})
}
