package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/lbnode/lbnode/internal/config"
)

func testConfig(t *testing.T, name string) config.Config {
	t.Helper()
	cfg := config.Default()
	cfg.Name, cfg.DataDir = name, t.TempDir()
	cfg.ProxyAddrs, cfg.APIAddr, cfg.ClusterAddr = []string{"127.0.0.1:0"}, "127.0.0.1:0", "127.0.0.1:0"
	cfg.DrainDelay, cfg.DrainTimeout, cfg.DiskReserve = 0, 5*time.Second, 1<<20
	return cfg
}

func testOptions() Options {
	return Options{Version: "test", Logger: slog.New(slog.DiscardHandler)}
}

// runNode runs a node until the returned function is called, which also checks how it ended.
func runNode(t *testing.T, cfg config.Config) (*Node, func()) {
	t.Helper()
	return runNodeWith(t, cfg, testOptions())
}

func runNodeWith(t *testing.T, cfg config.Config, opts Options) (*Node, func()) {
	t.Helper()
	n, err := New(cfg, opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	stopped := false
	stop := func() {
		t.Helper()
		cancel()
		if stopped {
			return
		}
		stopped = true
		if err := <-done; err != nil {
			t.Errorf("Run of %s = %v", cfg.Name, err)
		}
	}
	t.Cleanup(stop)
	return n, stop
}

func call(t *testing.T, method, url, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b)
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline.C:
			t.Fatalf("timed out waiting for %s", what)
		case <-tick.C:
		}
	}
}

// One node from nothing: it forms a cluster, takes a backend and a route, proxies, and does all of that
// again from its data dir.
func TestNode_servesAndRestarts(t *testing.T) {
	t.Parallel()
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") }))
	defer backend.Close()
	cfg := testConfig(t, "one")
	n, stop := runNode(t, cfg)
	api := "http://" + n.APIAddr().String()
	eventually(t, "readiness", func() bool { s, _ := call(t, "GET", api+"/readyz", ""); return s == http.StatusOK })
	for path, body := range map[string]string{
		"/backends": fmt.Sprintf(`{"id":"b","address":%q}`, backend.Listener.Addr()),
		"/routes":   `{"id":"r","match":{"path":"/"},"backend_pool":"default"}`,
	} {
		if s, b := call(t, "POST", api+path, body); s != http.StatusCreated {
			t.Fatalf("POST %s = %d %s", path, s, b)
		}
	}
	proxied := func(n *Node) func() bool {
		return func() bool {
			addrs := n.ProxyAddrs() // none before Run has begun
			if len(addrs) == 0 {
				return false
			}
			s, b := call(t, "GET", "http://"+addrs[0].String()+"/", "")
			return s == http.StatusOK && b == "hello"
		}
	}
	eventually(t, "an answer through the proxy", proxied(n))
	var st struct {
		Requests int      `json:"requests"`
		Missing  []string `json:"missing"`
	}
	if _, b := call(t, "GET", api+"/stats", ""); json.Unmarshal([]byte(b), &st) != nil || st.Requests < 1 || len(st.Missing) > 0 {
		t.Errorf("stats = %s", b)
	}
	if s, b := call(t, "GET", api+"/metrics", ""); s != http.StatusOK || !strings.Contains(b, `lb_backend_requests_total{backend="b"`) {
		t.Errorf("metrics = %d without the backend's counters", s)
	}
	stop()

	again, _ := runNode(t, cfg)
	if _, ok := again.Store().View().Backend("b"); !ok {
		t.Error("before a leader speaks, the restarted node does not know its backend")
	}
	eventually(t, "an answer after the restart", proxied(again))
}

// Nodes join, a write on a follower is read back there at once, and the others get it.
func TestNode_threeFormACluster(t *testing.T) {
	t.Parallel()
	first, _ := runNode(t, testConfig(t, "n1"))
	all := []*Node{first}
	for _, name := range []string{"n2", "n3"} {
		cfg := testConfig(t, name)
		cfg.Join = []string{first.ClusterAddr()}
		n, _ := runNode(t, cfg)
		all = append(all, n)
	}
	eventually(t, "three voters", func() bool { return len(first.cluster.Voters()) == 3 })
	api := "http://" + all[2].APIAddr().String()
	var s int
	var b string
	eventually(t, "a write on a follower", func() bool {
		s, b = call(t, "PUT", api+"/pools/p", `{"algorithm":"random"}`)
		return s == http.StatusCreated || s == http.StatusOK
	})
	if s, b = call(t, "GET", api+"/pools/p", ""); s != http.StatusOK {
		t.Errorf("read of the own write = %d %s", s, b)
	}
	for _, n := range all {
		eventually(t, "the write on "+n.ID(), func() bool { _, ok := n.Store().View().Pool("p"); return ok })
	}
}

// Whatever New cannot do, it gives back: the same settings work once the reason is gone.
// A node that must not go on ends by itself, with the reason, and leaves nothing open.
func TestRun_endsWhenTheNodeFails(t *testing.T) {
	t.Parallel()
	n, err := New(testConfig(t, "n1"), testOptions())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- n.Run(context.Background()) }()
	base := "http://" + n.APIAddr().String()
	for {
		if resp, err := http.Get(base + "/livez"); err == nil {
			resp.Body.Close()
			break
		}
	}
	reason := errors.New("the disk failed")
	n.fail(reason)
	select {
	case err := <-done:
		if !errors.Is(err, reason) {
			t.Errorf("Run = %v, want %v", err, reason)
		}
	case <-time.After(time.Minute):
		t.Fatal("Run has not returned")
	}
	if resp, err := http.Get(base + "/livez"); err == nil {
		resp.Body.Close()
		t.Error("the API still answers")
	}
}

func TestNew_leavesNothingOpenOnError(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t, "one")
	cfg.ClusterKeyFile = cfg.DataDir + "/missing.key"
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg.APIAddr = l.Addr().String()
	if _, err := New(cfg, testOptions()); err == nil || !strings.Contains(err.Error(), "--api-addr") {
		t.Errorf("New with a taken API address = %v", err)
	}
	l.Close()
	if _, err := New(cfg, testOptions()); err == nil || !strings.Contains(err.Error(), "missing.key") {
		t.Errorf("New without its key file = %v", err)
	}
	cfg.ClusterKeyFile = ""
	n, err := New(cfg, testOptions())
	if err != nil {
		t.Fatalf("New after the reason is gone: %v", err)
	}
	if err := n.cleanup.close(); err != nil {
		t.Error(err)
	}
}

func TestReachable(t *testing.T) {
	t.Parallel()
	n := &Node{cfg: config.Config{AdvertiseAddr: "10.0.0.1:7946"}}
	for in, want := range map[string]string{
		"[::]:8080": "10.0.0.1:8080", "0.0.0.0:80": "10.0.0.1:80", ":81": "10.0.0.1:81", "127.0.0.1:82": "127.0.0.1:82", "lb.example.org:83": "lb.example.org:83",
	} {
		if got := n.reachable(in); got != want {
			t.Errorf("reachable(%q) = %q, want %q", in, got, want)
		}
	}
}
