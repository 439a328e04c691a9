package bbb

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lbnode/lbnode/bbb/bbbtest"
	"github.com/lbnode/lbnode/bbb/load"
	"github.com/lbnode/lbnode/bbb/server"
	"github.com/lbnode/lbnode/bbb/sign"
	"github.com/lbnode/lbnode/state"
)

// world is two gateways, as on two nodes, over one state and some servers.
type world struct {
	t       *testing.T
	mu      sync.Mutex
	view    *state.View
	servers []*bbbtest.Server
	nodes   []*Gateway
}

func (w *world) View() *state.View {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.view
}

func (w *world) Do(_ context.Context, c state.Command) (state.Result, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var res state.Result
	w.view, res = state.Apply(w.view, w.view.Index+1, 1, c)
	if res.Refusal != nil {
		return res, res.Refusal
	}
	return res, nil
}

func newWorld(t *testing.T, n int) *world {
	t.Helper()
	w := &world{t: t, view: state.NewView()}
	put := func(kind state.Kind, id, value string) {
		op := state.Op{Verb: state.VerbPut, Kind: kind, ID: id, Value: json.RawMessage(value)}
		if _, err := w.Do(t.Context(), state.Command{Type: state.TypeTxn, Ops: []state.Op{op}}); err != nil {
			t.Fatal(err)
		}
	}
	put(state.KindPool, "bbb", `{"health":{"type":"bbb"},"initial":"up"}`)
	for i := range n {
		s := bbbtest.New(bbbtest.Config{Name: "bbb", Secrets: []string{"server-secret"}})
		h := httptest.NewServer(s)
		t.Cleanup(func() { h.Close(); s.Wait() })
		w.servers = append(w.servers, s)
		put(state.KindBackend, string(rune('a'+i)), `{"address":"`+h.URL+`","pool":"bbb","bbb":{"secrets":["server-secret"]}}`)
	}
	put(state.KindFrontend, "uni", `{"key":"uni","secret":"s1","hosts":["bbb.uni.example"],"bbb":{"secrets":["s0"],"create_default":{"disabledFeatures":"polls"},"create_override":{"record":"false"},"max_duration":"60m"}}`)
	put(state.KindFrontend, "other", `{"key":"other","secret":"s2"}`)
	for range 2 {
		cl, err := server.New(server.DefaultConfig())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(cl.Close)
		cfg := DefaultConfig()
		cfg.Store, cfg.Client, cfg.Loads, cfg.Log = w, cl, load.NewTable(time.Now, nil), slog.New(slog.DiscardHandler)
		g, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		w.nodes = append(w.nodes, g)
	}
	return w
}

// call makes a call of a tenant, signed by a secret.
func (w *world) call(node int, key, secret, call string, pairs ...string) (string, *http.Response) {
	w.t.Helper()
	var p sign.Params
	for i := 0; i < len(pairs); i += 2 {
		p = append(p, sign.Param{Name: pairs[i], Value: pairs[i+1]})
	}
	r := httptest.NewRequestWithContext(w.t.Context(), http.MethodGet, "/bbb/"+key+"/bigbluebutton/api/"+call+"?"+sign.Query(call, p, secret, sign.SHA384), nil)
	rec := httptest.NewRecorder()
	w.nodes[node].ServeHTTP(rec, r)
	resp := rec.Result()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	if s := string(b); strings.Contains(s, "secret") || strings.Contains(s, "127.0.0.1") && resp.StatusCode == http.StatusOK {
		w.t.Errorf("%s: the answer tells too much: %s", call, s)
	}
	return string(b), resp
}

func (w *world) running() int {
	n := 0
	for _, s := range w.servers {
		n += len(s.Meetings())
	}
	return n
}

func wants(t *testing.T, got string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(got, p) {
			t.Errorf("got %s, want %s in it", got, p)
		}
	}
}

