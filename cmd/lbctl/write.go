package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/lbnode/lbnode/client"
)

func (a *app) addCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "add", Aliases: []string{"a", "create"}, Short: "Create an object", Args: cobra.ArbitraryArgs, RunE: group}
	for _, n := range a.nouns() {
		sub := n.command("Create a "+n.name, n.args)
		register(sub, "add", n.fields)
		sub.RunE = func(cmd *cobra.Command, args []string) error { return a.add(cmd, n, args) }
		cmd.AddCommand(sub)
	}
	return cmd
}

func (a *app) add(cmd *cobra.Command, n *noun, args []string) error {
	if len(args) > 1 {
		return usagef("%s takes one %s, got %q too", cmd.CommandPath(), n.args, args[1])
	}
	doc, _, err := a.document(cmd, n)
	if err != nil {
		return err
	}
	if len(args) == 1 {
		if err := n.place(doc, args[0]); err != nil {
			return err
		}
	} else if n.needsArg(doc) {
		return usagef("%s needs %s", cmd.CommandPath(), n.args)
	}
	return a.create(cmd.Context(), n, doc)
}

// needsArg says that the document lacks what add's argument gives.
func (n *noun) needsArg(doc map[string]any) bool {
	switch n.name {
	case "backend":
		return doc["address"] == nil
	case "pool", "certificate":
		return doc["id"] == nil
	case "frontend":
		return doc["id"] == nil && doc["key"] == nil && doc["hosts"] == nil
	}
	return false
}

func (a *app) create(ctx context.Context, n *noun, doc map[string]any) error {
	resp, err := a.send(ctx, http.MethodPost, client.Path(n.path), doc)
	if err != nil {
		return err
	}
	h, err := client.Decode[head](resp)
	if err != nil {
		return err
	}
	if resp.Status != http.StatusCreated {
		return a.unchanged(n, resp.Body, fmt.Sprintf("no changes: %s %s is already so", n.name, h.ID))
	}
	text := fmt.Sprintf("created %s: %s", n.name, h.ID)
	if more := firstOf(h.Address, h.Key); more != "" && more != h.ID {
		text += " " + more
	}
	return a.result(n, resp.Body, text)
}

// unchanged prints a result and returns errUnchanged.
func (a *app) unchanged(n *noun, body []byte, text string) error {
	if err := a.result(n, body, text); err != nil {
		return err
	}
	return errUnchanged
}

func (a *app) setCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "set", Aliases: []string{"update", "u"}, Short: "Change fields of an object", Args: cobra.ArbitraryArgs, RunE: group}
	for _, n := range a.nouns() {
		sub := n.command("Change fields of a "+n.name, refArg(n))
		sub.Args = wantArgs(1, 1, refArg(n))
		sub.ValidArgsFunction = a.completeIDs(n)
		register(sub, "set", n.fields)
		sub.RunE = func(cmd *cobra.Command, args []string) error { return a.set(cmd, n, args[0]) }
		cmd.AddCommand(sub)
	}
	cmd.AddCommand(a.setSettingsCmd())
	return cmd
}

func refArg(n *noun) string {
	switch n.name {
	case "backend":
		return "ID|ADDRESS"
	case "frontend":
		return "ID|KEY"
	}
	return "ID"
}

func (a *app) set(cmd *cobra.Command, n *noun, ref string) error {
	doc, from, err := a.document(cmd, n)
	if err != nil {
		return err
	}
	if len(doc) == 0 && n.name != "frontend" {
		return usagef("%s needs something to set: -j or the flags of its fields, see --help", cmd.CommandPath())
	}
	ctx := cmd.Context()
	_, before, err := n.lookup(ctx, a, ref)
	switch {
	case errors.Is(err, client.ErrNotFound) && n.name == "frontend":
		return a.setMissingFrontend(ctx, n, ref, doc, from.renamed && !from.flags && len(doc) == 1)
	case errors.Is(err, client.ErrNotFound):
		return &hintedError{err, fmt.Sprintf("`lbctl add %s` makes a new one", n.name)}
	case err != nil:
		return err
	}
	return a.patch(ctx, n, before, doc)
}

// patch merges a document into an object that was just looked up.
func (a *app) patch(ctx context.Context, n *noun, before head, doc map[string]any) error {
	resp, err := a.send(ctx, http.MethodPatch, client.Path(n.path, before.ID), doc)
	if err != nil {
		return err
	}
	after, err := client.Decode[head](resp)
	if err != nil {
		return err
	}
	if after.ModifyIndex == before.ModifyIndex {
		return a.unchanged(n, resp.Body, fmt.Sprintf("no changes: %s %s", n.name, after.ID))
	}
	return a.result(n, resp.Body, fmt.Sprintf("updated %s: %s", n.name, after.ID))
}

func (a *app) deleteCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "delete", Aliases: []string{"del", "rm", "remove", "d"}, Short: "Remove objects", Args: cobra.ArbitraryArgs, RunE: group}
	for _, n := range a.nouns() {
		sub := n.command("Remove a "+n.name, refArg(n)+"...")
		sub.Args = wantArgs(1, -1, refArg(n))
		sub.ValidArgsFunction = a.completeIDs(n)
		usage := "without asking back"
		if n.name == "pool" {
			usage = "also if routes name it; its backends are removed at once"
		}
		if n.name == "backend" {
			sub.Short = "Drain a backend and then remove it"
			usage = "remove it at once, without drain"
			waitFlag(sub, "until it is removed")
			drainFlags(sub)
		}
		sub.Flags().BoolP("force", "f", false, usage)
		sub.RunE = func(cmd *cobra.Command, args []string) error { return a.remove(cmd, n, args) }
		cmd.AddCommand(sub)
	}
	return cmd
}

