package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/client"
)

// sayConfirm says what to type so that a change stays, and by when.
func (a *app) sayConfirm(index uint64, by *time.Time) {
	if by == nil {
		return
	}
	command := "lbctl"
	if a.api != "" {
		command += " --api " + clean(a.api)
	}
	fmt.Fprintf(a.stdout, "It is undone at %s (in %s) unless you type:\n\n  %s confirm %d\n\n", by.In(a.now().Location()).Format("15:04:05"), short(max(by.Sub(a.now()), 0)), command, index)
}

func (a *app) confirmCmd() *cobra.Command {
	return &cobra.Command{
		Use: "confirm [INDEX]", Short: "Let a change stay that was applied with --confirm-within", Args: wantArgs(0, 1, "INDEX"),
		Long: `Let a change stay that was applied with --confirm-within. Without INDEX it is the only one that waits for it;
"lbctl show pending" lists them. "lbctl rollback INDEX" undoes one at once.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			r := client.Request{Method: http.MethodPost, Path: "/apply/confirm"}
			if len(args) == 1 {
				if _, err := parseIndex(args[0]); err != nil {
					return err
				}
				r.Query = url.Values{"index": {args[0]}}
			}
			resp, err := a.do(cmd.Context(), r)
			if err != nil {
				return err
			}
			if a.output == formatJSON || a.output == formatYAML {
				return a.emitDocument(resp.Body)
			}
			out, err := client.Decode[api.ConfirmResult](resp)
			if err != nil {
				return err
			}
			fmt.Fprintf(a.stdout, "confirmed: change %d stays\n", out.Confirmed)
			return nil
		},
	}
}

func (a *app) showPendingCmd() *cobra.Command {
	return &cobra.Command{
		Use: "pending", Short: "Show the changes that are undone unless they are confirmed", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			resp, err := a.get(cmd.Context(), "/apply/pending", nil)
			if err != nil {
				return err
			}
			a.noteStale(resp)
			if a.output == formatJSON || a.output == formatYAML {
				return a.emitDocument(resp.Body)
			}
			list, err := client.Decode[[]api.Pending](resp)
			if err != nil {
				return err
			}
			switch {
			case a.output == formatName:
				for _, p := range list {
					fmt.Fprintln(a.stdout, p.Index)
				}
				return nil
			case len(list) == 0 && a.output == "":
				fmt.Fprintln(a.stdout, "no change waits for a confirmation")
				return nil
			}
			printTable(a.stdout, []column[api.Pending]{
				{head: "INDEX", cell: func(p api.Pending) string { return strconv.FormatUint(p.Index, 10) }},
				{head: "UNDONE-IN", cell: func(p api.Pending) string { return p.Remaining }},
				{head: "CONFIRM-BY", cell: func(p api.Pending) string { return p.ConfirmBy.UTC().Format("2006-01-02 15:04:05Z") }, wide: true},
				{head: "ACTOR", cell: func(p api.Pending) string { return p.Actor }},
				{head: "CHANGE", cell: func(p api.Pending) string { return p.Summary }},
			}, list, a.output == formatWide)
			return nil
		},
	}
}
