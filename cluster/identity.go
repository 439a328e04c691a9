package cluster

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// dataFormat is the version of the directory's layout. A newer one is refused.
const dataFormat = 1

// File names inside the data directory.
const (
	formatFile   = "FORMAT"
	identityFile = "identity.json"
	peersFile    = "peers.json"
	lockFile     = "lock"
	raftDir      = "raft"
	boltFile     = "raft.db"
)

// phase says how far this directory has come on its way into a cluster.
type phase string

const (
	phaseNew     phase = "new"     // no cluster yet
	phaseForming phase = "forming" // decided to start ClusterID with Servers; the first log entry may be missing
	phaseJoining phase = "joining" // may take part in ClusterID, is not in a committed configuration yet
	phaseMember  phase = "member"  // was in a committed configuration
	phaseRemoved phase = "removed" // was removed; never starts again
)

// server is one entry of the configuration a new cluster starts with.
type server struct {
	ID   string `json:"id"`
	Addr string `json:"addr"`
}

// identity is the content of identity.json: who this node is, for good.
type identity struct {
	NodeID    string `json:"node_id"`
	ClusterID string `json:"cluster_id,omitempty"`
	Phase     phase  `json:"phase"`
	// Epoch rises with every start and orders what the node says about its own
	// address. It begins at the clock's seconds, so that an id that comes back with
	// an empty directory outranks its former life.
	Epoch uint64 `json:"epoch"`
	// NonVoter is what the node asked for when it joined.
	NonVoter bool `json:"non_voter,omitempty"`
	// MemberSince is the index of the first configuration that held this node; a
	// later one without it means removal, an earlier one means nothing.
	MemberSince uint64 `json:"member_since,omitempty"`
	// Servers is set by the node that starts a cluster.
	Servers []server `json:"servers,omitempty"`
	// Promise is the id of a cluster that another node said it would start with
	// this one in it. It proves that this directory was empty before that cluster
	// existed.
	Promise string `json:"promise,omitempty"`
	// NotBefore is the index of the configuration as of which the leader said that
	// no member has this id. Members of this id in earlier ones were another life of
	// it; one added later, with this address, is this node.
	NotBefore uint64 `json:"not_before,omitempty"`
	// Replaces is the member that this node was before its directory was damaged; it
	// is removed once this node is in. Until it has joined, this node starts no
	// cluster of its own.
	Replaces string `json:"replaces,omitempty"`
}

// dataDir is the locked data directory and the identity in it.
type dataDir struct {
	path string
	lock *os.File

	mu sync.Mutex
	id identity
}

// openDataDir locks dir, checks its format and reads the identity, making both
// in an empty one. want is the name asked for, "" for any. Nothing is written to
// a directory that is refused, but the lock file.
func openDataDir(dir, want string) (_ *dataDir, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	lock, err := lockDir(filepath.Join(dir, lockFile))
	if err != nil {
		return nil, err
	}
	d := &dataDir{path: dir, lock: lock}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	if err := d.checkFormat(); err != nil {
		return nil, err
	}
	if err := d.load(want); err != nil {
		return nil, err
	}
	return d, nil
}

func (d *dataDir) file(name ...string) string {
	return filepath.Join(append([]string{d.path}, name...)...)
}

func (d *dataDir) close() { _ = d.lock.Close() }

// checkFormat reads the marker, or writes it into a directory that has no state.
func (d *dataDir) checkFormat() error {
	path := d.file(formatFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		for _, name := range []string{identityFile, filepath.Join(raftDir, boltFile)} {
			if _, err := os.Stat(d.file(name)); err == nil {
				return fmt.Errorf("%w: %s exists but %s is missing, so this is not a whole lbnode directory: put the file back from a copy, or %s",
					ErrForeignStore, d.file(name), path, d.cure())
			}
		}
		return writeFileSync(path, fmt.Appendf(nil, "lbnode-data %d\n", dataFormat))
	}
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	var v int
	if _, err := fmt.Sscanf(string(b), "lbnode-data %d\n", &v); err != nil {
		return fmt.Errorf("%w: %s does not say %q: this is not a directory of lbnode, choose another --data-dir", ErrForeignStore, path, "lbnode-data N")
	}
	if v > dataFormat {
		return fmt.Errorf("%w: %s has format %d and this lbnode knows up to %d: start the newer lbnode that wrote it", ErrForeignStore, path, v, dataFormat)
	}
	return nil
}

