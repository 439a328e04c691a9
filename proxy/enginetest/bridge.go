package enginetest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/lbnode/lbnode/proxy"
)

// RunH2 runs the suite with clients that speak HTTP/2: by TLS, or in clear text with prior knowledge.
func RunH2(t *testing.T, mk New, secure bool, deviations map[string]string) {
	without := map[string]string{
		"http10":                 "is about HTTP/1.0",
		"websocket":              "is about Upgrade",
		"switch_unasked":         "is about Upgrade",
		"limit_upgraded":         "is about Upgrade",
		"corpus":                 "is about HTTP/1.1 on the wire",
		"slow_head":              "is about HTTP/1.1 on the wire",
		"slow_flood":             "is about HTTP/1.1 on the wire",
		"connection_cap":         "is about connections",
		"proxy_protocol":         "is about connections",
		"proxy_protocol_tls":     "is about connections",
		"proxy_protocol_refused": "is about connections",
		"http2":                  "dials by itself",
		"proxy_protocol_out":     "is about connections",
		"idle":                   "an HTTP/1.1 connection is not idle when its bridge is; see testH2Idle",
		"client_cap_proxied":     "is about connections",
		"drain":                  "GOAWAY does not wait for a request; see testH2Drain",
		"cut off":                "is about Upgrade too; see testH2CutOff",
		"idle_timeout":           "is about Upgrade too; see testH2Timeouts",
		"stalled_reader":         "the bridge does not read either; see testH2Stalled",
		"too_large":              "is about HTTP/1.1 on the wire; see testH2Refused",
		"accounting":             "is about HTTP/1.1 on the wire too",
		"access_log":             "names the protocol; see testH2Refused",
	}
	for name, why := range deviations {
		without[name] = why
	}
	Run(t, func(t testing.TB, p *proxy.Proxy, s Settings) proxy.Engine {
		s.Idle = 5 * idleTimeout // a head that is on its way to the bridge is nothing to the engine
		if secure {
			s.TLSAddrs, s.Certificate = []string{"127.0.0.1:0"}, certificate(t)
		}
		return &bridged{Engine: mk(t, p, s), t: t, secure: secure}
	}, without)
}

// bridged is an engine with a bridge before it, by which HTTP/1.1 clients speak HTTP/2 with it.
type bridged struct {
	proxy.Engine
	t      testing.TB
	secure bool
	ln     net.Listener
}

// Start starts the engine, and then the bridge.
func (b *bridged) Start() error {
	if err := b.Engine.Start(); err != nil {
		return err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	b.ln = ln
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				s, err := b.dial()
				if err != nil {
					return
				}
				defer s.Close()
				newCrossing(c.(*net.TCPConn), s).run()
			})
		}
	})
	b.t.Cleanup(func() {
		ln.Close()
		wg.Wait()
	})
	return nil
}

// Shutdown shuts the bridge for new clients, and the engine.
func (b *bridged) Shutdown(ctx context.Context) error {
	b.ln.Close()
	return b.Engine.Shutdown(ctx)
}

