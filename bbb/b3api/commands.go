package b3api

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/lbnode/lbnode/state"
)

const (
	maxCommands    = 256 // remembered; the oldest go first
	commandTimeout = 2 * time.Minute

	endAllMeetings = "end_all_meetings"
)

// command is work that goes on after it was asked for.
type command struct {
	ID        string     `json:"id"`
	Seq       int        `json:"seq"`
	State     string     `json:"state"` // "", requested, success or error
	Action    string     `json:"action"`
	Params    any        `json:"params"`
	Result    any        `json:"result"`
	Deadline  time.Time  `json:"deadline"`
	StartedAt *time.Time `json:"started_at"`
	StoppedAt *time.Time `json:"stopped_at"`
	CreatedAt time.Time  `json:"created_at"`
}

// commands are those that this node was asked for. They are in memory: what they do is in the state.
type commands struct {
	ctx    context.Context //nolint:containedctx // that of the work, until Close
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu     sync.Mutex // guards all below
	closed bool
	seq    int
	all    map[string]command
}

func newCommands() *commands {
	c := &commands{all: map[string]command{}}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// close ends the work and waits for it.
func (c *commands) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.work.Wait()
}

// list returns them in order.
func (c *commands) list() []command {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]command, 0, len(c.all))
	for _, x := range c.all {
		out = append(out, x)
	}
	slices.SortFunc(out, func(a, b command) int { return cmp.Compare(a.Seq, b.Seq) })
	return out
}

func (c *commands) get(id string) (command, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	x, ok := c.all[id]
	return x, ok
}

// start remembers a command and begins its work.
func (c *commands) start(x command, now func() time.Time, work func(context.Context) (any, error)) (command, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return x, fail(http.StatusServiceUnavailable, "the node stops")
	}
	c.seq++
	x.Seq, x.CreatedAt, x.Deadline = c.seq, now().UTC(), now().Add(commandTimeout).UTC()
	begun := x
	begun.State, begun.StartedAt = "requested", &x.CreatedAt
	c.all[x.ID] = begun
	for id, old := range c.all {
		if old.Seq <= c.seq-maxCommands {
			delete(c.all, id)
		}
	}
	c.work.Go(func() {
		ctx, cancel := context.WithTimeout(c.ctx, commandTimeout)
		defer cancel()
		done := begun
		var err error
		done.State = "success"
		if done.Result, err = work(ctx); err != nil {
			done.State, done.Result = "error", err.Error()
		}
		at := now().UTC()
		done.StoppedAt = &at
		c.mu.Lock()
		defer c.mu.Unlock()
		if _, ok := c.all[x.ID]; ok {
			c.all[x.ID] = done
		}
	})
	return x, nil
}

func (c *call) listCommands() (any, error) { return c.s.commands.list(), nil }

func (c *call) showCommand() (any, error) {
	if x, ok := c.s.commands.get(c.r.PathValue("id")); ok {
		return x, nil
	}
	return nil, errNotFound
}

// createCommand ends the meetings of a backend. That is all that can be asked for.
func (c *call) createCommand() (any, error) {
	var in struct {
		Action string `json:"action"`
		Params struct {
			BackendID string
		} `json:"params"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	bad := invalid{}
	if in.Action != endAllMeetings {
		bad.add("action", "must be "+endAllMeetings)
		return nil, bad.err()
	}
	v := c.view()
	id := in.Params.BackendID
	if !slices.ContainsFunc(c.servers(v), func(b *state.Backend) bool { return b.ID == id }) {
		bad.add("params.BackendID", fmt.Sprintf("there is no backend %q", id))
		return nil, bad.err()
	}
	meetings, actor := c.s.cfg.Meetings, c.who.actor
	return c.s.commands.start(command{ID: c.s.cfg.NewID(), Action: in.Action, Params: in.Params}, c.s.cfg.Now, func(ctx context.Context) (any, error) {
		done, err := meetings.EndAll(ctx, actor, id)
		if err != nil {
			return nil, err
		}
		if done.Later > 0 {
			return nil, fmt.Errorf("%d meetings were ended; %d are forgotten and get ended once the server answers: %w", done.Ended, done.Later, done.Err)
		}
		return fmt.Sprintf("%d meetings were ended", done.Ended), nil
	})
}
