package control

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/lbnode/lbnode/bbb/ids"
	"github.com/lbnode/lbnode/bbb/load"
	"github.com/lbnode/lbnode/bbb/sign"
	"github.com/lbnode/lbnode/state"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a store and two servers, a and b.
type world struct {
	t   *testing.T
	c   *Control
	now time.Time

	mu      sync.Mutex
	view    *state.View
	servers map[string]map[string]string // internal ids by the server's ids
	dead    map[string]bool
	ends    []string
	calls   int
}

func (w *world) View() *state.View {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.view
}

func (w *world) Do(_ context.Context, c state.Command) (state.Result, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c.At = w.now
	var res state.Result
	w.view, res = state.Apply(w.view, w.view.Index+1, 1, c)
	if res.Refusal != nil {
		return res, res.Refusal
	}
	return res, nil
}

func (w *world) call(_ context.Context, b *state.BackendSpec, call string, p sign.Params) ([]byte, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls++
	id := p.Get("meetingID")
	_, there := w.servers[b.ID][id]
	switch {
	case w.dead[b.ID]:
		return nil, errors.New("connection refused")
	case !there:
		return []byte(`<response><returncode>FAILED</returncode><messageKey>notFound</messageKey><message>no</message></response>`), nil
	case call == "getMeetingInfo":
		return []byte(`<response><returncode>SUCCESS</returncode><moderatorPW>mp</moderatorPW></response>`), nil
	case call != "end" || p.Get("password") != "mp":
		return []byte(`<response><returncode>FAILED</returncode><messageKey>invalidPassword</messageKey><message>no</message></response>`), nil
	}
	delete(w.servers[b.ID], id)
	w.ends = append(w.ends, b.ID+":"+id)
	return []byte(`<response><returncode>SUCCESS</returncode><messageKey>sentEndMeetingRequest</messageKey></response>`), nil
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), view: state.NewView(), servers: map[string]map[string]string{"a": {}, "b": {}}, dead: map[string]bool{}}
	for _, op := range []state.Op{
		{Kind: state.KindPool, ID: "bbb", Value: json.RawMessage(`{"health":{"type":"bbb"}}`)},
		{Kind: state.KindBackend, ID: "a", Value: json.RawMessage(`{"address":"h:1","pool":"bbb","bbb":{"secrets":["s"]}}`)},
		{Kind: state.KindBackend, ID: "b", Value: json.RawMessage(`{"address":"h:2","pool":"bbb","bbb":{"secrets":["s"]}}`)},
		{Kind: state.KindFrontend, ID: "uni", Value: json.RawMessage(`{"key":"uni-key"}`)},
	} {
		op.Verb = state.VerbPut
		if _, err := w.Do(t.Context(), state.Command{Type: state.TypeTxn, Ops: []state.Op{op}}); err != nil {
			t.Fatal(err)
		}
	}
	cfg := DefaultConfig()
	cfg.Store, cfg.Call, cfg.Logger, cfg.Now = w, w.call, slog.New(slog.DiscardHandler), func() time.Time { return w.now }
	cfg.Table = load.NewTable(cfg.Now, nil)
	var err error
	if w.c, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	return w
}

// lead has the control lead until the test ends.
func (w *world) lead() {
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan struct{})
	go func() { defer close(done); w.c.Lead(ctx) }()
	w.t.Cleanup(func() { cancel(); <-done })
	for leads := false; !leads; {
		w.c.mu.Lock()
		leads = w.c.leading
		w.c.mu.Unlock()
	}
}

func sid(id string) string { return ids.Encode("uni-key", id) }

