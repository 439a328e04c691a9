package node

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lbnode/lbnode/api"
)

// threeNodes runs a cluster of three and returns it once all vote.
func threeNodes(t *testing.T) []*Node {
	t.Helper()
	all, _ := startThree(t)
	return all
}

// startThree is threeNodes, with what stops each of them.
func startThree(t *testing.T) (all []*Node, stops []func()) {
	t.Helper()
	first, stop := runNode(t, testConfig(t, "n1"))
	all, stops = []*Node{first}, []func(){stop}
	for _, name := range []string{"n2", "n3"} {
		cfg := testConfig(t, name)
		cfg.Join = []string{first.ClusterAddr()}
		n, stop := runNode(t, cfg)
		all, stops = append(all, n), append(stops, stop)
	}
	for _, n := range all {
		eventually(t, "three voters on "+n.ID(), func() bool { return len(n.cluster.Voters()) == 3 && len(n.cluster.Live()) == 3 })
	}
	return all, stops
}

func apiOf(n *Node) string { return "http://" + n.APIAddr().String() }

// begun is how often requests were started on a backend, on all nodes.
func begun(all []*Node, id string) (sum uint64) {
	for _, n := range all {
		s := n.requests.Snapshot(n.ID()).Backends[id]
		sum += s.Summary().Requests + uint64(s.Summary().ActiveRequests)
	}
	return sum
}

// loadPause is between two requests of one client: the nodes shall be busy, not starved.
const loadPause = time.Millisecond

// load sends requests to every node until the returned function is called, which also says how many failed.
func load(all []*Node, perNode int) (stop func() (failed int64)) {
	var wg sync.WaitGroup
	var failures atomic.Int64
	done := make(chan struct{})
	transport := &http.Transport{MaxIdleConnsPerHost: perNode}
	client := &http.Client{Transport: transport}
	for _, n := range all {
		target := "http://" + n.ProxyAddrs()[0].String() + "/"
		for range perNode {
			wg.Go(func() {
				pace := time.NewTicker(loadPause)
				defer pace.Stop()
				for {
					select {
					case <-done:
						return
					case <-pace.C:
					}
					resp, err := client.Get(target)
					if err != nil {
						failures.Add(1)
						continue
					}
					_, _ = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
					if resp.StatusCode != http.StatusOK {
						failures.Add(1)
					}
				}
			})
		}
	}
	return func() int64 {
		close(done)
		wg.Wait()
		transport.CloseIdleConnections()
		return failures.Load()
	}
}

// led makes a POST, again while the cluster has no leader: a busy machine may hold one up.
func led(t *testing.T, url string) (status int, body string) {
	t.Helper()
	eventually(t, "a leader", func() bool {
		status, body = call(t, "POST", url, "")
		return status != http.StatusServiceUnavailable
	})
	return status, body
}

