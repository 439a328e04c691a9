package http1

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

func newScanner(t testing.TB, lim Limits) *Scanner {
	t.Helper()
	s, err := NewScanner(ScanConfig{Limits: lim, HTTP2: true})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// feed offers in in pieces of the given size, in place whenever nothing is held.
func feed(s *Scanner, in []byte, size int) (out []byte, why Reason) {
	for len(in) > 0 && why == OK {
		piece := bytes.Clone(in[:min(size, len(in))])
		in = in[len(piece):]
		if s.Held() == 0 {
			piece, why = s.Feed(piece[:0], piece)
			out = append(out, piece...)
		} else {
			out, why = s.Feed(out, piece)
		}
	}
	return out, why
}

// In every corpus case, a good request before it passes, and of a refused head not one byte does.
func TestScanner_corpus(t *testing.T) {
	t.Parallel()
	const good = "POST /good HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n"
	lim := DefaultLimits()
	for _, c := range readCorpus(t, "requests.txt") {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, size := range []int{1, 3, 50, 100_000} {
				if len(c.in) > 4096 && size < 50 {
					continue
				}
				s := newScanner(t, lim)
				in := append([]byte(good), c.in...)
				out, why := feed(s, in, size)
				got := why.String()
				if c.verdict == "incomplete" && why == OK {
					got = "incomplete"
				}
				if got != c.verdict {
					t.Fatalf("in pieces of %d: %s, want %s", size, why, c.verdict)
				}
				if !strings.HasPrefix(string(out), good) {
					t.Fatalf("in pieces of %d: the good request came out as %q", size, out)
				}
				out = out[len(good):]
				_, started := s.Refused()
				head := strings.HasPrefix(c.name, "ch-") // those break a rule in their body
				if why != OK && started != head {
					t.Errorf("in pieces of %d: started = %v, want %v", size, started, head)
				}
				switch {
				case why != OK && !started && len(out) > 0:
					t.Errorf("in pieces of %d: passed of a refused head: %q", size, out)
				case why == OK && c.verdict == "ok":
					if want := stripExtensions(bytes.TrimPrefix(c.in, []byte("\r\n"))); string(out) != want {
						t.Errorf("in pieces of %d: passed %q, want %q", size, out, want)
					}
				}
			}
		})
	}
}

func stripExtensions(in []byte) string {
	head, body, _ := bytes.Cut(in, []byte("\r\n\r\n"))
	lines := strings.SplitAfter(string(body), "\r\n")
	if bytes.Contains(bytes.ToLower(head), []byte("chunked")) {
		for i, l := range lines {
			if k := strings.IndexByte(l, ';'); k >= 0 {
				lines[i] = l[:k] + "\r\n"
			}
		}
	}
	return string(head) + "\r\n\r\n" + strings.Join(lines, "")
}

func TestScanner_stream(t *testing.T) {
	t.Parallel()
	const get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	const bad = "GET / HTTP/1.1\r\n\r\n"
	const ws = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
	for name, c := range map[string]struct {
		in, out string
		why     Reason
	}{
		"nothing":                    {"", "", OK},
		"pipeline":                   {get + get + get, get + get + get, OK},
		"empty line between":         {get + "\r\n" + get, get + get, OK},
		"refused after good":         {get + bad + get, get, MissingHost},
		"after close":                {"GET / HTTP/1.0\r\n\r\n" + bad, "GET / HTTP/1.0\r\n\r\n", OK},
		"upgrade that is declined":   {ws + bad, ws, MissingHost},
		"connect that is declined":   {"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n" + bad, "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", MissingHost},
		"http2":                      {preface + "\x00\x00\x00\x04", preface + "\x00\x00\x00\x04", OK},
		"http2 later":                {get + preface, get, UnsupportedVersion},
		"almost http2":               {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r", "", UnsupportedVersion},
		"begins like http2":          {"PRI / HTTP/1.1\r\nHost: a\r\n\r\n", "PRI / HTTP/1.1\r\nHost: a\r\n\r\n", OK},
		"our own method":             {RefusedMethod + " /x HTTP/1.1\r\nHost: a\r\n\r\n", "", BadMethod},
		"body in pieces, then a bad": {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nGET " + bad, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nGET ", MissingHost},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for size := 1; size <= len(c.in)+1; size++ {
				s := newScanner(t, DefaultLimits())
				out, why := feed(s, []byte(c.in), size)
				if string(out) != c.out || why != c.why {
					t.Fatalf("in pieces of %d: %q, %s, want %q, %s", size, out, why, c.out, c.why)
				}
				if out, again := s.Feed(nil, []byte(get)); why != OK && (again != why || len(out) > 0) {
					t.Fatalf("after the refusal: %q, %s, want nothing, %s", out, again, why)
				}
			}
		})
	}
}

