package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	lbfsm "github.com/lbnode/lbnode/fsm"
	"github.com/lbnode/lbnode/internal/linear"
	"github.com/lbnode/lbnode/state"
)

// The soak runs clients on all nodes of a cluster while its network, disks and members fail, and then asks
// whether what the clients saw can have come from one copy of the state. SOAK_SECONDS and SOAK_SEED set its
// length and the order of the faults.

// soakLength is how long the clients run, and by which seed.
func soakLength(t *testing.T) (time.Duration, uint64) {
	t.Helper()
	length, seed := 6*time.Second, uint64(1)
	if s := os.Getenv("SOAK_SECONDS"); s != "" {
		n, err := strconv.Atoi(s)
		must(t, err)
		length = time.Duration(n) * time.Second
	}
	if s := os.Getenv("SOAK_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		must(t, err)
		seed = n
	}
	t.Logf("SOAK_SECONDS=%d SOAK_SEED=%d", int(length.Seconds()), seed)
	return length, seed
}

// soakNode is one life of a node with a real state machine.
type soakNode struct {
	*Node
	cfg   Config
	store *lbfsm.Store
	bolt  boltStore
	fault chan func() error // taken by the next write to disk
	dead  atomic.Bool       // is told to end
	gone  atomic.Bool       // has ended
}

func (n *soakNode) kill() {
	n.dead.Store(true)
	_ = n.stop(context.Background(), false)
	n.gone.Store(true)
}

// soakCluster is the nodes by id, as they come and go.
type soakCluster struct {
	t   *testing.T
	net *faultNet
	log *logBuffer

	mu    sync.Mutex
	nodes map[string]*soakNode
}

// Propose implements fsm.Proposer, with the names that errors have outside of consensus.
func (n *soakNode) Propose(ctx context.Context, cmd []byte) ([]byte, uint64, error) {
	resp, index, err := n.Node.Propose(ctx, cmd)
	switch {
	case errors.Is(err, ErrNoLeader):
		err = fmt.Errorf("%w: %w", state.ErrNoLeader, err)
	case errors.Is(err, ErrOutcomeUnknown):
		err = fmt.Errorf("%w: %w", state.ErrOutcomeUnknown, err)
	}
	return resp, index, err
}

// start makes a life of a node; change may alter the configuration.
func (c *soakCluster) start(id string, change func(*Config)) *soakNode {
	c.t.Helper()
	cfg := testConfig(c.t, id)
	cfg.SnapshotThreshold, cfg.TrailingLogs, cfg.Timing.SnapshotInterval = 200, 100, 200*time.Millisecond
	if change != nil {
		change(&cfg)
	}
	return c.run(cfg)
}

func (c *soakCluster) run(cfg Config) *soakNode {
	c.t.Helper()
	c.net.attach(&cfg)
	log := slog.New(slog.NewTextHandler(c.log, nil)).With("self", cfg.NodeID)
	n := &soakNode{cfg: cfg, fault: make(chan func() error, 1)}
	machine := lbfsm.NewFSM(lbfsm.Config{Logger: log, Fatal: func(err error) { c.t.Errorf("%s: %v", cfg.NodeID, err) }})
	n.store = lbfsm.NewStore(machine, n, time.Now)
	cfg.FSM, cfg.Logger = machine, log
	cfg.InitCommand = func(id string) []byte {
		b, err := state.Encode(state.Command{Type: state.TypeInit, ClusterID: id})
		if err != nil {
			panic(err)
		}
		return b
	}
	node, err := newNode(cfg, func(s boltStore) boltStore { n.bolt = s; return &faultyStore{s, n.fault} })
	must(c.t, err)
	n.Node = node
	n.cfg.Addr = node.Addr().String()
	c.net.locate(cfg.NodeID, node.Advertise())
	must(c.t, node.Start(c.t.Context()))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes[cfg.NodeID] = n
	return n
}

// again starts another life on the same directory.
func (c *soakCluster) again(n *soakNode) *soakNode { return c.run(n.cfg) }

func (c *soakCluster) drop(n *soakNode) {
	n.kill()
	c.mu.Lock()
	delete(c.nodes, n.cfg.NodeID)
	c.mu.Unlock()
}

