package node

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lbnode/lbnode/internal/backup"
	"github.com/lbnode/lbnode/state"
)

// scheduled is a running node with a backup directory, without its own schedule: tests make the attempts.
func scheduled(t *testing.T, keep int) (b *backups, dir string, now time.Time) {
	t.Helper()
	cfg := testConfig(t, "n1")
	n, _ := runNode(t, cfg)
	put(t, n, "a", 1)
	cfg.BackupDir, cfg.BackupKeep = filepath.Join(t.TempDir(), "backups"), keep
	return newBackups(n, cfg), cfg.BackupDir, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
}

func put(t *testing.T, n *Node, id string, weight int) {
	t.Helper()
	if _, err := n.store.Do(t.Context(), state.Command{Type: state.TypeTxn, Ops: []state.Op{{
		Verb: state.VerbPut, Kind: state.KindBackend, ID: id, Value: []byte(`{"address":"127.0.0.1:1","weight":` + string(rune('0'+weight)) + `}`),
	}}}); err != nil {
		t.Fatal(err)
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func TestBackups_onlyWhenSomethingChanged(t *testing.T) {
	t.Parallel()
	bs, dir, now := scheduled(t, 2)
	foreign := []string{"lbnode-other-20200101T000000.000Z-1.lbbackup", "notes.txt", "lbnode-" + bs.n.ID() + "-x-20200101T000000.000Z-1.lbbackup"}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, f := range append(foreign, ".lbnode-"+bs.n.ID()+"-20200101T000000.000Z-1.lbbackup.77.tmp") {
		if err := os.WriteFile(filepath.Join(dir, f), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	bs.attempt(bs.n.store.View(), now)
	first := bs.Status()
	if first.LastError != "" || first.LastSuccess == nil || first.LastIndex == 0 || len(names(t, dir)) != 4 {
		t.Fatalf("status %+v, files %q", first, names(t, dir))
	}
	b, err := backup.ReadFile(first.LastFile)
	if err != nil || b.Node != bs.n.ID() || !b.OpenKey || b.Counts()[state.KindBackend] != 1 {
		t.Fatalf("backup %+v, %v", b, err)
	}
	bs.attempt(bs.n.store.View(), now.Add(time.Hour))
	if again := bs.Status(); again.LastFile != first.LastFile || !again.LastSuccess.After(*first.LastSuccess) {
		t.Errorf("nothing changed, and the status went from %+v to %+v", first, again)
	}
	for i := range 3 {
		put(t, bs.n, "a", i+2)
		bs.attempt(bs.n.store.View(), now.Add(time.Duration(i+2)*time.Hour))
	}
	left := names(t, dir)
	for _, f := range foreign {
		if !slices.Contains(left, f) {
			t.Errorf("%s was removed, which this node did not write", f)
		}
	}
	if len(left) != len(foreign)+2 || slices.Contains(left, filepath.Base(first.LastFile)) {
		t.Errorf("files %q, want the two newest", left)
	}
}

// A damaged newest file is no reason to write no more.
func TestBackups_afterDamage(t *testing.T) {
	t.Parallel()
	bs, dir, now := scheduled(t, 9)
	bs.attempt(bs.n.store.View(), now)
	if err := os.Truncate(bs.Status().LastFile, 100); err != nil {
		t.Fatal(err)
	}
	bs.attempt(bs.n.store.View(), now.Add(time.Hour))
	if st := bs.Status(); st.LastError != "" || len(names(t, dir)) != 2 {
		t.Errorf("status %+v, files %q", st, names(t, dir))
	}
	if _, err := backup.ReadFile(bs.Status().LastFile); err != nil {
		t.Error(err)
	}
}

func TestBackups_failureIsTold(t *testing.T) {
	t.Parallel()
	bs, dir, now := scheduled(t, 9)
	if err := os.WriteFile(dir, nil, 0o600); err != nil { // a file where the directory should be
		t.Fatal(err)
	}
	bs.attempt(bs.n.store.View(), now)
	st := bs.Status()
	if !strings.Contains(st.LastError, dir) || st.LastErrorAt == nil || st.LastSuccess != nil {
		t.Errorf("status %+v, want the error", st)
	}
	if ok, why := bs.n.ready(); !ok {
		t.Errorf("the node is not ready because of it: %q", why)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	bs.attempt(bs.n.store.View(), now.Add(time.Hour))
	if st := bs.Status(); st.LastError != "" || st.LastSuccess == nil {
		t.Errorf("status after the cure %+v", st)
	}
}

// The schedule itself: a backup at the start, and another one after a change.
func TestBackups_schedule(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t, "n1")
	cfg.BackupDir, cfg.BackupInterval = t.TempDir(), 20*time.Millisecond
	n, _ := runNode(t, cfg)
	eventually(t, "the first backup", func() bool { return len(names(t, cfg.BackupDir)) > 0 })
	put(t, n, "a", 1)
	eventually(t, "a backup with the change", func() bool {
		b, err := backup.ReadFile(n.backups.Status().LastFile)
		return err == nil && b.Counts()[state.KindBackend] == 1
	})
}
