package cluster

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
)

// usedDir returns the directory of a stopped one-node cluster with some log and
// a snapshot.
func usedDir(t *testing.T) (string, Config) {
	t.Helper()
	cfg := testConfig(t, "a")
	cfg.SnapshotThreshold, cfg.TrailingLogs, cfg.Timing.SnapshotInterval = 8, 8, 20*time.Millisecond
	m := start(t, cfg)
	m.waitJoined()
	for i := range 30 {
		m.propose(fmt.Sprintf("command number %d", i))
	}
	eventually(t, "there is a snapshot", func() bool { return lastSnapshot(m.raft.Load()) > 0 })
	must(t, m.Stop(t.Context()))
	return cfg.DataDir, cfg
}

// tree returns the content of all files below dir but the lock.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	must(t, filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() || e.Name() == lockFile {
			return err
		}
		b, err := os.ReadFile(path)
		files[path] = string(b)
		return err
	}))
	return files
}

func edit(t *testing.T, path string, change func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	must(t, os.WriteFile(path, change(b), 0o600))
}

func only(t *testing.T, pattern string) string {
	t.Helper()
	m, err := filepath.Glob(pattern)
	if err != nil || len(m) == 0 {
		t.Fatalf("Glob(%s) = %v, %v", pattern, m, err)
	}
	return m[len(m)-1]
}

