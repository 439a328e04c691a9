package portable

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lbnode/lbnode/proxy"
	"github.com/lbnode/lbnode/proxy/door"
	"github.com/lbnode/lbnode/stats"
)

const (
	// h2Idle and h2Ping find HTTP/2 clients that vanished without a word.
	h2Idle = 30 * time.Second
	h2Ping = 15 * time.Second
	// cutOff is how long Shutdown waits for handlers after it has cut their connections.
	cutOff = 5 * time.Second
)

// Errors of an Engine.
var (
	// ErrStarted says that Start was called twice, or after Shutdown.
	ErrStarted = errors.New("portable: engine was started or shut down before")
	// ErrCutOff says that Shutdown had to break off requests.
	ErrCutOff = errors.New("portable: requests were cut off")
)

// Engine serves a Proxy by net/http. It implements proxy.Engine.
type Engine struct {
	cfg      Config
	total    *stats.Handle
	server   *http.Server
	cancel   context.CancelFunc // of the base context of all requests
	draining atomic.Bool
	hurry    atomic.Bool    // connections are cut off
	handed   *handed        // connections that another engine accepted
	door     *door.Door     // of client connections
	active   atomic.Int64   // requests and tunnels
	wake     chan struct{}  // cap 1; written when active falls to 0 while draining
	serving  sync.WaitGroup // the Serve loops

	stopOnce sync.Once
	result   error // of Shutdown

	mu      sync.Mutex // guards the rest
	started bool
	plain   []net.Listener
	secure  []net.Listener
}

var _ proxy.Engine = (*Engine)(nil)

// New makes an engine. It listens only once it is started.
func New(cfg Config) (*Engine, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	base, cancel := context.WithCancel(context.Background())
	e := &Engine{cfg: cfg, total: cfg.Proxy.Stats().Total(), cancel: cancel, wake: make(chan struct{}, 1), door: cfg.Door}
	if e.door == nil {
		e.door = door.New(cfg.Limits.Conns, cfg.Limits.ClientConns)
	}
	e.handed = newHanded(e)
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	e.server = &http.Server{
		Handler:           e,
		ReadHeaderTimeout: cfg.Limits.HeadTimeout,
		IdleTimeout:       cfg.Limits.IdleTimeout,
		MaxHeaderBytes:    cfg.Limits.Head.Head,
		Protocols:         &protocols,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: cfg.Limits.Streams,
			SendPingTimeout:      h2Idle,
			PingTimeout:          h2Ping,
			WriteByteTimeout:     cfg.Limits.StallTimeout,
		},
		ErrorLog:    log.New(&errorLog{cfg.Logger}, "", 0),
		BaseContext: func(net.Listener) context.Context { return base },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if g, ok := c.(proxy.Guarded); ok {
				return proxy.WithGuarded(ctx, g)
			}
			return ctx
		},
		DisableGeneralOptionsHandler: true,
	}
	return e, nil
}

// Start binds all listeners and serves them.
func (e *Engine) Start() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.started {
		return ErrStarted
	}
	var bound []net.Listener
	listen := func(addrs []string) ([]net.Listener, error) {
		var out []net.Listener
		for _, a := range addrs {
			l, err := net.Listen("tcp", a)
			if err != nil {
				return nil, fmt.Errorf("portable: listen on %s: %w", a, err)
			}
			bound, out = append(bound, l), append(out, l)
		}
		return out, nil
	}
	plain, err := listen(e.cfg.Addrs)
	var secure []net.Listener
	if err == nil {
		secure, err = listen(e.cfg.TLSAddrs)
	}
	if err != nil {
		for _, l := range bound {
			l.Close()
		}
		return err
	}
	e.started = true
	for i, l := range plain {
		plain[i] = &plainListener{l, e}
		if len(e.cfg.ProxyFrom) > 0 {
			plain[i] = newReadyListener(l, e, nil) // net/http wants to know the client before it reads
		}
	}
	for i, l := range secure {
		secure[i] = newReadyListener(l, e, e.tlsConfig())
	}
	e.plain, e.secure = plain, secure
	for _, l := range append(append(plain[:len(plain):len(plain)], secure...), e.handed) {
		e.serving.Go(func() {
			if err := e.server.Serve(l); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
				e.cfg.Logger.Error("listener stopped", "addr", l.Addr().String(), "error", err)
			}
		})
	}
	return nil
}

