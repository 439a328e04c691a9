package http1

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// smallLimits make limits easy to reach for a fuzzer.
func smallLimits() Limits { return Limits{Line: 80, Head: 300, Fields: 8, Trailer: 60, Ext: 12} }

func seed(f *testing.F, file string) {
	for _, c := range readCorpus(f, file) {
		if len(c.in) < 1000 {
			f.Add(c.in, uint16(3))
		}
	}
}

// checkSplit wants the same verdict, content and trailers however the bytes are split. A line that has not
// ended may hide its error until it does, so a verdict of More is put to the test by ending the line.
func checkSplit(t *testing.T, fresh func() message, in []byte, size int, lim *Limits) {
	t.Helper()
	why, content, trailers := run(fresh(), in, 0, lim)
	why2, content2, trailers2 := run(fresh(), in, size, lim)
	if why2 == More && why.Refused() {
		in = append(bytes.Clone(in), '\n')
		why, content, trailers = run(fresh(), in, 0, lim)
		why2, content2, trailers2 = run(fresh(), in, size, lim)
	}
	if why != why2 || why == OK && (!bytes.Equal(content, content2) || trailers != trailers2) {
		t.Fatalf("whole: %s, %q, %d trailers; in pieces of %d: %s, %q, %d", why, content, trailers, size, why2, content2, trailers2)
	}
}

// list shows what a head says, without the fields that end at a hop and the Host that is written first.
func list(h *Head) []string {
	var out []string
	for i := range h.fields {
		f := &h.fields[i]
		if !f.hop && f.id != Host && f.id != ContentLength && f.id != TransferEncoding && (f.id != Trailer || h.Body == ByChunks) {
			out = append(out, string(f.name)+"="+string(f.value))
		}
	}
	return out
}

func FuzzRequest(f *testing.F) {
	seed(f, "requests.txt")
	f.Fuzz(func(t *testing.T, in []byte, size uint16) {
		lim := smallLimits()
		checkSplit(t, func() message { return &testRequest{} }, in, int(size%64)+1, &lim)
		checkSplit(t, func() message { return &testRequest{} }, in, 1, &lim)

		lim = DefaultLimits()
		var a, b Request
		n, why := a.Parse(in, &lim)
		if why != OK {
			if n != 0 {
				t.Fatalf("%s with n = %d", why, n)
			}
			return
		}
		if n < 4 || n > len(in) || !bytes.HasSuffix(in[:n], []byte("\r\n\r\n")) {
			t.Fatalf("a head of %d bytes: %q", n, in[:min(n, len(in))])
		}
		out, why := a.Append(nil, 0)
		if a.Form == AuthorityForm || len(a.Host) == 0 {
			if why == OK {
				t.Fatalf("written without path or host: %q", out)
			}
			return
		}
		if why != OK {
			t.Fatalf("Append of what was parsed: %s", why)
		}
		if bytes.Count(out, []byte("\n")) != bytes.Count(out, []byte("\r\n")) || bytes.Count(out, []byte("\r")) != bytes.Count(out, []byte("\r\n")) {
			t.Fatalf("bare CR or LF in %q", out)
		}
		m, why := b.Parse(out, &lim)
		if why != OK || m != len(out) {
			t.Fatalf("strict parse of the written head %q: %s, %d of %d bytes", out, why, m, len(out))
		}
		type view struct {
			Method, Path, Query, Host string
			HasQuery                  bool
			Body                      Body
			Length                    int64
			Fields                    []string
		}
		see := func(r *Request) view {
			return view{string(r.Method), string(r.Path), string(r.Query), string(r.Host), r.HasQuery, r.Body, r.Length, list(&r.Head)}
		}
		if d := cmp.Diff(see(&a), see(&b)); d != "" {
			t.Fatalf("written and read again (-first +second):\n%s", d)
		}
		compareNetHTTP(t, in, &a)
	})
}

