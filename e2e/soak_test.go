package e2e

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/internal/linear"
)

// The soak runs clients on the API of all nodes while processes are killed and frozen, disks fail and members
// come and go, and then asks whether what the clients saw can have come from one copy of the configuration.
// SOAK_SECONDS and SOAK_SEED set its length and the order of the faults.
func soakLength(t *testing.T) (time.Duration, uint64) {
	t.Helper()
	var numbers [2]uint64
	for i, v := range []struct{ name, def string }{{"SOAK_SECONDS", "10"}, {"SOAK_SEED", "1"}} {
		s := os.Getenv(v.name)
		if s == "" {
			s = v.def
		}
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", v.name, err)
		}
		numbers[i] = n
	}
	t.Logf("SOAK_SECONDS=%d SOAK_SEED=%d", numbers[0], numbers[1])
	return time.Duration(numbers[0]) * time.Second, numbers[1]
}

// soaker is what the clients of one soak share.
type soaker struct {
	t      *testing.T
	c      *cluster
	h      *linear.History
	seed   uint64
	values atomic.Int64
	epoch  atomic.Int64

	mu    sync.Mutex
	nodes []*node // whom the clients ask
}

func (s *soaker) pick(rng *rand.Rand) *node {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nodes[rng.IntN(len(s.nodes))]
}

func (s *soaker) setNodes(nodes ...*node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nodes = append([]*node(nil), nodes...)
}

// soakClient makes calls, one after the other, each by some node.
type soakClient struct {
	*soaker
	number int
	rng    *rand.Rand
	seen   map[string]seenValue // by register
}

// seenValue is what a client knows of a register, for its next compare-and-set.
type seenValue struct {
	value int
	index uint64
}

func (c *soakClient) run(stop <-chan struct{}) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		// Each register lives for a while only: the search for an order grows with its calls.
		register := fmt.Sprintf("r%d-%d", c.rng.IntN(3), c.epoch.Load())
		switch c.rng.IntN(4) {
		case 0, 1:
			c.read(c.pick(c.rng), register, []linear.Level{linear.Linearizable, linear.Leader}[c.rng.IntN(2)])
		case 2:
			c.write(register, linear.Op{Kind: linear.Write}, i)
		case 3:
			c.write(register, linear.Op{Kind: linear.CAS, Old: c.seen[register].value}, i)
		}
	}
}

// read is one at that level, by any node.
func (c *soakClient) read(n *node, register string, level linear.Level) bool {
	op := linear.Op{Client: c.number, Register: register, Kind: linear.Read, Level: level, Outcome: linear.Done, Call: c.h.Now()}
	got, err := n.register(register, "consistency="+cmp.Or(string(level), api.ReadLinearizable)+"&timeout=2s")
	if err != nil {
		return false // said to be unavailable, or not at all
	}
	op.Got, op.Return = got.value, c.h.Now()
	c.seen[register] = got
	c.h.Add(op)
	return true
}

// register reads one register; absent is the value 0.
func (n *node) register(name, query string) (got seenValue, err error) {
	a, err := n.call(http.MethodGet, "/backends/"+name+"?"+query, nil)
	switch {
	case err != nil:
		return got, err
	case a.status == http.StatusNotFound:
		return got, nil
	case a.status != http.StatusOK:
		return got, fmt.Errorf("GET = %s", a)
	}
	var b api.Backend
	if err := json.Unmarshal(a.body, &b); err != nil {
		return got, err
	}
	if len(b.Tags) != 1 {
		return got, fmt.Errorf("tags of %s are %q", name, b.Tags)
	}
	got.index = b.ModifyIndex
	got.value, err = strconv.Atoi(b.Tags[0])
	return got, err
}

// write is a write or a compare-and-set, sent again under its id, by any node, while its outcome is unknown.
func (c *soakClient) write(register string, op linear.Op, i int) {
	op.Client, op.Register, op.New = c.number, register, int(c.values.Add(1))
	body := map[string]any{"address": "127.0.0.1:1", "pool": "soak", "tags": []string{strconv.Itoa(op.New)}}
	headers := []string{api.HeaderIdempotencyKey, fmt.Sprintf("soak-%d-%d-%d", c.seed, c.number, i)}
	if op.Kind == linear.CAS {
		if index := c.seen[register].index; index > 0 {
			headers = append(headers, "If-Match", api.ETag(index))
		} else {
			headers = append(headers, "If-None-Match", "*")
		}
	}
	op.Call = c.h.Now()
	tried := false // some attempt may have had its effect
	for range 4 {
		a, sent, err := c.pick(c.rng).send(http.MethodPut, "/backends/"+register, body, headers...)
		switch {
		case err != nil:
			tried = tried || sent
		case a.status/100 == 2:
			op.OK, op.Outcome, op.Return = true, linear.Done, c.h.Now()
			c.h.Add(op)
			if index, ok := api.ParseETag(a.header.Get("ETag")); ok {
				c.seen[register] = seenValue{op.New, index}
				c.readYourWrite(register, index)
			}
			return
		case a.status == http.StatusPreconditionFailed && op.Kind == linear.CAS:
			op.Outcome, op.Return = linear.Done, c.h.Now()
			c.h.Add(op)
			return
		case a.status == http.StatusGatewayTimeout:
			tried = true
		case a.status != http.StatusServiceUnavailable:
			c.t.Errorf("%s: %s", op, a)
			return
		}
		if !tried {
			return // certainly nothing happened
		}
	}
	op.Outcome = linear.Unknown
	c.h.Add(op)
}

