package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lbnode/lbnode/cluster/transport"
)

func TestBootstrap_single(t *testing.T) {
	t.Parallel()
	m := single(t, "a")
	if m.ClusterID() == "" {
		t.Fatal("no cluster id")
	}
	m.propose("one")
	if got, want := m.fsm.list(), []string{"init " + m.ClusterID(), "one"}; !slices.Equal(got, want) {
		t.Errorf("commands = %q, want %q", got, want)
	}
	s := m.Status()
	if s.State != "leader" || s.LeaderID != "a" || s.Voters != 1 || s.FailureTolerance != 0 || !s.Healthy {
		t.Errorf("Status() = %+v", s)
	}
	if err := m.Stop(t.Context()); err != nil {
		t.Fatalf("Stop: %v", err)
	}

	id := m.ClusterID()
	m = m.again(func(c *Config) { c.NodeID = "" }) // the name is in the directory
	m.waitJoined()
	if m.ID() != "a" || m.ClusterID() != id {
		t.Errorf("after a restart: node %s in cluster %s, want a in %s", m.ID(), m.ClusterID(), id)
	}
	m.propose("two")
	if got, want := m.fsm.list(), []string{"init " + id, "one", "two"}; !slices.Equal(got, want) {
		t.Errorf("commands after a restart = %q, want %q", got, want)
	}
}

func TestPropose_stateMachineError(t *testing.T) {
	t.Parallel()
	all := three(t)
	for _, m := range all {
		_, _, err := m.Propose(t.Context(), []byte("fail"))
		var ae *ApplyError
		if !errors.As(err, &ae) || ae.Msg != "told to fail" || ae.Index == 0 {
			t.Errorf("%s: error = %v, want an ApplyError", m.ID(), err)
		}
	}
}

func TestPropose_tooLarge(t *testing.T) {
	t.Parallel()
	m := single(t, "a")
	_, _, err := m.Propose(t.Context(), make([]byte, MaxCommand+1))
	wantError(t, err, ErrTooLarge)
}

func TestJoin_byAnyMember(t *testing.T) {
	t.Parallel()
	a := single(t, "a")
	b := join(t, "b", a)
	waitVoters(t, []*member{a, b}, "a", "b")
	c := join(t, "c", b) // not the leader
	all := []*member{a, b, c}
	waitVoters(t, all, "a", "b", "c")
	for i, m := range all {
		m.propose(fmt.Sprintf("from %d", i))
	}
	sameState(t, all)
	if got := a.fsm.list(); len(got) != 4 {
		t.Errorf("commands = %q", got)
	}
	eventually(t, "gossip has told every node of every other", func() bool {
		for _, m := range all {
			for _, o := range m.Members() {
				if o.Status != "alive" || o.API != o.ID+":9080" || !o.Voter || o.Leader != (o.ID == "a") || o.Self != (o.ID == m.ID()) || o.AppliedIndex == 0 {
					return false
				}
			}
		}
		return true
	})
	if s := b.Status(); s.FailureTolerance != 1 || s.State != "follower" || s.LeaderID != "a" || s.LastContact < 0 {
		t.Errorf("Status() = %+v", s)
	}
}

func TestJoin_nonVoter(t *testing.T) {
	t.Parallel()
	a := single(t, "a")
	cfg := testConfig(t, "b")
	cfg.Join, cfg.NonVoter = []string{a.Advertise()}, true
	b := start(t, cfg)
	b.waitJoined()
	b.propose("from the non-voter")
	eventually(t, "the non-voter follows", func() bool { return b.fsm.has("from the non-voter") })
	// A voter that comes later gets its vote, the non-voter does not.
	c := join(t, "c", b)
	all := []*member{a, b, c}
	waitVoters(t, all, "a", "c")
	_ = b.Stop(t.Context())
	// The flag counts only when the node joins.
	b = b.again(func(c *Config) { c.NonVoter = false })
	b.waitJoined()
	eventually(t, "the leader has heard from it for long enough", func() bool {
		p := a.peers.get("b")
		return p.up && time.Since(p.since) > 4*a.timing.Stabilise
	})
	if got := a.Voters(); !slices.Equal(got, []string{"a", "c"}) {
		t.Errorf("voters = %v, want a and c", got)
	}
	if _, err := a.ReadIndex(t.Context()); err != nil {
		t.Errorf("ReadIndex with a non-voter: %v", err)
	}
}

