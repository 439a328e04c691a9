package health

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/lbnode/lbnode/state"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// op is one operation with its value as JSON.
func op(t testing.TB, verb state.Verb, kind state.Kind, id string, value map[string]any) state.Op {
	t.Helper()
	o := state.Op{Verb: verb, Kind: kind, ID: id}
	if value != nil {
		raw, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		o.Value = raw
	}
	return o
}

func backendOp(t testing.TB, id string) state.Op {
	return op(t, state.VerbPut, state.KindBackend, id, map[string]any{"id": id, "address": "127.0.0.1:9"})
}

// world is a cluster of Health instances: one shared log, a bus that may lose messages, and backends that
// are up or down for each node.
type world struct {
	t testing.TB

	mu       sync.Mutex
	view     *state.View
	index    uint64
	commands int // of the arbiter
	changes  int
	deny     error // what the store answers instead
	nodes    []*node
	voters   []string
	live     []string
	loss     float64
	latency  time.Duration
	cut      map[[2]string]bool
	rng      *rand.Rand
	health   func(node, backend string) outcome

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// node is one instance and its surroundings.
type node struct {
	*Health
	w  *world
	id string

	mu       sync.Mutex
	voter    bool
	score    int
	applied  uint64
	frozen   bool // its proxy applies nothing any more
	inFlight map[string]int64
	vetoes   map[string]string
	told     int
	probes   map[string]int
}

// newWorld makes a started cluster with voters n1, n2, ... It is closed with the test.
func newWorld(t testing.TB, voters int, tune func(*Config)) *world {
	t.Helper()
	w := &world{
		t: t, view: state.NewView(), cut: map[[2]string]bool{}, rng: rand.New(rand.NewPCG(1, 2)), latency: 20 * time.Millisecond,
		health: func(string, string) outcome { return outcome{ok: true} },
	}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	for i := range voters {
		w.add(fmt.Sprintf("n%d", i+1), true, tune)
	}
	return w
}

// add starts one more node.
func (w *world) add(id string, voter bool, tune func(*Config)) *node {
	w.t.Helper()
	n := &node{w: w, id: id, voter: voter, inFlight: map[string]int64{}, vetoes: map[string]string{}, probes: map[string]int{}}
	cfg := DefaultConfig()
	cfg.NodeID, cfg.Version, cfg.Logger = id, "test", quiet()
	cfg.Voter = func() bool { return locked(&n.mu, func() bool { return n.voter }) }
	cfg.Score = func() int { return locked(&n.mu, func() int { return n.score }) }
	cfg.Applied = func() uint64 { return locked(&n.mu, func() uint64 { return n.applied }) }
	cfg.InFlight = func(b string) int64 { return locked(&n.mu, func() int64 { return n.inFlight[b] }) }
	cfg.Committer, cfg.Electorate, cfg.Overlay = w, w, n
	if tune != nil {
		tune(&cfg)
	}
	h, err := New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	h.newCheck = func(b *state.Backend, p *state.Pool, _ string) check {
		if p.Health.Type == state.CheckNone {
			return nil
		}
		return &scripted{n, b.ID}
	}
	n.Health = h
	h.Table().SetBroadcast(func(m []byte) { w.send(id, m) })
	w.mu.Lock()
	w.nodes = append(w.nodes, n)
	w.live = append(w.live, id)
	if voter {
		w.voters = append(w.voters, id)
	}
	v := w.view
	w.mu.Unlock()
	n.update(v)
	h.Start()
	return n
}

func locked[T any](mu *sync.Mutex, fn func() T) T {
	mu.Lock()
	defer mu.Unlock()
	return fn()
}

// lead runs the arbiter on a node until the returned function is called.
func (w *world) lead(n *node) (stop func()) {
	ctx, cancel := context.WithCancel(w.ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = n.Lead(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}

// pushPull exchanges whole states between random pairs until the world ends.
func (w *world) pushPull(every time.Duration) {
	w.wg.Go(func() {
		t := time.NewTicker(every)
		defer t.Stop()
		for {
			select {
			case <-w.ctx.Done():
				return
			case <-t.C:
			}
			w.mu.Lock()
			a, b := w.nodes[w.rng.IntN(len(w.nodes))], w.nodes[w.rng.IntN(len(w.nodes))]
			cut := a == b || w.cut[[2]string{a.id, b.id}] || w.cut[[2]string{b.id, a.id}]
			w.mu.Unlock()
			if !cut {
				exchange(w.t, a.Table(), b.Table())
			}
		}
	})
}

func exchange(t testing.TB, a, b *Table) {
	sa, err := a.MarshalBinary()
	if err != nil {
		t.Error(err)
	}
	sb, err := b.MarshalBinary()
	if err != nil {
		t.Error(err)
	}
	if err := a.Merge(sb); err != nil {
		t.Error(err)
	}
	if err := b.Merge(sa); err != nil {
		t.Error(err)
	}
}

func (w *world) close() {
	w.cancel()
	w.wg.Wait()
	for _, n := range w.nodes {
		if err := n.Close(); err != nil {
			w.t.Error(err)
		}
	}
}

// send delivers a broadcast. Large messages are reliable, as gossip sends them.
func (w *world) send(from string, m []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range w.nodes {
		lost := len(m) <= maxDelta && w.rng.Float64() < w.loss
		if n.id == from || lost || w.cut[[2]string{from, n.id}] || w.ctx.Err() != nil {
			continue
		}
		time.AfterFunc(w.latency, func() {
			if err := n.Table().Merge(m); err != nil {
				w.t.Errorf("Merge on %s: %v", n.id, err)
			}
		})
	}
}

// partition cuts a node off from the others, both ways, or joins it again.
func (w *world) partition(id string, cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range w.nodes {
		w.cut[[2]string{id, n.id}], w.cut[[2]string{n.id, id}] = cut, cut
	}
}

// Do implements Committer: it applies the command and updates every node.
func (w *world) Do(_ context.Context, c state.Command) (state.Result, error) {
	w.mu.Lock()
	if w.deny != nil {
		defer w.mu.Unlock()
		return state.Result{}, w.deny
	}
	w.index++
	next, res := state.Apply(w.view, w.index, 1, c)
	w.view = next
	if c.Type == state.TypeStates {
		w.commands++
		w.changes += len(c.Changes)
	}
	nodes := w.nodes
	w.mu.Unlock()
	for _, n := range nodes {
		n.update(next)
	}
	if res.Refusal != nil {
		return res, res.Refusal
	}
	return res, nil
}

func (w *world) ops(ops ...state.Op) {
	w.t.Helper()
	if _, err := w.Do(w.ctx, state.Command{Type: state.TypeTxn, Ops: ops, At: time.Now().UTC()}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) Voters() []string { return locked(&w.mu, func() []string { return w.voters }) }
func (w *world) Live() []string   { return locked(&w.mu, func() []string { return w.live }) }

func (w *world) backend(id string) *state.Backend {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	b, ok := w.view.Backend(id)
	if !ok {
		return nil
	}
	return b
}

func (w *world) verdict(id string) state.Verdict {
	w.t.Helper()
	if b := w.backend(id); b != nil {
		return b.Verdict
	}
	return "gone"
}

func (w *world) set(fn func(node, backend string) outcome) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.health = fn
}

func (w *world) counted() (commands, changes int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.commands, w.changes
}

func (n *node) update(v *state.View) {
	n.mu.Lock()
	if !n.frozen {
		n.applied = max(n.applied, v.Index)
	}
	n.mu.Unlock()
	n.Update(v)
}

// SetLocal implements Overlay.
func (n *node) SetLocal(id string, down bool, reason string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.told++
	if down {
		n.vetoes[id] = reason
	} else {
		delete(n.vetoes, id)
	}
}

func (n *node) veto(id string) string {
	return locked(&n.mu, func() string { return n.vetoes[id] })
}

func (n *node) probed(id string) int {
	return locked(&n.mu, func() int { return n.probes[id] })
}

// scripted is a check that the world decides.
type scripted struct {
	n  *node
	id string
}

func (c *scripted) probe(ctx context.Context) outcome {
	c.n.mu.Lock()
	c.n.probes[c.id]++
	c.n.mu.Unlock()
	o := locked(&c.n.w.mu, func() func(string, string) outcome { return c.n.w.health })(c.n.id, c.id)
	if o.latency == 0 {
		o.latency = time.Millisecond
	}
	select {
	case <-ctx.Done():
		return outcome{reason: "no answer within " + o.latency.String(), latency: o.latency}
	case <-time.After(o.latency):
	}
	return o
}

func refused(string, string) outcome { return outcome{reason: "connection refused"} }
