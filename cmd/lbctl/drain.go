package main

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/client"
)

// drainFlags are those of disable and delete that say how a backend is drained: parameters of the API by flag.
func drainFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.String("deadline", "", "end of the drain: a duration from now such as 10m, or a time such as 2026-01-02T15:04:05Z")
	f.String("on-deadline", "", "what then still runs: keep (the default) or close")
	f.String("sticky", "", "sticky sessions while it drains: keep (the default) or release")
}

func drainQuery(cmd *cobra.Command) (url.Values, error) {
	q := url.Values{}
	for flag, param := range map[string]string{"deadline": "deadline", "on-deadline": "on_deadline", "sticky": "sticky"} {
		if !cmd.Flags().Changed(flag) {
			continue
		}
		v, err := cmd.Flags().GetString(flag)
		if err != nil {
			return nil, err
		}
		q.Set(param, v)
	}
	return q, nil
}

// drainText is how a backend that is out of use is drained, "" for one that is in use.
func drainText(b api.Backend) string {
	if !b.Draining && !b.Drained {
		return ""
	}
	text := "what runs finishes"
	if b.Drain.Deadline != "" {
		text = "until " + b.Drain.Deadline + ", what runs then is kept"
		if b.Drain.OnDeadline == api.DrainClose {
			text = "until " + b.Drain.Deadline + ", what runs then is closed"
		}
	}
	if b.Drain.Sticky == api.DrainRelease {
		text += "; sticky sessions are released"
	}
	return text
}

// orderCmd gives an order to one node.
func (a *app) orderCmd(order, short, long, done string) *cobra.Command {
	return &cobra.Command{
		Use: order + " NODE", Short: short, Long: long, Args: wantArgs(1, 1, "NODE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			resp, err := a.do(cmd.Context(), client.Request{Method: http.MethodPost, Path: client.Path("nodes", args[0], order)})
			if err != nil {
				return err
			}
			if a.output == formatJSON || a.output == formatYAML {
				return a.emitDocument(resp.Body)
			}
			fmt.Fprintf(a.stdout, done+"\n", clean(args[0]))
			return nil
		},
	}
}

func (a *app) nodeOrders() []*cobra.Command {
	return []*cobra.Command{
		a.orderCmd("drain", "Take a node out of use: not ready, no leadership, what runs finishes",
			`Take a node out of use. Its /readyz is 503, it hands leadership over, and its answers ask clients to go elsewhere
(Connection: close, GOAWAY), while it goes on serving. It stays a member, and out of use until undrain, also when it is
restarted.`, "drained node: %s (until `lbctl node undrain`)"),
		a.orderCmd("undrain", "Bring a node back into use", "", "undrained node: %s"),
		a.orderCmd("leave", "Let a node drain, leave the cluster for good, and end",
			`Let a node drain, leave the cluster for good, and end with exit code 0. What would cost the quorum is refused.
For a node that is dead there is remove.`, "node is leaving: %s (it drains first; `lbctl show nodes` shows when it is gone)"),
	}
}
