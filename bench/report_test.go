package main

import (
	"errors"
	"math"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMedian(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in   []float64
		want float64
	}{
		{[]float64{3}, 3},
		{[]float64{9, 1, 5}, 5},
		{[]float64{4, 1, 3, 2}, 2.5},
		{[]float64{1, 1, 1, 100}, 1},
	} {
		before := append([]float64(nil), tt.in...)
		if got := median(tt.in); got != tt.want {
			t.Errorf("median(%v) = %v, want %v", tt.in, got, tt.want)
		}
		if diff := cmp.Diff(before, tt.in); diff != "" {
			t.Errorf("median changed its argument:\n%s", diff)
		}
	}
	if got := median(nil); !math.IsNaN(got) {
		t.Errorf("median(nil) = %v, want NaN", got)
	}
}

func TestSummarize(t *testing.T) {
	t.Parallel()
	cpu := func(s sample) float64 { return s.CPU }
	if got, want := summarize([]sample{{CPU: 12}, {CPU: 10}, {CPU: 17}}, cpu), (spread{12, 10, 17}); got != want {
		t.Errorf("summarize() = %v, want %v", got, want)
	}
	if got := summarize(nil, cpu); !math.IsNaN(got.Median) {
		t.Errorf("summarize(nil) = %v, want NaN", got)
	}
}

func TestNumbers(t *testing.T) {
	t.Parallel()
	for in, want := range map[float64]string{
		0: "0.00", 0.756: "0.76", 9.994: "9.99", 9.996: "10.0", 12.345: "12.3", 99.94: "99.9", 99.96: "100", 1234.5: "1,235",
		1234567: "1,234,567", -5.5: "-5.50", math.NaN(): "–",
	} {
		if got := short(in); got != want {
			t.Errorf("short(%v) = %q, want %q", in, got, want)
		}
	}
	for in, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", -1234567: "-1,234,567", 100000: "100,000"} {
		if got := thousands(in); got != want {
			t.Errorf("thousands(%d) = %q, want %q", in, got, want)
		}
	}
}

func TestFigure(t *testing.T) {
	t.Parallel()
	nan := math.NaN()
	for _, tt := range []struct {
		s     spread
		ref   float64
		isRef bool
		want  string
	}{
		{spread{15, 14, 16}, 15, true, "15.0 14.0–16.0"},
		{spread{12, 11, 13}, 15, false, "12.0 (0.80) 11.0–13.0"},
		{spread{12, 12, 12}, 15, false, "12.0 (0.80)"},
		{spread{12, 12, 12}, nan, false, "12.0"},
		{spread{12, 12, 12}, 0, false, "12.0"},
		{spread{-1, -1, -1}, 15, false, "-1.00"},
		{spread{nan, nan, nan}, 15, false, "–"},
	} {
		if got := figure(tt.s, tt.ref, tt.isRef); got != tt.want {
			t.Errorf("figure(%v, %v, %v) = %q, want %q", tt.s, tt.ref, tt.isRef, got, tt.want)
		}
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	got := table{head: []string{"", "haproxy", "x"}, rows: [][]string{{"128 B", "15.0", "–"}, {"1 µs", "1,000", "12.0 (0.80)"}}}.String()
	want := `
|       | haproxy |           x |
|-------|--------:|------------:|
| 128 B |    15.0 |           – |
| 1 µs  |   1,000 | 12.0 (0.80) |
`
	if diff := cmp.Diff(strings.TrimPrefix(want, "\n"), got); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}

func TestSplice(t *testing.T) {
	t.Parallel()
	doc := "# Title\n\n" + beginMark + "\nold\n" + endMark + "\nafter\n"
	want := "# Title\n\n" + beginMark + "\nnew\n" + endMark + "\nafter\n"
	once, err := splice([]byte(doc), "new\n")
	if err != nil || string(once) != want {
		t.Fatalf("splice() = %q, %v, want %q", once, err, want)
	}
	if twice, err := splice(once, "new\n"); err != nil || string(twice) != want {
		t.Errorf("splice() again = %q, %v, want no change", twice, err)
	}
	for _, bad := range []string{"", beginMark, endMark, endMark + beginMark} {
		if _, err := splice([]byte(bad), "new"); !errors.Is(err, errNoMarks) {
			t.Errorf("splice(%q) = %v, want %v", bad, err, errNoMarks)
		}
	}
}

// A peer that lacks a measurement leaves a gap; wrong answers, missed rates and noise are said, not hidden.
func TestMakeReport(t *testing.T) {
	t.Parallel()
	cfg, err := parseFlags([]string{"-short", "-only", "get-64|tls|rate20k|idle"}, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	sampled := func(cpu float64, o outcome) sample { return sample{outcome: o, CPU: cpu, RPS: 1000 * cpu} }
	ok := outcome{N: 1000, Due: 1000, P50: 100, P99: 300}
	res := &results{
		samples: map[cell][]sample{
			{"get-64", "haproxy"}:  {sampled(20, ok), sampled(22, ok)},
			{"get-64", "relay"}:    {sampled(10, ok), sampled(11, outcome{N: 900, Errors: 100, Wrong: 503})},
			{"rate20k", "haproxy"}: {sampled(30, ok)},
			{"rate20k", "relay"}:   {sampled(15, outcome{N: 500, Due: 1000, P50: 50, P99: 60})},
		},
		idle:  map[cell]idleSample{{"plain", "haproxy"}: {PerConn: 2048, Total: 30 << 20}},
		rest:  map[string]float64{"haproxy": 0.5},
		conns: 2000, skipped: []string{"caddy is not there"},
	}
	peers := []present{{peer{name: "haproxy"}, "2.6"}, {peer{name: "relay", floor: true}, ""}}
	lines := makeReport(cfg, machine{CPU: "Test CPU", CPUs: 2, Load: 3}, peers, res, time.Now())
	got := regexp.MustCompile(` +`).ReplaceAllString(lines, " ") // columns are padded
	for _, want := range []string{
		"Test CPU", "haproxy (2.6), relay", "**A short run**", "**The machine was busy**",
		"21.0 20.0–22.0 | 10.5 (0.50) 10.0–11.0", "| 100 | 50.0 (0.50) |", "2.00 |", "0.50 |",
		"- caddy is not there\n", "- relay, GET 128 B, 64 connections: 100 answers were wrong or missing, beside 1,900 (status 503).\n",
		"- relay did not hold 20,000/s: 50 % of the requests were answered.\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the report has no %q:\n%s", want, got)
		}
	}
	if strings.Contains(got, "TLS GET") || strings.Contains(got, "Size of the configuration") {
		t.Errorf("the report has a row or a section that nobody measured:\n%s", got)
	}
}

