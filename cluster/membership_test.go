package cluster

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/lbnode/lbnode/cluster/gossip"
)

func TestTransfer(t *testing.T) {
	t.Parallel()
	all := three(t)
	leader := leaderOf(t, all)
	rest := others(all, leader)
	must(t, rest[0].Transfer(t.Context(), rest[1].ID())) // asked of a node that does not lead
	if got := leaderOf(t, all); got != rest[1] {
		t.Errorf("leader = %s, want %s", got.ID(), rest[1].ID())
	}
	all[0].propose("after the first transfer")
	must(t, rest[1].Transfer(t.Context(), "")) // to anybody
	eventually(t, "somebody else leads", func() bool { l := leaderOf(t, all); return l != rest[1] })
	all[0].propose("after the second transfer")
	must(t, all[0].Transfer(t.Context(), leaderOf(t, all).ID())) // to the one that leads anyway
	wantError(t, all[0].Transfer(t.Context(), "nobody"), ErrUnknownNode)
}

func TestTransfer_deadTarget(t *testing.T) {
	t.Parallel()
	all := three(t)
	leader := leaderOf(t, all)
	rest := others(all, leader)
	rest[0].kill()
	for range 3 { // the second one would wedge Raft, if it got there
		begun := time.Now()
		wantError(t, leader.Transfer(t.Context(), rest[0].ID()), ErrNotSafe, rest[0].ID())
		if took := time.Since(begun); took > slowdown*5*time.Second {
			t.Errorf("the refusal took %v", took)
		}
		leader.propose("x")
	}
	if !leader.IsLeader() {
		t.Error("the leader has lost its place")
	}
}

func TestTransfer_alone(t *testing.T) {
	t.Parallel()
	m := single(t, "a")
	m.propose("x")
	wantError(t, m.Transfer(t.Context(), ""), ErrNotSafe)
}

func TestTransfer_underLoad(t *testing.T) {
	t.Parallel()
	all := three(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int)
	for _, m := range all {
		go func() {
			n := 0
			for ; ctx.Err() == nil; n++ {
				if _, _, err := m.Propose(context.Background(), []byte("x")); err != nil && !errors.Is(err, ErrOutcomeUnknown) {
					t.Errorf("Propose: %v", err)
				}
			}
			done <- n
		}()
	}
	for i := range 10 {
		tctx, cancel := context.WithTimeout(ctx, slowdown*10*time.Second)
		if err := all[i%3].Transfer(tctx, ""); err != nil && !errors.Is(err, ErrOutcomeUnknown) && !errors.Is(err, ErrBusy) {
			t.Errorf("Transfer: %v", err)
		}
		cancel()
	}
	cancel()
	for range all {
		if n := <-done; n == 0 {
			t.Error("a node could not write at all")
		}
	}
	sameState(t, all)
}

func TestRemove_follower(t *testing.T) {
	t.Parallel()
	all := three(t)
	leader := leaderOf(t, all)
	rest := others(all, leader)
	must(t, rest[0].Remove(t.Context(), rest[1].ID(), false))
	wantError(t, rest[1].failure(), ErrRemoved, rest[1].ID(), "move "+rest[1].cfg.DataDir+" aside")
	waitVoters(t, []*member{leader, rest[0]}, slices.Sorted(slices.Values([]string{leader.ID(), rest[0].ID()}))...)
	rest[0].propose("by two")
	wantError(t, leader.Remove(t.Context(), rest[1].ID(), false), ErrUnknownNode)
	must(t, rest[1].Stop(t.Context()))
	_, err := tryPrepare(t, rest[1].cfg)
	wantError(t, err, ErrRemoved, identityFile, rest[1].cfg.DataDir, "--join")
}

func TestRemove_leader(t *testing.T) {
	t.Parallel()
	all := three(t)
	leader := leaderOf(t, all)
	rest := others(all, leader)
	must(t, rest[0].Remove(t.Context(), leader.ID(), false))
	wantError(t, leader.failure(), ErrRemoved)
	leaderOf(t, rest)
	rest[1].propose("by the rest")
	sameState(t, rest)
}

// TestRemove_whileDown removes a node that is not running; it learns of it when
// it comes back.
func TestRemove_whileDown(t *testing.T) {
	t.Parallel()
	all := three(t)
	leader := leaderOf(t, all)
	rest := others(all, leader)
	gone := rest[1]
	gone.kill()
	must(t, rest[0].Remove(t.Context(), gone.ID(), false))
	gone = gone.again(func(c *Config) { c.Addr = "127.0.0.1:0" }) // where nobody tells it
	wantError(t, gone.failure(), ErrRemoved, "does not list node "+gone.ID())
	rest[0].propose("undisturbed")
}

