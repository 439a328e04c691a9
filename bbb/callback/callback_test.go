package callback

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/lbnode/lbnode/bbb/ids"
	"github.com/lbnode/lbnode/bbb/sign"
	"github.com/lbnode/lbnode/state"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a state of its own.
type memory struct {
	mu       sync.Mutex
	view     *state.View
	watchers map[chan *state.View]bool
	fail     error // of every Do
}

func newMemory(t *testing.T) *memory {
	t.Helper()
	m := &memory{view: state.NewView(), watchers: map[chan *state.View]bool{}}
	m.ops(t, "pool", "bbb", `{"health":{"type":"bbb"}}`)
	m.ops(t, "backend", "a", `{"address":"https://a.example.org/bigbluebutton/api/","pool":"bbb","bbb":{"secrets":["server","old"]}}`)
	m.ops(t, "frontend", "uni", `{"key":"uni","secret":"tenant","bbb":{"secrets":["before"]}}`)
	return m
}

func (m *memory) ops(t *testing.T, kind state.Kind, id, value string) {
	t.Helper()
	if _, err := m.Do(t.Context(), state.Command{Type: state.TypeTxn, Ops: []state.Op{{Verb: state.VerbPut, Kind: kind, ID: id, Value: json.RawMessage(value)}}}); err != nil {
		t.Fatal(err)
	}
}

func (m *memory) View() *state.View {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.view
}

func (m *memory) Do(_ context.Context, c state.Command) (state.Result, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return state.Result{}, m.fail
	}
	if c.At.IsZero() {
		c.At = time.Now()
	}
	v, res := state.Apply(m.view, m.view.Index+1, 1, c)
	m.view = v
	for ch := range m.watchers {
		select {
		case ch <- v:
		default:
		}
	}
	if res.Refusal != nil {
		return res, res.Refusal
	}
	return res, nil
}

func (m *memory) Watch(ctx context.Context) <-chan *state.View {
	m.mu.Lock()
	defer m.mu.Unlock()
	ch := make(chan *state.View, 1)
	m.watchers[ch] = true
	context.AfterFunc(ctx, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.watchers, ch)
		close(ch)
	})
	return ch
}

func (m *memory) enqueue(t *testing.T, cs ...state.Callback) {
	t.Helper()
	if _, err := m.Do(t.Context(), state.BBB(state.BBBOp{Enqueue: &state.EnqueueCallbacks{Callbacks: cs}})); err != nil {
		t.Fatal(err)
	}
}

func (m *memory) queue() string {
	var out []string
	for c := range m.View().Callbacks() {
		s := c.ID
		if c.Failed {
			s += "!"
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

// receiver answers as it is told, and remembers.
type receiver struct {
	mu    sync.Mutex
	calls []string
	next  func(n int, r *http.Request, body string) int // status; 0 = the connection breaks
}

func (r *receiver) RoundTrip(req *http.Request) (*http.Response, error) {
	body, _ := io.ReadAll(req.Body)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, req.Method+" "+req.URL.String())
	status := r.next(len(r.calls), req, string(body))
	if status == 0 {
		return nil, errors.New("connection refused")
	}
	return &http.Response{StatusCode: status, Body: http.NoBody, Request: req, Header: http.Header{}}, nil
}

func (r *receiver) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.calls)
}

func newTestSender(t *testing.T, m *memory, r http.RoundTripper) *Sender {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Store, cfg.Transport, cfg.Log = m, r, slog.New(slog.DiscardHandler)
	s, err := NewSender(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func end(id string) state.Callback {
	return state.Callback{ID: id, Kind: state.CallbackEnd, Frontend: "uni", Method: "GET", URL: "https://lms.example.org/" + id}
}

func lead(t *testing.T, s *Sender) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { s.Lead(ctx); close(done) }()
	return func() { cancel(); <-done }
}

func TestSender_delivers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t)
		r := &receiver{next: func(n int, _ *http.Request, _ string) int { return 200 }}
		m.enqueue(t, end("a"), end("b"))
		stop := lead(t, newTestSender(t, m, r))
		defer stop()
		synctest.Wait()
		m.enqueue(t, end("c"))
		synctest.Wait()
		if m.queue() != "" || r.count() != 3 {
			t.Errorf("queue %q after %v", m.queue(), r.calls)
		}
	})
}

