package main

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lbnode/lbnode/httpapi"
	"github.com/lbnode/lbnode/httpapi/apitest"
	"github.com/lbnode/lbnode/state"
)

// behindProxy puts the API behind TLS at https://api.bbb.example.org.
func (w *world) behindProxy() *http.Transport {
	srv := httptest.NewTLSServer(w.srv.Config.Handler)
	w.t.Cleanup(srv.Close)
	roots := srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	return &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "example.com"},
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if addr != "api.bbb.example.org:443" {
				w.t.Errorf("dialed %s, want api.bbb.example.org:443", addr)
			}
			var d net.Dialer
			return d.DialContext(ctx, network, srv.Listener.Addr().String())
		},
	}
}

// The lines of b3scale's manual, with lbctl for b3scalectl, as they are typed, in its order.
func TestManual(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must(`lbctl add backend https://node22.bbb.example.org/bigbluebutton/api/ --tag bbb_25 --id 65959a9d-0d1d-476b-ad7a-f665feb63d01`)
	w.env = []string{"TERM=xterm"} // --api says where
	transport := w.behindProxy()
	one := func(substr string) *state.Backend {
		t.Helper()
		for b := range w.store.View().Backends() {
			if strings.Contains(b.Address, substr) {
				return b
			}
		}
		t.Fatalf("there is no backend at %s", substr)
		return nil
	}
	steps := []struct {
		line   string
		code   int
		stdout string // what it holds
		stderr string
		check  func() bool
	}{
		{
			line: `lbctl --api https://api.bbb.example.org add backend https://node23.bbb.example.org/bigbluebutton/api/`, stdout: "created backend: ",
			check: func() bool { return one("node23").AdminState == state.AdminReady },
		},
		{
			line: `lbctl --api https://api.bbb.example.org set backend -j '{"tags":["bbb_26"]}' https://node23.bbb.example.org`, stdout: "updated backend: ",
			check: func() bool { return cmp.Equal(one("node23").Tags, []string{"bbb_26"}) },
		},
		{line: `lbctl --api https://api.bbb.example.org set backend -j '{"tags":["bbb_26"]}' https://node23.bbb.example.org`, code: 64, stdout: "no changes: backend "},
		{line: `lbctl --api https://api.bbb.example.org show backends`, stdout: "  Host:\t https://node22.bbb.example.org/bigbluebutton/api/\n  Settings:\t {\"tags\":[\"bbb_25\"]}\n  NodeState:\t init\t  AdminState:\t ready\n"},
		{
			line:   `lbctl --api https://api.bbb.example.org set frontend -j ' {"tags":["bbb_28"]}' https://node22.bbb.example.org/bigbluebutton/api/`,
			stdout: "updated backend: 65959a9d-0d1d-476b-ad7a-f665feb63d01\n", stderr: "setting its tags",
			check: func() bool {
				return cmp.Equal(one("node22").Tags, []string{"bbb_28"}) && w.store.View().Len(state.KindFrontend) == 0
			},
		},
		{line: `lbctl --api https://api.bbb.example.org enable backend https://node23.bbb.example.org`, code: 64, stdout: "is already enabled"},
		{
			line: `lbctl --api https://api.bbb.example.org disable backend https://node23.bbb.example.org`, stdout: "disabled backend: ",
			check: func() bool { return one("node23").AdminState == state.AdminStopped },
		},
		{
			line: `lbctl --api https://api.bbb.example.org enable backend https://node23.bbb.example.org`, stdout: "enabled backend: ",
			check: func() bool { return one("node23").AdminState == state.AdminReady },
		},
		{
			line: `lbctl --api https://api.bbb.example.org delete backend https://node23.bbb.example.org`, stdout: "backend marked for decommissioning: ",
			check: func() bool { return one("node23").AdminState == state.AdminDecommissioned },
		},
		{line: `lbctl --api https://api.bbb.example.org delete backend https://node23.bbb.example.org`, code: 64, stdout: "is already marked for decommissioning"},
		{
			line: `lbctl --api https://api.bbb.example.org delete --force backend https://node23.bbb.example.org`, stdout: "deleted backend: ",
			check: func() bool { return w.store.View().Len(state.KindBackend) == 1 },
		},
		{line: `lbctl --api https://api.bbb.example.org delete backend https://node23.bbb.example.org`, code: 3, stderr: "there is no backend"},
	}
	for _, s := range steps {
		a, stdout, stderr := w.app()
		a.transport = transport.Clone()
		code := a.run(t.Context(), split(s.line)[1:])
		if code != s.code || !strings.Contains(stdout.String(), s.stdout) || !strings.Contains(stderr.String(), s.stderr) {
			t.Fatalf("%s\nexit %d, want %d\nstdout: %s\nstderr: %s", s.line, code, s.code, stdout, stderr)
		}
		if s.check != nil && !s.check() {
			t.Fatalf("%s\ndid not have its effect", s.line)
		}
	}
}