// alive lists the nodes that run, by id.
func (c *soakCluster) alive() []*soakNode {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []*soakNode
	for _, id := range sortedKeys(c.nodes) {
		if n := c.nodes[id]; !n.dead.Load() {
			all = append(all, n)
		}
	}
	return all
}

func (c *soakCluster) leader() (leader *soakNode, rest []*soakNode) {
	c.t.Helper()
	eventually(c.t, "there is a leader", func() bool {
		leader = nil
		for _, n := range c.alive() {
			if n.lead.established() {
				leader = n
			}
		}
		return leader != nil
	})
	for _, n := range c.alive() {
		if n != leader {
			rest = append(rest, n)
		}
	}
	return leader, rest
}

func idsOf(nodes []*soakNode) (ids []string) {
	for _, n := range nodes {
		ids = append(ids, n.cfg.NodeID)
	}
	return ids
}

// soakClient makes calls, one after the other, each on some node.
type soakClient struct {
	c       *soakCluster
	h       *linear.History
	number  int
	rng     *rand.Rand
	values  *atomic.Int64
	epoch   *atomic.Int64
	seen    map[string]seenValue // by register
	patient time.Duration        // for one call
}

// seenValue is what a client knows of a register, for its next compare-and-set.
type seenValue struct {
	value int
	index uint64
}

func (c *soakClient) run(stop <-chan struct{}) {
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(1+c.rng.IntN(10)) * time.Millisecond):
		}
		nodes := c.c.alive()
		if len(nodes) == 0 {
			continue
		}
		// Each register lives for a while only: the search for an order grows with its calls.
		register := fmt.Sprintf("r%d-%d", c.rng.IntN(3), c.epoch.Load())
		switch c.rng.IntN(4) {
		case 0, 1:
			c.read(nodes[c.rng.IntN(len(nodes))], register, []linear.Level{linear.Linearizable, linear.Leader}[c.rng.IntN(2)])
		case 2:
			c.write(nodes, register, linear.Op{Kind: linear.Write}, i)
		case 3:
			old := c.seen[register]
			c.write(nodes, register, linear.Op{Kind: linear.CAS, Old: old.value}, i)
		}
	}
}

// read is one at that level, by any node.
func (c *soakClient) read(n *soakNode, register string, level linear.Level) {
	ctx, cancel := context.WithTimeout(c.c.t.Context(), c.patient)
	defer cancel()
	op := linear.Op{Client: c.number, Register: register, Kind: linear.Read, Level: level, Outcome: linear.Done, Call: c.h.Now()}
	ask := n.ReadIndex
	if level == linear.Leader {
		ask = n.LeaderIndex
	}
	index, err := ask(ctx)
	if err == nil {
		err = n.store.Wait(ctx, index)
	}
	if err != nil {
		return // answered as unavailable
	}
	got := valueOf(n.store.View(), register)
	op.Got, op.Return = got.value, c.h.Now()
	c.seen[register] = got
	c.h.Add(op)
}

func valueOf(v *state.View, register string) (got seenValue) {
	if b, ok := v.Backend(register); ok && len(b.Tags) == 1 {
		got.index = b.ModifyIndex
		got.value, _ = strconv.Atoi(b.Tags[0])
	}
	return got
}

