package transport

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestStreams(t *testing.T) {
	t.Parallel()
	a, b := start(t, "n1", "c1"), start(t, "n2", "c1")
	for _, proto := range []string{ProtoRaft, ProtoGossip} {
		l := b.Accept(proto)
		if l.Addr().String() != b.Addr().String() {
			t.Errorf("listener address = %v, want %v", l.Addr(), b.Addr())
		}
		echo(t, l)
		c, err := a.Dial(within(t, 5*time.Second), b.Advertise(), proto)
		if err != nil {
			t.Fatalf("Dial %s: %v", proto, err)
		}
		defer c.Close()
		if got := c.(*Conn).Peer().Identity; got != (Identity{"n2", "c1"}) {
			t.Errorf("Peer = %v", got)
		}
		want := bytes.Repeat([]byte(proto), 50)
		if _, err := c.Write(want); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(want))
		if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
			t.Errorf("echo = %q, %v", got, err)
		}
	}
}

// What a client writes before it closes must arrive: nothing that the server
// sends on its own may turn the close into a reset.
func TestStream_writeThenClose(t *testing.T) {
	t.Parallel()
	a, b := start(t, "n1", "c1"), start(t, "n2", "c1")
	l := b.Stream(ProtoGossip).Listener()
	defer l.Close()
	want := bytes.Repeat([]byte("g"), 100_000)
	for range 5 {
		c, err := a.Stream(ProtoGossip).Dial(within(t, 5*time.Second), b.Advertise())
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			_, _ = c.Write(want)
			_ = c.Close()
		})
		in, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(in)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("received %d bytes, %v, want %d", len(got), err, len(want))
		}
		_ = in.Close()
		wg.Wait()
	}
}

func TestDial_refusals(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		client, server string // cluster ids
		clientKey      Key
		proto          string
		want           []error
		clientLog      string
		serverLog      string
	}{
		"other cluster": {
			"c1", "c2", testKey(1), ProtoRaft,
			[]error{ErrWrongCluster, ErrRefused},
			"belongs to another cluster", "the peer belongs to another cluster",
		},
		"client is no member": {
			"", "c2", testKey(1), ProtoRaft,
			[]error{ErrNotMember, ErrRefused},
			"has to join first", "has to join first",
		},
		"server is no member": {
			"c1", "", testKey(1), ProtoGossip,
			[]error{ErrNotMember, ErrRefused},
			"n2) is not a member", "n2) is not a member",
		},
		"other key": {
			"c1", "c1", testKey(2), ProtoRaft,
			[]error{ErrWrongKey},
			"holds another cluster key", "holds another cluster key",
		},
		"not accepting": {
			"c1", "c1", testKey(1), ProtoGossip,
			[]error{ErrNoMethod, ErrRefused},
			"does not serve lb-gossip/1", "does not serve lb-gossip/1",
		},
		"unknown protocol": {
			"c1", "c1", testKey(1), "lb-else/9",
			[]error{ErrNoMethod},
			"", "",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := start(t, "n1", tt.client, keys(tt.clientKey)), start(t, "n2", tt.server)
			defer b.Accept(ProtoRaft).Close()
			c, err := a.Dial(within(t, 5*time.Second), b.Advertise(), tt.proto)
			if err == nil {
				_ = c.Close()
				t.Fatal("Dial succeeded")
			}
			for _, want := range tt.want {
				if !errors.Is(err, want) {
					t.Errorf("Dial = %v, want %v", err, want)
				}
			}
			eventually(t, "server says "+tt.serverLog, func() bool { return strings.Contains(b.logs.String(), tt.serverLog) })
			if got := a.logs.String(); !strings.Contains(got, tt.clientLog) {
				t.Errorf("client log %q, want %q", got, tt.clientLog)
			}
		})
	}
}

