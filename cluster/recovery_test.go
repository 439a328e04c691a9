package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

func TestRestart_inPlace(t *testing.T) {
	t.Parallel()
	all := three(t)
	all[0].propose("before")
	for i := range all { // a rolling restart
		must(t, all[i].Stop(t.Context()))
		rest := others(all, all[i])
		rest[0].propose(fmt.Sprintf("without %d", i))
		all[i] = all[i].again(func(c *Config) { c.Join = nil })
		waitVoters(t, all, "a", "b", "c")
		all[i].propose(fmt.Sprintf("back %d", i))
	}
	sameState(t, all)
	if got := len(all[0].fsm.list()); got != 8 {
		t.Errorf("%d commands, want 8: %q", got, all[0].fsm.list())
	}
}

func TestRestart_newAddress(t *testing.T) {
	t.Parallel()
	all := three(t)
	old := all[1].Advertise()
	all[1].kill()
	all[0].propose("meanwhile")
	all[1] = all[1].again(func(c *Config) { c.Addr = "127.0.0.1:0" })
	if all[1].Advertise() == old {
		t.Fatal("the address has not changed")
	}
	waitVoters(t, all, "a", "b", "c")
	eventually(t, "the configuration has the new address everywhere", func() bool {
		for _, m := range all {
			if !m.cfg.frozenAddrs && m.configuredAddr("b") != all[1].Advertise() {
				return false
			}
		}
		return true
	})
	all[1].propose("from the new address")
	sameState(t, all)
}

func TestRestart_allNewAddresses(t *testing.T) {
	t.Parallel()
	all := three(t)
	all[2].propose("before")
	for _, m := range all {
		m.kill()
	}
	begun := time.Now()
	all[0] = all[0].again(func(c *Config) { c.Addr, c.Join = "127.0.0.1:0", nil })
	meet := []string{all[0].Advertise()}
	for i := range all[1:] {
		all[i+1] = all[i+1].again(func(c *Config) { c.Addr, c.Join = "127.0.0.1:0", meet })
	}
	all[2].propose("after")
	t.Logf("writes again after %v", time.Since(begun))
	waitVoters(t, all, "a", "b", "c")
	eventually(t, "the configuration has all new addresses", func() bool {
		for _, m := range all {
			for _, o := range all {
				if !m.cfg.frozenAddrs && m.configuredAddr(o.ID()) != o.Advertise() {
					return false
				}
			}
		}
		return true
	})
	sameState(t, all)

	// What was learnt is on disk: without any hint they find each other again.
	for _, m := range all {
		m.kill()
	}
	for i := range all {
		all[i] = all[i].again(func(c *Config) { c.Join = nil })
	}
	all[1].propose("and again")
}

