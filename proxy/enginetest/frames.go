package enginetest

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/lbnode/lbnode/proxy"
	"github.com/lbnode/lbnode/state"
	"github.com/lbnode/lbnode/stats"
)

// RunFrames runs the cases about HTTP/2 on the wire: rules, floods, windows, ends.
func RunFrames(t *testing.T, mk New) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, New)
	}{
		{"malformed", testH2Malformed},
		{"refused", testH2Refused},
		{"floods", testH2Floods},
		{"bomb", testH2Bomb},
		{"stalled", testH2Stalled},
		{"windows", testH2Windows},
		{"early", testH2Early},
		{"cancel", testH2Cancel},
		{"request_trailers", testH2RequestTrailers},
		{"timeouts", testH2Timeouts},
		{"idle", testH2Idle},
		{"slow_head", testH2SlowHead},
		{"cut_off", testH2CutOff},
		{"drain", testH2Drain},
		{"shutdown", testH2Shutdown},
		{"mixed", testH2Mixed},
		{"many", testH2Many},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(t, mk)
		})
	}
}

// frames is a client that writes frames by itself.
type frames struct {
	t testing.TB
	net.Conn
	fr    *http2.Framer
	out   bytes.Buffer
	block bytes.Buffer
	enc   *hpack.Encoder
	bytes bool // send byte by byte
}

// h2 opens a connection. Frames are gathered until flush.
func (w *world) h2(settings ...http2.Setting) *frames {
	w.t.Helper()
	c, err := net.Dial("tcp", w.addr)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	f := &frames{t: w.t, Conn: c}
	f.fr = http2.NewFramer(&f.out, c)
	f.fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	f.fr.AllowIllegalWrites = true
	f.enc = hpack.NewEncoder(&f.block)
	f.out.WriteString(http2.ClientPreface)
	_ = f.fr.WriteSettings(settings...) // to memory, as all that follows
	return f
}

// flush sends what was gathered. The other end may close at any time.
func (f *frames) flush() *frames {
	if f.bytes {
		for _, b := range f.out.Bytes() {
			if _, err := f.Write([]byte{b}); err != nil {
				break
			}
		}
	} else {
		_, _ = f.Write(f.out.Bytes())
	}
	f.out.Reset()
	return f
}

// fields encodes "name: value" lines, behind those of a GET of / unless there are pseudo-header fields among them.
func (f *frames) fields(lines ...string) []byte {
	if len(lines) == 0 || lines[0][0] != ':' {
		lines = append([]string{":method: GET", ":scheme: http", ":path: /", ":authority: a"}, lines...)
	}
	f.block.Reset()
	for _, line := range lines {
		k := strings.Index(line[1:], ": ") + 1
		_ = f.enc.WriteField(hpack.HeaderField{Name: line[:k], Value: line[k+2:]})
	}
	return f.block.Bytes()
}

// get begins a request that has no body.
func (f *frames) get(id uint32, lines ...string) *frames {
	_ = f.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: f.fields(lines...), EndHeaders: true, EndStream: true})
	return f
}

// post begins a request whose body is to follow.
func (f *frames) post(id uint32, lines ...string) *frames {
	if len(lines) == 0 || lines[0][0] != ':' {
		lines = append([]string{":method: POST", ":scheme: http", ":path: /", ":authority: a"}, lines...)
	}
	_ = f.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: f.fields(lines...), EndHeaders: true})
	return f
}

func (f *frames) data(id uint32, s string, end bool) *frames {
	_ = f.fr.WriteData(id, end, []byte(s))
	return f
}

// next reads the next frame but for settings, their acknowledgements, and window updates.
func (f *frames) next() (http2.Frame, error) {
	for {
		x, err := f.fr.ReadFrame()
		switch x.(type) {
		case *http2.SettingsFrame, *http2.WindowUpdateFrame:
			continue
		}
		return x, err
	}
}

