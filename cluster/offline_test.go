package cluster

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func inspect(t *testing.T, m *member) Survey {
	t.Helper()
	s, err := Inspect(m.cfg.DataDir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func recovery(m *member) Recovery {
	return Recovery{
		DataDir: m.cfg.DataDir, ClusterID: NewClusterID(), FSM: &listFSM{}, Keep: func() error { return nil }, Now: time.Now(), Logger: slog.New(slog.DiscardHandler),
	}
}

// Two of three are lost for good: the survivor is recovered, takes new members, and what is left of the old cluster
// cannot mix with it.
func TestRecover_oneOfThree(t *testing.T) {
	t.Parallel()
	all := three(t)
	a, b, c := all[0], all[1], all[2]
	index := a.propose("kept")
	sameState(t, all)
	old := a.ClusterID()
	if _, err := Inspect(a.cfg.DataDir); !errors.Is(err, ErrStoreInUse) {
		t.Errorf("Inspect beside a running node = %v, want ErrStoreInUse", err)
	}
	if _, err := Recover(recovery(a)); !errors.Is(err, ErrStoreInUse) {
		t.Errorf("Recover beside a running node = %v, want ErrStoreInUse", err)
	}
	a.kill()
	if s := inspect(t, a); s.NodeID != "a" || s.ClusterID != old || s.LastIndex < index || s.LastTerm == 0 || len(s.Members) != 3 || s.Phase != "member" {
		t.Errorf("survey %+v", s)
	}
	if _, err := Recover(recovery(a)); !errors.Is(err, ErrQuorum) || !strings.Contains(err.Error(), "b, c") {
		t.Errorf("Recover while the others run = %v, want ErrQuorum that names them", err)
	}
	b.kill()
	c.kill()
	r := recovery(a)
	out, err := Recover(r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(out.Copy, raftDir, boltFile)); err != nil {
		t.Errorf("the copy of before: %v", err)
	}
	if s := inspect(t, a); s.ClusterID != r.ClusterID || len(s.Members) != 1 || s.LastIndex < index || !s.Members[0].Self || !s.Members[0].Voter {
		t.Errorf("survey after the recovery %+v", s)
	}
	a = a.again(func(c *Config) { c.Join = nil })
	a.propose("after")
	if !a.fsm.has("kept") || a.ClusterID() != r.ClusterID {
		t.Errorf("cluster %s has %q", a.ClusterID(), a.fsm.list())
	}
	// Both old members come back, and are a majority of what they know: they may go on among themselves, but not with a.
	b, c = b.again(nil), c.again(nil)
	b.propose("in the old cluster")
	cfg := testConfig(t, "d")
	cfg.Join = []string{a.Advertise()}
	d := start(t, cfg)
	waitVoters(t, []*member{a, d}, "a", "d")
	a.propose("with d")
	sameState(t, []*member{a, d})
	if d.fsm.has("in the old cluster") || b.fsm.has("with d") || b.ClusterID() != old {
		t.Error("the old and the new cluster have mixed")
	}
	sameState(t, []*member{b, c})
}

// A store that was compacted, twice recovered.
func TestRecover_fromSnapshot(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t, "a")
	cfg.SnapshotThreshold, cfg.TrailingLogs, cfg.Timing.SnapshotInterval = 8, 4, 20*time.Millisecond
	a := start(t, cfg)
	a.waitJoined()
	for range 30 {
		a.propose("x")
	}
	eventually(t, "a snapshot", func() bool { return a.store.snapConf.Load() > 0 })
	want := len(a.fsm.list())
	for range 2 {
		a.kill()
		if _, err := Recover(recovery(a)); err != nil {
			t.Fatal(err)
		}
		a = a.again(nil)
		a.propose("y")
		if want++; len(a.fsm.list()) != want {
			t.Errorf("%d commands, want %d", len(a.fsm.list()), want)
		}
	}
}

func TestRecover_refuses(t *testing.T) {
	t.Parallel()
	empty := t.TempDir()
	if _, err := Recover(Recovery{DataDir: empty}); err == nil || !strings.Contains(err.Error(), "no data directory") {
		t.Errorf("an empty directory: %v", err)
	}
	entries, err := os.ReadDir(empty)
	if err != nil || len(entries) > 0 {
		t.Errorf("something was written into it: %v, %v", entries, err)
	}
	a := start(t, testConfig(t, "a"))
	a.waitJoined()
	a.propose("x")
	a.kill()
	path := a.dir.file(raftDir, boltFile)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, int64(len(raw)/2)); err != nil {
		t.Fatal(err)
	}
	if _, err := Recover(recovery(a)); !errors.Is(err, ErrDamagedStore) {
		t.Errorf("a damaged store: %v, want ErrDamagedStore", err)
	}
	after, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(after, raw[:len(raw)/2]) {
		t.Error("the damaged store was written to")
	}
}