// The manual's own listing. Its first block has the tabs of one line expanded and a blank line too many, as
// pasting from a terminal does; the other two are as the program writes them.
func TestManual_listing(t *testing.T) {
	t.Parallel()
	const want = "65959a9d-0d1d-476b-ad7a-f665feb63d01\n" +
		"  Host:\t https://node22.bbb.example.org/bigbluebutton/api/\n" +
		"  Settings:\t {\"tags\":[\"bbb_25\"]}\n" +
		"  NodeState:\t ready\t  AdminState:\t ready\n" +
		"  MC/AC/R:\t 0/0/0.00\n" +
		"  LoadFactor:\t 1\n" +
		"  Latency:\t 92.5466361ms\n" +
		"\n" +
		"6a2f1953-6db3-4efd-bd35-b7d74c1ddd68\n" +
		"  Host:\t https://node23.bbb.example.org/bigbluebutton/api/\n" +
		"  Settings:\t {\"tags\":[\"bbb_26\"]}\n" +
		"  NodeState:\t ready\t  AdminState:\t ready\n" +
		"  MC/AC/R:\t 0/0/0.00\n" +
		"  LoadFactor:\t 1\n" +
		"  Latency:\t 93.076423ms\n" +
		"\n" +
		"8bf64dca-18bf-4bb4-9159-2a3e52e7e05b\n" +
		"  Host:\t https://node24.bbb.example.org/bigbluebutton/api/\n" +
		"  Settings:\t {\"tags\":[\"bbb_27\"]}\n" +
		"  NodeState:\t ready\t  AdminState:\t ready\n" +
		"  MC/AC/R:\t 0/0/0.00\n" +
		"  LoadFactor:\t 1\n" +
		"  Latency:\t 91.648361ms\n"
	w := newWorld(t)
	for _, b := range []struct {
		line, id string
		latency  time.Duration
	}{
		{"https://node22.bbb.example.org/bigbluebutton/api/ --tag bbb_25", "65959a9d-0d1d-476b-ad7a-f665feb63d01", 92546636},
		{"https://node23.bbb.example.org/bigbluebutton/api/ --tag bbb_26", "6a2f1953-6db3-4efd-bd35-b7d74c1ddd68", 93076423},
		{"https://node24.bbb.example.org/bigbluebutton/api/ --tag bbb_27", "8bf64dca-18bf-4bb4-9159-2a3e52e7e05b", 91648361},
	} {
		w.must("lbctl add backend " + b.line + " --id " + b.id)
		w.verdict(b.id, state.VerdictUp, "200 OK")
		w.fake.Update(func(f *apitest.Fake) { f.Runtimes[b.id] = httpapi.BackendRuntime{Latency: b.latency} })
	}
	// The manual's first latency has a digit more than a nanosecond; see TestLatency.
	got := strings.Replace(w.must("lbctl show backends").stdout, "92.546636ms", "92.5466361ms", 1)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("show backends (-manual +lbctl):\n%s", diff)
	}
}

func TestLatency(t *testing.T) {
	t.Parallel()
	for ms, want := range map[float64]string{92.5466361: "92.5466361ms", 93.076423: "93.076423ms", 1: "1ms", 1.0 / 3: "333.333µs", 1500: "1.5s", 0: "0s", 0.25: "250µs", 12.300000000000001: "12.3ms", 1e-4: "100ns"} {
		if got := latency(ms); got != want {
			t.Errorf("latency(%v) = %s, want %s", ms, got, want)
		}
	}
}