func TestSender_triesAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t)
		r := &receiver{next: func(n int, _ *http.Request, _ string) int { return []int{0, 500, 302, 200}[min(n, 4)-1] }}
		m.enqueue(t, end("a"))
		s := newTestSender(t, m, r)
		stop := lead(t, s)
		defer stop()
		synctest.Wait()
		if p := s.Progress()["a"]; p.Tries != 1 || !strings.Contains(p.Error, "connection refused") || !p.Next.After(time.Now()) {
			t.Errorf("progress after the first attempt: %+v", p)
		}
		time.Sleep(time.Minute) // 5, 10 and 20 seconds, a fifth more at most
		synctest.Wait()
		if m.queue() != "" || r.count() != 4 || len(s.Progress()) != 0 {
			t.Errorf("queue %q after %d attempts; progress %v", m.queue(), r.count(), s.Progress())
		}
	})
}

func TestSender_givesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t)
		status := 500
		r := &receiver{next: func(int, *http.Request, string) int { return status }}
		m.enqueue(t, end("a"))
		stop := lead(t, newTestSender(t, m, r))
		defer stop()
		time.Sleep(26 * time.Hour)
		synctest.Wait()
		if c, _ := m.View().Callback("a"); m.queue() != "a!" || c.Tries < 10 || c.Tries > 60 || c.Error != "the receiver answers 500" {
			t.Errorf("after a day: %q, %+v", m.queue(), c)
		}
		n := r.count()
		time.Sleep(26 * time.Hour)
		if r.count() != n {
			t.Error("what was given up is tried on")
		}
		status = 204
		if _, err := m.Do(t.Context(), state.BBB(state.BBBOp{Finish: &state.FinishCallbacks{IDs: []string{"a"}, Outcome: state.CallbackAgain}})); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if m.queue() != "" {
			t.Errorf("an operator's retry: %q", m.queue())
		}
	})
}

// What the old leader could not deliver, or could not say that it did, the next one delivers.
func TestSender_leaderChange(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t)
		r := &receiver{next: func(int, *http.Request, string) int { return 200 }}
		m.enqueue(t, end("a"))
		m.mu.Lock()
		m.fail = state.ErrNoLeader
		m.mu.Unlock()
		stop := lead(t, newTestSender(t, m, r))
		synctest.Wait()
		if m.queue() != "a" || r.count() != 1 {
			t.Errorf("without a leader: %q after %d attempts", m.queue(), r.count())
		}
		stop()
		m.mu.Lock()
		m.fail = nil
		m.mu.Unlock()
		defer lead(t, newTestSender(t, m, r))()
		synctest.Wait()
		if m.queue() != "" || r.count() != 2 {
			t.Errorf("the next leader: %q after %d attempts", m.queue(), r.count())
		}
	})
}

func TestSender_secretsAndRefusals(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		next  func(n int, r *http.Request, body string) int
		calls int
		queue string
	}{
		"older secret": {func(_ int, _ *http.Request, body string) int { return signedBy(body, "before") }, 2, ""},
		"gone":         {func(int, *http.Request, string) int { return 410 }, 1, ""},
		"no secret":    {func(int, *http.Request, string) int { return 401 }, 2, "rec!"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m, r := newMemory(t), &receiver{next: tc.next}
				c := end("rec")
				c.Kind, c.Method, c.Auth, c.Body, c.ContentType = state.CallbackRecording, "POST", state.AuthSigned, `{"record_id":"r-1"}`, formType
				m.enqueue(t, c)
				defer lead(t, newTestSender(t, m, r))()
				synctest.Wait()
				if m.queue() != tc.queue || r.count() != tc.calls {
					t.Errorf("queue %q after %d attempts, want %q after %d", m.queue(), r.count(), tc.queue, tc.calls)
				}
			})
		})
	}
}