func TestJoin_neverBootstraps(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t, "a")
	cfg.Join = []string{"127.0.0.1:1"}
	m := start(t, cfg)
	eventually(t, "the node says why it is not in", func() bool {
		err := m.JoinError()
		return err != nil && strings.Contains(err.Error(), "127.0.0.1:1")
	})
	if m.ClusterID() != "" || m.Status().State != "joining" {
		t.Errorf("cluster %q, state %s: it must not start one", m.ClusterID(), m.Status().State)
	}
	_, _, err := m.Propose(t.Context(), []byte("x"))
	wantError(t, err, ErrNoLeader)
}

func TestJoin_waitsForTheCluster(t *testing.T) {
	t.Parallel()
	a := prepare(t, testConfig(t, "a")) // listens, is in no cluster yet
	b := join(t, "b", a)
	eventually(t, "b has asked", func() bool { return b.JoinError() != nil })
	a.start()
	waitVoters(t, []*member{a, b}, "a", "b")
}

func TestJoin_wipedNode(t *testing.T) {
	t.Parallel()
	all := three(t)
	c := all[2]
	c.kill()
	cfg := testConfig(t, "c") // another, empty directory
	cfg.Join = []string{all[0].Advertise(), all[1].Advertise()}
	wiped := start(t, cfg)
	wantError(t, wiped.failure(), ErrJoinRefused, "node c is a member already", "lbctl node remove c", "new --name")
	if wiped.ClusterID() != "" {
		t.Error("the refused node has adopted the cluster")
	}
	wiped.kill()

	if err := all[0].Remove(t.Context(), "c", false); err != nil {
		t.Fatalf("Remove: %v", err)
	}
	cfg.DataDir = t.TempDir()
	wiped = start(t, cfg)
	waitVoters(t, []*member{all[0], all[1], wiped}, "a", "b", "c")
}

func TestJoin_incompatibleVersion(t *testing.T) {
	t.Parallel()
	a := single(t, "a")
	cfg := testConfig(t, "b")
	cfg.Join, cfg.Meta.Proto, cfg.Meta.Version = []string{a.Advertise()}, [2]uint8{7, 9}, "9.0"
	b := start(t, cfg)
	wantError(t, b.failure(), ErrJoinRefused, "lbnode 9.0 speaks command protocols 7 to 9", "1 to 1")
}

func TestJoin_addressOfAnother(t *testing.T) {
	t.Parallel()
	all := three(t)
	addr := all[2].Addr().String()
	all[2].kill()
	cfg := testConfig(t, "d")
	cfg.Addr, cfg.Join = addr, []string{all[0].Advertise()}
	d := start(t, cfg)
	wantError(t, d.failure(), ErrJoinRefused, "belongs to member c", "lbctl node remove c")
}

func TestJoin_wrongKey(t *testing.T) {
	t.Parallel()
	withKey := func(id string) Config {
		cfg := testConfig(t, id)
		cfg.Keys = []transport.Key{transport.NewKey()}
		return cfg
	}
	a := start(t, withKey("a"))
	a.waitJoined()
	cfg := withKey("b")
	cfg.Join = []string{a.Advertise()}
	b := start(t, cfg)
	eventually(t, "the joining side says that the key is wrong", func() bool {
		return errors.Is(b.JoinError(), transport.ErrWrongKey)
	})
	eventually(t, "the member's log says so too", func() bool {
		return strings.Contains(a.log.String(), "key") && strings.Contains(a.log.String(), "level=WARN")
	})
	if got := a.Voters(); len(got) != 1 || b.ClusterID() != "" {
		t.Errorf("voters = %v, b is in %q", got, b.ClusterID())
	}
}