// The server may be the one that rejects the key, after the client is content: when
// that has a certificate for its first key only. Both must still learn the reason.
func TestDial_serverRejectsTheKey(t *testing.T) {
	t.Parallel()
	oldKey, newKey := testKey(1), testKey(2)
	for range 10 {
		a, b := start(t, "n1", "c1", keys(newKey, oldKey)), start(t, "n2", "c1", keys(oldKey))
		c := *a.creds.Load()
		c.leaves = []*tls.Certificate{c.leaves[0], c.leaves[0]}
		a.creds.Store(&c)
		_, err := a.Dial(within(t, 5*time.Second), b.Advertise(), ProtoRaft)
		if !errors.Is(err, ErrWrongKey) {
			t.Fatalf("Dial = %v, want %v", err, ErrWrongKey)
		}
		eventually(t, "server log", func() bool { return strings.Contains(b.logs.String(), "holds another cluster key") })
	}
}

func TestDial_notALbnode(t *testing.T) {
	t.Parallel()
	for name, greeting := range map[string]string{"ssh": "SSH-2.0-OpenSSH_9.6\r\n", "silence": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			t.Cleanup(func() { _ = l.Close(); wg.Wait() })
			wg.Go(func() {
				c, err := l.Accept()
				if err != nil {
					return
				}
				defer c.Close()
				_, _ = io.WriteString(c, greeting)
				_, _ = io.Copy(io.Discard, c)
			})
			a := start(t, "n1", "c1", func(c *Config) {
				if greeting == "" {
					c.HandshakeTimeout = 200 * time.Millisecond
				}
			})
			_, err = a.Dial(within(t, 5*time.Second), l.Addr().String(), ProtoRaft)
			want := ErrNotPeer
			if greeting == "" {
				want = context.DeadlineExceeded
			}
			if !errors.Is(err, want) {
				t.Errorf("Dial = %v, want %v", err, want)
			}
		})
	}
}

func TestDial_contextEnds(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0") // the kernel accepts, nobody answers
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a := start(t, "n1", "c1")
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		c, err := l.Accept()
		if err == nil {
			defer c.Close()
			_, _ = c.Read(make([]byte, 1)) // the client hello is under way
		}
		cancel()
	})
	defer wg.Wait()
	if _, err := a.Dial(ctx, l.Addr().String(), ProtoRaft); !errors.Is(err, context.Canceled) {
		t.Errorf("Dial = %v, want %v", err, context.Canceled)
	}
}

func TestAccept_again(t *testing.T) {
	t.Parallel()
	a := start(t, "n1", "c1")
	l := a.Accept(ProtoRaft)
	if a.Accept(ProtoRaft) != l {
		t.Error("Accept gave a second listener for one protocol")
	}
	_ = l.Close()
	_ = l.Close()
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close = %v, want %v", err, net.ErrClosed)
	}
	if a.Accept(ProtoRaft) == l {
		t.Error("Accept gave the closed listener again")
	}
	if _, err := a.Accept("lb-else/9").Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept of an unknown protocol = %v, want %v", err, net.ErrClosed)
	}
}

func TestListen_errors(t *testing.T) {
	t.Parallel()
	a := start(t, "n1", "c1")
	cfg := DefaultConfig()
	cfg.Identity = a.identity
	cfg.Addr = a.Addr().String()
	if _, err := Listen(cfg); err == nil || !strings.Contains(err.Error(), cfg.Addr) {
		t.Errorf("Listen on a taken port = %v, want the address in it", err)
	}
	cfg.Addr, cfg.Advertise = "127.0.0.1:0", "0.0.0.0:1"
	if _, err := Listen(cfg); err == nil {
		t.Error("Listen took a wildcard as advertise address")
	}
}

func TestListen_withoutAKey(t *testing.T) {
	t.Parallel()
	const warning = "cluster port without a secret"
	lab := func(addr string) *node {
		return start(t, "n1", "c1", keys(), func(c *Config) { c.Addr = addr })
	}
	a, b := lab("127.0.0.1:0"), lab("127.0.0.1:0")
	b.Handle("echo", func(_ context.Context, _ Peer, req []byte) ([]byte, error) { return req, nil })
	if _, err := a.Call(within(t, 5*time.Second), b.Advertise(), "echo", nil); err != nil {
		t.Errorf("Call = %v", err)
	}
	if strings.Contains(a.logs.String(), warning) || !strings.Contains(lab(":0").logs.String(), warning) {
		t.Error("want a warning on a wildcard address, and none on loopback")
	}
}

