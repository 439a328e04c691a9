package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestCall(t *testing.T) {
	t.Parallel()
	a, b := start(t, "n1", "c1"), start(t, "n2", "c1")
	b.Handle("echo", func(_ context.Context, p Peer, req []byte) ([]byte, error) {
		return fmt.Appendf(nil, "%s/%s:%s", p.NodeID, p.ClusterID, req), nil
	})
	b.Handle("plain error", func(context.Context, Peer, []byte) ([]byte, error) { return nil, errors.New("broken") })
	b.Handle("coded error", func(context.Context, Peer, []byte) ([]byte, error) {
		return nil, fmt.Errorf("propose: %w", &RemoteError{Code: "no_leader", Msg: "no leader"})
	})
	b.Handle("gave up", func(context.Context, Peer, []byte) ([]byte, error) {
		return nil, fmt.Errorf("wait for commit: %w", context.DeadlineExceeded)
	})
	b.Handle("panic", func(context.Context, Peer, []byte) ([]byte, error) { panic("oops") })
	call := func(method string) ([]byte, error) {
		return a.Call(within(t, 5*time.Second), b.Advertise(), method, []byte("hi"))
	}
	for range 3 {
		if got, err := call("echo"); err != nil || string(got) != "n1/c1:hi" {
			t.Errorf("echo = %q, %v", got, err)
		}
	}
	for method, want := range map[string]RemoteError{
		"plain error": {CodeError, "broken"},
		"coded error": {"no_leader", "no leader"},
		"panic":       {CodePanic, "the handler of panic panicked: oops"},
	} {
		_, err := call(method)
		var remote *RemoteError
		if !errors.As(err, &remote) || *remote != want {
			t.Errorf("%s = %v, want %v", method, err, want)
		}
		if errors.Is(err, ErrNotSent) || errors.Is(err, ErrOutcomeUnknown) {
			t.Errorf("%s = %v: it was handled", method, err)
		}
	}
	if _, err := call("nothing"); !errors.Is(err, ErrNoMethod) || !errors.Is(err, ErrNotSent) {
		t.Errorf("unknown method = %v, want %v and %v", err, ErrNoMethod, ErrNotSent)
	}
	var remote *RemoteError
	if _, err := call("gave up"); !errors.Is(err, ErrOutcomeUnknown) || errors.As(err, &remote) {
		t.Errorf("a handler that gave up = %v, want %v", err, ErrOutcomeUnknown)
	}
	if conns, _ := a.openConns(); conns != 1 {
		t.Errorf("%d connections for calls one after the other, want 1", conns)
	}
	if !strings.Contains(b.logs.String(), "rpc handler panicked") {
		t.Error("the panic was not logged")
	}
}

func TestCall_membership(t *testing.T) {
	t.Parallel()
	a, b := start(t, "n1", ""), start(t, "n2", "c2")
	var handled atomic.Int32
	b.Handle("closed", func(context.Context, Peer, []byte) ([]byte, error) { handled.Add(1); return nil, nil })
	b.HandleOpen("open", func(_ context.Context, p Peer, _ []byte) ([]byte, error) { return []byte("hello " + p.ClusterID), nil })
	call := func(method string) (string, error) {
		got, err := a.Call(within(t, 5*time.Second), b.Advertise(), method, nil)
		return string(got), err
	}
	if got, err := call("open"); err != nil || got != "hello " {
		t.Errorf("open before joining = %q, %v", got, err)
	}
	if _, err := call("closed"); !errors.Is(err, ErrNotMember) || !errors.Is(err, ErrNotSent) {
		t.Errorf("closed before joining = %v, want %v and %v", err, ErrNotMember, ErrNotSent)
	}
	// The pooled connection knows n1 without a cluster; joining must renew it.
	a.join("c2")
	if _, err := call("closed"); err != nil || handled.Load() != 1 {
		t.Errorf("closed after joining = %v, handled %d times", err, handled.Load())
	}
	a.join("c1")
	if _, err := call("closed"); !errors.Is(err, ErrWrongCluster) || !errors.Is(err, ErrNotSent) || handled.Load() != 1 {
		t.Errorf("closed from another cluster = %v, handled %d times", err, handled.Load())
	}
	if got, err := call("open"); err != nil || got != "hello c1" {
		t.Errorf("open from another cluster = %q, %v", got, err)
	}
	for _, logs := range []string{a.logs.String(), b.logs.String()} {
		if !strings.Contains(logs, "belongs to another cluster") {
			t.Errorf("log %q does not name the mix-up", logs)
		}
	}
}

