package main

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseOutcome(t *testing.T) {
	t.Parallel()
	const line = "n=1000 due=1001 errors=1 reconnects=2 seconds=2.001 p50=130.2 p99=402.8 p999=911.0 max=3022.1 wrong=503"
	got, err := parseOutcome(line)
	want := outcome{N: 1000, Due: 1001, Errors: 1, Reconnects: 2, Wrong: 503, Seconds: 2.001, P50: 130.2, P99: 402.8, P999: 911, Max: 3022.1}
	if err != nil || got != want {
		t.Errorf("parseOutcome(%q) = %+v, %v, want %+v", line, got, err, want)
	}
	for _, bad := range []string{"", "ready", "n=1", line + " x", line + " y=", line[:len(line)-10]} {
		if got, err := parseOutcome(bad); err == nil {
			t.Errorf("parseOutcome(%q) = %+v, want an error", bad, got)
		}
	}
}

func FuzzParseOutcome(f *testing.F) {
	f.Add("n=1 due=1 errors=0 reconnects=0 seconds=1 p50=1 p99=1 p999=1 max=1 wrong=0")
	f.Add("n== due=NaN")
	f.Fuzz(func(t *testing.T, line string) {
		if o, err := parseOutcome(line); err != nil && o != (outcome{}) {
			t.Errorf("parseOutcome(%q) = %+v with error %v, want nothing", line, o, err)
		}
	})
}

const h2loadSays = `starting benchmark...
TLS Protocol: TLSv1.3
Application protocol: h2

finished in 2.00s, 50123.50 req/s, 9.51MB/s
requests: 100247 total, 100307 started, 100247 done, 100240 succeeded, 7 failed, 0 errored, 0 timeout
status codes: 100240 2xx, 0 3xx, 2 4xx, 5 5xx
traffic: 19.02MB (19943153) total, 4.59MB (4812000) headers (space savings 75.00%), 12.24MB (12831616) data
                     min         max         mean         sd        +/- sd
time for request:      201us     10.53ms      1.19ms       402us    80.66%
`

func TestParseH2(t *testing.T) {
	t.Parallel()
	got, err := parseH2(h2loadSays, 2*time.Second)
	want := outcome{N: 100240, Errors: 7, Seconds: 2}
	if err != nil || got != want {
		t.Errorf("parseH2() = %+v, %v, want %+v", got, err, want)
	}
	for name, out := range map[string]string{
		"nothing":   "",
		"http/1.1":  "Application protocol: http/1.1\nstatus codes: 5 2xx, 0 3xx, 0 4xx, 0 5xx\n",
		"no answer": "Application protocol: h2\nstatus codes: 0 2xx, 0 3xx, 0 4xx, 0 5xx\n",
		"garbage":   "Application protocol: h2\nstatus codes: many\n",
	} {
		if got, err := parseH2(out, time.Second); err == nil {
			t.Errorf("%s: parseH2() = %+v, want an error", name, got)
		}
	}
}

func TestParseStat(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in          string
		pid, parent int
		ok          bool
	}{
		{"42 (nginx) S 7 42 42 0", 42, 7, true},
		{"42 (a) b (c)) R 8 1", 42, 8, true},
		{"42 nginx S 7", 0, 0, false},
		{"42 (nginx) S", 0, 0, false},
		{"x (nginx) S 7", 0, 0, false},
		{"", 0, 0, false},
		{")(", 0, 0, false},
	} {
		pid, parent, err := parseStat(tt.in)
		if (err == nil) != tt.ok || tt.ok && (pid != tt.pid || parent != tt.parent) {
			t.Errorf("parseStat(%q) = %d, %d, %v, want %d, %d, ok %v", tt.in, pid, parent, err, tt.pid, tt.parent, tt.ok)
		}
	}
}