// write is a write or a compare-and-set, sent again under its id while its outcome is unknown.
func (c *soakClient) write(nodes []*soakNode, register string, op linear.Op, i int) {
	op.Client, op.Register, op.New = c.number, register, int(c.values.Add(1))
	value, err := json.Marshal(map[string]any{"address": "192.0.2.1:80", "tags": []string{strconv.Itoa(op.New)}})
	must(c.c.t, err)
	change := state.Op{Verb: state.VerbPut, Kind: state.KindBackend, ID: register, Value: value}
	if op.Kind == linear.CAS {
		if change.IfMatch = c.seen[register].index; change.IfMatch == 0 {
			change.Verb = state.VerbCreate
		}
	}
	cmd := state.Command{Type: state.TypeTxn, RequestID: fmt.Sprintf("c%d-%d", c.number, i), Ops: []state.Op{change}}
	op.Call = c.h.Now()
	tried := false // some attempt may have had its effect
	for range 3 {
		ctx, cancel := context.WithTimeout(c.c.t.Context(), c.patient)
		res, err := nodes[c.rng.IntN(len(nodes))].store.Do(ctx, cmd)
		cancel()
		var refusal *state.Refusal
		switch {
		case err == nil:
			op.OK, op.Outcome, op.Return = true, linear.Done, c.h.Now()
			c.seen[register] = seenValue{op.New, res.Index}
			c.h.Add(op)
			return
		case errors.As(err, &refusal) && op.Kind == linear.CAS && (refusal.Code == state.CodeMismatch || refusal.Code == state.CodeExists):
			op.Outcome, op.Return = linear.Done, c.h.Now()
			c.h.Add(op)
			return
		case errors.As(err, &refusal):
			c.c.t.Errorf("%s: %v", op, refusal)
			return
		case !errors.Is(err, state.ErrNoLeader) || errors.Is(err, state.ErrOutcomeUnknown):
			tried = true
		}
		if !tried {
			return // certainly nothing happened
		}
	}
	op.Outcome = linear.Unknown
	c.h.Add(op)
}

// staleReads reads every node's own copy all the time. Such a read may be old, but on one node it never goes
// back, and what two nodes show as of one change is the same.
func (c *soakCluster) staleReads(stop <-chan struct{}) (count int) {
	type life struct {
		node     *soakNode
		register string
	}
	last := map[life]uint64{}
	was := map[string]string{} // by register and index
	for {
		select {
		case <-stop:
			return count
		case <-time.After(5 * time.Millisecond):
		}
		for _, n := range c.alive() {
			for b := range n.store.View().Backends() {
				count++
				at := life{n, b.ID}
				if b.ModifyIndex < last[at] {
					c.t.Errorf("%s went back from entry %d to %d of %s", n.cfg.NodeID, last[at], b.ModifyIndex, b.ID)
				}
				last[at] = b.ModifyIndex
				key, now := fmt.Sprintf("%s@%d", b.ID, b.ModifyIndex), fmt.Sprint(b.Tags)
				if before, ok := was[key]; ok && before != now {
					c.t.Errorf("%s shows %s as %s, another node showed %s", n.cfg.NodeID, key, now, before)
				}
				was[key] = now
			}
		}
	}
}

// settled looks all the time whether all nodes that have not ended are in one term, and tells the history.
func (c *soakCluster) settled(h *linear.History, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(2 * time.Millisecond):
		}
		at := h.Now()
		if c.oneTerm() {
			h.Settled(at)
		}
	}
}

func (c *soakCluster) oneTerm() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	var term uint64
	nodes, voters := 0, 0
	for _, n := range c.nodes {
		r := n.raft.Load()
		if n.gone.Load() || r == nil {
			continue
		}
		now := r.CurrentTerm()
		if nodes > 0 && now != term {
			return false
		}
		term, voters = now, max(voters, len(n.Voters()))
		nodes++
	}
	return nodes > voters/2
}

// soakFault is one thing that goes wrong for a while and is mended.
type soakFault struct {
	name string
	run  func(c *soakCluster, hold func())
}

