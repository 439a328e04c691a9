package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/client"
)

// topPatience is how long one question for a frame may take.
const topPatience = 3 * time.Second

func (a *app) topCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "top", Short: "Show live what nodes and backends do", Args: noArgs, Annotations: map[string]string{endless: "true"},
		Long: `Show live what nodes and backends do, until Ctrl-C; what needs somebody comes first. Without a terminal a table is printed
at each interval; with --once there is one.`,
	}
	f := cmd.Flags()
	every := f.Duration("interval", 2*time.Second, "between two looks")
	once := f.Bool("once", false, "look once")
	pool := f.String("pool", "", "only backends of this pool")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		switch {
		case a.output != "" && a.output != formatTable && a.output != formatWide:
			return usagef("%s draws tables; for programs there are show stats, show nodes and show backends", cmd.CommandPath())
		case *every < 100*time.Millisecond:
			return usagef("--interval must be at least 100ms, got %s", *every)
		}
		if _, err := a.connect(); err != nil {
			return err
		}
		t := &top{app: a, pool: *pool}
		if *once {
			fr, err := t.look(cmd.Context())
			if err != nil {
				return err
			}
			fmt.Fprintln(a.stdout, strings.Join(t.lines(fr, 0), "\n"))
			return nil
		}
		return t.run(cmd.Context(), *every)
	}
	return cmd
}

// top draws frames.
type top struct {
	*app
	pool string
	last *frame // the one before
}

// frame is what one look has found.
type frame struct {
	at       time.Time
	cluster  api.Cluster
	nodes    []api.Node
	per      map[string]api.Stats // by node, of those that answered
	stats    api.Stats
	backends []api.Backend
}