func TestNew_refusesBadDirectory(t *testing.T) {
	t.Parallel()
	otherDir, _ := usedDir(t)
	for _, tc := range []struct {
		name   string
		damage func(t *testing.T, dir string, cfg *Config)
		kind   error
		says   []string
	}{
		{"cut in the middle", func(t *testing.T, dir string, _ *Config) {
			edit(t, filepath.Join(dir, "raft", "raft.db"), func(b []byte) []byte { return b[:len(b)/3] })
		}, ErrDamagedStore, []string{"raft.db", "aside", "--name"}},
		{"cut to less than the meta pages", func(t *testing.T, dir string, _ *Config) {
			edit(t, filepath.Join(dir, "raft", "raft.db"), func(b []byte) []byte { return b[:100] })
		}, ErrDamagedStore, []string{"raft.db", "meta page", "aside"}},
		{"emptied", func(t *testing.T, dir string, _ *Config) {
			edit(t, filepath.Join(dir, "raft", "raft.db"), func([]byte) []byte { return nil })
		}, ErrDamagedStore, []string{"raft.db", "missing or empty", "aside"}},
		{"log removed", func(t *testing.T, dir string, _ *Config) {
			must(t, os.Remove(filepath.Join(dir, "raft", "raft.db")))
		}, ErrDamagedStore, []string{"raft.db", "missing or empty", "aside"}},
		{"overwritten by zeros", func(t *testing.T, dir string, _ *Config) {
			edit(t, filepath.Join(dir, "raft", "raft.db"), func(b []byte) []byte { clear(b[8192:]); return b })
		}, ErrDamagedStore, []string{"raft.db", "page", "aside"}},
		{"a flipped bit in a command", func(t *testing.T, dir string, _ *Config) {
			edit(t, filepath.Join(dir, "raft", "raft.db"), func(b []byte) []byte {
				want := []byte("command number 29")
				for i := 0; ; {
					j := bytes.Index(b[i:], want)
					if j < 0 {
						return b
					}
					b[i+j+3] ^= 1 // wherever a copy of the page is
					i += j + len(want)
				}
			})
		}, ErrDamagedStore, []string{"raft.db", "checksum", "aside"}},
		{"a flipped bit in the snapshot", func(t *testing.T, dir string, _ *Config) {
			edit(t, only(t, filepath.Join(dir, "raft", "snapshots", "*", "state.bin")), func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
		}, ErrDamagedStore, []string{"snapshots", "CRC", "aside"}},
		{"a snapshot without its description", func(t *testing.T, dir string, _ *Config) {
			for _, f := range []string{only(t, filepath.Join(dir, "raft", "snapshots", "*", "meta.json"))} {
				must(t, os.Remove(f))
			}
		}, ErrDamagedStore, []string{"meta.json", "aside"}},
		{"snapshots removed", func(t *testing.T, dir string, _ *Config) {
			must(t, os.RemoveAll(filepath.Join(dir, "raft", "snapshots")))
		}, ErrDamagedStore, []string{"raft.db", "the log begins at entry", "aside"}},
		{"identity removed", func(t *testing.T, dir string, _ *Config) {
			must(t, os.Remove(filepath.Join(dir, identityFile)))
		}, ErrForeignStore, []string{identityFile, "put it back", "aside"}},
		{"identity garbled", func(t *testing.T, dir string, _ *Config) {
			edit(t, filepath.Join(dir, identityFile), func(b []byte) []byte { return b[:len(b)/2] })
		}, ErrDamagedStore, []string{identityFile, "put it back"}},
		{"identity of another cluster", func(t *testing.T, dir string, _ *Config) {
			b, err := os.ReadFile(filepath.Join(otherDir, identityFile))
			must(t, err)
			must(t, os.WriteFile(filepath.Join(dir, identityFile), b, 0o600))
		}, ErrForeignStore, []string{"raft.db belongs to cluster", identityFile, "pair"}},
		{"identity of a new node", func(t *testing.T, dir string, _ *Config) {
			must(t, os.WriteFile(filepath.Join(dir, identityFile), []byte(`{"node_id":"a","phase":"new"}`), 0o600))
		}, ErrForeignStore, []string{"raft.db", identityFile}},
		{"another name", func(_ *testing.T, _ string, cfg *Config) { cfg.NodeID = "b" }, ErrForeignStore, []string{identityFile, `belongs to node "a", not to "b"`, "--name a", "--data-dir"}},
		{"a newer format", func(t *testing.T, dir string, _ *Config) {
			must(t, os.WriteFile(filepath.Join(dir, formatFile), []byte("lbnode-data 2\n"), 0o600))
		}, ErrForeignStore, []string{formatFile, "format 2", "newer lbnode"}},
		{"no format", func(t *testing.T, dir string, _ *Config) {
			must(t, os.Remove(filepath.Join(dir, formatFile)))
		}, ErrForeignStore, []string{formatFile, "aside"}},
		{"something else's format", func(t *testing.T, dir string, _ *Config) {
			must(t, os.WriteFile(filepath.Join(dir, formatFile), []byte("14\n"), 0o600))
		}, ErrForeignStore, []string{formatFile, "--data-dir"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dir, cfg := usedDir(t)
			tc.damage(t, dir, &cfg)
			before := tree(t, dir)
			m, err := tryPrepare(t, cfg)
			if m != nil {
				t.Fatal("the directory was taken")
			}
			wantError(t, err, tc.kind, tc.says...)
			if !strings.Contains(err.Error(), dir) {
				t.Errorf("error %q does not name the directory", err)
			}
			after := tree(t, dir)
			for path, b := range before {
				if after[path] != b {
					t.Errorf("%s was changed by the refusal", path)
				}
			}
			for path := range after {
				if _, ok := before[path]; !ok {
					t.Errorf("%s was made by the refusal", path)
				}
			}
		})
	}
}

// TestCheckBolt_everyTruncation cuts the file at each page: bbolt would die of a
// signal on most of these.
func TestCheckBolt_everyTruncation(t *testing.T) {
	t.Parallel()
	dir, _ := usedDir(t)
	whole, err := os.ReadFile(filepath.Join(dir, "raft", "raft.db"))
	must(t, err)
	if err := checkBoltFile(bytes.NewReader(whole), int64(len(whole))); err != nil {
		t.Fatalf("whole file: %v", err)
	}
	meta, err := readBoltMeta(bytes.NewReader(whole), int64(len(whole)))
	must(t, err)
	used := int(meta.high) * int(meta.pageSize)
	for size := 1; size < used; size += 512 {
		if err := checkBoltFile(bytes.NewReader(whole[:size]), int64(size)); err == nil {
			t.Fatalf("cut to %d of %d bytes: no error", size, used)
		}
	}
}

func FuzzCheckBolt(f *testing.F) {
	path := filepath.Join(f.TempDir(), "seed.db")
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoFreelistSync: true})
	if err != nil {
		f.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucket([]byte("logs"))
		for i := range 300 {
			err = errors.Join(err, b.Put(binary.BigEndian.AppendUint64(nil, uint64(i)), bytes.Repeat([]byte{byte(i)}, i)))
		}
		c, cerr := tx.CreateBucket([]byte("conf"))
		return errors.Join(err, cerr, c.Put([]byte("k"), []byte("v")))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		f.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	if err := checkBoltFile(bytes.NewReader(whole), int64(len(whole))); err != nil {
		f.Fatalf("whole file: %v", err)
	}
	// The input is a list of patches: offset and value.
	f.Add([]byte{0, 0, 16, 8, 0xff})
	f.Add([]byte{0, 0, 32, 10, 1, 0, 0, 48, 0, 9})
	f.Fuzz(func(t *testing.T, patches []byte) {
		b := bytes.Clone(whole)
		for ; len(patches) >= 5; patches = patches[5:] {
			b[int(binary.BigEndian.Uint32(patches))%len(b)] = patches[4]
		}
		// Whatever it says, it must not panic, hang or read beyond the file.
		_ = checkBoltFile(bytes.NewReader(b), int64(len(b)))
	})
}

