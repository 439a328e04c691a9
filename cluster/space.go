package cluster

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// reserveFile holds back room in the data directory.
const reserveFile = "reserve"

// errSpent says that even the reserve is used up. The entry was not written.
var errSpent = errors.New("no room left for the log")

// space keeps the disk under the data directory from filling up unseen. bbolt
// does not survive that well: after a write that failed for want of room later
// ones may pass, so that the store must count as broken.
//
// A reserve file holds back room. When what is free beside it falls below a
// quarter of its size, the file is given back, and the node is full: as the
// leader it hands over to a voter that is not, or takes no operator's change,
// while votes, verdicts and the log of others' changes go on in what the reserve
// had held. When that is nearly used up as well, no log entry is written at all
// any more. Once there is room for the reserve and half of it again, it is taken
// back and the node is as before.
type space struct {
	dir      string
	path     string
	reserve  int64                       // bytes; 0 = nothing is watched
	free     func(string) (int64, error) // bytes that this process may still write to the disk under a directory
	log      *slog.Logger
	onChange func() // full has changed; must not block

	kick chan struct{} // cap 1: look now

	isFull atomic.Bool
	left   atomic.Int64 // free, as last seen; -1 = unknown

	mu   sync.Mutex
	held bool // the reserve file is there
}

func (n *Node) newSpace() *space {
	free := n.cfg.freeSpace
	if free == nil {
		free = freeSpace
	}
	return &space{
		dir: n.dir.path, path: n.dir.file(reserveFile), reserve: n.cfg.Reserve, free: free,
		log: n.log, onChange: n.changes.tell, kick: make(chan struct{}, 1),
	}
}

// Disk says how many bytes may still be written to the data directory's disk, -1 if
// that is not known, and whether it is full: the node then takes no operators'
// changes as the leader.
func (n *Node) Disk() (free int64, full bool) {
	look := n.cfg.freeSpace
	if look == nil {
		look = freeSpace
	}
	free, err := look(n.dir.path)
	if err != nil {
		free = -1
	}
	return free, n.space.full()
}

// floor is how little may be free beside the reserve.
func (s *space) floor() int64 {
	if s == nil {
		return 0
	}
	return s.reserve / 4
}

// open takes the reserve, or finds that the disk is full already.
func (s *space) open() {
	s.left.Store(-1)
	st, err := os.Stat(s.path)
	if s.reserve == 0 {
		if err == nil {
			s.drop()
		}
		return
	}
	s.held = err == nil && st.Size() == s.reserve
	if err == nil && !s.held {
		s.drop()
	}
	if !s.held {
		s.take()
	}
	s.isFull.Store(!s.held)
	_ = s.check(0)
	if s.full() {
		s.log.Error("the disk under the data directory is full", "dir", s.dir, "free_bytes", s.left.Load(), "fix", s.fix())
	}
}

// full reports whether the reserve has been given back.
func (s *space) full() bool { return s.isFull.Load() }

// fix tells the operator what to do.
func (s *space) fix() string {
	return fmt.Sprintf("free space under %s, or move it to a larger disk; with %s free the node takes changes again by itself", s.dir, size(s.reserve+s.reserve/2))
}

// check looks how much is free, of which need bytes are about to be written. It
// gives the reserve back and takes it again. errSpent: they must not be written.
func (s *space) check(need int64) error {
	if s == nil || s.reserve == 0 {
		return nil
	}
	free, err := s.free(s.dir)
	if err != nil {
		s.log.Debug("look for free space", "dir", s.dir, "error", err)
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.held && free < s.floor()+need:
		s.drop()
		free += s.reserve // the system may take a moment to show it
		s.set(true, free)
	case !s.held && free >= s.reserve+s.reserve/2:
		if s.take(); s.held {
			free -= s.reserve
			s.set(false, free)
		}
	}
	s.left.Store(free)
	if !s.held && free < s.floor()/2+need {
		return fmt.Errorf("%w: %s has %s free; %s", errSpent, s.dir, size(free), s.fix())
	}
	return nil
}