func soakFaults() []soakFault {
	cutLeader := func(into bool, out bool) func(*soakCluster, func()) {
		return func(c *soakCluster, hold func()) {
			leader, rest := c.leader()
			var cut [][2]string
			for _, id := range idsOf(rest) {
				if into {
					cut = append(cut, [2]string{id, leader.cfg.NodeID})
				}
				if out {
					cut = append(cut, [2]string{leader.cfg.NodeID, id})
				}
			}
			c.net.set(cut...)
			hold()
			c.net.heal()
		}
	}
	kill := func(pick func(leader *soakNode, rest []*soakNode) *soakNode) func(*soakCluster, func()) {
		return func(c *soakCluster, hold func()) {
			n := pick(c.leader())
			n.kill()
			hold()
			c.again(n)
		}
	}
	return []soakFault{
		{"the leader is cut off", cutLeader(true, true)},
		{"the leader is killed", kill(func(l *soakNode, _ []*soakNode) *soakNode { return l })},
		{"leader and non-voter are cut off", cutOffWithNonVoter},
		{"the leader's disk fails", failDisk},
		{"the leader is not heard", cutLeader(false, true)},
		{"the leader hears nobody", cutLeader(true, false)},
		{"a follower is cut off", func(c *soakCluster, hold func()) {
			leader, rest := c.leader()
			c.net.split(idsOf(rest[:1]), append(idsOf(rest[1:]), leader.cfg.NodeID))
			hold()
			c.net.heal()
		}},
		{"a follower is killed", kill(func(_ *soakNode, rest []*soakNode) *soakNode { return rest[0] })},
		{"every node is alone", func(c *soakCluster, hold func()) {
			var groups [][]string
			for _, id := range idsOf(c.alive()) {
				groups = append(groups, []string{id})
			}
			c.net.split(groups...)
			hold()
			c.net.heal()
		}},
		{"leadership moves", func(c *soakCluster, hold func()) {
			_, rest := c.leader()
			if err := rest[0].Transfer(c.t.Context(), ""); err != nil {
				c.t.Logf("transfer: %v", err)
			}
			hold()
		}},
		{"a voter comes and goes", func(c *soakCluster, hold func()) {
			n := c.start("e", func(cfg *Config) { cfg.Join = c.addrs() })
			eventually(c.t, "it votes", func() bool { return slices.Contains(n.Voters(), "e") })
			hold()
			c.remove(n)
		}},
	}
}

func (c *soakCluster) addrs() (addrs []string) {
	for _, n := range c.alive() {
		addrs = append(addrs, n.Advertise())
	}
	return addrs
}

// remove takes a node out of the cluster, through another one.
func (c *soakCluster) remove(n *soakNode) {
	c.t.Helper()
	id := n.cfg.NodeID
	eventually(c.t, id+" is removed", func() bool {
		for _, by := range c.alive() {
			if by != n && by.Remove(c.t.Context(), id, false) == nil {
				return true
			}
		}
		leader, _ := c.leader()
		_, in := leader.server(id)
		return !in
	})
	c.drop(n)
}

// cutOffWithNonVoter is the case in which the library's own check of leadership counts wrong.
func cutOffWithNonVoter(c *soakCluster, hold func()) {
	d := c.start("d", func(cfg *Config) { cfg.NonVoter, cfg.Join = true, c.addrs() })
	eventually(c.t, "the non-voter is in", func() bool {
		leader, _ := c.leader()
		_, in := leader.server("d")
		return in
	})
	leader, rest := c.leader()
	rest = slices.DeleteFunc(rest, func(n *soakNode) bool { return n == d })
	c.net.split([]string{leader.cfg.NodeID, "d"}, idsOf(rest))
	hold()
	c.net.heal()
	c.remove(d)
}

// failDisk has one write of the leader's fail, whose process then ends and comes back.
func failDisk(c *soakCluster, hold func()) {
	leader, _ := c.leader()
	select {
	case leader.fault <- func() error { return errors.New("fdatasync: input/output error") }:
	default:
	}
	select {
	case err := <-leader.Failed():
		if !errors.Is(err, ErrStoreFailed) {
			c.t.Errorf("%s: %v", leader.cfg.NodeID, err)
		}
	case <-time.After(patience):
		c.t.Errorf("%s does not report the failure of its disk", leader.cfg.NodeID)
	}
	leader.kill()
	must(c.t, leader.bolt.Close()) // as the end of the process does; the node does not touch a disk that failed
	hold()
	c.again(leader)
}

