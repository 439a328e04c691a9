package transport

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestConfig_Validate(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change func(*Config)
		want   string
	}{
		"fine":          {func(*Config) {}, ""},
		"no port":       {func(c *Config) { c.Addr = "localhost" }, "want host:port"},
		"no identity":   {func(c *Config) { c.Identity = nil }, "Identity is missing"},
		"empty node id": {func(c *Config) { c.Identity = func() Identity { return Identity{} } }, "node id"},
		"odd node id":   {func(c *Config) { c.Identity = func() Identity { return Identity{NodeID: "n\n1"} } }, "unprintable"},
		"negative time": {func(c *Config) { c.CallTimeout = -time.Second }, "CallTimeout -1s"},
		"huge body":     {func(c *Config) { c.MaxBody = 2 << 30 }, "MaxBody"},
		"negative cap":  {func(c *Config) { c.MaxPending = -1 }, "negative"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := DefaultConfig()
			cfg.Addr = "127.0.0.1:0"
			cfg.Identity = func() Identity { return Identity{NodeID: "n1"} }
			tt.change(&cfg)
			err := cfg.Validate()
			if (tt.want == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("Validate = %v, want %q", err, tt.want)
			}
		})
	}
}

func TestAdvertised(t *testing.T) {
	t.Parallel()
	host := func(cidrs ...string) []net.Addr {
		var all []net.Addr
		for _, c := range cidrs {
			ip, ipnet, err := net.ParseCIDR(c)
			if err != nil {
				t.Fatal(err)
			}
			ipnet.IP = ip
			all = append(all, ipnet)
		}
		return all
	}
	tests := map[string]struct {
		configured, bound string
		host              []net.Addr
		want, wantErr     string
	}{
		"as bound":            {bound: "10.0.0.1:7946", want: "10.0.0.1:7946"},
		"bound v6":            {bound: "[2001:db8::1]:7946", want: "[2001:db8::1]:7946"},
		"configured":          {configured: "lb1.example:17946", bound: "0.0.0.0:7946", want: "lb1.example:17946"},
		"without port":        {configured: "lb1.example", bound: "0.0.0.0:7946", want: "lb1.example:7946"},
		"port 0":              {configured: "lb1.example:0", bound: "0.0.0.0:7946", want: "lb1.example:7946"},
		"v6 without port":     {configured: "2001:db8::1", bound: "[::]:7946", want: "[2001:db8::1]:7946"},
		"v6 in brackets":      {configured: "[2001:db8::1]", bound: "[::]:7946", want: "[2001:db8::1]:7946"},
		"configured wildcard": {configured: "0.0.0.0:1", bound: "0.0.0.0:7946", wantErr: "wildcard"},
		"bad port":            {configured: "lb1:http", bound: "0.0.0.0:7946", wantErr: "want host or host:port"},
		"private first":       {bound: "0.0.0.0:7946", host: host("127.0.0.1/8", "192.0.2.1/24", "10.1.2.3/8"), want: "10.1.2.3:7946"},
		"public if alone":     {bound: "0.0.0.0:7946", host: host("127.0.0.1/8", "192.0.2.1/24"), want: "192.0.2.1:7946"},
		"v4 before v6":        {bound: "[::]:7946", host: host("fd00::1/64", "192.0.2.1/24", "fe80::1/64"), want: "192.0.2.1:7946"},
		"v6 if alone":         {bound: "[::]:7946", host: host("::1/128", "fe80::1/64", "2001:db8::1/64"), want: "[2001:db8::1]:7946"},
		"no v6 on a v4 port":  {bound: "0.0.0.0:7946", host: host("2001:db8::1/64"), want: "127.0.0.1:7946"},
		"nothing but itself":  {bound: "0.0.0.0:7946", host: host("127.0.0.1/8"), want: "127.0.0.1:7946"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bound := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(tt.bound))
			got, err := advertised(tt.configured, bound, func() ([]net.Addr, error) { return tt.host, nil })
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Fatalf("advertised = %q, %v, want an error with %q", got, err, tt.wantErr)
				}
				return
			}
			if err != nil || got != tt.want {
				t.Errorf("advertised = %q, %v, want %q", got, err, tt.want)
			}
		})
	}
	_, err := advertised("", net.TCPAddrFromAddrPort(netip.MustParseAddrPort("0.0.0.0:1")), func() ([]net.Addr, error) { return nil, errors.New("netlink") })
	if err == nil || !strings.Contains(err.Error(), "--advertise-addr") {
		t.Errorf("advertised without interfaces = %v, want a way out", err)
	}
}

func TestNotes_allow(t *testing.T) {
	t.Parallel()
	n := newNotes(nil)
	now := time.Unix(1000, 0)
	step := func(key string, at time.Duration, want bool, wantSuppressed int) {
		t.Helper()
		ok, s := n.allow(key, now.Add(at))
		if ok != want || s != wantSuppressed {
			t.Errorf("allow(%q, %v) = %v, %d, want %v, %d", key, at, ok, s, want, wantSuppressed)
		}
	}
	step("a", 0, true, 0)
	step("a", time.Second, false, 0)
	step("b", time.Second, true, 0)
	step("a", 2*time.Second, false, 0)
	step("a", notePeriod, true, 2)
	step("a", notePeriod+time.Second, false, 0)

	full := newNotes(nil)
	for i := range 3 * noteKeys {
		full.allow(string(rune(i+1)), now)
	}
	if len(full.seen) > noteKeys+1 {
		t.Errorf("notes remember %d keys, want at most %d", len(full.seen), noteKeys+1)
	}
	if ok, _ := full.allow("later", now.Add(notePeriod)); !ok {
		t.Error("a full table does not recover after its period")
	}
}