func (b *bridged) dial() (net.Conn, error) {
	if !b.secure {
		return net.Dial("tcp", b.Engine.Addrs()[0].String())
	}
	return tls.Dial("tcp", b.TLSAddrs()[0].String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
}

// Addrs is the bridge's.
func (b *bridged) Addrs() []net.Addr { return []net.Addr{b.ln.Addr()} }

// crossing is one connection on the bridge.
type crossing struct {
	client *net.TCPConn
	server net.Conn
	fr     *http2.Framer

	mu      sync.Mutex // guards writing frames and the rest
	moved   sync.Cond
	enc     *hpack.Encoder
	block   bytes.Buffer
	conn    int64 // the engine's windows
	stream  int64
	first   int64
	id      uint32
	method  string
	begun   bool // a final head has come
	done    bool // and the end
	sending bool
	chunked bool
	away    bool
	dead    bool
}

func newCrossing(client *net.TCPConn, server net.Conn) *crossing {
	x := &crossing{client: client, server: server, fr: http2.NewFramer(server, server), conn: 65535, first: 65535, done: true}
	x.fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	x.moved.L = &x.mu
	x.enc = hpack.NewEncoder(&x.block)
	return x
}

var errOver = errors.New("the stream is over")

// run serves the client until either end has gone.
func (x *crossing) run() {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer x.server.Close()
	if _, err := io.WriteString(x.server, http2.ClientPreface); err != nil || x.fr.WriteSettings() != nil {
		return
	}
	wg.Go(x.back)
	in := bufio.NewReaderSize(x.client, 64<<10)
	for {
		r, err := http.ReadRequest(in)
		if err != nil || x.request(r) != nil {
			return
		}
		// Whatever comes next, unless it is the end: the answer first.
		if _, err := in.Peek(1); err != nil {
			x.mu.Lock()
			if !x.done {
				_ = x.fr.WriteRSTStream(x.id, http2.ErrCodeCancel)
			}
			x.mu.Unlock()
			return
		}
		x.mu.Lock()
		for !x.done && !x.dead {
			x.moved.Wait()
		}
		dead := x.dead
		x.mu.Unlock()
		if dead {
			return
		}
	}
}

// request sends a request with its body.
func (x *crossing) request(r *http.Request) error {
	x.mu.Lock()
	x.id = max(x.id+2, 1) | 1
	x.stream, x.method, x.begun, x.done, x.chunked, x.sending = x.first, r.Method, false, false, false, true
	x.block.Reset()
	put := func(name, value string) { _ = x.enc.WriteField(hpack.HeaderField{Name: name, Value: value}) }
	put(":method", r.Method)
	put(":scheme", "http")
	put(":path", r.RequestURI)
	put(":authority", r.Host)
	bodied := r.ContentLength != 0
	hop := strings.ToLower(strings.Join(r.Header["Connection"], ",") + ",connection,transfer-encoding,upgrade,keep-alive,")
	for name, values := range r.Header {
		name = strings.ToLower(name)
		for _, v := range values {
			if name == "te" || !strings.Contains(strings.ReplaceAll(hop, " ", ""), name+",") {
				put(name, v)
			}
		}
	}
	if len(r.Trailer) > 0 {
		for name := range r.Trailer {
			put("trailer", strings.ToLower(name))
		}
	}
	err := x.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: x.id, BlockFragment: x.block.Bytes()[:min(x.block.Len(), 16<<10)], EndStream: !bodied, EndHeaders: x.block.Len() <= 16<<10})
	for rest := x.block.Bytes()[min(x.block.Len(), 16<<10):]; err == nil && len(rest) > 0; {
		k := min(len(rest), 16<<10)
		err = x.fr.WriteContinuation(x.id, k == len(rest), rest[:k])
		rest = rest[k:]
	}
	x.mu.Unlock()
	if err == nil && bodied {
		err = x.body(r)
	}
	x.mu.Lock()
	x.sending = false
	x.mu.Unlock()
	if err == errOver {
		err = nil
	}
	return err
}

// body sends DATA as the windows allow.
func (x *crossing) body(r *http.Request) error {
	buf := make([]byte, 16<<10)
	for {
		n, err := r.Body.Read(buf)
		if err != nil && err != io.EOF {
			return err
		}
		x.mu.Lock()
		for x.id != 0 && n > 0 && min(x.conn, x.stream) < int64(n) && !x.done && !x.dead {
			x.moved.Wait()
		}
		over := x.done || x.dead
		x.conn, x.stream = x.conn-int64(n), x.stream-int64(n)
		var werr error
		switch {
		case over:
			werr = errOver
		case err == io.EOF && len(r.Trailer) > 0:
			werr = x.fr.WriteData(x.id, false, buf[:n])
			x.block.Reset()
			for name, v := range r.Trailer {
				_ = x.enc.WriteField(hpack.HeaderField{Name: strings.ToLower(name), Value: strings.Join(v, ", ")})
			}
			if werr == nil {
				werr = x.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: x.id, BlockFragment: x.block.Bytes(), EndStream: true, EndHeaders: true})
			}
		default:
			werr = x.fr.WriteData(x.id, err == io.EOF, buf[:n])
		}
		x.mu.Unlock()
		if werr != nil || err == io.EOF {
			return werr
		}
	}
}

