package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// procFS reads what the kernel says about processes. Root is /proc; tests have one of their own.
type procFS struct{ root string }

// family returns pid and all its descendants.
func (p procFS) family(pid int) []int {
	children := map[int][]int{}
	stats, _ := filepath.Glob(filepath.Join(p.root, "[0-9]*", "stat"))
	for _, file := range stats {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // it ended meanwhile
		}
		child, parent, err := parseStat(string(b))
		if err == nil {
			children[parent] = append(children[parent], child)
		}
	}
	all := []int{pid}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all
}

// parseStat reads pid and parent from /proc/PID/stat, whose second field may hold spaces and parentheses.
func parseStat(s string) (pid, parent int, err error) {
	open, end := strings.IndexByte(s, '('), strings.LastIndexByte(s, ')')
	if open < 0 || end < open {
		return 0, 0, fmt.Errorf("stat %q has no command", s)
	}
	if pid, err = strconv.Atoi(strings.TrimSpace(s[:open])); err != nil {
		return 0, 0, fmt.Errorf("stat: %w", err)
	}
	rest := strings.Fields(s[end+1:])
	if len(rest) < 2 {
		return 0, 0, fmt.Errorf("stat %q is short", s)
	}
	if parent, err = strconv.Atoi(rest[1]); err != nil {
		return 0, 0, fmt.Errorf("stat: %w", err)
	}
	return pid, parent, nil
}

// cpuTime is what the processes have spent on a core since they began, all threads, to the nanosecond. (The clock
// ticks of /proc/PID/stat are 10 ms and miss short slices.)
func (p procFS) cpuTime(pids []int) (time.Duration, error) {
	var sum time.Duration
	for _, pid := range pids {
		files, _ := filepath.Glob(filepath.Join(p.root, strconv.Itoa(pid), "task", "*", "schedstat"))
		if len(files) == 0 {
			return 0, fmt.Errorf("process %d has ended", pid)
		}
		for _, file := range files {
			b, err := os.ReadFile(file)
			if errors.Is(err, os.ErrNotExist) {
				continue // a thread that ended meanwhile
			}
			if err != nil {
				return 0, err
			}
			first, _, _ := strings.Cut(string(b), " ")
			ns, err := strconv.ParseInt(first, 10, 64)
			if err != nil {
				return 0, fmt.Errorf("%s: %w", file, err)
			}
			sum += time.Duration(ns)
		}
	}
	return sum, nil
}

// memory is the proportional set size of the processes in bytes: what they use, with pages that they share counted
// once.
func (p procFS) memory(pids []int) (int64, error) {
	var sum int64
	for _, pid := range pids {
		b, err := os.ReadFile(filepath.Join(p.root, strconv.Itoa(pid), "smaps_rollup"))
		if err != nil {
			return 0, err
		}
		kib, err := field(b, "Pss:")
		if err != nil {
			return 0, fmt.Errorf("memory of process %d: %w", pid, err)
		}
		sum += kib << 10
	}
	return sum, nil
}

// field returns the number that follows a name at the start of a line.
func field(b []byte, name string) (int64, error) {
	for sc := bufio.NewScanner(bytes.NewReader(b)); sc.Scan(); {
		f := strings.Fields(sc.Text())
		if len(f) >= 2 && f[0] == name {
			return strconv.ParseInt(f[1], 10, 64)
		}
	}
	return 0, fmt.Errorf("no %s", name)
}
