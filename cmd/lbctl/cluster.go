package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/client"
)

func (a *app) clusterCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "cluster", Short: "State of the cluster, and leadership", Args: cobra.ArbitraryArgs, RunE: group}
	cmd.AddCommand(a.clusterStatusCmd("status"), a.transferCmd(), a.keyCmd())
	return cmd
}

func (a *app) clusterStatusCmd(use string) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: "Show whether the cluster is well, who leads, and what may still fail", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.clusterStatus(cmd) },
	}
}

func (a *app) clusterStatus(cmd *cobra.Command) error {
	resp, err := a.get(cmd.Context(), "/cluster", nil)
	if err != nil {
		return err
	}
	switch a.output {
	case formatJSON, formatYAML:
		return a.emitDocument(resp.Body)
	case formatName:
		return printIDs(a.stdout, asList(resp.Body))
	}
	c, err := client.Decode[api.Cluster](resp)
	if err != nil {
		return err
	}
	fmt.Fprintln(a.stdout, clusterSummary(c))
	fmt.Fprintln(a.stdout)
	leader := "none known"
	if c.Leader != nil {
		leader = fmt.Sprintf("%s (API %s, proxy %s)", c.Leader.ID, firstOf(c.Leader.API, "unknown"), firstOf(c.Leader.Proxy, "unknown"))
	}
	contact := ""
	if c.LastContact != "" && c.State != "leader" {
		contact = ", leader heard " + c.LastContact + " ago"
	}
	printFacts(a.stdout, []fact{
		{"Cluster", firstOf(c.ID, "not yet formed or joined")},
		{"Leader", leader},
		{"Voters", fmt.Sprintf("%d of %d alive (%s)", c.LiveVoters, len(c.Voters), strings.Join(c.Voters, ", "))},
		{"May still fail", count(c.FailureTolerance, "voter")},
		{"Answered by", c.Node + ", " + c.State + contact},
		{"Index", fmt.Sprintf("%d here, %d committed, %d in the log, term %d", c.Index, c.CommitIndex, c.LastIndex, c.Term)},
	})
	nodes, err := a.get(cmd.Context(), "/nodes", nil)
	if err != nil {
		return err
	}
	list, err := client.Decode[[]api.Node](nodes)
	if err != nil {
		return err
	}
	fmt.Fprintln(a.stdout)
	printTable(a.stdout, nodeColumns(a), list, a.output == formatWide)
	return nil
}

// clusterSummary says first what an operator has to do something about.
func clusterSummary(c api.Cluster) string {
	switch {
	case c.ID == "":
		return "NOT FORMED: this node belongs to no cluster yet."
	case c.Leader == nil:
		return "NO LEADER: traffic goes on as configured, nothing can be changed."
	case !c.Healthy:
		return "UNHEALTHY: too few voters are alive; traffic goes on as configured, nothing can be changed."
	case c.Stale:
		return "STALE: this node answers from its disk; no leader has confirmed it yet."
	case c.LiveVoters < len(c.Voters):
		return fmt.Sprintf("DEGRADED: %d of %s alive; %d more may fail.", c.LiveVoters, count(len(c.Voters), "voter"), c.FailureTolerance)
	case len(c.Voters) == 1:
		return "Healthy, but a single voter: its failure stops changes. Join two more nodes."
	}
	return fmt.Sprintf("Healthy: all %d voters alive, %d may fail.", len(c.Voters), c.FailureTolerance)
}

func (a *app) transferCmd() *cobra.Command {
	return &cobra.Command{
		Use: "transfer-leader [NODE]", Short: "Hand leadership to another voter, or to the best one", Args: wantArgs(0, 1, "NODE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var in api.TransferInput
			if len(args) == 1 {
				in.To = args[0]
			}
			body, err := json.Marshal(in)
			if err != nil {
				return err
			}
			resp, err := a.do(cmd.Context(), client.Request{Method: http.MethodPost, Path: "/cluster/transfer-leader", Body: body})
			if err != nil {
				return err
			}
			if a.output == formatJSON || a.output == formatYAML {
				return a.emitDocument(resp.Body)
			}
			fmt.Fprintf(a.stdout, "leadership handed to %s\n", clean(firstOf(in.To, "the best voter")))
			return nil
		},
	}
}