// outcome tells in a word how a stream ends: "200 body", "rst CODE", "goaway CODE" or "closed". What comes for other
// streams is passed over.
func (f *frames) outcome(id uint32) string {
	f.t.Helper()
	status, body, trailer := "", "", ""
	for {
		x, err := f.next()
		if err != nil {
			return "closed"
		}
		ended := false
		switch x := x.(type) {
		case *http2.GoAwayFrame:
			if x.ErrCode != http2.ErrCodeNo {
				return "goaway " + x.ErrCode.String()
			}
		case *http2.RSTStreamFrame:
			if x.StreamID == id {
				return strings.TrimSpace(status+" "+body) + " rst " + x.ErrCode.String()
			}
		case *http2.MetaHeadersFrame:
			if x.StreamID != id {
				continue
			}
			if status == "" || status[0] == '1' {
				status = x.PseudoValue("status")
			} else {
				for _, h := range x.RegularFields() {
					trailer += " " + h.Name + "=" + h.Value
				}
			}
			ended = x.StreamEnded()
		case *http2.DataFrame:
			if x.StreamID == id {
				body += string(x.Data())
				ended = x.StreamEnded()
			}
		}
		if ended {
			return strings.TrimSpace(status+" "+body) + trailer
		}
	}
}

func (f *frames) want(id uint32, want string) {
	f.t.Helper()
	if got := strings.TrimSpace(f.outcome(id)); got != want && (!strings.HasSuffix(want, "*") || !strings.HasPrefix(got, strings.TrimSuffix(want, "*"))) {
		f.t.Fatalf("stream %d = %.200q, want %q", id, got, want)
	}
}

// testH2Malformed has each request that cannot be said in HTTP/1.1 end its stream alone, before any backend hears of it.
func testH2Malformed(t *testing.T, mk New) {
	b := rawBackend(t, fixed(hello))
	w := newWorld(t, mk, "", b.addr)
	head := func(lines ...string) []string {
		return append([]string{":method: GET", ":scheme: http", ":path: /", ":authority: a"}, lines...)
	}
	for _, lines := range [][]string{
		head("X: upper case"), head("connection: close"), head("transfer-encoding: chunked"), head("te: gzip"), head("a b: c"), head("a: b\r\nc: d"),
		head("a: \x00"), head("host: b"), head("content-length: 3"), head(":path: /x"), head("a: b", ":x: y"), head("content_length: 3"),
		{":method: GET", ":scheme: http", ":path: / HTTP/1.1", ":authority: a"},
		{":method: GET", ":scheme: http", ":path: /\r\nx: y", ":authority: a"},
		{":method: GET", ":scheme: http", ":path: http://b/", ":authority: a"},
		{":method: GET", ":scheme: http", ":path: /%zz", ":authority: a"},
		{":method: GET x", ":scheme: http", ":path: /", ":authority: a"},
		{":method: GET", ":scheme: http", ":path: /", ":authority: a b"},
		{":method: GET", ":scheme: http", ":path: /"},
		{":method: GET", ":path: /", ":authority: a"},
	} {
		for _, whole := range []bool{true, false} {
			f := w.h2()
			f.bytes = !whole
			f.get(1, lines...).get(3).flush()
			f.want(1, "rst PROTOCOL_ERROR")
			f.want(3, "200 hello")
			f.Close()
		}
	}
	// A body that is not as long as it was said to be.
	posts := rawBackend(t, func(c *conn, _ int) {
		c.head()
		_, _ = c.rest()
	})
	p := newWorld(t, mk, "", posts.addr)
	f := p.h2()
	f.post(1, "content-length: 3").data(1, "abcd", true).flush().want(1, "rst PROTOCOL_ERROR")
	f.post(3, "content-length: 3").data(3, "ab", true).flush().want(3, "rst PROTOCOL_ERROR")
	if n := w.counted(stats.BadRequest); n != 40 {
		t.Errorf("%d requests are counted as malformed, want 40", n)
	}
}

