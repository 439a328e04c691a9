package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// Survey is what a data directory says of its node, read while the node does not
// run. Of the survivors of a lost quorum, the one whose last entry has the highest
// term, and then the highest index, knows the most.
type Survey struct {
	NodeID, ClusterID string
	Phase             string // new, forming, joining, member, removed
	Term              uint64 // the latest one that the node has seen

	LastIndex, LastTerm         uint64 // of the log, or of the snapshot when there is no entry after it
	SnapshotIndex, SnapshotTerm uint64 // 0 = there is none

	ConfIndex uint64 // of the configuration
	Members   []SurveyMember
}

// SurveyMember is one member of the latest configuration in a data directory.
type SurveyMember struct {
	ID, Addr    string
	Voter, Self bool
	Answers     bool // something listens on its cluster address
}

// surveyDial bounds the look whether a member answers.
const surveyDial = time.Second

// Inspect checks a data directory and says what is in it. Nothing is changed. The
// error is ErrStoreInUse while a node runs on it, ErrDamagedStore or
// ErrForeignStore as at a start.
func Inspect(dir string) (Survey, error) {
	d, err := openExisting(dir)
	if err != nil {
		return Survey{}, err
	}
	defer d.close()
	return survey(d)
}

// openExisting locks a data directory that has an identity.
func openExisting(dir string) (*dataDir, error) {
	for _, name := range []string{formatFile, identityFile} {
		if _, err := os.Stat((&dataDir{path: dir}).file(name)); err != nil {
			return nil, fmt.Errorf("%s is no data directory of lbnode: %w", dir, err)
		}
	}
	return openDataDir(dir, "")
}

func survey(d *dataDir) (Survey, error) {
	id := d.get()
	out := Survey{NodeID: id.NodeID, ClusterID: id.ClusterID, Phase: string(id.Phase)}
	path := d.file(raftDir, boltFile)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) && id.Phase == phaseNew {
		return out, nil
	}
	if err := checkBolt(path); err != nil {
		return out, d.damaged(path, err)
	}
	files, err := raft.NewFileSnapshotStoreWithLogger(d.file(raftDir), snapshotsKept, newHCLog(slog.New(slog.DiscardHandler)))
	if err != nil {
		return out, fmt.Errorf("snapshots in %s: %w", d.file(raftDir), err)
	}
	s := &store{guardedStore: &guardedStore{onFail: func(error) {}, closed: make(chan struct{})}}
	s.snaps = &snapshotStore{SnapshotStore: files, installed: s.noteSnapshot}
	if err := s.check(d, path); err != nil {
		return out, err
	}
	log, err := openBolt(path, readOnly)
	if err != nil {
		return out, err
	}
	defer log.Close()
	if err := protect(func() error { return out.read(s, log) }); err != nil {
		return out, d.damaged(path, err)
	}
	book, err := openAddressBook(d.file(peersFile), id.NodeID)
	if err != nil {
		return out, err
	}
	out.ask(book)
	return out, nil
}

// read takes in the log and the snapshots, which were found whole.
func (v *Survey) read(s *store, log boltStore) error {
	var err error
	if v.Term, err = log.GetUint64(keyTerm); err != nil && err.Error() != errNotFound {
		return err
	}
	snaps, err := s.snaps.List()
	if err != nil {
		return err
	}
	var conf raft.Configuration
	if len(snaps) > 0 {
		v.SnapshotIndex, v.SnapshotTerm = snaps[0].Index, snaps[0].Term
		v.LastIndex, v.LastTerm = v.SnapshotIndex, v.SnapshotTerm
		conf, v.ConfIndex = snaps[0].Configuration, snaps[0].ConfigurationIndex
	}
	last, err := log.LastIndex()
	if err != nil {
		return err
	}
	if last > v.LastIndex {
		var l raft.Log
		if err := log.GetLog(last, &l); err != nil {
			return err
		}
		v.LastIndex, v.LastTerm = l.Index, l.Term
	}
	first, err := log.FirstIndex()
	if err != nil {
		return err
	}
	for i := max(first, v.SnapshotIndex+1); i > 0 && i <= last; i++ {
		var l raft.Log
		if err := log.GetLog(i, &l); err != nil {
			return err
		}
		if l.Type != raft.LogConfiguration {
			continue
		}
		if err := unseal(&l); err != nil {
			return err
		}
		conf, v.ConfIndex = raft.DecodeConfiguration(l.Data), i
	}
	for _, m := range conf.Servers {
		v.Members = append(v.Members, SurveyMember{ID: string(m.ID), Addr: string(m.Address), Voter: m.Suffrage == raft.Voter, Self: string(m.ID) == v.NodeID})
	}
	return nil
}

// ask looks which other members are there, where they said last that they are.
func (v *Survey) ask(book *addressBook) {
	var wg sync.WaitGroup
	for i := range v.Members {
		m := &v.Members[i]
		if addr, ok := book.claimed(m.ID); ok {
			m.Addr = addr
		}
		if m.Self {
			continue
		}
		wg.Go(func() {
			c, err := net.DialTimeout("tcp", m.Addr, surveyDial)
			if err == nil {
				m.Answers = true
				_ = c.Close()
			}
		})
	}
	wg.Wait()
}

// Quorum says whether the members that answer would, with this node, be a
// majority of the voters, and who they are.
func (v *Survey) Quorum() (reached bool, answering []string) {
	voters, up := 0, 0
	for _, m := range v.Members {
		if m.Answers {
			answering = append(answering, m.ID)
		}
		if m.Voter {
			voters++
			if m.Self || m.Answers {
				up++
			}
		}
	}
	slices.Sort(answering)
	return voters > 0 && up > voters/2, answering
}

func (v *Survey) self() (SurveyMember, bool) {
	for _, m := range v.Members {
		if m.Self {
			return m, true
		}
	}
	return SurveyMember{}, false
}

// String is the survey for people.
func (v *Survey) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "node        %s\ncluster     %s\nphase       %s\nlast entry  index %d, term %d\n", v.NodeID, firstOf(v.ClusterID, "none yet"), v.Phase, v.LastIndex, v.LastTerm)
	if v.SnapshotIndex > 0 {
		fmt.Fprintf(&b, "snapshot    index %d, term %d\n", v.SnapshotIndex, v.SnapshotTerm)
	} else {
		b.WriteString("snapshot    none\n")
	}
	fmt.Fprintf(&b, "members     as of entry %d\n", v.ConfIndex)
	for _, m := range v.Members {
		kind, state := "non-voter", "does not answer"
		if m.Voter {
			kind = "voter"
		}
		switch {
		case m.Self:
			state = "this one"
		case m.Answers:
			state = "ANSWERS"
		}
		fmt.Fprintf(&b, "  %-16s %-22s %-10s %s\n", m.ID, m.Addr, kind, state)
	}
	return b.String()
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
