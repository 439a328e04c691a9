package main

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/client"
)

func (a *app) showStatsCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "stats", Aliases: []string{"stat"}, Short: "Show what the proxies count", Args: noArgs}
	scope := cmd.Flags().String("scope", api.ScopeCluster, "cluster, or node for the one that answers")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *scope != api.ScopeCluster && *scope != api.ScopeNode {
			return usagef("--scope takes cluster or node, got %q", *scope)
		}
		resp, err := a.get(cmd.Context(), "/stats", url.Values{"scope": {*scope}})
		if err != nil {
			return err
		}
		if a.output == formatJSON || a.output == formatYAML {
			return a.emitDocument(resp.Body)
		}
		st, err := client.Decode[api.Stats](resp)
		if err != nil {
			return err
		}
		a.printStats(st)
		return nil
	}
	return cmd
}

func (a *app) printStats(st api.Stats) {
	w := a.stdout
	if a.output == formatName {
		for _, id := range sortedKeys(st.Backends) {
			fmt.Fprintln(w, clean(id))
		}
		return
	}
	if len(st.Missing) > 0 {
		fmt.Fprintf(w, "INCOMPLETE: no answer from %s.\n\n", clean(strings.Join(st.Missing, ", ")))
	}
	if a.output == "" {
		a.printTotals(st)
	}
	first := a.output != ""
	for _, part := range []struct {
		head string
		sums map[string]api.Summary
	}{{"BACKEND", st.Backends}, {"ROUTE", st.Routes}} {
		if len(part.sums) == 0 {
			continue
		}
		if !first {
			fmt.Fprintln(w)
		}
		first = false
		printTable(w, statColumns(part.head, part.sums), sortedKeys(part.sums), a.output == formatWide)
	}
}

func (a *app) printTotals(st api.Stats) {
	printFacts(a.stdout, []fact{
		{"Requests", fmt.Sprintf("%s/s, %d running, %d in all", rate(st.RPS), st.ActiveRequests, st.Requests)},
		{"Latency", fmt.Sprintf("p50 %s, p95 %s, p99 %s, p99.9 %s, mean %s", milli(st.P50LatencyMS), milli(st.P95LatencyMS), milli(st.P99LatencyMS), milli(st.P999LatencyMS), milli(st.MeanLatencyMS))},
		{"Responses", counters(st.Responses)},
		{"Errors", firstOf(counters(st.Errors), "none")},
		{"Connections", fmt.Sprintf("%d open, %d in all", st.ActiveConnections, st.Connections)},
		{"Traffic", fmt.Sprintf("%s in, %s out", bytesText(st.BytesIn), bytesText(st.BytesOut))},
		{"Counted on", strings.Join(st.Nodes, ", ")},
	})
}

func statColumns(name string, sums map[string]api.Summary) []column[string] {
	col := func(head string, cell func(api.Summary) string) column[string] {
		return column[string]{head: head, cell: func(id string) string { return cell(sums[id]) }}
	}
	wide := func(c column[string]) column[string] { c.wide = true; return c }
	return []column[string]{
		{head: name, cell: func(id string) string { return id }},
		col("RPS", func(s api.Summary) string { return rate(s.RPS) }),
		col("ACTIVE", func(s api.Summary) string { return strconv.FormatInt(s.ActiveRequests, 10) }),
		col("REQUESTS", func(s api.Summary) string { return strconv.FormatUint(s.Requests, 10) }),
		col("5XX", func(s api.Summary) string { return strconv.FormatUint(s.Responses["5xx"], 10) }),
		col("ERRORS", func(s api.Summary) string { return strconv.FormatUint(sum(s.Errors), 10) }),
		col("P50", func(s api.Summary) string { return milli(s.P50LatencyMS) }),
		col("P95", func(s api.Summary) string { return milli(s.P95LatencyMS) }),
		col("P99", func(s api.Summary) string { return milli(s.P99LatencyMS) }),
		wide(col("P99.9", func(s api.Summary) string { return milli(s.P999LatencyMS) })),
		wide(col("MEAN", func(s api.Summary) string { return milli(s.MeanLatencyMS) })),
		wide(col("4XX", func(s api.Summary) string { return strconv.FormatUint(s.Responses["4xx"], 10) })),
		wide(col("IN", func(s api.Summary) string { return bytesText(s.BytesIn) })),
		wide(col("OUT", func(s api.Summary) string { return bytesText(s.BytesOut) })),
	}
}

// counters lists those that are not zero.
func counters(m map[string]uint64) string {
	var out []string
	for _, k := range sortedKeys(m) {
		if m[k] > 0 {
			out = append(out, fmt.Sprintf("%s %d", k, m[k]))
		}
	}
	return strings.Join(out, ", ")
}

func sum(m map[string]uint64) (n uint64) {
	for _, v := range m {
		n += v
	}
	return n
}

func rate(f float64) string {
	if f >= 100 {
		return strconv.FormatFloat(f, 'f', 0, 64)
	}
	return strconv.FormatFloat(f, 'f', 1, 64)
}

func milli(ms float64) string {
	switch {
	case ms == 0:
		return "-"
	case ms >= 10_000:
		return strconv.FormatFloat(ms/1000, 'f', 1, 64) + "s"
	case ms >= 100:
		return strconv.FormatFloat(ms, 'f', 0, 64) + "ms"
	case ms >= 1:
		return strconv.FormatFloat(ms, 'f', 1, 64) + "ms"
	}
	return strconv.FormatFloat(ms, 'f', 3, 64) + "ms"
}

func bytesText(n uint64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	f, units := float64(n)/unit, "KMGTPE"
	for f >= unit && len(units) > 1 {
		f, units = f/unit, units[1:]
	}
	return fmt.Sprintf("%.1f %ciB", f, units[0])
}
