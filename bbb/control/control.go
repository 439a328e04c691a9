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

// errRefused says that a server has answered, but not ended a meeting.
var errRefused = errors.New("does not end the meeting")

// Ended says what became of meetings that were to end.
type Ended struct {
	Ended int // their servers have ended them, or had before
	// Later are forgotten, while their servers did not answer: what is left there is ended once they do.
	Later int
	Err   error // of the first server that did not answer
}

// End ends meetings and forgets them, for an actor; its name and what it ended go into the history, unless it is "". A
// server that does not answer once is not asked again, and the last part of ctx's time is kept for the log: what was not
// ended by then ends later. The error is one of the store: then it is not known which are forgotten.
func (c *Control) End(ctx context.Context, actor string, meetings ...*state.Meeting) (Ended, error) {
	var (
		mu          sync.Mutex
		out         Ended
		done, later []state.MeetingKey
		silent      = map[string]error{} // servers that have not answered
		work        sync.WaitGroup
		slots       = make(chan struct{}, c.cfg.At)
	)
	v := c.cfg.Store.View()
	asking, cancel := forServers(ctx)
	defer cancel()
	for _, m := range meetings {
		slots <- struct{}{}
		work.Go(func() {
			defer func() { <-slots }()
			mu.Lock()
			err := silent[m.BackendID]
			mu.Unlock()
			if err == nil {
				err = c.endOnServer(asking, v, m.BackendID, m.OnServer())
			}
			key := m.Key()
			key.Reserved = m.Reserved
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				done = append(done, key)
				return
			}
			later = append(later, key)
			if !errors.Is(err, errRefused) {
				silent[m.BackendID] = err
			}
			if out.Err == nil {
				out.Err = err
			}
		})
	}
	work.Wait()
	out.Ended, out.Later = len(done), len(later)
	return out, c.forget(ctx, actor, summary(meetings), done, later)
}

// forServers is three quarters of the time that ctx has.
func forServers(ctx context.Context) (context.Context, context.CancelFunc) {
	end, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Until(end)*3/4)
}

// summary says for people which meetings are ended.
func summary(meetings []*state.Meeting) string {
	const most = 3
	if len(meetings) == 1 {
		m := meetings[0]
		return fmt.Sprintf("end meeting %s of %s on %s", m.ID, m.Frontend, m.BackendID)
	}
	s := fmt.Sprintf("end %d meetings", len(meetings))
	for i, m := range meetings {
		if i == most {
			return fmt.Sprintf("%s and %d more", s, len(meetings)-most)
		}
		s += fmt.Sprintf("%s %s of %s on %s", map[bool]string{true: ":", false: ","}[i == 0], m.ID, m.Frontend, m.BackendID)
	}
	return s
}

// forget takes meetings out of the state; of later, a copy is left.
func (c *Control) forget(ctx context.Context, actor, summary string, done, later []state.MeetingKey) error {
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
	cmd := state.BBB(ops...)
	if actor != "" {
		cmd.Actor, cmd.At, cmd.Note = actor, c.cfg.Now().UTC(), summary
	}
	_, err := c.cfg.Store.Do(ctx, cmd)
	return err
}

// EndAll ends every meeting on a backend.
func (c *Control) EndAll(ctx context.Context, actor, backendID string) (Ended, error) {
	return c.End(ctx, actor, slices.Collect(c.cfg.Store.View().MeetingsOn(backendID))...)
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
		err = fmt.Errorf("backend %q %w: %s: %s", b.ID, errRefused, o.Key, o.Message)
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
