package demo

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/client"
)

// introduce says where everything listens and what to try.
func (d *demo) introduce() {
	var b strings.Builder
	b.WriteString("\nA cluster of three nodes is up. Each of them proxies and answers the admin API:\n\n")
	for _, n := range d.nodes {
		fmt.Fprintf(&b, "  %s   proxy http://%s   api http://%s   cluster %s\n", n.name, n.proxy, n.api, n.cluster)
	}
	b.WriteString("\nBackends:\n\n")
	for _, s := range d.backends {
		fmt.Fprintf(&b, "  %s http://%s   weight %d\n", s.name, s.addr, s.weight)
	}
	first, last := d.nodes[0], d.nodes[len(d.nodes)-1]
	ctl := lbctl() + " --api http://" + last.api
	fmt.Fprintf(&b, `
Try, in another terminal:

  curl -i http://%s/users                   a request, balanced
  curl http://%s/backends/health            what the cluster sees
  curl http://%s/stats                      counters of all nodes
  %s show backends
  %s disable backend users-v2    drain one: no new requests, running ones finish
  %s enable backend users-v2
  %s cluster status              who leads
  kill -9 PID                    of the leader, a follower or a backend (PIDs are in the table):
                                 the others carry on, and the demo starts it again after %s

Ctrl-C stops everything and cleans up.

`, first.proxy, first.api, last.api, ctl, ctl, ctl, ctl, restartAfter)
	fmt.Fprint(d.out, b.String())
}

// lbctl is how to call lbctl from here: the one beside this binary, if there is one.
func lbctl() string {
	exe, err := os.Executable()
	if err != nil {
		return "lbctl"
	}
	beside := filepath.Join(filepath.Dir(exe), "lbctl")
	if _, err := os.Stat(beside); err != nil {
		return "lbctl"
	}
	wd, err := os.Getwd()
	if err != nil {
		return beside
	}
	if rel, err := filepath.Rel(wd, beside); err == nil && !strings.HasPrefix(rel, "..") {
		return "./" + rel
	}
	return beside
}

// watch sends traffic and draws the table until ctx or the set duration ends.
func (d *demo) watch(ctx context.Context) {
	if d.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d.duration)
		defer cancel()
	}
	var streams sync.WaitGroup
	defer streams.Wait()
	for _, n := range d.nodes {
		streams.Go(func() { n.traffic.run(ctx, requestEach) })
	}
	every := time.Second
	if !d.redraw {
		every = 5 * time.Second
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		d.draw(d.table(ctx))
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (d *demo) draw(lines []string) {
	if d.redraw && d.drawn > 0 {
		fmt.Fprintf(d.out, "\x1b[%dA\x1b[J", d.drawn)
	}
	fmt.Fprintln(d.out, strings.Join(lines, "\n"))
	d.drawn = len(lines)
}

// table asks the cluster, through any node, and lays the answers out.
func (d *demo) table(ctx context.Context) []string {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	roles := map[string]api.Node{}
	if list, err := d.client.Nodes(ctx); err == nil {
		for _, n := range list {
			roles[n.ID] = n
		}
	}
	lines := []string{fmt.Sprintf("%-10s %-9s %7s %8s %8s %8s  %s", "NODE", "ROLE", "RPS", "P95 ms", "OK", "FAILED", "PID")}
	for _, n := range d.nodes {
		lines = append(lines, d.nodeLine(ctx, n, roles[n.name]))
	}
	lines = append(lines, "", fmt.Sprintf("%-10s %-9s %7s %8s %8s %8s  %s", "BACKEND", "STATE", "RPS", "WEIGHT", "INFLIGHT", "ADMIN", "PID"))
	lines = append(lines, d.backendLines(ctx)...)
	d.mu.Lock()
	defer d.mu.Unlock()
	return append(append(lines, ""), d.news...)
}

func (d *demo) nodeLine(ctx context.Context, n member, m api.Node) string {
	role := "unknown"
	switch {
	case n.pid() == 0:
		role = "down"
	case m.Leader:
		role = "leader"
	case m.Voter:
		role = "follower"
	case m.ID != "":
		role = "non-voter"
	}
	rps, p95 := "-", "-"
	if s, err := nodeStats(ctx, n); err == nil && n.pid() != 0 {
		rps, p95 = fmt.Sprintf("%.0f", s.RPS), fmt.Sprintf("%.1f", s.P95LatencyMS)
	}
	return fmt.Sprintf("%-10s %-9s %7s %8s %8d %8d  %s", n.name, role, rps, p95, n.traffic.ok.Load(), n.traffic.failed.Load(), pidText(n.process))
}

// nodeStats asks one node for its own counters.
func nodeStats(ctx context.Context, n member) (api.Stats, error) {
	cfg := client.DefaultConfig()
	cfg.URLs, cfg.Timeout = []string{"http://" + n.api}, time.Second
	c, err := client.New(cfg)
	if err != nil {
		return api.Stats{}, err
	}
	defer c.Close()
	return c.Stats(ctx, api.ScopeNode)
}

func (d *demo) backendLines(ctx context.Context) []string {
	list, err := d.client.Backends().List(ctx)
	if err != nil {
		return []string{"  no node answers: " + err.Error()}
	}
	total, _ := d.client.Stats(ctx, api.ScopeCluster) // without an answer the rates show as 0
	pids := map[string]string{}
	for _, s := range d.backends {
		pids[s.name] = pidText(s.process)
	}
	lines := make([]string, 0, len(list))
	for _, b := range list {
		lines = append(lines, fmt.Sprintf("%-10s %-9s %7.0f %8d %8d %8s  %s", b.ID, b.NodeState, total.Backends[b.ID].RPS, b.Weight, b.InFlight, b.AdminState, pids[b.ID]))
	}
	return lines
}

func pidText(p *process) string {
	if pid := p.pid(); pid != 0 {
		return fmt.Sprint(pid)
	}
	return "-"
}