func signedBy(body, secret string) int {
	form, _ := url.ParseQuery(body)
	if _, err := readJWT(hs256, form.Get("signed_parameters"), []string{secret}, time.Now()); err != nil {
		return 401
	}
	return 200
}

// A slow tenant holds up nobody else.
func TestSender_fair(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t)
		m.ops(t, "frontend", "school", `{"key":"school","secret":"x"}`)
		hang := roundTrip(func(req *http.Request) (*http.Response, error) {
			if strings.Contains(req.URL.Path, "slow") {
				<-req.Context().Done()
				return nil, req.Context().Err()
			}
			return &http.Response{StatusCode: 200, Body: http.NoBody, Request: req}, nil
		})
		for i := range 40 {
			m.enqueue(t, end(fmt.Sprintf("slow%d", i)))
		}
		other := end("z")
		other.Frontend = "school"
		m.enqueue(t, other)
		defer lead(t, newTestSender(t, m, hang))()
		synctest.Wait()
		if _, waits := m.View().Callback("z"); waits {
			t.Error("another tenant's callback waits for the slow ones")
		}
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestDecideAndPause(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]Verdict{200: Delivered, 204: Delivered, 301: Retry, 401: Wrong, 403: Retry, 404: Retry, 410: Gone, 500: Retry, 0: Retry} {
		if got := Decide(status); got != want {
			t.Errorf("Decide(%d) = %v, want %v", status, got, want)
		}
	}
	for tries, want := range map[int]time.Duration{0: FirstPause, 1: FirstPause, 2: 2 * FirstPause, 5: 80 * time.Second, 11: MaxPause, 1 << 40: MaxPause} {
		if got := Pause(tries, 0.5); got != want {
			t.Errorf("Pause(%d) = %s, want %s", tries, got, want)
		}
	}
	if lo, hi := Pause(1, 0), Pause(1, 1); lo != 4*time.Second || hi != 6*time.Second {
		t.Errorf("jitter from %s to %s, want 4s to 6s", lo, hi)
	}
}

func TestReachable(t *testing.T) {
	t.Parallel()
	allowed := []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}
	for addr, want := range map[string]bool{
		"93.184.216.34": true, "2606:2800:220:1::1": true, "10.1.2.3": true, "::ffff:10.1.2.3": true,
		"10.2.0.1": false, "127.0.0.1": false, "169.254.169.254": false, "192.168.1.1": false, "172.16.0.1": false, "100.64.0.1": false,
		"::1": false, "fe80::1": false, "fd00::1": false, "0.0.0.0": false, "::": false, "224.0.0.1": false, "::ffff:127.0.0.1": false, "64:ff9b::7f00:1": false,
	} {
		if got := reachable(netip.MustParseAddr(addr), allowed); got != want {
			t.Errorf("reachable(%s) = %v, want %v", addr, got, want)
		}
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/loop" {
			http.Redirect(w, r, "/loop", http.StatusFound)
		}
	}))
	defer srv.Close()
	c := end("a")
	c.URL = srv.URL + "/x"
	closed, open := NewTransport(nil), NewTransport([]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")})
	defer closed.CloseIdleConnections()
	defer open.CloseIdleConnections()
	if _, err := attempt(t.Context(), newClient(closed), &c, "", time.Now()); !errors.Is(err, errForbidden) {
		t.Errorf("loopback: %v, want errForbidden", err)
	}
	if status, err := attempt(t.Context(), newClient(open), &c, "", time.Now()); status != 200 || err != nil {
		t.Errorf("loopback that is allowed: %d, %v", status, err)
	}
	c.URL = srv.URL + "/loop"
	if status, _ := attempt(t.Context(), newClient(open), &c, "", time.Now()); status != http.StatusFound {
		t.Errorf("a loop of redirects ends with %d, want 302", status)
	}
}

