package load

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/lbnode/lbnode/bbb/place"
	"github.com/lbnode/lbnode/bbb/sign"
	"github.com/lbnode/lbnode/state"
)

// look is how often the poller looks which server is due.
const look = 200 * time.Millisecond

// Call makes a call of a server's API and returns its answer as it came. The error names no URL and no secret.
type Call func(ctx context.Context, b *state.BackendSpec, call string, p sign.Params) (doc []byte, err error)

// Poll is what came of asking one server.
type Poll struct {
	Backend string
	Index   uint64 // of the view before the server was asked: what happened later may not show in the list
	Running []Running
	Err     error
}

// Config is what a Poller needs.
type Config struct {
	Table   *Table
	View    func() *state.View
	Call    Call
	Timeout time.Duration // of one server's answer
	Logger  *slog.Logger
	Now     func() time.Time
	Jitter  func() float64 // from [0, 1)
	// Polled is told what came of each poll, in the goroutine that polled; nil = nobody is.
	Polled func(context.Context, Poll)
}

// Validate names the first field that is missing.
func (c Config) Validate() error {
	for _, f := range []struct {
		name    string
		missing bool
	}{
		{"Table", c.Table == nil},
		{"View", c.View == nil},
		{"Call", c.Call == nil},
		{"Logger", c.Logger == nil},
		{"Now", c.Now == nil},
		{"Jitter", c.Jitter == nil},
	} {
		if f.missing {
			return fmt.Errorf("bbb/load: config: %s is nil", f.name)
		}
	}
	if c.Timeout <= 0 {
		return errors.New("bbb/load: config: Timeout must be positive")
	}
	return nil
}

// Poller asks servers for their meetings, each at its own pace and with its own deadline, so that a slow one delays no
// other.
type Poller struct {
	cfg   Config
	polls sync.WaitGroup

	mu   sync.Mutex // guards all below
	next map[string]time.Time
	busy map[string]bool
	down map[string]bool // whose failure has been logged
}

// NewPoller makes a poller.
func NewPoller(cfg Config) (*Poller, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Poller{cfg: cfg, next: map[string]time.Time{}, busy: map[string]bool{}, down: map[string]bool{}}, nil
}

// Run polls until ctx ends.
func (p *Poller) Run(ctx context.Context) {
	defer p.polls.Wait()
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		p.start(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// start asks every server that is due and not being asked.
func (p *Poller) start(ctx context.Context) {
	v, now := p.cfg.View(), p.cfg.Now()
	there := map[string]bool{}
	p.mu.Lock()
	defer p.mu.Unlock()
	for b, pool := range place.Backends(v, "") {
		if b.AdminState == state.AdminInit || b.BBB.Secret() == "" {
			continue
		}
		there[b.ID] = true
		if p.busy[b.ID] || now.Before(p.next[b.ID]) {
			continue
		}
		every := time.Duration(pool.BBB.WithDefaults().Poll)
		p.busy[b.ID] = true
		p.next[b.ID] = now.Add(every - every/10 + time.Duration(float64(every)*p.cfg.Jitter()/5))
		p.polls.Go(func() { p.poll(ctx, v.Index, b) })
	}
	for id := range p.next {
		if !there[id] {
			delete(p.next, id)
			delete(p.down, id)
		}
	}
	p.cfg.Table.Keep(func(id string) bool { _, ok := v.Backend(id); return ok })
}

func (p *Poller) poll(ctx context.Context, index uint64, b *state.Backend) {
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.busy, b.ID)
	}()
	out := Poll{Backend: b.ID, Index: index}
	out.Running, out.Err = p.ask(ctx, b)
	if ctx.Err() != nil {
		return
	}
	p.mu.Lock()
	first := p.down[b.ID] != (out.Err != nil)
	p.down[b.ID] = out.Err != nil
	p.mu.Unlock()
	if out.Err != nil {
		p.cfg.Table.Failed(b.ID, out.Err)
		if first {
			p.cfg.Logger.Warn("a BigBlueButton server does not list its meetings", "backend", b.ID, "error", out.Err)
		}
	} else if first {
		p.cfg.Logger.Info("a BigBlueButton server lists its meetings", "backend", b.ID, "meetings", len(out.Running))
	}
	if p.cfg.Polled != nil {
		p.cfg.Polled(ctx, out)
	}
}

func (p *Poller) ask(ctx context.Context, b *state.Backend) ([]Running, error) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	begin := p.cfg.Now()
	doc, err := p.cfg.Call(ctx, &b.BackendSpec, "getMeetings", nil)
	if err != nil {
		return nil, err
	}
	running, err := Parse(doc)
	if err != nil {
		return nil, err
	}
	p.cfg.Table.Polled(b.ID, running, p.cfg.Now().Sub(begin))
	return running, nil
}