func TestMux_garbage(t *testing.T) {
	t.Parallel()
	b := start(t, "n2", "c1", func(c *Config) { c.HandshakeTimeout = 2 * time.Second })
	b.Handle("echo", func(_ context.Context, _ Peer, req []byte) ([]byte, error) { return req, nil })
	echo(t, b.Accept(ProtoRaft))
	rnd := rand.New(rand.NewPCG(1, 2))
	prefixes := []string{"", "GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00", "\x16\x03\x03\xff\xff", "LBN\x01\xff\xff", "\x15\x03\x03\x00\x02\x02\x28"}
	for i := range 60 {
		c, err := net.Dial("tcp", b.Advertise())
		if err != nil {
			t.Fatal(err)
		}
		junk := make([]byte, rnd.IntN(4000))
		for j := range junk {
			junk[j] = byte(rnd.Uint32())
		}
		_, _ = c.Write(append([]byte(prefixes[i%len(prefixes)]), junk...))
		if i%3 == 0 {
			defer c.Close() // some stay until the deadline
		} else {
			_ = c.Close()
		}
	}
	a := start(t, "n1", "c1")
	if got, err := a.Call(within(t, 5*time.Second), b.Advertise(), "echo", []byte("still here")); err != nil || string(got) != "still here" {
		t.Errorf("Call after garbage = %q, %v", got, err)
	}
	eventually(t, "garbage is dropped", func() bool { _, pending := b.openConns(); return pending == 0 })
}

// Garbage from one who holds the key, behind TLS and behind the hello.
func TestMux_garbageFromAPeer(t *testing.T) {
	t.Parallel()
	a, b := start(t, "n1", "c1"), start(t, "n2", "c1", func(c *Config) { c.HandshakeTimeout = 5 * time.Second })
	rnd := rand.New(rand.NewPCG(3, 4))
	for i := range 30 {
		raw, err := net.Dial("tcp", b.Advertise())
		if err != nil {
			t.Fatal(err)
		}
		junk := make([]byte, 1+rnd.IntN(3000))
		for j := range junk {
			junk[j] = byte(rnd.Uint32())
		}
		var w io.WriteCloser
		if i%2 == 0 {
			cfg := a.tlsConfig()
			cfg.NextProtos = []string{ProtoRPC}
			tc := tls.Client(raw, cfg)
			if err := tc.Handshake(); err != nil {
				t.Fatal(err)
			}
			w = tc
		} else if w, err = a.introduce(within(t, 5*time.Second), raw, ProtoRPC); err != nil {
			t.Fatal(err)
		}
		_, _ = w.Write(junk)
		_ = w.Close()
	}
	eventually(t, "garbage is dropped", func() bool { conns, pending := b.openConns(); return conns+pending == 0 })
}

