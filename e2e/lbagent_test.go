package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// output is what a process says, to be read while it runs.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string { o.mu.Lock(); defer o.mu.Unlock(); return o.buf.String() }

// agent is a running lbagent.
type agent struct {
	cmd  *exec.Cmd
	says output
}

// startAgent runs lbagent beside a backend.
func (c *cluster) startAgent(backend, loadURL, stateDir string) *agent {
	c.t.Helper()
	var urls []string
	for _, n := range c.nodes {
		urls = append(urls, "http://"+n.api)
	}
	a := &agent{}
	a.cmd = exec.Command(filepath.Join(binDir, "lbagent"), "--bbb", "off", "--api", strings.Join(urls, ","), "--backend", backend, "--load-url", loadURL,
		"--interval", "1s", "--drain-timeout", "30s", "--state-dir", stateDir)
	a.cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	a.cmd.SysProcAttr = childAttr()
	a.cmd.Stdout, a.cmd.Stderr = &a.says, &a.says
	if err := a.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = a.cmd.Process.Kill(); _ = a.cmd.Wait() })
	return a
}

// term tells the agent to stop, and returns its exit code.
func (a *agent) term(t *testing.T) int {
	t.Helper()
	if err := a.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = a.cmd.Wait() // the code says more
	return a.cmd.ProcessState.ExitCode()
}

// Agents tell all nodes by way of one what their servers' loads are, go on when that node dies, and take their servers
// out of use before they end.
func TestLbagent(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	c.serve(2)
	c.alive()[0].must(2, http.MethodPatch, "/pools/web", map[string]any{"algorithm": "least_load"})
	var loads [2]atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"load":%d}`, loads[r.URL.Path[len(r.URL.Path)-1]-'1'].Load())
	}))
	defer srv.Close()
	loads[0].Store(1000)
	dir := t.TempDir()
	first := c.startAgent("b1", srv.URL+"/b1", dir)
	c.startAgent("b2", srv.URL+"/b2", t.TempDir())
	only := func(id string) {
		t.Helper()
		for _, n := range c.alive() {
			eventually(t, time.Minute, n.name+" sends everything to "+id, func() error {
				for range 20 {
					a, err := n.get("/")
					if err != nil || a.header.Get(backendHeader) != id {
						return fmt.Errorf("%s from %q, %v\nagent: %s", a, a.header.Get(backendHeader), err, first.says.String())
					}
				}
				return nil
			})
		}
	}
	only("b2")

	c.nodes[0].kill() // the one that both agents ask
	loads[0].Store(0)
	loads[1].Store(1000)
	only("b1")

	if code := first.term(t); code != 0 {
		t.Errorf("the agent ends with code %d, want 0:\n%s", code, first.says.String())
	}
	n := c.alive()[0]
	if b, err := n.backend("b1"); err != nil || b.AdminState != "stopped" || !b.Drained {
		t.Errorf("after the agent has ended: %+v, %v", b, err)
	}
	only("b2")
	again := c.startAgent("b1", srv.URL+"/b1", dir)
	eventually(t, time.Minute, "the agent enables what it has disabled", func() error {
		b, err := n.backend("b1")
		if err == nil && b.AdminState != "ready" {
			err = fmt.Errorf("b1 is %s\nagent: %s", b.AdminState, again.says.String())
		}
		return err
	})
	c.nodes[0].start()
	only("b1")
	c.same()
}
