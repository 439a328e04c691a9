package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// boltStore is what the guard needs of raft-boltdb.
type boltStore interface {
	raft.LogStore
	raft.StableStore
	Close() error
}

// guardedStore stands between Raft and the disk.
//
// It fails the node on the first error and on a write that hangs: heartbeats
// leave from their own goroutines, so a leader whose disk hangs goes on leading
// and stalls the whole cluster. A failed fsync may still have committed, and a
// disk that was full for a moment may take later writes but not earlier ones.
// So after the first failure nothing is ever read from or written to this store
// again: callers are parked until Close, because Raft panics on some of these
// errors and repeats itself on others.
//
// Each log entry gets a checksum on its way in and is checked on its way out;
// bbolt has none.
type guardedStore struct {
	inner  boltStore
	limit  time.Duration
	onFail func(error) // called once, must not block
	space  *space

	failed   atomic.Bool
	failOnce sync.Once
	closed   chan struct{}

	last     atomic.Uint64 // highest index of an entry that the state machine gets to see
	conf     atomic.Uint64 // index of the latest configuration
	snapConf atomic.Uint64 // index of the configuration in the newest snapshot
	confMu   sync.Mutex    // held to change conf
}

// errNotFound is what raft expects of a StableStore, by its text.
const errNotFound = "not found"

// stallTicks is how many times a write is looked at before it counts as hung.
// Counting ticks instead of time spares a process that was stopped and resumed
// in the middle of a write: it catches up on one tick only.
const stallTicks = 8

// trip makes the first failure known.
func (g *guardedStore) trip(err error) {
	g.failOnce.Do(func() {
		g.failed.Store(true)
		g.onFail(fmt.Errorf("%w: %w", ErrStoreFailed, err))
	})
}

// do runs one operation. It returns the operation's own error only if that is
// one of the harmless ones; after a failure it parks the caller.
func (g *guardedStore) do(op string, limit time.Duration, f func() error) error {
	if g.failed.Load() {
		return g.park()
	}
	stop := g.watch(op, limit)
	err := protect(f)
	stop()
	harmless := err == nil || errors.Is(err, raft.ErrLogNotFound) || err.Error() == errNotFound
	if !harmless {
		g.trip(fmt.Errorf("%s: %w", op, err))
	}
	if g.failed.Load() {
		return g.park()
	}
	return err
}

// watch trips the store when limit passes before the returned function is
// called; a limit of 0 watches nothing.
func (g *guardedStore) watch(op string, limit time.Duration) (stop func()) {
	if limit == 0 {
		return func() {}
	}
	var mu sync.Mutex
	var timer *time.Timer
	ticks, done := 0, false
	tick := func() {
		mu.Lock()
		defer mu.Unlock()
		if done {
			return
		}
		if ticks++; ticks >= stallTicks {
			done = true
			g.trip(fmt.Errorf("%s did not return within %v", op, limit))
			return
		}
		timer.Reset(limit / stallTicks)
	}
	mu.Lock()
	timer = time.AfterFunc(limit/stallTicks, tick)
	mu.Unlock()
	return func() {
		mu.Lock()
		defer mu.Unlock()
		done = true
		timer.Stop()
	}
}

// park holds the caller until the node is being closed.
func (g *guardedStore) park() error {
	<-g.closed
	return ErrStoreFailed
}

// protect turns a panic of bbolt, and a fault on a page of its memory map that
// the file no longer has, into an error.
func protect(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("bbolt panicked: %v", p)
		}
	}()
	return f()
}

// release lets parked callers go. The streams must be closed before: what a
// parked goroutine still does then reaches nobody.
func (g *guardedStore) release() {
	select {
	case <-g.closed:
	default:
		close(g.closed)
	}
}

// Close closes the file, unless it has failed: bbolt may hold its locks then.
func (g *guardedStore) Close() error {
	g.release()
	if g.failed.Load() {
		return nil
	}
	return g.inner.Close()
}

// FirstIndex implements raft.LogStore.
func (g *guardedStore) FirstIndex() (i uint64, err error) {
	err = g.do("read first index", 0, func() (err error) { i, err = g.inner.FirstIndex(); return err })
	return i, err
}

// LastIndex implements raft.LogStore.
func (g *guardedStore) LastIndex() (i uint64, err error) {
	err = g.do("read last index", 0, func() (err error) { i, err = g.inner.LastIndex(); return err })
	return i, err
}

// GetLog implements raft.LogStore.
func (g *guardedStore) GetLog(index uint64, l *raft.Log) error {
	return g.do("read log entry", 0, func() error {
		if err := g.inner.GetLog(index, l); err != nil {
			return err
		}
		if err := unseal(l); err != nil {
			return fmt.Errorf("entry %d: %w", index, err)
		}
		return nil
	})
}