func TestGateway_meeting(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	doc, _ := w.call(0, "uni", "s1", "create", "name", "A", "meetingID", "room 1", "record", "true", "duration", "500", "disabledFeatures", "chat")
	wants(t, doc, "SUCCESS", "<meetingID>room 1</meetingID>", "<![CDATA[kept & <as it is>]]>", "<duration>60</duration>")
	m, ok := w.View().Meeting("uni", "room 1")
	if !ok || !m.Confirmed || m.InternalID == "" {
		t.Fatalf("meeting = %+v, %v", m, ok)
	}
	on := w.servers[int(m.BackendID[0]-'a')]
	if c := on.Calls("create")[0]; c.Params["record"] != "false" || c.Params["disabledFeatures"] != "chat,polls" || c.Hash != "sha512" {
		t.Errorf("the server was asked with %+v", c)
	}
	doc, _ = w.call(1, "uni", "s0", "create", "name", "A", "meetingID", "room 1")
	wants(t, doc, "duplicateWarning")
	_, resp := w.call(1, "uni", "s1", "join", "meetingID", "room 1", "fullName", "B", "role", "MODERATOR")
	if resp.StatusCode != http.StatusFound {
		t.Fatalf("join = %d", resp.StatusCode)
	}
	noFollow := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, resp.Header.Get("Location"), nil)
	joined, err := noFollow.Do(req)
	if err != nil || joined.StatusCode != http.StatusFound {
		t.Fatalf("the server's answer to the browser: %v, %v", joined, err)
	}
	joined.Body.Close()
	doc, _ = w.call(0, "uni", "s1", "join", "meetingID", "room 1", "fullName", "C", "role", "VIEWER", "redirect", "false")
	wants(t, doc, "<session_token>")
	doc, _ = w.call(1, "uni", "s1", "getMeetingInfo", "meetingID", "room 1")
	wants(t, doc, "<meetingID>room 1</meetingID>", "<participantCount>2", "<fullName>B</fullName>", `<notInAnyVersion a="1"/>`, "<customdata>")
	doc, _ = w.call(0, "uni", "s1", "isMeetingRunning", "meetingID", "room 1")
	wants(t, doc, "<running>true")
	doc, _ = w.call(1, "uni", "s1", "getMeetings")
	wants(t, doc, "<meetings><meeting>", "<meetingID>room 1</meetingID>")

	// Another tenant does not reach it, whatever id it tries.
	for _, id := range []string{"room 1", m.OnServer()} {
		for _, call := range []string{"getMeetingInfo", "end"} {
			doc, _ = w.call(0, "other", "s2", call, "meetingID", id)
			wants(t, doc, "notFound")
		}
		doc, _ = w.call(0, "other", "s2", "join", "meetingID", id, "fullName", "X", "role", "MODERATOR")
		wants(t, doc, "notFound")
	}
	doc, _ = w.call(0, "other", "s2", "getMeetings")
	wants(t, doc, "noMeetings")
	doc, _ = w.call(0, "uni", "s1", "end", "meetingID", "room 1")
	wants(t, doc, "sentEndMeetingRequest")
	if _, ok := w.View().Meeting("uni", "room 1"); ok || w.running() != 0 {
		t.Error("the meeting is still there")
	}
}

// Two nodes that are asked for the same meetings at once make one of each.
func TestGateway_sameMeetingTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 4)
	const n = 20
	var wg sync.WaitGroup
	for i := range n {
		for node := range w.nodes {
			wg.Go(func() {
				doc, _ := w.call(node, "uni", "s1", "create", "name", "A", "meetingID", "room-"+string(rune('a'+i)))
				wants(t, doc, "SUCCESS")
			})
		}
	}
	wg.Wait()
	if got := w.running(); got != n {
		t.Errorf("%d copies run, want %d", got, n)
	}
}

func TestGateway_createElsewhere(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault  bbbtest.Fault
		stales int
	}{
		"refused by the server": {bbbtest.Fault{Refuse: "internalError"}, 0},
		"page instead of XML":   {bbbtest.Fault{Status: 500}, 1},
		"acts, no answer":       {bbbtest.Fault{Act: true, CutOff: true}, 1},
		"malformed":             {bbbtest.Fault{Malformed: true}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 2)
			c.fault.Call = "create"
			w.servers[0].Inject(c.fault)
			doc, _ := w.call(0, "uni", "s1", "create", "name", "A", "meetingID", "room")
			wants(t, doc, "SUCCESS")
			if m, ok := w.View().Meeting("uni", "room"); !ok || m.BackendID != "b" || !m.Confirmed {
				t.Errorf("meeting = %+v, want it on b", m)
			}
			n := 0
			for range w.View().Stales("a") {
				n++
			}
			if n != c.stales {
				t.Errorf("%d stale copies are noted, want %d", n, c.stales)
			}
		})
	}
}

func TestGateway_listWithoutAServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3)
	for _, id := range []string{"r1", "r2", "r3"} {
		doc, _ := w.call(0, "uni", "s1", "create", "name", "A", "meetingID", id)
		wants(t, doc, "SUCCESS")
	}
	w.servers[0].Down(true)
	w.servers[1].Inject(bbbtest.Fault{Malformed: true})
	doc, _ := w.call(1, "uni", "s1", "getMeetings")
	if n := strings.Count(doc, "<meeting>"); n != 1 {
		t.Errorf("%d meetings, want 1: %s", n, doc)
	}
}

func TestGateway_refuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	for _, c := range []struct{ key, secret, call, id, want string }{
		{"uni", "wrong", "create", "r", "checksumError"},
		{"nobody", "s1", "create", "r", "checksumError"},
		{"uni", "s1", "create", "", "missingParamMeetingID"},
		{"uni", "s1", "create", "a,b", "validationError"},
		{"uni", "s1", "create", strings.Repeat("x", 250), "validationError"},
		{"uni", "s1", "join", "nothing", "notFound"},
		{"uni", "s1", "isMeetingRunning", "nothing", "<running>false"},
		{"uni", "s1", "enter", "r", "unsupportedRequest"},
		{"uni", "s1", "getRecordings", "r", "noRecordings"},
	} {
		doc, resp := w.call(0, c.key, c.secret, c.call, "name", "A", "meetingID", c.id)
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%+v: status %d", c, resp.StatusCode)
		}
		wants(t, doc, c.want)
	}
}
