package cluster

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/raft"
)

// ErrQuorum says that enough members answer to go on without a recovery.
var ErrQuorum = errors.New("the quorum is not lost")

// Recovery makes one survivor of a lost quorum the only member of a new cluster
// that has all it knows. What is left of the old one can never mix with it: the
// new one has an id of its own, and nodes of different clusters do not talk to
// each other. Two survivors that are both recovered make two clusters, too.
type Recovery struct {
	DataDir string
	// ClusterID is the new cluster's id, from NewClusterID.
	ClusterID string
	// FSM is an empty state machine. What its Snapshot gives after the log was applied
	// is what the new cluster begins with; that must say ClusterID.
	FSM raft.FSM
	// Keep is called after the store is done, so that copies of the state beside it
	// can be brought in line.
	Keep func() error
	// IgnoreAnswers goes on although members answer on their cluster addresses.
	IgnoreAnswers bool
	Now           time.Time // names the copy
	Logger        *slog.Logger
}

// Recovered is what a recovery did.
type Recovered struct {
	Before Survey
	Copy   string // directory with the files of before
}

// NewClusterID returns a random one.
func NewClusterID() string { return newUUID() }

// Recover carries it out. The data directory is checked in full and copied before
// anything in it is changed; no node may run on it. Entries that were in the log
// of this node count as committed, although some may not have been.
func Recover(r Recovery) (out Recovered, err error) {
	d, err := openExisting(r.DataDir)
	if err != nil {
		return out, err
	}
	defer d.close()
	if err := sameOwner(d.path); err != nil {
		return out, err
	}
	if out.Before, err = survey(d); err != nil {
		return out, err
	}
	if d.get().Phase != phaseMember {
		return out, fmt.Errorf("%w: this node is no member of a cluster (phase %s), there is nothing to recover", ErrForeignStore, d.get().Phase)
	}
	self, ok := out.Before.self()
	if !ok {
		return out, fmt.Errorf("%w: the configuration does not have this node, which was removed: recover another survivor", ErrRemoved)
	}
	if reached, who := out.Before.Quorum(); reached && len(out.Before.Members) > 1 && !r.IgnoreAnswers {
		return out, fmt.Errorf("%w: %s answer, and with this node they are a majority: just start it", ErrQuorum, strings.Join(who, ", "))
	}
	out.Copy = d.file("before-recovery-" + r.Now.UTC().Format("20060102T150405.000Z"))
	if err := d.copyTo(out.Copy); err != nil {
		return out, fmt.Errorf("copy the data directory first: %w", err)
	}
	if err := r.rewrite(d, self); err != nil {
		return out, fmt.Errorf("recover: %w; what was there before is in %s", err, out.Copy)
	}
	return out, nil
}

// rewrite makes the store that of the new cluster.
func (r Recovery) rewrite(d *dataDir, self SurveyMember) (err error) {
	var s *store
	var failed error
	s, err = openStore(storeConfig{dir: d, log: r.Logger, onFail: func(err error) {
		failed = err
		s.release() // whoever is parked: nobody else will let them go
	}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	conf := raft.DefaultConfig()
	conf.LocalID, conf.ProtocolVersion, conf.Logger = raft.ServerID(self.ID), 3, newHCLog(r.Logger)
	_, trans := raft.NewInmemTransport(raft.ServerAddress(self.Addr)) // only asked how addresses are written
	servers := raft.Configuration{Servers: []raft.Server{{Suffrage: raft.Voter, ID: raft.ServerID(self.ID), Address: raft.ServerAddress(self.Addr)}}}
	if err := raft.RecoverCluster(conf, r.FSM, s.cache, s.guardedStore, s.snaps, trans, servers); err != nil || failed != nil {
		return cmpErr(failed, err)
	}
	next := d.get()
	next.ClusterID, next.NonVoter, next.MemberSince, next.Servers, next.Promise, next.NotBefore = r.ClusterID, false, 1, nil, "", 0
	if err := s.own(next); err != nil || failed != nil {
		return cmpErr(failed, err)
	}
	if err := d.update(func(id *identity) { *id = next }); err != nil {
		return err
	}
	// The addresses of the old members: they are strangers now.
	if err := os.Remove(d.file(peersFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return r.Keep()
}

// copyTo copies what makes the directory this node's: all but the lock, the
// reserve and what earlier recoveries kept.
func (d *dataDir) copyTo(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if d.stays(e.Name()) {
			continue
		}
		if err := copyTree(d.file(e.Name()), filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return syncDir(dir)
}

// stays says which files are the directory's, not the node's life in it.
func (d *dataDir) stays(name string) bool {
	return name == lockFile || name == reserveFile || strings.HasPrefix(name, "before-recovery-") || strings.HasPrefix(name, asidePrefix)
}

func copyTree(from, to string) error {
	st, err := os.Lstat(from)
	switch {
	case err != nil:
		return err
	case st.Mode().IsRegular():
		return copyFile(from, to)
	case !st.IsDir():
		return nil // nothing of ours
	}
	if err := os.Mkdir(to, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := copyTree(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
			return err
		}
	}
	return syncDir(to)
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err = io.Copy(out, in); err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}
