package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lbnode/lbnode/api"
)

// writer remembers what it was told about each of its writes. Each id is written once.
type writer struct {
	mu      sync.Mutex
	acked   []string
	refused []string // certainly not applied
	unknown []string
}

// run writes frontends through random nodes until stop is closed. t is for nothing that fails the test.
func (w *writer) run(name string, nodes []*node, stop <-chan struct{}) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		id := fmt.Sprintf("%s-%d", name, i)
		a, err := nodes[rand.IntN(len(nodes))].call(http.MethodPost, "/frontends", api.FrontendInput{ID: id, Key: id})
		w.mu.Lock()
		switch {
		case err == nil && a.status == http.StatusCreated:
			w.acked = append(w.acked, id)
		case err == nil && a.status == http.StatusServiceUnavailable, errors.Is(err, syscall.ECONNREFUSED):
			w.refused = append(w.refused, id)
		default:
			w.unknown = append(w.unknown, id)
		}
		w.mu.Unlock()
	}
}

func (w *writer) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.acked)
}

// What was acknowledged survives the death of any minority, and what was refused never appears.
func TestAcked_noWriteLost(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	var w writer
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() { w.run(fmt.Sprintf("w%d", i), c.nodes, stop) })
	}
	done := sync.OnceFunc(func() { close(stop); wg.Wait() })
	defer done()

	victims := []func() *node{
		c.leader,
		func() *node { return c.followers()[0] },
		c.leader,
		func() *node { return c.followers()[1] },
		c.leader,
	}
	for round, pick := range victims {
		acked := w.count()
		more := func(what string) {
			t.Helper()
			eventually(t, formTime, fmt.Sprintf("round %d: writes go on %s", round, what), func() error {
				if got := w.count(); got < acked+30 {
					return fmt.Errorf("%d acknowledged, want %d", got, acked+30)
				}
				return nil
			})
			acked = w.count()
		}
		more("before the kill")
		victim := pick()
		victim.kill()
		more("without " + victim.name)
		victim.start()
		c.formed(c.nodes...)
	}
	done()
	t.Logf("%d writes acknowledged, %d refused, %d unknown", len(w.acked), len(w.refused), len(w.unknown))
	put(t, c.nodes[0], "last", 10*time.Second)
	var newest api.Cluster
	c.nodes[0].read("/cluster", &newest)
	for _, n := range c.nodes {
		var list []api.Frontend
		n.read(fmt.Sprintf("/frontends?min_index=%d", newest.Index), &list)
		have := map[string]bool{}
		for _, f := range list {
			have[f.ID] = true
		}
		for _, id := range w.acked {
			if !have[id] {
				t.Errorf("%s has lost %s, which was acknowledged", n.name, id)
			}
		}
		for _, id := range w.refused {
			if have[id] {
				t.Errorf("%s has %s, which was refused as not applied", n.name, id)
			}
		}
	}
	c.same()
}
