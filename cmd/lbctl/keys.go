package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/client"
)

// maxKeyFile bounds what is read as a key file, in bytes.
const maxKeyFile = 64 << 10

func (a *app) keyCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "key", Aliases: []string{"keys"}, Short: "The secret that the nodes share, and its rotation", Args: cobra.ArbitraryArgs, RunE: group,
		Long: `The nodes of a cluster share a secret: who has it may join, talk to them and listen. To rotate it while everything
runs: install a new key, use it, remove the old one. Keys are named by a fingerprint and are never shown; the nodes
keep them in the file cluster-keys of their data dirs, a copy of which is the key file for a new node.`,
	}
	cmd.AddCommand(a.keyListCmd(), a.keyInstallCmd(),
		a.keyChangeCmd("use KEY", "Have every node use a key that all of them accept",
			"also if a node does not answer; it learns of the key when it is back", http.MethodPost, "in use"),
		a.keyChangeCmd("remove KEY", "Have every node refuse a key that is not in use",
			"also if a node may know no other; it will not get in again by itself", http.MethodDelete, "removed"))
	return cmd
}

func (a *app) keyListCmd() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls", "show"}, Short: "Show which node holds which key", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			resp, err := a.get(cmd.Context(), "/cluster/keys", nil)
			if err != nil {
				return err
			}
			keys, err := client.Decode[api.ClusterKeys](resp)
			if err != nil {
				return err
			}
			switch a.output {
			case formatJSON, formatYAML:
				return a.emitDocument(resp.Body)
			case formatName:
				for _, k := range keys.Keys {
					fmt.Fprintln(a.stdout, clean(k.ID))
				}
				return nil
			}
			printTable(a.stdout, []column[api.ClusterKey]{
				{head: "KEY", cell: func(k api.ClusterKey) string { return k.ID }},
				{head: "IN-USE", cell: func(k api.ClusterKey) string { return yesNo(k.InUse) }},
				{head: "ACCEPTED-BY", cell: func(k api.ClusterKey) string { return strings.Join(k.Nodes, ",") }},
				{head: "USED-BY", cell: func(k api.ClusterKey) string { return strings.Join(k.UsedBy, ",") }},
			}, keys.Keys, a.output == formatWide)
			if len(keys.Silent) > 0 {
				a.notef("no answer from %s", clean(strings.Join(keys.Silent, ", ")))
			}
			return nil
		},
	}
}

func (a *app) keyInstallCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "install", Aliases: []string{"add"}, Short: "Have every node accept one more key", Args: noArgs,
		Long: `Have every node accept one more key. Without --file the cluster makes one. A key that is there already is handed to
the nodes that lack it.`,
	}
	file := cmd.Flags().String("file", "", "the key, as lbctl keygen prints it; - = standard input")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		r := client.Request{Method: http.MethodPost, Path: "/cluster/keys"}
		if *file != "" {
			key, err := a.readKey(*file)
			if err != nil {
				return err
			}
			if r.Body, err = json.Marshal(api.InstallKeyInput{Key: key}); err != nil {
				return err
			}
			if a.dry { // nothing prints a key
				r.Body = nil
			}
		}
		return a.changeKey(cmd, r, "installed")
	}
	return cmd
}

// readKey reads the one key of a key file.
func (a *app) readKey(file string) (string, error) {
	in := a.stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return "", usagef("--file: %w", err)
		}
		defer f.Close()
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, maxKeyFile))
	if err != nil {
		return "", usagef("--file %s: %w", file, err)
	}
	var keys []string
	for line := range bytes.Lines(b) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' {
			keys = append(keys, string(line))
		}
	}
	if len(keys) != 1 {
		return "", usagef("--file %s: %d keys in it, want one", file, len(keys))
	}
	return keys[0], nil
}

func (a *app) keyChangeCmd(use, short, forceUsage, method, done string) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: wantArgs(1, 1, "KEY")}
	force := cmd.Flags().BoolP("force", "f", false, forceUsage)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		r := client.Request{Method: method, Path: client.Path("cluster", "keys", args[0])}
		if method == http.MethodPost {
			r.Path = client.Path("cluster", "keys", args[0], "use")
		}
		if *force {
			r.Query = url.Values{"force": {"true"}}
		}
		return a.changeKey(cmd, r, done)
	}
	return cmd
}

// changeKey makes a change and says who has not confirmed it.
func (a *app) changeKey(cmd *cobra.Command, r client.Request, done string) error {
	resp, err := a.do(cmd.Context(), r)
	if err != nil {
		return err
	}
	k, err := client.Decode[api.KeyChange](resp)
	if err != nil {
		return err
	}
	switch a.output {
	case formatJSON, formatYAML:
		if err := a.emitDocument(resp.Body); err != nil {
			return err
		}
	case formatName:
		fmt.Fprintln(a.stdout, clean(k.ID))
	default:
		fmt.Fprintf(a.stdout, "key %s: %s on %s\n", clean(k.ID), done, clean(strings.Join(k.Confirmed, ", ")))
	}
	if len(k.Unconfirmed) > 0 {
		a.notef("not confirmed by %s: a node that is down takes it over when it is back", clean(strings.Join(k.Unconfirmed, ", ")))
		return errIncomplete
	}
	return nil
}