func TestNew_directoryInUse(t *testing.T) {
	t.Parallel()
	m := single(t, "a")
	_, err := tryPrepare(t, m.cfg)
	wantError(t, err, ErrStoreInUse, "another process holds", m.cfg.DataDir, fmt.Sprint(os.Getpid()), "--data-dir")
	m.propose("undisturbed")
	must(t, m.Stop(t.Context()))
	if _, err := tryPrepare(t, m.cfg); err != nil {
		t.Errorf("after Stop: %v", err)
	}
}

// TestHelperProcess is the second process of the test below.
func TestHelperProcess(t *testing.T) {
	dir := os.Getenv("CLUSTER_HELPER_DIR")
	if dir == "" {
		t.Skip("only as a helper of TestNew_secondProcess")
	}
	cfg := testConfig(t, "a")
	cfg.DataDir, cfg.FSM, cfg.Logger = dir, &listFSM{}, slog.New(slog.NewTextHandler(io.Discard, nil))
	_, err := New(cfg)
	fmt.Printf("RESULT %v\n", err)
}

func TestNew_secondProcess(t *testing.T) {
	t.Parallel()
	m := single(t, "a")
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestHelperProcess$")
	cmd.Env = append(os.Environ(), "CLUSTER_HELPER_DIR="+m.cfg.DataDir)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "RESULT data directory in use: another process holds "+m.cfg.DataDir) {
		t.Errorf("second process: %v\n%s", err, out)
	}
	m.propose("undisturbed")
}

func TestOpenBolt_inUse(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "raft.db")
	s, err := openBolt(path, readWrite)
	must(t, err)
	defer s.Close()
	_, err = openBolt(path, readWrite)
	wantError(t, err, ErrStoreInUse, "another process holds", path)
}

// faultyStore fails or hangs on demand.
type faultyStore struct {
	boltStore
	fault chan func() error // taken by the next write
}

func (s *faultyStore) next() error {
	select {
	case f := <-s.fault:
		return f()
	default:
		return nil
	}
}

func (s *faultyStore) StoreLogs(logs []*raft.Log) error {
	if err := s.next(); err != nil {
		return err
	}
	return s.boltStore.StoreLogs(logs)
}

// withFaults makes a node whose disk can be made to fail.
func withFaults(t *testing.T, cfg Config) (*member, chan func() error) {
	t.Helper()
	fault := make(chan func() error, 1)
	m := &member{t: t, cfg: cfg, fsm: &listFSM{}, log: &logBuffer{}}
	cfg.FSM, cfg.Logger = m.fsm, slog.New(slog.NewTextHandler(m.log, nil))
	n, err := newNode(cfg, func(s boltStore) boltStore { return &faultyStore{s, fault} })
	must(t, err)
	m.Node = n
	t.Cleanup(m.kill)
	return m, fault
}

func TestStoreFailure(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		fault func(release chan struct{}) func() error
		says  string
	}{
		{"error", func(chan struct{}) func() error {
			return func() error { return errors.New("fdatasync: input/output error") }
		}, "fdatasync: input/output error"},
		{"hang", func(release chan struct{}) func() error {
			return func() error { <-release; return nil }
		}, "did not return within 2s"},
		{"panic", func(chan struct{}) func() error { return func() error { panic("page 7 already freed") } }, "page 7 already freed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			cfg := testConfig(t, "a")
			cfg.Timing.StoreStall = 2 * time.Second
			a, fault := withFaults(t, cfg)
			a.start()
			a.waitJoined()
			b, c := join(t, "b", a), join(t, "c", a)
			rest := []*member{b, c}
			waitVoters(t, []*member{a, b, c}, "a", "b", "c")
			if leaderOf(t, []*member{a, b, c}) != a {
				must(t, b.Transfer(t.Context(), "a"))
			}
			term := <-a.LeaderTerms()
			release := make(chan struct{})
			defer close(release)
			fault <- tc.fault(release)
			begun := time.Now()
			_, _, err := a.Propose(t.Context(), []byte("in doubt"))
			wantError(t, err, ErrOutcomeUnknown)
			wantError(t, a.failure(), ErrStoreFailed, tc.says)
			select {
			case <-term.Ctx.Done():
			case <-time.After(patience):
				t.Fatal("the failed node still believes that it leads")
			}
			b.propose("by the others")
			if took := time.Since(begun); took > slowdown*10*time.Second {
				t.Errorf("the others took %v to go on", took)
			}
			leaderOf(t, rest)
			// Nothing is read or written any more, however it asks.
			_, _, err = a.Propose(t.Context(), []byte("more"))
			wantError(t, err, ErrNoLeader)
			if s := a.Status(); s.State != "stopped" || a.IsLeader() {
				t.Errorf("state = %s", s.State)
			}
		})
	}
}

