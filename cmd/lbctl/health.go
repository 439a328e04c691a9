package main

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/client"
)

func (a *app) showHealthCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "health", Short: "Show what the cluster thinks of each backend's health", Args: noArgs}
	verbose := cmd.Flags().BoolP("verbose", "v", false, "with what each node says (-o json: the API's verbose answer)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return a.showHealth(cmd, *verbose) }
	return cmd
}

func (a *app) showHealth(cmd *cobra.Command, verbose bool) error {
	var query url.Values
	document := a.output == formatJSON || a.output == formatYAML
	if verbose || !document {
		query = url.Values{"verbose": {"true"}}
	}
	resp, err := a.get(cmd.Context(), "/backends/health", query)
	if err != nil {
		return err
	}
	a.noteStale(resp)
	if document {
		return a.emitDocument(resp.Body)
	}
	health, err := client.Decode[api.VerboseHealth](resp)
	if err != nil {
		return err
	}
	lines := healthLines(health)
	switch a.output {
	case formatName:
		for _, l := range lines {
			fmt.Fprintln(a.stdout, clean(l.id))
		}
	case formatTable, formatWide:
		a.printHealth(lines, verbose || a.output == formatWide)
	default:
		fmt.Fprintln(a.stdout, healthSummary(lines))
		if len(lines) > 0 {
			fmt.Fprintln(a.stdout)
			a.printHealth(lines, verbose)
		}
	}
	return nil
}

type healthLine struct {
	id string
	api.BackendHealth
}

// healthLines puts what is wrong first.
func healthLines(health api.VerboseHealth) []healthLine {
	rank := func(l healthLine) int {
		switch {
		case l.Health == api.Unhealthy:
			return 0
		case l.Vetoed:
			return 1
		case l.Health == api.Unknown:
			return 2
		}
		return 3
	}
	var out []healthLine
	for id, h := range health {
		out = append(out, healthLine{id, h})
	}
	slices.SortFunc(out, func(a, b healthLine) int { return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.id, b.id)) })
	return out
}

func healthSummary(lines []healthLine) string {
	n := map[string]int{}
	vetoed := 0
	for _, l := range lines {
		n[l.Health]++
		if l.Vetoed {
			vetoed++
		}
	}
	var parts []string
	switch {
	case len(lines) == 0:
		return "There are no backends."
	case n[api.Healthy] == 1 && len(lines) == 1:
		parts = append(parts, "The one backend is healthy")
	case n[api.Healthy] == len(lines):
		parts = append(parts, fmt.Sprintf("All %s healthy", count(len(lines), "backend")))
	case n[api.Unhealthy] > 0:
		parts = append(parts, fmt.Sprintf("%d of %s UNHEALTHY", n[api.Unhealthy], count(len(lines), "backend")))
	default:
		parts = append(parts, fmt.Sprintf("%d of %s healthy", n[api.Healthy], count(len(lines), "backend")))
	}
	if n[api.Unknown] > 0 {
		parts = append(parts, fmt.Sprintf("%d without a verdict yet", n[api.Unknown]))
	}
	if vetoed > 0 {
		parts = append(parts, fmt.Sprintf("%d vetoed by the node that answers", vetoed))
	}
	return strings.Join(parts, ", ") + "."
}

func (a *app) printHealth(lines []healthLine, verbose bool) {
	rows := [][]string{{"BACKEND", "HEALTH", "SINCE", "WHY"}}
	if verbose {
		rows = [][]string{{"BACKEND", "NODE", "HEALTH", "SINCE", "IN-FLIGHT", "LATENCY", "WHY"}}
	}
	for _, l := range lines {
		why := l.Text
		if l.Vetoed {
			why = strings.TrimPrefix(why+"; vetoed here: "+l.VetoReason, "; ")
		}
		if !verbose {
			rows = append(rows, []string{clean(l.id), l.Health, firstOf(a.ago(l.Since), "-"), firstOf(clean(why), "-")})
			continue
		}
		rows = append(rows, []string{clean(l.id), "(verdict)", l.Health, firstOf(a.ago(l.Since), "-"), "-", "-", firstOf(clean(why), "-")})
		for _, o := range l.Observations {
			since := "-"
			if o.Since != nil {
				since = firstOf(a.ago(*o.Since), "-")
			}
			rows = append(rows, []string{clean(l.id), clean(o.Node), clean(o.Status), since, fmt.Sprint(o.InFlight), shortLatency(o.LatencyMS), firstOf(clean(o.Error), "-")})
		}
	}
	printRows(a.stdout, rows)
}

// emitDocument prints an answer that is no object with an id.
func (a *app) emitDocument(body []byte) error {
	if a.output == formatYAML {
		return printYAML(a.stdout, body)
	}
	return printJSON(a.stdout, body)
}
