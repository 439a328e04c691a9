package e2e

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// canInject says whether system calls of a running node can be made to fail here.
func canInject() bool {
	_, err := exec.LookPath("strace")
	return err == nil && os.Geteuid() == 0
}

// failDisk makes system calls of the running process fail from now on, as strace -e inject says, and waits until
// the process has given up for that. It returns when the process is gone.
func (n *node) failDisk(fault string) {
	n.t.Helper()
	release := n.inject(fault)
	eventually(n.t, formTime, n.name+" gives up in this life", func() error {
		if log := n.logSince(); !strings.Contains(log, "lbnode: raft store failed") {
			return fmt.Errorf("its log:\n%s", log)
		}
		return nil
	})
	release() // a call that is held cannot end, nor can its process
	if code := n.wait(formTime); code == 0 {
		n.t.Errorf("%s ended with code 0", n.name)
	}
}

// inject makes system calls of the running process fail until release.
func (n *node) inject(fault string) (release func()) {
	n.t.Helper()
	n.note("inject " + fault)
	call, _, _ := strings.Cut(fault, ":")
	cmd := exec.Command("strace", "-f", "-o", "/dev/null", "-e", "trace="+call, "-e", "inject="+fault, "-p", strconv.Itoa(n.cmd.Process.Pid))
	cmd.SysProcAttr = childAttr()
	says, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		n.t.Fatalf("strace: %v", err)
	}
	release = sync.OnceFunc(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	n.t.Cleanup(release)
	lines := bufio.NewScanner(says)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "attached") {
			go func() {
				for lines.Scan() { // it must not block
				}
			}()
			return release
		}
	}
	n.t.Fatalf("strace did not attach to %s", n.name)
	return release
}

// A disk that fails or hangs ends the node that it is under, and nobody else: an unconfirmed write counts as
// unknown, the others go on within seconds, and the node comes back with what it has.
func TestDisk_faults(t *testing.T) {
	t.Parallel()
	if !canInject() {
		t.Skip("needs root and strace to make system calls fail")
	}
	for _, tc := range []struct {
		name, fault, says string
		within            time.Duration // until the others take writes, beside what a busy machine adds
	}{
		{"fsync error", "fdatasync:error=EIO", "input/output error", time.Second},
		{"hang", "fdatasync:delay_enter=60000000", "did not return within", 5 * time.Second},
		{"no space", "pwrite64:error=ENOSPC", "no space left", time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, 3)
			c.serve(2)
			put(t, c.nodes[0], "before", formTime)
			leader := c.leader()
			rest := c.except(leader)
			l := startLoad(t, "/", rest...)
			l.more(t, 20, rest...)
			release := leader.inject(tc.fault)
			took := put(t, rest[0], "other-leader", formTime)
			t.Logf("%s: write again after %s", tc.name, took.Round(time.Millisecond))
			if took > tc.within+5*time.Second {
				t.Errorf("write again after %s, want %s", took, tc.within)
			}
			leader.logged(formTime, "lbnode: raft store failed", tc.says)
			release() // a call that is held cannot end, nor can its process
			if code := leader.wait(formTime); code == 0 {
				t.Errorf("%s ended with code 0", leader.name)
			}
			l.more(t, 20, rest...)
			leader.start()
			c.formed(c.nodes...)
			l.stop()
			l.wantAtMost(t, 0, time.Time{}, rest...)
			for _, n := range c.nodes {
				n.must(200, http.MethodGet, "/frontends/other-leader?consistency=linearizable", nil)
			}
			put(t, leader, fmt.Sprintf("back-%d", len(c.nodes)), formTime)
			c.same()
		})
	}
}