// send is call, and says whether any part of the request may have left. That the connection was refused does not:
// net/http may have sent the request before, over a kept connection that broke, and by itself sends again what has
// an Idempotency-Key.
func (n *node) send(method, path string, body any, headers ...string) (a answer, sent bool, err error) {
	var connected atomic.Bool
	ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
	a, err = exchangeIn(ctx, n.client, method, "http://"+n.api+path, body, headers...)
	return a, connected.Load(), err
}

// readYourWrite asks any node for a state that is at least as new as the write.
func (c *soakClient) readYourWrite(register string, index uint64) {
	n := c.pick(c.rng)
	got, err := n.register(register, fmt.Sprintf("min_index=%d&timeout=1s", index))
	if err == nil && got.index < index {
		c.t.Errorf("%s shows %s as of entry %d to one who asked for %d", n.name, register, got.index, index)
	}
}

// staleReads reads one life of a node's own copy: it may be old, but it never goes back.
func (s *soaker) staleReads(n *node, stop <-chan struct{}) (count int) {
	last := map[string]uint64{}
	exited := n.exited
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return count
		case <-exited:
			return count
		case <-tick.C:
		}
		var list []api.Backend
		a, err := n.call(http.MethodGet, "/backends?consistency=stale", nil)
		if err != nil || json.Unmarshal(a.body, &list) != nil {
			continue
		}
		for _, b := range list {
			count++
			if b.ModifyIndex < last[b.ID] {
				s.t.Errorf("%s went back from entry %d to %d of %s", n.name, last[b.ID], b.ModifyIndex, b.ID)
			}
			last[b.ID] = b.ModifyIndex
		}
	}
}

// settled looks all the time whether all nodes that run are in one term, and tells the history.
func (s *soaker) settled(stop <-chan struct{}) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		s.mu.Lock()
		nodes := s.nodes
		s.mu.Unlock()
		at := s.h.Now()
		if oneTerm(nodes) {
			s.h.Settled(at)
		}
	}
}

// oneTerm asks all nodes. One that refuses connections does not run, or has not led yet in this life; one that
// does not answer may be frozen, and may go on as the leader that it was.
func oneTerm(nodes []*node) bool {
	var term uint64
	answered := 0
	for _, n := range nodes {
		ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		a, err := exchangeIn(ctx, n.client, http.MethodGet, "http://"+n.api+"/cluster", nil)
		cancel()
		var st api.Cluster
		switch {
		case errors.Is(err, syscall.ECONNREFUSED):
			continue
		case err != nil || a.status != http.StatusOK || json.Unmarshal(a.body, &st) != nil || answered > 0 && st.Term != term:
			return false
		}
		term = st.Term
		answered++
	}
	return answered > len(nodes)/2
}

// soakFault is one thing that goes wrong for a while and is mended.
type soakFault struct {
	name string
	run  func(s *soaker, hold func())
}

func soakFaults() []soakFault {
	kill := func(pick func(*cluster) *node) func(*soaker, func()) {
		return func(s *soaker, hold func()) {
			n := pick(s.c)
			n.kill()
			hold()
			n.start()
		}
	}
	freeze := func(pick func(*cluster) *node) func(*soaker, func()) {
		return func(s *soaker, hold func()) {
			n := pick(s.c)
			n.pause()
			hold()
			n.resume()
			// In this very moment it may still believe that it leads.
			last := soakClient{soaker: s, number: 6, rng: rand.New(rand.NewPCG(s.seed, 99)), seen: map[string]seenValue{}}
			for r := range 3 {
				last.read(n, fmt.Sprintf("r%d-%d", r, s.epoch.Load()), linear.Leader)
				last.read(n, fmt.Sprintf("r%d-%d", r, s.epoch.Load()), linear.Linearizable)
			}
		}
	}
	follower := func(c *cluster) *node { return c.followers()[0] }
	faults := []soakFault{
		{"the leader is frozen", freeze((*cluster).leader)},
		{"the leader is killed", kill((*cluster).leader)},
		{"a follower is frozen", freeze(follower)},
		{"a follower is killed", kill(follower)},
		{"a voter joins and is removed", joinAndRemove},
		{"leadership moves", func(s *soaker, hold func()) {
			n := follower(s.c)
			if _, err := n.call(http.MethodPost, "/cluster/transfer-leader", api.TransferInput{To: n.name}); err != nil {
				s.t.Logf("transfer: %v", err)
			}
			hold()
		}},
		{"all nodes are killed", func(s *soaker, hold func()) {
			for _, n := range s.c.nodes {
				n.kill()
			}
			hold()
			for _, n := range s.c.nodes {
				n.start()
			}
		}},
	}
	if canInject() {
		faults = append(
			faults,
			soakFault{"the leader's disk fails to sync", diskFault((*cluster).leader, "fdatasync:error=EIO")},
			soakFault{"the leader's disk hangs", diskFault((*cluster).leader, "fdatasync:delay_enter=30000000")},
			soakFault{"a follower's disk fails to sync", diskFault(follower, "fdatasync:error=EIO")},
		)
	}
	return faults
}

