package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// maxParallel bounds how many clusters run at once: each is three processes that must keep their election
// timeouts.
const maxParallel = 3

var (
	logsFlag   = flag.String("e2e.logs", "", "directory that keeps every node's log")
	killsFlag  = flag.Int("e2e.kills", 0, "kill the leader this many times under load and print the time to write again")
	engineFlag = flag.String("e2e.engine", "", "value of every node's --engine")
	binFlag    = flag.String("e2e.bin", "", "directory of lbnode and lbctl to test, instead of building them")
)

// binDir is where TestMain has put lbnode and lbctl.
var binDir string

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if n, err := strconv.Atoi(flag.Lookup("test.parallel").Value.String()); err == nil && n > maxParallel {
		if err := flag.Set("test.parallel", strconv.Itoa(maxParallel)); err != nil {
			fmt.Fprintln(os.Stderr, "e2e:", err)
			return 1
		}
	}
	if binDir = *binFlag; binDir == "" {
		dir, err := os.MkdirTemp("", "lbnode-e2e-")
		if err != nil {
			fmt.Fprintln(os.Stderr, "e2e:", err)
			return 1
		}
		defer os.RemoveAll(dir)
		binDir = dir
		if err := build(dir); err != nil {
			fmt.Fprintln(os.Stderr, "e2e:", err)
			return 1
		}
	}
	return m.Run()
}

// build makes the binaries as the Makefile does.
func build(dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", dir+string(filepath.Separator), "./cmd/lbnode", "./cmd/lbctl", "./cmd/lbagent")
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the binaries: %w\n%s", err, out)
	}
	return nil
}

// eventually waits until check returns nil, and fails the test with its last error after within.
func eventually(t testing.TB, within time.Duration, what string, check func() error) {
	t.Helper()
	if err := poll(within, check); err != nil {
		t.Fatalf("%s: not within %s: %v", what, within, err)
	}
}

// poll calls check until it returns nil or the time is up, and returns its last error.
func poll(within time.Duration, check func() error) error {
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-deadline.C:
			return err
		case <-tick.C:
		}
	}
}
