package door

import (
	"net/netip"
	"sync"
	"testing"
)

func TestDoor_total(t *testing.T) {
	t.Parallel()
	d := New(2, 0)
	a := netip.MustParseAddr("192.0.2.1")
	for i, want := range []Verdict{Open, Open, Full, Full} {
		if got := d.Enter(a); got != want {
			t.Errorf("connection %d = %d, want %d", i, got, want)
		}
	}
	d.Leave(a)
	if got := d.Enter(a); got != Open {
		t.Errorf("after one has left = %d, want Open", got)
	}
	if n := d.Conns(); n != 2 {
		t.Errorf("Conns() = %d, want 2", n)
	}
}

func TestDoor_client(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, a, b string
		same       bool
	}{
		{"one address", "192.0.2.1", "192.0.2.1", true},
		{"two addresses", "192.0.2.1", "192.0.2.2", false},
		{"mapped", "192.0.2.1", "::ffff:192.0.2.1", true},
		{"one /64", "2001:db8::1", "2001:db8::ffff:0:0:2", true},
		{"two /64", "2001:db8::1", "2001:db8:0:1::1", false},
	} {
		a, b := netip.MustParseAddr(tt.a), netip.MustParseAddr(tt.b)
		d := New(100, 2)
		d.Enter(a)
		d.Enter(a)
		want := Open
		if tt.same {
			want = ClientFull
		}
		if got := d.Enter(b); got != want {
			t.Errorf("%s: third connection = %d, want %d", tt.name, got, want)
		}
		if d.Name(b) == tt.same {
			t.Errorf("%s: Name() = %t, want %t", tt.name, !tt.same, tt.same)
		}
		d.Leave(a)
		if got := d.Enter(a); got != Open {
			t.Errorf("%s: after one has left = %d, want Open", tt.name, got)
		}
	}
}

// A refused connection takes no place, and one that has left leaves nothing behind.
func TestDoor_keepsNothing(t *testing.T) {
	t.Parallel()
	d := New(50, 3)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 2000 {
				a := netip.AddrFrom4([4]byte{192, 0, 2, byte(g*31 + i)})
				if d.Enter(a) == Open {
					d.Leave(a)
				}
				if d.Enter(netip.Addr{}) == Open {
					if d.Name(a) {
						d.Leave(a)
					} else {
						d.Leave(netip.Addr{})
					}
				}
			}
		})
	}
	wg.Wait()
	if n := d.Conns(); n != 0 {
		t.Errorf("%d connections are counted in the end", n)
	}
	for i := range d.clients {
		if n := len(d.clients[i].n); n != 0 {
			t.Errorf("shard %d remembers %d clients", i, n)
		}
	}
}
