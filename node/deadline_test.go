package node

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lbnode/lbnode/state"
)

const (
	wsRequest = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	wsAnswer  = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)

// At the deadline every node closes what runs on the backend, a WebSocket and a request without an answer, and
// then the drain is over; with keep they go on.
func TestDeadline_closes(t *testing.T) {
	t.Parallel()
	for _, engine := range []string{"portable", "epoll"} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			if engine == "epoll" && runtime.GOOS != "linux" {
				t.Skip("event loops are there on Linux only")
			}
			arrived := make(chan struct{}, 2)
			backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/ws" {
					c, rw, err := http.NewResponseController(w).Hijack()
					if err != nil {
						t.Error(err)
						return
					}
					defer c.Close()
					_, _ = rw.WriteString(wsAnswer)
					_ = rw.Flush()
					arrived <- struct{}{}
					_, _ = io.Copy(io.Discard, rw)
					return
				}
				arrived <- struct{}{}
				<-r.Context().Done()
			}))
			defer backend.Close()
			cfg := testConfig(t, "one")
			cfg.Engine = engine
			n, _ := runNode(t, cfg)
			eventually(t, "readiness", func() bool { s, _ := call(t, "GET", apiOf(n)+"/readyz", ""); return s == http.StatusOK })
			putAll(t, n, "/pools/p", `{"initial":"up","health":{"type":"none"}}`, "/backends/a", fmt.Sprintf(`{"address":%q,"pool":"p"}`, backend.Listener.Addr()),
				"/routes/r", `{"match":{"path":"/"},"backend_pool":"p"}`)
			if s, body := call(t, "POST", apiOf(n)+"/backends/a/enable?wait=applied", ""); s != http.StatusOK {
				t.Fatalf("enable = %d %s", s, body)
			}
			ws, err := net.Dial("tcp", n.ProxyAddrs()[0].String())
			if err != nil {
				t.Fatal(err)
			}
			defer ws.Close()
			_, _ = io.WriteString(ws, wsRequest)
			r := bufio.NewReader(ws)
			if resp, err := http.ReadResponse(r, nil); err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
				t.Fatalf("handshake = %v, %v", resp, err)
			}
			answer := make(chan int, 1)
			go func() {
				s, _ := call(t, "GET", "http://"+n.ProxyAddrs()[0].String()+"/", "")
				answer <- s
			}()
			<-arrived
			<-arrived
			if s, body := call(t, "POST", apiOf(n)+"/backends/a/disable?wait=applied&deadline=1ms", ""); s != http.StatusOK {
				t.Fatalf("disable = %d %s", s, body)
			}
			if s, body := call(t, "GET", apiOf(n)+"/backends/a/wait?wait=idle&timeout=300ms", ""); s != http.StatusAccepted {
				t.Errorf("after a deadline that keeps what runs, wait=idle = %d %s, want 202", s, body)
			}
			if s, body := call(t, "POST", apiOf(n)+"/backends/a/disable?wait=idle&timeout=15s&deadline=1ms&on_deadline=close", ""); s != http.StatusOK {
				t.Errorf("after a deadline that closes what runs, wait=idle = %d %s, want 200", s, body)
			}
			if s := <-answer; s != http.StatusServiceUnavailable {
				t.Errorf("the request without an answer got %d, want 503", s)
			}
			_ = ws.SetReadDeadline(time.Now().Add(10 * time.Second))
			if _, err := r.ReadByte(); err == nil {
				t.Error("the WebSocket goes on")
			} else if e, ok := err.(net.Error); ok && e.Timeout() {
				t.Error("the WebSocket stands still instead of ending")
			}
		})
	}
}

func TestClosings(t *testing.T) {
	t.Parallel()
	v := state.NewView()
	var ops []state.Op
	for id, more := range map[string]string{
		"ready":   ``,
		"stopped": `,"admin_state":"stopped"`,
		"keep":    `,"admin_state":"stopped","drain":{"deadline":"2026-01-02T03:04:05Z"}`,
		"close":   `,"admin_state":"stopped","drain":{"deadline":"2026-01-02T03:04:05Z","on_deadline":"close"}`,
		"remove":  `,"admin_state":"decommissioned","drain":{"deadline":"2026-01-02T03:04:06Z","on_deadline":"close"}`,
	} {
		ops = append(ops, state.Op{Verb: state.VerbPut, Kind: state.KindBackend, ID: id, Value: fmt.Appendf(nil, `{"address":"h:1"%s}`, more)})
	}
	v, res := state.Apply(v, 1, 1, state.Command{Type: state.TypeTxn, Ops: ops})
	if res.Refusal != nil {
		t.Fatal(res.Refusal)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if got, want := closings(v), map[string]time.Time{"close": at, "remove": at.Add(time.Second)}; !maps.Equal(got, want) {
		t.Errorf("closings = %v, want %v", got, want)
	}
}

// What is due is closed until nothing is left, and a change of the deadline counts.
func TestDeadlines_run(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var closed []string
		seen := func() []string {
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(closed)
		}
		left := map[string]int{"a": 3} // looks until nothing is left
		d := newDeadlines(func(id string) bool {
			mu.Lock()
			defer mu.Unlock()
			closed = append(closed, id)
			left[id]--
			return left[id] > 0
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); d.run(ctx) }()
		now := time.Now()
		d.updates <- map[string]time.Time{"a": now.Add(time.Second), "b": now.Add(time.Hour)}
		time.Sleep(time.Second - 1)
		if got := seen(); len(got) > 0 {
			t.Errorf("before the deadline: %v", got)
		}
		time.Sleep(time.Minute)
		if got, want := seen(), []string{"a", "a", "a"}; !slices.Equal(got, want) {
			t.Errorf("after the deadline: %v, want %v", got, want)
		}
		d.updates <- map[string]time.Time{"b": now}
		if got := seen(); got[len(got)-1] != "b" || len(got) != 4 {
			t.Errorf("with the deadline moved to the past: %v", got)
		}
		cancel()
		<-done
	})
}