func TestMux_handshakeDeadline(t *testing.T) {
	t.Parallel()
	a := start(t, "n1", "c1")
	b := start(t, "n2", "c1", func(c *Config) { c.HandshakeTimeout = time.Second })
	silent, err := net.Dial("tcp", b.Advertise())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	mute, err := net.Dial("tcp", b.Advertise()) // holds the key, sends no hello
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	cfg := a.tlsConfig()
	cfg.NextProtos = []string{ProtoRaft}
	if err := tls.Client(mute, cfg).Handshake(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both are dropped", func() bool { _, pending := b.openConns(); return pending == 0 })
}

// Idle strangers must not keep members out: the oldest unproved one gives way.
func TestMux_pendingLimit(t *testing.T) {
	t.Parallel()
	a := start(t, "n1", "c1")
	b := start(t, "n2", "c1", func(c *Config) { c.MaxPending = 4; c.HandshakeTimeout = time.Minute })
	b.Handle("echo", func(_ context.Context, _ Peer, req []byte) ([]byte, error) { return req, nil })
	idlers := make([]net.Conn, 0, 20)
	for range 20 {
		c, err := net.Dial("tcp", b.Advertise())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		idlers = append(idlers, c)
	}
	if _, err := a.Call(within(t, 5*time.Second), b.Advertise(), "echo", nil); err != nil {
		t.Errorf("Call beside idlers = %v", err)
	}
	_ = idlers[0].SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := idlers[0].Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the oldest idler reads %v, want a closed connection", err)
	}
	if _, pending := b.openConns(); pending > 4 {
		t.Errorf("%d connections pending, want at most 4", pending)
	}
}

