//go:build linux

package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lbnode/lbnode/proxy"
	"github.com/lbnode/lbnode/proxy/door"
	"github.com/lbnode/lbnode/proxy/http1"
	"github.com/lbnode/lbnode/proxy/portable"
	"github.com/lbnode/lbnode/proxy/upstream"
	"github.com/lbnode/lbnode/stats"
)

// Stages of a loop's life.
const (
	stageServe  = iota
	stageClosed // accepts nothing new
	stageQuiet  // closes what is idle, ends when nothing is left
	stageEnd
)

// Errors of an Engine.
var (
	// ErrStarted says that Start was called twice, or after Shutdown.
	ErrStarted = errors.New("engine: engine was started or shut down before")
	// ErrCutOff says that Shutdown had to break off requests.
	ErrCutOff = errors.New("engine: requests were cut off")
)

// Engine serves a Proxy by event loops. It implements proxy.Engine.
type Engine struct {
	cfg         Config
	answer      http1.Limits // of response heads
	plain       bool         // backends are dialled by the system, so loops may
	maxIdle     int
	idleTimeout time.Duration
	portable    *portable.Engine
	loops       []*loop
	door        *door.Door // counts client connections, those of portable too
	draining    atomic.Bool
	lastWord    atomic.Int64 // second of the last complaint
	total       *stats.Handle
	log         proxy.AccessLog // nil = none
	ctx         context.Context
	cancel      context.CancelFunc
	wg          sync.WaitGroup // TLS listeners, handshakes, hand-overs
	stopOnce    sync.Once
	result      error

	mu      sync.Mutex // guards the rest
	started bool
	plains  []net.Addr
	secures []net.Listener
}

var _ proxy.Engine = (*Engine)(nil)

// New makes an engine. It listens only once it is started.
func New(cfg Config) (*Engine, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Loops == 0 {
		cfg.Loops = max(runtime.GOMAXPROCS(0)-1, 1)
	}
	d := door.New(cfg.Limits.Conns, cfg.Limits.ClientConns)
	p, err := portable.New(portable.Config{
		Door: d, Proxy: cfg.Proxy, Certificate: cfg.Certificate, TLS: cfg.TLS, ProxyFrom: cfg.ProxyFrom, Limits: cfg.Limits.Limits, Logger: cfg.Logger,
	})
	if err != nil {
		return nil, err
	}
	up := cfg.Proxy.Upstream()
	e := &Engine{
		cfg: cfg, portable: p, door: d, answer: http1.AnswerLimits(min(int(up.MaxHeaderBytes), readSize/2)), plain: up.Dial == nil,
		total: cfg.Proxy.Stats().Total(), log: cfg.Proxy.AccessLog(), maxIdle: max(up.MaxIdlePerBackend/cfg.Loops, 1), idleTimeout: up.IdleTimeout,
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	return e, nil
}

// Start implements proxy.Engine.
func (e *Engine) Start() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.started {
		return ErrStarted
	}
	if err := e.bind(); err != nil {
		return err
	}
	e.started = true
	for _, l := range e.loops {
		go l.run() // waited for by stop
	}
	for _, ln := range e.secures {
		e.wg.Go(func() { e.acceptTLS(ln) })
	}
	return nil
}

// bind makes loops and listeners, or nothing.
func (e *Engine) bind() (err error) {
	var undo []func()
	defer func() {
		if err != nil {
			for _, f := range undo {
				f()
			}
			e.loops, e.plains, e.secures = nil, nil, nil
		}
	}()
	for i := range e.cfg.Loops {
		l, err := newLoop(e, i)
		if err != nil {
			return fmt.Errorf("engine: make event loop: %w", err)
		}
		e.loops = append(e.loops, l)
		undo = append(undo, l.cleanup)
	}
	for _, a := range e.cfg.Addrs {
		fds, bound, err := e.listen(a)
		if err != nil {
			return err
		}
		e.plains = append(e.plains, bound)
		for i, l := range e.loops {
			l.serve(fds[i])
			undo = append(undo, l.closeListeners)
		}
	}
	for _, a := range e.cfg.TLSAddrs {
		ln, err := listenTCP(a, false)
		if err != nil {
			return err
		}
		e.secures = append(e.secures, ln)
		undo = append(undo, func() { ln.Close() })
	}
	return e.portable.Start()
}

