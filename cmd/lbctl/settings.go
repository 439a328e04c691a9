package main

import (
	"net/http"
	"reflect"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/client"
)

// settingsNoun is the one object that holds for the whole cluster. It is shown and set, never added or deleted.
func settingsNoun() *noun {
	return &noun{
		name: "settings", path: "settings", input: reflect.TypeFor[api.SettingsInput](),
		fields: []field{
			{flag: "fence-after", path: "fence_after", usage: "how long a node that no leader confirms goes on sending new requests to backends, from 1s; 0s = for ever"},
		},
		describe: textOf(describeSettings),
		table:    tableOf(settingsColumns),
	}
}

func (a *app) showSettingsCmd() *cobra.Command {
	n := settingsNoun()
	return &cobra.Command{
		Use: "settings", Short: "Show what holds for the whole cluster", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			resp, err := a.get(cmd.Context(), "/settings", nil)
			if err != nil {
				return err
			}
			a.noteStale(resp)
			return a.emit(n, resp.Body)
		},
	}
}

func (a *app) setSettingsCmd() *cobra.Command {
	n := settingsNoun()
	cmd := &cobra.Command{Use: "settings", Short: "Change what holds for the whole cluster", Args: noArgs}
	register(cmd, "set", n.fields)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		doc, _, err := a.document(cmd, n)
		if err != nil {
			return err
		}
		if len(doc) == 0 {
			return usagef("%s needs something to set: -j or the flags of its fields, see --help", cmd.CommandPath())
		}
		ctx := cmd.Context()
		before, err := a.get(ctx, "/settings", nil)
		if err != nil {
			return err
		}
		was, err := client.Decode[head](before)
		if err != nil {
			return err
		}
		resp, err := a.send(ctx, http.MethodPatch, "/settings", doc)
		if err != nil {
			return err
		}
		now, err := client.Decode[head](resp)
		if err != nil {
			return err
		}
		if was.ModifyIndex == now.ModifyIndex {
			return a.unchanged(n, resp.Body, "no changes: settings")
		}
		return a.result(n, resp.Body, "updated settings")
	}
	return cmd
}

func settingsColumns(*app) []column[api.Settings] {
	return []column[api.Settings]{
		{head: "ID", cell: func(s api.Settings) string { return s.ID }},
		{head: "FENCE-AFTER", cell: fenceText},
		{head: "MODIFIED-AT", cell: func(s api.Settings) string { return strconv.FormatUint(s.ModifyIndex, 10) }, wide: true},
	}
}

func describeSettings(a *app, s api.Settings) {
	printFacts(a.stdout, []fact{
		{"Fence after", fenceText(s)},
		{"Modified at", strconv.FormatUint(s.ModifyIndex, 10)},
	})
}

func fenceText(s api.Settings) string {
	if s.FenceAfter == "0s" {
		return "off"
	}
	return s.FenceAfter
}