func TestCall_sizes(t *testing.T) {
	t.Parallel()
	limit := func(c *Config) { c.MaxBody = 100_000 }
	a, b := start(t, "n1", "c1"), start(t, "n2", "c1", limit)
	b.Handle("echo", func(_ context.Context, _ Peer, req []byte) ([]byte, error) { return req, nil })
	b.Handle("twice", func(_ context.Context, _ Peer, req []byte) ([]byte, error) { return append(req, req...), nil })
	b.Handle("long error", func(_ context.Context, _ Peer, req []byte) ([]byte, error) {
		return nil, errors.New(strings.Repeat("e", 200_000))
	})
	body := bytes.Repeat([]byte("b"), 100_000)
	ctx := within(t, 10*time.Second)
	if got, err := a.Call(ctx, b.Advertise(), "echo", body); err != nil || !bytes.Equal(got, body) {
		t.Errorf("echo of the largest body = %d bytes, %v", len(got), err)
	}
	if _, err := a.Call(ctx, b.Advertise(), "echo", append(body, 'x')); !errors.Is(err, ErrNotSent) && !errors.Is(err, ErrOutcomeUnknown) {
		t.Errorf("a body over the server's limit = %v", err)
	}
	var remote *RemoteError
	if _, err := a.Call(ctx, b.Advertise(), "twice", body); !errors.As(err, &remote) || remote.Code != CodeTooLarge {
		t.Errorf("an answer over the limit = %v, want code %s", err, CodeTooLarge)
	}
	if _, err := a.Call(ctx, b.Advertise(), "long error", nil); !errors.As(err, &remote) || len(remote.Msg) < 1000 {
		t.Errorf("a long error = %.50v", err)
	}
	if _, err := b.Call(ctx, a.Advertise(), "echo", append(body, 'x')); !errors.Is(err, ErrTooLarge) || !errors.Is(err, ErrNotSent) {
		t.Errorf("a body over the own limit = %v, want %v and %v", err, ErrTooLarge, ErrNotSent)
	}
	if _, err := a.Call(ctx, b.Advertise(), "", nil); !errors.Is(err, ErrNotSent) {
		t.Errorf("an empty method = %v, want %v", err, ErrNotSent)
	}
}

func TestCall_deadlineTravels(t *testing.T) {
	t.Parallel()
	a, b := start(t, "n1", "c1"), start(t, "n2", "c1")
	b.Handle("left", func(ctx context.Context, _ Peer, _ []byte) ([]byte, error) {
		d, ok := ctx.Deadline()
		return fmt.Append(nil, ok && time.Until(d) < 7*time.Second && time.Until(d) > time.Second), nil
	})
	if got, err := a.Call(within(t, 7*time.Second), b.Advertise(), "left", nil); err != nil || string(got) != "true" {
		t.Errorf("Call = %q, %v, want the handler to see the deadline", got, err)
	}
}

// A caller that gives up must stop the handler, and must not believe that
// nothing happened.
func TestCall_canceled(t *testing.T) {
	t.Parallel()
	a, b := start(t, "n1", "c1"), start(t, "n2", "c1")
	entered, stopped := make(chan struct{}), make(chan struct{})
	b.Handle("wait", func(ctx context.Context, _ Peer, _ []byte) ([]byte, error) {
		close(entered)
		<-ctx.Done()
		close(stopped)
		return nil, ctx.Err()
	})
	ctx, cancel := context.WithCancel(context.Background())
	go func() { <-entered; cancel() }()
	_, err := a.Call(ctx, b.Advertise(), "wait", nil)
	if !errors.Is(err, context.Canceled) || !errors.Is(err, ErrOutcomeUnknown) || errors.Is(err, ErrNotSent) {
		t.Errorf("Call = %v, want %v and %v", err, context.Canceled, ErrOutcomeUnknown)
	}
	select {
	case <-stopped:
	case <-within(t, 5*time.Second).Done():
		t.Error("the handler was not told")
	}
	done, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := a.Call(done, b.Advertise(), "wait", nil); !errors.Is(err, ErrNotSent) || !errors.Is(err, context.Canceled) {
		t.Errorf("Call with a dead context = %v, want %v", err, ErrNotSent)
	}
}