// testH2Refused has answers of ours to what is well said, and the access log name the protocol.
func testH2Refused(t *testing.T, mk New) {
	log := make(entries, 100)
	w := newConfigured(t, mk, func(c *proxy.Config) { c.AccessLog = log }, "", rawBackend(t, fixed(hello)).addr)
	f := w.h2()
	f.get(1, ":method: TRACE", ":scheme: http", ":path: /", ":authority: a").flush().want(1, "405 *")
	f.post(3, ":method: CONNECT", ":authority: a:1").flush().want(3, "405 *")
	f.get(5, ":method: GET", ":scheme: http", ":path: /"+strings.Repeat("a", 9000), ":authority: a").flush().want(5, "414 *")
	f.get(7, strings.Split(strings.TrimSuffix(strings.Repeat("x: a\n", 101), "\n"), "\n")...).flush().want(7, "431 *")
	_ = f.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 9, BlockFragment: f.fields("a: " + strings.Repeat("b", 16_300)), EndHeaders: true, EndStream: true})
	f.flush().want(9, "200 hello")
	// Larger as a list than as a block: the same field, from the table.
	big := "c: " + strings.Repeat("d", 3000)
	f.get(11, big).flush().want(11, "200 hello")
	f.get(13, big, big, big, big, big, big, big, big, big, big, big, big).flush().want(13, "431 *")
	f.get(15, "host: a").flush().want(15, "200 hello")
	for _, want := range []int{405, 405, 414, 431, 200, 200, 431, 200} {
		if e := <-log; e.Status != want || e.Proto != "HTTP/2.0" || !e.Client.IsLoopback() {
			t.Errorf("logged %d %s from %s, want %d HTTP/2.0", e.Status, e.Proto, e.Client, want)
		}
	}
}

// testH2Floods has clients make work without use: their connections end, all else goes on.
func testH2Floods(t *testing.T, mk New) {
	release := make(chan struct{})
	slow := rawBackend(t, func(c *conn, _ int) {
		for h := c.head(); h != ""; h = c.head() {
			if strings.HasPrefix(h, "GET /slow ") {
				<-release
			}
			c.send(hello)
		}
	})
	defer close(release)
	w := newWorld(t, mk, "", slow.addr)
	path := func(f *frames, id uint32) *frames {
		return f.get(id, ":method: GET", ":scheme: http", ":path: /slow", ":authority: a")
	}
	odd := func(i int) uint32 { return uint32(2*i + 1) }
	floods := map[string]func(f *frames, i int){
		"rapid reset":    func(f *frames, i int) { path(f, odd(i)); _ = f.fr.WriteRSTStream(odd(i), http2.ErrCodeCancel) },
		"made you reset": func(f *frames, i int) { path(f, odd(i)); _ = f.fr.WriteWindowUpdate(odd(i), 0) },
		"malformed":      func(f *frames, i int) { f.get(odd(i), "X: y") },
		"settings":       func(f *frames, _ int) { _ = f.fr.WriteSettings() },
		"settings acks":  func(f *frames, _ int) { _ = f.fr.WriteSettingsAck() },
		"ping":           func(f *frames, _ int) { _ = f.fr.WritePing(false, [8]byte{}) },
		"ping acks":      func(f *frames, _ int) { _ = f.fr.WritePing(true, [8]byte{}) },
		"priority":       func(f *frames, _ int) { _ = f.fr.WritePriority(1, http2.PriorityParam{}) },
		"window update":  func(f *frames, _ int) { _ = f.fr.WriteWindowUpdate(0, 1) },
		"unknown":        func(f *frames, _ int) { _ = f.fr.WriteRawFrame(77, 0, 0, nil) },
		"goaway":         func(f *frames, _ int) { _ = f.fr.WriteGoAway(0, 0, nil) },
		"empty data": func(f *frames, i int) {
			if i == 0 {
				f.post(1)
			}
			f.data(1, "", false)
		},
		"continuation": func(f *frames, i int) {
			if i == 0 {
				_ = f.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: f.fields()})
			}
			_ = f.fr.WriteContinuation(1, false, nil)
		},
		"endless block": func(f *frames, i int) {
			if i == 0 {
				_ = f.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: f.fields()})
			}
			if i < 10 {
				_ = f.fr.WriteContinuation(1, false, bytes.Repeat([]byte{0x82}, 16<<10))
			}
		},
	}
	for name, step := range floods {
		for _, whole := range []bool{true, false} {
			f := w.h2()
			f.bytes = !whole
			for i := range 3000 {
				if step(f, i); i%100 == 99 && whole {
					f.flush()
				} else if !whole && i == 2600 {
					break
				}
			}
			f.flush()
			f.want(odd(5000), "goaway ENHANCE_YOUR_CALM")
			f.Close()
		}
		if t.Failed() {
			t.Fatalf("in %s", name)
		}
		w.dial().send(get).want(200, "hello")
	}
	if n := w.counted(stats.HTTP2Flood); n != uint64(2*len(floods)) {
		t.Errorf("%d floods are counted, want %d", n, 2*len(floods))
	}
	eventually(t, "nothing is left of them", func() bool { return w.p.Stats().Total().Active() == 0 && w.p.Set().InFlight("b0") == 0 })
}