// back takes the engine's frames.
func (x *crossing) back() {
	defer func() {
		x.mu.Lock()
		x.dead = true
		if !x.done {
			_ = x.client.SetLinger(0) // what was sent is not the whole answer
		}
		x.mu.Unlock()
		x.moved.Broadcast()
		x.client.Close()
	}()
	for {
		f, err := x.fr.ReadFrame()
		if err != nil || x.take(f) != nil {
			return
		}
	}
}

func (x *crossing) take(f http2.Frame) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	defer x.moved.Broadcast()
	switch f := f.(type) {
	case *http2.SettingsFrame:
		if f.IsAck() {
			return nil
		}
		if v, ok := f.Value(http2.SettingInitialWindowSize); ok {
			x.stream += int64(v) - x.first
			x.first = int64(v)
		}
		return x.fr.WriteSettingsAck()
	case *http2.PingFrame:
		if !f.IsAck() {
			return x.fr.WritePing(true, f.Data)
		}
	case *http2.WindowUpdateFrame:
		if f.StreamID == 0 {
			x.conn += int64(f.Increment)
		} else if f.StreamID == x.id {
			x.stream += int64(f.Increment)
		}
	case *http2.GoAwayFrame:
		x.away = true
		if x.done || f.ErrCode != http2.ErrCodeNo {
			return errOver
		}
	case *http2.RSTStreamFrame:
		if !x.done {
			return errOver
		}
		if x.sending { // HTTP/1.1 would close behind an early answer
			return errOver
		}
	case *http2.MetaHeadersFrame:
		return x.head(f)
	case *http2.DataFrame:
		return x.data(f)
	}
	return nil
}

func (x *crossing) head(f *http2.MetaHeadersFrame) error {
	var b strings.Builder
	if x.begun {
		b.WriteString("0\r\n")
		for _, h := range f.RegularFields() {
			fmt.Fprintf(&b, "%s: %s\r\n", h.Name, h.Value)
		}
		b.WriteString("\r\n")
		return x.end(b.String(), true)
	}
	status := f.PseudoValue("status")
	length := false
	fmt.Fprintf(&b, "HTTP/1.1 %s %s\r\n", status, map[string]string{"100": "Continue"}[status])
	for _, h := range f.RegularFields() {
		length = length || h.Name == "content-length"
		fmt.Fprintf(&b, "%s: %s\r\n", http.CanonicalHeaderKey(h.Name), h.Value)
	}
	if status[0] != '1' {
		x.begun = true
		if !length && !f.StreamEnded() {
			x.chunked = true
			b.WriteString("Transfer-Encoding: chunked\r\n")
		} else if !length && status != "204" && status != "304" && x.method != "HEAD" {
			b.WriteString("Content-Length: 0\r\n")
		}
		if x.away {
			b.WriteString("Connection: close\r\n")
		}
	}
	b.WriteString("\r\n")
	return x.end(b.String(), f.StreamEnded())
}

func (x *crossing) data(f *http2.DataFrame) error {
	p := f.Data()
	var b strings.Builder
	if len(p) > 0 && x.chunked {
		fmt.Fprintf(&b, "%x\r\n%s\r\n", len(p), p)
	} else {
		b.Write(p)
	}
	if f.StreamEnded() && x.chunked {
		b.WriteString("0\r\n\r\n")
	}
	if err := x.end(b.String(), f.StreamEnded()); err != nil {
		return err
	}
	if n := f.Header().Length; n > 0 {
		if err := x.fr.WriteWindowUpdate(0, n); err != nil {
			return err
		}
		if !f.StreamEnded() {
			return x.fr.WriteWindowUpdate(f.StreamID, n)
		}
	}
	return nil
}

// end gives something to the client, which does not always read: not under the lock.
func (x *crossing) end(s string, ended bool) error {
	x.mu.Unlock()
	_, err := io.WriteString(x.client, s)
	x.mu.Lock()
	if ended {
		x.done = true
		if x.away {
			return errOver
		}
	}
	return err
}
