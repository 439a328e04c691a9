package main

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The lines between which the tables stand in the document.
const (
	beginMark = "<!-- bench: begin, written by make bench -->"
	endMark   = "<!-- bench: end -->"
)

// errNoMarks says that a document has no place for the tables.
var errNoMarks = errors.New("the document has no pair of lines " + beginMark + " and " + endMark)

// reporter turns results into Markdown.
type reporter struct {
	cfg   Config
	peers []present
	res   *results
	work  map[string]workload
	notes []string
}

// makeReport returns the tables with everything that a reader needs to judge them.
func makeReport(cfg Config, host machine, peers []present, res *results, began time.Time) string {
	r := &reporter{cfg: cfg, peers: peers, res: res, work: map[string]workload{}}
	var closed, open, scaled []workload
	for _, w := range cfg.workloads() {
		r.work[w.ID] = w
		switch {
		case w.Algorithm != "":
		case w.Rate > 0:
			open = append(open, w)
		case w.scaled():
			scaled = append(scaled, w)
		default:
			closed = append(closed, w)
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "- Machine: %s.\n- Command: `%s`, begun %s, took %s; rounds: %d, of %s each after %s of warm-up.\n", host, command(cfg),
		began.UTC().Format("2006-01-02 15:04 UTC"), time.Since(began).Round(time.Second), cfg.Rounds, cfg.Time, cfg.Warm)
	fmt.Fprintf(&b, "- Pinned: proxies to core %s, origin and load to core %s.\n", cores(cfg.ProxyCPUs), cores(cfg.LoadCPUs))
	b.WriteString("- Peers: " + r.versions() + ".\n")
	if cfg.Short {
		b.WriteString("- **A short run**: few and brief rounds. Good for a look, too noisy to quote.\n")
	}
	if host.Load > 0.5 {
		fmt.Fprintf(&b, "- **The machine was busy**: its load average was %.1f before the run began. Other work disturbed these figures.\n", host.Load)
	}
	r.section(&b, "Goals", "What the project has set itself, and what this run says of it; from the medians of the tables below.", r.goalTable())
	r.section(&b, "CPU µs a request", "Brackets: ratio to the first column. Range: lowest and highest round. Less is better.",
		r.table(closed, func(s sample) float64 { return s.CPU }))
	r.section(&b, "Requests a second", "Origin and load share a core and are often the bottleneck: what a proxy costs shows above.",
		r.table(closed, func(s sample) float64 { return s.RPS }))
	r.section(&b, "Latency at a fixed rate", "64 connections, open loop, from the moment a request was due; µs.", r.latency(open))
	r.section(&b, "Size of the configuration", "CPU µs a request, GET 128 B over 64 connections.", r.table(scaled, func(s sample) float64 { return s.CPU }))
	r.section(&b, "Algorithms", "lbnode alone, CPU µs a request, GET 128 B over 64 connections; ip_hash with 64 client addresses, consistent_hash with 50,000 paths.", r.algorithmTable())
	r.section(&b, "Memory and rest", fmt.Sprintf("%s keep-alive connections (HTTP/2: %s) that had one answer each; proportional set size, without the kernel's sockets.",
		thousands(res.conns), thousands(res.connsH2)), r.memory())
	r.errors()
	r.section(&b, "Not measured, or not as planned", "", r.list())
	return b.String()
}

func command(cfg Config) string {
	if len(cfg.Args) == 0 {
		return "make bench"
	}
	words := []string{"go run ./bench"}
	for _, a := range cfg.Args {
		if a == "" || strings.ContainsAny(a, " |()*?$") {
			a = "'" + a + "'"
		}
		words = append(words, a)
	}
	return strings.Join(words, " ")
}

func cores(cpus []int) string {
	if len(cpus) == 0 {
		return "(any)"
	}
	s := make([]string, len(cpus))
	for i, c := range cpus {
		s[i] = fmt.Sprint(c)
	}
	return strings.Join(s, ", ")
}

func (r *reporter) versions() string {
	var s []string
	for _, p := range r.peers {
		if p.says == "" {
			s = append(s, p.name)
		} else {
			s = append(s, fmt.Sprintf("%s (%s)", p.name, p.says))
		}
	}
	return strings.Join(s, ", ")
}

func (r *reporter) section(b *strings.Builder, title, intro, body string) {
	if body == "" {
		return
	}
	fmt.Fprintf(b, "\n### %s\n\n", title)
	if intro != "" {
		b.WriteString(intro + "\n\n")
	}
	b.WriteString(body)
}

func (r *reporter) head(first string) []string {
	h := []string{first}
	for _, p := range r.peers {
		h = append(h, p.name)
	}
	return h
}

// table has a row for each workload that somebody did.
func (r *reporter) table(work []workload, f func(sample) float64) string {
	t := table{head: r.head("")}
	for _, w := range work {
		if row, ok := r.row(w.Name, func(peer string) spread { return summarize(r.res.samples[cell{w.ID, peer}], f) }); ok {
			t.rows = append(t.rows, row)
		}
	}
	if len(t.rows) == 0 {
		return ""
	}
	return t.String()
}

func (r *reporter) row(name string, of func(peer string) spread) ([]string, bool) {
	row, any := []string{name}, false
	ref := math.NaN()
	for i, p := range r.peers {
		s := of(p.name)
		if i == 0 {
			ref = s.Median
		}
		any = any || !math.IsNaN(s.Median)
		row = append(row, figure(s, ref, i == 0))
	}
	return row, any
}

// figure writes a median, its ratio to ref unless it is the reference, and the range if there is one.
func figure(s spread, ref float64, isRef bool) string {
	out := short(s.Median)
	if math.IsNaN(s.Median) {
		return out
	}
	if !isRef && ref > 0 && s.Median > 0 {
		out += fmt.Sprintf(" (%.2f)", s.Median/ref)
	}
	if s.Min < s.Max {
		out += fmt.Sprintf(" %s–%s", short(s.Min), short(s.Max))
	}
	return out
}

func (r *reporter) latency(open []workload) string {
	t := table{head: r.head("")}
	for _, w := range open {
		for _, m := range []struct {
			name string
			f    func(sample) float64
		}{
			{"p50", func(s sample) float64 { return s.P50 }},
			{"p99", func(s sample) float64 { return s.P99 }},
			{"CPU a request", func(s sample) float64 { return s.CPU }},
		} {
			if row, ok := r.row(w.Name+", "+m.name, func(peer string) spread { return summarize(r.res.samples[cell{w.ID, peer}], m.f) }); ok {
				t.rows = append(t.rows, row)
			}
		}
	}
	if len(t.rows) == 0 {
		return ""
	}
	return t.String()
}

func (r *reporter) memory() string {
	t := table{head: r.head("")}
	add := func(name, kind string, f func(idleSample) float64) {
		row, ok := r.row(name, func(peer string) spread {
			if s, ok := r.res.idle[cell{kind, peer}]; ok {
				return spread{f(s), f(s), f(s)}
			}
			return summarize(nil, nil)
		})
		if ok {
			t.rows = append(t.rows, row)
		}
	}
	perConn := func(s idleSample) float64 { return s.PerConn / (1 << 10) }
	total := func(s idleSample) float64 { return float64(s.Total) / (1 << 20) }
	add("KiB a connection", "plain", perConn)
	add("KiB a connection, TLS", "tls", perConn)
	add("KiB a connection, HTTP/2 TLS", "h2", perConn)
	add("MiB in all", "plain", total)
	add("MiB in all, TLS", "tls", total)
	add("MiB in all, HTTP/2 TLS", "h2", total)
	if len(r.res.rest) > 0 {
		row := []string{"CPU at rest, ms a second"}
		for _, p := range r.peers {
			v, ok := r.res.rest[p.name]
			if !ok {
				v = math.NaN()
			}
			row = append(row, short(v))
		}
		t.rows = append(t.rows, row)
	}
	if len(t.rows) == 0 {
		return ""
	}
	return t.String()
}

// errors notes wrong answers and rates that were not held.
func (r *reporter) errors() {
	for _, w := range r.cfg.workloads() {
		for _, p := range r.peers {
			wrong, n, due, status := 0, 0, 0, 0
			for _, s := range r.res.samples[cell{w.ID, p.name}] {
				wrong, n, due, status = wrong+s.Errors, n+s.N, due+s.Due, max(status, s.Wrong)
			}
			if wrong > 0 {
				r.notes = append(r.notes, fmt.Sprintf("%s, %s: %s answers were wrong or missing, beside %s%s.", p.name, w.Name, thousands(wrong), thousands(n), lastStatus(status)))
			}
			if w.Rate > 0 && float64(n) < .99*float64(due) {
				r.notes = append(r.notes, fmt.Sprintf("%s did not hold %s: %.0f %% of the requests were answered.", p.name, w.Name, 100*float64(n)/float64(due)))
			}
		}
	}
}

func lastStatus(status int) string {
	if status == 0 {
		return ""
	}
	return fmt.Sprintf(" (status %d)", status)
}

func (r *reporter) list() string {
	var b strings.Builder
	for _, n := range slices.Concat(r.res.skipped, r.notes) {
		b.WriteString("- " + n + "\n")
	}
	return b.String()
}

// replaceReport puts the report between the marks of a document.
func replaceReport(file, report string) error {
	doc, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	out, err := splice(doc, report)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	tmp := filepath.Join(filepath.Dir(file), ".bench-"+filepath.Base(file))
	if err := os.WriteFile(tmp, out, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, file)
}

func splice(doc []byte, report string) ([]byte, error) {
	head, rest, ok := bytes.Cut(doc, []byte(beginMark))
	if !ok {
		return nil, errNoMarks
	}
	_, tail, ok := bytes.Cut(rest, []byte(endMark))
	if !ok {
		return nil, errNoMarks
	}
	return slices.Concat(head, []byte(beginMark+"\n"+report), []byte(endMark), tail), nil
}
