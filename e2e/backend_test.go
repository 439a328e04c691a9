package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// backendHeader is where a sample backend says who answers.
const backendHeader = "X-Backend"

// mode is how a sample backend behaves.
type mode int32

const (
	modeOK   mode = iota
	modeFail      // answers 500
	modeHang      // takes the request and never answers
	modeSlow      // answers after slowDelay
)

const slowDelay = 200 * time.Millisecond

// backend is a sample server inside the test process. A path that ends in /hold is answered in two parts:
// "begin" at once and "end" after release; any other at once, in the way of the mode.
type backend struct {
	t    testing.TB
	id   string
	addr string
	mode atomic.Int32

	served atomic.Int64 // requests that were no probes
	probes atomic.Int64
	holds  atomic.Int64 // requests that hang in /hold now

	mu     sync.Mutex
	srv    *http.Server
	stop   context.CancelFunc // ends what hangs
	gate   chan struct{}      // closed by release
	listen func(addr string) (net.Listener, error)
}

// newBackend starts a sample backend on a port that it keeps over restarts.
func newBackend(t testing.TB, id string) *backend {
	t.Helper()
	return startBackend(t, id, freeAddr(t), func(addr string) (net.Listener, error) { return net.Listen("tcp", addr) })
}

func startBackend(t testing.TB, id, addr string, listen func(string) (net.Listener, error)) *backend {
	t.Helper()
	b := &backend{t: t, id: id, addr: addr, gate: make(chan struct{}), listen: listen}
	b.up()
	t.Cleanup(b.down)
	return b
}

// up listens again after down.
func (b *backend) up() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.srv != nil {
		return
	}
	var l net.Listener
	err := poll(5*time.Second, func() (err error) {
		l, err = b.listen(b.addr)
		return err
	})
	if err != nil {
		b.t.Fatalf("backend %s: %v", b.id, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	b.stop = cancel
	b.srv = &http.Server{Handler: http.HandlerFunc(b.serve), BaseContext: func(net.Listener) context.Context { return ctx }}
	go b.srv.Serve(l) // ends with down
}

// down closes the listener and cuts every connection: what comes next is refused.
func (b *backend) down() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.srv == nil {
		return
	}
	b.stop()
	b.srv.Close()
	b.srv = nil
}

func (b *backend) set(m mode) { b.mode.Store(int32(m)) }

// release lets the requests in /hold finish, and those that come later.
func (b *backend) release() {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-b.gate:
	default:
		close(b.gate)
	}
}

// holdAgain makes /hold hold again after a release.
func (b *backend) holdAgain() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.gate = make(chan struct{})
}

func (b *backend) gateNow() chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.gate
}

func (b *backend) serve(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.UserAgent(), "lbnode-health/") {
		b.probes.Add(1)
	} else {
		b.served.Add(1)
	}
	w.Header().Set(backendHeader, b.id)
	switch mode(b.mode.Load()) {
	case modeFail:
		http.Error(w, "made to fail", http.StatusInternalServerError)
		return
	case modeHang:
		<-r.Context().Done()
		return
	case modeSlow:
		select {
		case <-time.After(slowDelay):
		case <-r.Context().Done():
			return
		}
	}
	if strings.HasSuffix(r.URL.Path, "/hold") {
		b.hold(w, r)
		return
	}
	for _, h := range []string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"} {
		w.Header().Set("Got-"+h, r.Header.Get(h))
	}
	fmt.Fprintf(w, "%s %s %s\n", b.id, r.Method, r.URL)
}

func (b *backend) hold(w http.ResponseWriter, r *http.Request) {
	b.holds.Add(1)
	defer b.holds.Add(-1)
	io.WriteString(w, "begin\n")
	w.(http.Flusher).Flush()
	select {
	case <-b.gateNow():
		io.WriteString(w, "end\n")
	case <-r.Context().Done():
	}
}

// held is a request that was sent to /hold.
type held struct {
	done chan struct{}
	a    answer
	err  error
}

// hold sends a request that ends in /hold through the node's proxy and returns when it hangs in a backend.
func (n *node) hold(path string, backends ...*backend) *held {
	n.t.Helper()
	inHold := func() (sum int64) {
		for _, b := range backends {
			sum += b.holds.Load()
		}
		return sum
	}
	before := inHold()
	h := &held{done: make(chan struct{})}
	go func() {
		defer close(h.done)
		h.a, h.err = n.get(path)
	}()
	eventually(n.t, 5*time.Second, "a long request reaches a backend", func() error {
		select {
		case <-h.done:
			return fmt.Errorf("it was answered: %s, error %v", h.a, h.err)
		default:
		}
		if inHold() > before {
			return nil
		}
		return fmt.Errorf("no backend has it")
	})
	return h
}

// finished waits for a held request and wants the whole answer.
func (h *held) finished(t testing.TB) {
	t.Helper()
	select {
	case <-h.done:
	case <-time.After(10 * time.Second):
		t.Fatal("a long request that was released has not finished within 10s")
	}
	if h.err != nil || h.a.status != http.StatusOK || string(h.a.body) != "begin\nend\n" {
		t.Errorf("a long request = %s, error %v; want 200 with both parts", h.a, h.err)
	}
}