// Goals take the better peer, say nothing of what was not measured, and tell ok from short.
func TestGoals(t *testing.T) {
	t.Parallel()
	cfg, err := parseFlags([]string{"-rounds", "1"}, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	one := func(cpu float64) []sample { return []sample{{CPU: cpu, outcome: outcome{P99: 10 * cpu}}} }
	r := &reporter{cfg: cfg, res: &results{
		samples: map[cell][]sample{
			{"get-64", "haproxy"}: one(25), {"get-64", "nginx"}: one(20), {"get-64", ours}: one(16), {"get-64", "relay"}: one(10),
			{"tls", "nginx"}: one(10), {"tls", ours}: one(7.5),
			{"rate20k", "haproxy"}: one(10), {"rate20k", ours}: one(11.5),
			{"ip_hash-3", ours}: one(10), {"ip_hash-10000", ours}: one(11),
			{"routes-10", ours}: one(10), {"routes-50000", ours}: one(12),
		},
		idle:  map[cell]idleSample{{"plain", ours}: {PerConn: 1024}},
		pulse: pulseSample{N: 100, P50: .1, P99: 2, Max: 9},
	}}
	got := map[string]string{}
	for _, g := range r.goals() {
		if !math.IsNaN(g.value) {
			got[g.name] = short(g.value) + " " + g.verdict()
		}
	}
	want := map[string]string{
		"GET 128 B, 64 connections, to the better of haproxy and nginx": "0.80 ok",
		"GET 128 B, 64 connections, to the relay":                       "1.60 **short**",
		"TLS GET 128 B, to the better":                                  "0.75 ok",
		"20,000/s, p99, to the better":                                  "1.15 **short**",
		"ip_hash, 10,000 backends, to 3":                                "1.10 ok",
		"50,000 routes, to 10":                                          "1.20 **short**",
		"Memory of an idle connection":                                  "1.00 ok",
		"A 5 ms ticker beside saturated loops is late by, p99":          "2.00 ok",
		"Allocations a request, the rest of the node included":          "0.00 ok",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("goals (-want +got):\n%s", diff)
	}
	if table := r.algorithmTable(); !strings.Contains(table, "ip_hash") || !strings.Contains(table, "11.0 (1.10)") || strings.Contains(table, "random") {
		t.Errorf("the table of algorithms:\n%s", table)
	}
}

func TestParsePulse(t *testing.T) {
	t.Parallel()
	const log = "started\npulse n=90 p50=0.1 p99=9 max=9\nx\npulse n=100 p50=0.120 p99=1.500 max=3.250\n"
	if got, err := parsePulse(log); err != nil || got != (pulseSample{N: 100, P50: .12, P99: 1.5, Max: 3.25}) {
		t.Errorf("parsePulse() = %+v, %v", got, err)
	}
	if got, err := parsePulse("pulse n=90 p50=0.1 p99=9 max=9\n"); err == nil {
		t.Errorf("parsePulse of one line = %+v, want an error", got)
	}
	if got, err := metric("# TYPE a counter\na_b 1\na 2.5e+03\n", "a"); err != nil || got != 2500 {
		t.Errorf("metric() = %v, %v", got, err)
	}
}