func (a *app) remove(cmd *cobra.Command, n *noun, refs []string) error {
	force, err := cmd.Flags().GetBool("force")
	if err != nil {
		return err
	}
	if err := a.oneRequest(refs); err != nil {
		return err
	}
	var w wait // only backends take their time
	query := url.Values{}
	if n.name == "backend" {
		if w, err = waitOf(cmd, goalRemoved); err != nil {
			return err
		}
		if query, err = drainQuery(cmd); err != nil {
			return err
		}
	}
	if force {
		query.Set("force", "true")
	}
	ctx := cmd.Context()
	err = each(refs, func(ref string) error {
		done, err := a.removeOne(ctx, n, ref, query)
		if err == nil || errors.Is(err, errUnchanged) {
			w.add(done)
		}
		return err
	})
	return a.waitFor(ctx, n, w, err)
}

// removeOne removes one object, or begins to.
func (a *app) removeOne(ctx context.Context, n *noun, ref string, query url.Values) (target, error) {
	_, before, err := n.lookup(ctx, a, ref)
	if err != nil {
		return target{}, err
	}
	resp, err := a.do(ctx, client.Request{Method: http.MethodDelete, Path: client.Path(n.path, before.ID), Query: query})
	if err != nil {
		return target{}, err
	}
	t := target{id: before.ID, index: resp.Index()}
	switch {
	case resp.Status != http.StatusAccepted:
		return t, a.result(n, nil, fmt.Sprintf("deleted %s: %s", n.name, before.ID))
	case before.AdminState == "decommissioned" && len(query) == 0:
		return t, a.unchanged(n, resp.Body, fmt.Sprintf("no changes: %s %s is already marked for decommissioning", n.name, before.ID))
	}
	return t, a.result(n, resp.Body, fmt.Sprintf("%s marked for decommissioning: %s (removed once nothing runs on it)", n.name, before.ID))
}

// oneRequest refuses a request id for several changes.
func (a *app) oneRequest(refs []string) error {
	if a.requestID != "" && len(refs) > 1 {
		return usagef("--request-id is of one change, not of %d", len(refs))
	}
	return nil
}

// switchCmd is enable or disable.
func (a *app) switchCmd(enable bool) *cobra.Command {
	cmd := &cobra.Command{Use: "disable", Aliases: []string{"dis", "stop"}, Short: "Take backends out: nothing new, what runs finishes", Args: cobra.ArbitraryArgs, RunE: group}
	goal, until := goalIdle, "until nothing runs on it (idle), or only until it is committed or applied on every node"
	if enable {
		cmd.Use, cmd.Aliases, cmd.Short = "enable", []string{"en", "start"}, "Bring backends back into use"
		goal, until = goalReady, "until it is healthy (ready), or only until it is committed or applied on every node"
	}
	for _, n := range a.nouns() {
		sub := n.command(cmd.Short, refArg(n)+"...")
		cmd.AddCommand(sub)
		if n.name != "backend" {
			sub.Hidden = true
			sub.RunE = func(cmd *cobra.Command, _ []string) error {
				return usagef("%s: only backends can be enabled and disabled; a %s can be changed with set and removed with delete", cmd.CommandPath(), n.name)
			}
			continue
		}
		sub.Args = wantArgs(1, -1, refArg(n))
		sub.ValidArgsFunction = a.completeIDs(n)
		waitFlag(sub, until)
		if !enable {
			drainFlags(sub)
		}
		sub.RunE = func(cmd *cobra.Command, refs []string) error { return a.switchBackends(cmd, n, refs, goal) }
	}
	return cmd
}

func (a *app) switchBackends(cmd *cobra.Command, n *noun, refs []string, goal goal) error {
	if err := a.oneRequest(refs); err != nil {
		return err
	}
	w, err := waitOf(cmd, goal)
	if err != nil {
		return err
	}
	query := url.Values{}
	if goal == goalIdle {
		if query, err = drainQuery(cmd); err != nil {
			return err
		}
	}
	ctx := cmd.Context()
	err = each(refs, func(ref string) error {
		done, err := a.switchOne(ctx, n, ref, goal, query)
		if err == nil || errors.Is(err, errUnchanged) {
			w.add(done)
		}
		return err
	})
	return a.waitFor(ctx, n, w, err)
}

func (a *app) switchOne(ctx context.Context, n *noun, ref string, goal goal, query url.Values) (target, error) {
	_, before, err := n.lookup(ctx, a, ref)
	if err != nil {
		return target{}, err
	}
	verb := "disable"
	if goal == goalReady {
		verb = "enable"
	}
	resp, err := a.do(ctx, client.Request{Method: http.MethodPost, Path: client.Path(n.path, before.ID, verb), Query: query})
	if err != nil {
		return target{}, err
	}
	after, err := client.Decode[head](resp)
	if err != nil {
		return target{}, err
	}
	t := target{id: after.ID, index: resp.Index()}
	if after.ModifyIndex == before.ModifyIndex {
		return t, a.unchanged(n, resp.Body, fmt.Sprintf("no changes: backend %s is already %sd", after.ID, verb))
	}
	text := fmt.Sprintf("%sd backend: %s", verb, after.ID)
	if goal == goalIdle && after.InFlight > 0 {
		text += fmt.Sprintf(" (%s in flight)", count(int(after.InFlight), "request"))
	}
	return t, a.result(n, resp.Body, text)
}
