//go:build linux

package engine

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/lbnode/lbnode/proxy/http2"
)

// h2Bed is a connection that has exchanged its settings, without an allocation for what it sends and reads.
type h2Bed struct {
	t    testing.TB
	conn net.Conn
	id   uint32
	out  []byte
	buf  []byte
}

func newH2Bed(t testing.TB, conn net.Conn) *h2Bed {
	b := &h2Bed{t: t, conn: conn, id: 1, buf: make([]byte, 64<<10)}
	b.out = http2.AppendSettings([]byte(http2.Preface), http2.Setting{ID: http2.InitialWindowSize, Value: 1 << 20})
	b.out = http2.AppendWindowUpdate(b.out, 0, 1<<30)
	return b
}

// round sends n requests at once and reads until all are answered.
func (b *h2Bed) round(n int, block, body []byte) {
	for range n {
		f := http2.FrameHeader{Length: len(block), Type: http2.Headers, Flags: http2.FlagEndHeaders, Stream: b.id}
		if len(body) == 0 {
			f.Flags |= http2.FlagEndStream
		}
		b.out = append(http2.AppendFrameHeader(b.out, f), block...)
		if len(body) > 0 {
			b.out = http2.AppendFrameHeader(b.out, http2.FrameHeader{Length: len(body), Type: http2.Data, Flags: http2.FlagEndStream, Stream: b.id})
			b.out = append(b.out, body...)
		}
		b.id += 2
	}
	if _, err := b.conn.Write(b.out); err != nil {
		b.t.Fatal(err)
	}
	b.out = b.out[:0]
	for n > 0 {
		if _, err := io.ReadFull(b.conn, b.buf[:http2.HeaderSize]); err != nil {
			b.t.Fatal(err)
		}
		f := http2.ParseFrameHeader(b.buf)
		if _, err := io.ReadFull(b.conn, b.buf[:f.Length]); err != nil {
			b.t.Fatal(err)
		}
		switch f.Type {
		case http2.GoAway:
			b.t.Fatalf("GOAWAY %d", binary.BigEndian.Uint32(b.buf[4:]))
		case http2.ResetStream:
			b.t.Fatalf("RST_STREAM %d", binary.BigEndian.Uint32(b.buf))
		case http2.Data, http2.Headers:
			if f.Flags&http2.FlagEndStream != 0 {
				n--
			}
		case http2.Settings:
			if f.Flags&http2.FlagAck == 0 {
				b.out = http2.AppendSettingsAck(b.out)
			}
		}
	}
}

// literal is a header block of fields that enter no table.
func literal(fields ...string) []byte {
	var b []byte
	for i := 0; i < len(fields); i += 2 {
		b = append(append(b, 0, byte(len(fields[i]))), fields[i]...)
		b = append(append(b, byte(len(fields[i+1]))), fields[i+1]...)
	}
	return b
}

func TestStream_allocatesNothing(t *testing.T) {
	// Not parallel: it counts the allocations of the whole process.
	get := literal(":method", "GET", ":scheme", "http", ":path", "/api/users?x=1", ":authority", "app.example", "user-agent", "x", "accept", "*/*", "cookie", "a=b")
	post := literal(":method", "POST", ":scheme", "http", ":path", "/api", ":authority", "app.example", "content-length", "4096")
	chunked := literal(":method", "POST", ":scheme", "http", ":path", "/api", ":authority", "app.example")
	for _, tc := range []struct {
		name   string
		block  []byte
		body   []byte
		answer string
		at     int // streams at once
	}{
		{"get", get, nil, smallAnswer, 1},
		{"ten at once", get, nil, smallAnswer, 10},
		{"post", post, bytes.Repeat([]byte("x"), 4096), smallAnswer, 1},
		{"body without a length", chunked, bytes.Repeat([]byte("x"), 500), smallAnswer, 1},
		{"chunked", get, nil, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n", 1},
		{"large", get, nil, "HTTP/1.1 200 OK\r\nContent-Length: 32768\r\n\r\n" + strings.Repeat("y", 32768), 1},
		{"refused", literal(":method", "GET", ":scheme", "http", ":path", "/other", ":authority", "a"), nil, "", 1},
	} {
		c, _ := bedOf(t, tc.answer, "", nil)
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

func BenchmarkStream(b *testing.B) {
	c, _ := bed(b, smallAnswer)
	h := newH2Bed(b, c)
	block := literal(":method", "GET", ":scheme", "http", ":path", "/api/users?x=1", ":authority", "app.example", "user-agent", "x", "accept", "*/*")
	h.round(1, block, nil)
	b.ReportAllocs()
	for b.Loop() {
		h.round(10, block, nil)
	}
}
