package cluster

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// caughtUp brings a member up to what index says, as a read does, and returns what it then shows.
func (m *member) caughtUp(index func(context.Context) (uint64, error)) ([]string, error) {
	ctx, cancel := context.WithTimeout(m.t.Context(), patience)
	defer cancel()
	i, err := index(ctx)
	if err != nil {
		return nil, err
	}
	if err := m.WaitApplied(ctx, i); err != nil {
		return nil, err
	}
	return m.fsm.list(), nil
}

// On voters and non-voters both kinds of read show what was acknowledged before, also when the newest entry
// is one of Raft's own, as right after an election.
func TestReads_showWhatWasAcknowledged(t *testing.T) {
	t.Parallel()
	all := three(t)
	cfg := testConfig(t, "d")
	cfg.NonVoter, cfg.Join = true, []string{all[0].Advertise()}
	d := start(t, cfg)
	d.waitJoined()
	all = append(all, d)
	for round := range 3 {
		leader := leaderOf(t, all)
		cmd := fmt.Sprintf("write %d", round)
		all[(round+1)%len(all)].propose(cmd)
		for _, m := range all {
			for name, index := range map[string]func(context.Context) (uint64, error){"ReadIndex": m.ReadIndex, "LeaderIndex": m.LeaderIndex} {
				got, err := m.caughtUp(index)
				if err != nil || len(got) == 0 || got[len(got)-1] != cmd {
					t.Errorf("round %d: %s on %s shows %v, %v, want %q last", round, name, m.ID(), got, err, cmd)
				}
			}
		}
		must(t, leader.Transfer(t.Context(), ""))
	}
}

func TestWaitApplied_givesUp(t *testing.T) {
	t.Parallel()
	m := single(t, "a")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	wantError(t, m.WaitApplied(ctx, 1<<40), context.DeadlineExceeded)
	done := make(chan error, 1)
	go func() { done <- m.WaitApplied(context.Background(), 1<<40) }()
	m.kill()
	wantError(t, <-done, ErrStopped)
}

// A node that is alone knows no leader, and says so.
func TestLeaderIndex_withoutLeader(t *testing.T) {
	t.Parallel()
	all := three(t)
	leader := leaderOf(t, all)
	for _, m := range others(all, leader) {
		m.kill()
	}
	eventually(t, "the lease ends", func() bool { return !leader.IsLeader() })
	_, err := leader.LeaderIndex(t.Context())
	wantError(t, err, ErrNoLeader)
}
