//go:build linux

package engine

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lbnode/lbnode/proxy"
	"github.com/lbnode/lbnode/proxy/http2"
	"github.com/lbnode/lbnode/proxy/internal/viewtest"
	"github.com/lbnode/lbnode/state"
	"github.com/lbnode/lbnode/stats"
)

// way is how a scripted backend sends its answer.
type way uint8

const (
	whole   way = iota
	dribble     // byte by byte
	closing     // and the connection ends behind it
)

// scripted is a backend of HTTP/2 that answers the first request of each connection with the same bytes.
func scripted(t testing.TB, answer func(stream uint32) []byte, how way) (addr string, asked *atomic.Int64) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	asked = new(atomic.Int64)
	send := func(c net.Conn, b []byte) {
		if how != dribble {
			_, _ = c.Write(b)
			if how == closing {
				c.Close()
			}
			return
		}
		for i := range b {
			if _, err := c.Write(b[i : i+1]); err != nil {
				return
			}
		}
	}
	serve := func(c net.Conn) {
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		in := make([]byte, 1<<17)
		if _, err := io.ReadFull(c, in[:len(http2.Preface)]); err != nil {
			return
		}
		_, _ = c.Write(http2.AppendSettings(nil))
		for {
			if _, err := io.ReadFull(c, in[:http2.HeaderSize]); err != nil {
				return
			}
			f := http2.ParseFrameHeader(in)
			if _, err := io.ReadFull(c, in[:f.Length]); err != nil {
				return
			}
			if f.Type == http2.Headers {
				asked.Add(1)
				go send(c, answer(f.Stream))
			}
		}
	}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
	return ln.Addr().String(), asked
}

// before starts an engine before backends of HTTP/2.
func before(t testing.TB, route string, addrs ...string) (url string, p *proxy.Proxy) {
	t.Helper()
	reg, err := stats.New(stats.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	cfg := proxy.DefaultConfig()
	cfg.NodeID, cfg.Logger, cfg.Stats = "n", slog.New(slog.DiscardHandler), reg
	if p, err = proxy.New(cfg); err != nil {
		t.Fatal(err)
	}
	v := viewtest.New(t).Put(state.KindPool, `{"id":"web","algorithm":"round_robin","health":{"type":"none"},"protocol":"h2c"}`)
	for i, a := range addrs {
		v.Put(state.KindBackend, `{"id":"b`+string(rune('0'+i))+`","address":"`+a+`","pool":"web"}`)
	}
	v.Put(state.KindRoute, `{"id":"r","match":{"path":"/"},"backend_pool":"web"`+route+`}`)
	if err := p.Update(v.View()); err != nil {
		t.Fatal(err)
	}
	e, err := New(Config{Proxy: p, Addrs: []string{"127.0.0.1:0"}, Limits: DefaultLimits(), Loops: 1, Logger: cfg.Logger})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Shutdown(t.Context()); err != nil && t.Context().Err() == nil {
			t.Errorf("Shutdown() = %v", err)
		}
		p.Close()
	})
	return "http://" + e.Addrs()[0].String(), p
}

// frame makes a frame.
func frame(typ http2.Type, flags uint8, stream uint32, p []byte) []byte {
	return append(http2.AppendFrameHeader(nil, http2.FrameHeader{Length: len(p), Type: typ, Flags: flags, Stream: stream}), p...)
}

