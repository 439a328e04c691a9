package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lbnode/lbnode/state"
)

// terminal is a pseudo-terminal with lbctl running on it as a process of its own.
type terminal struct {
	t      *testing.T
	master *os.File
	cmd    *exec.Cmd
	screen string // all that was written to it so far
}

// openTerminal opens a pseudo-terminal, see pty(7), that wide.
func openTerminal(t *testing.T, cols uint16) (master, slave *os.File) {
	t.Helper()
	// Not blocking, so that reads have deadlines.
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	master = os.NewFile(uintptr(fd), "/dev/ptmx")
	t.Cleanup(func() { master.Close() })
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err := errors.Join(err, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)); err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: cols}); err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return master, slave
}

// onTerminal starts lbctl on a terminal that it is the foreground process of.
func (w *world) onTerminal(cols uint16, line string) *terminal {
	w.t.Helper()
	self, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	master, slave := openTerminal(w.t, cols)
	defer slave.Close()
	cmd := exec.Command(self, split(line)[1:]...)
	cmd.Env = append([]string{envMain + "=1"}, w.env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	term := &terminal{t: w.t, master: master, cmd: cmd}
	w.t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	return term
}

// until reads what lbctl writes until that is on the screen.
func (tt *terminal) until(text string) {
	tt.t.Helper()
	tt.read(func() bool { return strings.Contains(tt.screen, text) })
	if !strings.Contains(tt.screen, text) {
		tt.t.Fatalf("the terminal shows %q, want %q", tt.screen, text)
	}
}

// end reads the rest and returns the exit code.
func (tt *terminal) end() int {
	tt.t.Helper()
	tt.read(func() bool { return false })
	_ = tt.cmd.Wait() // the exit code says it all
	return tt.cmd.ProcessState.ExitCode()
}

func (tt *terminal) read(enough func() bool) {
	tt.t.Helper()
	if err := tt.master.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		tt.t.Fatal(err)
	}
	buf := make([]byte, 4096)
	for !enough() {
		n, err := tt.master.Read(buf)
		tt.screen += string(buf[:n])
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, syscall.EIO): // nobody has the slave open any more
			return
		case err != nil:
			tt.t.Fatalf("after %q: %v", tt.screen, err)
		}
	}
}

// On a terminal the progress of a drain is drawn over itself; Ctrl-C ends lbctl, not the drain, and says so.
func TestTerminal_interruptedDrain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must("lbctl add backend a:1 --id b1")
	w.inFlight("b1", 3)()
	tt := w.onTerminal(200, "lbctl disable backend b1 --wait idle --timeout 5m")
	tt.until("\r\x1b[Kwaiting: b1: 3 requests in flight")
	w.inFlight("b1", 1)()
	tt.until("\r\x1b[Kwaiting: b1: 1 request in flight")
	if _, err := tt.master.WriteString("\x03"); err != nil { // Ctrl-C: the kernel makes it SIGINT
		t.Fatal(err)
	}
	if code := tt.end(); code != exitUnknown {
		t.Errorf("exit %d, want %d; the terminal shows %q", code, exitUnknown, tt.screen)
	}
	const farewell = "\r\x1b[Klbctl: interrupted: backend b1 is not yet idle: 1 request in flight; the drain goes on, `lbctl show backend b1` shows how far it is\r\n"
	if !strings.HasPrefix(tt.screen, "disabled backend: b1 (3 requests in flight)\r\n") || !strings.HasSuffix(tt.screen, farewell) || strings.Count(tt.screen, "\n") != 2 {
		t.Errorf("the terminal shows %q, want one line of progress, ending in %q", tt.screen, farewell)
	}
	if b, _ := w.store.View().Backend("b1"); b.AdminState != state.AdminStopped {
		t.Errorf("admin_state = %s, want stopped", b.AdminState)
	}
}

// The line of progress is gone when the drain is over, and never wraps.
func TestTerminal_narrow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must("lbctl add backend a:1 --id b1")
	w.inFlight("b1", 3)()
	tt := w.onTerminal(20, "lbctl disable backend b1 --wait idle --timeout 5m")
	tt.until("\r\x1b[Kwaiting: b1: 3 requ")
	w.drained("b1")()
	if code := tt.end(); code != exitDone {
		t.Errorf("exit %d, want %d; the terminal shows %q", code, exitDone, tt.screen)
	}
	if !strings.HasSuffix(tt.screen, "\r\x1b[Kbackend b1 is idle\r\n") {
		t.Errorf("the terminal shows %q, want what was reached on a line of its own", tt.screen)
	}
	for part := range strings.SplitSeq(tt.screen, "\r\x1b[K") {
		if strings.HasPrefix(part, "waiting") && len(part) > 19 {
			t.Errorf("the line %q wraps on a terminal of 20 columns", part)
		}
	}
}