// StoreLog implements raft.LogStore.
func (g *guardedStore) StoreLog(l *raft.Log) error { return g.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore.
func (g *guardedStore) StoreLogs(logs []*raft.Log) error {
	sealed := make([]*raft.Log, len(logs))
	need := int64(0)
	for i, l := range logs {
		sealed[i] = seal(l)
		need += 2 * int64(len(l.Data)) // with its pages, roughly
	}
	// Refused before anything is written, an entry is certainly not stored; the
	// leader then steps down, and a follower is sent it again.
	if err := g.space.check(need); err != nil && !g.failed.Load() {
		return err
	}
	if err := g.do("store log entries", g.limit, func() error { return g.inner.StoreLogs(sealed) }); err != nil {
		return err
	}
	for _, l := range logs {
		g.note(l)
	}
	return nil
}

// DeleteRange implements raft.LogStore. Compaction deletes thousands of entries
// at once and so may take longer than a write.
func (g *guardedStore) DeleteRange(lo, hi uint64) error {
	// Raft cuts off a tail only to write another one, which must not fail then.
	if hi >= g.last.Load() && lo > 1 {
		if err := g.space.check(g.space.floor() / 4); err != nil {
			return err
		}
	}
	if err := g.do("delete log entries", 5*g.limit, func() error { return g.inner.DeleteRange(lo, hi) }); err != nil {
		return err
	}
	return g.forgetConf(lo, hi)
}

// Set implements raft.StableStore.
func (g *guardedStore) Set(key, val []byte) error {
	return g.write("store "+string(key), func() error { return g.inner.Set(key, val) })
}

// SetUint64 implements raft.StableStore.
func (g *guardedStore) SetUint64(key []byte, val uint64) error {
	return g.write("store "+string(key), func() error { return g.inner.SetUint64(key, val) })
}

// write pretends success once the node is closed after a failure: Raft panics
// when its term cannot be stored, and nothing it does now leaves the process.
func (g *guardedStore) write(op string, f func() error) error {
	err := g.do(op, g.limit, f)
	if errors.Is(err, ErrStoreFailed) {
		return nil
	}
	return err
}

// Get implements raft.StableStore.
func (g *guardedStore) Get(key []byte) (val []byte, err error) {
	err = g.do("read "+string(key), 0, func() (err error) { val, err = g.inner.Get(key); return err })
	return val, err
}

// GetUint64 implements raft.StableStore.
func (g *guardedStore) GetUint64(key []byte) (val uint64, err error) {
	err = g.do("read "+string(key), 0, func() (err error) { val, err = g.inner.GetUint64(key); return err })
	return val, err
}

// note remembers where the latest entries of interest are.
func (g *guardedStore) note(l *raft.Log) {
	switch l.Type {
	case raft.LogConfiguration:
		g.noteConf(l.Index)
		raise(&g.last, l.Index)
	case raft.LogCommand:
		raise(&g.last, l.Index)
	}
}

func (g *guardedStore) noteConf(index uint64) {
	g.confMu.Lock()
	defer g.confMu.Unlock()
	g.conf.Store(max(g.conf.Load(), index))
}

// noteSnapshot remembers the configuration of a snapshot.
func (g *guardedStore) noteSnapshot(confIndex uint64) {
	raise(&g.snapConf, confIndex)
	g.noteConf(confIndex)
}

// forgetConf finds the latest configuration after entries lo to hi are gone.
// When a new leader had the tail of this log cut off it is an earlier entry, or
// the one in the snapshot; when compaction deleted it, the snapshot repeats it.
func (g *guardedStore) forgetConf(lo, hi uint64) error {
	g.confMu.Lock()
	defer g.confMu.Unlock()
	if conf := g.conf.Load(); conf < lo || conf > hi {
		return nil
	}
	first, err := g.FirstIndex()
	if err != nil {
		return err
	}
	for i := lo - 1; first > 0 && i >= first; i-- {
		var l raft.Log
		err := g.GetLog(i, &l)
		if errors.Is(err, raft.ErrLogNotFound) {
			break // what is before the gap is older than a snapshot that was installed
		}
		if err != nil {
			return err
		}
		if l.Type == raft.LogConfiguration {
			g.conf.Store(i)
			return nil
		}
	}
	g.conf.Store(g.snapConf.Load())
	return nil
}

// raise sets a to v if that is more.
func raise(a *atomic.Uint64, v uint64) {
	for {
		old := a.Load()
		if v <= old || a.CompareAndSwap(old, v) {
			return
		}
	}
}

// The seal of a log entry on disk: a version byte and a CRC-32C of what matters,
// in front of the entry's own extensions.
const (
	sealVersion = 1
	sealSize    = 5
)

// seal returns a copy of l with a checksum. The original must stay as it is: it
// is also what goes to the followers.
func seal(l *raft.Log) *raft.Log {
	c := *l
	c.Extensions = make([]byte, sealSize, sealSize+len(l.Extensions))
	c.Extensions[0] = sealVersion
	binary.BigEndian.PutUint32(c.Extensions[1:], logSum(l))
	c.Extensions = append(c.Extensions, l.Extensions...)
	return &c
}

// unseal checks and takes off the seal.
func unseal(l *raft.Log) error {
	if len(l.Extensions) < sealSize || l.Extensions[0] != sealVersion {
		return errors.New("no checksum")
	}
	want := binary.BigEndian.Uint32(l.Extensions[1:])
	if l.Extensions = l.Extensions[sealSize:]; len(l.Extensions) == 0 {
		l.Extensions = nil
	}
	if got := logSum(l); got != want {
		return fmt.Errorf("checksum is %08x, want %08x", got, want)
	}
	return nil
}

func logSum(l *raft.Log) uint32 {
	var head [17]byte
	binary.BigEndian.PutUint64(head[:], l.Index)
	binary.BigEndian.PutUint64(head[8:], l.Term)
	head[16] = byte(l.Type)
	table := crc32.MakeTable(crc32.Castagnoli)
	sum := crc32.Update(0, table, head[:])
	sum = crc32.Update(sum, table, l.Data)
	return crc32.Update(sum, table, l.Extensions)
}