// Once wait=applied is answered 200, no node starts a request on the backend: the starts of all three nodes
// under load are the same before and after many more requests. And wait=idle means that the backend sees none.
func TestDrain_nothingStartsAfterApplied(t *testing.T) {
	t.Parallel()
	const drains = 200
	all := threeNodes(t)
	var onA atomic.Int64 // requests that backend a holds
	var seenA, seenB atomic.Int64
	a := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		onA.Add(1)
		defer onA.Add(-1)
		seenA.Add(1)
	}))
	defer a.Close()
	b := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { seenB.Add(1) }))
	defer b.Close()
	for _, c := range [][2]string{
		{"/pools/p", `{"initial":"up","health":{"type":"none"}}`},
		{"/backends/a", fmt.Sprintf(`{"address":%q,"pool":"p"}`, a.Listener.Addr())},
		{"/backends/b", fmt.Sprintf(`{"address":%q,"pool":"p"}`, b.Listener.Addr())},
		{"/routes/r", `{"match":{"path":"/"},"backend_pool":"p"}`},
	} {
		if s, body := call(t, "PUT", apiOf(all[0])+c[0], c[1]); s != http.StatusCreated && s != http.StatusOK {
			t.Fatalf("PUT %s = %d %s", c[0], s, body)
		}
	}
	for _, n := range all {
		eventually(t, "the route on "+n.ID(), func() bool {
			s, _ := call(t, "GET", "http://"+n.ProxyAddrs()[0].String()+"/", "")
			return s == http.StatusOK
		})
	}
	stop := load(all, 4)
	for i := range drains {
		n := all[i%len(all)]
		level := api.WaitApplied
		if i%10 == 9 {
			level = api.WaitIdle
		}
		s, body := led(t, apiOf(n)+"/backends/a/disable?wait="+level+"&timeout=10s")
		atReturn, seen, held := begun(all, "a"), seenA.Load(), onA.Load()
		var got api.WaitResult
		if err := json.Unmarshal([]byte(body), &got); err != nil || s != http.StatusOK || len(got.Confirmed) != 3 {
			t.Fatalf("drain %d: disable?wait=%s on %s = %d %s, want 200 and three nodes", i, level, n.ID(), s, body)
		}
		was := seenB.Load()
		eventually(t, "more requests", func() bool { return seenB.Load() > was+60 })
		if now := begun(all, "a"); now != atReturn {
			t.Fatalf("drain %d: %d requests were started on the backend after wait=%s was answered", i, now-atReturn, level)
		}
		if level == api.WaitIdle && (held != 0 || seenA.Load() != seen) {
			t.Fatalf("drain %d: the backend held %d and got %d more requests after wait=idle was answered", i, held, seenA.Load()-seen)
		}
		if s, body := led(t, apiOf(n)+"/backends/a/enable?wait=applied&timeout=10s"); s != http.StatusOK {
			t.Fatalf("drain %d: enable = %d %s", i, s, body)
		}
		before := seenA.Load()
		eventually(t, "traffic on the backend", func() bool { return seenA.Load() > before })
	}
	if failed := stop(); failed > 0 {
		t.Errorf("%d requests failed while backends were drained, want none", failed)
	}
}

// A request that runs keeps wait=idle from being reached; the answer counts it, and the drain goes on.
func TestDrain_idleWaitsForWhatRuns(t *testing.T) {
	t.Parallel()
	release, arrived := make(chan struct{}), make(chan struct{}, 1)
	backend := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		arrived <- struct{}{}
		<-release
	}))
	defer backend.Close()
	n, _ := runNode(t, testConfig(t, "one"))
	eventually(t, "readiness", func() bool { s, _ := call(t, "GET", apiOf(n)+"/readyz", ""); return s == http.StatusOK })
	for _, c := range [][2]string{
		{"/pools/p", `{"initial":"up","health":{"type":"none"}}`},
		{"/backends/a", fmt.Sprintf(`{"address":%q,"pool":"p"}`, backend.Listener.Addr())},
		{"/routes/r", `{"match":{"path":"/"},"backend_pool":"p"}`},
	} {
		if s, body := call(t, "PUT", apiOf(n)+c[0], c[1]); s != http.StatusCreated && s != http.StatusOK {
			t.Fatalf("PUT %s = %d %s", c[0], s, body)
		}
	}
	if s, body := call(t, "POST", apiOf(n)+"/backends/a/enable?wait=applied", ""); s != http.StatusOK {
		t.Fatalf("enable = %d %s", s, body)
	}
	served := make(chan int, 1)
	go func() {
		s, _ := call(t, "GET", "http://"+n.ProxyAddrs()[0].String()+"/", "")
		served <- s
	}()
	<-arrived
	for path, status := range map[string]int{"/backends/a/disable?wait=applied": http.StatusOK, "/backends/a/disable?wait=idle&timeout=50ms": http.StatusAccepted} {
		s, body := call(t, "POST", apiOf(n)+path, "")
		var got api.WaitResult
		if err := json.Unmarshal([]byte(body), &got); err != nil || s != status || got.InFlight != 1 {
			t.Errorf("%s = %d %s, want %d and one request in flight", path, s, body, status)
		}
	}
	close(release)
	if s := <-served; s != http.StatusOK {
		t.Errorf("the request that was running = %d, want 200", s)
	}
	if s, body := call(t, "GET", apiOf(n)+"/backends/a/wait?wait=idle&timeout=10s", ""); s != http.StatusOK {
		t.Errorf("wait after the request's end = %d %s, want 200", s, body)
	}
	// Who waited and then looks sees what was waited for.
	var b api.Backend
	if _, body := call(t, "GET", apiOf(n)+"/backends/a", ""); json.Unmarshal([]byte(body), &b) != nil || b.NodeState != "stopped" {
		t.Errorf("after wait=idle the backend shows %q, want stopped", b.NodeState)
	}
}