// proxied is what the proxy stored of a server's call of the URL that it gave for a parameter.
func proxied(t *testing.T, m *memory, param string, call func(ours string) *http.Request) (int, []state.Callback) {
	t.Helper()
	p := &Proxy{Store: m, Log: slog.New(slog.DiscardHandler), Now: time.Now}
	f, _ := m.View().Frontend("uni")
	out := p.Create(f, "room", "http://lb.example.org", sign.Params{{Name: "name", Value: "x"}, {Name: param, Value: "https://lms.example.org/cb?x=1"}})
	ours := out.Get(param)
	if param == "hook" {
		ours = p.Hook(f, "http://lb.example.org", "https://lms.example.org/cb?x=1")
	}
	if !strings.HasPrefix(ours, "http://lb.example.org"+Path) || strings.Contains(ours, "tenant") {
		t.Fatalf("our URL is %q", ours)
	}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, call(ours))
	var got []state.Callback
	for c := range m.View().Callbacks() {
		got = append(got, *c)
	}
	return w.Code, got
}

func post(u, contentType, body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, u, strings.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	return r
}

func signedForm(secret string) string {
	claims := fmt.Sprintf(`{"meeting_id":%q,"record_id":"r-1"}`, ids.Encode("uni", `a "room"`))
	return url.Values{"signed_parameters": {makeJWT(hs256, []byte(claims), secret)}}.Encode()
}

func TestProxy(t *testing.T) {
	t.Parallel()
	encoded := ids.Encode("uni", "room")
	for name, tc := range map[string]struct {
		param string
		call  func(ours string) *http.Request
		code  int
		want  state.Callback
	}{
		"end": {"meta_endCallbackUrl", func(u string) *http.Request {
			return httptest.NewRequest(http.MethodGet, u+"?recordingmarks=true&meetingID="+encoded, nil)
		}, 200, state.Callback{Kind: state.CallbackEnd, Method: "GET", URL: "https://lms.example.org/cb?meetingID=room&recordingmarks=true&x=1"}},
		"recording": {
			"meta_bbb-recording-ready-url", func(u string) *http.Request { return post(u, formType, signedForm("old")) },
			200,
			state.Callback{Kind: state.CallbackRecording, Method: "POST", URL: "https://lms.example.org/cb?x=1", ContentType: formType, Auth: state.AuthSigned, Body: `{"meeting_id":"a \"room\"","record_id":"r-1"}`},
		},
		"recording of a stranger": {"meta_bbb-recording-ready-url", func(u string) *http.Request { return post(u, formType, signedForm("tenant")) }, 401, state.Callback{}},
		"analytics": {"meta_analytics-callback-url", func(u string) *http.Request {
			r := post(u, "application/json", `{"meeting_id":"`+encoded+`","z":1,"a":2}`)
			r.Header.Set("Authorization", "Bearer "+makeJWT(hs512, []byte(fmt.Sprintf(`{"exp":%d}`, time.Now().Add(time.Hour).Unix())), "server"))
			return r
		}, 200, state.Callback{Kind: state.CallbackAnalytics, Method: "POST", URL: "https://lms.example.org/cb?x=1", ContentType: "application/json", Auth: state.AuthBearer, Body: `{"meeting_id":"room","z":1,"a":2}`}},
		"analytics that expired": {"meta_analytics-callback-url", func(u string) *http.Request {
			r := post(u, "application/json", `{}`)
			r.Header.Set("Authorization", "Bearer "+makeJWT(hs512, []byte(`{"exp":1}`), "server"))
			return r
		}, 401, state.Callback{}},
		"analytics without algorithm": {"meta_analytics-callback-url", func(u string) *http.Request {
			r := post(u, "application/json", `{}`)
			r.Header.Set("Authorization", "Bearer "+encoding.EncodeToString([]byte(`{"alg":"none"}`))+".e30.")
			return r
		}, 401, state.Callback{}},
		"hook": {"hook", func(u string) *http.Request {
			body := url.Values{"event": {`[{"id":"` + encoded + `"}]`}, "timestamp": {"1"}}.Encode()
			return post(u+"?checksum="+hookChecksum(u, body, "server"), formType, body)
		}, 200, state.Callback{Kind: state.CallbackHook, Method: "POST", URL: "https://lms.example.org/cb?x=1", ContentType: formType, Auth: state.AuthHook, Body: "event=%5B%7B%22id%22%3A%22room%22%7D%5D&timestamp=1"}},
		"hook unsigned": {"hook", func(u string) *http.Request { return post(u+"?checksum=x", formType, "event=x") }, 401, state.Callback{}},
		"forged URL":    {"meetingEndedURL", func(u string) *http.Request { return httptest.NewRequest(http.MethodGet, u+"x", nil) }, 404, state.Callback{}},
		"huge":          {"meta_analytics-callback-url", func(u string) *http.Request { return post(u, formType, strings.Repeat("x", maxBody+1)) }, 413, state.Callback{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, got := proxied(t, newMemory(t), tc.param, tc.call)
			if code != tc.code {
				t.Fatalf("status %d, want %d", code, tc.code)
			}
			if tc.want.Kind == "" {
				if len(got) != 0 {
					t.Errorf("stored all the same: %+v", got)
				}
				return
			}
			if len(got) != 1 {
				t.Fatalf("stored %+v", got)
			}
			tc.want.Frontend, tc.want.ID, tc.want.At, tc.want.Index = "uni", got[0].ID, got[0].At, got[0].Index
			if tc.want.Kind != state.CallbackHook {
				tc.want.MeetingID = "room"
			}
			if d := cmp.Diff(tc.want, got[0]); d != "" {
				t.Errorf("stored (-want +got):\n%s", d)
			}
		})
	}
}

