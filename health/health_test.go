package health

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/lbnode/lbnode/state"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConfig_validate(t *testing.T) {
	t.Parallel()
	good := func() Config {
		w := &world{}
		c := DefaultConfig()
		c.NodeID, c.Logger, c.Voter = "n", quiet(), func() bool { return true }
		c.Committer, c.Electorate, c.Overlay = w, w, &node{}
		c.InFlight, c.Applied, c.Score = func(string) int64 { return 0 }, func() uint64 { return 0 }, func() int { return 0 }
		return c
	}
	if err := good().Validate(); err != nil {
		t.Fatal(err)
	}
	for want, spoil := range map[string]func(*Config){
		"NodeID":            func(c *Config) { c.NodeID = strings.Repeat("x", 129) },
		"Voter":             func(c *Config) { c.Voter = nil },
		"Committer":         func(c *Config) { c.Committer = nil },
		"Electorate":        func(c *Config) { c.Electorate = nil },
		"Overlay":           func(c *Config) { c.Overlay = nil },
		"InFlight":          func(c *Config) { c.InFlight = nil },
		"Applied":           func(c *Config) { c.Applied = nil },
		"Score":             func(c *Config) { c.Score = nil },
		"Logger":            func(c *Config) { c.Logger = nil },
		"Jitter":            func(c *Config) { c.Jitter = nil },
		"Concurrency":       func(c *Config) { c.Concurrency = 0 },
		"ErrorRun":          func(c *Config) { c.ErrorRun = -1 },
		"Timing.Heartbeat":  func(c *Config) { c.Timing.Heartbeat = 0 },
		"Timing.Fresh":      func(c *Config) { c.Timing.Fresh = time.Second },
		"Timing.EntryBurst": func(c *Config) { c.Timing.EntryBurst = 0 },
	} {
		c := good()
		spoil(&c)
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New without a good %s = %v, want an error that names it", want, err)
		}
	}
}

// TestLoopback_firstVerdict measures what an operator waits for: three nodes with real probes of a real
// server, and a bus as slow as gossip.
func TestLoopback_firstVerdict(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.NotFoundHandler())
	defer s.Close()
	w := newWorld(t, 3, nil)
	defer w.close()
	w.latency = 100 * time.Millisecond
	for _, n := range w.nodes {
		n.newCheck = newCheck
	}
	defer w.lead(w.nodes[0])()
	begin := time.Now()
	w.ops(op(t, state.VerbPut, state.KindBackend, "a", map[string]any{"id": "a", "address": s.Listener.Addr().String()}))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for w.verdict("a") != state.VerdictUp {
		select {
		case <-ctx.Done():
			t.Fatalf("verdict is %s after ten seconds", w.verdict("a"))
		case <-time.After(time.Millisecond):
		}
	}
	t.Logf("first verdict after %s", time.Since(begin))
	obs := w.nodes[0].Observations("a")
	if len(obs) < 2 || obs[0].LatencyMS <= 0 || obs[0].Status != StatusUp {
		t.Errorf("observations = %+v, want at least two, with a latency", obs)
	}
	// Close while a probe is under way returns at once.
	hang := raw(t, "HTTP/1.1 200 O")
	w.ops(op(t, state.VerbPut, state.KindBackend, "b", map[string]any{"id": "b", "address": hang}))
	begin = time.Now()
	if err := w.nodes[2].Close(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took > 500*time.Millisecond {
		t.Errorf("Close took %s while a probe was under way", took)
	}
}

func BenchmarkUpdate_10k(b *testing.B) {
	w := newWorld(b, 1, nil)
	defer w.close()
	w.set(func(_, _ string) outcome { return outcome{ok: true, latency: time.Hour} })
	var ops []state.Op
	for i := range 10_000 {
		ops = append(ops, backendOp(b, "backend-"+string(rune('a'+i/1000))+string(rune('a'+i/100%10))+string(rune('a'+i/10%10))+string(rune('a'+i%10))))
	}
	w.ops(ops...)
	v := *w.view
	b.ReportAllocs()
	for b.Loop() {
		next := v
		next.Index++
		next.StateGen++
		v = next
		w.nodes[0].Update(&next)
	}
}
