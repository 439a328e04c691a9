package callback

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/lbnode/lbnode/state"
)

// Watcher is a [Store] whose changes can be followed.
type Watcher interface {
	Store
	// Watch sends views, the newest one at once, and closes the channel when ctx ends.
	Watch(ctx context.Context) <-chan *state.View
}

// Config is what a Sender is made of. All fields are needed.
type Config struct {
	Store     Watcher
	Transport http.RoundTripper // see NewTransport
	Log       *slog.Logger
	// GiveUpAfter is how old a callback may become in the queue.
	GiveUpAfter time.Duration
	Workers     int // attempts at a time
	PerTenant   int // of one tenant, so that a slow one does not hold up the others
}

// DefaultConfig gives up after a day. It fills all but Store, Transport and Log.
func DefaultConfig() Config {
	return Config{GiveUpAfter: 24 * time.Hour, Workers: 16, PerTenant: 4}
}

// Validate names the fields that are missing or out of bounds.
func (c Config) Validate() error {
	var errs []error
	need := func(ok bool, text string) {
		if !ok {
			errs = append(errs, errors.New("callback config: "+text))
		}
	}
	need(c.Store != nil, "Store must be set")
	need(c.Transport != nil, "Transport must be set")
	need(c.Log != nil, "Log must be set")
	need(c.GiveUpAfter > 0, "GiveUpAfter must be positive")
	need(c.Workers > 0 && c.PerTenant > 0, "Workers and PerTenant must be positive")
	return errors.Join(errs...)
}

// Progress is what the leader knows of a callback that waits.
type Progress struct {
	Tries int       `json:"tries"`
	Next  time.Time `json:"next"` // when it is tried again; zero = now
	Error string    `json:"error,omitempty"`
}

// Sender delivers the queue while its node leads.
type Sender struct {
	cfg  Config
	http *http.Client

	mu       sync.Mutex
	progress map[string]Progress // of callbacks that were tried
}

// NewSender makes a sender. It starts nothing.
func NewSender(cfg Config) (*Sender, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Sender{cfg: cfg, http: newClient(cfg.Transport), progress: map[string]Progress{}}, nil
}

// Progress is a copy of what is known of callbacks that were tried. It is empty where nobody leads.
func (s *Sender) Progress() map[string]Progress {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[string]Progress, len(s.progress))
	for id, p := range s.progress {
		out[id] = p
	}
	return out
}

// outcome is what came of one callback.
type outcome struct {
	c       *state.Callback
	verdict Verdict
	err     error
}

// Lead delivers until ctx ends. Only the leader calls it; two that do for a moment send some callbacks twice.
func (s *Sender) Lead(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	var workers sync.WaitGroup
	defer workers.Wait()
	defer cancel()
	defer s.forget()
	views := s.cfg.Store.Watch(ctx)
	results := make(chan outcome, s.cfg.Workers)
	busy := map[string]*state.Callback{}
	for {
		v := s.cfg.Store.View() // what views brings may be older than what settle has changed
		next := s.due(v, busy, func(c *state.Callback) {
			busy[c.ID] = c
			workers.Go(func() { results <- s.send(ctx, v, c) })
		})
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case _, ok := <-views:
			timer.Stop()
			if !ok {
				return
			}
		case <-timer.C:
		case o := <-results:
			timer.Stop()
			s.settle(ctx, append([]outcome{o}, rest(results)...), busy)
		}
	}
}

// rest takes what else has come.
func rest(results chan outcome) []outcome {
	var out []outcome
	for {
		select {
		case o := <-results:
			out = append(out, o)
		default:
			return out
		}
	}
}

func (s *Sender) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.progress)
}

const longPause = time.Minute

