package http1

import "testing"

// browserHead is a typical request head of 260 bytes.
const browserHead = "GET /api/v1/users?page=2 HTTP/1.1\r\nHost: www.example.com\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n" +
	"Accept: text/html,application/xhtml+xml\r\nAccept-Encoding: gzip, deflate, br\r\nConnection: keep-alive\r\n\r\n"

const originHead = "HTTP/1.1 200 OK\r\nServer: origin\r\nDate: Mon, 23 Nov 2026 10:00:00 GMT\r\n" +
	"Content-Type: text/html; charset=utf-8\r\nContent-Length: 128\r\n\r\n"

func BenchmarkRequest_Parse(b *testing.B) {
	lim := DefaultLimits()
	in := []byte(browserHead)
	var r Request
	b.ReportAllocs()
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		if _, why := r.Parse(in, &lim); why != OK {
			b.Fatal(why)
		}
	}
}

func BenchmarkRequest_ParseAppend(b *testing.B) {
	lim := DefaultLimits()
	in := []byte(browserHead)
	name, ip := []byte("X-Forwarded-For"), []byte("192.0.2.7")
	out := make([]byte, 0, 4096)
	var r Request
	b.ReportAllocs()
	for b.Loop() {
		if _, why := r.Parse(in, &lim); why != OK {
			b.Fatal(why)
		}
		r.Drop(XForwardedFor)
		r.Add(name, ip)
		if _, why := r.Append(out, 0); why != OK {
			b.Fatal(why)
		}
	}
}

func BenchmarkResponse_ParseAppend(b *testing.B) {
	lim := DefaultLimits()
	in := []byte(originHead)
	out := make([]byte, 0, 4096)
	var r Response
	b.ReportAllocs()
	for b.Loop() {
		if _, why := r.Parse(in, GET, &lim); why != OK {
			b.Fatal(why)
		}
		if _, why := r.Append(out, 0); why != OK {
			b.Fatal(why)
		}
	}
}

func BenchmarkChunked_NextFramed(b *testing.B) {
	lim := DefaultLimits()
	var in []byte
	for range 8 {
		in = AppendChunkHead(in, 1000)
		in = append(in, make([]byte, 1000)...)
		in = append(in, "\r\n"...)
	}
	in = AppendLastChunk(in, nil)
	var c Chunked
	b.ReportAllocs()
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		c.Reset(&lim)
		if _, _, why := c.NextFramed(in); why != OK {
			b.Fatal(why)
		}
	}
}

func BenchmarkScanner_Feed(b *testing.B) {
	s, err := NewScanner(ScanConfig{Limits: DefaultLimits()})
	if err != nil {
		b.Fatal(err)
	}
	in := []byte(browserHead)
	b.ReportAllocs()
	for b.Loop() {
		if _, why := s.Feed(in[:0], in); why != OK {
			b.Fatal(why)
		}
	}
}