// Addrs implements proxy.Engine.
func (e *Engine) Addrs() []net.Addr {
	e.mu.Lock()
	defer e.mu.Unlock()
	return addrs(e.plain)
}

// TLSAddrs implements proxy.Engine.
func (e *Engine) TLSAddrs() []net.Addr {
	e.mu.Lock()
	defer e.mu.Unlock()
	return addrs(e.secure)
}

func addrs(list []net.Listener) []net.Addr {
	out := make([]net.Addr, len(list))
	for i, l := range list {
		out[i] = l.Addr()
	}
	return out
}

// ServeHTTP serves one request, which may become a tunnel. Another engine may call it for a request that it has
// read from a connection of its own.
func (e *Engine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.active.Add(1)
	defer e.leave()
	if e.draining.Load() {
		// HTTP/1.1 closes after this answer; for HTTP/2 net/http makes a GOAWAY of it.
		w.Header().Set("Connection", "close")
	}
	e.cfg.Proxy.ServeHTTP(w, r)
}

// leave counts a request out. Draining is set before anybody waits, so no wake-up is lost.
func (e *Engine) leave() {
	if e.active.Add(-1) == 0 && e.draining.Load() {
		select {
		case e.wake <- struct{}{}:
		default:
		}
	}
}

// wait waits until no request and no tunnel is left.
func (e *Engine) wait(ctx context.Context) error {
	for e.active.Load() > 0 {
		select {
		case <-e.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Drain implements proxy.Engine: every answer from now on closes its connection (HTTP/2: after the requests
// that are open). Connections are still accepted.
func (e *Engine) Drain() { e.draining.Store(true) }

// Undrain implements proxy.Engine.
func (e *Engine) Undrain() { e.draining.Store(false) }

// CutOff implements proxy.Engine.
func (e *Engine) CutOff(backendID string) { e.cfg.Proxy.Set().CutOff(backendID) }

// Shutdown implements proxy.Engine. Connections that are idle stay open for Limits.QuietTime more. Repeated
// calls return the result of the first.
func (e *Engine) Shutdown(ctx context.Context) error {
	e.stopOnce.Do(func() { e.result = e.stop(ctx) })
	return e.result
}

func (e *Engine) stop(ctx context.Context) error {
	e.Drain()
	e.mu.Lock()
	e.started = true
	listeners := append(append(e.plain[:len(e.plain):len(e.plain)], e.secure...), e.handed)
	e.mu.Unlock()
	for _, l := range listeners {
		_ = l.Close() // only fails if it is closed already
	}
	e.serving.Wait()
	if len(listeners) > 1 {
		quiet := time.NewTimer(e.cfg.Limits.QuietTime)
		defer quiet.Stop()
		select {
		case <-quiet.C:
		case <-ctx.Done():
		}
	}
	err := e.server.Shutdown(ctx)
	if err == nil {
		err = e.wait(ctx) // net/http does not wait for connections that it has handed over
	}
	e.cancel()
	if err == nil {
		return nil
	}
	e.hurry.Store(true)
	_ = e.server.Close() // the listeners, which it would complain about, are closed
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), cutOff)
	defer cancel()
	if e.wait(end) != nil {
		e.cfg.Logger.Error("requests did not end after their connections were cut")
	}
	return fmt.Errorf("%w: %w", ErrCutOff, err)
}

// errorLog gives net/http's messages to the logger. Nearly all are about what clients do and are of no use
// to an operator.
type errorLog struct{ logger *slog.Logger }

func (l *errorLog) Write(p []byte) (int, error) {
	msg := strings.TrimSpace(string(p))
	level := slog.LevelDebug
	if strings.Contains(msg, "Accept error") || strings.Contains(msg, "panic serving") {
		level = slog.LevelError
	}
	l.logger.Log(context.Background(), level, "http server", "message", msg)
	return len(p), nil
}
