package http2

import (
	"bytes"
	"hash/maphash"
	"testing"

	"golang.org/x/net/http2/hpack"
)

// referenceEncoder encodes a browser-like head as browsers do: the path is not indexed.
type referenceEncoder struct {
	buf bytes.Buffer
	e   *hpack.Encoder
}

func newReferenceEncoder() *referenceEncoder {
	r := &referenceEncoder{}
	r.e = hpack.NewEncoder(&r.buf)
	return r
}

func (r *referenceEncoder) block() []byte {
	r.buf.Reset()
	for _, f := range [][2]string{
		{":method", "GET"},
		{":scheme", "https"},
		{":path", "/sx/path?q=1"},
		{":authority", "127.0.0.1:9110"},
		{"user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"},
		{"accept", "text/html,application/json;q=0.9,*/*;q=0.8"},
		{"accept-encoding", "gzip, br"},
		{"cookie", "sid=0123456789abcdef0123456789abcdef"},
	} {
		if f[0] == ":path" {
			r.buf.WriteByte(4)
			s := hpack.AppendHuffmanString(nil, f[1])
			r.buf.WriteByte(0x80 | byte(len(s)))
			r.buf.Write(s)
			continue
		}
		_ = r.e.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}) // into memory
	}
	return bytes.Clone(r.buf.Bytes())
}

func BenchmarkDecode(b *testing.B) {
	first, again := second()
	d, h := NewDecoder(&Scratch{}), Head{}
	h.Reset(limit)
	d.Decode(first, &h)
	b.ReportAllocs()
	for b.Loop() {
		h.Reset(limit)
		if !d.Decode(again, &h) {
			b.Fatal("not decoded")
		}
		_, _ = h.Request(Ended)
	}
}

func BenchmarkEncode(b *testing.B) {
	e := NewEncoder(maphash.MakeSeed())
	fields := [][2][]byte{
		{[]byte("Server"), []byte("origin")},
		{[]byte("Date"), []byte("Sun, 22 Nov 2026 12:00:00 GMT")},
		{[]byte("Content-Type"), []byte("text/plain; charset=utf-8")},
		{[]byte("Cache-Control"), []byte("no-cache")},
		{[]byte("Content-Length"), []byte("128")},
	}
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		out = e.Status(e.Begin(out[:0]), 200)
		for _, f := range fields {
			out = e.Field(out, f[0], f[1])
		}
	}
}
