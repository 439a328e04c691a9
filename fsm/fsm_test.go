package fsm

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash/crc32"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/goleak"

	"github.com/lbnode/lbnode/state"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newFSM(t *testing.T) *FSM {
	t.Helper()
	return NewFSM(Config{Logger: slog.New(slog.DiscardHandler), Fatal: func(err error) { t.Errorf("fatal: %v", err) }})
}

// single proposes straight into one FSM, as a one-node cluster would.
type single struct {
	mu    sync.Mutex
	fsm   *FSM
	index uint64
}

func (s *single) Propose(_ context.Context, cmd []byte) ([]byte, uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.index++
	resp := s.fsm.Apply(&raft.Log{Index: s.index, Term: 1, Data: cmd})
	return resp.([]byte), s.index, nil
}

func newStore(t *testing.T) (*FSM, *Store) {
	f := newFSM(t)
	return f, NewStore(f, &single{fsm: f}, time.Now)
}

func putBackend(id string, weight int) state.Command {
	v, _ := json.Marshal(map[string]any{"id": id, "address": "127.0.0.1:80", "weight": weight})
	return state.Command{Type: state.TypeTxn, Ops: []state.Op{{Verb: state.VerbPut, Kind: state.KindBackend, ID: id, Value: v}}}
}

func TestStore_doIsSeenByTheNextView(t *testing.T) {
	t.Parallel()
	_, s := newStore(t)
	res, err := s.Do(t.Context(), putBackend("a", 3))
	if err != nil {
		t.Fatal(err)
	}
	b, ok := s.View().Backend("a")
	if !ok || b.Weight != 3 || b.ModifyIndex != res.Index {
		t.Fatalf("after Do: backend %+v, result %+v", b, res)
	}
}

func TestStore_refusalIsAnError(t *testing.T) {
	t.Parallel()
	_, s := newStore(t)
	_, err := s.Do(t.Context(), putBackend("a", -1))
	var refusal *state.Refusal
	if !errors.As(err, &refusal) || refusal.Code != state.CodeInvalid {
		t.Fatalf("Do with weight -1 = %v, want a refusal", err)
	}
	if s.View().Len(state.KindBackend) != 0 {
		t.Error("a refused command changed something")
	}
}

func TestStore_watchSkipsToTheNewest(t *testing.T) {
	t.Parallel()
	_, s := newStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	views := s.Watch(ctx)
	<-views
	for i := range 50 {
		if _, err := s.Do(t.Context(), putBackend("a", i)); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	for v := range views {
		n++
		if b, _ := v.Backend("a"); b.Weight == 49 {
			break
		}
	}
	if n > 3 {
		t.Errorf("a slow receiver got %d views for 50 changes", n)
	}
	cancel()
	for range views {
	}
}

func TestFSM_waitGivesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFSM(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := f.Wait(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("Wait = %v", err)
		}
	})
}

type memSink struct {
	bytes.Buffer
	cancelled bool
}

func (*memSink) ID() string      { return "mem" }
func (*memSink) Close() error    { return nil }
func (s *memSink) Cancel() error { s.cancelled = true; return nil }

func TestFSM_snapshotRestoresToTheSameHash(t *testing.T) {
	t.Parallel()
	f, s := newStore(t)
	for i := range 20 {
		if _, err := s.Do(t.Context(), putBackend(string(rune('a'+i)), i)); err != nil {
			t.Fatal(err)
		}
	}
	snap, err := f.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	var sink memSink
	if err := snap.Persist(&sink); err != nil {
		t.Fatal(err)
	}
	g := newFSM(t)
	if err := g.Restore(io.NopCloser(bytes.NewReader(sink.Bytes()))); err != nil {
		t.Fatal(err)
	}
	if got, want := state.Hash(g.View()), state.Hash(f.View()); got != want {
		t.Errorf("hash after restore %s, want %s", got, want)
	}
	for _, cut := range []int{0, 1, sink.Len() / 2, sink.Len() - 2} {
		h := newFSM(t)
		if err := h.Restore(io.NopCloser(bytes.NewReader(sink.Bytes()[:cut]))); !errors.Is(err, state.ErrSnapshot) {
			t.Errorf("Restore of %d of %d bytes = %v, want ErrSnapshot", cut, sink.Len(), err)
		}
		if h.View().Index != 0 {
			t.Errorf("a short snapshot changed the view")
		}
	}
}