func (w *world) do(op state.BBBOp) {
	w.t.Helper()
	if _, err := w.Do(w.t.Context(), state.BBB(op)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) bind(id, backend string) {
	w.t.Helper()
	w.do(state.BBBOp{Bind: &state.BindMeeting{Frontend: "uni", ID: id, ServerID: sid(id), BackendID: backend, Attempt: "x"}})
}

// created is bind, the server's part, and its confirmation.
func (w *world) created(id, backend string) {
	w.t.Helper()
	w.bind(id, backend)
	w.servers[backend][sid(id)] = "i-" + id
	w.do(state.BBBOp{Confirm: &state.ConfirmMeeting{Frontend: "uni", ID: id, ServerID: sid(id), BackendID: backend, InternalID: "i-" + id}})
}

// poll lists a server some times, ten seconds apart.
func (w *world) poll(backend string, times int) {
	w.t.Helper()
	for range times {
		w.now = w.now.Add(10 * time.Second)
		p := load.Poll{Backend: backend, Index: w.View().Index}
		w.mu.Lock()
		for _, id := range slices.Sorted(maps.Keys(w.servers[backend])) {
			p.Running = append(p.Running, load.Running{ServerID: id, InternalID: w.servers[backend][id], ModeratorPW: "mp", CreateTime: 5})
		}
		if w.dead[backend] {
			p.Running, p.Err = nil, errors.New("connection refused")
		}
		w.mu.Unlock()
		if p.Err == nil {
			w.c.cfg.Table.Polled(backend, slices.Clone(p.Running), 0)
		}
		w.c.Polled(w.t.Context(), p)
	}
}

// says lists the meetings as id@backend, with ! if confirmed, and then the stale copies.
func (w *world) says() string {
	var out []string
	for m := range w.View().Meetings() {
		s := m.ID + "@" + m.BackendID
		if m.Confirmed {
			s += "!"
		}
		out = append(out, s)
	}
	for s := range w.View().Stales("") {
		_, id, _ := ids.Decode(s.MeetingID)
		out = append(out, "stale "+id+"@"+s.BackendID)
	}
	return strings.Join(out, ", ")
}

func (w *world) want(what, says string) {
	w.t.Helper()
	if got := w.says(); got != says {
		w.t.Errorf("%s: %s, want %s", what, got, says)
	}
}

func TestEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.created("one", "a")
	w.created("two", "b")
	w.created("over", "a")
	delete(w.servers["a"], sid("over")) // nobody has noticed yet
	w.dead["b"] = true
	out, err := w.c.End(t.Context(), "", slices.Collect(w.View().Meetings())...)
	if err != nil || out.Ended != 2 || out.Later != 1 || out.Err == nil {
		t.Errorf("End = %+v, %v", out, err)
	}
	w.want("ended", "stale two@b")
	if len(w.servers["a"]) != 0 || len(w.ends) != 1 {
		t.Errorf("a has %v, ended %v", w.servers["a"], w.ends)
	}
	if out, err := w.c.EndAll(t.Context(), "", "a"); err != nil || out != (Ended{}) {
		t.Errorf("EndAll of nothing = %+v, %v", out, err)
	}
}

// A server that does not answer is asked once, however many meetings it has; an operator's order is in the history.
func TestEnd_silentServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.c.cfg.At = 1
	for _, id := range []string{"one", "two", "three", "four", "five"} {
		w.created(id, "a")
	}
	w.dead["a"] = true
	before := w.calls
	out, err := w.c.EndAll(t.Context(), "token/ops", "a")
	if err != nil || out.Ended != 0 || out.Later != 5 || out.Err == nil {
		t.Errorf("EndAll = %+v, %v", out, err)
	}
	if n := w.calls - before; n != 1 {
		t.Errorf("the server was asked %d times, want once", n)
	}
	for ch := range w.View().ChangesBefore(0) {
		if want := "end 5 meetings: four of uni on a, five of uni on a, one of uni on a and 2 more"; ch.Actor != "token/ops" || ch.Summary != want {
			t.Errorf("the history says %q by %q, want %q by token/ops", ch.Summary, ch.Actor, want)
		}
		return
	}
	t.Error("the history says nothing")
}