// diskFault makes a node's system calls fail, upon which it must end, and starts it again.
func diskFault(pick func(*cluster) *node, fault string) func(*soaker, func()) {
	return func(s *soaker, hold func()) {
		n := pick(s.c)
		n.failDisk(fault)
		hold()
		n.start()
	}
}

// joinAndRemove adds a fourth voter while clients use it, and takes it out again.
func joinAndRemove(s *soaker, hold func()) {
	n := newNode(s.t, fmt.Sprintf("x%d", s.epoch.Load()), "--join", s.c.leader().cluster)
	s.c.nodes = append(s.c.nodes, n)
	n.start()
	s.c.formed(s.c.nodes...)
	s.setNodes(s.c.nodes...)
	hold()
	s.c.nodes = s.c.nodes[:len(s.c.nodes)-1]
	s.setNodes(s.c.nodes...)
	eventually(s.t, formTime, n.name+" is removed", func() error {
		a, err := s.c.nodes[0].call(http.MethodDelete, "/nodes/"+n.name, nil)
		if err == nil && a.status != http.StatusNoContent && a.status != http.StatusNotFound {
			err = fmt.Errorf("DELETE = %s", a)
		}
		return err
	})
	n.wait(formTime)
}

func TestSoak(t *testing.T) {
	t.Parallel()
	length, seed := soakLength(t)
	rng := rand.New(rand.NewPCG(seed, 1))
	c := newCluster(t, 3)
	backends := c.serve(1)
	c.nodes[0].must(2, http.MethodPut, "/pools/soak", api.PoolInput{ID: "soak", Health: &api.HealthCheckInput{Interval: "30s"}})
	s := &soaker{t: t, c: c, h: linear.New(), seed: seed}
	s.setNodes(c.nodes...)

	stop := make(chan struct{})
	var clients sync.WaitGroup
	end := sync.OnceFunc(func() { close(stop); clients.Wait() })
	defer end()
	for i := range 5 {
		cl := &soakClient{soaker: s, number: i, rng: rand.New(rand.NewPCG(seed, uint64(i)+2)), seen: map[string]seenValue{}}
		clients.Go(func() { cl.run(stop) })
	}
	var stale atomic.Int64
	watch := func(nodes ...*node) {
		for _, n := range nodes {
			clients.Go(func() { stale.Add(int64(s.staleReads(n, stop))) })
		}
	}
	watch(c.nodes...)
	clients.Go(func() { s.settled(stop) })

	faults := soakFaults()
	begun := time.Now()
	for i := 0; i < 2 || time.Since(begun) < length; i++ {
		// The first two are the ones that are most likely to show something.
		f := faults[i%len(faults)]
		if i >= 2 {
			f = faults[rng.IntN(len(faults))]
		}
		lasts := time.Duration(500+rng.IntN(2500)) * time.Millisecond
		if length > time.Minute && i%5 == 0 {
			lasts = time.Duration(rng.IntN(10_000)) * time.Millisecond
		}
		at, lives := time.Now(), livesOf(c.nodes)
		f.run(s, func() { <-time.After(lasts) })
		c.formed(c.nodes...)
		put(t, c.nodes[i%3], fmt.Sprintf("probe-%d", i), formTime)
		t.Logf("%6.1fs %s for %v, mended after %v", at.Sub(begun).Seconds(), f.name, lasts, (time.Since(at) - lasts).Round(time.Millisecond))
		for _, n := range c.nodes {
			if lives[n] != n.exited {
				watch(n)
			}
		}
		s.epoch.Add(1)
	}
	end()
	last := &soakClient{soaker: s, number: 5, rng: rng, seen: map[string]seenValue{}}
	for e := range s.epoch.Load() + 1 {
		for r := range 3 {
			last.read(c.nodes[int(e)%3], fmt.Sprintf("r%d-%d", r, e), linear.Linearizable)
		}
	}
	c.reach(backends, c.nodes...)
	c.same()
	all, unknown := s.h.Count()
	t.Logf("%d calls, %d of unknown outcome; %d stale reads", all, unknown, stale.Load())
	if err := s.h.Check(time.Minute, filepath.Join(os.TempDir(), fmt.Sprintf("lbnode-e2e-soak-%d.html", seed))); err != nil {
		t.Error(err)
	}
}

// livesOf tells processes of the same node apart.
func livesOf(nodes []*node) map[*node]chan struct{} {
	lives := map[*node]chan struct{}{}
	for _, n := range nodes {
		lives[n] = n.exited
	}
	return lives
}
