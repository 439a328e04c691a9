package server

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/lbnode/lbnode/bbb/bbbtest"
	"github.com/lbnode/lbnode/bbb/sign"
	"github.com/lbnode/lbnode/state"
)

func start(t *testing.T, cfg bbbtest.Config) (*bbbtest.Server, Server) {
	t.Helper()
	s := bbbtest.New(cfg)
	h := httptest.NewServer(s)
	t.Cleanup(func() { h.Close(); s.Wait() })
	return s, Server{ID: "b1", API: h.URL + "/bigbluebutton/api", Secrets: cfg.Secrets}
}

func client(t *testing.T, change func(*Config)) *Client {
	t.Helper()
	cfg := DefaultConfig()
	if change != nil {
		change(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestAPI(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"10.0.0.1:8090":                           "http://10.0.0.1:8090/bigbluebutton/api",
		"https://bbb1.example":                    "https://bbb1.example/bigbluebutton/api",
		"https://bbb1.example/bigbluebutton/":     "https://bbb1.example/bigbluebutton/api",
		"https://bbb1.example/bigbluebutton/api/": "https://bbb1.example/bigbluebutton/api",
		"http://[::1]:80/x/api":                   "http://[::1]/x/api",
		"https://bbb1.example:8443/api":           "https://bbb1.example:8443/api",
	} {
		if got, err := API(in); err != nil || got != want {
			t.Errorf("API(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
	if _, err := Of(&state.BackendSpec{ID: "b", Address: "https://bbb1.example"}); err == nil {
		t.Error("Of a backend without secret passes")
	}
}

// The best checksum that a server takes is found, and used from then on.
func TestCall_negotiates(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		hashes  []string
		secrets []string // ours
		theirs  string
		want    string
	}{
		{nil, []string{"s"}, "s", "sha512"},
		{[]string{"sha1", "sha256"}, []string{"s"}, "s", "sha256"},
		{[]string{"sha1"}, []string{"s"}, "s", "sha1"},
		{[]string{"sha384"}, []string{"s"}, "s", "sha384"},
		{nil, []string{"new", "old"}, "old", "sha512"},
		{[]string{"sha1"}, []string{"new", "old"}, "old", "sha1"},
	} {
		s, srv := start(t, bbbtest.Config{Secrets: []string{c.theirs}, Hashes: c.hashes})
		srv.Secrets = c.secrets
		cl := client(t, nil)
		u, err := cl.URL(t.Context(), srv, "join", sign.Params{{Name: "meetingID", Value: "x"}})
		if err != nil || sign.OfLength(len(u)-strings.Index(u, "checksum=")-len("checksum=")).String() != c.want {
			t.Errorf("%+v: URL = %q, %v", c, u, err)
		}
		for range 2 {
			a, err := cl.Call(t.Context(), srv, "getMeetings", nil, nil)
			if err != nil || !a.OK {
				t.Fatalf("%+v: Call = %+v, %v", c, a, err)
			}
		}
		for _, call := range s.Calls("") {
			if call.Hash != c.want || call.Secret != c.theirs {
				t.Errorf("%+v: signed with %s and %q", c, call.Hash, call.Secret)
			}
		}
	}
}

// A server that takes no signature is not asked with all of them again and again.
func TestCall_secret(t *testing.T) {
	t.Parallel()
	asked := 0
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		_, _ = w.Write([]byte("<response><returncode>FAILED</returncode><messageKey>checksumError</messageKey></response>"))
	}))
	t.Cleanup(h.Close)
	now := time.Unix(0, 0)
	cl := client(t, func(c *Config) { c.Now = func() time.Time { return now } })
	srv := Server{ID: "b", API: h.URL, Secrets: []string{"a", "b"}}
	for i, want := range []int{8, 9, 10, 18} {
		if i == 3 {
			now = now.Add(time.Minute)
		}
		if _, err := cl.Call(t.Context(), srv, "getMeetings", nil, nil); !errors.Is(err, ErrSecret) || asked != want {
			t.Errorf("call %d: %v after %d requests, want %v after %d", i, err, asked, ErrSecret, want)
		}
	}
}

// Each failure says whether the server can have acted, and no error has a URL or a checksum in it.
func TestCall_faults(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	l.Close()
	for name, c := range map[string]struct {
		fault bbbtest.Fault
		api   string
		want  error
	}{
		"refused":   {api: "http://" + closed, want: ErrNotSent},
		"hang":      {fault: bbbtest.Fault{Hang: true}, want: ErrNoAnswer},
		"500":       {fault: bbbtest.Fault{Status: 500}, want: ErrNoAnswer},
		"malformed": {fault: bbbtest.Fault{Malformed: true}, want: ErrNoAnswer},
		"cut off":   {fault: bbbtest.Fault{CutOff: true}, want: ErrNoAnswer},
		"huge":      {fault: bbbtest.Fault{Huge: 4 << 20}, want: ErrNoAnswer},
		"other":     {fault: bbbtest.Fault{Raw: "<html/>"}, want: ErrNoAnswer},
		"slow":      {fault: bbbtest.Fault{Slow: time.Millisecond}},
		"lost":      {fault: bbbtest.Fault{Act: true, Slow: time.Millisecond}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, srv := start(t, bbbtest.Config{Secrets: []string{"s3cret"}})
			s.Inject(c.fault)
			if c.api != "" {
				srv.API = c.api
			}
			cl := client(t, func(cfg *Config) { cfg.MaxAnswer = 1 << 20 })
			ctx := t.Context()
			if c.fault.Hang {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, 50*time.Millisecond)
				defer cancel()
			}
			_, err := cl.Call(ctx, srv, "getMeetings", sign.Params{{Name: "a", Value: "b"}}, nil)
			if !errors.Is(err, c.want) {
				t.Fatalf("Call = %v, want %v", err, c.want)
			}
			if err != nil && (strings.Contains(err.Error(), "checksum") || strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "http://")) {
				t.Errorf("the error tells too much: %v", err)
			}
		})
	}
}

func TestCall_body(t *testing.T) {
	t.Parallel()
	s, srv := start(t, bbbtest.Config{Secrets: []string{"s"}})
	p := sign.Params{{Name: "name", Value: "A & ä"}, {Name: "meetingID", Value: "m1"}}
	a, err := client(t, nil).Call(t.Context(), srv, "create", p, &Body{"application/xml", []byte("<modules/>")})
	if err != nil || !a.OK {
		t.Fatalf("Call = %+v, %v", a, err)
	}
	if m, ok := s.Meeting("m1"); !ok || m.Body != "<modules/>" || m.Name != "A & ä" {
		t.Errorf("meeting = %+v, %v", m, ok)
	}
}
