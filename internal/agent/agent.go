package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/lbnode/lbnode/client"
)

const (
	callTimeout = 20 * time.Second // of one call with all its attempts
	settle      = 200 * time.Millisecond
	idlePause   = time.Second
)

// ErrNotIdle says that the server was not idle before the drain timeout.
var ErrNotIdle = errors.New("the server is not idle")

// Agent is one running agent.
type Agent struct {
	cfg      Config
	balancer Balancer
	source   Source
	log      *slog.Logger
	changed  chan struct{} // cap 1
	shutdown func(context.Context) bool
	close    func() // gives up idle connections

	id   string // of the backend
	lost bool   // the last report did not arrive
}

// New reads the server's properties and makes an agent. It makes no connection.
func New(cfg Config, version string, log *slog.Logger) (*Agent, error) {
	a := &Agent{cfg: cfg, log: log, changed: make(chan struct{}, 1), shutdown: systemStops}
	bbb, err := readServer(cfg)
	if err != nil {
		return nil, err
	}
	a.source = newSource(cfg, bbb, log)
	a.balancer, a.close, err = newBalancer(cfg, bbb, version)
	return a, err
}

// readServer returns nil where the server is no BigBlueButton server.
func readServer(cfg Config) (*Server, error) {
	if cfg.BBB == Off {
		return nil, nil
	}
	p, err := ReadProperties(cfg.Properties)
	if errors.Is(err, fs.ErrNotExist) && cfg.BBB == Auto {
		if cfg.Backend == "" {
			return nil, errors.New("--backend must say which backend this is, by id or address: there are no properties of BigBlueButton (--properties)")
		}
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("--properties: %w", err)
	}
	s, err := p.Server()
	if err != nil {
		return nil, fmt.Errorf("--properties: %w", err)
	}
	if cfg.Redis != "" {
		s.Redis = cfg.Redis
	}
	return &s, nil
}

func newSource(cfg Config, bbb *Server, log *slog.Logger) Source {
	web := &http.Client{Timeout: pollTimeout}
	switch {
	case cfg.LoadURL != "":
		return urlSource{url: cfg.LoadURL, http: web}
	case cfg.LoadAverage:
		return averageSource{file: "/proc/loadavg", cpus: runtime.NumCPU()}
	case bbb != nil:
		return &bbbSource{server: *bbb, every: cfg.Poll, http: web, log: log, now: time.Now}
	}
	return presenceSource{}
}

func newBalancer(cfg Config, bbb *Server, version string) (_ Balancer, closer func(), _ error) {
	token := cfg.Token
	if cfg.JWTSecret != "" {
		secret, err := os.ReadFile(cfg.JWTSecret)
		if err != nil {
			return nil, nil, fmt.Errorf("--jwt-secret-file: %w", err)
		}
		if token, err = mintJWT([]byte(strings.TrimSpace(string(secret))), cfg.Ref, time.Now()); err != nil {
			return nil, nil, err
		}
	}
	c, err := newClient(cfg, token, version)
	if err != nil {
		return nil, nil, err
	}
	switch {
	case !isJWT(token):
		return &native{c: c, cfg: cfg, bbb: bbb}, c.Close, nil
	case bbb == nil:
		return nil, nil, errors.New("a JWT of b3scale is for BigBlueButton servers: this one has no properties (--properties)")
	}
	return &b3scale{c: c, cfg: cfg, bbb: *bbb}, c.Close, nil
}

// Run works until ctx ends, and then drains the server if it is to. It returns nil, an error that wraps
// [ErrNotIdle], or why it cannot go on.
func (a *Agent) Run(ctx context.Context) error {
	defer a.close()
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	var loops sync.WaitGroup
	defer loops.Wait()
	defer stop()
	if err := a.register(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	if err := a.undoDrain(ctx); err != nil {
		return err
	}
	loops.Go(func() { a.source.Run(work, a.note) })
	if err := a.report(ctx); err != nil {
		return err
	}
	return a.end(work)
}

// note remembers that there is something to report.
func (a *Agent) note() {
	select {
	case a.changed <- struct{}{}:
	default:
	}
}

// passing says of an error that time may heal it.
func passing(err error) bool {
	return errors.Is(err, client.ErrUnreachable) || errors.Is(err, client.ErrNoLeader) || errors.Is(err, client.ErrOutcomeUnknown)
}

// register finds or makes the backend, however long the cluster cannot be reached.
func (a *Agent) register(ctx context.Context) error {
	for attempt := 0; ; attempt++ {
		b, err := a.balancer.Find(ctx)
		switch {
		case err == nil:
			a.id = b.ID
			a.log.Info("this is a backend of the cluster", "backend", b.ID, "admin_state", b.AdminState)
			return nil
		case ctx.Err() != nil:
			return nil
		case !passing(err):
			return err
		}
		a.log.Warn("the cluster cannot be reached; trying again", "error", err)
		if !sleep(ctx, backoff(attempt, rand.Float64())) {
			return nil
		}
	}
}

// report tells the cluster what the source says until ctx ends.
func (a *Agent) report(ctx context.Context) error {
	failures := 0
	for {
		err := a.reportOnce(ctx)
		pause := time.Duration(float64(a.cfg.Interval) * (0.9 + 0.2*rand.Float64()))
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, client.ErrNotFound): // deleted, by whomever
			if err := a.register(ctx); err != nil {
				return err
			}
		case err != nil:
			pause = max(pause, backoff(failures, rand.Float64()))
			failures++
		default:
			failures = 0
		}
		if !a.pause(ctx, pause, failures == 0) {
			return nil
		}
	}
}

