package cluster

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// TestPropose_oldMember: a command that one member does not understand is not taken,
// neither while that member lives nor when it is dead and the leader is another one
// or a new process, until it is upgraded. What all understand goes on.
func TestPropose_oldMember(t *testing.T) {
	t.Parallel()
	requires := func(cmd []byte) uint8 {
		if strings.HasPrefix(string(cmd), "new ") {
			return 2
		}
		return 1
	}
	made := func(id string, proto uint8, by ...*member) *member {
		cfg := testConfig(t, id)
		cfg.Requires, cfg.Meta.Proto = requires, [2]uint8{1, proto}
		for _, m := range by {
			cfg.Join = append(cfg.Join, m.Advertise())
		}
		return start(t, cfg)
	}
	a := made("a", 2)
	a.waitJoined()
	a.propose("new alone")
	b, c := made("b", 2, a), made("c", 1, a)
	all := []*member{a, b, c}
	waitVoters(t, all, "a", "b", "c")

	refused := func(m *member, cmd string) {
		t.Helper()
		var err error
		eventually(t, "there is a leader to refuse", func() bool {
			_, _, err = m.Propose(t.Context(), []byte(cmd))
			return !errors.Is(err, ErrNoLeader)
		})
		wantError(t, err, ErrOldMember, "protocol 2", "c (")
		for _, name := range []string{"a (", "b ("} {
			if strings.Contains(err.Error(), name) {
				t.Errorf("%q names a node that is new enough", err)
			}
		}
	}
	for _, m := range all {
		refused(m, "new by "+m.ID())
		m.propose("old by " + m.ID())
	}
	c.kill()
	refused(a, "new without c")
	// Both forget what they have heard, but for what is on disk.
	a.kill()
	b.kill()
	a, b = a.again(nil), b.again(nil)
	refused(a, "new after a restart")
	a.propose("old after a restart")
	c = c.again(func(cfg *Config) { cfg.Meta.Proto = [2]uint8{1, 2} })
	eventually(t, "all are new", func() bool { return a.Understands(2) && b.Understands(2) && c.Understands(2) })
	c.propose("new in the end")
	all = []*member{a, b, c}
	sameState(t, all)
	for _, cmd := range a.fsm.list() {
		if strings.HasPrefix(cmd, "new ") && cmd != "new alone" && cmd != "new in the end" {
			t.Errorf("%q was committed", cmd)
		}
	}
}

// TestPropose_oldLeader: a leader that takes whatever it is given gets nothing from a
// newer node that it would not understand.
func TestPropose_oldLeader(t *testing.T) {
	t.Parallel()
	old := testConfig(t, "a")
	old.Meta.Proto = [2]uint8{1, 1}
	a := start(t, old)
	a.waitJoined()
	cfg := testConfig(t, "b")
	cfg.Join, cfg.NonVoter = []string{a.Advertise()}, true // so that a leads
	cfg.Requires, cfg.Meta.Proto = func(cmd []byte) uint8 { return 1 + uint8(strings.Count(string(cmd), "new")) }, [2]uint8{1, 2}
	b := start(t, cfg)
	b.waitJoined()
	_, _, err := b.Propose(t.Context(), []byte("new for an old leader"))
	wantError(t, err, ErrOldMember, "protocol 2", "upgrade a")
	b.propose("as ever")
	sameState(t, []*member{a, b})
	if got := a.fsm.list(); slices.Contains(got, "new for an old leader") {
		t.Errorf("the old leader has committed what it does not understand: %q", got)
	}
}

// TestPropose_newMemberDead: a dead member counts with what it said last, also for
// nodes that have never heard it themselves in this life.
func TestPropose_newMemberDead(t *testing.T) {
	t.Parallel()
	made := func(id string, by ...*member) *member {
		cfg := testConfig(t, id)
		cfg.Requires, cfg.Meta.Proto = func([]byte) uint8 { return 2 }, [2]uint8{1, 2}
		for _, m := range by {
			cfg.Join = append(cfg.Join, m.Advertise())
		}
		return start(t, cfg)
	}
	a := made("a")
	a.waitJoined()
	b, c := made("b", a), made("c", a)
	waitVoters(t, []*member{a, b, c}, "a", "b", "c")
	eventually(t, "it is on every disk what c understands", func() bool {
		for _, m := range []*member{a, b} {
			onDisk, err := openAddressBook(m.dir.file(peersFile), m.ID())
			must(t, err)
			if onDisk.speaks("c") != 2 {
				return false
			}
		}
		return true
	})
	for _, m := range []*member{c, b, a} {
		m.kill()
	}
	a, b = a.again(nil), b.again(nil)
	a.propose("without c")
	b.propose("without c again")
}