func TestRemove_notSafe(t *testing.T) {
	t.Parallel()
	all := three(t)
	leader := leaderOf(t, all)
	rest := others(all, leader)
	rest[0].kill()
	eventually(t, "the dead node is noticed", func() bool { return !leader.live(rest[0].ID()) })
	err := leader.Remove(t.Context(), rest[1].ID(), false)
	wantError(t, err, ErrNotSafe, "needs 2 of 2 voters, and 1 answer", "not: "+rest[0].ID())
	leader.propose("still here")
	must(t, leader.Remove(t.Context(), rest[0].ID(), false)) // the dead one may go
	leader.propose("by two")
	must(t, leader.Remove(t.Context(), rest[1].ID(), false))
	wantError(t, leader.Remove(t.Context(), leader.ID(), true), ErrNotSafe, "last voter")
	leader.propose("alone")
}

func TestLeave(t *testing.T) {
	t.Parallel()
	all := three(t)
	leader := leaderOf(t, all)
	rest := others(all, leader)
	must(t, leader.Leave(t.Context()))
	wantError(t, leader.failure(), ErrRemoved, "at its own request")
	must(t, leader.Stop(t.Context()))
	next := leaderOf(t, rest)
	next.propose("by two")
	follower := others(rest, next)[0]
	must(t, follower.Leave(t.Context()))
	wantError(t, follower.failure(), ErrRemoved)
	next.propose("alone")
	wantError(t, next.Leave(t.Context()), ErrNotSafe)
	next.propose("still alone")
}

func TestMembers_deadNodeDoesNotBlock(t *testing.T) {
	t.Parallel()
	all := three(t)
	leader := leaderOf(t, all)
	dead := others(all, leader)[0]
	changes := leader.Changes()
	dead.kill()
	eventually(t, "the dead node is shown", func() bool {
		begun := time.Now()
		members, s := leader.Members(), leader.Status()
		if took := time.Since(begun); took > 100*time.Millisecond {
			t.Errorf("Members and Status took %v", took)
		}
		i := slices.IndexFunc(members, func(m Member) bool { return m.ID == dead.ID() })
		return members[i].Status != "alive" && members[i].API == dead.ID()+":9080" && !s.Healthy && s.LiveVoters == 2 && s.FailureTolerance == 0
	})
	select {
	case <-changes:
	case <-time.After(patience):
		t.Error("no change was announced")
	}
	if got := leader.Live(); len(got) != 2 || slices.Contains(got, dead.ID()) {
		t.Errorf("Live() = %v", got)
	}
}

func TestMemberStatus(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		heard     gossip.Status
		live, met bool
		want      string
	}{
		{gossip.Alive, true, true, "alive"},
		{gossip.Dead, true, true, "alive"},
		{"", true, true, "alive"},
		{gossip.Left, true, true, "alive"},
		{gossip.Alive, false, true, "suspect"},
		{gossip.Alive, false, false, "alive"},
		{gossip.Suspect, false, true, "suspect"},
		{gossip.Dead, false, true, "dead"},
		{gossip.Left, false, true, "left"},
		{"", false, false, "dead"},
	} {
		if got := memberStatus(tc.heard, tc.live, tc.met); got != tc.want {
			t.Errorf("memberStatus(%q, %v, %v) = %q, want %q", tc.heard, tc.live, tc.met, got, tc.want)
		}
	}
}

func TestSetMeta_draining(t *testing.T) {
	t.Parallel()
	all := three(t)
	m := all[1].states.currentMeta()
	m.Draining = true
	must(t, all[1].SetMeta(m))
	eventually(t, "all see that b is draining", func() bool {
		for _, n := range all {
			for _, o := range n.Members() {
				if o.Draining != (o.ID == "b") {
					return false
				}
			}
		}
		return true
	})
}

// kvState is a set of words that grows.
type kvState struct {
	ch chan string
}

func (s kvState) MarshalBinary() ([]byte, error) { return nil, nil }
func (s kvState) Merge(b []byte) error {
	select {
	case s.ch <- string(b):
	default:
	}
	return nil
}

func TestAddState_beforeTheCluster(t *testing.T) {
	t.Parallel()
	a := prepare(t, testConfig(t, "a"))
	got := kvState{make(chan string, 100)}
	a.AddState("words", got)
	a.start()
	a.waitJoined()
	b := join(t, "b", a)
	send := b.AddState("words", kvState{make(chan string, 100)})
	send([]byte("nobody hears this"))
	waitVoters(t, []*member{a, b}, "a", "b")
	eventually(t, "a hears b", func() bool {
		send([]byte("hello"))
		select {
		case w := <-got.ch:
			return w == "hello"
		default:
			return false
		}
	})
}

// TestChange_stalePrevious shows that a decision made on an old configuration is
// not carried out.
func TestChange_stalePrevious(t *testing.T) {
	t.Parallel()
	all := three(t)
	leader := leaderOf(t, all)
	prev := leader.store.conf.Load()
	rest := others(all, leader)
	must(t, leader.Remove(t.Context(), rest[0].ID(), false))
	err := leader.change(t.Context(), func(r *raft.Raft, limit time.Duration) raft.Future {
		return r.RemoveServer(raft.ServerID(rest[1].ID()), prev, limit)
	})
	wantError(t, err, ErrBusy)
	if now := leader.store.conf.Load(); now <= prev {
		t.Errorf("the index of the configuration went from %d to %d", prev, now)
	}
}
