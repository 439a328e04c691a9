package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// node is one lbnode process, or the place of one that is not running.
type node struct {
	t       *testing.T
	name    string
	dir     string // data dir
	api     string // host:port
	proxy   string
	cluster string
	flags   []string // further flags, at every start
	netns   string   // network namespace, "" = the test's own
	logPath string
	scheme  string       // of the admin API
	client  *http.Client // of the admin API
	plain   *http.Client // of the proxy, without kept connections

	cmd    *exec.Cmd
	exited chan struct{} // closed when the process is gone
}

// newNode picks ports and a data dir. It starts nothing.
func newNode(t *testing.T, name string, flags ...string) *node {
	t.Helper()
	n := &node{
		t: t, name: name, dir: filepath.Join(t.TempDir(), name),
		api: freeAddr(t), proxy: freeAddr(t), cluster: freeAddr(t), flags: flags, scheme: "http",
	}
	logs := t.TempDir()
	if *logsFlag != "" {
		logs = filepath.Join(*logsFlag, strings.ReplaceAll(t.Name(), "/", "_"))
		if err := os.MkdirAll(logs, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	n.logPath = filepath.Join(logs, name+".log")
	if err := os.WriteFile(n.logPath, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	n.useDialer((&net.Dialer{Timeout: 3 * time.Second}).DialContext)
	t.Cleanup(func() {
		n.kill()
		if t.Failed() {
			t.Logf("--- last lines of %s:\n%s", n.name, n.tail(40))
		}
	})
	return n
}

// useDialer makes the clients connect with dial.
func (n *node) useDialer(dial func(ctx context.Context, network, addr string) (net.Conn, error)) {
	api := &http.Transport{DialContext: dial, MaxIdleConnsPerHost: 8}
	proxy := &http.Transport{DialContext: dial, DisableKeepAlives: true}
	n.client = &http.Client{Transport: api, Timeout: 30 * time.Second}
	n.plain = &http.Client{Transport: proxy, Timeout: 30 * time.Second}
	n.t.Cleanup(api.CloseIdleConnections)
}

func (n *node) args() []string {
	args := []string{
		filepath.Join(binDir, "lbnode"), "--name", n.name, "--data-dir", n.dir,
		"--api-addr", n.api, "--proxy-addr", n.proxy, "--cluster-addr", n.cluster,
	}
	if *engineFlag != "" {
		args = append(args, "--engine", *engineFlag)
	}
	args = append(args, n.flags...)
	if n.netns != "" {
		args = append([]string{"ip", "netns", "exec", n.netns}, args...)
	}
	return args
}

// start runs the process. It does not wait for anything.
func (n *node) start() {
	n.t.Helper()
	if n.running() {
		n.t.Fatalf("%s is running already", n.name)
	}
	log, err := os.OpenFile(n.logPath, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		n.t.Fatal(err)
	}
	defer log.Close()
	args := n.args()
	fmt.Fprintf(log, "--- %s start: %s\n", time.Now().Format(time.RFC3339Nano), strings.Join(args[1:], " "))
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = log, log, childAttr()
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LBNODE_DISK_RESERVE=1MiB", "LBNODE_DRAIN_DELAY=0s"}
	if err := cmd.Start(); err != nil {
		n.t.Fatalf("start %s: %v", n.name, err)
	}
	exited := make(chan struct{})
	n.cmd, n.exited = cmd, exited
	go func() {
		_ = cmd.Wait() // the exit code is read from ProcessState
		close(exited)
	}()
}

func (n *node) running() bool {
	if n.cmd == nil {
		return false
	}
	select {
	case <-n.exited:
		return false
	default:
		return true
	}
}

func (n *node) signal(s syscall.Signal) {
	n.t.Helper()
	n.note("signal " + s.String())
	if err := n.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		n.t.Fatalf("%s to %s: %v", s, n.name, err)
	}
}

// pause freezes the process as a whole, resume lets it go on.
func (n *node) pause()  { n.t.Helper(); n.signal(syscall.SIGSTOP) }
func (n *node) resume() { n.t.Helper(); n.signal(syscall.SIGCONT) }

// note writes a line of the test's into the node's log, so that causes stand beside effects.
func (n *node) note(what string) {
	if f, err := os.OpenFile(n.logPath, os.O_APPEND|os.O_WRONLY, 0); err == nil {
		fmt.Fprintf(f, "--- %s %s\n", time.Now().Format(time.RFC3339Nano), what)
		f.Close()
	}
}

// kill is kill -9. It returns when the process is gone.
func (n *node) kill() {
	if !n.running() {
		return
	}
	n.note("kill -9")
	_ = n.cmd.Process.Kill() // fails only for a process that is gone
	<-n.exited
	n.client.CloseIdleConnections()
}

// wait returns the exit code of a process that ends by itself or by a signal before.
func (n *node) wait(within time.Duration) int {
	n.t.Helper()
	select {
	case <-n.exited:
		n.client.CloseIdleConnections()
		return n.cmd.ProcessState.ExitCode()
	case <-time.After(within):
		n.t.Fatalf("%s has not ended within %s; its log:\n%s", n.name, within, n.tail(30))
		return -1
	}
}

// term ends the process with SIGTERM and wants exit code 0.
func (n *node) term(within time.Duration) {
	n.t.Helper()
	n.signal(syscall.SIGTERM)
	if code := n.wait(within); code != 0 {
		n.t.Fatalf("%s ended with code %d on SIGTERM, want 0; its log:\n%s", n.name, code, n.tail(30))
	}
}

func (n *node) log() string {
	b, err := os.ReadFile(n.logPath)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// logSince is what was logged after the last start.
func (n *node) logSince() string {
	s := n.log()
	return s[strings.LastIndex(s, " start: "):]
}

func (n *node) tail(lines int) string {
	all := strings.Split(strings.TrimRight(n.log(), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// logged waits for a log line that holds all the words.
func (n *node) logged(within time.Duration, words ...string) {
	n.t.Helper()
	eventually(n.t, within, fmt.Sprintf("%s logs a line with %q", n.name, words), func() error {
		for line := range strings.Lines(n.log()) {
			if !strings.HasPrefix(line, "---") && containsAll(line, words) {
				return nil
			}
		}
		return fmt.Errorf("the log ends in:\n%s", n.tail(15))
	})
}

func containsAll(s string, words []string) bool {
	s = strings.ToLower(s)
	for _, w := range words {
		if !strings.Contains(s, strings.ToLower(w)) {
			return false
		}
	}
	return true
}
