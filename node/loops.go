package node

import (
	"context"
	"sync"
	"time"

	"github.com/lbnode/lbnode/fsm"
	"github.com/lbnode/lbnode/state"
)

// viewFileInterval bounds how often the last view is written to disk.
const viewFileInterval = time.Second

// startLoops starts the goroutines between the parts. They end with ctx.
func (n *Node) startLoops(ctx context.Context) {
	n.loops.Go(func() { n.followViews(ctx) })
	n.loops.Go(func() { n.followMembers(ctx) })
	n.loops.Go(func() { n.followFiles(ctx) })
	n.loops.Go(func() { n.followTicketKeys(ctx) })
	n.loops.Go(func() { n.followKeys(ctx) })
	n.loops.Go(func() { n.followLeadership(ctx) })
	n.loops.Go(func() { n.backups.follow(ctx) })
	n.loops.Go(func() { n.fence.follow(ctx) })
	n.loops.Go(func() { n.deadlines.run(ctx) })
	n.loops.Go(func() { n.loads.run(ctx) })
	n.loops.Go(func() { n.bbbPoller.Run(ctx) })
	n.loops.Go(func() { n.tellBBBNews(ctx) })
	n.loops.Go(func() { n.sweepRecordings(ctx) })
	n.loops.Go(func() {
		report := func(err error) { n.log.Error("the last view could not be kept on disk", "error", err) }
		fsm.ViewFile{Path: n.cfg.ViewFile()}.Follow(ctx, n.store, viewFileInterval, report)
	})
}

// followViews hands every new view to what acts on it: first the proxy, whose flags must be in force
// before health reports that this node has applied the view.
func (n *Node) followViews(ctx context.Context) {
	var forgot time.Time
	views := n.store.Watch(ctx)
	var v *state.View
	for {
		select {
		case next, ok := <-views:
			if !ok {
				return
			}
			v = next
		case <-n.rekeyed.views: // the same view means something else with other keys
			v = n.store.View()
		}
		n.certs.Update(v) // before routes that need them
		if err := n.proxy.Update(v); err != nil {
			n.log.Error("a routing change could not be put in force; the last good one stays", "index", v.Index, "error", err)
		}
		if time.Since(forgot) > forgetInterval {
			n.forget(v)
			forgot = time.Now()
		}
		n.deadlines.update(v)
		n.health.Update(v)
	}
}

// followMembers makes health forget what nodes said that are gone.
func (n *Node) followMembers(ctx context.Context) {
	changes := n.cluster.Changes()
	for {
		select {
		case <-changes:
		case <-ctx.Done():
			return
		}
		for _, m := range n.cluster.Members() {
			if m.Status == "dead" || m.Status == "left" {
				n.health.NodeGone(m.ID)
			}
		}
	}
}

// followLeadership does the leader's work while this node leads.
func (n *Node) followLeadership(ctx context.Context) {
	terms := n.cluster.LeaderTerms()
	for {
		select {
		case term, ok := <-terms:
			if !ok {
				return
			}
			n.fence.leads(term.Number)
			n.loops.Go(func() { n.lead(ctx, term.Ctx) })
		case <-ctx.Done():
			return
		}
	}
}

// lead works until this node stops or the term ends.
func (n *Node) lead(ctx, term context.Context) {
	term, cancel := context.WithCancel(term)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	var work sync.WaitGroup
	defer work.Wait()
	work.Go(func() { n.revertUnconfirmed(term) })
	work.Go(func() { n.shedLeadership(term) })
	work.Go(func() { n.callbacks.Lead(term) })
	work.Go(func() { n.bbbControl.Lead(term) })
	work.Go(func() { n.resealAll(term) })
	if err := n.health.Lead(term); err != nil && term.Err() == nil {
		n.log.Error("verdicts are not being committed", "error", err)
	}
}