// compareNetHTTP wants net/http to read the same message as we do wherever both accept it.
func compareNetHTTP(t *testing.T, in []byte, a *Request) {
	t.Helper()
	br := bufio.NewReader(bytes.NewReader(bytes.TrimPrefix(in, []byte("\r\n"))))
	ref, err := http.ReadRequest(br)
	if err != nil {
		return
	}
	if ref.Method != string(a.Method) || ref.RequestURI != string(a.Target) || ref.ProtoMinor != int(a.Minor) {
		t.Fatalf("net/http reads %s %s 1.%d, we %s %s 1.%d", ref.Method, ref.RequestURI, ref.ProtoMinor, a.Method, a.Target, a.Minor)
	}
	if a.Form != AuthorityForm && ref.Host != string(a.Host) {
		t.Fatalf("net/http takes Host %q, we %q", ref.Host, a.Host)
	}
	want := int64(0)
	switch a.Body {
	case ByLength:
		want = a.Length
	case ByChunks:
		want = -1
	}
	if ref.ContentLength != want {
		t.Fatalf("net/http takes the length %d, we %d", ref.ContentLength, want)
	}
	if ref.Close == a.KeepAlive() {
		t.Fatalf("net/http: close %v, we: keep-alive %v", ref.Close, a.KeepAlive())
	}
	for i := range a.fields {
		f := &a.fields[i]
		if f.id == Host || f.id == TransferEncoding || f.id == Trailer || f.id == Connection {
			continue // net/http keeps these elsewhere
		}
		found := false
		for _, v := range ref.Header.Values(http.CanonicalHeaderKey(string(f.name))) {
			found = found || v == string(f.value)
		}
		if !found && !strings.EqualFold(string(f.name), "Cache-Control") { // made up from Pragma
			t.Fatalf("net/http has no field %s: %q in %v", f.name, f.value, ref.Header)
		}
	}
	if a.Body != ByChunks {
		return
	}
	lim := DefaultLimits()
	i := bytes.Index(in, []byte("\r\n\r\n")) + 4
	why, content, _ := runChunks(in[i:], len(in), &lim)
	if got, err := io.ReadAll(ref.Body); why == OK && err == nil && !bytes.Equal(got, content) {
		t.Fatalf("net/http decodes %q, we %q", got, content)
	}
}

func FuzzResponse(f *testing.F) {
	seed(f, "responses.txt")
	f.Fuzz(func(t *testing.T, in []byte, size uint16) {
		lim := smallLimits()
		verb := []Verb{GET, HEAD, CONNECT}[int(size)%3]
		fresh := func() message { return &testResponse{verb: verb} }
		checkSplit(t, fresh, in, int(size%64)+1, &lim)
		checkSplit(t, fresh, in, 1, &lim)

		lim = DefaultLimits()
		var a, b Response
		if _, why := a.Parse(in, verb, &lim); why != OK {
			return
		}
		out, why := a.Append(nil, Close)
		if why != OK {
			t.Fatalf("Append of what was parsed: %s", why)
		}
		n, why := b.Parse(out, verb, &lim)
		if why != OK || n != len(out) {
			t.Fatalf("strict parse of the written head %q: %s, %d of %d bytes", out, why, n, len(out))
		}
		type view struct {
			Status int
			Phrase string
			Body   Body
			Length int64
			Fields []string
		}
		see := func(r *Response) view { return view{r.Status, string(r.Phrase), r.Body, r.Length, list(&r.Head)} }
		if d := cmp.Diff(see(&a), see(&b)); d != "" {
			t.Fatalf("written and read again (-first +second):\n%s", d)
		}
	})
}

// The relayed form of a chunked body must decode to the same content, hold no extension, and be the same
// however the bytes come in.
func FuzzChunked(f *testing.F) {
	for _, c := range readCorpus(f, "requests.txt") {
		if _, body, ok := bytes.Cut(c.in, []byte("\r\n\r\n")); ok && strings.HasPrefix(c.name, "ch-") && len(body) < 1000 {
			f.Add(body, uint16(2))
		}
	}
	f.Fuzz(func(t *testing.T, in []byte, size uint16) {
		lim := smallLimits()
		why, content, trailers := runChunks(in, len(in)+1, &lim)
		step := int(size%32) + 1
		var c Chunked
		c.Reset(&lim)
		var relayed []byte
		rest, why2 := in, More
		for len(rest) > 0 && why2 == More {
			piece := bytes.Clone(rest[:min(step, len(rest))])
			for len(piece) > 0 && why2 == More {
				var n int
				var keep []byte
				n, keep, why2 = c.NextFramed(piece)
				relayed = append(relayed, keep...)
				piece, rest = piece[n:], rest[n:]
			}
		}
		if why != why2 {
			t.Fatalf("Next: %s, NextFramed: %s", why, why2)
		}
		if why != OK {
			return
		}
		relayed = AppendTrailers(relayed, c.Trailers())
		lim.Trailer *= 2 // a space after each colon may have been added
		why3, content3, trailers3 := runChunks(relayed, len(relayed), &lim)
		if why3 != OK || !bytes.Equal(content, content3) || trailers != trailers3 {
			t.Fatalf("relayed as %q: %s, content %q, want %q", relayed, why3, content3, content)
		}
		// With no room for extensions there must be none left.
		lim.Ext = 0
		if why4, _, _ := runChunks(relayed, len(relayed), &lim); why4 != OK {
			t.Fatalf("relayed with extensions: %q", relayed)
		}
	})
}
