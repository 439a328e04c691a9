package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// child is a process that this run has started and will end.
type child struct {
	name  string
	cmd   *exec.Cmd
	log   string        // file that its output goes to
	ended chan struct{} // closed when it has ended
	proc  procFS
}

// spawn starts argv on the given cores, with its output in a log below dir.
func spawn(dir, name string, cpus []int, argv ...string) (*child, error) {
	c := &child{name: name, log: filepath.Join(dir, name+".log"), ended: make(chan struct{}), proc: procFS{"/proc"}}
	out, err := os.Create(c.log)
	if err != nil {
		return nil, err
	}
	defer out.Close() // the child has its own copy
	c.cmd = exec.Command(argv[0], argv[1:]...)
	c.cmd.Stdout, c.cmd.Stderr = out, out
	if err := startPinned(c.cmd, cpus); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		_ = c.cmd.Wait() // how it ended shows in its log
		close(c.ended)
	}()
	return c, nil
}

// pids are the process and its descendants.
func (c *child) pids() []int { return c.proc.family(c.cmd.Process.Pid) }

func (c *child) running() bool {
	select {
	case <-c.ended:
		return false
	default:
		return true
	}
}

// stop ends the child and its descendants, politely at first, and returns when it is gone.
func (c *child) stop() {
	if !c.running() {
		return
	}
	family := c.pids()
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.ended:
		return
	case <-time.After(3 * time.Second):
	}
	for _, pid := range family[1:] {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	_ = c.cmd.Process.Kill()
	<-c.ended
}

// lastWords is the end of the child's log, for an error about it.
func (c *child) lastWords() string {
	b, _ := os.ReadFile(c.log)
	s := strings.TrimSpace(string(b))
	if len(s) > 600 {
		s = "… " + s[len(s)-600:]
	}
	if s == "" {
		return "(it printed nothing)"
	}
	return s
}

// freePorts returns n different ports that nobody listens on, over TCP or UDP, on 127.0.0.1.
func freePorts(n int) ([]int, error) {
	var ports []int
	var held []net.Listener
	defer func() {
		for _, l := range held {
			l.Close()
		}
	}()
	for range 10 * n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		held = append(held, l) // until all are found, so that none comes twice
		u, err := net.ListenPacket("udp", l.Addr().String())
		if err != nil {
			continue
		}
		u.Close()
		if ports = append(ports, l.Addr().(*net.TCPAddr).Port); len(ports) == n {
			return ports, nil
		}
	}
	return nil, errors.New("no free ports on 127.0.0.1")
}

// poll calls f until it returns nil, ctx ends, or the time is over; then the last error is returned.
func poll(ctx context.Context, limit time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := f(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("after %s: %w", limit, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
