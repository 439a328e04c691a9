//go:build linux

package engine

import (
	"bytes"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/lbnode/lbnode/proxy/http2"
)

// origin serves HTTP/2 to one connection without an allocation for each request: it answers each request that has come
// as a whole with the same block and body.
func origin(block, body []byte) func(net.Conn) {
	return func(c net.Conn) {
		in, out := make([]byte, 64<<10), make([]byte, 0, 256<<10)
		if _, err := io.ReadFull(c, in[:len(http2.Preface)]); err != nil {
			return
		}
		out = http2.AppendSettings(out, http2.Setting{ID: http2.InitialWindowSize, Value: 1 << 24}, http2.Setting{ID: http2.MaxConcurrentStreams, Value: 100})
		out = http2.AppendWindowUpdate(out, 0, 1<<30)
		n, uploaded := 0, 0
		for {
			if _, err := c.Write(out); err != nil {
				return
			}
			out = out[:0]
			k, err := c.Read(in[n:])
			if err != nil {
				return
			}
			n += k
			b := in[:n]
			for len(b) >= http2.HeaderSize {
				f := http2.ParseFrameHeader(b)
				if len(b) < http2.HeaderSize+f.Length {
					break
				}
				b = b[http2.HeaderSize+f.Length:]
				switch f.Type {
				case http2.Settings:
					if f.Flags&http2.FlagAck == 0 {
						out = http2.AppendSettingsAck(out)
					}
				case http2.Data, http2.Headers:
					if f.Type == http2.Data {
						uploaded += f.Length
					}
					if uploaded > 1<<20 {
						out = http2.AppendWindowUpdate(out, 0, uint32(uploaded))
						uploaded = 0
					}
					if f.Flags&http2.FlagEndStream == 0 {
						break
					}
					h := http2.FrameHeader{Length: len(block), Type: http2.Headers, Flags: http2.FlagEndHeaders, Stream: f.Stream}
					if len(body) == 0 {
						h.Flags |= http2.FlagEndStream
					}
					out = append(http2.AppendFrameHeader(out, h), block...)
					for rest := body; len(rest) > 0; {
						k := min(len(rest), http2.DefaultFrame)
						d := http2.FrameHeader{Length: k, Type: http2.Data, Stream: f.Stream}
						if k == len(rest) {
							d.Flags = http2.FlagEndStream
						}
						out = append(http2.AppendFrameHeader(out, d), rest[:k]...)
						rest = rest[k:]
					}
				}
			}
			n = copy(in, b)
		}
	}
}

const behindH2C = `,"protocol":"h2c"`

func TestUpStream_allocatesNothing(t *testing.T) {
	// Not parallel: it counts the allocations of the whole process.
	get := literal(":method", "GET", ":scheme", "http", ":path", "/api/users?x=1", ":authority", "app.example", "user-agent", "x", "accept", "*/*", "cookie", "a=b")
	post := literal(":method", "POST", ":scheme", "http", ":path", "/api", ":authority", "app.example", "content-length", "4096")
	chunked := literal(":method", "POST", ":scheme", "http", ":path", "/api", ":authority", "app.example")
	sized := literal(":status", "200", "content-type", "text/plain", "content-length", "5")
	for _, tc := range []struct {
		name   string
		block  []byte
		body   []byte
		answer []byte
		with   string
		at     int // streams at once
	}{
		{"get", get, nil, sized, "hello", 1},
		{"ten at once", get, nil, sized, "hello", 10},
		{"post", post, bytes.Repeat([]byte("x"), 4096), sized, "hello", 1},
		{"body without a length", chunked, bytes.Repeat([]byte("x"), 500), sized, "hello", 1},
		{"answer without a length", get, nil, literal(":status", "200"), "hello", 1},
		{"answer without a body", get, nil, literal(":status", "204"), "", 1},
		{"large", get, nil, literal(":status", "200", "content-length", "32768"), strings.Repeat("y", 32768), 1},
	} {
		c, _ := bedWith(t, origin(tc.answer, []byte(tc.with)), behindH2C, nil)
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		b := newH2Bed(t, c)
		for range 300 {
			b.round(tc.at, tc.block, tc.body)
		}
		const rounds = 3000
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range rounds {
			b.round(tc.at, tc.block, tc.body)
		}
		runtime.ReadMemStats(&after)
		if per := float64(after.Mallocs-before.Mallocs) / float64(rounds*tc.at); per > 0.05 {
			t.Errorf("%s: %.3f allocations per request, want 0", tc.name, per)
		} else {
			t.Logf("%s: %d allocations in %d requests", tc.name, after.Mallocs-before.Mallocs, rounds*tc.at)
		}
		c.Close()
	}
}

// TestUpStream_allocatesNothingBehindHTTP1 has a client of HTTP/1.1.
func TestUpStream_allocatesNothingBehindHTTP1(t *testing.T) {
	// Not parallel: it counts the allocations of the whole process.
	c, _ := bedWith(t, origin(literal(":status", "200", "content-length", "5"), []byte("hello")), behindH2C, nil)
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	req, buf := []byte(browserHead), make([]byte, 4096)
	if _, err := c.Write(req); err != nil {
		t.Fatal(err)
	}
	n, err := c.Read(buf) // head and body come in one piece
	if err != nil || !strings.HasSuffix(string(buf[:n]), "hello") {
		t.Fatalf("answer = %q, %v", buf[:n], err)
	}
	for range 200 {
		exchangeOnce(t, c, req, buf[:n])
	}
	const rounds = 5000
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range rounds {
		exchangeOnce(t, c, req, buf[:n])
	}
	runtime.ReadMemStats(&after)
	if per := float64(after.Mallocs-before.Mallocs) / rounds; per > 0.05 {
		t.Errorf("%.3f allocations per request, want 0", per)
	}
}

func BenchmarkUpStream(b *testing.B) {
	c, _ := bedWith(b, origin(literal(":status", "200", "content-length", "5"), []byte("hello")), behindH2C, nil)
	h := newH2Bed(b, c)
	block := literal(":method", "GET", ":scheme", "http", ":path", "/api/users?x=1", ":authority", "app.example", "user-agent", "x", "accept", "*/*")
	h.round(1, block, nil)
	b.ReportAllocs()
	for b.Loop() {
		h.round(10, block, nil)
	}
}