// testH2Bomb has one block stand for a list of 64 MiB.
func testH2Bomb(t *testing.T, mk New) {
	w := newWorld(t, mk, "", rawBackend(t, fixed(hello)).addr)
	f := w.h2()
	big := "a: " + strings.Repeat("b", 4000)
	f.get(1, big).flush().want(1, "200 hello")
	block := append(bytes.Clone(f.fields()), bytes.Repeat([]byte{0x80 | 62}, 16_000)...)
	_ = f.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: block, EndHeaders: true, EndStream: true})
	f.flush().want(3, "431 *")
	f.get(5).flush().want(5, "200 hello")
}

// testH2Stalled has a client open no window for what it asked for.
func testH2Stalled(t *testing.T, mk New) {
	set := defaultSettings()
	set.Stall = 400 * time.Millisecond
	w := newWorldWith(t, mk, set, "", httpBackend(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(make([]byte, 10<<20))
	}))
	f := w.h2(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	for i := range 20 {
		f.get(uint32(2*i + 1))
	}
	f.flush().want(1, "200 rst CANCEL")
	eventually(t, "the backend is let go", func() bool { return w.p.Stats().Total().Active() == 0 && w.counted(stats.ClientTimeout) == 20 })
	// Nor does it read at all.
	g := w.h2(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1})
	_ = g.Conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	_ = g.fr.WriteWindowUpdate(0, 1<<31-1-65535)
	for i := range 20 {
		g.get(uint32(2*i + 1))
	}
	g.flush()
	eventually(t, "the connection is closed", func() bool {
		return w.p.Stats().Total().Active() == 0 && w.p.Set().InFlight("b0") == 0 && w.counted(stats.ClientTimeout) >= 21
	})
}

// testH2Windows has large answers arrive whole through small windows.
func testH2Windows(t *testing.T, mk New) {
	want := strings.Repeat("0123456789abcdef", 20_000)
	w := newWorld(t, mk, "", httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/chunked" {
			w.(http.Flusher).Flush()
		} else {
			w.Header().Set("Content-Length", fmt.Sprint(len(want)))
		}
		_, _ = io.WriteString(w, want)
	}))
	const streams, window = 10, 5000
	f := w.h2(http2.Setting{ID: http2.SettingInitialWindowSize, Val: window})
	for i := range streams {
		f.get(uint32(2*i+1), ":method: GET", ":scheme: http", []string{":path: /", ":path: /chunked"}[i%2], ":authority: a")
	}
	f.flush()
	got := map[uint32]*strings.Builder{}
	for left := streams; left > 0; {
		x, err := f.next()
		if err != nil {
			t.Fatal(err)
		}
		if x, ok := x.(*http2.DataFrame); ok {
			b := got[x.StreamID]
			if b == nil {
				b = &strings.Builder{}
				got[x.StreamID] = b
			}
			b.Write(x.Data())
			if x.StreamEnded() {
				left--
			} else {
				_ = f.fr.WriteWindowUpdate(x.StreamID, uint32(len(x.Data())))
			}
			if len(x.Data()) > 0 {
				_ = f.fr.WriteWindowUpdate(0, uint32(len(x.Data())))
			}
			f.flush()
		}
	}
	for id, b := range got {
		if b.String() != want {
			t.Errorf("stream %d got %d bytes, want %d", id, b.Len(), len(want))
		}
	}
}

