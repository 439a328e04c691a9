package e2e

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lbnode/lbnode/api"
)

// flapBound is how many log entries a second the verdicts may cost, however many backends flap: the leader
// writes batches, at most one a second, and holds down for longer what flaps.
const flapBound = 2.0

// flapLoad is how many backends flap, and for how long. FLAP_BACKENDS=1000 FLAP_SECONDS=60 is the whole test.
func flapLoad(t *testing.T) (backends int, lasts time.Duration) {
	t.Helper()
	number := func(name string, def int) int {
		s := os.Getenv(name)
		if s == "" {
			return def
		}
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return n
	}
	return number("FLAP_BACKENDS", 100), time.Duration(number("FLAP_SECONDS", 8)) * time.Second
}

// Backends that all flap at once cost the log little, and the API answers.
func TestFlap(t *testing.T) {
	t.Parallel()
	count, lasts := flapLoad(t)
	c := newCluster(t, 3)
	interval := max(200*time.Millisecond, time.Duration(count)*2*time.Millisecond)
	c.nodes[0].must(2, http.MethodPut, "/pools/flap", api.PoolInput{ID: "flap", Health: &api.HealthCheckInput{
		Interval: interval.String(), Timeout: "150ms", Rise: 1, Fall: 1,
	}})
	var down atomic.Bool
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if down.Load() {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	for first := 0; first < count; first += 100 {
		var ops []api.TxnOp
		for i := first; i < min(first+100, count); i++ {
			ops = append(ops, api.TxnOp{Op: api.OpPut, Kind: "backend", ID: fmt.Sprintf("flap-%d", i), Value: flapping(t, handler)})
		}
		c.nodes[0].must(200, http.MethodPost, "/txn", api.TxnInput{Ops: ops})
	}
	c.health(2*formTime, fmt.Sprintf("flap-%d", count-1), api.Healthy)

	before, err := c.leader().status()
	if err != nil {
		t.Fatal(err)
	}
	begun, flips := time.Now(), 0
	var took []time.Duration
	flip := time.NewTicker(interval)
	defer flip.Stop()
	ask := time.NewTicker(20 * time.Millisecond)
	defer ask.Stop()
	for i := 0; time.Since(begun) < lasts; {
		select {
		case <-flip.C:
			flips++
			down.Store(flips%2 == 1)
		case <-ask.C:
			i++
			a := c.nodes[i%3].must(200, http.MethodGet, fmt.Sprintf("/backends/flap-%d", i%count), nil)
			took = append(took, a.took)
		}
	}
	passed := time.Since(begun)
	after, err := c.leader().status()
	if err != nil {
		t.Fatal(err)
	}
	rate := float64(after.LastIndex-before.LastIndex) / passed.Seconds()
	slices.Sort(took)
	p99 := took[len(took)*99/100]
	t.Logf("%d backends, %d flips in %s: %d log entries, %.2f a second; GET p50 %s, p99 %s",
		count, flips, passed.Round(time.Second), after.LastIndex-before.LastIndex, rate, took[len(took)/2].Round(10*time.Microsecond), p99.Round(10*time.Microsecond))
	if rate > flapBound {
		t.Errorf("%.2f log entries a second, want at most %.1f", rate, flapBound)
	}
	if p99 > 2*time.Second {
		t.Errorf("the API's p99 was %s, want at most 2s", p99)
	}
	put(t, c.nodes[1], "after-flapping", formTime)
	down.Store(false)
	c.same()
}

// flapping is a backend on a port of its own.
func flapping(t *testing.T, h http.Handler) []byte {
	t.Helper()
	l, err := net.Listen("tcp", freeAddr(t))
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	go func() { _ = srv.Serve(l) }() // ends with Close
	t.Cleanup(func() { _ = srv.Close() })
	return fmt.Appendf(nil, `{"address":%q,"pool":"flap"}`, l.Addr())
}