// A node whose store is damaged joins again as another member, and the one that it was goes.
func TestRejoin(t *testing.T) {
	t.Parallel()
	all := three(t)
	all[0].propose("before")
	c := all[2]
	c.kill()
	if _, err := Rejoin(Rejoining{DataDir: c.cfg.DataDir, Now: time.Now()}); !errors.Is(err, ErrSound) {
		t.Errorf("Rejoin of a sound directory = %v, want ErrSound", err)
	}
	if err := os.Truncate(c.dir.file(raftDir, boltFile), 4096); err != nil {
		t.Fatal(err)
	}
	if _, err := New(withFSM(c.cfg)); !errors.Is(err, ErrDamagedStore) || !strings.Contains(err.Error(), "lbnode rejoin --data-dir "+c.cfg.DataDir) {
		t.Errorf("a start on it = %v, want the command that helps", err)
	}
	out, err := Rejoin(Rejoining{DataDir: c.cfg.DataDir, Now: time.Now()})
	if err != nil || out.Old != "c" || out.New != "c-r2" || !errors.Is(out.Damage, ErrDamagedStore) {
		t.Fatalf("Rejoin = %+v, %v", out, err)
	}
	if st, err := os.Stat(filepath.Join(out.Aside, raftDir, boltFile)); err != nil || st.Size() != 4096 {
		t.Errorf("the damaged file: %v", err)
	}
	alone := c.cfg
	alone.NodeID, alone.Join = "", nil
	n, err := New(withFSM(alone))
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "--join") {
		t.Errorf("a start without --join = %v, want a refusal: it would found a cluster", err)
	}
	must(t, n.Stop(t.Context()))
	again := c.again(func(c *Config) { c.NodeID, c.Join = "", []string{all[0].Advertise()} })
	live := []*member{all[0], all[1], again}
	waitVoters(t, live, "a", "b", "c-r2")
	sameState(t, live)
	eventually(t, "the note of the old member is gone", func() bool { return again.dir.get().Replaces == "" })
}

func TestRejoin_withoutIdentity(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, identityFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Rejoin(Rejoining{DataDir: dir, Now: time.Now()}); err == nil || !strings.Contains(err.Error(), "name") {
		t.Errorf("Rejoin = %v, want it to ask for the old name", err)
	}
	out, err := Rejoin(Rejoining{DataDir: dir, OldName: "lb-1-r2", Now: time.Now()})
	if err != nil || out.New != "lb-1-r3" {
		t.Errorf("Rejoin = %+v, %v", out, err)
	}
}

func TestNextName(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 63)
	for old, want := range map[string]string{"n1": "n1-r2", "n1-r2": "n1-r3", "n1-r99": "n1-r100", "r2": "r2-r2", long: long[:60] + "-r2"} {
		if got := nextName(old); got != want {
			t.Errorf("nextName(%s) = %s, want %s", old, got, want)
		}
	}
}

func withFSM(cfg Config) Config {
	cfg.FSM, cfg.Logger = &listFSM{}, slog.New(slog.DiscardHandler)
	return cfg
}