// TestLeaderKill_noAcknowledgedWriteLost kills the leader five times under
// writes through every node. Each write is proposed once; an acknowledged one
// must be there, one of unknown outcome may be, one that was not taken must not.
func TestLeaderKill_noAcknowledgedWriteLost(t *testing.T) {
	t.Parallel()
	all := three(t)
	var mu sync.Mutex
	var acked, refused []string
	proposer := func(ctx context.Context, k int) {
		for i := 0; ctx.Err() == nil; i++ {
			cmd := fmt.Sprintf("w%d-%d", k, i)
			mu.Lock()
			m := all[k]
			mu.Unlock()
			_, _, err := m.Propose(context.Background(), []byte(cmd))
			mu.Lock()
			switch {
			case err == nil:
				acked = append(acked, cmd)
			case errors.Is(err, ErrNoLeader):
				refused = append(refused, cmd)
			case !errors.Is(err, ErrOutcomeUnknown):
				t.Errorf("Propose: %v", err)
			}
			mu.Unlock()
			pause(ctx, 2*time.Millisecond)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for k := range all {
		wg.Go(func() { proposer(ctx, k) })
	}
	var gaps []time.Duration
	for kill := range 5 {
		leader := leaderOf(t, all)
		i := slices.Index(all, leader)
		rest := others(all, leader)
		begun := time.Now()
		leader.kill()
		rest[kill%2].proposeUntil(fmt.Sprintf("after kill %d", kill))
		gaps = append(gaps, time.Since(begun))
		back := leader.again(nil)
		mu.Lock()
		all[i] = back
		mu.Unlock()
		waitVoters(t, all, "a", "b", "c")
	}
	cancel()
	wg.Wait()
	sameState(t, all)
	have := all[0].fsm.list()
	slices.Sort(have)
	for i := range have {
		if i > 0 && have[i] == have[i-1] {
			t.Errorf("%s was applied twice", have[i])
		}
	}
	for _, cmd := range acked {
		if _, ok := slices.BinarySearch(have, cmd); !ok {
			t.Errorf("acknowledged write %s is lost", cmd)
		}
	}
	for _, cmd := range refused {
		if _, ok := slices.BinarySearch(have, cmd); ok {
			t.Errorf("write %s was refused and yet applied", cmd)
		}
	}
	if len(acked) < 20 {
		t.Errorf("only %d writes were acknowledged", len(acked))
	}
	t.Logf("time to write after a kill: %v; %d acknowledged, %d refused", gaps, len(acked), len(refused))
}

func TestNoQuorum(t *testing.T) {
	t.Parallel()
	all := three(t)
	a := all[0]
	a.propose("before")
	all[1].kill()
	all[2].kill()
	eventually(t, "the leader without a quorum steps down", func() bool { return !a.IsLeader() })
	begun := time.Now()
	_, _, err := a.Propose(t.Context(), []byte("x"))
	wantError(t, err, ErrNoLeader)
	if took := time.Since(begun); took > 3*a.timing.NoLeaderWait {
		t.Errorf("the refusal took %v", took)
	}
	_, err = a.ReadIndex(t.Context())
	wantError(t, err, ErrNoLeader)
	if s := a.Status(); s.Healthy || s.FailureTolerance != 0 || s.LeaderID != "" {
		t.Errorf("Status() = %+v", s)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, _, err = a.Propose(ctx, []byte("x"))
	wantError(t, err, ErrNoLeader)
	wantError(t, err, context.DeadlineExceeded)
	all[1] = all[1].again(nil)
	a.propose("with a quorum again")
	if a.fsm.has("x") {
		t.Error("a refused write was applied")
	}
}

func TestSnapshot_installedOnRejoin(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t, "a")
	cfg.SnapshotThreshold, cfg.TrailingLogs, cfg.Timing.SnapshotInterval = 8, 4, 20*time.Millisecond
	a := start(t, cfg)
	a.waitJoined()
	for i := range 40 {
		a.propose(fmt.Sprint(i))
	}
	eventually(t, "the log was cut", func() bool { first, err := a.store.FirstIndex(); return err == nil && first > 10 })
	cfg = testConfig(t, "b")
	cfg.Join, cfg.SnapshotThreshold, cfg.TrailingLogs, cfg.Timing.SnapshotInterval = []string{a.Advertise()}, 8, 4, 20*time.Millisecond
	b := start(t, cfg)
	all := []*member{a, b}
	waitVoters(t, all, "a", "b")
	sameState(t, all)
	for i := range 40 {
		b.propose(fmt.Sprint("more ", i))
	}
	for i := range all {
		all[i].kill()
		all[i] = all[i].again(nil)
	}
	waitVoters(t, all, "a", "b")
	all[1].propose("last")
	sameState(t, all)
	if got, want := len(all[0].fsm.list()), 82; got != want {
		t.Errorf("%d commands, want %d", got, want)
	}
}

// TestSnapshot_behindAGap has a member that was away be given a snapshot which ends
// after its log does: its log then has a gap, and must open again nevertheless.
func TestSnapshot_behindAGap(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t, "a")
	cfg.SnapshotThreshold, cfg.TrailingLogs, cfg.Timing.SnapshotInterval = 8, 4, 20*time.Millisecond
	a := start(t, cfg)
	a.waitJoined()
	cfg = testConfig(t, "b")
	cfg.Join, cfg.NonVoter = []string{a.Advertise()}, true // and keeps its whole log
	b := start(t, cfg)
	b.waitJoined()
	a.propose("both")
	sameState(t, []*member{a, b})
	last, err := b.store.LastIndex()
	must(t, err)
	b.kill()
	for i := range 40 {
		a.propose(fmt.Sprint(i))
	}
	eventually(t, "the log was cut", func() bool { first, err := a.store.FirstIndex(); return err == nil && first > last+10 })
	b = b.again(nil)
	a.propose("after the snapshot")
	sameState(t, []*member{a, b})
	if err := b.store.guardedStore.GetLog(last+5, new(raft.Log)); !errors.Is(err, raft.ErrLogNotFound) {
		t.Fatalf("entry %d, which the snapshot stands for: %v, want none", last+5, err)
	}
	b.kill()
	b = b.again(nil)
	a.propose("once more")
	sameState(t, []*member{a, b})
}

func TestReadIndex(t *testing.T) {
	t.Parallel()
	all := three(t)
	var wg sync.WaitGroup
	for _, m := range all {
		wg.Go(func() {
			for i := range 20 {
				index, _, _ := uint64(0), 0, 0
				index = m.propose(fmt.Sprint(m.ID(), i))
				for _, r := range all {
					if got, err := r.ReadIndex(t.Context()); err != nil || got < index {
						t.Errorf("%s.ReadIndex() = %d, %v after a write at %d", r.ID(), got, err, index)
					}
				}
			}
		})
	}
	wg.Wait()
}

// TestReadIndex_deposedLeader cuts a leader off from Raft but not from calls: as
// soon as there is another leader it must not confirm a read.
func TestReadIndex_deposedLeader(t *testing.T) {
	t.Parallel()
	all := three(t)
	old := leaderOf(t, all)
	rest := others(all, old)
	old.layer.Load().fence()
	next := leaderOf(t, rest)
	index := next.propose("by the new leader")
	// The old leader's lease may still run; its reads fail or are not stale.
	if got, err := old.confirm(t.Context()); err == nil && got < index {
		t.Errorf("stale read: index %d, a write was acknowledged at %d", got, index)
	}
	got, err := old.ReadIndex(t.Context()) // asks around until it knows the leader, or gives up
	if err == nil && got < index {
		t.Errorf("stale read: index %d, a write was acknowledged at %d", got, index)
	}
}

func TestLeaderTerms(t *testing.T) {
	t.Parallel()
	all := three(t)
	leader := leaderOf(t, all)
	terms := leader.LeaderTerms()
	term := <-terms
	if term.Number == 0 || term.Ctx.Err() != nil {
		t.Fatalf("term %d, context %v", term.Number, term.Ctx.Err())
	}
	rest := others(all, leader)
	next := rest[0].LeaderTerms()
	must(t, leader.Transfer(t.Context(), rest[0].ID()))
	select {
	case <-term.Ctx.Done():
	case <-time.After(patience):
		t.Fatal("the context of the lost term does not end")
	}
	select {
	case n := <-next:
		if n.Number <= term.Number {
			t.Errorf("terms do not rise: %d after %d", n.Number, term.Number)
		}
	case <-time.After(patience):
		t.Fatal("the new leader does not announce its term")
	}
	must(t, leader.Stop(t.Context()))
	if _, open := <-terms; open {
		t.Error("the subscription is open after Stop")
	}
}
