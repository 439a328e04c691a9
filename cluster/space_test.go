package cluster

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// disk is a file system whose free space a test decides, less what the reserve takes.
type disk struct {
	left atomic.Int64
	dir  atomic.Pointer[string]
}

func (d *disk) free(dir string) (int64, error) {
	d.dir.Store(&dir)
	left := d.left.Load()
	if st, err := os.Stat(filepath.Join(dir, reserveFile)); err == nil {
		left -= st.Size()
	}
	return left, nil
}

const testReserve = 1 << 20

func testSpace(t *testing.T, d *disk) *space {
	t.Helper()
	dir := t.TempDir()
	s := &space{
		dir: dir, path: filepath.Join(dir, reserveFile), reserve: testReserve, free: d.free,
		log: discard(), onChange: func() {}, kick: make(chan struct{}, 1),
	}
	s.open()
	return s
}

func TestSpace(t *testing.T) {
	t.Parallel()
	const quarter = testReserve / 4
	for _, tc := range []struct {
		name  string
		left  int64 // in all, the reserve included
		need  int64
		full  bool // after check
		spent bool
		held  bool
	}{
		{"plenty", 10 * testReserve, 0, false, false, true},
		{"at the floor", testReserve + quarter, 0, false, false, true},
		{"below the floor", testReserve + quarter - 1, 0, true, false, false},
		{"a write would go below the floor", testReserve + quarter + 100, 200, true, false, false},
		{"the reserve is being used", quarter, 0, true, false, false},
		{"the reserve is used up", quarter/2 - 1, 0, true, true, false},
		{"too little for a large write", quarter, quarter, true, true, false},
		{"nothing left", 0, 0, true, true, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			d := &disk{}
			d.left.Store(10 * testReserve)
			s := testSpace(t, d)
			if s.full() {
				t.Fatal("full with ten times the reserve free")
			}
			d.left.Store(tc.left)
			err := s.check(tc.need)
			st, serr := os.Stat(s.path)
			if s.full() != tc.full || errors.Is(err, errSpent) != tc.spent || (serr == nil) != tc.held {
				t.Errorf("full %v, error %v, reserve %v; want %v, spent %v, held %v", s.full(), err, serr, tc.full, tc.spent, tc.held)
			}
			if serr == nil && st.Size() != testReserve {
				t.Errorf("the reserve has %d bytes", st.Size())
			}
			// Only with half of the reserve to spare is it taken back, so that it does not come and go.
			d.left.Store(testReserve + testReserve/2 - 1)
			if err := s.check(0); s.full() != tc.full || err != nil {
				t.Errorf("with nearly enough: full %v, error %v", s.full(), err)
			}
			d.left.Store(testReserve + testReserve/2)
			if err := s.check(0); s.full() || err != nil {
				t.Errorf("with enough: full %v, error %v", s.full(), err)
			}
			if st, err := os.Stat(s.path); err != nil || st.Size() != testReserve {
				t.Errorf("the reserve was not taken back: %v", err)
			}
		})
	}
}

func TestSpace_open(t *testing.T) {
	t.Parallel()
	d := &disk{}
	d.left.Store(testReserve)
	s := testSpace(t, d)
	if !s.full() {
		t.Error("not full at the start, with a reserve that leaves nothing")
	}
	d.left.Store(10 * testReserve)
	must(t, os.WriteFile(s.path, []byte("of another size"), 0o600))
	s.open()
	if st, err := os.Stat(s.path); s.full() || err != nil || st.Size() != testReserve {
		t.Errorf("another size: full %v, %v", s.full(), err)
	}
	s.reserve = 0
	s.open()
	if _, err := os.Stat(s.path); s.full() || err == nil {
		t.Errorf("switched off: full %v, the file is still there", s.full())
	}
}

func TestAllocate(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f")
	for _, size := range []int64{1, 1 << 16, 100_000} {
		must(t, allocate(path, size))
		if st, err := os.Stat(path); err != nil || st.Size() != size {
			t.Errorf("allocate(%d): size %d, %v", size, st.Size(), err)
		}
	}
}

// withDisk makes a node whose disk the test fills.
func withDisk(t *testing.T, id string, by ...*member) (*member, *disk) {
	t.Helper()
	d := &disk{}
	d.left.Store(100 * testReserve)
	cfg := testConfig(t, id)
	cfg.Reserve, cfg.freeSpace = testReserve, d.free
	cfg.Essential = func(cmd []byte) bool { return strings.HasPrefix(string(cmd), "essential") }
	for _, m := range by {
		cfg.Join = append(cfg.Join, m.Advertise())
	}
	return start(t, cfg), d
}