// write makes a file below dir, with its directories.
func write(t *testing.T, content string, path ...string) {
	t.Helper()
	file := filepath.Join(path...)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestProcFS(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for _, p := range []struct{ pid, parent int }{{10, 1}, {11, 10}, {12, 10}, {13, 11}, {20, 1}} {
		pid := strconv.Itoa(p.pid)
		write(t, pid+" (x y) S "+strconv.Itoa(p.parent)+" 1 1", root, pid, "stat")
		write(t, "1000000 5 7\n", root, pid, "task", pid, "schedstat")
		write(t, "2000000 5 7\n", root, pid, "task", pid+"0", "schedstat")
		write(t, "Rss:  900 kB\nPss:  300 kB\nPss_Dirty: 1 kB\n", root, pid, "smaps_rollup")
	}
	p := procFS{root}
	family := p.family(10)
	if slices.Sort(family); !slices.Equal(family, []int{10, 11, 12, 13}) {
		t.Fatalf("family(10) = %v, want 10 and its descendants", family)
	}
	if got, err := p.cpuTime(family); err != nil || got != 12*time.Millisecond {
		t.Errorf("cpuTime() = %v, %v, want 12ms", got, err)
	}
	if got, err := p.memory(family); err != nil || got != 1200<<10 {
		t.Errorf("memory() = %d, %v, want 1200 KiB", got, err)
	}
	if got, err := p.cpuTime([]int{99}); err == nil {
		t.Errorf("cpuTime of a process that is gone = %v, want an error", got)
	}
	write(t, "Rss: 1 kB\n", root, "30", "smaps_rollup")
	if got, err := p.memory([]int{30}); err == nil {
		t.Errorf("memory without Pss = %d, want an error", got)
	}
}

func TestDescribe(t *testing.T) {
	t.Parallel()
	if got := cpuModel("processor\t: 0\nmodel name\t: AMD EPYC 9\nmodel name\t: other\n"); got != "AMD EPYC 9" {
		t.Errorf("cpuModel() = %q", got)
	}
	if got := prettyName("NAME=x\nPRETTY_NAME=\"Debian 12\"\n"); got != "Debian 12" {
		t.Errorf("prettyName() = %q", got)
	}
}

func TestTidyVersion(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/\nStatus: LTS\n": "2.6.12-1+deb12u4",
		"nginx version: nginx/1.22.1\n": "1.22.1",
		"v2.11.9 h1:abc=\n":             "v2.11.9",
		"lbnode 3fbfe44-dirty\n":        "3fbfe44-dirty",
		"":                              "",
	} {
		if got := tidyVersion(in); got != want {
			t.Errorf("tidyVersion(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestParseFlags(t *testing.T) {
	t.Parallel()
	cfg, err := parseFlags([]string{"-short", "-peers", "nginx,relay", "-proxy-cpus", "", "-load-cpus", "2,3", "-only", "^tls|h2-6x"}, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Rounds != 2 || cfg.Time != 700*time.Millisecond || cfg.ProxyCPUs != nil {
		t.Errorf("parseFlags() = %+v, want the short profile, not pinned", cfg)
	}
	if diff := cmp.Diff([]string{"nginx", "relay"}, cfg.Peers); diff != "" {
		t.Errorf("peers (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]int{2, 3}, cfg.LoadCPUs); diff != "" {
		t.Errorf("load CPUs (-want +got):\n%s", diff)
	}
	var ids []string
	for _, w := range cfg.workloads() {
		ids = append(ids, w.ID)
	}
	if diff := cmp.Diff([]string{"tls", "h2-6x10"}, ids); diff != "" {
		t.Errorf("workloads (-want +got):\n%s", diff)
	}
	for _, args := range [][]string{
		{"-rounds", "-1"},
		{"-rounds", "101"},
		{"-time", "1ms"},
		{"-time", "2m"},
		{"-warm", "-1s"},
		{"-peers", ""},
		{"-peers", "traefik"},
		{"-proxy-cpus", "x"},
		{"-load-cpus", "-1"},
		{"-load-cpus", "0"},
		{"-only", "("},
		{"word"},
		{"-nonsense"},
	} {
		if _, err := parseFlags(args, t.Output()); err == nil {
			t.Errorf("parseFlags(%q) succeeds, want an error", args)
		}
	}
}
