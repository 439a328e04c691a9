package gossip

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const never = time.Hour // switches an interval off

func TestCluster_members(t *testing.T) {
	t.Parallel()
	ps := cluster(t, 3)
	want := make([]Member, 3)
	for i, p := range ps {
		want[i] = Member{ID: p.cfg.NodeID, Addr: p.addr, Meta: fast().Meta, Status: Alive}
	}
	for _, p := range ps {
		eventually(t, p.cfg.NodeID+" sees all alive", func() bool {
			return cmp.Equal(want, p.Members(), cmpopts.IgnoreFields(Member{}, "Since"))
		})
		if s := p.member("n1").Since; s.IsZero() || time.Since(s) > time.Minute {
			t.Errorf("Since = %v", s)
		}
	}
	select {
	case <-ps[0].Changes():
	default:
		t.Error("Changes said nothing")
	}
}

func TestCluster_longestNames(t *testing.T) {
	t.Parallel()
	long := func(c *Config) {
		c.NodeID += strings.Repeat("x", 255-len(c.NodeID))
		c.ClusterID = strings.Repeat("c", 255)
		c.Meta = Meta{API: strings.Repeat("a", maxAddr), Proxy: strings.Repeat("p", maxAddr), Version: strings.Repeat("v", maxVersion)}
		c.PushPullInterval = never // packets alone must do
	}
	ps := cluster(t, 3, long)
	key := strings.Repeat("k", maxDatagram-len("set")-2-10)
	ps[2].add(key, 1)
	eventually(t, "the largest packet arrives", func() bool { return ps[0].set.get(key) == 1 && ps[1].set.get(key) == 1 })
	if n := len(encodeMessage(stateKey{kindState, "set"}, encodePair(nil, key, 1))); n != maxDatagram {
		t.Errorf("the message has %d bytes, want %d", n, maxDatagram)
	}
}

func TestAddState_smallMessages(t *testing.T) {
	t.Parallel()
	ps := cluster(t, 3, func(c *Config) { c.PushPullInterval = never })
	const each = 50
	for i, p := range ps {
		for j := range each {
			p.add(fmt.Sprintf("n%d/%d", i, j), uint64(j+1))
		}
	}
	// Without full exchanges a lost packet is lost, so not all need arrive; on
	// loopback nearly all do.
	eventually(t, "deltas arrive", func() bool {
		for _, p := range ps {
			if len(p.set.snapshot()) < 3*each*9/10 {
				return false
			}
		}
		return true
	})
}

func TestAddState_largeMessages(t *testing.T) {
	t.Parallel()
	ps := cluster(t, 3, func(c *Config) { c.PushPullInterval = never })
	key := strings.Repeat("long", 10_000)
	ps[1].add(key, 7)
	eventually(t, "the large message arrives", func() bool { return ps[0].set.get(key) == 7 && ps[2].set.get(key) == 7 })
}

func TestAddState_fullExchange(t *testing.T) {
	t.Parallel()
	ps := cluster(t, 3)
	ps[0].set.put("quiet", 3) // told to nobody
	for i := range 2000 {
		ps[1].set.put(fmt.Sprintf("key %d", i), uint64(i))
	}
	eventually(t, "full states converge", func() bool {
		return ps[1].set.get("quiet") == 3 && ps[2].set.get("quiet") == 3 && cmp.Equal(ps[0].set.snapshot(), ps[2].set.snapshot()) && len(ps[0].set.snapshot()) == 2001
	})
}

func TestJoin_bringsTheState(t *testing.T) {
	t.Parallel()
	a := start(t, "n1", func(c *Config) { c.PushPullInterval = never })
	a.set.put("old news", 9)
	b := start(t, "n2", func(c *Config) { c.PushPullInterval = never })
	if n, err := b.Join(within(t, 10*time.Second), []string{"127.0.0.1:1", a.addr}); n != 1 || err != nil {
		t.Fatalf("Join = %d, %v, want one of two", n, err)
	}
	if b.set.get("old news") != 9 {
		t.Error("Join returned before the state was merged")
	}
}