func TestOtherCluster_refused(t *testing.T) {
	t.Parallel()
	a, x := single(t, "a"), single(t, "x")
	// x remembers a as the address of one of its own.
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := x.mux.Call(ctx, a.Advertise(), methodPropose, []byte("stray"))
	wantError(t, err, transport.ErrWrongCluster, a.ClusterID(), x.ClusterID())
	_, err = x.mux.Dial(ctx, a.Advertise(), transport.ProtoRaft)
	wantError(t, err, transport.ErrWrongCluster, a.ClusterID(), x.ClusterID())
	_, err = callJSON[joinResponse](ctx, x.mux, a.Advertise(), methodJoin, joinRequest{Step: stepAdd, ID: "x", Addr: x.Advertise(), Proto: [2]uint8{1, 1}})
	wantError(t, fromRemote(err), ErrJoinRefused, a.ClusterID(), x.ClusterID())
	eventually(t, "both logs name the other cluster", func() bool {
		return strings.Contains(a.log.String(), x.ClusterID()) && strings.Contains(x.log.String(), a.ClusterID())
	})
	if a.fsm.has("stray") {
		t.Error("a command of another cluster was applied")
	}
}

func TestJoin_twoClusters(t *testing.T) {
	t.Parallel()
	a, x := single(t, "a"), single(t, "x")
	b := join(t, "b", a, x)
	eventually(t, "the node says that its addresses lead to two clusters", func() bool {
		err := b.JoinError()
		return err != nil && strings.Contains(err.Error(), a.ClusterID()) && strings.Contains(err.Error(), x.ClusterID())
	})
}

func TestHandle_call(t *testing.T) {
	t.Parallel()
	all := three(t)
	for _, m := range all {
		m.Handle("test.echo", func(_ context.Context, p transport.Peer, req []byte) ([]byte, error) {
			return fmt.Appendf(nil, "%s to %s: %s", p.NodeID, m.ID(), req), nil
		})
	}
	for _, from := range all {
		for _, to := range all {
			got, err := from.Call(t.Context(), to.ID(), "test.echo", []byte("hi"))
			if want := from.ID() + " to " + to.ID() + ": hi"; err != nil || string(got) != want {
				t.Errorf("Call = %q, %v, want %q", got, err, want)
			}
		}
	}
	_, err := all[0].Call(t.Context(), "nobody", "test.echo", nil)
	wantError(t, err, ErrUnknownNode)
}

func TestConfig_validate(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, says string
		change     func(*Config)
	}{
		{"no directory", "DataDir", func(c *Config) { c.DataDir = "" }},
		{"no state machine", "FSM", func(c *Config) { c.FSM = nil }},
		{"bad id", `"A b"`, func(c *Config) { c.NodeID = "A b" }},
		{"bad address", "Addr", func(c *Config) { c.Addr = "nowhere" }},
		{"bad join", "Join", func(c *Config) { c.Join = []string{"nowhere"} }},
		{"expect alone", "BootstrapExpect is 3", func(c *Config) { c.BootstrapExpect = 3 }},
		{"negative expect", "BootstrapExpect is -1", func(c *Config) { c.BootstrapExpect = -1 }},
		{"lone non-voter", "non-voter", func(c *Config) { c.NonVoter = true }},
		{"lease over heartbeat", "Lease is 1m0s", func(c *Config) { c.Timing.Lease = time.Minute }},
		{"election under heartbeat", "Election is 100ms", func(c *Config) { c.Timing.Election = 100 * time.Millisecond }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			cfg := testConfig(t, "a")
			cfg.FSM = &listFSM{}
			if err := cfg.Validate(); err != nil {
				t.Fatalf("before the change: %v", err)
			}
			tc.change(&cfg)
			if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("Validate() = %v, want it to say %q", err, tc.says)
			}
		})
	}
}
