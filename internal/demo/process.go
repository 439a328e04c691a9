package demo

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// process is one child: a node or a sample backend. It is started again when somebody kills it, which is
// what the demo invites people to do.
type process struct {
	name string
	args []string
	log  string // file that its output is added to

	mu    sync.Mutex
	cmd   *exec.Cmd
	ended chan struct{} // closed when cmd has ended
}

// restartAfter is how long a killed child stays down, so that people see what its absence does.
const restartAfter = 10 * time.Second

func (p *process) start() error {
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close() // the child has its own copy
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(exe, p.args...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = childAttr()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	ended := make(chan struct{})
	p.mu.Lock()
	p.cmd, p.ended = cmd, ended
	p.mu.Unlock()
	go func() {
		_ = cmd.Wait() // how a child ended shows in its log
		close(ended)
	}()
	return nil
}

// pid is the running process, or 0.
func (p *process) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.ended:
		return 0
	default:
		return p.cmd.Process.Pid
	}
}

// supervise starts the child again, a while after it has ended, until ctx ends. Then it stops it.
func (p *process) supervise(ctx context.Context, say func(string, ...any)) {
	for {
		p.mu.Lock()
		ended := p.ended
		p.mu.Unlock()
		select {
		case <-ctx.Done():
			p.stop()
			return
		case <-ended:
		}
		say("%s has ended; it is started again in %s", p.name, restartAfter)
		select {
		case <-ctx.Done():
			return
		case <-time.After(restartAfter):
		}
		if err := p.start(); err != nil {
			say("%v", err)
			return
		}
	}
}

// stop ends the child politely, and after a few seconds by force.
func (p *process) stop() {
	p.mu.Lock()
	cmd, ended := p.cmd, p.ended
	p.mu.Unlock()
	_ = cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		_ = cmd.Process.Kill()
		<-ended
	}
}

// freeAddr returns want if nobody listens there, over TCP or UDP, and otherwise a free loopback address.
func freeAddr(want int) (string, error) {
	for _, port := range []int{want, 0} {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		addr := l.Addr().String()
		u, err := net.ListenPacket("udp", addr)
		l.Close()
		if err != nil {
			continue
		}
		u.Close()
		return addr, nil
	}
	return "", fmt.Errorf("no free port on 127.0.0.1 (wanted %d)", want)
}

func logFile(dir, name string) string { return filepath.Join(dir, name+".log") }