// TestWatchdog_countsTicks: a process that was stopped in the middle of a write
// catches up on one tick, so it does not fail for that.
func TestWatchdog_slowIsNotHung(t *testing.T) {
	t.Parallel()
	failed := make(chan error, 1)
	g := &guardedStore{limit: 400 * time.Millisecond, onFail: func(err error) { failed <- err }, closed: make(chan struct{})}
	for range 3 {
		stop := g.watch("write", g.limit)
		timer := time.NewTimer(100 * time.Millisecond)
		<-timer.C
		stop()
	}
	stop := g.watch("the slow one", g.limit)
	defer stop()
	begun := time.Now()
	err := <-failed
	if took := time.Since(begun); took < g.limit-20*time.Millisecond || !strings.Contains(err.Error(), "the slow one did not return") {
		t.Errorf("failed after %v: %v", took, err)
	}
}

func TestSeal(t *testing.T) {
	t.Parallel()
	l := &raft.Log{Index: 7, Term: 3, Type: raft.LogCommand, Data: []byte("data"), Extensions: []byte("ext")}
	s := seal(l)
	if string(l.Extensions) != "ext" {
		t.Fatal("seal changed the original")
	}
	for name, change := range map[string]func(*raft.Log){
		"index": func(l *raft.Log) { l.Index++ }, "term": func(l *raft.Log) { l.Term++ }, "type": func(l *raft.Log) { l.Type++ },
		"data": func(l *raft.Log) { l.Data = []byte("dbta") }, "extensions": func(l *raft.Log) { l.Extensions[6] ^= 1 },
		"no seal": func(l *raft.Log) { l.Extensions = nil }, "version": func(l *raft.Log) { l.Extensions[0]++ },
	} {
		c := *s
		c.Extensions = bytes.Clone(s.Extensions)
		change(&c)
		if err := unseal(&c); err == nil {
			t.Errorf("%s was changed: no error", name)
		}
	}
	if err := unseal(s); err != nil || string(s.Extensions) != "ext" {
		t.Errorf("unseal: %v, extensions %q", err, s.Extensions)
	}
}

// TestForgetConf follows the index of the configuration through truncations.
func TestForgetConf(t *testing.T) {
	t.Parallel()
	bolt, err := openBolt(filepath.Join(t.TempDir(), "raft.db"), readWrite)
	must(t, err)
	g := &guardedStore{inner: bolt, limit: time.Second, onFail: func(err error) { t.Error(err) }, closed: make(chan struct{})}
	defer g.Close()
	for i := uint64(1); i <= 10; i++ {
		typ := raft.LogCommand
		if i == 1 || i == 4 || i == 8 {
			typ = raft.LogConfiguration
		}
		must(t, g.StoreLog(&raft.Log{Index: i, Term: 1, Type: typ}))
	}
	check := func(want uint64) {
		t.Helper()
		if got := g.conf.Load(); got != want {
			t.Fatalf("configuration at %d, want %d", got, want)
		}
	}
	check(8)
	must(t, g.DeleteRange(9, 10)) // behind it
	check(8)
	must(t, g.DeleteRange(7, 8)) // the tail with it
	check(4)
	g.noteSnapshot(4)
	must(t, g.DeleteRange(1, 5)) // compaction: the snapshot has it
	check(4)
	must(t, g.DeleteRange(6, 6))
	check(4)
}

func TestIdentity_hostName(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t, "")
	cfg.DataDir = t.TempDir()
	m := prepare(t, cfg)
	if want, err := hostID(); err != nil || m.ID() != want {
		t.Errorf("ID = %q, want %q (%v)", m.ID(), want, err)
	}
}