// TestSpace_leader: a leader whose disk is full hands over; when all disks are full operators' changes are
// refused and the cluster's own are not; all of it ends by itself.
func TestSpace_leader(t *testing.T) {
	t.Parallel()
	a, da := withDisk(t, "a")
	a.waitJoined()
	b, db := withDisk(t, "b", a)
	c, dc := withDisk(t, "c", a)
	all, disks := []*member{a, b, c}, []*disk{da, db, dc}
	waitVoters(t, all, "a", "b", "c")
	leader := leaderOf(t, all)
	at := slices.Index(all, leader)

	const low = testReserve // less the floor: the reserve goes
	disks[at].left.Store(low)
	begun := time.Now()
	leader.propose("with the reserve given back")
	eventually(t, "another node leads", func() bool { return leaderOf(t, all) != leader })
	leader.propose("goes on elsewhere")
	t.Logf("another node led and took a change %v after the leader's disk was full", time.Since(begun).Round(time.Millisecond))
	for _, m := range all {
		eventually(t, m.ID()+" knows whose disk is full", func() bool {
			for _, seen := range m.Members() {
				if seen.StoreFull != (seen.ID == leader.ID()) {
					return false
				}
			}
			return true
		})
	}
	sameState(t, all) // a full follower still follows

	for _, d := range disks {
		d.left.Store(low)
	}
	eventually(t, "changes are refused", func() bool {
		_, _, err := leader.Propose(t.Context(), []byte("too much"))
		if err != nil && !errors.Is(err, ErrStoreFull) && !errors.Is(err, ErrNoLeader) {
			t.Fatalf("Propose: %v", err)
		}
		return errors.Is(err, ErrStoreFull)
	})
	for _, m := range all {
		_, _, err := m.Propose(t.Context(), []byte("refused"))
		wantError(t, err, ErrStoreFull, "free space under", "by itself", leaderOf(t, all).cfg.DataDir)
	}
	leader.propose("essential")

	for _, d := range disks {
		d.left.Store(100 * testReserve)
	}
	eventually(t, "changes are taken again", func() bool {
		_, _, err := leader.Propose(t.Context(), []byte("again"))
		return err == nil
	})
	sameState(t, all)
	for _, m := range all {
		if m.fsm.has("refused") {
			t.Errorf("%s has a change that was refused", m.ID())
		}
		select {
		case err := <-m.Failed():
			t.Errorf("%s failed: %v", m.ID(), err)
		default:
		}
	}
}

// TestSpace_spentFollower: without any room a follower takes no entry, goes on living, and catches up later.
func TestSpace_spentFollower(t *testing.T) {
	t.Parallel()
	a, _ := withDisk(t, "a")
	a.waitJoined()
	b, _ := withDisk(t, "b", a)
	c, dc := withDisk(t, "c", a)
	all := []*member{a, b, c}
	waitVoters(t, all, "a", "b", "c")
	if leaderOf(t, all) == c {
		must(t, a.Transfer(t.Context(), "a"))
		leaderOf(t, all)
	}
	dc.left.Store(10)
	index := a.propose("without it")
	b.propose("nor this")
	before := c.raft.Load().LastIndex()
	if before >= index {
		t.Errorf("entry %d was written without room", index)
	}
	dc.left.Store(100 * testReserve)
	sameState(t, all)
	select {
	case err := <-c.Failed():
		t.Errorf("failed: %v", err)
	default:
	}
}

func TestGuardedStore_spentWritesNothing(t *testing.T) {
	t.Parallel()
	d := &disk{}
	bolt, err := openBolt(filepath.Join(t.TempDir(), "raft.db"), readWrite)
	must(t, err)
	d.left.Store(10 * testReserve)
	g := &guardedStore{inner: bolt, limit: time.Second, space: testSpace(t, d), onFail: func(err error) { t.Error(err) }, closed: make(chan struct{})}
	defer g.Close()
	for i := uint64(1); i <= 5; i++ {
		must(t, g.StoreLog(&raft.Log{Index: i, Term: 1, Type: raft.LogCommand}))
	}
	d.left.Store(0)
	for what, f := range map[string]func() error{
		"store an entry": func() error { return g.StoreLog(&raft.Log{Index: 6, Term: 1, Type: raft.LogCommand}) },
		"cut the tail":   func() error { return g.DeleteRange(4, 5) },
	} {
		if err := f(); !errors.Is(err, errSpent) {
			t.Errorf("%s = %v, want %v", what, err, errSpent)
		}
	}
	if last, err := g.LastIndex(); err != nil || last != 5 {
		t.Errorf("last entry is %d, %v", last, err)
	}
	must(t, g.SetUint64([]byte("CurrentTerm"), 7)) // votes go on
	must(t, g.DeleteRange(1, 3))                   // compaction too
	d.left.Store(10 * testReserve)
	must(t, g.StoreLog(&raft.Log{Index: 6, Term: 1, Type: raft.LogCommand}))
	if fmt.Sprint(applyError(errSpent)) == "" || !errors.Is(applyError(fmt.Errorf("x: %w", errSpent)), errNotTaken) {
		t.Error("an entry that was not written counts as one that may be")
	}
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }
