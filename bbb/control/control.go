package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/lbnode/lbnode/bbb/load"
	"github.com/lbnode/lbnode/bbb/sign"
	"github.com/lbnode/lbnode/bbb/xml"
	"github.com/lbnode/lbnode/state"
)

// Store is the replicated state. Its methods may be called concurrently.
type Store interface {
	// View does not block.
	View() *state.View
	// Do blocks until this node has applied the command, or it certainly or possibly was not.
	Do(ctx context.Context, c state.Command) (state.Result, error)
}

// Config is what a Control needs.
type Config struct {
	Store  Store
	Table  *load.Table
	Call   load.Call
	Logger *slog.Logger
	Now    func() time.Time
	// Timeout bounds a call to a server.
	Timeout time.Duration
	// ReserveFor is how long a meeting may be reserved without being on its server until it is given up.
	ReserveFor time.Duration
	// At is how many servers' meetings are ended at a time.
	At int
}

// DefaultConfig has every default.
func DefaultConfig() Config {
	return Config{Now: time.Now, Timeout: 10 * time.Second, ReserveFor: 2 * time.Minute, At: 8}
}

// Validate names the first field that cannot be used.
func (c Config) Validate() error {
	switch {
	case c.Store == nil:
		return errors.New("bbb/control: config: Store is nil")
	case c.Table == nil:
		return errors.New("bbb/control: config: Table is nil")
	case c.Call == nil:
		return errors.New("bbb/control: config: Call is nil")
	case c.Logger == nil:
		return errors.New("bbb/control: config: Logger is nil")
	case c.Now == nil:
		return errors.New("bbb/control: config: Now is nil")
	case c.Timeout <= 0 || c.ReserveFor <= 0:
		return errors.New("bbb/control: config: Timeout and ReserveFor must be positive")
	case c.At < 1:
		return errors.New("bbb/control: config: At must be at least 1")
	}
	return nil
}

// Control ends meetings. Its methods may be called concurrently.
type Control struct {
	cfg Config

	mu      sync.Mutex // guards all below
	leading bool
	seen    map[string]*seen // by backend
}

// New makes a Control.
func New(cfg Config) (*Control, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Control{cfg: cfg, seen: map[string]*seen{}}, nil
}

// Ended says what became of meetings that were to end.
type Ended struct {
	Ended int // their servers have ended them, or had before
	// Later are forgotten, while their servers did not answer: what is left there is ended once they do.
	Later int
	Err   error // of the first server that did not answer
}

// End ends meetings and forgets them. The error is one of the store: then it is not known which are forgotten.
func (c *Control) End(ctx context.Context, meetings ...*state.Meeting) (Ended, error) {
	var (
		mu          sync.Mutex
		out         Ended
		done, later []state.MeetingKey
		work        sync.WaitGroup
		slots       = make(chan struct{}, c.cfg.At)
	)
	v := c.cfg.Store.View()
	for _, m := range meetings {
		slots <- struct{}{}
		work.Go(func() {
			defer func() { <-slots }()
			err := c.endOnServer(ctx, v, m.BackendID, m.OnServer())
			key := m.Key()
			key.Reserved = m.Reserved
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				done = append(done, key)
				return
			}
			later = append(later, key)
			if out.Err == nil {
				out.Err = err
			}
		})
	}
	work.Wait()
	out.Ended, out.Later = len(done), len(later)
	return out, c.forget(ctx, done, later)
}

// forget takes meetings out of the state; of later, a copy is left.
func (c *Control) forget(ctx context.Context, done, later []state.MeetingKey) error {
	var ops []state.BBBOp
	for keys := range slices.Chunk(done, 1000) {
		ops = append(ops, state.BBBOp{End: &state.EndMeetings{Keys: keys}})
	}
	for keys := range slices.Chunk(later, 1000) {
		ops = append(ops, state.BBBOp{End: &state.EndMeetings{Keys: keys, Stale: true}})
	}
	if len(ops) == 0 {
		return nil
	}
	_, err := c.cfg.Store.Do(ctx, state.BBB(ops...))
	return err
}

// EndAll ends every meeting on a backend.
func (c *Control) EndAll(ctx context.Context, backendID string) (Ended, error) {
	return c.End(ctx, slices.Collect(c.cfg.Store.View().MeetingsOn(backendID))...)
}

// endOnServer asks a server to end a meeting. One that it does not have is ended.
func (c *Control) endOnServer(ctx context.Context, v *state.View, backendID, serverID string) error {
	b, ok := v.Backend(backendID)
	if !ok {
		return nil // and with it all that was on it
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	p := sign.Params{{Name: "meetingID", Value: serverID}}
	password, gone, err := c.password(ctx, b, serverID)
	switch {
	case err != nil:
		return err
	case gone:
		return nil
	case password != "":
		p = p.With("password", password)
	}
	doc, err := c.cfg.Call(ctx, &b.BackendSpec, "end", p)
	if err != nil {
		return err
	}
	o, err := xml.OutcomeOf(doc)
	if err == nil && !o.OK && o.Key != xml.KeyNotFound {
		err = fmt.Errorf("backend %q does not end the meeting: %s: %s", b.ID, o.Key, o.Message)
	}
	return err
}

// password is what older servers want to end a meeting; gone says that the server does not have it.
func (c *Control) password(ctx context.Context, b *state.Backend, serverID string) (password string, gone bool, err error) {
	if m, ok := c.cfg.Table.Meeting(b.ID, serverID); ok && m.ModeratorPW != "" {
		return m.ModeratorPW, false, nil
	}
	doc, err := c.cfg.Call(ctx, &b.BackendSpec, "getMeetingInfo", sign.Params{{Name: "meetingID", Value: serverID}})
	if err != nil {
		return "", false, err
	}
	o, err := xml.OutcomeOf(doc)
	switch {
	case err != nil:
		return "", false, err
	case !o.OK:
		return "", o.Key == xml.KeyNotFound, nil
	}
	password, _ = xml.Text(doc, "response", "moderatorPW")
	return password, false, nil
}