func (a *app) nodeCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "node", Aliases: []string{"nodes"}, Short: "Members of the cluster", Args: cobra.ArbitraryArgs, RunE: group}
	remove := &cobra.Command{
		Use: "remove NODE", Aliases: []string{"rm", "delete", "del"}, Short: "Take a member out of the cluster for good", Args: wantArgs(1, 1, "NODE"),
		Long: `Take a member out of the cluster for good. Its process goes on and must be stopped by hand; a node that is
only restarted or moved needs no removal. What would cost the quorum is refused, unless --force is given.`,
	}
	force := remove.Flags().BoolP("force", "f", false, "also if the cluster then has no majority of live voters")
	remove.RunE = func(cmd *cobra.Command, args []string) error {
		r := client.Request{Method: http.MethodDelete, Path: client.Path("nodes", args[0])}
		if *force {
			r.Query = url.Values{"force": {"true"}}
		}
		if _, err := a.do(cmd.Context(), r); err != nil {
			return err
		}
		fmt.Fprintf(a.stdout, "removed node: %s\n", clean(args[0]))
		return nil
	}
	cmd.AddCommand(remove)
	cmd.AddCommand(a.nodeOrders()...)
	return cmd
}

func (a *app) showNodesCmd() *cobra.Command {
	return &cobra.Command{
		Use: "nodes", Aliases: []string{"node"}, Short: "Show the members of the cluster", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			resp, err := a.get(cmd.Context(), "/nodes", nil)
			if err != nil {
				return err
			}
			switch a.output {
			case formatJSON, formatYAML:
				return a.emitDocument(resp.Body)
			case formatName:
				return printIDs(a.stdout, resp.Body)
			}
			nodes, err := client.Decode[[]api.Node](resp)
			if err != nil {
				return err
			}
			if a.output == "" {
				fmt.Fprintln(a.stdout, nodesSummary(nodes))
				fmt.Fprintln(a.stdout)
			}
			printTable(a.stdout, nodeColumns(a), nodes, a.output == formatWide)
			return nil
		},
	}
}

// nodesSummary names the nodes that need somebody.
func nodesSummary(nodes []api.Node) string {
	var bad []string
	leader := ""
	for _, n := range nodes {
		if n.Status != "alive" {
			bad = append(bad, clean(n.ID+" is "+n.Status))
		}
		if n.StoreFull {
			bad = append(bad, clean("the disk of "+n.ID+" is full"))
		}
		if n.Leader {
			leader = n.ID
		}
	}
	if leader == "" {
		bad = append(bad, "there is no leader")
	}
	if len(bad) > 0 {
		return fmt.Sprintf("Of %s, %d alive: %s.", count(len(nodes), "node"), aliveCount(nodes), strings.Join(bad, ", "))
	}
	if len(nodes) == 1 {
		return fmt.Sprintf("1 node, alive: %s leads.", clean(leader))
	}
	return fmt.Sprintf("All %s alive, %s leads.", count(len(nodes), "node"), clean(leader))
}

func aliveCount(nodes []api.Node) (n int) {
	for _, node := range nodes {
		if node.Status == "alive" {
			n++
		}
	}
	return n
}

func nodeColumns(*app) []column[api.Node] {
	return []column[api.Node]{
		{head: "NODE", cell: func(n api.Node) string { return n.ID }},
		{head: "STATUS", cell: func(n api.Node) string { return nodeStatus(n) }},
		{head: "ROLE", cell: nodeRole},
		{head: "API", cell: func(n api.Node) string { return n.API }},
		{head: "PROXY", cell: func(n api.Node) string { return n.Proxy }},
		{head: "LAG", cell: func(n api.Node) string {
			if n.Lag == nil {
				return "?"
			}
			return strconv.FormatUint(*n.Lag, 10)
		}},
		{head: "VERSION", cell: func(n api.Node) string { return n.Version }},
		{head: "CLUSTER-ADDRESS", cell: func(n api.Node) string { return n.Address }, wide: true},
		{head: "APPLIED", cell: func(n api.Node) string { return strconv.FormatUint(n.AppliedIndex, 10) }, wide: true},
		{head: "LAST-CONTACT", cell: func(n api.Node) string { return n.LastContact }, wide: true},
	}
}

func nodeStatus(n api.Node) string {
	s := n.Status
	if n.Draining {
		s += " (draining)"
	}
	if n.StoreFull {
		s += " (disk full)"
	}
	return s
}

func nodeRole(n api.Node) string {
	switch {
	case n.Leader:
		return "leader"
	case n.Voter:
		return "voter"
	}
	return "non-voter"
}