// A caller that stops in the middle of a request does not keep its place.
func TestServe_unfinishedRequest(t *testing.T) {
	t.Parallel()
	a, b := start(t, "n1", "c1"), start(t, "n2", "c1", func(c *Config) { c.CallTimeout = 100 * time.Millisecond })
	c, err := a.dial(within(t, 5*time.Second), b.Advertise(), ProtoRPC)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write(encodeRequest(t, request{method: "x", body: []byte("body")})[:8]); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	var timeout net.Error
	if _, err := c.Read(make([]byte, 1)); err == nil || (errors.As(err, &timeout) && timeout.Timeout()) {
		t.Errorf("Read = %v, want the end of the connection", err)
	}
}

func TestCall_nobodyThere(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	a := start(t, "n1", "c1")
	if _, err := a.Call(within(t, 5*time.Second), addr, "x", nil); !errors.Is(err, ErrNotSent) {
		t.Errorf("Call = %v, want %v", err, ErrNotSent)
	}
}

func TestCall_peerStopsMeanwhile(t *testing.T) {
	t.Parallel()
	a, b := start(t, "n1", "c1"), start(t, "n2", "c1")
	entered := make(chan struct{})
	b.Handle("wait", func(ctx context.Context, _ Peer, _ []byte) ([]byte, error) {
		close(entered)
		<-ctx.Done()
		return nil, ctx.Err()
	})
	go func() { <-entered; _ = b.Mux.Close() }()
	if _, err := a.Call(within(t, 5*time.Second), b.Advertise(), "wait", nil); !errors.Is(err, ErrOutcomeUnknown) {
		t.Errorf("Call = %v, want %v", err, ErrOutcomeUnknown)
	}
}

// A restarted peer leaves dead connections in the pool. They took nothing with
// them, so that calls go on as if nothing had happened.
func TestCall_peerRestarted(t *testing.T) {
	t.Parallel()
	a, b := start(t, "n1", "c1"), start(t, "n2", "c1")
	echo := func(_ context.Context, _ Peer, req []byte) ([]byte, error) { return req, nil }
	b.Handle("echo", echo)
	addr := b.Advertise()
	if _, err := a.Call(within(t, 5*time.Second), addr, "echo", nil); err != nil {
		t.Fatal(err)
	}
	_ = b.Mux.Close()
	eventually(t, "the death is noticed", func() bool { conns, _ := a.openConns(); return conns == 0 })
	if _, err := a.Call(within(t, 5*time.Second), addr, "echo", nil); !errors.Is(err, ErrNotSent) {
		t.Errorf("Call while the peer is down = %v, want %v", err, ErrNotSent)
	}
	b2 := start(t, "n2", "c1", func(c *Config) { c.Addr = addr })
	b2.Handle("echo", echo)
	if _, err := a.Call(within(t, 5*time.Second), addr, "echo", nil); err != nil {
		t.Errorf("Call after the restart = %v", err)
	}
}

// cutConn fails every write once its budget of bytes is used up.
type cutConn struct {
	net.Conn
	budget atomic.Int64
}

func (c *cutConn) Write(p []byte) (int, error) {
	left := c.budget.Load()
	if int64(len(p)) <= left {
		return c.Conn.Write(p)
	}
	n := 0
	if left > 0 {
		n, _ = c.Conn.Write(p[:left])
	}
	c.budget.Store(0)
	return n, errors.New("cut")
}

// The border between "not sent" and "unknown" is the first byte of the request.
func TestRoundTrip_oneByteMatters(t *testing.T) {
	t.Parallel()
	for budget, wantSent := range map[int64]bool{0: false, 1: true, 10: true} {
		t.Run(fmt.Sprint(budget), func(t *testing.T) {
			t.Parallel()
			a, b := start(t, "n1", "c1"), start(t, "n2", "c1")
			raw, err := net.Dial("tcp", b.Advertise())
			if err != nil {
				t.Fatal(err)
			}
			cut := &cutConn{Conn: raw}
			cut.budget.Store(1 << 40)
			nc, err := a.introduce(within(t, 5*time.Second), cut, ProtoRPC)
			if err != nil {
				t.Fatal(err)
			}
			c := newClientConn(nc)
			if !a.start(func() { c.read(1 << 20) }) {
				t.Fatal("closed")
			}
			cut.budget.Store(budget)
			_, sent, err := c.roundTrip(within(t, 5*time.Second), "x", []byte("body"))
			if err == nil || sent != wantSent {
				t.Errorf("roundTrip after %d bytes = sent %v, %v, want sent %v", budget, sent, err, wantSent)
			}
			if c.usable() {
				t.Error("the connection counts as usable")
			}
			c.abort()
		})
	}
}

