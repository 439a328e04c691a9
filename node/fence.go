package node

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/lbnode/lbnode/cluster/transport"
	"github.com/lbnode/lbnode/state"
)

const (
	confirmMethod = "confirm"
	fencedMethod  = "fenced"

	fenceRounds   = 5 // confirmations within fence_after
	fencePauseMin = 50 * time.Millisecond
	fencePauseMax = 2 * time.Second
	fenceSlack    = 500 * time.Millisecond // and a tenth of fence_after: by so much clocks may differ in pace
)

// fence keeps this node's lease on sending new requests to backends, and knows as the leader whose lease has
// run out.
//
// With fence_after set, each node asks the leader again and again. The leader answers once a majority has
// shown that it still leads, with an index. When the node has that index in force, it may begin requests until
// fence_after from when it asked. The bound is looked at where requests begin (upstream.Set.SetLease), so
// nothing that holds the process up makes it begin one later. A node that starts has no lease.
//
// So a node began nothing by an older state than the leader's after it was last confirmed plus fence_after. The
// leader adds some slack for clocks of another pace, and counts from the latest of: its answer to the node, the
// begin of its term (before, another leader may have answered), and when it heard that the node keeps to the
// fence_after of now.
type fence struct {
	n        *Node
	promises *promises

	mu       sync.Mutex
	mine     promise
	until    time.Time            // of the lease; zero = none yet
	lapsed   bool                 // as logged
	answered map[string]time.Time // when this node, leading, last confirmed another
	term     uint64               // that this node leads or led last
	led      time.Time            // since when
}

func newFence(n *Node) *fence {
	return &fence{n: n, promises: newPromises(), mine: n.marks.Fence, answered: map[string]time.Time{}}
}

// start puts what was promised before the restart in force. The node has no lease until the leader gives one.
func (f *fence) start(view *state.View) {
	if s := view.Settings(); s.ModifyIndex > f.mine.Index {
		f.mine = promise{s.ModifyIndex, s.FenceAfter}
	}
	if f.mine.After > 0 {
		f.n.proxy.Set().SetLease(time.Now())
	}
}

// follow keeps the lease until ctx ends.
func (f *fence) follow(ctx context.Context) {
	f.promises.note(f.n.ID(), f.current().Index)
	views := f.n.store.Watch(ctx)
	due := time.NewTimer(0)
	defer due.Stop()
	for {
		select {
		case v, ok := <-views:
			if !ok {
				return
			}
			if s := v.Settings(); s.ModifyIndex > f.current().Index {
				f.adopt(s)
				due.Reset(0)
			}
		case <-due.C:
			if pause := f.renew(ctx); pause > 0 {
				due.Reset(pause)
			}
		}
	}
}

func (f *fence) current() promise {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mine
}

// adopt promises to keep to settings: on disk first, so that a restart does not forget it, then in force, and
// only then to the others.
func (f *fence) adopt(s *state.Settings) {
	p := promise{s.ModifyIndex, s.FenceAfter}
	if err := f.n.setMarks(func(m *marks) { m.Fence = p }); err != nil {
		f.n.log.Error("fence_after is in force, but a restart may forget it", "error", err)
		p.Index = 0 // nobody may rely on it
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mine = p
	if p.After == 0 {
		f.until = time.Time{}
		f.n.proxy.Set().SetLease(time.Time{})
	} else {
		if most := time.Now().Add(p.after()); f.until.IsZero() || f.until.After(most) {
			f.until = most // from fence_after 0, or a longer one
		}
		f.n.proxy.Set().SetLease(f.until)
	}
	f.promises.note(f.n.ID(), p.Index)
}

// renew asks for the lease once, and returns when to ask again; 0 = not before the settings change.
func (f *fence) renew(ctx context.Context) time.Duration {
	p := f.current()
	if p.After == 0 {
		f.show(p)
		return 0
	}
	asked := time.Now()
	err := f.confirmed(ctx, p.after())
	if ctx.Err() != nil {
		return 0
	}
	pause := min(max(p.after()/fenceRounds, fencePauseMin), fencePauseMax)
	if err != nil {
		f.n.log.Debug("no leader confirms this node", "error", err)
		pause = max(pause/2, fencePauseMin)
	} else {
		f.extend(asked)
	}
	f.show(p)
	return pause
}

// confirmed returns nil once this node's proxy has in force all that was committed when it was called.
func (f *fence) confirmed(ctx context.Context, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	index, err := f.ask(ctx)
	if err != nil {
		return err
	}
	if err := f.n.cluster.WaitApplied(ctx, index); err != nil {
		return err
	}
	want := f.n.store.View().Index
	for set := f.n.proxy.Set(); set.Applied() < want; {
		t := time.NewTimer(time.Millisecond) // the view is on its way to the proxy
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return fmt.Errorf("the proxy is at index %d, not %d: %w", set.Applied(), want, ctx.Err())
		}
	}
	// A snapshot may have brought settings that are older than the promise.
	if s := f.n.store.View().Settings(); s.ModifyIndex != f.current().Index {
		f.adopt(s)
	}
	return nil
}

