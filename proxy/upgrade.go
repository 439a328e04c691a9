package proxy

import (
	"bufio"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/lbnode/lbnode/proxy/upstream"
	"github.com/lbnode/lbnode/stats"
)

// webSocketKey gives the Sec-WebSocket-Key of a proper opening handshake (RFC 6455 §4.1), "" for any other
// request. All other upgrades, above all h2c, would open a tunnel that nothing inspects: they are forwarded
// as if the Upgrade field were not there, which RFC 9110 §7.8 allows.
func webSocketKey(r *http.Request) string {
	up, keys := r.Header["Upgrade"], r.Header["Sec-Websocket-Key"]
	if r.ProtoMajor != 1 || r.ProtoMinor < 1 || r.Method != http.MethodGet || r.ContentLength != 0 ||
		len(up) != 1 || !strings.EqualFold(strings.TrimSpace(up[0]), "websocket") ||
		len(keys) != 1 || !tokens(r.Header["Connection"], "upgrade") {
		return ""
	}
	if raw, err := base64.StdEncoding.DecodeString(keys[0]); err != nil || len(raw) != 16 {
		return ""
	}
	return keys[0]
}

// acceptsWebSocket verifies that a 101 answers the handshake (RFC 6455 §4.2.2).
func acceptsWebSocket(h http.Header, key string) bool {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	up, accept := h["Upgrade"], h["Sec-Websocket-Accept"]
	return key != "" && len(up) == 1 && strings.EqualFold(up[0], "websocket") && tokens(h["Connection"], "upgrade") &&
		len(accept) == 1 && accept[0] == base64.StdEncoding.EncodeToString(sum[:])
}

// upgrade turns the exchange into a tunnel until both sides are done. An error means that the backend's
// answer is not what was asked for and that nothing was sent to the client.
func (s *serving) upgrade(ctx context.Context, cancel context.CancelCauseFunc, u *upstream.Upstream, resp *http.Response) error {
	backend, ok := resp.Body.(io.ReadWriteCloser)
	if !ok || !acceptsWebSocket(resp.Header, s.socket) {
		return errUpgrade
	}
	if s.total != nil {
		s.total.release() // an upgraded connection may last
	}
	s.setCookie(u, resp)
	conn, rw, err := http.NewResponseController(s.w).Hijack()
	if err != nil {
		return fmt.Errorf("take over the client's connection: %w", err)
	}
	s.tunnel, s.status, s.kind = true, http.StatusSwitchingProtocols, stats.OK
	defer conn.Close()
	defer backend.Close()
	// Shutting down the engine ends tunnels too.
	defer context.AfterFunc(ctx, func() {
		conn.Close()
		backend.Close()
	})()
	_ = conn.SetDeadline(time.Time{}) // those of the head; a closed connection shows below
	if u, ok := conn.(interface{ Upgraded() }); ok {
		u.Upgraded()
	}
	if writeSwitching(rw.Writer, resp.Header) != nil {
		s.kind = stats.ClientGone
		return nil
	}
	idle := newIdleTimer(s.x.Target.Upgraded, cancel)
	defer idle.stop()
	s.relay(conn, rw.Reader, backend, idle)
	return nil
}

func writeSwitching(w *bufio.Writer, h http.Header) error {
	out := make(http.Header, len(h))
	ResponseHeader(out, h)
	delete(out, "Content-Length") // RFC 9110 §8.6
	out["Connection"], out["Upgrade"] = []string{"Upgrade"}, []string{"websocket"}
	if _, err := w.WriteString("HTTP/1.1 101 Switching Protocols\r\n"); err != nil {
		return err
	}
	if err := out.Write(w); err != nil {
		return err
	}
	if _, err := w.WriteString("\r\n"); err != nil {
		return err
	}
	return w.Flush()
}

// relay copies both ways. The end of one direction is passed on and leaves the other one open; an error
// ends both.
func (s *serving) relay(client net.Conn, fromClient *bufio.Reader, backend io.ReadWriteCloser, idle *idleTimer) {
	var wg sync.WaitGroup
	wg.Go(func() {
		// What the client sent along with its request is in the reader; after that straight from the connection.
		src := io.Reader(client)
		if n := fromClient.Buffered(); n > 0 {
			src = io.MultiReader(io.LimitReader(fromClient, int64(n)), client)
		}
		n, ok := s.pipe(backend, watched{src, idle})
		s.body.read.Add(n)
		if !ok {
			client.Close()
			backend.Close()
		}
	})
	n, ok := s.pipe(client, watched{backend, idle})
	s.bytesOut += n
	if !ok {
		client.Close()
		backend.Close()
	}
	wg.Wait()
}

// pipe copies one direction and half-closes its target. Without half-close the target is closed as a whole,
// as its peer would otherwise never learn of the end.
func (s *serving) pipe(dst io.Writer, src io.Reader) (n uint64, ok bool) {
	buf := s.p.buffers.Get().(*[]byte)
	defer s.p.buffers.Put(buf)
	// Hidden from io.CopyBuffer: a ReadFrom or WriteTo would bring a buffer of its own.
	m, err := io.CopyBuffer(struct{ io.Writer }{dst}, struct{ io.Reader }{src}, *buf)
	if err != nil {
		return uint64(m), false
	}
	if c, can := dst.(interface{ CloseWrite() error }); can {
		return uint64(m), c.CloseWrite() == nil
	}
	return uint64(m), false
}
