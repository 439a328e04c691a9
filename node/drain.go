package node

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/cluster"
	"github.com/lbnode/lbnode/cluster/transport"
	"github.com/lbnode/lbnode/httpapi"
)

var _ httpapi.Drain = apiDrain{}

const (
	drainMethod   = "drain"
	drainTimeout  = time.Second            // for one member's answer
	drainPauseMin = 2 * time.Millisecond   // between the first two looks
	drainPauseMax = 100 * time.Millisecond // between later ones
	drainShown    = time.Second            // for the leader to write down that a backend is idle
)

// drainAnswer is how far a node's data path is.
type drainAnswer struct {
	Applied  uint64 `json:"applied"`
	InFlight int64  `json:"in_flight"`
}

// serveDrain answers another node's question about a backend. The index is read first: what is in flight
// after that began before the index was in force, or after a later change.
func (n *Node) serveDrain(_ context.Context, _ transport.Peer, id []byte) ([]byte, error) {
	set := n.proxy.Set()
	a := drainAnswer{Applied: set.Applied()}
	a.InFlight = set.InFlight(string(id))
	return json.Marshal(a)
}

// apiDrain asks the members until all are where they should be.
type apiDrain struct{ n *Node }

// Await implements httpapi.Drain.
func (d apiDrain) Await(ctx context.Context, backendID string, index uint64, level string) httpapi.DrainStatus {
	st := d.await(ctx, backendID, index, level)
	if st.Reached && level == api.WaitIdle {
		d.shown(ctx, backendID)
	}
	return st
}

// shown gives the leader a moment to commit the end of the drain, so that whoever waited and then looks sees
// the backend stopped or gone. Without a leader nobody writes it down, and the backend is idle all the same.
func (d apiDrain) shown(ctx context.Context, backendID string) {
	ctx, cancel := context.WithTimeout(ctx, drainShown)
	defer cancel()
	for v := range d.n.store.Watch(ctx) {
		if b, ok := v.Backend(backendID); !ok || !b.Draining() {
			return
		}
	}
}

func (d apiDrain) await(ctx context.Context, backendID string, index uint64, level string) httpapi.DrainStatus {
	st := d.look(context.WithoutCancel(ctx), backendID, index, level) // also for a wait of no time there is an answer
	for pause := drainPauseMin; !st.Reached; pause = min(2*pause, drainPauseMax) {
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return st
		}
		next := d.look(ctx, backendID, index, level)
		if ctx.Err() != nil && !next.Reached {
			return st // whoever was being asked had no time to answer
		}
		st = next
	}
	return st
}

// look asks every member once. With fence_after set, a member that does not answer is waited for until it is
// certainly fenced; without, one that is dead is not waited for, and nothing is claimed of it.
func (d apiDrain) look(ctx context.Context, backendID string, index uint64, level string) httpapi.DrainStatus {
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	var (
		mu    sync.Mutex
		st    httpapi.DrainStatus
		mute  []string // members without an answer
		asked sync.WaitGroup
	)
	view := d.n.store.View()
	fences := view.Settings().FenceAfter > 0
	if level == api.WaitIdle {
		for range view.MeetingsOn(backendID) { // whose people talk to the server directly
			st.InFlight++
		}
	}
	meetings := st.InFlight > 0
	for _, m := range d.n.cluster.Members() {
		switch {
		case m.Status == "left":
			continue
		case m.Status == "dead" && !fences:
			mu.Lock()
			st.Dead = append(st.Dead, m.ID)
			mu.Unlock()
			continue
		}
		asked.Go(func() {
			a, err := d.ask(ctx, m, backendID)
			mu.Lock()
			defer mu.Unlock()
			st.InFlight += a.InFlight
			switch {
			case err != nil:
				mute = append(mute, m.ID)
			case a.Applied >= index && (level != api.WaitIdle || a.InFlight == 0):
				st.Confirmed = append(st.Confirmed, m.ID)
			default:
				st.Unconfirmed = append(st.Unconfirmed, m.ID)
			}
		})
	}
	asked.Wait()
	var fenced []string
	if fences && len(mute) > 0 {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout) // the silent ones took all of the time
		fenced = d.n.fence.fenced(ctx)
		cancel()
	}
	for _, id := range mute {
		if slices.Contains(fenced, id) {
			st.Fenced = append(st.Fenced, id)
		} else {
			st.Unconfirmed = append(st.Unconfirmed, id)
		}
	}
	for _, ids := range [][]string{st.Confirmed, st.Unconfirmed, st.Dead, st.Fenced} {
		slices.Sort(ids)
	}
	st.Reached = len(st.Unconfirmed) == 0 && len(st.Confirmed) > 0 && !meetings
	return st
}

func (d apiDrain) ask(ctx context.Context, m cluster.Member, backendID string) (a drainAnswer, err error) {
	b, err := d.n.cluster.Call(ctx, m.ID, drainMethod, []byte(backendID))
	if err == nil {
		err = json.Unmarshal(b, &a)
	}
	return a, err
}
