package main

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/client"
)

func (a *app) callbackCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "callback", Aliases: []string{"callbacks"}, Short: "What waits to be sent to tenants of BigBlueButton servers", Args: cobra.ArbitraryArgs, RunE: group,
		Long: `What BigBlueButton servers tell tenants waits in a queue until the tenant's receiver has accepted it. What was not
accepted for a day, or not with any of the tenant's secrets, is given up and stays until it is retried or dropped.`,
	}
	cmd.AddCommand(a.showCallbacksCmd("list"),
		a.changeCallbackCmd("retry", "Try callbacks again that were given up", http.MethodPost, "waits again"),
		a.changeCallbackCmd("drop", "Forget callbacks without sending them", http.MethodDelete, "dropped"))
	return cmd
}

func (a *app) showCallbacksCmd(use string) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: "Show what waits to be sent to tenants, and what was given up", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			resp, err := a.get(cmd.Context(), "/callbacks", nil)
			if err != nil {
				return err
			}
			all, err := client.Decode[[]api.Callback](resp)
			if err != nil {
				return err
			}
			a.noteStale(resp)
			switch a.output {
			case formatJSON, formatYAML:
				return a.emitDocument(resp.Body)
			case formatName:
				for _, c := range all {
					fmt.Fprintln(a.stdout, clean(c.ID))
				}
				return nil
			}
			printTable(a.stdout, []column[api.Callback]{
				{head: "ID", cell: func(c api.Callback) string { return c.ID }},
				{head: "KIND", cell: func(c api.Callback) string { return c.Kind }},
				{head: "FRONTEND", cell: func(c api.Callback) string { return c.Frontend }},
				{head: "MEETING", cell: func(c api.Callback) string { return c.MeetingID }},
				{head: "STATE", cell: func(c api.Callback) string { return c.State }},
				{head: "SINCE", cell: func(c api.Callback) string { return c.Since.Format(time.RFC3339) }},
				{head: "TRIES", cell: func(c api.Callback) string { return strconv.Itoa(c.Tries) }},
				{head: "URL", cell: func(c api.Callback) string { return c.URL }},
				{head: "ERROR", cell: func(c api.Callback) string { return c.Error }},
			}, all, a.output == formatWide)
			return nil
		},
	}
}

func (a *app) changeCallbackCmd(verb, short, method, done string) *cobra.Command {
	return &cobra.Command{
		Use: verb + " ID...", Short: short, Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, ids []string) error {
			if len(ids) == 0 {
				return usagef("%s needs the id of a callback; `lbctl show callbacks` lists them", cmd.CommandPath())
			}
			return each(ids, func(id string) error {
				path := client.Path("callbacks", id)
				if method == http.MethodPost {
					path = client.Path("callbacks", id, verb)
				}
				_, err := a.do(cmd.Context(), client.Request{Method: method, Path: path})
				if err == nil {
					fmt.Fprintf(a.stdout, "callback %s: %s\n", clean(id), done)
				}
				return err
			})
		},
	}
}