// due starts what can be started, the oldest first, and returns how long nothing else is due.
func (s *Sender) due(v *state.View, busy map[string]*state.Callback, start func(*state.Callback)) time.Duration {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	perTenant := map[string]int{}
	for _, c := range busy {
		perTenant[c.Frontend]++
	}
	var ready []*state.Callback
	next := longPause
	waiting := make(map[string]Progress, len(s.progress))
	for c := range v.Callbacks() {
		if p, ok := s.progress[c.ID]; ok && !c.Failed {
			waiting[c.ID] = p
		}
		switch wait := s.progress[c.ID].Next.Sub(now); {
		case c.Failed || busy[c.ID] != nil:
		case wait > 0:
			next = min(next, wait)
		default:
			ready = append(ready, c)
		}
	}
	s.progress = waiting // nothing is kept of what has left the queue
	slices.SortStableFunc(ready, func(a, b *state.Callback) int { return cmp.Compare(a.Index, b.Index) })
	for _, c := range ready {
		if len(busy) >= s.cfg.Workers {
			break // a worker that ends looks again
		}
		if perTenant[c.Frontend] < s.cfg.PerTenant {
			perTenant[c.Frontend]++
			start(c)
		}
	}
	return next
}

// send tries each of the tenant's secrets until the receiver accepts one.
func (s *Sender) send(ctx context.Context, v *state.View, c *state.Callback) outcome {
	secrets := []string{""}
	if f, ok := v.Frontend(c.Frontend); ok && c.Auth != state.AuthNone {
		secrets = f.AllSecrets()
	}
	o := outcome{c: c, err: errors.New("the tenant has no secret to sign with")}
	for _, secret := range secrets {
		var status int
		status, o.err = attempt(ctx, s.http, c, secret, time.Now())
		if o.verdict = Decide(status); o.verdict != Wrong {
			return o
		}
	}
	return o
}

// settle notes outcomes: those that are for good in the log, others in memory.
func (s *Sender) settle(ctx context.Context, outcomes []outcome, busy map[string]*state.Callback) {
	var done []string
	var failed []state.BBBOp
	for _, o := range outcomes {
		delete(busy, o.c.ID)
		switch {
		case o.verdict == Delivered || o.verdict == Gone:
			if o.verdict == Gone {
				s.cfg.Log.Info("the receiver of a callback wants it no more", "callback", o.c.ID, "frontend", o.c.Frontend, "kind", string(o.c.Kind))
			}
			done = append(done, o.c.ID)
		case ctx.Err() != nil: // we were interrupted, not refused
		default:
			p := s.note(o)
			if o.verdict == Wrong || time.Since(o.c.At) > s.cfg.GiveUpAfter {
				s.cfg.Log.Warn("a callback was given up", "callback", o.c.ID, "frontend", o.c.Frontend, "kind", string(o.c.Kind), "tries", p.Tries, "error", o.err)
				failed = append(failed, state.BBBOp{Finish: &state.FinishCallbacks{IDs: []string{o.c.ID}, Outcome: state.CallbackFailed, Tries: p.Tries, Error: p.Error}})
			}
		}
	}
	ops := failed
	if len(done) > 0 {
		ops = append(ops, state.BBBOp{Finish: &state.FinishCallbacks{IDs: done, Outcome: state.CallbackDone}})
	}
	if len(ops) == 0 {
		return
	}
	cmd := state.BBB(ops...)
	cmd.Actor = "callback"
	if _, err := s.cfg.Store.Do(ctx, cmd); err != nil { // what was delivered is delivered again
		s.cfg.Log.Warn("what became of callbacks could not be kept", "error", err)
		for _, o := range outcomes {
			s.note(outcome{c: o.c, err: fmt.Errorf("its outcome could not be kept: %w", err)})
		}
	}
}

// note remembers an attempt, and when the next one is due.
func (s *Sender) note(o outcome) Progress {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.progress[o.c.ID]
	p.Tries++
	p.Next = time.Now().Add(Pause(p.Tries, rand.Float64()))
	p.Error = o.err.Error()
	s.progress[o.c.ID] = p
	return p
}