func TestCall_concurrent(t *testing.T) {
	t.Parallel()
	const most = 3
	a, b := start(t, "n1", "c1", func(c *Config) { c.MaxCallsPerPeer = most }), start(t, "n2", "c1")
	var running, peak atomic.Int32
	b.Handle("work", func(_ context.Context, _ Peer, req []byte) ([]byte, error) {
		n := running.Add(1)
		defer running.Add(-1)
		for old := peak.Load(); n > old && !peak.CompareAndSwap(old, n); old = peak.Load() {
		}
		return req, nil
	})
	var wg sync.WaitGroup
	for i := range 60 {
		wg.Go(func() {
			want := fmt.Sprint(i)
			got, err := a.Call(within(t, 20*time.Second), b.Advertise(), "work", []byte(want))
			if err != nil || string(got) != want {
				t.Errorf("Call %s = %q, %v", want, got, err)
			}
		})
	}
	wg.Wait()
	if peak.Load() > most {
		t.Errorf("%d calls at a time, want at most %d", peak.Load(), most)
	}
	if conns, _ := a.openConns(); conns > most {
		t.Errorf("%d connections, want at most %d", conns, most)
	}
}

// Calls that wait for a turn were not sent when they give up.
func TestCall_waitsForATurn(t *testing.T) {
	t.Parallel()
	a, b := start(t, "n1", "c1", func(c *Config) { c.MaxCallsPerPeer = 1 }), start(t, "n2", "c1")
	entered, release := make(chan struct{}), make(chan struct{})
	b.Handle("block", func(context.Context, Peer, []byte) ([]byte, error) { close(entered); <-release; return nil, nil })
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := a.Call(within(t, 10*time.Second), b.Advertise(), "block", nil); err != nil {
			t.Errorf("the blocking call = %v", err)
		}
	})
	<-entered
	if _, err := a.Call(within(t, 50*time.Millisecond), b.Advertise(), "block", nil); !errors.Is(err, ErrNotSent) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the waiting call = %v, want %v", err, ErrNotSent)
	}
	close(release)
	wg.Wait()
}

func TestPool_forgets(t *testing.T) {
	t.Parallel()
	a := start(t, "n1", "c1", func(c *Config) { c.IdleTimeout = 40 * time.Millisecond })
	b := start(t, "n2", "c1")
	b.Handle("echo", func(_ context.Context, _ Peer, req []byte) ([]byte, error) { return req, nil })
	if _, err := a.Call(within(t, 5*time.Second), b.Advertise(), "echo", nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the idle connection is closed", func() bool {
		a.pool.mu.Lock()
		defer a.pool.mu.Unlock()
		conns, _ := a.openConns()
		return len(a.pool.slots) == 0 && conns == 0
	})
	if _, err := a.Call(within(t, 5*time.Second), b.Advertise(), "echo", nil); err != nil {
		t.Errorf("Call after idling = %v", err)
	}
}

func BenchmarkCall(b *testing.B) {
	var ids [2]Identity
	ids[0], ids[1] = Identity{"n1", "c"}, Identity{"n2", "c"}
	var nodes [2]*Mux
	for i := range nodes {
		m, err := Listen(Config{Addr: "127.0.0.1:0", Identity: func() Identity { return ids[i] }})
		if err != nil {
			b.Fatal(err)
		}
		defer m.Close()
		nodes[i] = m
	}
	nodes[1].Handle("echo", func(_ context.Context, _ Peer, req []byte) ([]byte, error) { return req, nil })
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	req := make([]byte, 256)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := nodes[0].Call(ctx, nodes[1].Advertise(), "echo", req); err != nil {
			b.Fatal(err)
		}
	}
}