func TestSoak(t *testing.T) {
	t.Parallel()
	length, seed := soakLength(t)
	rng := rand.New(rand.NewPCG(seed, 1))
	c := &soakCluster{t: t, net: newFaultNet(), log: &logBuffer{}, nodes: map[string]*soakNode{}}
	t.Cleanup(func() {
		c.net.heal()
		for _, n := range c.alive() {
			n.kill()
		}
		if t.Failed() && os.Getenv("CLUSTER_TEST_LOG") != "" {
			t.Logf("log:\n%s", c.log)
		}
	})
	a := c.start("a", nil)
	for _, id := range []string{"b", "c"} {
		c.start(id, func(cfg *Config) { cfg.Join = []string{a.Advertise()} })
	}
	eventually(t, "three voters", func() bool { return len(a.Voters()) == 3 && a.Status().Healthy })

	h := linear.New()
	var values, epoch atomic.Int64
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for i := range 5 {
		cl := &soakClient{
			c: c, h: h, number: i, rng: rand.New(rand.NewPCG(seed, uint64(i)+2)), values: &values, epoch: &epoch,
			seen: map[string]seenValue{}, patient: slowdown * 2 * time.Second,
		}
		clients.Go(func() { cl.run(stop) })
	}
	var stale int
	clients.Go(func() { stale = c.staleReads(stop) })
	clients.Go(func() { c.settled(h, stop) })

	c.soak(length, rng, &epoch)
	close(stop)
	clients.Wait()
	c.settle(h, epoch.Load())
	all, unknown := h.Count()
	t.Logf("%d calls, %d of unknown outcome; %d stale reads", all, unknown, stale)
	file := filepath.Join(os.TempDir(), fmt.Sprintf("lbnode-soak-%d.html", seed))
	if err := h.Check(time.Minute, file); err != nil {
		t.Error(err)
	}
}

// soak makes one fault after the other until the time is over, at least the first two.
func (c *soakCluster) soak(length time.Duration, rng *rand.Rand, epoch *atomic.Int64) {
	c.t.Helper()
	faults := soakFaults()
	begun := time.Now()
	for i := 0; i < 2 || time.Since(begun) < length; i++ {
		f := faults[rng.IntN(len(faults))]
		hold := time.Duration(500+rng.IntN(1500)) * time.Millisecond
		at := time.Now()
		f.run(c, func() { <-time.After(hold) })
		c.leader()
		c.writable()
		c.t.Logf("%6.1fs %s for %v, mended after %v", at.Sub(begun).Seconds(), f.name, hold, (time.Since(at) - hold).Round(time.Millisecond))
		epoch.Add(1)
	}
}

// writable waits until a write through every node has succeeded.
func (c *soakCluster) writable() {
	c.t.Helper()
	for _, n := range c.alive() {
		eventually(c.t, n.cfg.NodeID+" takes a write", func() bool {
			ctx, cancel := context.WithTimeout(c.t.Context(), patience)
			defer cancel()
			value := json.RawMessage(`{"address":"192.0.2.2:80"}`)
			_, err := n.store.Do(ctx, state.Command{Type: state.TypeTxn, Ops: []state.Op{{Verb: state.VerbPut, Kind: state.KindBackend, ID: "probe", Value: value}}})
			return err == nil
		})
	}
}

// settle waits until all nodes have the same state, reads every register a last time, and compares the logs.
func (c *soakCluster) settle(h *linear.History, epochs int64) {
	c.t.Helper()
	c.writable()
	nodes := c.alive()
	eventually(c.t, "all nodes have the same state", func() bool {
		first := nodes[0].store.View()
		for _, n := range nodes[1:] {
			if v := n.store.View(); v.Index != first.Index || state.Hash(v) != state.Hash(first) {
				return false
			}
		}
		return true
	})
	last := &soakClient{c: c, h: h, number: 5, seen: map[string]seenValue{}, patient: patience}
	for e := range epochs + 1 {
		for r := range 3 {
			last.read(nodes[int(e)%len(nodes)], fmt.Sprintf("r%d-%d", r, e), linear.Linearizable)
		}
	}
	compared := 0
	var from, to uint64 = 1, 1 << 62
	for _, n := range nodes {
		first, err := n.Node.store.FirstIndex()
		must(c.t, err)
		from, to = max(from, first), min(to, n.raft.Load().CommitIndex())
	}
	for i := from; i <= to; i++ {
		var first raft.Log
		if nodes[0].Node.store.GetLog(i, &first) != nil {
			continue // compacted meanwhile
		}
		for _, n := range nodes[1:] {
			var l raft.Log
			if n.Node.store.GetLog(i, &l) != nil {
				continue
			}
			compared++
			if l.Term != first.Term || l.Type != first.Type || string(l.Data) != string(first.Data) {
				c.t.Errorf("entry %d differs between %s and %s", i, nodes[0].cfg.NodeID, n.cfg.NodeID)
			}
		}
	}
	c.t.Logf("%d log entries compared", compared)
}
