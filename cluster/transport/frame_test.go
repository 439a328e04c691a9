package transport

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func encodeRequest(t testing.TB, q request) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := writeRequest(bufio.NewWriter(&buf), q); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func encodeReply(t testing.TB, a reply) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := writeReply(bufio.NewWriter(&buf), a); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestRequest_roundTrip(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ in, want request }{
		{request{method: "propose"}, request{method: "propose"}},
		{request{method: "m", timeout: time.Microsecond, body: []byte("x")}, request{method: "m", timeout: time.Millisecond, body: []byte("x")}},
		{
			request{method: strings.Repeat("m", 255), timeout: 1500 * time.Millisecond, body: bytes.Repeat([]byte("y"), 300_000)},
			request{method: strings.Repeat("m", 255), timeout: 1500 * time.Millisecond, body: bytes.Repeat([]byte("y"), 300_000)},
		},
		{request{method: "m", timeout: 1000 * time.Hour * 24}, request{method: "m", timeout: (1<<32 - 1) * time.Millisecond}},
	} {
		got, err := readRequest(bufio.NewReader(bytes.NewReader(encodeRequest(t, tt.in))), 1<<20)
		if err != nil {
			t.Fatalf("readRequest = %v", err)
		}
		if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(request{})); diff != "" {
			t.Errorf("request (-want +got):\n%s", diff)
		}
	}
}

func TestReply_errors(t *testing.T) {
	t.Parallel()
	p := Peer{Identity: Identity{NodeID: "n2"}}
	trip := func(a reply) error {
		got, err := readReply(bufio.NewReader(bytes.NewReader(encodeReply(t, a))), 1<<20)
		if err != nil {
			t.Fatalf("readReply = %v", err)
		}
		return got.err(p)
	}
	if err := trip(reply{kind: answerOK, body: []byte("fine")}); err != nil {
		t.Errorf("ok = %v", err)
	}
	want := &RemoteError{Code: "no_leader", Msg: "no leader"}
	var remote *RemoteError
	if err := trip(remoteReply(want)); !errors.As(err, &remote) || *remote != *want {
		t.Errorf("remote error = %v, want %v", err, want)
	}
	for code, sentinel := range map[refusal]error{
		refusedCluster: ErrWrongCluster, refusedMember: ErrNotMember, refusedMethod: ErrNoMethod,
		refusedSize: ErrTooLarge, refusedOther: ErrRefused, 200: ErrRefused,
	} {
		err := trip(refusedReply(code, "because"))
		if !errors.Is(err, sentinel) || !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "refused by n2: because") {
			t.Errorf("refusal %d = %v, want %v and ErrRefused", code, err, sentinel)
		}
	}
	for _, body := range []string{"", "\x05abc"} {
		if err := trip(reply{kind: answerError, body: []byte(body)}); !errors.Is(err, errFrame) {
			t.Errorf("error body %q = %v, want %v", body, err, errFrame)
		}
	}
	if err := trip(reply{kind: answerRefused}); !errors.Is(err, errFrame) {
		t.Errorf("empty refusal = %v, want %v", err, errFrame)
	}
}

func TestReadBody_limits(t *testing.T) {
	t.Parallel()
	if _, err := readBody(strings.NewReader(""), 11, 10); !errors.Is(err, ErrTooLarge) {
		t.Errorf("readBody over the limit = %v, want %v", err, ErrTooLarge)
	}
	if _, err := readBody(strings.NewReader("abc"), 4, 10); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("readBody cut short = %v, want %v", err, io.ErrUnexpectedEOF)
	}
}

// A length field is a claim. Memory must follow what was sent, not the claim.
func TestReadBody_doesNotTrustTheLength(t *testing.T) { // not parallel: it measures
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 20 {
		if _, err := readBody(strings.NewReader("x"), 1<<30, 1<<30); err == nil {
			t.Fatal("readBody made up a gigabyte")
		}
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 20<<20 {
		t.Errorf("20 short bodies allocated %d bytes", got)
	}
}

func FuzzFrames(f *testing.F) {
	f.Add(encodeRequest(f, request{method: "propose", timeout: time.Second, body: []byte("cmd")}))
	f.Add(encodeReply(f, remoteReply(&RemoteError{Code: "c", Msg: "m"})))
	f.Add(encodeReply(f, refusedReply(refusedCluster, "no")))
	f.Add([]byte("\x01\x01\x00\x00\x00\x00\xff\xff\xff\xffm"))
	f.Fuzz(func(t *testing.T, data []byte) {
		const limit = 1 << 16
		if q, err := readRequest(bufio.NewReader(bytes.NewReader(data)), limit); err == nil {
			if q.method == "" || len(q.body) > limit {
				t.Fatalf("readRequest accepted method %q with %d bytes", q.method, len(q.body))
			}
		}
		if a, err := readReply(bufio.NewReader(bytes.NewReader(data)), limit); err == nil {
			if err := a.err(Peer{}); (err == nil) != (a.kind == answerOK) {
				t.Fatalf("reply %d means %v", a.kind, err)
			}
		}
	})
}
