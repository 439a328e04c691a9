package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/lbnode/lbnode/cluster/gossip"
)

// listFSM keeps every command, in order.
type listFSM struct {
	mu   sync.Mutex
	cmds []string
}

func (f *listFSM) Apply(l *raft.Log) any {
	f.mu.Lock()
	defer f.mu.Unlock()
	if string(l.Data) == "fail" {
		return errors.New("told to fail")
	}
	f.cmds = append(f.cmds, string(l.Data))
	return fmt.Appendf(nil, "applied %s", l.Data)
}

func (f *listFSM) list() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.cmds)
}

func (f *listFSM) has(cmd string) bool { return slices.Contains(f.list(), cmd) }

func (f *listFSM) Snapshot() (raft.FSMSnapshot, error) { return listSnapshot(f.list()), nil }

func (f *listFSM) Restore(r io.ReadCloser) error {
	defer r.Close()
	var cmds []string
	if err := json.NewDecoder(r).Decode(&cmds); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cmds = cmds
	return nil
}

type listSnapshot []string

func (s listSnapshot) Persist(sink raft.SnapshotSink) error {
	if err := json.NewEncoder(sink).Encode([]string(s)); err != nil {
		_ = sink.Cancel()
		return err
	}
	return sink.Close()
}

func (listSnapshot) Release() {}

// logBuffer collects log lines for tests that look at them, and prints them
// when the test fails.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// member is a node under test with what it needs to be started again.
type member struct {
	*Node
	t   testing.TB
	cfg Config
	fsm *listFSM
	log *logBuffer
}

// testTiming shortens what only makes tests wait. Raft's own delays are those of
// production, stretched under the race detector.
func testTiming() Timing {
	t := DefaultTiming()
	t.Poll, t.Stabilise, t.Retry = 100*time.Millisecond, 200*time.Millisecond, 50*time.Millisecond
	// Packages are tested beside each other, on disks that are shared as well.
	t.StoreStall = 20 * time.Second
	for _, d := range []*time.Duration{&t.Heartbeat, &t.Election, &t.Lease, &t.Commit, &t.Poll, &t.Stabilise, &t.Retry, &t.RPC, &t.NoLeaderWait, &t.ApplyTimeout} {
		*d *= slowdown
	}
	return t
}

func testConfig(t testing.TB, id string) Config {
	return Config{
		frozenAddrs: slowdown > 1,
		NodeID:      id, DataDir: filepath.Join(t.TempDir(), id), Addr: "127.0.0.1:0", Timing: testTiming(),
		Meta:        gossip.Meta{API: id + ":9080", Proxy: id + ":8080", Version: "1.0", Proto: [2]uint8{1, 1}},
		InitCommand: func(clusterID string) []byte { return []byte("init " + clusterID) },
	}
}

// prepare makes a node that is not started.
func prepare(t testing.TB, cfg Config) *member {
	t.Helper()
	m, err := tryPrepare(t, cfg)
	if err != nil {
		t.Fatalf("New(%s): %v", cfg.NodeID, err)
	}
	return m
}

func tryPrepare(t testing.TB, cfg Config) (*member, error) {
	m := &member{t: t, cfg: cfg, fsm: &listFSM{}, log: &logBuffer{}}
	cfg.FSM = m.fsm
	cfg.Logger = slog.New(slog.NewTextHandler(m.log, &slog.HandlerOptions{Level: slog.LevelDebug})).With("self", cfg.NodeID)
	n, err := New(cfg)
	if err != nil {
		return nil, err
	}
	m.Node = n
	t.Cleanup(func() {
		m.kill()
		if t.Failed() && os.Getenv("CLUSTER_TEST_LOG") != "" {
			t.Logf("log of %s:\n%s", n.ID(), m.log)
		}
	})
	return m, nil
}

// start makes and starts a node.
func start(t testing.TB, cfg Config) *member {
	t.Helper()
	m := prepare(t, cfg)
	m.start()
	return m
}

func (m *member) start() {
	m.t.Helper()
	if err := m.Start(m.t.Context()); err != nil {
		m.t.Fatalf("Start(%s): %v", m.ID(), err)
	}
}

// kill ends a node without a word to anybody.
func (m *member) kill() { _ = m.Node.stop(context.Background(), false) }

// again starts a new process, so to speak, on the same directory. change may
// alter the configuration; the address stays unless it does.
func (m *member) again(change func(*Config)) *member {
	m.t.Helper()
	cfg := m.cfg
	cfg.Addr = m.Addr().String()
	if change != nil {
		change(&cfg)
	}
	return start(m.t, cfg)
}

// patience is how long tests wait for what must happen; it costs nothing when
// it does.
const patience = slowdown * 60 * time.Second

