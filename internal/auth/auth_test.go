package auth

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestToken(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"a", "ci", "ci_deploy", "a.b-c_d", strings.Repeat("x", 63)} {
		text := Mint(id)
		if got, ok := Parse(text); !ok || got != id {
			t.Errorf("Parse(Mint(%q)) = %q, %v", id, got, ok)
		}
		if !strings.HasPrefix(text, "lbt_"+id+"_") || len(text) != len("lbt_"+id+"_")+49 {
			t.Errorf("Mint(%q) = %q", id, text)
		}
		hash := Hash(text)
		if !Matches(text, hash) || Matches(text+"x", hash) || Matches("", hash) || Matches(text, "") || Matches(Mint(id), hash) {
			t.Errorf("%q: Matches holds for another text than the token's", text)
		}
	}
}

func TestParse_refuses(t *testing.T) {
	t.Parallel()
	good := Mint("ci")
	for i := range good { // one letter mistyped
		other := byte('0')
		if good[i] == '0' {
			other = '1'
		}
		if id, ok := Parse(good[:i] + string(other) + good[i+1:]); ok {
			t.Errorf("the token with letter %d changed was taken for one of %q", i, id)
		}
	}
	for _, s := range []string{"", "lbt_", "lbt__", good[:len(good)-1], good + "0", " " + good, strings.Repeat("x", 1<<16), Mint(""), Mint(strings.Repeat("x", 64))} {
		if id, ok := Parse(s); ok {
			t.Errorf("Parse(%.100q) = %q, want none", s, id)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(Mint("a"))
	f.Add("lbt_a_b_c")
	f.Fuzz(func(t *testing.T, s string) {
		if id, ok := Parse(s); ok && !strings.HasPrefix(s, Prefix+id+"_") {
			t.Errorf("Parse(%q) = %q", s, id)
		}
	})
}

type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func TestLimiter(t *testing.T) {
	t.Parallel()
	c := &clock{time.Unix(1000, 0)}
	l := NewLimiter(LimiterConfig{Now: c.now, ClientBurst: 3, ClientEvery: time.Second, TotalBurst: 5, TotalEvery: time.Second, Clients: 10})
	a, b := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	for i := range 3 {
		if wait := l.Fail(a); wait != 0 {
			t.Errorf("failure %d has to wait %s", i+1, wait)
		}
	}
	if wait := l.Fail(a); wait != time.Second {
		t.Errorf("the 4th failure waits %s, want 1s", wait)
	}
	if wait := l.Fail(netip.MustParseAddr("::ffff:10.0.0.1")); wait != time.Second {
		t.Errorf("the same client in another notation waits %s, want 1s", wait)
	}
	if wait := l.Fail(b); wait != 0 {
		t.Errorf("another client waits %s", wait)
	}
	l.Fail(b)
	if wait := l.Fail(b); wait != time.Second {
		t.Errorf("the 6th failure of all waits %s, want 1s", wait)
	}
	c.t = c.t.Add(time.Second)
	if wait := l.Fail(a); wait != 0 {
		t.Errorf("a second later the client waits %s", wait)
	}
}

func TestLimiter_ipv6ByNetwork(t *testing.T) {
	t.Parallel()
	c := &clock{time.Unix(1000, 0)}
	l := NewLimiter(LimiterConfig{Now: c.now, ClientBurst: 1, ClientEvery: time.Second, TotalBurst: 100, TotalEvery: time.Second, Clients: 10})
	l.Fail(netip.MustParseAddr("2001:db8::1"))
	if l.Fail(netip.MustParseAddr("2001:db8::2")) == 0 {
		t.Error("a client that changes its address within its /64 is not bound")
	}
	if l.Fail(netip.MustParseAddr("2001:db8:0:1::1")) != 0 {
		t.Error("the next /64 is bound too")
	}
}

func TestLimiter_memoryIsBounded(t *testing.T) {
	t.Parallel()
	c := &clock{time.Unix(1000, 0)}
	cfg := DefaultLimiter()
	cfg.Now, cfg.TotalBurst, cfg.Clients = c.now, 1<<30, 100
	l := NewLimiter(cfg)
	for i := range 10_000 {
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], uint32(i))
		l.Fail(netip.AddrFrom4(a))
	}
	if len(l.clients) != 100 {
		t.Errorf("%d clients are remembered, want 100", len(l.clients))
	}
	c.t = c.t.Add(time.Hour)
	l.Fail(netip.MustParseAddr("10.0.0.1"))
	if len(l.clients) != 1 {
		t.Errorf("an hour later %d clients are remembered, want the newest alone", len(l.clients))
	}
}