func TestUp_hostile(t *testing.T) {
	t.Parallel()
	const end, all = http2.FlagEndStream, http2.FlagEndHeaders
	head := func(id uint32, fields ...string) []byte { return frame(http2.Headers, all, id, literal(fields...)) }
	many := func(n int, f []byte) []byte { return []byte(strings.Repeat(string(f), n)) }
	ok := literal(":status", "200")
	for _, tc := range []struct {
		name   string
		answer func(id uint32) []byte
		status int // 0 = the answer is begun and cut
		asked  int64
	}{
		{"no status", func(id uint32) []byte { return head(id, "a", "b") }, 502, 1},
		{"two statuses", func(id uint32) []byte { return head(id, ":status", "200", ":status", "200") }, 502, 1},
		{"status of no HTTP", func(id uint32) []byte { return head(id, ":status", "2x0") }, 502, 1},
		{"status behind a field", func(id uint32) []byte { return head(id, "a", "b", ":status", "200") }, 502, 1},
		{"request field", func(id uint32) []byte { return head(id, ":status", "200", ":path", "/") }, 502, 1},
		{"101", func(id uint32) []byte { return head(id, ":status", "101") }, 502, 1},
		{"connection", func(id uint32) []byte { return head(id, ":status", "200", "connection", "close") }, 502, 1},
		{"transfer-encoding", func(id uint32) []byte { return head(id, ":status", "200", "transfer-encoding", "chunked") }, 502, 1},
		{"te", func(id uint32) []byte { return head(id, ":status", "200", "te", "trailers") }, 502, 1},
		{"upper case", func(id uint32) []byte { return head(id, ":status", "200", "X-A", "b") }, 502, 1},
		{"line feed", func(id uint32) []byte { return head(id, ":status", "200", "a", "b\nc") }, 502, 1},
		{"two lengths", func(id uint32) []byte {
			return head(id, ":status", "200", "content-length", "1", "content-length", "2")
		}, 502, 1},
		{"interim that ends", func(id uint32) []byte { return frame(http2.Headers, all|end, id, literal(":status", "103")) }, 502, 1},
		{"interims for ever", func(id uint32) []byte { return many(30, head(id, ":status", "103")) }, 502, 1},
		{"length without a body", func(id uint32) []byte {
			return frame(http2.Headers, all|end, id, literal(":status", "200", "content-length", "3"))
		}, 502, 1},
		{"body before a head", func(id uint32) []byte { return frame(http2.Data, 0, id, []byte("x")) }, 502, 1},
		{"body too short", func(id uint32) []byte {
			return append(head(id, ":status", "200", "content-length", "3"), frame(http2.Data, end, id, []byte("x"))...)
		}, 0, 1},
		{"body too long", func(id uint32) []byte {
			return append(head(id, ":status", "200", "content-length", "3"), frame(http2.Data, end, id, []byte("xxxx"))...)
		}, 0, 1},
		{"reset", func(id uint32) []byte { return http2.AppendReset(nil, id, http2.InternalError) }, 502, 1},
		{"reset in a body", func(id uint32) []byte {
			return append(append(head(id, ":status", "200"), frame(http2.Data, 0, id, []byte("x"))...), http2.AppendReset(nil, id, http2.InternalError)...)
		}, 0, 1},
		{"refused", func(id uint32) []byte { return http2.AppendReset(nil, id, http2.RefusedStream) }, 502, 2},
		{"away", func(uint32) []byte { return http2.AppendGoAway(nil, 0, http2.NoError) }, 502, 2},
		{"push", func(id uint32) []byte {
			return frame(http2.PushPromise, all, id, append([]byte{0, 0, 0, 2}, literal(":path", "/")...))
		}, 502, 1},
		{"head on an unknown stream", func(id uint32) []byte { return frame(http2.Headers, all|end, id+2, ok) }, 502, 1},
		{"head on an even stream", func(uint32) []byte { return frame(http2.Headers, all|end, 2, ok) }, 502, 1},
		{"broken block", func(id uint32) []byte { return frame(http2.Headers, all, id, []byte{0xff, 0xff, 0xff, 0xff}) }, 502, 1},
		{"bomb", func(id uint32) []byte {
			big := append([]byte{0x40, 1, 'a', 0x7f, 0xa1, 0x1e}, strings.Repeat("v", 4000)...) // then again and again
			return frame(http2.Headers, all, id, append(append([]byte{0x88}, big...), strings.Repeat("\xbe", 8000)...))
		}, 502, 1},
		{"continuation for ever", func(id uint32) []byte {
			return append(frame(http2.Headers, 0, id, []byte{0x88}), many(100, frame(http2.Continuation, 0, id, nil))...)
		}, 502, 1},
		{"continuation of nothing", func(id uint32) []byte { return frame(http2.Continuation, all, id, nil) }, 502, 1},
		{"frame too large", func(id uint32) []byte {
			return http2.AppendFrameHeader(nil, http2.FrameHeader{Length: 1 << 20, Stream: id})
		}, 502, 1},
		{"settings", func(uint32) []byte { return many(5000, http2.AppendSettings(nil)) }, 502, 1},
		{"pings", func(uint32) []byte { return many(5000, http2.AppendPing(nil, 0, [8]byte{})) }, 502, 1},
		{"windows", func(id uint32) []byte { return many(5000, http2.AppendWindowUpdate(nil, id, 1)) }, 502, 1},
		{"unknown frames", func(uint32) []byte { return many(5000, frame(99, 0, 0, nil)) }, 502, 1},
		{"empty data", func(id uint32) []byte { return many(5000, frame(http2.Data, 0, id, nil)) }, 502, 1},
		{"window overflow", func(uint32) []byte { return http2.AppendWindowUpdate(nil, 0, http2.MaxWindow) }, 502, 1},
		{"no window update", func(uint32) []byte { return frame(http2.WindowUpdate, 0, 0, make([]byte, 4)) }, 502, 1},
		{"bad setting", func(uint32) []byte { return http2.AppendSettings(nil, http2.Setting{ID: http2.EnablePush, Value: 1}) }, 502, 1},
	} {
		for name, how := range map[string]way{"whole/": whole, "bytes/": dribble} {
			if how == dribble && len(tc.answer(1)) > 4096 {
				continue
			}
			t.Run(name+tc.name, func(t *testing.T) {
				t.Parallel()
				addr, asked := scripted(t, tc.answer, how)
				url, _ := before(t, "", addr)
				c := http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
				resp, err := c.Get(url)
				switch {
				case err != nil && tc.status == 0: // cut before the head was read
				case err != nil:
					t.Fatal(err)
				default:
					_, rerr := io.ReadAll(resp.Body)
					resp.Body.Close()
					if tc.status != 0 && resp.StatusCode != tc.status {
						t.Errorf("status = %d, want %d", resp.StatusCode, tc.status)
					}
					if tc.status == 0 && rerr == nil && resp.StatusCode != 502 {
						t.Error("a cut answer looks whole")
					}
				}
				if n := asked.Load(); n != tc.asked {
					t.Errorf("the backend was asked %d times, want %d", n, tc.asked)
				}
			})
		}
	}
}

