package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// startPinned starts cmd on the given cores, none = anywhere. The child, and all its threads from the first
// instruction on, inherit the affinity of the thread that starts it.
func startPinned(cmd *exec.Cmd, cpus []int) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if len(cpus) == 0 {
		return cmd.Start()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return fmt.Errorf("read affinity: %w", err)
	}
	want := cpuSet(cpus)
	if err := unix.SchedSetaffinity(0, &want); err != nil {
		return fmt.Errorf("pin to cores %v: %w", cpus, err)
	}
	err := cmd.Start()
	if restore := unix.SchedSetaffinity(0, &before); err == nil {
		err = restore
	}
	return err
}

// pinSelf keeps the runner off the proxies' cores.
func pinSelf(cpus []int) error {
	if len(cpus) == 0 {
		return nil
	}
	want := cpuSet(cpus)
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, t := range threads {
		tid, err := strconv.Atoi(t.Name())
		if err != nil {
			continue
		}
		if err := unix.SchedSetaffinity(tid, &want); err != nil {
			return fmt.Errorf("pin the runner to cores %v: %w", cpus, err)
		}
	}
	return nil
}

func cpuSet(cpus []int) unix.CPUSet {
	var s unix.CPUSet
	for _, c := range cpus {
		s.Set(c)
	}
	return s
}

// raiseFileLimit lets this process and its children open as many files as the hard limit allows, and returns that.
// An explicit Setrlimit also stops the Go runtime from giving children the lower limit that it was started with.
func raiseFileLimit() (int, error) {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		return 0, err
	}
	r.Cur = r.Max
	if err := syscall.Setrlimit(unix.RLIMIT_NOFILE, &syscall.Rlimit{Cur: r.Cur, Max: r.Max}); err != nil {
		return 0, err
	}
	return int(min(r.Cur, 1<<20)), nil
}
