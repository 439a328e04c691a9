package main

import (
	"fmt"
	"math"
	"strings"

	"github.com/lbnode/lbnode/state"
)

// goal is a figure to reach: at most so much. The value is NaN where it was not measured.
type goal struct {
	name  string
	most  float64
	unit  string // "×", or that of the figure
	value float64
	rest  string // what else there is to say
}

// goals are the figures that the project has set itself, computed from the samples that the tables show.
func (r *reporter) goals() []goal {
	all := []goal{
		r.against("GET 128 B, 64 connections, to the better of haproxy and nginx", .80, "get-64", r.better),
		r.against("GET 128 B, 256 connections, to the better", .70, "get-256", r.better),
		r.against("GET 128 B, 1,000 connections, to the better", .65, "get-1000", r.better),
		r.against("GET 128 B, 64 connections, to the relay", 1.20, "get-64", r.peer("relay")),
		r.against("GET 128 B, 256 connections, to the relay", 1.20, "get-256", r.peer("relay")),
		r.against("GET 128 B, 1,000 connections, to the relay", 1.20, "get-1000", r.peer("relay")),
		r.against("TLS GET 128 B, to the better", .75, "tls", r.better),
		r.against("GET 16 KiB, to the better", .75, "get16k", r.better),
		r.against("POST 4 KiB, to the better", .85, "post4k", r.better),
		r.against("GET 1 MiB, to the better", .70, "get1m", r.better),
		r.against("4,000/s, CPU a request, to nginx", 1.0, "rate4k", r.peer("nginx")),
		r.p99(),
		r.against("HTTP/2 TLS 6 × 10, to haproxy", .80, "h2-6x10", r.peer("haproxy")),
		r.against("HTTP/2 TLS 1 × 100, to haproxy", .70, "h2-1x100", r.peer("haproxy")),
		r.against("HTTP/2 TLS 64 × 1, to haproxy", .70, "h2-64x1", r.peer("haproxy")),
		r.against("HTTP/2 TLS 16 KiB, to haproxy", .60, "h2-16k", r.peer("haproxy")),
		r.against("HTTP/2 TLS POST 4 KiB, to haproxy", .85, "h2-post4k", r.peer("haproxy")),
		r.against("HTTP/2 clear 6 × 10, to haproxy", .85, "h2c-6x10", r.peer("haproxy")),
		r.against("HTTP/2 behind, to HTTP/1.1 behind (both HTTP/2 TLS 6 × 10 in front)", .50, "h2-behind", func(string) float64 { return r.cpu("h2-6x10", ours) }),
		r.memoryGoal("Memory of an idle connection", 1.5, "plain"),
		r.memoryGoal("Memory of an idle TLS connection", 20, "tls"),
		r.memoryGoal("Memory of an idle HTTP/2 TLS connection", 24, "h2"),
	}
	all = append(all, r.sizeGoals()...)
	p := r.res.pulse
	lateness, allocs := math.NaN(), math.NaN()
	if p.N > 0 {
		lateness, allocs = p.P99, p.Allocs
	}
	return append(all,
		goal{name: "A 5 ms ticker beside saturated loops is late by, p99", most: 3, unit: "ms", value: lateness, rest: fmt.Sprintf("p50 %s, max %s ms", short(p.P50), short(p.Max))},
		goal{name: "Allocations a request, the rest of the node included", most: .05, value: allocs})
}

func (r *reporter) cpu(work, peer string) float64 {
	return summarize(r.res.samples[cell{work, peer}], func(s sample) float64 { return s.CPU }).Median
}

func (r *reporter) peer(name string) func(work string) float64 {
	return func(work string) float64 { return r.cpu(work, name) }
}

// better is the lower figure of haproxy and nginx, or that of the one which is there.
func (r *reporter) better(work string) float64 {
	return lower(r.cpu(work, "haproxy"), r.cpu(work, "nginx"))
}