// testH2Early has a backend answer before it has read the body: the answer arrives, and the rest is not wanted.
func testH2Early(t *testing.T, mk New) {
	b := rawBackend(t, func(c *conn, _ int) {
		c.head()
		c.send(hello)
		_, _ = c.rest()
	})
	w := newWorld(t, mk, "", b.addr)
	f := w.h2()
	f.post(1).data(1, "some", false).flush().want(1, "200 hello")
	if x, err := f.next(); err != nil || x.Header().Type != http2.FrameRSTStream || x.(*http2.RSTStreamFrame).ErrCode != http2.ErrCodeNo {
		t.Errorf("behind an early answer came %v, %v; want RST_STREAM NO_ERROR", x, err)
	}
	for range 20 { // on their way already
		f.data(1, strings.Repeat("x", 1000), false)
	}
	f.get(3).flush().want(3, "200 hello")
}

// testH2Cancel has the backend hear of a client that does not want its answer any more.
func testH2Cancel(t *testing.T, mk New) {
	arrived, ended := make(chan struct{}, 1), make(chan struct{}, 1)
	b := rawBackend(t, func(c *conn, _ int) {
		c.head()
		arrived <- struct{}{}
		_, _ = c.rest()
		ended <- struct{}{}
	})
	w := newWorld(t, mk, "", b.addr)
	f := w.h2()
	f.get(1).flush()
	<-arrived
	_ = f.fr.WriteRSTStream(1, http2.ErrCodeCancel)
	f.flush()
	<-ended
	eventually(t, "it is counted as gone", func() bool { return w.counted(stats.ClientGone) == 1 && w.p.Set().InFlight("b0") == 0 })
}

func testH2RequestTrailers(t *testing.T, mk New) {
	w := newWorld(t, mk, "", httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s", b, r.Trailer.Get("X-Sum"))
	}))
	for _, whole := range []bool{true, false} {
		f := w.h2()
		f.bytes = !whole
		f.post(1, "trailer: x-sum").data(1, "abc", false)
		_ = f.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: f.fieldsOnly("x-sum: 42"), EndHeaders: true, EndStream: true})
		f.flush().want(1, "200 abc 42")
		f.post(3).data(3, "abc", false)
		_ = f.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: f.fieldsOnly("content-length: 3"), EndHeaders: true, EndStream: true})
		f.flush().want(3, "400 *")
	}
}

// fieldsOnly is fields for a trailer section.
func (f *frames) fieldsOnly(line string) []byte {
	f.block.Reset()
	name, value, _ := strings.Cut(line, ": ")
	_ = f.enc.WriteField(hpack.HeaderField{Name: name, Value: value})
	return f.block.Bytes()
}

// testH2Timeouts has streams run into the timeouts of their route while others go on.
func testH2Timeouts(t *testing.T, mk New) {
	b := rawBackend(t, func(c *conn, _ int) {
		for {
			switch h := c.head(); {
			case h == "":
				return
			case strings.HasPrefix(h, "GET /stops"):
				c.send("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello")
				_, _ = c.rest()
				return
			case strings.HasPrefix(h, "GET /silent"), strings.HasPrefix(h, "POST"):
				_, _ = c.rest()
				return
			}
			c.send(hello)
		}
	})
	w := newWorld(t, mk, `,"timeouts":{"idle":"500ms","first_byte":"300ms"}`, b.addr)
	f := w.h2()
	ask := func(id uint32, path string) {
		f.get(id, ":method: GET", ":scheme: http", ":path: "+path, ":authority: a")
	}
	ask(1, "/silent")
	ask(3, "/stops")
	ask(5, "/")
	f.flush().want(5, "200 hello")
	f.want(1, "504 *")
	f.want(3, "rst INTERNAL_ERROR")
	x := newWorld(t, mk, "", b.addr) // its body timeout is 2 s
	g := x.h2()
	g.post(1).data(1, "abc", false).flush().want(1, "408 *")
	eventually(t, "nothing is in flight", func() bool { return w.p.Set().InFlight("b0") == 0 && x.p.Set().InFlight("b0") == 0 })
}