func TestScanner_http2Off(t *testing.T) {
	t.Parallel()
	s, err := NewScanner(ScanConfig{Limits: DefaultLimits()})
	if err != nil {
		t.Fatal(err)
	}
	if out, why := s.Feed(nil, []byte(preface)); why != UnsupportedVersion || len(out) > 0 {
		t.Errorf("Feed(preface) = %q, %s, want nothing, %s", out, why, UnsupportedVersion)
	}
}

func TestScanner_Upgraded(t *testing.T) {
	t.Parallel()
	s := newScanner(t, DefaultLimits())
	const ws = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
	out, why := s.Feed(nil, []byte(ws+"GET"))
	if string(out) != ws || why != OK || s.Held() != 3 {
		t.Fatalf("Feed = %q, %s, %d held", out, why, s.Held())
	}
	if out := s.Upgraded(nil); string(out) != "GET" {
		t.Errorf("Upgraded gave %q, want what was held", out)
	}
	if out, why := s.Feed(nil, []byte("\x00\xff")); string(out) != "\x00\xff" || why != OK {
		t.Errorf("Feed after Upgraded = %q, %s", out, why)
	}
	s = newScanner(t, DefaultLimits())
	s.Feed(nil, []byte("\x00"))
	if out := s.Upgraded(nil); len(out) > 0 {
		t.Errorf("Upgraded after a refusal gave %q", out)
	}
	if out, why := s.Feed(nil, []byte("x")); len(out) > 0 || why != BadMethod {
		t.Errorf("Feed after a refusal = %q, %s", out, why)
	}
}

func TestReader_refusedHeadArrivesInOurWords(t *testing.T) {
	t.Parallel()
	const get = "GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"
	in := fmt.Sprintf(get, 1) + fmt.Sprintf(get, 2) + "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nsecret"
	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"whole": func(r io.Reader) io.Reader { return r }, "bytes": iotest.OneByteReader, "half": iotest.HalfReader, "data and error": iotest.DataErrReader,
	} {
		r, err := NewReader(wrap(strings.NewReader(in)), ScanConfig{Limits: DefaultLimits()})
		if err != nil {
			t.Fatal(err)
		}
		br := bufio.NewReader(r)
		var got []string
		for {
			req, err := http.ReadRequest(br)
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			got = append(got, req.Method+" "+req.URL.Path)
			if why, ok := RefusedRequest(req.Method, req.URL.Path); ok && why != EncodingAndLength {
				t.Errorf("%s: RefusedRequest = %s", name, why)
			}
		}
		if want := []string{"GET /1", "GET /2", RefusedMethod + " /te_and_cl"}; !slices.Equal(got, want) {
			t.Errorf("%s: requests = %q, want %q", name, got, want)
		}
		if r.Refused() != EncodingAndLength {
			t.Errorf("%s: Refused = %s", name, r.Refused())
		}
	}
}

func TestReader_brokenBodyIsAReadError(t *testing.T) {
	t.Parallel()
	r, err := NewReader(strings.NewReader("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n+1\r\nx"), ScanConfig{Limits: DefaultLimits()})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.ReadRequest(bufio.NewReader(r))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(req.Body)
	if e := (*Error)(nil); !errors.As(err, &e) || e.Reason != BadChunkSize || string(body) != "hello" {
		t.Errorf("body = %q, %v, want hello and %s", body, err, BadChunkSize)
	}
}

func TestReader_sourceErrorsPassAndEndNothing(t *testing.T) {
	t.Parallel()
	timeout := errors.New("deadline")
	src := &scriptReader{steps: []any{"GET / HTTP/1.1\r\nHo", timeout, "st: a\r\n\r\n", timeout, io.EOF}}
	r, err := NewReader(src, ScanConfig{Limits: DefaultLimits()})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, size := range []int{1000, 1, 1000, 1000, 1000} {
		p := make([]byte, size)
		n, err := r.Read(p)
		got = append(got, fmt.Sprintf("%q %v", p[:n], err))
	}
	want := []string{`"" deadline`, `"G" <nil>`, `"ET / HTTP/1.1\r\nHost: a\r\n\r\n" <nil>`, `"" deadline`, `"" EOF`}
	if !slices.Equal(got, want) {
		t.Errorf("reads = %q, want %q", got, want)
	}
	if n, err := r.Read(nil); n != 0 || err != nil {
		t.Errorf("Read(nil) = %d, %v", n, err)
	}
}

// scriptReader gives one string or error at a time.
type scriptReader struct{ steps []any }

func (s *scriptReader) Read(p []byte) (int, error) {
	step := s.steps[0]
	if text, ok := step.(string); ok {
		n := copy(p, text)
		s.steps[0] = text[n:]
		if n == len(text) {
			s.steps = s.steps[1:]
		}
		return n, nil
	}
	if step != io.EOF {
		s.steps = s.steps[1:]
	}
	return 0, step.(error)
}

