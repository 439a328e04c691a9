package main

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lbnode/lbnode/client"
)

// completionTimeout bounds how long a shell waits for ids.
const completionTimeout = 2 * time.Second

func (a *app) showCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "show", Aliases: []string{"s", "get", "list"}, Short: "Show objects, health, statistics and nodes", Args: cobra.ArbitraryArgs, RunE: group}
	for _, n := range a.nouns() {
		sub := n.command("Show all "+n.path+", or those that are named", "["+refArg(n)+"...]")
		sub.ValidArgsFunction = a.completeIDs(n)
		for _, f := range n.filters {
			if f.typ == listField {
				sub.Flags().StringSlice(f.flag, nil, f.usage)
			} else {
				sub.Flags().String(f.flag, "", f.usage)
			}
		}
		sub.RunE = func(cmd *cobra.Command, refs []string) error { return a.show(cmd, n, refs) }
		cmd.AddCommand(sub)
	}
	cmd.AddCommand(a.showHealthCmd(), a.showStatsCmd(), a.showNodesCmd(), a.showSettingsCmd(), a.showPendingCmd(), a.showCallbacksCmd("callbacks"), a.showMeetingsCmd(), a.clusterStatusCmd("cluster"))
	return cmd
}

func (a *app) show(cmd *cobra.Command, n *noun, refs []string) error {
	query := url.Values{}
	for _, f := range n.filters {
		if !cmd.Flags().Changed(f.flag) {
			continue
		}
		if len(refs) > 0 {
			return usagef("%s: --%s filters the list; it makes no sense with %s", cmd.CommandPath(), f.flag, refs[0])
		}
		v, err := a.value(cmd, f)
		if err != nil {
			return err
		}
		if list, ok := v.([]string); ok {
			query[f.path] = list
		} else {
			query.Set(f.path, fmt.Sprint(v))
		}
	}
	if len(refs) == 0 {
		resp, err := a.get(cmd.Context(), client.Path(n.path), query)
		if err != nil {
			return err
		}
		a.noteStale(resp)
		return a.emit(n, resp.Body)
	}
	return a.showSome(cmd.Context(), n, refs)
}

// showSome prints the objects that are there, and says which are not.
func (a *app) showSome(ctx context.Context, n *noun, refs []string) error {
	var found [][]byte
	missing := each(refs, func(ref string) error {
		resp, _, err := n.lookup(ctx, a, ref)
		if err == nil {
			a.noteStale(resp)
			found = append(found, resp.Body)
		}
		return err
	})
	var err error
	switch {
	case len(found) == 0:
	case len(refs) == 1:
		err = a.emit(n, found[0])
	case a.output != "":
		err = a.emit(n, asList(found...))
	default:
		for i, body := range found {
			if i > 0 {
				fmt.Fprintln(a.stdout)
			}
			if err = n.describe(a, body); err != nil {
				return err
			}
		}
	}
	if err != nil {
		return err
	}
	return missing
}

// noteStale warns of an answer that may be old.
func (a *app) noteStale(resp *client.Response) {
	if resp.Stale() {
		a.notef("note: %s answers from its disk and has not heard of a leader since it started; this may be old", resp.Node)
	}
}

// completeIDs offers the ids of a kind to the shell, as far as the API answers soon.
func (a *app) completeIDs(n *noun) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
		defer cancel()
		resp, err := a.get(ctx, client.Path(n.path), nil)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		heads, err := client.Decode[[]head](resp)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var out []string
		for _, h := range heads {
			if strings.HasPrefix(h.ID, toComplete) {
				out = append(out, cobra.CompletionWithDesc(h.ID, clean(firstOf(h.Address, h.Key))))
			}
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}
