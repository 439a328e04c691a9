package cluster

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// expecting prepares n nodes that wait for want nodes and know all of the
// addresses, their own included.
func expecting(t *testing.T, n, want int) []*member {
	t.Helper()
	var all []*member
	var addrs []string
	for i := range n {
		cfg := testConfig(t, string(rune('a'+i)))
		cfg.BootstrapExpect, cfg.Join = want, []string{"127.0.0.1:1"}
		m := prepare(t, cfg)
		all, addrs = append(all, m), append(addrs, m.Advertise())
	}
	for _, m := range all {
		m.cfg.Join, m.Node.cfg.Join = addrs, addrs
	}
	return all
}

func TestBootstrapExpect_race(t *testing.T) {
	t.Parallel()
	all := expecting(t, 3, 3)
	for _, m := range all {
		m.start()
	}
	waitVoters(t, all, "a", "b", "c")
	for _, m := range all {
		if m.ClusterID() != all[0].ClusterID() {
			t.Fatalf("%s is in cluster %s, %s in %s", m.ID(), m.ClusterID(), all[0].ID(), all[0].ClusterID())
		}
		m.propose("from " + m.ID())
	}
	sameState(t, all)
	if got, want := all[0].fsm.list()[0], "init "+all[0].ClusterID(); got != want {
		t.Errorf("first command = %q, want %q", got, want)
	}

	// The same command line works again.
	for _, m := range all {
		_ = m.Stop(t.Context())
	}
	for i, m := range all {
		all[i] = m.again(nil)
	}
	waitVoters(t, all, "a", "b", "c")
	all[1].propose("after the restart")
}

func TestBootstrapExpect_oneKnownAddress(t *testing.T) {
	t.Parallel()
	all := expecting(t, 3, 3)
	hub := []string{all[1].Advertise()}
	for _, m := range all {
		m.Node.cfg.Join = hub
		m.start()
	}
	waitVoters(t, all, "a", "b", "c")
}

func TestBootstrapExpect_cutInTwo(t *testing.T) {
	t.Parallel()
	all := expecting(t, 3, 3)
	whole := all[0].Node.cfg.Join
	all[0].Node.cfg.Join = []string{all[0].Advertise()}
	for _, m := range all[1:] {
		m.Node.cfg.Join = []string{all[1].Advertise(), all[2].Advertise()}
	}
	for _, m := range all {
		m.start()
	}
	eventually(t, "both sides have looked for each other in vain", func() bool {
		for i, m := range all {
			if err := m.JoinError(); err == nil || !strings.Contains(err.Error(), "waiting for 3 nodes") || i > 0 && !strings.Contains(err.Error(), "b, c") {
				return false
			}
		}
		return true
	})
	for _, m := range all {
		if m.ClusterID() != "" {
			t.Fatalf("%s has started a cluster", m.ID())
		}
		_ = m.Stop(t.Context())
	}
	for i, m := range all {
		all[i] = m.again(func(c *Config) { c.Join = whole })
	}
	waitVoters(t, all, "a", "b", "c")
}

func TestBootstrapExpect_joinsWhatExists(t *testing.T) {
	t.Parallel()
	old := single(t, "z")
	all := expecting(t, 3, 3)
	for _, m := range all {
		m.Node.cfg.Join = append([]string{old.Advertise()}, m.Node.cfg.Join...)
		m.start()
	}
	waitVoters(t, append(all, old), "a", "b", "c", "z")
}

func TestBootstrapExpect_otherNumber(t *testing.T) {
	t.Parallel()
	all := expecting(t, 3, 3)
	all[2].Node.cfg.BootstrapExpect = 2
	for _, m := range all {
		m.start()
	}
	eventually(t, "the log names the node that differs", func() bool {
		return strings.Contains(all[0].log.String(), "a node waits for another number of nodes") && strings.Contains(all[0].log.String(), "its_bootstrap_expect=2")
	})
	if all[0].ClusterID() != "" {
		t.Error("a cluster was started")
	}
}

