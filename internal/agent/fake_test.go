package agent

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// fakeRedis takes subscriptions and publishes.
type fakeRedis struct {
	ln    net.Listener
	mu    sync.Mutex
	subs  map[net.Conn]bool
	auths []string
	loops sync.WaitGroup
}

func newFakeRedis(t *testing.T) *fakeRedis {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeRedis{ln: ln, subs: map[net.Conn]bool{}}
	f.loops.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			f.loops.Go(func() { f.serve(c) })
		}
	})
	t.Cleanup(func() { _ = ln.Close(); f.drop(); f.loops.Wait() })
	return f
}

// serve speaks as much RESP2 as a subscriber needs.
func (f *fakeRedis) serve(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	for {
		args, err := readCommand(r)
		if err != nil {
			f.mu.Lock()
			delete(f.subs, c)
			f.mu.Unlock()
			return
		}
		switch strings.ToUpper(args[0]) {
		case "AUTH":
			f.mu.Lock()
			f.auths = append(f.auths, args[len(args)-1])
			f.mu.Unlock()
			fmt.Fprint(c, "+OK\r\n")
		case "PSUBSCRIBE":
			fmt.Fprintf(c, "*3\r\n$10\r\npsubscribe\r\n$%d\r\n%s\r\n:1\r\n", len(args[1]), args[1])
			f.mu.Lock()
			f.subs[c] = true
			f.mu.Unlock()
		case "PING":
			fmt.Fprint(c, "*2\r\n$4\r\npong\r\n$0\r\n\r\n")
		default:
			fmt.Fprint(c, "-ERR unknown command\r\n")
		}
	}
}

func readCommand(r *bufio.Reader) ([]string, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(line, "*")))
	if err != nil || n < 1 {
		return nil, fmt.Errorf("odd command %q", line)
	}
	args := make([]string, n)
	for i := range args {
		if line, err = r.ReadString('\n'); err != nil {
			return nil, err
		}
		size, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(line, "$")))
		if err != nil {
			return nil, err
		}
		b := make([]byte, size+2)
		if _, err := io.ReadFull(r, b); err != nil {
			return nil, err
		}
		args[i] = string(b[:size])
	}
	return args, nil
}

func (f *fakeRedis) addr() string { return f.ln.Addr().String() }

func (f *fakeRedis) subscribers() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.subs)
}

func (f *fakeRedis) publish(payload string) {
	const channel = "from-akka-apps-redis-channel"
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.subs {
		fmt.Fprintf(c, "*4\r\n$8\r\npmessage\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", len(channelPattern), channelPattern, len(channel), channel, len(payload), payload)
	}
}

// drop breaks every subscriber's connection.
func (f *fakeRedis) drop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.subs {
		_ = c.Close()
		delete(f.subs, c)
	}
}

// fakeBBB answers getMeetings to who signs it.
type fakeBBB struct {
	*httptest.Server
	mu       sync.Mutex
	meetings map[string]int
	down     bool
}

const bbbSecret = "s3cret"

func newFakeBBB(t *testing.T) *fakeBBB {
	t.Helper()
	f := &fakeBBB{meetings: map[string]int{}}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		sum := sha256.Sum256([]byte("getMeetings" + bbbSecret))
		switch {
		case f.down:
			w.WriteHeader(http.StatusBadGateway)
		case r.URL.Path != "/bigbluebutton/api/getMeetings":
			http.NotFound(w, r)
		case r.URL.RawQuery != "checksum="+hex.EncodeToString(sum[:]):
			fmt.Fprint(w, "<response><returncode>FAILED</returncode><messageKey>checksumError</messageKey></response>")
		default:
			fmt.Fprint(w, "<response><returncode>SUCCESS</returncode><meetings>")
			for id, n := range f.meetings {
				fmt.Fprintf(w, "<meeting><internalMeetingID>%s</internalMeetingID><participantCount>%d</participantCount></meeting>", id, n)
			}
			fmt.Fprint(w, "</meetings></response>")
		}
	}))
	t.Cleanup(f.Close)
	return f
}

func (f *fakeBBB) set(meetings map[string]int, down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.meetings, f.down = meetings, down
}

// fakeAPI is what the agent uses of a cluster.
type fakeAPI struct {
	*httptest.Server
	mu      sync.Mutex
	backend map[string]any // nil = none
	pools   []string
	reports []map[string]any
	calls   []string
	refuse  int // status of every answer; 0 = none
	drained bool
}

func newFakeAPI(t *testing.T) *fakeAPI {
	t.Helper()
	f := &fakeAPI{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /pools/{id}", func(w http.ResponseWriter, r *http.Request) { problem(w, http.StatusNotFound, "not_found") })
	mux.HandleFunc("POST /pools", func(w http.ResponseWriter, r *http.Request) {
		in := decode(r)
		f.pools = append(f.pools, fmt.Sprint(in["id"], in["health"]))
		answer(w, in)
	})
	mux.HandleFunc("POST /backends", func(w http.ResponseWriter, r *http.Request) {
		f.backend = decode(r)
		f.backend["id"] = "b1"
		answer(w, f.backend)
	})
	mux.HandleFunc("GET /backends/{id}", f.withBackend(func(http.ResponseWriter, *http.Request) {}))
	mux.HandleFunc("PATCH /backends/{id}", f.withBackend(func(_ http.ResponseWriter, r *http.Request) {
		for k, v := range decode(r) {
			f.backend[k] = v
		}
	}))
	mux.HandleFunc("POST /backends/{id}/load", f.withBackend(func(_ http.ResponseWriter, r *http.Request) {
		f.reports = append(f.reports, decode(r))
	}))
	mux.HandleFunc("POST /backends/{id}/{verb}", f.withBackend(func(_ http.ResponseWriter, r *http.Request) {
		f.backend["admin_state"] = map[string]string{"enable": stateReady, "disable": stateStopped}[r.PathValue("verb")]
		f.backend["drained"] = f.drained && r.PathValue("verb") == "disable"
	}))
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.calls = append(f.calls, r.Method+" "+r.URL.Path)
		if f.refuse != 0 {
			problem(w, f.refuse, "no_leader")
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(f.Close)
	return f
}

func (f *fakeAPI) withBackend(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if f.backend == nil {
			problem(w, http.StatusNotFound, "not_found")
			return
		}
		h(w, r)
		answer(w, f.backend)
	}
}

func (f *fakeAPI) do(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *fakeAPI) lastReport() map[string]any {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.reports) == 0 {
		return nil
	}
	return f.reports[len(f.reports)-1]
}

func (f *fakeAPI) state() any {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.backend["admin_state"]
}

func decode(r *http.Request) map[string]any {
	out := map[string]any{}
	_ = json.NewDecoder(r.Body).Decode(&out)
	return out
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func problem(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"status":%d,"code":%q,"title":"x"}`, status, code)
}