func lower(a, b float64) float64 {
	if math.IsNaN(a) || b < a {
		return b
	}
	return a
}

// against is a goal about the CPU time a request, as a ratio to a reference.
func (r *reporter) against(name string, most float64, work string, ref func(work string) float64) goal {
	mine, theirs := r.cpu(work, ours), ref(work)
	return goal{name: name, most: most, unit: "×", value: mine / theirs, rest: fmt.Sprintf("%s to %s µs", short(mine), short(theirs))}
}

func (r *reporter) p99() goal {
	of := func(peer string) float64 {
		return summarize(r.res.samples[cell{"rate20k", peer}], func(s sample) float64 { return s.P99 }).Median
	}
	mine, theirs := of(ours), lower(of("haproxy"), of("nginx"))
	return goal{name: "20,000/s, p99, to the better", most: 1.1, unit: "×", value: mine / theirs, rest: fmt.Sprintf("%s to %s µs", short(mine), short(theirs))}
}

func (r *reporter) memoryGoal(name string, most float64, kind string) goal {
	g := goal{name: name, most: most, unit: "KiB", value: math.NaN()}
	if s, ok := r.res.idle[cell{kind, ours}]; ok {
		g.value = s.PerConn / (1 << 10)
	}
	return g
}

// sizeGoals compare a large configuration with a small one, on a node.
func (r *reporter) sizeGoals() (all []goal) {
	for _, large := range r.cfg.workloads() {
		switch {
		case large.Routes > 10:
			all = append(all, r.against(thousands(large.Routes)+" routes, to 10", 1.10, large.ID, func(string) float64 { return r.cpu("routes-10", ours) }))
		case large.Servers > 3 && large.Algorithm != "":
			small := algorithmWorkload(large.Algorithm, 3, 0).ID
			all = append(all, r.against(fmt.Sprintf("%s, %s backends, to 3", large.Algorithm, thousands(large.Servers)), 1.15, large.ID,
				func(string) float64 { return r.cpu(small, ours) }))
		}
	}
	return all
}

func (g goal) verdict() string {
	if g.value <= g.most {
		return "ok"
	}
	return "**short**"
}

// goalTable lists the goals of which something was measured.
func (r *reporter) goalTable() string {
	t := table{head: []string{"goal", "at most", "reached", "", "from"}}
	for _, g := range r.goals() {
		if math.IsNaN(g.value) {
			continue
		}
		unit := strings.TrimSpace(" " + g.unit)
		t.rows = append(t.rows, []string{g.name, strings.TrimSpace(short(g.most) + " " + unit), strings.TrimSpace(short(g.value) + " " + unit), g.verdict(), g.rest})
	}
	if len(t.rows) == 0 {
		return ""
	}
	return t.String()
}

// algorithmTable has a row for each algorithm.
func (r *reporter) algorithmTable() string {
	var small, large []workload
	for _, w := range r.cfg.workloads() {
		switch {
		case w.Algorithm == "":
		case w.Servers == 3:
			small = append(small, w)
		default:
			large = append(large, w)
		}
	}
	t := table{head: []string{""}}
	for _, list := range [][]workload{small, large} {
		if len(list) > 0 {
			t.head = append(t.head, thousands(list[0].Servers)+" backends")
		}
	}
	for _, a := range state.Algorithms() {
		row, any := []string{string(a)}, false
		ref := math.NaN()
		for _, list := range [][]workload{small, large} {
			for _, w := range list {
				if w.Algorithm != a {
					continue
				}
				s := summarize(r.res.samples[cell{w.ID, ours}], func(s sample) float64 { return s.CPU })
				any = any || !math.IsNaN(s.Median)
				row = append(row, figure(s, ref, math.IsNaN(ref)))
				ref = s.Median
			}
		}
		if any && len(row) == len(t.head) {
			t.rows = append(t.rows, row)
		}
	}
	if len(t.rows) == 0 {
		return ""
	}
	return t.String()
}
