package proxyproto

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// v2 builds a header of version 2.
func v2(verCmd, family byte, body string) string {
	b := append([]byte(signature), verCmd, family)
	b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
	return string(b) + body
}

const (
	body4 = "\xc0\x00\x02\x01\xc6\x33\x64\x02\x30\x39\x01\xbb"
	tlv   = "\x04\x00\x03abc"
)

var body6 = "\x20\x01\x0d\xb8" + strings.Repeat("\x00", 11) + "\x01" + "\x20\x01\x0d\xb8" + strings.Repeat("\x00", 11) + "\x02" + "\x30\x39\x01\xbb"

type parseCase struct {
	name, in string
	source   string // "" = none
	err      error
}

func parseCases() []parseCase {
	return []parseCase{
		{"v1 tcp4", "PROXY TCP4 192.0.2.1 198.51.100.2 12345 443\r\n", "192.0.2.1:12345", nil},
		{"v1 tcp6", "PROXY TCP6 2001:db8::1 2001:db8::2 12345 443\r\n", "[2001:db8::1]:12345", nil},
		{"v1 unknown", "PROXY UNKNOWN\r\n", "", nil},
		{"v1 unknown with more", "PROXY UNKNOWN ffff:: x 1 2\r\n", "", nil},
		{"v1 wrong family", "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n", "", ErrBroken},
		{"v1 zone", "PROXY TCP6 fe80::1%eth0 2001:db8::2 1 2\r\n", "", ErrBroken},
		{"v1 port", "PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n", "", ErrBroken},
		{"v1 odd port", "PROXY TCP4 192.0.2.1 198.51.100.2 +1 443\r\n", "", ErrBroken},
		{"v1 leading zero", "PROXY TCP4 192.0.2.1 198.51.100.2 01 443\r\n", "", ErrBroken},
		{"v1 two spaces", "PROXY TCP4  192.0.2.1 198.51.100.2 1 443\r\n", "", ErrBroken},
		{"v1 bare lf", "PROXY TCP4 192.0.2.1 198.51.100.2 1 443\n", "", ErrBroken},
		{"v1 udp", "PROXY UDP4 192.0.2.1 198.51.100.2 1 443\r\n", "", ErrBroken},
		{"v1 too long", "PROXY UNKNOWN " + strings.Repeat("x", 100) + "\r\n", "", ErrBroken},
		{"v1 cut", "PROXY TCP4 192.0.2.1 ", "", ErrMore},
		{"lower case", "proxy tcp4 ", "", ErrMissing},
		{"http", "GET / HTTP/1.1\r\n", "", ErrMissing},
		{"post", "POST / HTTP/1.1\r\n", "", ErrMissing},
		{"h2", "PRI * HTTP/2.0\r\n", "", ErrMissing},
		{"tls", "\x16\x03\x01", "", ErrMissing},
		{"nothing", "", "", ErrMore},
		{"v2 tcp4", v2(0x21, 0x11, body4), "192.0.2.1:12345", nil},
		{"v2 tcp6", v2(0x21, 0x21, body6), "[2001:db8::1]:12345", nil},
		{"v2 tlv", v2(0x21, 0x11, body4+tlv), "192.0.2.1:12345", nil},
		{"v2 local", v2(0x20, 0x00, ""), "", nil},
		{"v2 local with addresses", v2(0x20, 0x11, body4), "", nil},
		{"v2 unspec", v2(0x21, 0x00, tlv), "", nil},
		{"v2 unix", v2(0x21, 0x31, strings.Repeat("\x00", 216)), "", nil},
		{"v2 udp", v2(0x21, 0x12, body4), "", ErrBroken},
		{"v2 short", v2(0x21, 0x11, body4[:8]), "", ErrBroken},
		{"v2 version", v2(0x31, 0x11, body4), "", ErrBroken},
		{"v2 command", v2(0x22, 0x11, body4), "", ErrBroken},
		{"v2 too long", v2(0x21, 0x11, strings.Repeat("\x00", MaxLen)), "", ErrBroken},
		{"v2 cut", v2(0x21, 0x11, body4)[:20], "", ErrMore},
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	for _, tc := range parseCases() {
		h, n, err := Parse([]byte(tc.in + "rest"[:4*b2i(tc.err == nil)]))
		if !errors.Is(err, tc.err) || err == nil && n != len(tc.in) {
			t.Errorf("%s: n %d, error %v, want %d, %v", tc.name, n, err, len(tc.in), tc.err)
		}
		got := ""
		if h.Source.IsValid() {
			got = h.Source.String()
		}
		if got != tc.source {
			t.Errorf("%s: source %q, want %q", tc.name, got, tc.source)
		}
		// Byte by byte: nothing is decided too early, and nothing differently.
		for k := range len(tc.in) {
			if _, _, perr := Parse([]byte(tc.in[:k])); err == nil && perr != ErrMore {
				t.Errorf("%s: after %d bytes %v, want ErrMore", tc.name, k, perr)
			}
		}
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func FuzzParse(f *testing.F) {
	for _, tc := range parseCases() {
		f.Add([]byte(tc.in))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, n, err := Parse(b)
		if err != nil {
			if n != 0 || h != (Header{}) {
				t.Fatalf("error %v with n %d, %v", err, n, h)
			}
			return
		}
		if n < 1 || n > len(b) || n > MaxLen {
			t.Fatalf("n = %d of %d", n, len(b))
		}
		for k := range n {
			if _, _, err := Parse(b[:k]); err != ErrMore {
				t.Fatalf("after %d of %d bytes: %v, want ErrMore", k, n, err)
			}
		}
		if h.Source.IsValid() != h.Dest.IsValid() || h.Source.Addr().Zone() != "" {
			t.Fatalf("addresses %v", h)
		}
	})
}

func TestAccept(t *testing.T) {
	t.Parallel()
	for _, tc := range parseCases() {
		client, server := net.Pipe()
		go func() {
			for i := range len(tc.in) {
				if _, err := client.Write([]byte{tc.in[i]}); err != nil {
					break
				}
			}
			_, _ = io.WriteString(client, "hello")
			client.Close()
		}()
		c, err := Accept(t.Context(), server, time.Minute)
		want := tc.err
		if want == ErrMore { // what follows decides; never a header
			want = err
		}
		if !errors.Is(err, want) || (err == nil) != (tc.err == nil) {
			t.Errorf("%s: %v, want %v", tc.name, err, tc.err)
		}
		if err == nil {
			if got, err := io.ReadAll(c); string(got) != "hello" || err != nil {
				t.Errorf("%s: behind the header came %q, %v", tc.name, got, err)
			}
			if tc.source != "" && c.RemoteAddr().String() != tc.source {
				t.Errorf("%s: RemoteAddr = %s, want %s", tc.name, c.RemoteAddr(), tc.source)
			}
		}
		server.Close()
	}
}

func TestAccept_silentPeer(t *testing.T) {
	t.Parallel()
	client, server := net.Pipe()
	defer client.Close()
	defer server.Close()
	if _, err := Accept(t.Context(), server, time.Millisecond); err == nil {
		t.Error("a silent peer was accepted")
	}
}

func TestTrust(t *testing.T) {
	t.Parallel()
	trust := Trust{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	for addr, want := range map[string]bool{"10.1.2.3": true, "::ffff:10.1.2.3": true, "11.0.0.1": false, "::1": true, "::2": false} {
		if got := trust.Contains(netip.MustParseAddr(addr)); got != want {
			t.Errorf("Contains(%s) = %t, want %t", addr, got, want)
		}
	}
	if Trust(nil).ContainsAddr(&net.TCPAddr{IP: net.IPv4(10, 0, 0, 1)}) {
		t.Error("nobody is trusted, and somebody was")
	}
}
