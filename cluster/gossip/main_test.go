package gossip

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/lbnode/lbnode/cluster/transport"
)

func TestMain(m *testing.M) {
	// After Shutdown memberlist leaves its loops to end by themselves, one of
	// them at the end of a probe.
	goleak.VerifyTestMain(
		m,
		goleak.IgnoreAnyFunction("github.com/hashicorp/memberlist.(*Memberlist).triggerFunc"),
		goleak.IgnoreAnyFunction("github.com/hashicorp/memberlist.(*Memberlist).pushPullTrigger"),
	)
}

// peer is one node of a test cluster: a cluster port and its gossip.
type peer struct {
	*Gossip
	mux  *transport.Mux
	addr string
	logs *logBuffer
	set  *gset
	say  func([]byte)
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func fast() Config {
	return Config{
		ClusterID:        "c1",
		GossipInterval:   10 * time.Millisecond,
		PushPullInterval: 100 * time.Millisecond,
		ProbeInterval:    200 * time.Millisecond,
		ProbeTimeout:     100 * time.Millisecond,
		StreamTimeout:    2 * time.Second,
		ReclaimTime:      50 * time.Millisecond,
		Keys:             [][]byte{testKey(1)},
		Meta:             Meta{Version: "1.0.0", Proto: [2]uint8{1, 2}, Voter: true},
	}
}

func testKey(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }

func start(t *testing.T, id string, change ...func(*Config)) *peer {
	t.Helper()
	p := &peer{logs: &logBuffer{}, set: newGset()}
	cfg := fast()
	cfg.NodeID = id
	cfg.Addr = "127.0.0.1:0"
	cfg.Logger = slog.New(slog.NewTextHandler(p.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	for _, f := range change {
		f(&cfg)
	}
	listen := cfg.Addr
	// The mTLS side is not what is tested here: one key and one cluster for all.
	identity := transport.Identity{NodeID: id, ClusterID: "mux"}
	for range 20 {
		mux, err := transport.Listen(transport.Config{Addr: listen, Identity: func() transport.Identity { return identity }})
		if err != nil {
			t.Fatalf("transport.Listen: %v", err)
		}
		cfg.Addr = mux.Addr().String()
		cfg.Streams = mux.Stream(transport.ProtoGossip)
		g, err := New(cfg)
		if errors.Is(err, syscall.EADDRINUSE) {
			_ = mux.Close()
			continue // another test has the UDP port of this number
		}
		if err != nil {
			_ = mux.Close()
			t.Fatalf("New: %v", err)
		}
		p.Gossip, p.mux, p.addr = g, mux, mux.Advertise()
		p.say = g.AddState("set", p.set)
		t.Cleanup(func() { p.stop(t) })
		return p
	}
	t.Fatal("no port is free on both TCP and UDP")
	return nil
}

func (p *peer) stop(t *testing.T) {
	t.Helper()
	if err := p.Close(); err != nil && !errors.Is(err, ErrClosed) {
		t.Errorf("Close = %v", err)
	}
	if err := p.mux.Close(); err != nil {
		t.Errorf("transport Close = %v", err)
	}
}

func (p *peer) add(key string, seq uint64) {
	p.set.put(key, seq)
	p.say(encodePair(nil, key, seq))
}

func (p *peer) member(id string) Member {
	for _, m := range p.Members() {
		if m.ID == id {
			return m
		}
	}
	return Member{}
}

// cluster starts n1…nN and waits until everyone knows everyone.
func cluster(t *testing.T, n int, change ...func(*Config)) []*peer {
	t.Helper()
	var ps []*peer
	for i := range n {
		ps = append(ps, start(t, "n"+string(rune('1'+i)), change...))
	}
	for _, p := range ps[1:] {
		if got, err := p.Join(within(t, 10*time.Second), []string{ps[0].addr}); err != nil || got != 1 {
			t.Fatalf("Join = %d, %v", got, err)
		}
	}
	eventually(t, "everyone knows everyone", func() bool {
		for _, p := range ps {
			if len(p.Members()) != n {
				return false
			}
		}
		return true
	})
	return ps
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// eventually polls: gossip converges, and tells nobody when.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx := within(t, 20*time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("never happened: %s", what)
		}
	}
}

// gset is a State: the highest number seen for each key.
type gset struct {
	mu sync.Mutex
	m  map[string]uint64
}

func newGset() *gset { return &gset{m: make(map[string]uint64)} }

func encodePair(b []byte, key string, seq uint64) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(key)))
	return binary.BigEndian.AppendUint64(append(b, key...), seq)
}

func (s *gset) put(key string, seq uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.m[key] = max(s.m[key], seq)
}

func (s *gset) get(key string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.m[key]
}

func (s *gset) snapshot() map[string]uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.m)
}

func (s *gset) MarshalBinary() ([]byte, error) {
	var b []byte
	for k, v := range s.snapshot() {
		b = encodePair(b, k, v)
	}
	return b, nil
}

func (s *gset) Merge(b []byte) error {
	for len(b) > 0 {
		if len(b) < 2 {
			return errors.New("short")
		}
		n := int(binary.BigEndian.Uint16(b))
		if len(b) < 2+n+8 {
			return errors.New("short")
		}
		s.put(strings.Clone(string(b[2:2+n])), binary.BigEndian.Uint64(b[2+n:]))
		b = b[2+n+8:]
	}
	return nil
}
