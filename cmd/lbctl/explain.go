package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/client"
)

func (a *app) explainCmd() *cobra.Command {
	var q api.ExplainedRequest
	var all bool
	cmd := &cobra.Command{
		Use: "explain URL", Short: "Say what would happen to a request, and why",
		Long: `Say which route a request would take and which ones it misses by little, which backends could get it, what speaks
against the others, and where it would go now. Nothing is sent, and nobody's turn is taken.

  lbctl explain http://www.example.org/users -X POST -H 'X-Beta: 1'
  lbctl explain /users --client-ip 10.0.0.7 --all-nodes`,
		Args: wantArgs(1, 1, "URL"),
	}
	f := cmd.Flags()
	f.StringVarP(&q.Method, "method", "X", "GET", "method of the request")
	f.StringArrayVarP(&q.Headers, "header", "H", nil, "a header, as 'Name: value'; may be repeated")
	f.StringVar(&q.ClientIP, "client-ip", "", "address of the client (default: this machine's, as the node sees it)")
	f.BoolVar(&all, "all-nodes", false, "ask every node")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		q.URL = args[0]
		resp, err := a.get(cmd.Context(), "/explain", client.ExplainQuery(q, all))
		if err != nil {
			return err
		}
		if a.output == formatJSON || a.output == formatYAML {
			return a.emitDocument(resp.Body)
		}
		x, err := client.Decode[api.Explanation](resp)
		if err != nil {
			return err
		}
		a.printExplanation(x)
		return nil
	}
	return cmd
}

// printExplanation shows one node in full. Others follow in full only if they would do something else.
func (a *app) printExplanation(x api.Explanation) {
	if a.output == formatName {
		for _, n := range x.Nodes {
			fmt.Fprintln(a.stdout, clean(firstOf(n.Pick, "-")))
		}
		return
	}
	if len(x.Missing) > 0 {
		fmt.Fprintf(a.stdout, "INCOMPLETE: no answer from %s.\n\n", clean(strings.Join(x.Missing, ", ")))
	}
	if len(x.Nodes) > 1 {
		if x.Agree {
			fmt.Fprintf(a.stdout, "All %d nodes agree; each takes turns by itself.\n\n", len(x.Nodes))
		} else {
			fmt.Fprint(a.stdout, "THE NODES DO NOT AGREE.\n\n")
		}
		printTable(a.stdout, []column[api.NodeExplanation]{
			{head: "NODE", cell: func(n api.NodeExplanation) string { return n.Node }},
			{head: "INDEX", cell: func(n api.NodeExplanation) string { return strconv.FormatUint(n.Index, 10) }},
			{head: "ROUTE", cell: func(n api.NodeExplanation) string {
				if n.Route == nil {
					return ""
				}
				return n.Route.ID
			}},
			{head: "ELIGIBLE", cell: eligibleCount},
			{head: "OUTCOME", cell: outcomeText},
		}, x.Nodes, a.output == formatWide)
	}
	for i, n := range x.Nodes {
		if i > 0 && x.Agree {
			break
		}
		if len(x.Nodes) > 1 {
			fmt.Fprintf(a.stdout, "\nOn %s:\n", clean(n.Node))
		}
		a.printCourse(x.Request, n)
	}
}

func (a *app) printCourse(q api.ExplainedRequest, n api.NodeExplanation) {
	w := a.stdout
	request := q.Method + " " + q.URL
	if n.Read.Host != "" {
		request = n.Read.Method + " " + n.Read.Host + n.Read.Path
		if n.Read.Query != "" {
			request += "?" + n.Read.Query
		}
	}
	facts := []fact{{"Request", request + " from " + q.ClientIP}, {"Outcome", outcomeText(n)}}
	if r := n.Route; r != nil {
		facts = append(facts, fact{"Route", r.ID + ": " + clausesText(r.Clauses)})
	} else if n.Read.Host != "" {
		facts = append(facts, fact{"Route", "none matches"})
	}
	if f := n.Frontend; f != nil {
		facts = append(facts, fact{"Frontend", f.ID + requires(f.RequiredTags)})
	}
	if p := n.Pool; p != nil {
		facts = append(facts, fact{"Pool", poolText(p)})
	}
	if r := n.Route; r != nil {
		facts = append(facts, fact{"Limits", limitsText(r)})
	}
	for i, note := range n.Notes {
		facts = append(facts, fact{[]string{"Note", "And"}[min(i, 1)], note})
	}
	printFacts(w, facts)
	if p := n.Pool; p != nil && len(p.Backends) > 0 {
		fmt.Fprintln(w)
		a.printCandidates(p)
	}
	if len(n.Near) > 0 {
		fmt.Fprintln(w)
		printTable(w, []column[api.NearRoute]{
			{head: "OTHER ROUTE", cell: func(r api.NearRoute) string { return r.ID }},
			{head: "PRIORITY", cell: func(r api.NearRoute) string { return strconv.Itoa(r.Priority) }},
			{head: "WHY NOT", cell: nearText},
		}, n.Near, false)
	}
}

