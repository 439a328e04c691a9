package node

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/state"
)

// putAll makes objects by way of a node's API.
func putAll(t *testing.T, n *Node, pathsAndBodies ...string) {
	t.Helper()
	for i := 0; i < len(pathsAndBodies); i += 2 {
		if s, body := call(t, "PUT", apiOf(n)+pathsAndBodies[i], pathsAndBodies[i+1]); s != http.StatusCreated && s != http.StatusOK {
			t.Fatalf("PUT %s = %d %s", pathsAndBodies[i], s, body)
		}
	}
}

func serves(t *testing.T, n *Node) func() bool {
	return func() bool {
		addrs := n.ProxyAddrs() // none before Run has begun
		if len(addrs) == 0 {
			return false
		}
		s, _ := call(t, "GET", "http://"+addrs[0].String()+"/", "")
		return s == http.StatusOK
	}
}

// With fence_after, a node without a quorum stops beginning requests, says why, lets run what runs, and heals
// once a leader confirms it again. Without, it goes on.
func TestFence_withoutQuorum(t *testing.T) {
	t.Parallel()
	arrived, release := make(chan struct{}, 1), make(chan struct{})
	backend := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			arrived <- struct{}{}
			<-release
		}
	}))
	defer backend.Close()
	first, _ := runNode(t, testConfig(t, "n1"))
	cfg := testConfig(t, "n2")
	cfg.Join = []string{first.ClusterAddr()}
	second, stopSecond := runNode(t, cfg)
	for _, n := range []*Node{first, second} {
		eventually(t, "two voters on "+n.ID(), func() bool { return len(n.cluster.Voters()) == 2 && len(n.cluster.Live()) == 2 })
	}
	putAll(t, first, "/settings", `{"fence_after":"2s"}`, "/pools/p", `{"initial":"up","health":{"type":"none"}}`,
		"/backends/a", fmt.Sprintf(`{"address":%q,"pool":"p"}`, backend.Listener.Addr()), "/routes/r", `{"match":{"path":"/"},"backend_pool":"p"}`)
	eventually(t, "an answer", serves(t, first))
	slow := make(chan int, 1)
	go func() {
		s, _ := call(t, "GET", "http://"+first.ProxyAddrs()[0].String()+"/slow", "")
		slow <- s
	}()
	<-arrived
	stopSecond()

	proxy := "http://" + first.ProxyAddrs()[0].String() + "/"
	eventually(t, "the fence", func() bool {
		s, body := call(t, "GET", proxy, "")
		return s == http.StatusServiceUnavailable && strings.Contains(body, `"fenced"`)
	})
	if s, body := call(t, "GET", apiOf(first)+"/readyz", ""); s != http.StatusServiceUnavailable || !strings.Contains(body, "fence_after (2s)") {
		t.Errorf("/readyz of a fenced node = %d %s", s, body)
	}
	var b api.Backend
	if _, body := call(t, "GET", apiOf(first)+"/backends/a", ""); json.Unmarshal([]byte(body), &b) != nil || b.Routable || !strings.Contains(body, `"fence"`) {
		t.Errorf("on a fenced node the backend is %s", body)
	}
	close(release)
	if s := <-slow; s != http.StatusOK {
		t.Errorf("the request that ran = %d, want 200", s)
	}

	// A node that starts has no lease before a leader gives it one.
	cfg.Join = nil
	again, err := New(cfg, testOptions())
	if err != nil {
		t.Fatal(err)
	}
	if !again.proxy.Set().Fenced() {
		t.Error("after a restart the node is not fenced although nobody has confirmed it")
	}
	if err := again.cleanup.close(); err != nil {
		t.Error(err)
	}
	third, _ := runNode(t, cfg)
	for _, n := range []*Node{first, third} {
		eventually(t, "an answer of "+n.ID()+" once there is a quorum again", serves(t, n))
		eventually(t, "readiness of "+n.ID(), func() bool { s, _ := call(t, "GET", apiOf(n)+"/readyz", ""); return s == http.StatusOK })
	}
	putAll(t, first, "/settings", `{}`)
	eventually(t, "no fence on "+third.ID(), func() bool { return third.fence.current().After == 0 })
}

func TestFenceOver(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		since, after time.Duration
		want         bool
	}{
		{5 * time.Second, 5 * time.Second, false},
		{6 * time.Second, 5 * time.Second, false}, // a tenth and half a second for clocks of another pace
		{6*time.Second + 1, 5 * time.Second, true},
		{time.Second, time.Minute, false},
	} {
		if got := fenceOver(tt.since, tt.after); got != tt.want {
			t.Errorf("fenceOver(%s, %s) = %v, want %v", tt.since, tt.after, got, tt.want)
		}
	}
}

// Of two promises of a node that of the newer settings holds, and only news is told on.
func TestPromises(t *testing.T) {
	t.Parallel()
	p := newPromises()
	var told []string
	p.broadcast = func(b []byte) { told = append(told, string(b)) }
	p.note("n1", 7)
	for _, msg := range []string{`{"n1":5,"n2":3}`, `{"n2":3}`, `{"n2":9}`} {
		if err := p.Merge([]byte(msg)); err != nil {
			t.Fatal(err)
		}
	}
	if a, b := p.of("n1").index, p.of("n2").index; a != 7 || b != 9 || p.of("n3").index != 0 {
		t.Errorf("promises of n1 and n2 are %d and %d, want 7 and 9", a, b)
	}
	if got, want := strings.Join(told, " "), `{"n1":7} {"n2":3} {"n2":9}`; got != want {
		t.Errorf("told %s, want %s", got, want)
	}
	full, err := p.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	q := newPromises()
	if err := q.Merge(full); err != nil || q.of("n2").index != 9 {
		t.Errorf("a full state merged = %v, %+v", err, q.by)
	}
	if err := q.Merge([]byte(`[1]`)); err == nil {
		t.Error("nonsense was merged")
	}
}

func FuzzPromises_Merge(f *testing.F) {
	f.Add([]byte(`{"n1":5}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, b []byte) {
		p := newPromises()
		if p.Merge(b) != nil {
			return
		}
		full, err := p.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		q := newPromises()
		if err := q.Merge(full); err != nil || len(q.by) != len(p.by) {
			t.Errorf("the full state %s merges into %d promises, want %d: %v", full, len(q.by), len(p.by), err)
		}
	})
}

func TestMarksFile(t *testing.T) {
	t.Parallel()
	f := marksFile{filepath.Join(t.TempDir(), "marks.json")}
	if m, err := f.load(); err != nil || m != (marks{}) {
		t.Errorf("without a file: %+v, %v", m, err)
	}
	want := marks{Drained: true, Fence: promise{Index: 7, After: state.Duration(5 * time.Second)}}
	if err := f.save(want); err != nil {
		t.Fatal(err)
	}
	if m, err := f.load(); err != nil || m != want {
		t.Errorf("load = %+v, %v, want %+v", m, err, want)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(f.path), ".marks-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if err := (marksFile{filepath.Join(t.TempDir(), "no", "marks.json")}).save(want); err == nil {
		t.Error("a file in a directory that is not there was saved")
	}
	if err := f.write([]byte("{")); err != nil {
		t.Fatal(err)
	}
	if _, err := f.load(); err == nil || !strings.Contains(err.Error(), "marks.json") {
		t.Errorf("half a file = %v", err)
	}
}