// `set frontend` with the address of a backend means the backend only where the manual says so.
func TestSetFrontend(t *testing.T) {
	t.Parallel()
	const b1, b2 = "https://n1.example.org/api/", "https://n2.example.org/api/"
	tests := []struct {
		name, line     string
		code           int
		stdout, stderr string
		frontends      int
	}{
		{"create by key", `lbctl set frontend -j '{"tags":["a"]}' Customer_1`, 0, "created frontend: ", "", 1},
		{"create by id", `lbctl set frontend -j '{"required_tags":["a"]}' customer-1`, 0, "created frontend: customer-1\n", "", 1},
		{"create without anything", `lbctl set frontend customer-1`, 0, "created frontend: customer-1\n", "", 1},
		{"slip", `lbctl set frontend -j '{"tags":["a"]}' ` + b1, 0, "updated backend: b1\n", `there is no frontend "` + b1 + `", but backend b1 has this address`, 0},
		{"slip, nothing to do", `lbctl set frontend -j '{"tags":["old"]}' ` + b1, 64, "no changes: backend b1\n", "", 0},
		{"slip by host", `lbctl set frontend -j '{"tags":["a"]}' https://n1.example.org`, 0, "updated backend: b1\n", "", 0},
		{"more than tags", `lbctl set frontend -j '{"tags":["a"],"hosts":["x.example.org"]}' ` + b1, 0, "created frontend: ", "", 1},
		{"the right name", `lbctl set frontend -j '{"required_tags":["a"]}' ` + b1, 0, "created frontend: ", "", 1},
		{"with a flag", `lbctl set frontend --host x.example.org -j '{"tags":["a"]}' ` + b1, 0, "created frontend: ", "", 1},
		{"id of a backend", `lbctl set frontend -j '{"tags":["a"]}' b1`, 0, "created frontend: b1\n", "", 1},
		{"several backends", `lbctl set frontend -j '{"tags":["a"]}' ` + b2, 4, "", "2 backends", 0},
		{"slip, dry", `lbctl set --dry frontend -j '{"tags":["a"]}' ` + b1, 0, "PATCH /backends/b1\n", "", 0},
		{"create, dry", `lbctl set --dry frontend -j '{"tags":["a"]}' k`, 0, "POST /frontends\n", "", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.must("lbctl add backend " + b1 + " --id b1 --tag old")
			w.must("lbctl add backend " + b2 + " --id b2 --pool one")
			w.must("lbctl add backend " + b2 + " --id b3 --pool two")
			got := w.line(tt.line)
			if got.code != tt.code || !strings.HasPrefix(got.stdout, tt.stdout) || !strings.Contains(got.stderr, tt.stderr) {
				t.Errorf("exit %d, want %d\nstdout: %q, want %q\nstderr: %q, want %q", got.code, tt.code, got.stdout, tt.stdout, got.stderr, tt.stderr)
			}
			if n := w.store.View().Len(state.KindFrontend); n != tt.frontends {
				t.Errorf("%d frontends, want %d", n, tt.frontends)
			}
		})
	}
}

// An existing frontend is found by id and by key.
func TestSetFrontend_existing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must("lbctl add frontend https://moodle.example.org/ --id moodle --secret s")
	for _, ref := range []string{"moodle", "https://moodle.example.org/"} {
		w.must("lbctl set frontend " + ref + " --tag x" + string(ref[0]))
		w.must("lbctl show frontend " + ref)
	}
	f, _ := w.store.View().Frontend("moodle")
	if !cmp.Equal(f.RequiredTags, []string{"xh"}) || f.Secret != "s" || f.Key != "https://moodle.example.org/" {
		t.Errorf("frontend = %+v, want the tag set twice, the rest as it was", f.FrontendSpec)
	}
	w.must(`lbctl set frontend moodle --tag ''`)
	if f, _ := w.store.View().Frontend("moodle"); len(f.RequiredTags) != 0 {
		t.Errorf("tags = %v, want none", f.RequiredTags)
	}
	if got := w.line("lbctl set frontend moodle"); got.code != 64 {
		t.Errorf("set of nothing = exit %d, want 64", got.code)
	}
	w.must("lbctl delete frontend https://moodle.example.org/")
	if n := w.store.View().Len(state.KindFrontend); n != 0 {
		t.Errorf("%d frontends, want none", n)
	}
}