// run looks at each interval until ctx ends. A look that fails is told and tried again.
func (t *top) run(ctx context.Context, every time.Duration) error {
	screen := t.openScreen()
	defer screen.close()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		var lines []string
		fr, err := t.look(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			lines = []string{"no answer: " + clean(err.Error()), "", "Trying again every " + every.String() + "; Ctrl-C ends."}
		default:
			lines = t.lines(fr, screen.height())
		}
		screen.draw(lines)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// look asks for everything at once.
func (t *top) look(ctx context.Context) (*frame, error) {
	ctx, cancel := context.WithTimeout(ctx, topPatience)
	defer cancel()
	fr := &frame{at: t.now(), per: map[string]api.Stats{}}
	var err error
	if fr.cluster, err = fetch[api.Cluster](ctx, t.app, "/cluster", nil); err != nil {
		return nil, err
	}
	query := url.Values{}
	if t.pool != "" {
		query.Set("pool", t.pool)
	}
	var parts sync.WaitGroup
	var errs [3]error
	parts.Go(func() { fr.nodes, errs[0] = fetch[[]api.Node](ctx, t.app, "/nodes", nil) })
	parts.Go(func() { fr.stats, errs[1] = fetch[api.Stats](ctx, t.app, "/stats", nil) })
	parts.Go(func() { fr.backends, errs[2] = fetch[[]api.Backend](ctx, t.app, "/backends", query) })
	parts.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	var mu sync.Mutex
	for _, n := range fr.nodes {
		if n.Status == "dead" || n.Status == "left" {
			continue
		}
		parts.Go(func() {
			st, err := fetch[api.Stats](ctx, t.app, "/stats", url.Values{"scope": {api.ScopeNode}, "node": {n.ID}})
			if err != nil || len(st.Missing) > 0 {
				return // its row says "-"
			}
			mu.Lock()
			defer mu.Unlock()
			fr.per[n.ID] = st
		})
	}
	parts.Wait()
	return fr, nil
}

func fetch[T any](ctx context.Context, a *app, path string, query url.Values) (T, error) {
	resp, err := a.get(ctx, path, query)
	if err != nil {
		var none T
		return none, err
	}
	return client.Decode[T](resp)
}

// lines lays a frame out in at most so many lines; 0 = all of it.
func (t *top) lines(fr *frame, height int) []string {
	defer func() { t.last = fr }()
	out := []string{
		clusterSummary(fr.cluster),
		fmt.Sprintf("%s   %s requests/s, %d running, %s failed   p50 %s  p95 %s  p99 %s   index %d", fr.at.Format("15:04:05"), rate(fr.stats.RPS),
			fr.stats.ActiveRequests, t.failed(fr), milli(fr.stats.P50LatencyMS), milli(fr.stats.P95LatencyMS), milli(fr.stats.P99LatencyMS), fr.cluster.Index),
	}
	if len(fr.stats.Missing) > 0 {
		out = append(out, "INCOMPLETE: no counters from "+clean(strings.Join(fr.stats.Missing, ", ")))
	}
	wide := t.output == formatWide
	var nodes, backends bytes.Buffer
	printTable(&nodes, t.nodeColumns(fr), fr.nodes, wide)
	out = append(append(out, ""), linesOf(nodes.String())...)
	slices.SortStableFunc(fr.backends, func(a, b api.Backend) int { return cmp.Compare(trouble(a), trouble(b)) })
	rows := fr.backends
	if room := height - len(out) - 3; height > 0 && len(rows) > room {
		rows = rows[:max(room, 1)]
	}
	printTable(&backends, t.backendColumns(fr), rows, wide)
	out = append(append(out, ""), linesOf(backends.String())...)
	if more := len(fr.backends) - len(rows); more > 0 {
		out = append(out, fmt.Sprintf("and %d more", more))
	}
	return out
}

// linesOf takes a table apart.
func linesOf(table string) []string {
	lines := strings.Split(strings.TrimSuffix(table, "\n"), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return lines
}

// failed is how many requests have failed per second since the frame before.
func (t *top) failed(fr *frame) string {
	if t.last == nil || !fr.at.After(t.last.at) {
		return strconv.FormatUint(failures(fr.stats), 10) + " ever"
	}
	now, was := failures(fr.stats), failures(t.last.stats)
	return rate(float64(now-min(now, was))/fr.at.Sub(t.last.at).Seconds()) + "/s"
}

func failures(st api.Stats) uint64 { return st.Responses["5xx"] + st.Responses["none"] }

// trouble ranks backends: what needs somebody comes first.
func trouble(b api.Backend) int {
	switch {
	case b.NodeState == "error":
		return 0
	case b.Draining, b.AdminState == "decommissioned":
		return 1
	case b.NodeState == "init":
		return 2
	}
	return 3
}

func (t *top) nodeColumns(fr *frame) []column[api.Node] {
	of := func(f func(api.Stats) string) func(api.Node) string {
		return func(n api.Node) string {
			st, ok := fr.per[n.ID]
			if !ok {
				return ""
			}
			return f(st)
		}
	}
	return []column[api.Node]{
		{head: "NODE", cell: func(n api.Node) string { return n.ID }},
		{head: "ROLE", cell: nodeRole},
		{head: "STATUS", cell: nodeStatus},
		{head: "REQ/S", cell: of(func(s api.Stats) string { return rate(s.RPS) })},
		{head: "RUNNING", cell: of(func(s api.Stats) string { return strconv.FormatInt(s.ActiveRequests, 10) })},
		{head: "P95", cell: of(func(s api.Stats) string { return milli(s.P95LatencyMS) })},
		{head: "P99", cell: of(func(s api.Stats) string { return milli(s.P99LatencyMS) }), wide: true},
		{head: "CONNS", cell: of(func(s api.Stats) string { return strconv.FormatInt(s.ActiveConnections, 10) })},
		{head: "LAG", cell: func(n api.Node) string {
			if n.Lag == nil {
				return "?"
			}
			return strconv.FormatUint(*n.Lag, 10)
		}},
		{head: "HEARD", cell: heard, wide: true},
		{head: "PROXY", cell: func(n api.Node) string { return n.Proxy }},
		{head: "API", cell: func(n api.Node) string { return n.API }, wide: true},
	}
}

// heard is when a node last answered, as far as it matters.
func heard(n api.Node) string {
	d, err := time.ParseDuration(n.LastContact)
	if err != nil {
		return ""
	}
	return d.Round(time.Millisecond).String()
}

func (t *top) backendColumns(fr *frame) []column[api.Backend] {
	return []column[api.Backend]{
		{head: "BACKEND", cell: func(b api.Backend) string { return b.ID }},
		{head: "POOL", cell: func(b api.Backend) string { return b.Pool }},
		{head: "STATE", cell: func(b api.Backend) string {
			if b.Draining {
				return b.NodeState + " (draining)"
			}
			return b.NodeState
		}},
		{head: "FOR", cell: func(b api.Backend) string { return short(max(fr.at.Sub(b.StateSince), 0)) }},
		{head: "REQ/S", cell: func(b api.Backend) string { return rate(fr.stats.Backends[b.ID].RPS) }},
		{head: "IN-FLIGHT", cell: func(b api.Backend) string { return strconv.FormatInt(b.InFlight, 10) }},
		{head: "P95", cell: func(b api.Backend) string { return milli(fr.stats.Backends[b.ID].P95LatencyMS) }},
		{head: "LATENCY", cell: func(b api.Backend) string { return milli(b.LatencyMS) }},
		{head: "WEIGHT", cell: func(b api.Backend) string { return strconv.Itoa(b.Weight) }},
		{head: "ADDRESS", cell: func(b api.Backend) string { return b.Address }, wide: true},
		{head: "WHY", cell: whyText},
	}
}

// whyText is what the cluster says of a backend that is not as it should be.
func whyText(b api.Backend) string {
	if b.NodeState == "ready" && !b.Draining && b.Routable {
		return " "
	}
	if b.NodeState == "error" && b.VerdictText != "" {
		return b.VerdictText
	}
	if b.AdminState == "ready" {
		for _, r := range b.Reasons {
			if r.Source != "admin" { // which only says that it would be used
				return r.Text
			}
		}
	}
	return "admin: " + b.AdminState
}
