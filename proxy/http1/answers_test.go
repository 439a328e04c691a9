package http1

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
)

// answered gives what an AnswerReader makes of a stream that answers one request.
func answered(in string, verb string, bytewise bool) (string, error) {
	src := io.Reader(strings.NewReader(in))
	if bytewise {
		src = iotest.OneByteReader(src)
	}
	r := NewAnswerReader(src, AnswerLimits(32<<10))
	r.Sent([]byte(verb + " / HTTP/1.1\r\n"))
	out, err := io.ReadAll(r)
	return string(out), err
}

func TestAnswerReader(t *testing.T) {
	t.Parallel()
	const ok = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
	for _, tc := range []struct {
		name, verb, in, out string
		why                 Reason
	}{
		{"as it is", "GET", ok, ok, OK},
		{"hop by hop", "GET", "HTTP/1.1 200 OK\r\nConnection: close, X-Secret\r\nX-Secret: 1\r\nX: 2\r\nContent-Length: 5\r\n\r\nhello", "HTTP/1.1 200 OK\r\nX: 2\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello", OK},
		{"chunks without extensions", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n", OK},
		{"until close", "GET", "HTTP/1.0 200 OK\r\n\r\nhello", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello", OK},
		{"interim", "GET", "HTTP/1.1 103 Early\r\nConnection: X\r\nX: 1\r\nLink: y\r\n\r\n" + ok, "HTTP/1.1 103 Early\r\nLink: y\r\n\r\n" + ok, OK},
		{"head", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", OK},
		{"head with a body", "HEAD", ok, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + refusedText(UnaskedResponse), UnaskedResponse},
		{"bytes after", "GET", ok + ok, ok + refusedText(UnaskedResponse), UnaskedResponse},
		{"websocket", "GET", "HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\n\r\n\x00raw", "HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x00raw", OK},
		{"other upgrade", "GET", "HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\nraw", refusedText(BadUpgrade), BadUpgrade},
		{"both lengths", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", refusedText(EncodingAndLength), EncodingAndLength},
		{"large head", "GET", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 33<<10) + "\r\n\r\n", refusedText(HeadTooLarge), HeadTooLarge},
		{"bad chunk", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello", BadChunkEnd},
	} {
		for _, bytewise := range []bool{false, true} {
			out, err := answered(tc.in, tc.verb, bytewise)
			var e *Error
			why := OK
			if errors.As(err, &e) {
				why = e.Reason
			}
			want := tc.out
			if why == UnaskedResponse && !bytewise { // known at the end of the answer
				want = strings.TrimSuffix(want, refusedText(why))
			}
			if out != want || why != tc.why {
				t.Errorf("%s (bytewise %t): %q, %v, want %q, %s", tc.name, bytewise, out, err, want, tc.why)
			}
		}
	}
}

func refusedText(why Reason) string { return "refused: " + why.String() + "\r\n\r\n" }

func TestAnswerReader_severalRequests(t *testing.T) {
	t.Parallel()
	const one = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na"
	in, w := io.Pipe()
	defer w.Close()
	r := NewAnswerReader(in, AnswerLimits(32<<10))
	buf := make([]byte, len(one))
	for range 3 {
		r.Sent([]byte("POST / HTTP/1.1\r\n\r\n"))
		r.Sent([]byte("HEAD in a body"))
		go func() { _, _ = io.WriteString(w, one) }()
		if _, err := io.ReadFull(r, buf); err != nil || string(buf) != one {
			t.Fatalf("read %q, %v", buf, err)
		}
	}
}

// What came along with an answer is not the next request's, even if that is sent before anybody reads on.
func TestAnswerReader_leftOver(t *testing.T) {
	t.Parallel()
	for _, one := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
		"HTTP/1.1 204 No Content\r\n\r\n",
	} {
		r := NewAnswerReader(strings.NewReader(one+"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"), AnswerLimits(32<<10))
		r.Sent([]byte("GET / HTTP/1.1\r\n\r\n"))
		buf := make([]byte, len(one))
		if _, err := io.ReadFull(r, buf); err != nil || string(buf) != one {
			t.Fatalf("read %q, %v, want %q", buf, err, one)
		}
		r.Sent([]byte("GET / HTTP/1.1\r\n\r\n"))
		var e *Error
		if more, err := io.ReadAll(r); len(more) > 0 || !errors.As(err, &e) || e.Reason != UnaskedResponse {
			t.Errorf("after %q: %q, %v, want only the error", one, more, err)
		}
	}
}

// What comes out is the same however it went in, and strict in every part: reading it again changes nothing.
func FuzzAnswerReader(f *testing.F) {
	for _, c := range readCorpus(f, "responses.txt") {
		f.Add(c.in, false)
		f.Add(c.in, true)
	}
	f.Fuzz(func(t *testing.T, in []byte, head bool) {
		verb := "GET"
		if head {
			verb = "HEAD"
		}
		whole, err := answered(string(in), verb, false)
		split, err2 := answered(string(in), verb, true)
		if err != nil || err2 != nil { // what is wrong with a line may show only at its end, if that comes
			return
		}
		if whole != split {
			t.Fatalf("whole %q, byte by byte %q", whole, split)
		}
		if again, err := answered(whole, verb, false); again != whole || err != nil {
			t.Fatalf("%q became %q, %v", whole, again, err)
		}
		// net/http understands it, or it is cut off.
		if resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(whole)), &http.Request{Method: verb}); err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
		}
	})
}