// load reads identity.json, or makes it when nothing else is there.
func (d *dataDir) load(want string) error {
	path := d.file(identityFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(d.file(raftDir, boltFile)); err == nil {
			return fmt.Errorf("%w: %s is missing beside %s: put it back from a copy, or %s",
				ErrForeignStore, path, d.file(raftDir, boltFile), d.cure())
		}
		if want == "" {
			if want, err = hostID(); err != nil {
				return err
			}
		}
		return d.save(identity{NodeID: want, Phase: phaseNew})
	}
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	var id identity
	if err := json.Unmarshal(b, &id); err != nil {
		return fmt.Errorf("%w: %s: %w: put it back from a copy, or %s", ErrDamagedStore, path, err, d.cure())
	}
	switch id.Phase {
	case phaseNew, phaseForming, phaseJoining, phaseMember, phaseRemoved:
	default:
		return fmt.Errorf("%w: %s has the unknown phase %q: put it back from a copy, or %s", ErrDamagedStore, path, id.Phase, d.cure())
	}
	if !nodeIDPattern.MatchString(id.NodeID) || (id.Phase != phaseNew && id.ClusterID == "") {
		return fmt.Errorf("%w: %s is incomplete: put it back from a copy, or %s", ErrDamagedStore, path, d.cure())
	}
	if want != "" && want != id.NodeID {
		return fmt.Errorf("%w: %s belongs to node %q, not to %q: start with --name %s, or give this node its own --data-dir", ErrForeignStore, path, id.NodeID, want, id.NodeID)
	}
	if id.Phase == phaseRemoved {
		return fmt.Errorf("%w: %s says that node %q was removed from cluster %s: to join again, move %s aside and start with --join", ErrRemoved, path, id.NodeID, id.ClusterID, d.path)
	}
	d.id = id
	return nil
}

// get returns the identity as it is now.
func (d *dataDir) get() identity {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.id
}

// update changes the identity durably; on error nothing has changed.
func (d *dataDir) update(change func(*identity)) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	next := d.id
	change(&next)
	return d.save(next)
}

func (d *dataDir) save(id identity) error {
	b, err := json.MarshalIndent(id, "", "  ")
	if err != nil {
		return fmt.Errorf("encode identity: %w", err)
	}
	if err := writeFileSync(d.file(identityFile), append(b, '\n')); err != nil {
		return err
	}
	d.id = id
	return nil
}

// hostID makes a node id of the host name.
func hostID() (string, error) {
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("node id from the host name: %w", err)
	}
	id := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '.', r == '_', r == '-':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '-'
	}, host)
	id = strings.TrimLeft(id, "._-")
	if len(id) > 63 {
		id = id[:63]
	}
	if !nodeIDPattern.MatchString(id) {
		return "", fmt.Errorf("the host name %q makes no node id: give one with --name", host)
	}
	return id, nil
}

// newUUID returns a random (version 4) UUID.
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: it aborts the program instead
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// writeFileSync replaces path atomically: after a crash there is the old content
// or the new one, never a mixture and never nothing.
func writeFileSync(path string, data []byte) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".tmp*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	tmp := f.Name()
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		_ = os.Remove(tmp)
		return fmt.Errorf("write %s: %w", path, err)
	}
	return syncDir(dir)
}

// syncDir makes the names in dir durable.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	err = f.Sync()
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}

// lockDir takes the directory's lock, waiting up to a second for a process that
// is just going away.
func lockDir(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	deadline := time.Now().Add(time.Second)
	for {
		err := tryLock(f)
		if err == nil {
			break
		}
		if !errors.Is(err, errLocked) {
			_ = f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if time.Now().After(deadline) {
			holder := make([]byte, 32)
			n, _ := f.ReadAt(holder, 0)
			_ = f.Close()
			return nil, fmt.Errorf("%w: another process holds %s (pid %s): stop it first, or give this node its own --data-dir",
				ErrStoreInUse, path, strings.TrimSpace(string(holder[:n])))
		}
		time.Sleep(20 * time.Millisecond)
	}
	// The number only helps people; failing to write it fails nothing.
	_ = f.Truncate(0)
	_, _ = f.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
	return f, nil
}
