package cluster

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"testing"
	"time"
)

// faultNet is a network between nodes of one process in which single directions can be cut: what is sent that
// way gets lost without a word, as on a link that is down, until it is healed.
type faultNet struct {
	mu      sync.Mutex
	nodes   map[string]string  // by address
	cut     map[[2]string]bool // from, to
	changed chan struct{}      // closed and replaced by each change
}

func newFaultNet() *faultNet {
	return &faultNet{nodes: map[string]string{}, cut: map[[2]string]bool{}, changed: make(chan struct{})}
}

// locate says where a node listens.
func (f *faultNet) locate(id, addr string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.nodes[addr] = id
}

// set makes the list of cut directions this one.
func (f *faultNet) set(cut ...[2]string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.cut)
	for _, c := range cut {
		f.cut[c] = true
	}
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *faultNet) heal() { f.set() }

// split cuts every direction between nodes of different groups.
func (f *faultNet) split(groups ...[]string) {
	var cut [][2]string
	for i, g := range groups {
		for j, h := range groups {
			for _, a := range g {
				for _, b := range h {
					if i != j {
						cut = append(cut, [2]string{a, b})
					}
				}
			}
		}
	}
	f.set(cut...)
}

// open says whether one direction works, and when that may change.
func (f *faultNet) open(from, to string) (bool, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.cut[[2]string{from, to}], f.changed
}

func (f *faultNet) node(addr string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.nodes[addr]
}

// attach puts a node into the network.
func (f *faultNet) attach(cfg *Config) {
	from := cfg.NodeID
	cfg.dial = func(ctx context.Context, addr string) (net.Conn, error) {
		to := f.node(addr)
		for _, way := range [][2]string{{from, to}, {to, from}} {
			for {
				ok, changed := f.open(way[0], way[1])
				if ok {
					break
				}
				select {
				case <-changed:
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			}
		}
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			return nil, err
		}
		return &faultConn{
			Conn: c, net: f, closed: make(chan struct{}),
			out: &faultWay{from: from, to: to, moved: make(chan struct{})}, in: &faultWay{from: to, to: from, moved: make(chan struct{})},
		}, nil
	}
	cfg.pass = func(addr string) bool {
		ok, _ := f.open(from, f.node(addr))
		return ok
	}
}

// faultConn is the dialing end of a connection.
type faultConn struct {
	net.Conn
	net     *faultNet
	out, in *faultWay
	once    sync.Once
	closed  chan struct{}

	readMu  sync.Mutex
	held    []byte // has come over a direction that was cut meanwhile
	heldErr error
}

// faultWay is one direction with its deadline.
type faultWay struct {
	from, to string
	mu       sync.Mutex
	deadline time.Time
	moved    chan struct{} // closed and replaced when the deadline moves
}

func (w *faultWay) set(t time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deadline = t
	close(w.moved)
	w.moved = make(chan struct{})
}

func (w *faultWay) get() (time.Time, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.deadline, w.moved
}

// wait returns when the direction works, with an error if the connection or the time ends before.
func (c *faultConn) wait(w *faultWay) error {
	for {
		ok, changed := c.net.open(w.from, w.to)
		if ok {
			return nil
		}
		at, moved := w.get()
		var due <-chan time.Time
		if !at.IsZero() {
			t := time.NewTimer(time.Until(at))
			defer t.Stop()
			due = t.C
		}
		select {
		case <-changed:
		case <-moved:
		case <-due:
			return os.ErrDeadlineExceeded
		case <-c.closed:
			return net.ErrClosed
		}
	}
}

func (c *faultConn) Write(b []byte) (int, error) {
	if err := c.wait(c.out); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

func (c *faultConn) Read(b []byte) (int, error) {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	if len(c.held) == 0 && c.heldErr == nil {
		n, err := c.Conn.Read(b)
		if errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		c.held, c.heldErr = append(c.held, b[:n]...), err
	}
	// What has come meanwhile, and also that the other end is gone, is still on its way.
	if err := c.wait(c.in); err != nil {
		return 0, err
	}
	n := copy(b, c.held)
	if c.held = c.held[n:]; len(c.held) > 0 {
		return n, nil
	}
	err := c.heldErr
	c.held, c.heldErr = nil, nil
	return n, err
}

func (c *faultConn) SetDeadline(t time.Time) error {
	c.out.set(t)
	c.in.set(t)
	return c.Conn.SetDeadline(t)
}

func (c *faultConn) SetReadDeadline(t time.Time) error {
	c.in.set(t)
	return c.Conn.SetReadDeadline(t)
}

func (c *faultConn) SetWriteDeadline(t time.Time) error {
	c.out.set(t)
	return c.Conn.SetWriteDeadline(t)
}

func (c *faultConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

func TestFaultNet(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	f := newFaultNet()
	f.locate("b", l.Addr().String())
	cfg := Config{NodeID: "a"}
	f.attach(&cfg)
	c, err := cfg.dial(t.Context(), l.Addr().String())
	must(t, err)
	defer c.Close()
	far, err := l.Accept()
	must(t, err)
	defer far.Close()
	buf := make([]byte, 1)
	pass := func(from, to net.Conn, what string) {
		t.Helper()
		_, err := from.Write([]byte(what))
		must(t, err)
		if _, err := to.Read(buf); err != nil || string(buf) != what {
			t.Fatalf("got %q, %v, want %q", buf, err, what)
		}
	}
	pass(c, far, "1")
	f.set([2]string{"b", "a"})
	pass(c, far, "2") // the other way still works
	_, err = far.Write([]byte("3"))
	must(t, err)
	must(t, c.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
	if _, err := c.Read(buf); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("Read over a cut link = %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := cfg.dial(ctx, l.Addr().String()); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("dial over a cut link = %v", err)
	}
	if !cfg.pass(l.Addr().String()) {
		t.Error("packets the other way are lost")
	}
	f.split([]string{"a"}, []string{"b"})
	if cfg.pass(l.Addr().String()) {
		t.Error("a packet crosses the cut")
	}
	f.heal()
	must(t, c.SetReadDeadline(time.Time{}))
	if _, err := c.Read(buf); err != nil || string(buf) != "3" {
		t.Fatalf("after healing: %q, %v, want what was on its way", buf, err)
	}
	pass(far, c, "4")
	f.split([]string{"a"}, []string{"b"})
	done := make(chan error)
	go func() { _, err := c.Write([]byte("x")); done <- err }()
	must(t, c.Close())
	if err := <-done; err == nil {
		t.Error("a write went over a cut link")
	}
}