func TestProxy_withoutLeader(t *testing.T) {
	t.Parallel()
	m := newMemory(t)
	code, _ := proxied(t, m, "meetingEndedURL", func(u string) *http.Request {
		m.fail = state.ErrNoLeader
		return httptest.NewRequest(http.MethodGet, u, nil)
	})
	if code != http.StatusServiceUnavailable {
		t.Errorf("status %d, want 503, so that the server says it again", code)
	}
}

func TestCreate_leavesTheRest(t *testing.T) {
	t.Parallel()
	m := newMemory(t)
	p := &Proxy{Store: m}
	f, _ := m.View().Frontend("uni")
	in := sign.Params{{Name: "meetingEndedURL", Value: "ftp://x/y"}, {Name: "meta_endCallbackUrl", Value: "https://h/" + strings.Repeat("x", maxURL)}, {Name: "logoutURL", Value: "https://h/"}}
	if d := cmp.Diff(in, p.Create(f, "room", "https://lb", in)); d != "" {
		t.Errorf("Create changed (-want +got):\n%s", d)
	}
}

func FuzzUnseal(f *testing.F) {
	f.Add("e30.AAAA")
	f.Add(target{Frontend: "uni", Kind: state.CallbackEnd, URL: "https://h"}.seal("other"))
	v := state.NewView()
	v, _ = state.Apply(v, 1, 1, state.Command{Type: state.TypeTxn, Ops: []state.Op{{Verb: state.VerbPut, Kind: state.KindFrontend, ID: "uni", Value: json.RawMessage(`{"key":"uni","secret":"s"}`)}}})
	f.Fuzz(func(t *testing.T, token string) {
		if got, _, ok := unseal(v, token); ok && got.seal("s") != token {
			t.Errorf("unseal(%q) = %+v, which is not what was sealed", token, got)
		}
	})
}

func FuzzReadJWT(f *testing.F) {
	f.Add(makeJWT(hs256, []byte(`{"a":1}`), "other"))
	f.Fuzz(func(t *testing.T, token string) {
		if claims, err := readJWT(hs256, token, []string{"s"}, time.Unix(0, 0)); err == nil {
			t.Errorf("a token that nobody signed has claims %s", claims)
		}
	})
}