// TestUp_resetIsNoRace has a backend reset streams of a connection that has served others: a request is not sent to it
// over and over.
func TestUp_resetIsNoRace(t *testing.T) {
	t.Parallel()
	addr, asked := scripted(t, func(id uint32) []byte {
		if id == 1 {
			return frame(http2.Headers, http2.FlagEndHeaders|http2.FlagEndStream, id, literal(":status", "200"))
		}
		return http2.AppendReset(nil, id, http2.InternalError)
	}, whole)
	url, _ := before(t, "", addr)
	c := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for i, want := range []int{200, 502, 502} {
		resp, err := c.Get(url)
		if err != nil {
			t.Fatalf("request %d: %v, and the backend was asked %d times", i, err, asked.Load())
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("request %d: status = %d, want %d", i, resp.StatusCode, want)
		}
	}
	if n := asked.Load(); n != 3 {
		t.Errorf("the backend was asked %d times, want 3", n)
	}
}

// FuzzUpFrames has a backend send any bytes to a request: the client gets an answer or an end, and nothing panics.
func FuzzUpFrames(f *testing.F) {
	f.Add(frame(http2.Headers, http2.FlagEndHeaders|http2.FlagEndStream, 1, literal(":status", "200")))
	f.Add(append(frame(http2.Headers, http2.FlagEndHeaders, 1, literal(":status", "200")), frame(http2.Data, http2.FlagEndStream, 1, []byte("hello"))...))
	f.Add(append(frame(http2.Headers, 0, 1, literal(":status", "103")), frame(http2.Continuation, http2.FlagEndHeaders, 1, nil)...))
	f.Add(http2.AppendGoAway(http2.AppendReset(nil, 1, http2.RefusedStream), 0, http2.NoError))
	f.Add(http2.AppendWindowUpdate(http2.AppendPing(nil, 0, [8]byte{}), 1, 5))
	var bytes atomic.Pointer[[]byte]
	bytes.Store(new([]byte))
	addr, _ := scripted(f, func(uint32) []byte { return *bytes.Load() }, closing)
	url, _ := before(f, "", addr)
	c := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	f.Fuzz(func(t *testing.T, b []byte) {
		bytes.Store(&b)
		resp, err := c.Post(url, "text/plain", strings.NewReader("body"))
		if err != nil {
			if ne, ok := err.(net.Error); ok && ne.Timeout() && len(b) < 1<<16 {
				t.Fatalf("neither answer nor end: %v", err)
			}
			return
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	})
}