func TestJoin_names(t *testing.T) {
	t.Parallel()
	a, b := start(t, "n1"), start(t, "n2")
	_, port, err := net.SplitHostPort(a.addr)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := b.Join(within(t, 10*time.Second), []string{"localhost:" + port}); n != 1 || err != nil {
		t.Errorf("Join = %d, %v", n, err)
	}
}

func TestJoin_strangers(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change func(*Config)
		log    string // what the packet is refused with
	}{
		"other key":   {func(c *Config) { c.Keys = [][]byte{testKey(2)} }, "Decrypt packet failed"},
		"other label": {func(c *Config) { c.ClusterID = "c2" }, "discarding packet with unacceptable label"},
		"no key":      {func(c *Config) { c.Keys = nil }, "Decrypt packet failed"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := start(t, "n1")
			s := start(t, "n2", tt.change)
			for _, p := range [][2]*peer{{s, a}, {a, s}} {
				if n, err := p[0].Join(within(t, 10*time.Second), []string{p[1].addr}); n != 0 || err == nil {
					t.Errorf("Join = %d, %v, want an error", n, err)
				}
			}
			// By packet it must fail just so.
			s.spread(encodeMessage(stateKey{kindState, "set"}, encodePair(nil, "forged", 1)))
			for _, msg := range s.packets.GetBroadcasts(0, maxPacket) {
				if err := s.list.SendToAddress(addressOf(a), msg); err != nil {
					t.Fatal(err)
				}
			}
			eventually(t, "the packet is refused", func() bool { return strings.Contains(a.logs.String(), tt.log) })
			if len(a.Members()) != 1 || len(s.Members()) != 1 || a.set.get("forged") != 0 {
				t.Errorf("members %v and %v, state %v", a.Members(), s.Members(), a.set.snapshot())
			}
		})
	}
}

func TestDeath(t *testing.T) {
	t.Parallel()
	ps := cluster(t, 3, func(c *Config) { c.DeadRetention = 1500 * time.Millisecond })
	ps[2].stop(t)
	for _, p := range ps[:2] {
		eventually(t, "the death is noticed", func() bool { return p.member("n3").Status == Dead })
	}
	// The wording of memberlist's log is all that tells of suspicion.
	if all := ps[0].logs.String() + ps[1].logs.String(); !strings.Contains(all, "status=suspect") {
		t.Error("nobody suspected n3 before it was dead")
	}
	for _, p := range ps[:2] {
		eventually(t, "the dead are forgotten", func() bool { return len(p.Members()) == 2 })
	}
}

func TestLeave(t *testing.T) {
	t.Parallel()
	ps := cluster(t, 3)
	if err := ps[2].Leave(within(t, 10*time.Second)); err != nil {
		t.Fatalf("Leave = %v", err)
	}
	if err := ps[2].Leave(within(t, 10*time.Second)); err != nil {
		t.Errorf("second Leave = %v", err)
	}
	if got := ps[2].member("n3").Status; got != Left {
		t.Errorf("n3 sees itself as %v, want %v", got, Left)
	}
	if _, err := ps[2].Join(within(t, time.Second), []string{ps[0].addr}); !errors.Is(err, ErrLeft) {
		t.Errorf("Join after Leave = %v, want %v", err, ErrLeft)
	}
	if err := ps[2].SetMeta(Meta{Version: "2"}); !errors.Is(err, ErrLeft) {
		t.Errorf("SetMeta after Leave = %v, want %v", err, ErrLeft)
	}
	ps[2].stop(t)
	if err := ps[2].Leave(context.Background()); !errors.Is(err, ErrClosed) {
		t.Errorf("Leave after Close = %v, want %v", err, ErrClosed)
	}
	for _, p := range ps[:2] {
		eventually(t, "the farewell is heard", func() bool { return p.member("n3").Status == Left })
	}
	late := start(t, "n4")
	if _, err := late.Join(within(t, 10*time.Second), []string{ps[0].addr}); err != nil {
		t.Fatal(err)
	}
	if s := late.member("n3").Status; s != "" && s != Left {
		t.Errorf("a newcomer sees n3 as %v", s)
	}
}

