package agent

import (
	"context"
	"crypto/hmac"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// world is an agent beside a BigBlueButton server, and the cluster that it tells.
type world struct {
	api   *fakeAPI
	bbb   *fakeBBB
	redis *fakeRedis
	cfg   Config
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{api: newFakeAPI(t), bbb: newFakeBBB(t), redis: newFakeRedis(t)}
	host, port, _ := strings.Cut(w.redis.addr(), ":")
	file := filepath.Join(t.TempDir(), "bbb-web.properties")
	text := fmt.Sprintf("bigbluebutton.web.serverURL=%s\nsecuritySalt=%s\nredisHost=%s\nredisPort=%s\nredisPassword=pw\n", w.bbb.URL, bbbSecret, host, port)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	w.cfg = Default()
	w.cfg.API, w.cfg.Properties, w.cfg.Register = []string{w.api.URL}, []string{file}, true
	w.cfg.Interval, w.cfg.Poll, w.cfg.StateDir = time.Second, time.Hour, t.TempDir()
	return w
}

// start runs an agent. stop tells it to stop, and returns what Run returned.
func (w *world) start(t *testing.T) (stop func() error) {
	t.Helper()
	a, err := New(w.cfg, "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	a.shutdown = func(context.Context) bool { return false }
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	stop = sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-done:
			return err
		case <-time.After(30 * time.Second):
			return errors.New("the agent does not stop")
		}
	})
	t.Cleanup(func() { _ = stop() })
	return stop
}

func TestAgent_registersReportsAndDrains(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.bbb.set(map[string]int{"m1": 3}, false)
	stop := w.start(t)

	eventually(t, "the poll is reported", func() bool {
		return cmp.Equal(w.api.lastReport(), map[string]any{"load": 3.0, "meetings": 1.0, "attendees": 3.0})
	})
	w.api.do(func() {
		want := map[string]any{
			"id": "b1", "address": w.bbb.URL + "/bigbluebutton/api/", "pool": "bbb", "weight": 1.0, "load_factor": 1.0,
			"admin_state": "init", "bbb": map[string]any{"secrets": []any{bbbSecret}},
		}
		if diff := cmp.Diff(want, w.api.backend); diff != "" {
			t.Errorf("registered (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"bbbmap[type:bbb]"}, w.api.pools); diff != "" {
			t.Errorf("pools made (-want +got):\n%s", diff)
		}
		w.api.backend["admin_state"] = stateReady // an operator enables it
		w.api.drained = true
	})
	eventually(t, "the agent subscribes", func() bool { return w.redis.subscribers() == 1 })
	w.redis.publish(envelope(eventUserJoined, "m1", `{"intId":"w_1"}`))
	eventually(t, "the event is reported", func() bool { return w.api.lastReport()["attendees"] == 4.0 })

	w.redis.publish("no event")
	w.redis.publish(envelope(eventMeetingEnded, "", `{"meetingId":"m1"}`))
	if err := stop(); err != nil {
		t.Errorf("Run = %v", err)
	}
	if got := w.api.state(); got != stateStopped {
		t.Errorf("after SIGTERM the backend is %v, want stopped", got)
	}
	w.redis.mu.Lock()
	defer w.redis.mu.Unlock()
	if diff := cmp.Diff([]string{"pw"}, w.redis.auths); diff != "" {
		t.Errorf("passwords given to Redis (-want +got):\n%s", diff)
	}
}

func TestAgent_drainHasADeadlineAndTheNextStartUndoesIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.bbb.set(map[string]int{"m1": 3}, false)
	w.api.backend, w.api.drained = map[string]any{"id": "b1", "admin_state": stateReady}, true
	w.cfg.DrainTimeout = time.Second
	stop := w.start(t)
	eventually(t, "a report", func() bool { return w.api.lastReport() != nil })
	if err := stop(); !errors.Is(err, ErrNotIdle) {
		t.Errorf("with a meeting on, Run = %v, want ErrNotIdle", err)
	}
	if got := w.api.state(); got != stateStopped {
		t.Errorf("the backend is %v, want stopped", got)
	}

	stop = w.start(t)
	eventually(t, "the agent enables what it disabled", func() bool { return w.api.state() == stateReady })
	w.bbb.set(nil, false)
	_ = stop()

	// What an operator disabled stays so.
	w.api.do(func() { w.api.backend["admin_state"] = stateReady })
	_ = os.Remove(filepath.Join(w.cfg.StateDir, "drained"))
	w.api.do(func() { w.api.backend["admin_state"] = stateStopped; w.api.reports = nil })
	stop = w.start(t)
	eventually(t, "a report", func() bool { return w.api.lastReport() != nil })
	_ = stop()
	if _, err := os.Stat(filepath.Join(w.cfg.StateDir, "drained")); err == nil || w.api.state() != stateStopped {
		t.Errorf("the agent takes an operator's stop for its own: marker %v, state %v", err == nil, w.api.state())
	}
}

func TestAgent_survivesTheCluster(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.OnStop = StopLeave
	w.cfg.API = []string{"http://127.0.0.1:1", w.api.URL} // nobody listens on the first
	stop := w.start(t)
	eventually(t, "the second node is asked", func() bool { return w.api.lastReport() != nil })

	w.api.do(func() { w.api.backend, w.api.reports = nil, nil }) // deleted, by whomever
	eventually(t, "the agent registers anew", func() bool { return w.api.state() == "init" })
	eventually(t, "and reports", func() bool { return w.api.lastReport() != nil })
	if err := stop(); err != nil || w.api.state() != "init" {
		t.Errorf("on-stop leave: %v, state %v", err, w.api.state())
	}
}