// A node restarts with a view file newer than its last snapshot: the state must not go back, and entries
// that it holds already must not be applied twice.
func TestFSM_seedIsNeverUndone(t *testing.T) {
	t.Parallel()
	f, s := newStore(t)
	var log []*raft.Log
	for i := range 10 {
		b, _ := state.Encode(putBackend("a", i))
		log = append(log, &raft.Log{Index: uint64(i + 1), Term: 1, Data: b})
		if _, err := s.Do(t.Context(), putBackend("a", i)); err != nil {
			t.Fatal(err)
		}
		if i == 4 {
			old, _ := f.Snapshot()
			var sink memSink
			if err := old.Persist(&sink); err != nil {
				t.Fatal(err)
			}
			defer func() {
				g := newFSM(t)
				g.Seed(f.View())
				if err := g.Restore(io.NopCloser(&sink)); err != nil {
					t.Fatal(err)
				}
				for _, l := range log {
					g.Apply(l)
					if g.View().Index != 10 {
						t.Fatalf("after entry %d the view is at %d", l.Index, g.View().Index)
					}
				}
			}()
		}
	}
}

func TestFSM_refusesAnotherClustersSnapshot(t *testing.T) {
	t.Parallel()
	one, two := newFSM(t), newFSM(t)
	for f, id := range map[*FSM]string{one: "one", two: "two"} {
		b, _ := state.Encode(state.Command{Type: state.TypeInit, ClusterID: id})
		f.Apply(&raft.Log{Index: 1, Term: 1, Data: b})
	}
	var sink memSink
	snap, _ := one.Snapshot()
	if err := snap.Persist(&sink); err != nil {
		t.Fatal(err)
	}
	if err := two.Restore(io.NopCloser(&sink)); err == nil || !strings.Contains(err.Error(), "cluster one") {
		t.Errorf("Restore of another cluster's snapshot = %v", err)
	}
}

// An entry that this version does not know must stop the node before its applied index moves.
func TestFSM_haltsOnUnknownEntries(t *testing.T) {
	t.Parallel()
	good, _ := state.Encode(putBackend("a", 1))
	newer := bytes.Clone(good)
	newer[2] = 99 // a version to come; its checksum is right
	sum := crc32.Update(crc32.Checksum(newer[:4], crc32.MakeTable(crc32.Castagnoli)), crc32.MakeTable(crc32.Castagnoli), newer[8:])
	binary.BigEndian.PutUint32(newer[4:], sum)
	for name, data := range map[string][]byte{"damaged": append(bytes.Clone(good), 'x'), "short": {1, 2}, "newer": newer} {
		t.Run(name, func(t *testing.T) { mustHalt(t, data) })
	}
}

func mustHalt(t *testing.T, data []byte) {
	t.Helper()
	fatal := make(chan error, 1)
	f := NewFSM(Config{Logger: slog.New(slog.DiscardHandler), Fatal: func(err error) {
		fatal <- err
		panic("process ends")
	}})
	defer func() {
		if recover() == nil {
			t.Error("Apply went on")
		}
		if err := <-fatal; !strings.Contains(err.Error(), "log entry 7") {
			t.Errorf("fatal error %q does not name the entry", err)
		}
		if f.View().Index != 0 {
			t.Error("the index moved past an entry that was not applied")
		}
	}()
	f.Apply(&raft.Log{Index: 7, Term: 1, Data: data})
}

func TestViewFile_followsAndLoads(t *testing.T) {
	t.Parallel()
	_, s := newStore(t)
	file := ViewFile{Path: filepath.Join(t.TempDir(), "view")}
	if v, err := file.Load(); err != nil || v.Index != 0 {
		t.Fatalf("Load of no file = %v, %v", v, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		file.Follow(ctx, s, time.Hour, func(err error) { t.Error(err) })
	}()
	if _, err := s.Do(t.Context(), putBackend("a", 1)); err != nil {
		t.Fatal(err)
	}
	cancel()
	<-done
	v, err := file.Load()
	if err != nil || state.Hash(v) != state.Hash(s.View()) {
		t.Fatalf("Load = %v, %v", v, err)
	}
	b, _ := os.ReadFile(file.Path)
	if err := os.WriteFile(file.Path, b[:len(b)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := file.Load(); err == nil || !strings.Contains(err.Error(), file.Path) {
		t.Errorf("Load of half a file = %v, want an error that names it", err)
	}
}
