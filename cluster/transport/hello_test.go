package transport

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestHello_roundTrip(t *testing.T) {
	t.Parallel()
	for _, id := range []Identity{{"n1", ""}, {"n1", "3f0c"}, {strings.Repeat("n", 255), strings.Repeat("c", 255)}} {
		r := bytes.NewReader(append(hello{id}.encode(), "raft"...))
		got, err := readHello(r)
		if err != nil || got.Identity != id {
			t.Errorf("readHello = %v, %v, want %v", got, err, id)
		}
		if rest, _ := io.ReadAll(r); string(rest) != "raft" {
			t.Errorf("readHello left %q, want what follows the frame", rest)
		}
	}
}

func TestAnswer_roundTrip(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 5000)
	for _, tt := range []struct{ in, want answer }{
		{answer{Identity: Identity{"n1", "c"}}, answer{Identity: Identity{"n1", "c"}}},
		{
			answer{Identity: Identity{"n1", ""}, code: refusedCluster, reason: "other cluster"},
			answer{Identity: Identity{"n1", ""}, code: refusedCluster, reason: "other cluster"},
		},
		{
			answer{Identity: Identity{long, long}, code: 99, reason: long},
			answer{Identity: Identity{long[:255], long[:255]}, code: 99, reason: long[:maxReason]},
		},
		{answer{reason: "\x1b[31mred\n"}, answer{reason: "?[31mred?"}},
	} {
		got, err := readAnswer(bytes.NewReader(tt.in.encode()))
		if err != nil {
			t.Fatalf("readAnswer = %v", err)
		}
		if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(answer{})); diff != "" {
			t.Errorf("answer (-want +got):\n%s", diff)
		}
	}
}

func TestReadHello_malformed(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		in   string
		want error
	}{
		"empty":          {"", io.EOF},
		"another magic":  {"GET / HTTP/1.1\r\n", errHello},
		"version 0":      {"LBN\x00\x00\x02\x00\x00", errHello},
		"too long":       {"LBN\x01\xff\xff", errHello},
		"cut short":      {"LBN\x01\x00\x09\x02n1", io.ErrUnexpectedEOF},
		"id overruns":    {"LBN\x01\x00\x03\x05n1", errHello},
		"no cluster id":  {"LBN\x01\x00\x03\x02n1", errHello},
		"empty payload":  {"LBN\x01\x00\x00", errHello},
		"later version":  {"LBN\x09\x00\x06\x02n1\x01c+", nil},
		"extra field ok": {"LBN\x01\x00\x07\x02n1\x01c++", nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := readHello(strings.NewReader(tt.in))
			if !errors.Is(err, tt.want) {
				t.Fatalf("readHello = %v, want %v", err, tt.want)
			}
			if err == nil && got.Identity != (Identity{"n1", "c"}) {
				t.Errorf("readHello = %v", got)
			}
		})
	}
}

func TestCheckMembership(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		self, peer string
		want       refusal
		text       string
	}{
		{"c1", "c1", accepted, ""},
		{"c1", "c2", refusedCluster, "empty data dir"},
		{"", "c2", refusedMember, "this node (me) is not a member"},
		{"c1", "", refusedMember, "--join"},
		{"", "", refusedMember, "not a member"},
	} {
		code, reason := checkMembership(Identity{"me", tt.self}, Identity{"you", tt.peer})
		if code != tt.want || !strings.Contains(reason, tt.text) {
			t.Errorf("checkMembership(%q, %q) = %d, %q, want %d and %q", tt.self, tt.peer, code, reason, tt.want, tt.text)
		}
	}
}

func FuzzHello(f *testing.F) {
	f.Add(hello{Identity{"n1", "c"}}.encode())
	f.Add(answer{Identity: Identity{"n1", "c"}, code: refusedCluster, reason: "why"}.encode())
	f.Add([]byte("LBN\x01\xff\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if h, err := readHello(bytes.NewReader(data)); err == nil {
			again, err := readHello(bytes.NewReader(h.encode()))
			if err != nil || clipID(again.NodeID) != clipID(h.NodeID) {
				t.Fatalf("hello %v became %v, %v", h, again, err)
			}
		}
		if a, err := readAnswer(bytes.NewReader(data)); err == nil {
			if _, err := readAnswer(bytes.NewReader(a.encode())); err != nil {
				t.Fatalf("answer %v: %v", a, err)
			}
			if strings.ContainsAny(a.reason, "\n\x1b\x00") {
				t.Fatalf("reason %q can hurt a terminal", a.reason)
			}
		}
	})
}

// clipID ignores the tail that a multi-byte replacement may push over the limit.
func clipID(s string) string { return clip(s, 80) }