// testH2Idle has a connection without requests end with GOAWAY.
func testH2Idle(t *testing.T, mk New) {
	w := newWorld(t, mk, "", rawBackend(t, fixed(hello)).addr)
	f := w.h2()
	f.get(1).flush().want(1, "200 hello")
	if x, err := f.next(); err != nil || x.Header().Type != http2.FrameGoAway {
		t.Errorf("an idle connection got %v, %v; want GOAWAY", x, err)
	}
	if x, err := f.next(); err == nil {
		t.Errorf("behind the GOAWAY came %v", x)
	}
	eventually(t, "it is closed", func() bool { return w.p.Stats().Total().Conns() == 0 })
}

// testH2SlowHead has connections end that do not come to the point.
func testH2SlowHead(t *testing.T, mk New) {
	set := defaultSettings()
	set.Head = 500 * time.Millisecond
	w := newWorldWith(t, mk, set, "", rawBackend(t, fixed(hello)).addr)
	raw := w.dial().send(http2.ClientPreface[:20])
	silent := w.dial().send(http2.ClientPreface)
	cut := w.h2()
	cut.out.Write([]byte{0, 0, 50, 1})
	cut.flush()
	open := w.h2()
	_ = open.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: open.fields()})
	open.flush()
	for _, c := range []net.Conn{raw, silent, cut, open} {
		if _, err := io.Copy(io.Discard, c); err != nil && strings.Contains(err.Error(), "timeout") {
			t.Error("a connection that does not come to the point stays open")
		}
	}
	eventually(t, "all are closed", func() bool { return w.p.Stats().Total().Conns() == 0 })
}

func testH2CutOff(t *testing.T, mk New) {
	arrived := make(chan struct{}, 2)
	b := rawBackend(t, func(c *conn, _ int) {
		if strings.HasPrefix(c.head(), "GET /begun") {
			c.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789")
		}
		arrived <- struct{}{}
		_, _ = c.rest()
	})
	w := newWorld(t, mk, "", b.addr)
	f := w.h2()
	f.get(1).get(3, ":method: GET", ":scheme: http", ":path: /begun", ":authority: a").flush()
	<-arrived
	<-arrived
	if x, err := f.next(); err != nil || x.Header().StreamID != 3 { // it has begun for us, too
		t.Fatalf("first came %v, %v", x, err)
	}
	w.views.Admin(state.AdminStopped, "b0")
	w.update()
	w.e.CutOff("b0")
	got := map[uint32]string{}
	for len(got) < 2 {
		x, err := f.next()
		if err != nil {
			t.Fatal(err)
		}
		switch x := x.(type) {
		case *http2.MetaHeadersFrame:
			got[x.StreamID] = x.PseudoValue("status")
		case *http2.RSTStreamFrame:
			got[x.StreamID] = x.ErrCode.String()
		}
	}
	if got[1] != "503" || got[3] != "INTERNAL_ERROR" {
		t.Errorf("the streams ended with %v", got)
	}
}