func TestRestart_newAddress(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"after death", "after leave"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			ps := cluster(t, 3, func(c *Config) {
				if how == "after leave" {
					c.ReclaimTime = never // which must not matter then
				}
			})
			want := Dead
			if how == "after leave" {
				want = Left
				if err := ps[2].Leave(within(t, 10*time.Second)); err != nil {
					t.Fatal(err)
				}
			}
			ps[2].stop(t)
			for _, p := range ps[:2] {
				eventually(t, how, func() bool { return p.member("n3").Status == want })
			}
			again := start(t, "n3")
			if again.addr == ps[2].addr {
				t.Skip("the system gave the same port")
			}
			if _, err := again.Join(within(t, 10*time.Second), []string{ps[0].addr}); err != nil {
				t.Fatal(err)
			}
			for _, p := range ps[:2] {
				eventually(t, "n3 is back under its new address", func() bool {
					m := p.member("n3")
					return m.Status == Alive && m.Addr == again.addr
				})
			}
		})
	}
}

// The same address is the usual restart; nobody need have noticed.
func TestRestart_sameAddress(t *testing.T) {
	t.Parallel()
	ps := cluster(t, 2)
	addr := ps[1].addr
	ps[1].stop(t)
	again := start(t, "n2", func(c *Config) { c.Addr = addr; c.Meta.Version = "2.0.0" })
	if _, err := again.Join(within(t, 10*time.Second), []string{ps[0].addr}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "n2 is back with its new version", func() bool {
		m := ps[0].member("n2")
		return m.Status == Alive && m.Meta.Version == "2.0.0"
	})
}

func TestConflict(t *testing.T) {
	t.Parallel()
	ps := cluster(t, 2)
	twin := start(t, "n2")
	_, _ = twin.Join(within(t, 10*time.Second), []string{ps[0].addr})
	eventually(t, "the conflict is told", func() bool { return strings.Contains(ps[0].logs.String(), "claim the same node id") })
	if got := ps[0].member("n2").Addr; got != ps[1].addr {
		t.Errorf("n2 is now at %s, want the first one's %s", got, ps[1].addr)
	}
}

func TestSetMeta(t *testing.T) {
	t.Parallel()
	ps := cluster(t, 3)
	m := Meta{API: "192.0.2.1:9080", Proxy: "192.0.2.1:8080", Version: "1.0.1", Proto: [2]uint8{1, 3}, Draining: true, Insecure: true}
	if err := ps[0].SetMeta(m); err != nil {
		t.Fatalf("SetMeta = %v", err)
	}
	if got := ps[0].member("n1").Meta; got != m {
		t.Errorf("own Meta = %v, want %v", got, m)
	}
	for _, p := range ps[1:] {
		eventually(t, "the new metadata arrives", func() bool { return p.member("n1").Meta == m })
	}
	if err := ps[0].SetMeta(Meta{API: strings.Repeat("x", maxAddr+1)}); err == nil {
		t.Error("SetMeta took a long address")
	}
	ps[0].stop(t)
	if err := ps[0].SetMeta(Meta{}); !errors.Is(err, ErrClosed) {
		t.Errorf("SetMeta after Close = %v, want %v", err, ErrClosed)
	}
}

func TestSetKeys_rotationUnderLoad(t *testing.T) {
	t.Parallel()
	ps := cluster(t, 3)
	k1, k2 := testKey(1), testKey(2)
	stop := make(chan struct{})
	var load sync.WaitGroup
	for i, p := range ps {
		load.Go(func() {
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for n := uint64(1); ; n++ {
				select {
				case <-tick.C:
					p.add(fmt.Sprintf("load %d", i), n)
				case <-stop:
					return
				}
			}
		})
	}
	for step, ring := range [][][]byte{{k1, k2}, {k2, k1}, {k2}} {
		for _, p := range ps {
			if err := p.SetKeys(ring); err != nil {
				t.Fatalf("SetKeys = %v", err)
			}
			if got := p.keyring.GetKeys(); !cmp.Equal(got, ring) {
				t.Errorf("keyring has %d keys, want %d in order", len(got), len(ring))
			}
		}
		key := fmt.Sprintf("step %d", step)
		ps[step].add(key, 1)
		eventually(t, key, func() bool { return ps[0].set.get(key) == 1 && ps[1].set.get(key) == 1 && ps[2].set.get(key) == 1 })
	}
	close(stop)
	load.Wait()
	for _, p := range ps {
		for _, m := range p.Members() {
			if m.Status == Dead || m.Status == Left {
				t.Errorf("%s sees %s as %s", p.cfg.NodeID, m.ID, m.Status)
			}
		}
	}
	if err := ps[0].SetKeys(nil); !errors.Is(err, ErrPlainText) {
		t.Errorf("SetKeys(nil) = %v, want %v", err, ErrPlainText)
	}
	if err := ps[0].SetKeys([][]byte{{1, 2, 3}}); err == nil {
		t.Error("SetKeys took a key of three bytes")
	}
}