// pause waits for the time of the next report; a change makes it shorter while all is well. What changes at about
// the same time goes into one report.
func (a *Agent) pause(ctx context.Context, d time.Duration, early bool) bool {
	var changed chan struct{}
	if early {
		changed = a.changed
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	case <-changed:
		return sleep(ctx, settle)
	}
}

func (a *Agent) reportOnce(ctx context.Context) error {
	r, err := a.source.Load(ctx)
	known := err == nil
	if err != nil && !errors.Is(err, errNoLoad) {
		a.log.Debug("the load is not known", "error", err)
	}
	err = a.balancer.Report(ctx, a.id, r, known)
	switch {
	case err != nil && !a.lost && ctx.Err() == nil:
		a.log.Warn("the cluster did not take the report; trying again", "backend", a.id, "error", err)
	case err == nil && a.lost:
		a.log.Info("the cluster takes reports again", "backend", a.id)
	}
	a.lost = err != nil
	return err
}

// end does what the end of the agent means for the server. work ends after it.
func (a *Agent) end(work context.Context) error {
	if a.cfg.OnStop == StopLeave || a.cfg.OnStop == StopShutdown && !a.shutdown(work) {
		a.log.Info("stopping; the server stays in use", "backend", a.id)
		return nil
	}
	ctx, cancel := context.WithTimeout(work, a.cfg.DrainTimeout)
	defer cancel()
	b, err := a.persist(ctx, func() (Backend, error) { return a.balancer.Look(ctx, a.id) })
	if errors.Is(err, client.ErrNotFound) {
		return nil
	}
	if err == nil && b.AdminState == stateReady {
		if err = a.mark(); err == nil {
			a.log.Info("draining", "backend", a.id, "timeout", a.cfg.DrainTimeout)
			_, err = a.persist(ctx, func() (Backend, error) { return b, a.balancer.Admin(ctx, a.id, stateStopped) })
		}
	}
	if err != nil {
		return fmt.Errorf("%w: it could not be disabled: %w", ErrNotIdle, err)
	}
	return a.waitIdle(ctx)
}

// persist repeats a call while time may heal its error.
func (a *Agent) persist(ctx context.Context, f func() (Backend, error)) (Backend, error) {
	for attempt := 0; ; attempt++ {
		b, err := f()
		if err == nil || !passing(err) || !sleep(ctx, backoff(attempt, rand.Float64())) {
			return b, err
		}
	}
}

// waitIdle waits until nothing runs on the server, and goes on reporting.
func (a *Agent) waitIdle(ctx context.Context) error {
	for {
		b, err := a.balancer.Look(ctx, a.id)
		if errors.Is(err, client.ErrNotFound) {
			return nil
		}
		idle := err == nil && b.Idle
		if r, lerr := a.source.Load(ctx); lerr == nil && r.BBB { // nobody knows a server's meetings better
			idle = idle && r.Meetings == 0
		}
		if idle {
			a.log.Info("the server is idle", "backend", a.id)
			return nil
		}
		_ = a.reportOnce(ctx) // logs its failures
		if !a.pause(ctx, idlePause, true) {
			return fmt.Errorf("%w after %s", ErrNotIdle, a.cfg.DrainTimeout)
		}
	}
}

// markerFile says that the agent disabled the server.
func (a *Agent) markerFile() string { return filepath.Join(a.cfg.StateDir, "drained") }

func (a *Agent) mark() error {
	if a.cfg.StateDir == "" {
		return nil
	}
	if err := os.WriteFile(a.markerFile(), []byte(a.id+"\n"), 0o600); err != nil {
		return fmt.Errorf("--state-dir: %w", err)
	}
	return nil
}

// undoDrain enables the server if the agent disabled it when it last stopped.
func (a *Agent) undoDrain(ctx context.Context) error {
	if a.cfg.StateDir == "" {
		return nil
	}
	b, err := os.ReadFile(a.markerFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("--state-dir: %w", err)
	}
	if strings.TrimSpace(string(b)) == a.id {
		_, err := a.persist(ctx, func() (Backend, error) { return Backend{}, a.balancer.Admin(ctx, a.id, stateReady) })
		if err != nil {
			return fmt.Errorf("enable after the drain: %w", err)
		}
		a.log.Info("enabled again after the drain", "backend", a.id)
	}
	return os.Remove(a.markerFile())
}
