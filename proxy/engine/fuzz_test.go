//go:build linux

package engine

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// ways are how FuzzClient sends: in clear text, over TLS, and as ciphertext that was never sealed, behind a handshake.
const (
	wayPlain = iota
	wayTLS
	wayRecords
	ways
)

// FuzzClient has a client send anything, in two pieces, and end or cut its connection. The engine must live on, answer
// nothing but HTTP, and mix nothing up with the canary that another connection sends in between.
func FuzzClient(f *testing.F) {
	const get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	for way := range uint8(ways) {
		for _, in := range []string{
			"", get, get + get, "nonsense\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nX",
			"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc" + get, "GET /" + strings.Repeat("a", 9000),
			"\x15\x03\x03\x00\x02\x01\x00", "\x15\x03\x03\x00\x02\x02\x28", "\x16\x03\x03\x00\x05\x18\x00\x00\x01\x01", "\x17\x03\x03\x40\x01", "\x17\x03\x03\x00\x00",
			"\x16\x03\x01\x00\x04\x00\x00\x00\x00", "\x14\x03\x03\x00\x01\x01", "\x17\x03\x03\xff\xff" + strings.Repeat("x", 70_000),
		} {
			f.Add([]byte(in), uint16(len(in)/2), way, true)
			f.Add([]byte(in), uint16(1), way, false)
		}
	}
	plain, secure := fuzzBed(f, testCertificate(f))
	n := 0
	f.Fuzz(func(t *testing.T, in []byte, cut uint16, way uint8, gently bool) {
		if bytes.Contains(in, []byte("PRI ")) {
			t.Skip("may become HTTP/2, which has frames for answers")
		}
		n++
		secret := fmt.Sprintf("canary-%d-of-this-run", n)
		addr := plain
		if way%ways != wayPlain {
			addr = secure
		}
		raw, err := net.Dial("tcp", addr)
		if err != nil {
			t.Skip(err)
		}
		defer raw.Close()
		_ = raw.SetDeadline(time.Now().Add(20 * time.Second))
		c := raw
		if way%ways != wayPlain {
			s := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
			if err := s.Handshake(); err != nil {
				t.Fatalf("handshake: %v", err)
			}
			if way%ways == wayTLS {
				c = s
			}
		}
		at := min(int(cut), len(in))
		_, _ = c.Write(in[:at]) // the engine may have closed
		canary(t, plain, secret)
		_, _ = c.Write(in[at:])
		if !gently {
			_ = raw.(*net.TCPConn).SetLinger(0)
			raw.Close()
			canary(t, plain, secret)
			return
		}
		_ = c.(interface{ CloseWrite() error }).CloseWrite()
		got, err := io.ReadAll(c)
		if err, ok := err.(net.Error); ok && err.Timeout() {
			t.Fatalf("the connection is still open; %d bytes came", len(got))
		}
		if way%ways != wayRecords && len(got) > 0 && !bytes.HasPrefix(got, []byte("HTTP/1.1 ")) {
			t.Fatalf("answered %.100q", got)
		}
		if bytes.Contains(got, []byte("canary-")) && !bytes.Contains(in, []byte("canary-")) {
			t.Fatalf("the canary's bytes came to somebody else: %.200q", got)
		}
		canary(t, plain, secret)
	})
}

// canary sends one request of its own and wants its own answer.
func canary(t *testing.T, addr, secret string) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(secret), secret); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("canary: %v", err)
	}
	if got, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 200 || string(got) != secret {
		t.Fatalf("canary: %d %q, %v, want %q", resp.StatusCode, got, err, secret)
	}
}