func TestAgent_refusesToRegisterUnasked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Register = false
	a, err := New(w.cfg, "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Run(t.Context()); !errors.Is(err, errNotRegistered) {
		t.Errorf("Run = %v, want errNotRegistered", err)
	}
}

func TestBBBSource_withoutItsServerKnowsNothing(t *testing.T) {
	t.Parallel()
	bbb := newFakeBBB(t)
	s := &bbbSource{server: Server{Address: bbb.URL + "/bigbluebutton/api/", Secret: bbbSecret}, http: bbb.Client(), log: slog.New(slog.DiscardHandler), now: time.Now}
	if _, err := s.Load(t.Context()); !errors.Is(err, errNoLoad) {
		t.Errorf("before the first poll: %v, want errNoLoad", err)
	}
	bbb.set(map[string]int{"m1": 2}, false)
	s.poll(t.Context())
	if r, err := s.Load(t.Context()); err != nil || r.Attendees != 2 {
		t.Errorf("Load = %+v, %v", r, err)
	}
	bbb.set(nil, true)
	s.poll(t.Context())
	if _, err := s.Load(t.Context()); err == nil {
		t.Error("a server that does not answer has a load")
	}
	s.server.Secret = "wrong"
	bbb.set(nil, false)
	s.poll(t.Context())
	if _, err := s.Load(t.Context()); err == nil || strings.Contains(err.Error(), "checksum=") || !strings.Contains(err.Error(), "checksumError") {
		t.Errorf("with a wrong secret: %v", err)
	}
}

func TestURLSource(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/load" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		fmt.Fprint(w, `{"load":0.25}`)
	}))
	defer srv.Close()
	if r, err := (urlSource{srv.URL + "/load", srv.Client()}).Load(t.Context()); err != nil || r.Load != 0.25 || r.BBB {
		t.Errorf("Load = %+v, %v", r, err)
	}
	if _, err := (urlSource{srv.URL + "/broken", srv.Client()}).Load(t.Context()); err == nil {
		t.Error("a 503 is a load")
	}
	file := filepath.Join(t.TempDir(), "loadavg")
	if err := os.WriteFile(file, []byte("3.00 1.00 0.50 1/2 3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r, err := (averageSource{file, 4}).Load(t.Context()); err != nil || r.Load != 0.75 {
		t.Errorf("load average = %+v, %v, want 0.75", r, err)
	}
}

func TestFollow_connectsAnew(t *testing.T) {
	t.Parallel()
	r := newFakeRedis(t)
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	var got []string
	done := make(chan struct{})
	go func() {
		defer close(done)
		follow(ctx, subscription{Addr: r.addr(), Log: slog.New(slog.DiscardHandler)}, func(b []byte) {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, string(b))
		})
	}()
	for _, m := range []string{"one", "two"} {
		eventually(t, "a subscription", func() bool { return r.subscribers() == 1 })
		r.publish(m)
		eventually(t, m, func() bool { mu.Lock(); defer mu.Unlock(); return len(got) > 0 && got[len(got)-1] == m })
		r.drop()
	}
	cancel()
	<-done
}

func TestB3scale(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var calls []string
	state := map[string]any{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		calls = append(calls, r.Method+" "+r.URL.Path)
		text := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !validJWT(text, "shared") {
			problem(w, http.StatusUnauthorized, "")
			return
		}
		switch r.Method + " " + r.URL.Path {
		case "GET /api/v1/agent/backend":
			if len(state) == 0 {
				problem(w, http.StatusNotFound, "")
				return
			}
		case "POST /api/v1/backends", "PATCH /api/v1/backends/b1":
			for k, v := range decode(r) {
				state[k] = v
			}
			state["id"] = "b1"
		}
		answer(w, state)
	}))
	defer srv.Close()
	w := newWorld(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("shared\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.cfg.API, w.cfg.JWTSecret, w.cfg.Ref = []string{srv.URL}, secret, "node23"
	stop := w.start(t)
	has := func(call string) func() bool {
		return func() bool {
			mu.Lock()
			defer mu.Unlock()
			for _, c := range calls {
				if c == call {
					return true
				}
			}
			return false
		}
	}
	eventually(t, "a heartbeat", has("POST /api/v1/agent/heartbeat"))
	mu.Lock()
	state["admin_state"] = stateReady
	if diff := cmp.Diff(map[string]any{"host": w.bbb.URL + "/bigbluebutton/api/", "secret": bbbSecret}, state["bbb"]); diff != "" {
		t.Errorf("registered (-want +got):\n%s", diff)
	}
	mu.Unlock()
	if err := stop(); err != nil {
		t.Errorf("Run = %v", err)
	}
	mu.Lock()
	defer mu.Unlock()
	if state["admin_state"] != stateStopped {
		t.Errorf("after SIGTERM: %v", state["admin_state"])
	}
}

func validJWT(text, secret string) bool {
	signed, sum, ok := strings.Cut(text, ".")
	claims, sum, ok2 := strings.Cut(sum, ".")
	mac := hmac.New(sha512.New384, []byte(secret))
	mac.Write([]byte(signed + "." + claims))
	raw, err := base64.RawURLEncoding.DecodeString(claims)
	var c struct{ Scope, Sub string }
	return ok && ok2 && err == nil && json.Unmarshal(raw, &c) == nil && c.Scope == "b3scale:node" && c.Sub == "node23" &&
		sum == base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}