func (f *fence) ask(ctx context.Context) (index uint64, err error) {
	leader := f.n.cluster.Status().LeaderID
	switch leader {
	case "":
		return 0, state.ErrNoLeader
	case f.n.ID():
		index, _, err = f.n.cluster.ConfirmLead(ctx)
		return index, err
	}
	mine, err := json.Marshal(f.current().Index)
	if err != nil {
		return 0, err
	}
	b, err := f.n.cluster.Call(ctx, leader, confirmMethod, mine)
	if err == nil {
		err = json.Unmarshal(b, &index)
	}
	return index, err
}

// extend moves the lease on.
func (f *fence) extend(asked time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mine.After == 0 {
		return
	}
	f.until = asked.Add(f.mine.after())
	f.n.proxy.Set().SetLease(f.until)
}

// show logs when the node is fenced and when it is no more.
func (f *fence) show(p promise) {
	now := f.n.proxy.Set().Fenced()
	f.mu.Lock()
	changed := now != f.lapsed
	f.lapsed = now
	f.mu.Unlock()
	switch {
	case changed && now:
		f.n.log.Warn("fenced: no new requests go to backends until a leader confirms what this node knows", "fence_after", p.after())
	case changed:
		f.n.log.Info("fenced no more")
	}
}

// text says why the node is fenced, "" if it is not.
func (f *fence) text() string {
	if !f.n.proxy.Set().Fenced() {
		return ""
	}
	return fmt.Sprintf("fenced: no leader has confirmed what this node knows for longer than fence_after (%s)", f.current().After)
}

// serveConfirm answers another node's question for a lease. The note comes before the answer: the node's lease
// cannot begin later than that.
func (f *fence) serveConfirm(ctx context.Context, p transport.Peer, req []byte) ([]byte, error) {
	var promised uint64
	if err := json.Unmarshal(req, &promised); err != nil {
		return nil, fmt.Errorf("decode the promise: %w", err)
	}
	f.promises.hear(map[string]uint64{p.NodeID: promised})
	index, _, err := f.n.cluster.ConfirmLead(ctx)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	f.answered[p.NodeID] = time.Now()
	f.mu.Unlock()
	return json.Marshal(index)
}

// leads notes that a term of this node has begun.
func (f *fence) leads(term uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.term, f.led = term, time.Now()
}

// serveFenced answers, on the leader, which members have certainly begun nothing by an older state than now.
func (f *fence) serveFenced(ctx context.Context, _ transport.Peer, _ []byte) ([]byte, error) {
	ids, err := f.fencedHere(ctx)
	if err != nil {
		return nil, err
	}
	return json.Marshal(ids)
}

func (f *fence) fencedHere(ctx context.Context) ([]string, error) {
	now, settings := time.Now(), f.n.store.View().Settings()
	// What is confirmed from here on is confirmed by this node, if it leads then.
	_, term, err := f.n.cluster.ConfirmLead(ctx)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	ids := []string{}
	if settings.FenceAfter == 0 || term != f.term {
		return ids, nil
	}
	for _, m := range f.n.cluster.Members() {
		k := f.promises.of(m.ID)
		if m.Self || k.index != settings.ModifyIndex {
			continue
		}
		last := latest(f.answered[m.ID], f.led, k.at)
		if fenceOver(now.Sub(last), time.Duration(settings.FenceAfter)) {
			ids = append(ids, m.ID)
		}
	}
	return ids, nil
}

// fenceOver says whether a lease that began at most so long ago has certainly run out.
func fenceOver(since, after time.Duration) bool { return since > after+after/10+fenceSlack }

func latest(times ...time.Time) time.Time {
	return slices.MaxFunc(times, time.Time.Compare)
}

// fenced asks the leader which members have certainly begun nothing by an older state than that of the call.
func (f *fence) fenced(ctx context.Context) []string {
	leader := f.n.cluster.Status().LeaderID
	switch leader {
	case "":
		return nil
	case f.n.ID():
		ids, err := f.fencedHere(ctx)
		if err != nil {
			return nil
		}
		return ids
	}
	var ids []string
	b, err := f.n.cluster.Call(ctx, leader, fencedMethod, nil)
	if err != nil || json.Unmarshal(b, &ids) != nil {
		return nil // nobody is known to be fenced
	}
	return ids
}