// Addrs implements proxy.Engine.
func (e *Engine) Addrs() []net.Addr {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]net.Addr(nil), e.plains...)
}

// TLSAddrs implements proxy.Engine.
func (e *Engine) TLSAddrs() []net.Addr {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := make([]net.Addr, len(e.secures))
	for i, ln := range e.secures {
		out[i] = ln.Addr()
	}
	return out
}

// Drain implements proxy.Engine: every answer from now on closes its connection.
func (e *Engine) Drain() {
	e.draining.Store(true)
	e.portable.Drain()
	e.mu.Lock()
	loops := e.loops
	e.mu.Unlock()
	for _, l := range loops {
		l.post(l.drainH2)
	}
}

// Undrain implements proxy.Engine.
func (e *Engine) Undrain() {
	e.draining.Store(false)
	e.portable.Undrain()
}

// CutOff implements proxy.Engine.
func (e *Engine) CutOff(backendID string) {
	e.mu.Lock()
	loops := e.loops
	e.mu.Unlock()
	for _, l := range loops {
		l.post(func() { l.cutOff(backendID) })
	}
	e.portable.CutOff(backendID)
}

// cutOff ends the exchanges that are with a backend.
func (l *loop) cutOff(backendID string) {
	var all []*exchange
	for u := range l.servers {
		if u.e != nil && u.e.at.Upstream.ID() == backendID {
			all = append(all, u.e)
		}
	}
	for _, e := range all { // ending one touches no other
		if e.tunnel {
			l.endTunnel(e, upstream.OK)
		} else {
			l.fail(e, upstream.DrainClosed, upstream.ErrDrained)
		}
	}
}

// Shutdown implements proxy.Engine. Connections that are idle stay open for Limits.QuietTime more. Repeated
// calls return the result of the first.
func (e *Engine) Shutdown(ctx context.Context) error {
	e.stopOnce.Do(func() { e.result = e.stop(ctx) })
	return e.result
}

func (e *Engine) stop(ctx context.Context) error {
	e.Drain()
	e.mu.Lock()
	running := e.started
	e.started = true
	loops, secures := e.loops, e.secures
	e.mu.Unlock()
	if !running {
		e.cancel()
		return e.portable.Shutdown(ctx)
	}
	for _, ln := range secures {
		ln.Close()
	}
	each := func(f func(*loop)) {
		for _, l := range loops {
			l.post(func() { f(l) })
		}
	}
	each(func(l *loop) { l.stage = stageClosed; l.closeListeners() })
	quiet := time.NewTimer(e.cfg.Limits.QuietTime)
	defer quiet.Stop()
	select {
	case <-quiet.C:
	case <-ctx.Done():
	}
	each((*loop).quieten)
	cut := 0
	for _, l := range loops {
		select {
		case <-l.done:
		case <-ctx.Done():
			cut++
			l.post(func() { l.stage = stageEnd })
			<-l.done
		}
	}
	e.cancel()
	err := e.portable.Shutdown(ctx)
	e.wg.Wait()
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrCutOff, err)
	case cut > 0:
		return fmt.Errorf("%w: %w", ErrCutOff, ctx.Err())
	}
	return nil
}

// quieten closes what is idle; the loop ends when nothing is left.
func (l *loop) quieten() {
	l.stage = stageQuiet
	for c := range l.clients {
		if c.h2 != nil {
			l.finalAway(c)
			continue
		}
		if c.state == stIdle || c.state == stLinger || c.state == stHead && len(c.in) == 0 {
			l.closeClient(c)
		}
	}
	for u := range l.servers {
		if u.e == nil && (u.h2 == nil || u.h2.n == 0) {
			l.closeServer(u)
		}
	}
	if len(l.clients) == 0 {
		l.idle()
	}
}

// idle ends a loop that is shut down and has no clients any more.
func (l *loop) idle() { l.stage = stageEnd }

// complain logs a failed accept, at most once a second.
func (e *Engine) complain(err error) {
	now := time.Now().Unix()
	if last := e.lastWord.Load(); now == last || !e.lastWord.CompareAndSwap(last, now) {
		return
	}
	e.wg.Go(func() { e.cfg.Logger.Error("accept failed", "error", err, "retry_in", acceptRetry) })
}