// poke makes watchSpace look now.
func (s *space) poke() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// set notes and tells that the node is full, or not any more.
func (s *space) set(full bool, free int64) {
	s.isFull.Store(full)
	if full {
		s.log.Error("the disk under the data directory is full: the reserve is given back, operators' changes go to other nodes or are refused",
			"dir", s.dir, "free_bytes", free, "fix", s.fix())
	} else {
		s.log.Info("the disk under the data directory has room again", "dir", s.dir, "free_bytes", free)
	}
	s.onChange()
}

func (s *space) drop() {
	// On file systems that write changed blocks elsewhere, a full disk may not even
	// take the removal of a large file before it was cut.
	err := os.Truncate(s.path, 0)
	if rerr := os.Remove(s.path); rerr != nil {
		s.log.Error("give back the reserve", "file", s.path, "error", errors.Join(err, rerr))
	}
	s.held = false
}

func (s *space) take() {
	err := allocate(s.path, s.reserve)
	if s.held = err == nil; s.held {
		return
	}
	if rerr := os.Remove(s.path); rerr != nil && !errors.Is(rerr, os.ErrNotExist) {
		err = errors.Join(err, rerr)
	}
	s.log.Warn("the reserve was not taken", "file", s.path, "bytes", s.reserve, "error", err)
}

// allocate makes a file of that size whose blocks are the disk's.
func allocate(path string, size int64) (err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := preallocate(f, size); !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	zeros := make([]byte, 1<<16)
	for left := size; left > 0; left -= int64(len(zeros)) {
		if _, err := f.Write(zeros[:min(left, int64(len(zeros)))]); err != nil {
			return err
		}
	}
	return f.Sync()
}

// size prints a number of bytes for people.
func size(b int64) string {
	switch {
	case b < 1<<10:
		return fmt.Sprintf("%d B", b)
	case b < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(b)/(1<<10))
	case b < 1<<30:
		return fmt.Sprintf("%.1f MiB", float64(b)/(1<<20))
	}
	return fmt.Sprintf("%.1f GiB", float64(b)/(1<<30))
}

// watchSpace looks at the disk, and as a full leader looks for somebody to lead.
func (n *Node) watchSpace() {
	tick := time.NewTicker(n.timing.Poll)
	defer tick.Stop()
	for {
		_ = n.space.check(0)
		if n.space.full() {
			n.yieldFull()
		}
		select {
		case <-tick.C:
		case <-n.space.kick:
		case <-n.ctx.Done():
			return
		}
	}
}

// yieldFull hands leadership to a voter whose disk has room, if there is one.
func (n *Node) yieldFull() {
	if !n.lead.established() {
		return
	}
	to := n.roomy()
	if to == "" {
		return
	}
	n.log.Warn("handing over leadership, because the disk is full", "to", to)
	if err := n.transferHere(n.ctx, to); err != nil && !errors.Is(err, errNotTaken) && n.ctx.Err() == nil {
		n.log.Warn("leadership was not handed over", "to", to, "error", err)
	}
}

// roomy is a voter that could lead and has room, "" without one.
func (n *Node) roomy() string {
	r := n.raft.Load()
	for _, s := range n.servers() {
		p := n.peers.get(string(s.ID))
		if s.Suffrage == raft.Voter && string(s.ID) != n.ID() && p.up && !p.Full && p.Last+caughtUp >= r.LastIndex() {
			return string(s.ID)
		}
	}
	return ""
}

// admit says whether the leader takes a command while its disk is full.
func (n *Node) admit(cmd []byte) error {
	if !n.space.full() {
		return nil
	}
	if n.cfg.Essential != nil && n.cfg.Essential(cmd) {
		if err := n.space.check(int64(2 * len(cmd))); err == nil {
			return nil
		}
	} else if to := n.roomy(); to != "" {
		n.space.poke()
		return fmt.Errorf("%w: the disk of %s is full, %s is about to lead", errNotTaken, n.ID(), to)
	}
	return fmt.Errorf("%w: node %s leads and has %s free under its data directory, and no other voter has more: %s",
		ErrStoreFull, n.ID(), size(n.space.left.Load()), n.space.fix())
}