func (a *app) printCandidates(p *api.ExplainedPool) {
	printTable(a.stdout, []column[api.ExplainedBackend]{
		{head: "BACKEND", cell: func(b api.ExplainedBackend) string { return b.ID }},
		{head: "ADDRESS", cell: func(b api.ExplainedBackend) string { return b.Address }},
		{head: "ELIGIBLE", cell: func(b api.ExplainedBackend) string {
			if b.Picked {
				return "yes, next"
			}
			return yesNo(b.Eligible)
		}},
		{head: "WEIGHT", cell: func(b api.ExplainedBackend) string { return strconv.Itoa(b.Weight) }},
		{head: "RUNNING", cell: func(b api.ExplainedBackend) string { return strconv.FormatInt(b.InFlight, 10) }},
		{head: "LATENCY", cell: func(b api.ExplainedBackend) string { return milli(b.LatencyMS) }},
		{head: "BECAUSE", cell: func(b api.ExplainedBackend) string {
			var out []string
			for _, r := range b.Reasons {
				out = append(out, r.Text)
			}
			return strings.Join(out, "; ")
		}},
	}, p.Backends, false)
	if p.Omitted > 0 {
		fmt.Fprintf(a.stdout, "… and %s.\n", count(p.Omitted, "more backend"))
	}
}

func outcomeText(n api.NodeExplanation) string {
	if r := n.Refusal; r != nil {
		return fmt.Sprintf("%d %s: %s", r.Status, r.Code, r.Detail)
	}
	if n.Pool != nil {
		for _, b := range n.Pool.Backends {
			if b.Picked {
				return "goes to " + b.ID + " at " + b.Address
			}
		}
	}
	return "goes to " + n.Pick
}

func eligibleCount(n api.NodeExplanation) string {
	if n.Pool == nil {
		return ""
	}
	yes := 0
	for _, b := range n.Pool.Backends {
		if b.Eligible {
			yes++
		}
	}
	return fmt.Sprintf("%d of %d", yes, len(n.Pool.Backends)+n.Pool.Omitted)
}

func clausesText(list []api.Clause) string {
	var out []string
	for _, c := range list {
		out = append(out, c.Part+" is "+c.Want)
	}
	return strings.Join(out, ", ")
}

// nearText says what keeps a route from the request.
func nearText(r api.NearRoute) string {
	if r.Outranked {
		return "takes it too, but comes later"
	}
	var out []string
	for _, c := range r.Clauses {
		switch {
		case c.Holds:
		case c.Got == "":
			out = append(out, c.Part+" must be "+c.Want+", there is none")
		default:
			out = append(out, c.Part+" must be "+c.Want+", got "+c.Got)
		}
	}
	return strings.Join(out, "; ")
}

func requires(tags []string) string {
	if len(tags) == 0 {
		return ""
	}
	return ", requires " + strings.Join(tags, ", ")
}

func poolText(p *api.ExplainedPool) string {
	s := p.ID + ", " + p.Algorithm
	if p.Hash != "" {
		s += " of " + p.Hash
	}
	if p.Panic {
		s += "; PANIC: failing health has left no backend, so health is ignored"
	}
	return s
}

func limitsText(r *api.ExplainedRoute) string {
	var out []string
	for _, t := range []struct{ name, value string }{{"connect", r.Timeouts.Connect}, {"first byte", r.Timeouts.FirstByte}, {"total", r.Timeouts.Total}} {
		if t.value != "0s" {
			out = append(out, t.name+" "+t.value)
		}
	}
	return strings.Join(append(out, fmt.Sprintf("retries %d", r.Retries)), ", ")
}
