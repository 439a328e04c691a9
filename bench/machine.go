package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
)

// machine is what a reader has to know about where figures come from.
type machine struct {
	CPU, OS, Kernel, Go string
	CPUs                int
	MemoryGiB           float64
	Congestion          string  // TCP congestion control
	Load                float64 // average of the last minute before the run: other work
}

// describeMachine reads /proc and /etc; what is not there stays empty.
func describeMachine() machine {
	m := machine{Go: runtime.Version(), CPUs: runtime.NumCPU()}
	m.CPU = cpuModel(readText("/proc/cpuinfo"))
	m.OS = prettyName(readText("/etc/os-release"))
	m.Kernel = readText("/proc/sys/kernel/osrelease")
	m.Congestion = readText("/proc/sys/net/ipv4/tcp_congestion_control")
	if kib, err := field([]byte(readText("/proc/meminfo")), "MemTotal:"); err == nil {
		m.MemoryGiB = float64(kib) / (1 << 20)
	}
	first, _, _ := strings.Cut(readText("/proc/loadavg"), " ")
	m.Load, _ = strconv.ParseFloat(first, 64)
	return m
}

func readText(file string) string {
	b, _ := os.ReadFile(file)
	return strings.TrimSpace(string(b))
}

func cpuModel(cpuinfo string) string {
	for line := range strings.Lines(cpuinfo) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
			return strings.TrimSpace(v)
		}
	}
	return runtime.GOARCH
}

func prettyName(release string) string {
	for line := range strings.Lines(release) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); ok {
			return strings.Trim(v, `"`)
		}
	}
	return runtime.GOOS
}

// String is one line.
func (m machine) String() string {
	return fmt.Sprintf("%s, %d CPUs, %.0f GiB, %s, Linux %s, TCP %s, %s", m.CPU, m.CPUs, m.MemoryGiB, m.OS, m.Kernel, m.Congestion, m.Go)
}