func TestGossip_garbage(t *testing.T) {
	t.Parallel()
	ps := cluster(t, 2)
	c, err := net.Dial("udp", ps[0].addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	rnd := rand.New(rand.NewPCG(5, 6))
	label := "\xf4\x02c1"
	for i := range 500 {
		b := make([]byte, rnd.IntN(2000))
		for j := range b {
			b[j] = byte(rnd.Uint32())
		}
		if i%2 == 0 {
			b = append([]byte(label), b...)
		}
		_, _ = c.Write(b)
	}
	// From a peer: messages that its states cannot read.
	ps[1].spread([]byte{})
	ps[1].spread([]byte{kindState})
	ps[1].spread([]byte{kindState, 200, 'x'})
	ps[1].spread(encodeMessage(stateKey{kindState, "set"}, []byte{1}))
	ps[1].spread(encodeMessage(stateKey{kindLeave, ""}, []byte{9, 9}))
	ps[1].spread(encodeMessage(stateKey{kindState, "future"}, []byte("?")))
	ps[1].add("after", 1)
	eventually(t, "gossip goes on", func() bool { return ps[0].set.get("after") == 1 })
	eventually(t, "garbage is counted", func() bool { s := ps[0].Stats(); return s.Malformed >= 2 && s.UnknownState >= 1 })
	if n := strings.Count(ps[0].logs.String(), "level=WARN"); n > 50 {
		t.Errorf("500 bad packets made %d warnings", n)
	}
	if ps[0].HealthScore() < 0 {
		t.Error("HealthScore is negative")
	}
}

func TestGossip_ipv6(t *testing.T) {
	t.Parallel()
	if l, err := net.Listen("tcp", "[::1]:0"); err != nil {
		t.Skip("no IPv6 loopback")
	} else {
		_ = l.Close()
	}
	ps := cluster(t, 2, func(c *Config) { c.Addr = "[::1]:0"; c.PushPullInterval = never })
	ps[0].add("six", 6)
	eventually(t, "a packet arrives", func() bool { return ps[1].set.get("six") == 6 })
	if got := ps[1].member("n1").Addr; got != ps[0].addr {
		t.Errorf("Addr = %q, want %q", got, ps[0].addr)
	}
}

func TestClose(t *testing.T) {
	t.Parallel()
	ps := cluster(t, 2)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { _, _ = ps[1].Join(within(t, 10*time.Second), []string{ps[0].addr}) })
		wg.Go(func() { ps[1].add("x", 1) })
		wg.Go(func() { _ = ps[1].Close() })
	}
	wg.Wait()
	if err := ps[1].Close(); err != nil {
		t.Errorf("Close again = %v", err)
	}
	if _, err := ps[1].Join(within(t, time.Second), []string{ps[0].addr}); !errors.Is(err, ErrClosed) || !errors.Is(err, net.ErrClosed) {
		t.Errorf("Join after Close = %v, want %v", err, ErrClosed)
	}
}

func TestNew_errors(t *testing.T) {
	t.Parallel()
	p := start(t, "n1")
	cfg := fast()
	cfg.NodeID, cfg.Addr, cfg.Streams = "n2", p.addr, p.cfg.Streams
	if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), p.addr) {
		t.Errorf("New on a taken port = %v, want the address in it", err)
	}
	cfg.Advertise = "0.0.0.0:7946"
	if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), "wildcard") {
		t.Errorf("New with a wildcard = %v", err)
	}
	cfg.Advertise = "no-such-host.invalid:7946"
	if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), "no-such-host.invalid") {
		t.Errorf("New with an unknown name = %v", err)
	}
}