// eventually waits for a condition.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	waitFor(t, patience, what, ok)
}

func waitFor(t testing.TB, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(limit)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}

// single starts a cluster of one.
func single(t testing.TB, id string) *member {
	t.Helper()
	m := start(t, testConfig(t, id))
	m.waitJoined()
	return m
}

func (m *member) waitJoined() {
	m.t.Helper()
	select {
	case <-m.Joined():
	case err := <-m.Failed():
		m.t.Fatalf("%s failed: %v", m.ID(), err)
	case <-time.After(patience):
		m.t.Fatalf("%s has not joined: %v", m.ID(), m.JoinError())
	}
}

// join starts a node that joins by the given members.
func join(t testing.TB, id string, by ...*member) *member {
	t.Helper()
	cfg := testConfig(t, id)
	for _, m := range by {
		cfg.Join = append(cfg.Join, m.Advertise())
	}
	return start(t, cfg)
}

// three starts a cluster of three voters.
func three(t testing.TB) []*member {
	t.Helper()
	a := single(t, "a")
	b, c := join(t, "b", a), join(t, "c", a)
	all := []*member{a, b, c}
	waitVoters(t, all, "a", "b", "c")
	return all
}

// waitVoters waits until all nodes see exactly these voters, all of them alive.
func waitVoters(t testing.TB, all []*member, ids ...string) {
	t.Helper()
	for _, m := range all {
		eventually(t, fmt.Sprintf("%s sees the voters %v", m.ID(), ids), func() bool {
			s := m.Status()
			return slices.Equal(m.Voters(), ids) && s.Healthy
		})
	}
}

// leaderOf waits for one established leader among the nodes.
func leaderOf(t testing.TB, all []*member) *member {
	t.Helper()
	var leader *member
	eventually(t, "there is a leader", func() bool {
		for _, m := range all {
			if m.lead.established() {
				leader = m
				return true
			}
		}
		return false
	})
	return leader
}

func others(all []*member, not *member) []*member {
	return slices.DeleteFunc(slices.Clone(all), func(m *member) bool { return m == not })
}

// propose must succeed, once. On a machine that is busy with other things
// leaders come and go; so what was not taken is sent again, and when the outcome
// is unknown, a read tells it. It returns an index at which cmd is applied.
func (m *member) propose(cmd string) uint64 {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), patience)
	defer cancel()
	for {
		resp, index, err := m.Propose(ctx, []byte(cmd))
		if err == nil && string(resp) == "applied "+cmd && index > 0 {
			return index
		}
		if errors.Is(err, ErrOutcomeUnknown) {
			read, rerr := m.ReadIndex(ctx)
			for rerr != nil && ctx.Err() == nil {
				read, rerr = m.ReadIndex(ctx)
			}
			waitFor(m.t, patience, "the read is applied", func() bool { return m.applied() >= read })
			if m.fsm.has(cmd) {
				return read
			}
			err = ErrNoLeader
		}
		if !errors.Is(err, ErrNoLeader) || errors.Is(err, ErrStopped) || ctx.Err() != nil {
			m.t.Fatalf("%s.Propose(%q) = %q, %d, %v", m.ID(), cmd, resp, index, err)
		}
	}
}

// proposeUntil proposes until a command is acknowledged; what was under way to a
// leader that died is of unknown outcome.
func (m *member) proposeUntil(cmd string) {
	m.t.Helper()
	for i := 0; ; i++ {
		_, _, err := m.Propose(m.t.Context(), fmt.Appendf(nil, "%s, attempt %d", cmd, i))
		if err == nil {
			return
		}
		if !errors.Is(err, ErrOutcomeUnknown) && (!errors.Is(err, ErrNoLeader) || i > 20) {
			m.t.Fatalf("%s.Propose(%q): %v", m.ID(), cmd, err)
		}
	}
}

// sameState waits until all state machines hold the same commands.
func sameState(t testing.TB, all []*member) {
	t.Helper()
	eventually(t, "all state machines are equal", func() bool {
		for _, m := range all[1:] {
			if !slices.Equal(m.fsm.list(), all[0].fsm.list()) {
				return false
			}
		}
		return true
	})
}

// wantError checks the kind of an error and what it says.
func wantError(t testing.TB, err, kind error, says ...string) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("error is %v, want %v", err, kind)
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("error %q does not say %q", err, s)
		}
	}
}

// failure waits for Failed.
func (m *member) failure() error {
	m.t.Helper()
	select {
	case err := <-m.Failed():
		return err
	case <-time.After(patience):
		m.t.Fatalf("%s does not report a failure", m.ID())
		return nil
	}
}
