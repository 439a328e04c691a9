package transport

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// node is a Mux whose cluster id can change and whose log can be read.
type node struct {
	*Mux
	logs *logBuffer

	mu sync.Mutex
	id Identity
}

func (n *node) identity() Identity {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.id
}

func (n *node) join(cluster string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.id.ClusterID = cluster
}

type logBuffer struct {
	mu sync.Mutex
	b  strings.Builder
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

func start(t *testing.T, id, cluster string, change ...func(*Config)) *node {
	t.Helper()
	n := &node{id: Identity{id, cluster}, logs: &logBuffer{}}
	cfg := DefaultConfig()
	cfg.Addr = "127.0.0.1:0"
	cfg.Keys = []Key{testKey(1)}
	cfg.Identity = n.identity
	cfg.Logger = slog.New(slog.NewTextHandler(n.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	for _, f := range change {
		f(&cfg)
	}
	m, err := Listen(cfg)
	if err != nil {
		t.Fatalf("Listen: %v", err)
	}
	n.Mux = m
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
	return n
}

func testKey(b byte) Key {
	var k Key
	for i := range k {
		k[i] = b
	}
	return k
}

func keys(ks ...Key) func(*Config) { return func(c *Config) { c.Keys = ks } }

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// eventually polls: what is awaited happens on another goroutine, which has no
// signal of its own for tests.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx := within(t, 10*time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("never happened: %s", what)
		}
	}
}

func (m *Mux) openConns() (conns, pending int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.conns), m.pending.Len()
}

// echo accepts streams on l until it closes and sends back what comes.
func echo(t *testing.T, l net.Listener) {
	t.Helper()
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				buf := make([]byte, 1024)
				for {
					n, err := c.Read(buf)
					if n > 0 {
						if _, err := c.Write(buf[:n]); err != nil {
							return
						}
					}
					if err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
}