// A dead server's meeting was created elsewhere; when the server comes back, its copy is ended before anything can be
// created there again, and the running one is left alone.
func TestReconcile_fencesTheServerThatComesBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.lead()
	w.created("room", "a")
	w.dead["a"] = true
	w.poll("a", 2)
	w.do(state.BBBOp{Move: &state.MoveMeeting{Frontend: "uni", ID: "room", From: "a", To: "b", Attempt: "y"}})
	w.servers["b"][sid("room")] = "i-new"
	w.do(state.BBBOp{Confirm: &state.ConfirmMeeting{Frontend: "uni", ID: "room", ServerID: sid("room"), BackendID: "b", InternalID: "i-new"}})
	w.poll("a", 2)
	w.want("still dead", "room@b!, stale room@a")
	w.dead["a"] = false
	w.poll("a", 1)
	w.poll("b", 1)
	if len(w.servers["a"]) != 0 || len(w.servers["b"]) != 1 {
		t.Errorf("a has %v, b has %v", w.servers["a"], w.servers["b"])
	}
	w.want("one list may be too old", "room@b!, stale room@a")
	w.poll("a", 2)
	w.want("clear", "room@b!")
}

func TestReconcile(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		run  func(w *world)
		want string
	}{
		{"a meeting that goes on", func(w *world) { w.created("room", "a"); w.poll("a", 5) }, "room@a!"},
		{"missing in one list", func(w *world) { w.created("room", "a"); delete(w.servers["a"], sid("room")); w.poll("a", 1) }, "room@a!"},
		{"over", func(w *world) { w.created("room", "a"); delete(w.servers["a"], sid("room")); w.poll("a", 2) }, ""},
		{"over and created anew between the lists", func(w *world) {
			w.created("room", "a")
			delete(w.servers["a"], sid("room"))
			w.poll("a", 1)
			w.do(state.BBBOp{End: &state.EndMeetings{Keys: []state.MeetingKey{{Frontend: "uni", ID: "room"}}}})
			w.bind("room", "a")
			w.poll("a", 1)
		}, "room@a"},
		{"its creator died before it could confirm", func(w *world) { w.bind("room", "a"); w.servers["a"][sid("room")] = "i"; w.poll("a", 1) }, "room@a!"},
		{"its creator died before it could ask", func(w *world) { w.bind("room", "a"); w.poll("a", 11) }, "room@a"},
		{"and nobody came again", func(w *world) { w.bind("room", "a"); w.poll("a", 15) }, ""},
		{"a server that cannot list has lost nothing", func(w *world) { w.created("room", "a"); w.dead["a"] = true; w.poll("a", 9) }, "room@a!"},
		{"created by the balancer before us", func(w *world) { w.servers["b"][sid("old")] = "i-old"; w.poll("b", 2) }, "old@b!"},
		{"listed once more after its end", func(w *world) {
			w.created("room", "a")
			w.do(state.BBBOp{End: &state.EndMeetings{Keys: []state.MeetingKey{{Frontend: "uni", ID: "room"}}}})
			w.poll("a", 1)
		}, ""},
		{"somebody else's", func(w *world) {
			w.servers["b"]["room"] = "i"
			w.servers["b"][ids.Encode("other", "x")] = "j"
			w.poll("b", 5)
		}, ""},
		{"created by one who came too late", func(w *world) {
			w.created("room", "b")
			w.servers["a"][sid("room")] = "i-late"
			w.poll("a", 2)
		}, "room@b!, stale room@a"},
		{"and ended", func(w *world) {
			w.created("room", "b")
			w.servers["a"][sid("room")] = "i-late"
			w.poll("a", 6)
		}, "room@b!"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.lead()
			tc.run(w)
			w.want(tc.name, tc.want)
			for id := range w.servers["b"] {
				if strings.HasPrefix(tc.want, "room@b") && id != sid("room") {
					t.Errorf("b has %s", id)
				}
			}
		})
	}
}

func TestReconcile_onlyWhileLeading(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.created("room", "a")
	delete(w.servers["a"], sid("room"))
	w.poll("a", 5)
	w.want("not leading", "room@a!")
}

func TestConfig_validate(t *testing.T) {
	t.Parallel()
	good := newWorld(t).c.cfg
	for i, change := range []func(*Config){
		func(c *Config) { c.Store = nil },
		func(c *Config) { c.Table = nil },
		func(c *Config) { c.Call = nil },
		func(c *Config) { c.Logger = nil },
		func(c *Config) { c.Now = nil },
		func(c *Config) { c.Timeout = 0 },
		func(c *Config) { c.At = 0 },
	} {
		bad := good
		change(&bad)
		if _, err := New(bad); err == nil {
			t.Errorf("config %d was accepted", i)
		}
	}
}