// The guard in its place: under net/http.Server, with pipelining, a refused request behind two good ones
// and an upgrade by hijacking.
func TestReader_underNetHTTP(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if why, ok := RefusedRequest(r.Method, r.URL.Path); ok {
			http.Error(w, why.String(), why.Status())
			return
		}
		if r.URL.Path != "/upgrade" {
			io.Copy(w, r.Body)
			fmt.Fprint(w, r.URL.Path)
			return
		}
		c, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		if why := c.(*guarded).r.Upgraded(); why != OK {
			fmt.Fprintf(c, "no: %s", why)
			return
		}
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
		b := make([]byte, 4)
		if _, err := io.ReadFull(c, b); err != nil {
			t.Error(err)
		}
		c.Write(b)
	})}
	done := make(chan struct{})
	go func() { defer close(done); srv.Serve(guardListener{ln}) }()
	t.Cleanup(func() { srv.Close(); <-done })

	ask := func(in string) string {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, in); err != nil {
			t.Fatal(err)
		}
		out, err := io.ReadAll(c)
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	out := ask("GET /one HTTP/1.1\r\nHost: a\r\n\r\nPOST /two HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\r\nGET /three HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /four HTTP/1.1\r\nHost: a\r\n\r\n")
	one, two, bad := strings.Index(out, "/one"), strings.Index(out, "abc/two"), strings.Index(out, "400 Bad Request")
	if one < 0 || two < one || bad < two || !strings.Contains(out, "te_and_cl") || strings.Contains(out, "three") || strings.Contains(out, "four") {
		t.Errorf("answers = %q", out)
	}
	const upgrade = "GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
	if out := ask(upgrade + "\x00\x01\x02\x03"); out != "no: bad_method" {
		t.Errorf("a client that does not wait for the 101 is answered %q", out)
	}
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, upgrade)
	br := bufio.NewReader(c)
	for line := ""; line != "\r\n"; {
		if line, err = br.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	io.WriteString(c, "\x00\x01\x02\x03")
	if out, err := io.ReadAll(br); string(out) != "\x00\x01\x02\x03" || err != nil {
		t.Errorf("after the upgrade: %q, %v", out, err)
	}
}

type guardListener struct{ net.Listener }

func (l guardListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	r, err := NewReader(c, ScanConfig{Limits: DefaultLimits()})
	if err != nil {
		return nil, err
	}
	return &guarded{Conn: c, r: r}, nil
}

type guarded struct {
	net.Conn
	r *Reader
}

func (g *guarded) Read(p []byte) (int, error) { return g.r.Read(p) }

// What a Scanner passes must be the same however the bytes come in, and what it passes is accepted again.
func FuzzScanner(f *testing.F) {
	for _, c := range readCorpus(f, "requests.txt") {
		if len(c.in) < 500 {
			f.Add(append([]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), c.in...), uint16(5))
		}
	}
	f.Fuzz(func(t *testing.T, in []byte, size uint16) {
		lim := smallLimits()
		whole, why := feed(newScanner(t, lim), in, len(in)+1)
		for _, n := range []int{1, int(size%40) + 1} {
			parts, why2 := feed(newScanner(t, lim), in, n)
			if why2 == OK && why != OK { // the line with the error has not ended
				more, ended := append(bytes.Clone(in), '\n'), Reason(0)
				if _, ended = feed(newScanner(t, lim), more, n); ended != why {
					t.Fatalf("in pieces of %d: %s once the line has ended, want %s", n, ended, why)
				}
				why2 = why
			}
			if why != why2 || !bytes.Equal(whole, parts) {
				t.Fatalf("whole: %q, %s; in pieces of %d: %q, %s", whole, why, n, parts, why2)
			}
		}
		again, why := feed(newScanner(t, lim), whole, len(whole)+1)
		if why != OK || !bytes.Equal(again, whole) {
			t.Fatalf("passed %q, then of that %q, %s", whole, again, why)
		}
	})
}

// What the codec accepts, net/http must not refuse on its own, or the engines would differ the other way round.
func TestScanner_netHTTPTakesWhatIsAccepted(t *testing.T) {
	t.Parallel()
	for _, c := range readCorpus(t, "requests.txt") {
		if c.verdict != "ok" {
			continue
		}
		s := newScanner(t, DefaultLimits())
		out, why := s.Feed(nil, c.in)
		if why != OK {
			t.Errorf("%s: %s", c.name, why)
			continue
		}
		req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(out)))
		if err != nil {
			t.Errorf("%s: net/http: %v", c.name, err)
			continue
		}
		if body, err := io.ReadAll(req.Body); err != nil || c.facts["content"] != "" && string(body) != c.facts["content"] {
			t.Errorf("%s: net/http reads the body as %q, %v", c.name, body, err)
		}
	}
}
