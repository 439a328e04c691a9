package cluster

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// Keys of ours beside Raft's in the stable store. They tie the log to identity.json.
var (
	keyClusterID = []byte("lb.cluster_id")
	keyNodeID    = []byte("lb.node_id")
	keyTerm      = []byte("CurrentTerm") // Raft's own
	keyVoteTerm  = []byte("LastVoteTerm")
)

// snapshotsKept is how many snapshots stay on disk.
const snapshotsKept = 2

// store is everything Raft keeps on disk.
type store struct {
	*guardedStore
	cache *raft.LogCache
	snaps *snapshotStore
}

var _ raft.SnapshotStore = (*snapshotStore)(nil)

type storeConfig struct {
	dir    *dataDir
	stall  time.Duration
	onFail func(error)
	space  *space
	log    *slog.Logger
	// wrap replaces the bolt store under the guard, for fault injection in tests.
	wrap func(boltStore) boltStore
}

// openStore opens the log and the snapshots after it has read both in full. The
// error names the file and the way out, and nothing was written to them then.
func openStore(cfg storeConfig) (_ *store, err error) {
	d := cfg.dir
	path := d.file(raftDir, boltFile)
	if err := os.MkdirAll(d.file(raftDir), 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	if st, err := os.Stat(path); d.get().Phase == phaseMember && (err != nil || st.Size() == 0) {
		return nil, d.damaged(path, fmt.Errorf("missing or empty, although %s says that this node is a member", d.file(identityFile)))
	}
	if err := checkBolt(path); err != nil {
		return nil, d.damaged(path, err)
	}
	files, err := raft.NewFileSnapshotStoreWithLogger(d.file(raftDir), snapshotsKept, newHCLog(cfg.log))
	if err != nil {
		return nil, fmt.Errorf("snapshots in %s: %w", d.file(raftDir), err)
	}
	s := &store{guardedStore: &guardedStore{limit: cfg.stall, onFail: cfg.onFail, space: cfg.space, closed: make(chan struct{})}}
	s.snaps = &snapshotStore{SnapshotStore: files, installed: s.noteSnapshot}
	if s.cache, err = raft.NewLogCache(512, s.guardedStore); err != nil {
		return nil, fmt.Errorf("log cache: %w", err)
	}
	if err := s.check(d, path); err != nil {
		return nil, err
	}
	bolt, err := openBolt(path, readWrite)
	if err != nil {
		return nil, err
	}
	s.inner = bolt
	if cfg.wrap != nil {
		s.inner = cfg.wrap(bolt)
	}
	return s, nil
}

// damaged makes the error for a file of d that cannot be trusted.
func (d *dataDir) damaged(file string, err error) error {
	return fmt.Errorf("%w: %s: %w: %s (a lone node: start on an empty --data-dir and restore a backup)", ErrDamagedStore, file, err, d.cure())
}

// cure is the way out of a directory that cannot be trusted.
func (d *dataDir) cure() string {
	return fmt.Sprintf("lbnode rejoin --data-dir %s --join HOST:PORT moves its files aside and joins again under a new --name", d.path)
}

// openMode says what openBolt is for.
type openMode bool

const (
	readWrite openMode = false
	readOnly  openMode = true
)

func openBolt(path string, mode openMode) (*raftboltdb.BoltStore, error) {
	s, err := raftboltdb.New(raftboltdb.Options{Path: path, BoltOptions: &bbolt.Options{
		Timeout:  time.Second, // without it a second process waits for ever
		ReadOnly: bool(mode),
		// The freelist is rebuilt at start instead of being rewritten whole at every
		// commit, which after a burst of writes costs more than the writes.
		NoFreelistSync: true,
		FreelistType:   bbolt.FreelistMapType,
	}})
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, fmt.Errorf("%w: another process holds %s: stop it first, or give this node its own --data-dir", ErrStoreInUse, path)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return s, nil
}

// check reads the snapshots and the log. Opening a bbolt file for writing writes
// to it, so the log is opened for reading first.
func (s *store) check(d *dataDir, path string) error {
	snap, file, err := checkSnapshots(d, s.snaps)
	if err != nil {
		return d.damaged(file, err)
	}
	if st, err := os.Stat(path); err != nil || st.Size() == 0 {
		if snap != nil {
			return d.damaged(path, errors.New("missing or empty, although there are snapshots"))
		}
		return nil // new
	}
	ro, err := openBolt(path, readOnly)
	if err != nil {
		return err
	}
	defer ro.Close()
	err = protect(func() error {
		if err := s.checkLog(ro, snap); err != nil {
			return d.damaged(path, err)
		}
		return s.checkOwner(ro, d, path)
	})
	if err != nil && !errors.Is(err, ErrDamagedStore) && !errors.Is(err, ErrForeignStore) {
		return d.damaged(path, err)
	}
	return err
}

// checkSnapshots reads every snapshot in full and returns the newest one, or
// the file that is wrong. A snapshot that does not read is not skipped for an
// older one: the log may begin after that.
func checkSnapshots(d *dataDir, files raft.SnapshotStore) (newest *raft.SnapshotMeta, file string, err error) {
	dir := d.file(raftDir, "snapshots")
	list, err := files.List()
	if err != nil {
		return nil, dir, err
	}
	known := make(map[string]bool, len(list))
	for _, m := range list {
		known[m.ID] = true
		_, r, err := files.Open(m.ID)
		if err != nil {
			return nil, filepath.Join(dir, m.ID), err
		}
		_ = r.Close()
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, dir, err
	}
	for _, e := range entries {
		// Half-written ones end in .tmp; the store does not list more than it keeps.
		if e.IsDir() && !strings.HasSuffix(e.Name(), ".tmp") && !known[e.Name()] && len(list) < snapshotsKept {
			return nil, filepath.Join(dir, e.Name(), "meta.json"), errors.New("missing or unreadable")
		}
	}
	if len(list) == 0 {
		return nil, "", nil
	}
	return list[0], "", nil
}

// checkLog reads every entry: the log must go on from the snapshot without a
// gap, in rising terms, and every checksum must be right. Before the snapshot's
// end entries may be missing: Raft keeps the log of a follower that was given a
// snapshot, and goes on behind that.
func (s *store) checkLog(log boltStore, snap *raft.SnapshotMeta) error {
	first, err := log.FirstIndex()
	if err != nil {
		return err
	}
	last, err := log.LastIndex()
	if err != nil {
		return err
	}
	var start, term uint64
	if snap != nil {
		s.noteSnapshot(snap.ConfigurationIndex)
		start = snap.Index
	}
	if last == 0 {
		return nil
	}
	if first > start+1 {
		return fmt.Errorf("the log begins at entry %d, but the newest snapshot ends at %d", first, start)
	}
	for i := first; i <= last; i++ {
		var l raft.Log
		err := log.GetLog(i, &l)
		if errors.Is(err, raft.ErrLogNotFound) && i <= start {
			continue
		}
		if err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
		if err := unseal(&l); err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
		if l.Index != i || l.Term < term {
			return fmt.Errorf("entry %d has index %d and term %d after term %d", i, l.Index, l.Term, term)
		}
		term = l.Term
		s.note(&l)
	}
	return nil
}

// checkOwner compares whose log this is with identity.json.
func (s *store) checkOwner(log boltStore, d *dataDir, path string) error {
	id := d.get()
	for _, k := range []struct {
		key        []byte
		what, want string
	}{{keyClusterID, "cluster", id.ClusterID}, {keyNodeID, "node", id.NodeID}} {
		got, err := log.Get(k.key)
		if err != nil && err.Error() != errNotFound {
			return fmt.Errorf("key %s: %w", k.key, err)
		}
		if len(got) > 0 && string(got) != k.want {
			return fmt.Errorf("%w: %s belongs to %s %q, but %s to %q: they come from different data directories, put back the pair that belongs together",
				ErrForeignStore, path, k.what, got, d.file(identityFile), k.want)
		}
	}
	has, err := raft.HasExistingState(log, log, s.snaps)
	if err != nil {
		return err
	}
	if id.Phase == phaseNew && has {
		return fmt.Errorf("%w: %s has a log, but %s says that this node is new: put back the identity.json that belongs to it, or move %s aside", ErrForeignStore, path, d.file(identityFile), d.path)
	}
	if id.Phase == phaseMember && !has {
		return d.damaged(path, fmt.Errorf("the log is empty, although %s says that this node is a member", d.file(identityFile)))
	}
	return nil
}

// own marks the log as this node's in this cluster.
func (s *store) own(id identity) error {
	if err := s.Set(keyNodeID, []byte(id.NodeID)); err != nil {
		return fmt.Errorf("mark the log: %w", err)
	}
	if err := s.Set(keyClusterID, []byte(id.ClusterID)); err != nil {
		return fmt.Errorf("mark the log: %w", err)
	}
	return nil
}

// hasCommand says whether the log has ever held a command.
func (s *store) hasCommand() (bool, error) {
	list, err := s.snaps.List()
	if err != nil || len(list) > 0 {
		return len(list) > 0, err
	}
	first, err := s.FirstIndex()
	if err != nil {
		return false, err
	}
	last, err := s.LastIndex()
	if err != nil {
		return false, err
	}
	for i := first; i > 0 && i <= last; i++ {
		var l raft.Log
		if err := s.cache.GetLog(i, &l); err != nil {
			return false, err
		}
		if l.Type == raft.LogCommand {
			return true, nil
		}
	}
	return false, nil
}

// snapshotStore tells of the configurations that come in with snapshots.
type snapshotStore struct {
	raft.SnapshotStore
	installed func(confIndex uint64)
}

// Create implements raft.SnapshotStore.
func (s *snapshotStore) Create(version raft.SnapshotVersion, index, term uint64, conf raft.Configuration, confIndex uint64, trans raft.Transport) (raft.SnapshotSink, error) {
	sink, err := s.SnapshotStore.Create(version, index, term, conf, confIndex, trans)
	if err != nil {
		return nil, err
	}
	return &snapshotSink{SnapshotSink: sink, done: func() { s.installed(confIndex) }}, nil
}

type snapshotSink struct {
	raft.SnapshotSink
	done func()
}

// Close implements raft.SnapshotSink.
func (s *snapshotSink) Close() error {
	if err := s.SnapshotSink.Close(); err != nil {
		return err
	}
	s.done()
	return nil
}