// testH2Drain has a connection told in two steps that it is to go elsewhere, and every request answered.
func testH2Drain(t *testing.T, mk New) {
	arrived, release := make(chan struct{}, 1), make(chan struct{})
	b := rawBackend(t, func(c *conn, _ int) {
		for h := c.head(); h != ""; h = c.head() {
			if strings.HasPrefix(h, "GET /slow ") {
				arrived <- struct{}{}
				<-release
			}
			c.send(hello)
		}
	})
	w := newWorld(t, mk, "", b.addr)
	f := w.h2()
	f.get(1, ":method: GET", ":scheme: http", ":path: /slow", ":authority: a").flush()
	<-arrived
	w.e.Drain()
	goAway := func(last uint32) {
		t.Helper()
		for {
			x, err := f.next()
			if err != nil {
				t.Fatal(err)
			}
			if x, ok := x.(*http2.GoAwayFrame); ok {
				if x.LastStreamID != last || x.ErrCode != http2.ErrCodeNo {
					t.Fatalf("GOAWAY %d %s, want %d", x.LastStreamID, x.ErrCode, last)
				}
				return
			}
			if x, ok := x.(*http2.PingFrame); ok && !x.IsAck() {
				t.Fatal("PING before GOAWAY")
			}
		}
	}
	goAway(1<<31 - 1)
	x, err := f.next()
	ping, ok := x.(*http2.PingFrame)
	if err != nil || !ok {
		t.Fatalf("behind the GOAWAY came %v, %v; want PING", x, err)
	}
	f.get(3).flush().want(3, "200 hello") // it was on its way
	_ = f.fr.WritePing(true, ping.Data)
	f.flush()
	goAway(3)
	f.get(5).flush() // too late
	close(release)
	f.want(1, "200 hello")
	f.want(5, "closed")
	eventually(t, "the connection is closed", func() bool { return w.p.Stats().Total().Conns() == 0 })
}

// testH2Shutdown has what runs end in peace.
func testH2Shutdown(t *testing.T, mk New) {
	arrived, release := make(chan struct{}, 1), make(chan struct{})
	b := rawBackend(t, func(c *conn, _ int) {
		c.head()
		arrived <- struct{}{}
		<-release
		c.send(hello)
	})
	w := newWorld(t, mk, "", b.addr)
	idle := w.h2().flush()
	f := w.h2()
	f.get(1).flush()
	<-arrived
	done := make(chan error, 1)
	go func() { done <- w.e.Shutdown(t.Context()) }()
	if got, err := io.ReadAll(idle); err != nil && strings.Contains(err.Error(), "timeout") {
		t.Errorf("an idle connection was not closed: %q, %v", got, err)
	}
	close(release)
	f.want(1, "200 hello")
	f.Close()
	if err := <-done; err != nil {
		t.Errorf("Shutdown() = %v", err)
	}
}

// testH2Mixed has streams that an engine may serve in different ways on one connection.
func testH2Mixed(t *testing.T, mk New) {
	w := newWorld(t, mk, "", httpBackend(t, echo))
	w.views.Put(state.KindRoute, `{"id":"m","match":{"path":"/m"},"backend_pool":"web","mirror":{"pool":"none"}}`)
	w.update()
	f := w.h2()
	body := strings.Repeat("x", 10_000)
	for i := range 10 {
		path := []string{"/", "/m"}[i%2]
		id := uint32(2*i + 1)
		f.post(id, ":method: POST", ":scheme: http", ":path: "+path, ":authority: a").data(id, body, i%4 < 2)
		if i%4 >= 2 {
			f.data(id, "", true)
		}
	}
	f.flush()
	got := map[uint32]int{}
	for left := 10; left > 0; {
		x, err := f.next()
		if err != nil {
			t.Fatal(err)
		}
		switch x := x.(type) {
		case *http2.DataFrame:
			got[x.StreamID] += len(x.Data())
			if x.StreamEnded() {
				left--
			}
			if n := x.Header().Length; n > 0 {
				_ = f.fr.WriteWindowUpdate(0, n)
				f.flush()
			}
		case *http2.RSTStreamFrame:
			t.Fatalf("stream %d was reset: %s", x.StreamID, x.ErrCode)
		}
	}
	for id, n := range got {
		if n != len(body) {
			t.Errorf("stream %d: %d bytes, want %d", id, n, len(body))
		}
	}
	f.get(101, ":method: HEAD", ":scheme: http", ":path: /m", ":authority: a").flush().want(101, "200")
}

// testH2Many has more streams than one connection may have.
func testH2Many(t *testing.T, mk New) {
	release := make(chan struct{})
	b := rawBackend(t, func(c *conn, _ int) {
		c.head()
		<-release
		c.send(hello)
	})
	w := newWorld(t, mk, "", b.addr)
	f := w.h2()
	for i := range 101 {
		f.get(uint32(2*i + 1))
	}
	f.flush().want(201, "rst REFUSED_STREAM")
	close(release)
	f.want(199, "200 hello")
}