func TestMux_connectionLimit(t *testing.T) {
	t.Parallel()
	a := start(t, "n1", "c1")
	b := start(t, "n2", "c1", func(c *Config) { c.MaxConns = 2 })
	l := b.Accept(ProtoRaft)
	echo(t, l)
	dial := func() (net.Conn, error) { return a.Dial(within(t, 5*time.Second), b.Advertise(), ProtoRaft) }
	c1, err1 := dial()
	c2, err2 := dial()
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	defer c2.Close()
	if _, err := dial(); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "too many connections") {
		t.Errorf("Dial over the limit = %v, want %v", err, ErrRefused)
	}
	_ = c1.Close()
	eventually(t, "a place is free again", func() bool {
		c, err := dial()
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

func TestMux_Close(t *testing.T) {
	t.Parallel()
	a, b := start(t, "n1", "c1"), start(t, "n2", "c1")
	l := b.Accept(ProtoRaft)
	c, err := a.Dial(within(t, 5*time.Second), b.Advertise(), ProtoRaft)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	in, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if err := b.Mux.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	if err := b.Mux.Close(); err != nil {
		t.Errorf("second Close = %v", err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close = %v, want %v", err, net.ErrClosed)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("a stream outlived its Mux")
	}
	if _, err := b.Accept(ProtoRaft).Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a listener made after Close = %v, want %v", err, net.ErrClosed)
	}
	if _, err := b.Dial(within(t, time.Second), a.Advertise(), ProtoRaft); !errors.Is(err, ErrClosed) {
		t.Errorf("Dial after Close = %v, want %v", err, ErrClosed)
	}
	if _, err := b.Call(within(t, time.Second), a.Advertise(), "x", nil); !errors.Is(err, ErrClosed) || !errors.Is(err, ErrNotSent) {
		t.Errorf("Call after Close = %v, want %v and %v", err, ErrClosed, ErrNotSent)
	}
}

func TestSetKeys_rotation(t *testing.T) {
	t.Parallel()
	k1, k2 := testKey(1), testKey(2)
	nodes := []*node{start(t, "n1", "c1", keys(k1)), start(t, "n2", "c1", keys(k1)), start(t, "n3", "c1", keys(k1))}
	for _, n := range nodes {
		n.Handle("who", func(context.Context, Peer, []byte) ([]byte, error) { return []byte(n.nodeID), nil })
	}
	everyoneTalks := func(when string) {
		t.Helper()
		for _, from := range nodes {
			for _, to := range nodes {
				// Connections over a dropped key break: that may cost a call whose
				// outcome is unknown, never one that is refused.
				got, err := from.Call(within(t, 5*time.Second), to.Advertise(), "who", nil)
				if errors.Is(err, ErrOutcomeUnknown) {
					got, err = from.Call(within(t, 5*time.Second), to.Advertise(), "who", nil)
				}
				if err != nil || string(got) != to.nodeID {
					t.Fatalf("%s: %s calls %s: %q, %v", when, from.nodeID, to.nodeID, got, err)
				}
			}
		}
	}
	everyoneTalks("before")
	for _, step := range [][]Key{{k1, k2}, {k2, k1}, {k2}} {
		for _, n := range nodes {
			if err := n.SetKeys(step); err != nil {
				t.Fatal(err)
			}
			everyoneTalks("during")
		}
	}
	old := start(t, "n4", "c1", keys(k1))
	if _, err := old.Call(within(t, 5*time.Second), nodes[0].Advertise(), "who", nil); !errors.Is(err, ErrWrongKey) || !errors.Is(err, ErrNotSent) {
		t.Errorf("Call with the old key = %v, want %v and %v", err, ErrWrongKey, ErrNotSent)
	}
}

func TestSetKeys_closesWhatTheOldKeyOpened(t *testing.T) {
	t.Parallel()
	k1, k2 := testKey(1), testKey(2)
	a, b := start(t, "n1", "c1", keys(k1)), start(t, "n2", "c1", keys(k1))
	l := b.Accept(ProtoRaft)
	defer l.Close()
	c, err := a.Dial(within(t, 5*time.Second), b.Advertise(), ProtoRaft)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	in, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if err := b.SetKeys([]Key{k2, k1}); err != nil {
		t.Fatal(err)
	}
	if _, err := in.Write([]byte("x")); err != nil {
		t.Errorf("write while both keys are valid = %v", err)
	}
	if err := b.SetKeys([]Key{k2}); err != nil {
		t.Fatal(err)
	}
	if _, err := in.Write([]byte("x")); err == nil {
		t.Error("a stream survived the removal of its key")
	}
	if err := b.SetKeys([]Key{k1, k2, testKey(3), testKey(4), testKey(5)}); err == nil {
		t.Error("SetKeys took five keys")
	}
}

func TestMux_ipv6(t *testing.T) {
	t.Parallel()
	if l, err := net.Listen("tcp", "[::1]:0"); err != nil {
		t.Skip("no IPv6 loopback")
	} else {
		_ = l.Close()
	}
	six := func(c *Config) { c.Addr = "[::1]:0" }
	a, b := start(t, "n1", "c1", six), start(t, "n2", "c1", six)
	b.Handle("echo", func(_ context.Context, _ Peer, req []byte) ([]byte, error) { return req, nil })
	if !strings.HasPrefix(b.Advertise(), "[::1]:") {
		t.Errorf("Advertise = %q", b.Advertise())
	}
	if _, err := a.Call(within(t, 5*time.Second), b.Advertise(), "echo", nil); err != nil {
		t.Errorf("Call = %v", err)
	}
}

// TestSetKeys_awayDuringRotation: a node that knows the old key only talks to the others, both ways, for as
// long as they accept it.
func TestSetKeys_awayDuringRotation(t *testing.T) {
	t.Parallel()
	k1, k2, k3 := testKey(1), testKey(2), testKey(3)
	for _, tc := range []struct {
		name       string
		old, newer []Key
		want       bool
	}{
		{"installed", []Key{k1}, []Key{k1, k2}, true},
		{"in use", []Key{k1}, []Key{k2, k1}, true},
		{"two rotations", []Key{k1}, []Key{k3, k2, k1}, true},
		{"the other way round", []Key{k2, k1}, []Key{k1, k3}, true},
		{"removed", []Key{k1}, []Key{k2}, false},
		{"nothing in common", []Key{k1, k3}, []Key{k2}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			nodes := []*node{start(t, "n1", "c1", keys(tc.old...)), start(t, "n2", "c1", keys(tc.newer...))}
			for i, from := range nodes {
				to := nodes[1-i]
				to.Handle("who", func(context.Context, Peer, []byte) ([]byte, error) { return []byte(to.nodeID), nil })
				_, err := from.Call(within(t, 5*time.Second), to.Advertise(), "who", nil)
				if tc.want && err != nil || !tc.want && !errors.Is(err, ErrWrongKey) {
					t.Errorf("%s calls %s: %v, want an answer: %v", from.nodeID, to.nodeID, err, tc.want)
				}
			}
		})
	}
}