// TestBootstrapExpect_missedStart lets a node give its promise and then miss the
// start of the cluster.
func TestBootstrapExpect_missedStart(t *testing.T) {
	t.Parallel()
	all := expecting(t, 3, 3)
	a, b, c := all[0], all[1], all[2]
	servers := []server{{"a", a.Advertise()}, {"b", b.Advertise()}, {"c", c.Advertise()}}
	id := newUUID()
	if err := a.collectPromises(t.Context(), id, servers); err != nil {
		t.Fatalf("collect promises: %v", err)
	}
	// c restarts with nothing but its promise.
	_ = c.Stop(t.Context())
	b.start()
	if err := a.form(servers, id); err != nil {
		t.Fatalf("form: %v", err)
	}
	b.waitJoined()
	c = c.again(func(cfg *Config) { cfg.Join = []string{a.Advertise(), b.Advertise()} })
	waitVoters(t, []*member{a, b, c}, "a", "b", "c")
	if c.ClusterID() != id {
		t.Errorf("cluster = %s, want %s", c.ClusterID(), id)
	}
}

func TestPromise_onlyOne(t *testing.T) {
	t.Parallel()
	var p promiseTable
	now := time.Now()
	for i, tc := range []struct {
		former string
		after  time.Duration
		want   string
	}{
		{"a", 0, ""},
		{"b", time.Second, "a"},
		{"a", 2 * time.Second, ""},
		{"b", promiseTTL, "a"},
		{"b", 2*time.Second + promiseTTL, ""},
		{"a", 3*time.Second + promiseTTL, "b"},
	} {
		if got := p.give(tc.former, now.Add(tc.after)); got != tc.want {
			t.Errorf("%d: give(%s) after %v = %q, want %q", i, tc.former, tc.after, got, tc.want)
		}
	}
}

// TestBootstrap_interrupted starts from what a crash leaves at each step.
func TestBootstrap_interrupted(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"decided", "marked", "term stored", "log stored"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			m := prepare(t, testConfig(t, "a"))
			id := newUUID()
			must(t, m.dir.update(func(i *identity) {
				i.ClusterID, i.Phase, i.Servers = id, phaseForming, []server{{"a", m.Advertise()}}
			}))
			if step != "decided" {
				must(t, m.store.own(m.dir.get()))
			}
			if step == "term stored" {
				must(t, m.store.SetUint64(keyTerm, 1))
			}
			if step == "log stored" {
				must(t, m.bootstrap(m.dir.get()))
			}
			m.kill()
			m = m.again(nil)
			m.waitJoined()
			m.propose("x")
			if m.ClusterID() != id {
				t.Errorf("cluster = %s, want %s", m.ClusterID(), id)
			}
		})
	}
}

// TestJoin_interrupted starts a joining node from what a crash leaves.
func TestJoin_interrupted(t *testing.T) {
	t.Parallel()
	for _, added := range []bool{false, true} {
		t.Run(fmt.Sprintf("added=%v", added), func(t *testing.T) {
			t.Parallel()
			a := single(t, "a")
			cfg := testConfig(t, "j")
			cfg.Join = []string{a.Advertise()}
			j := prepare(t, cfg)
			must(t, j.dir.update(func(i *identity) {
				i.ClusterID, i.Phase, i.NotBefore = a.ClusterID(), phaseJoining, a.store.conf.Load()
			}))
			if added { // the leader has added it, the answer got lost
				must(t, a.change(t.Context(), func(r *raft.Raft, limit time.Duration) raft.Future {
					return r.AddNonvoter(raft.ServerID(cfg.NodeID), raft.ServerAddress(j.Advertise()), 0, limit)
				}))
			}
			j.kill()
			j = j.again(nil)
			j.waitJoined()
			eventually(t, "it gets its vote", func() bool {
				return len(j.Voters()) == len(a.Voters()) && strings.Contains(strings.Join(a.Voters(), " "), j.ID())
			})
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
