package main

import (
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/client"
	"github.com/lbnode/lbnode/internal/auth"
)

func tokenNoun() *noun {
	return &noun{
		name: "token", path: "tokens", args: "ID", input: reflect.TypeFor[api.TokenInput](),
		fields: []field{
			{flag: "role", path: "role", usage: "viewer (reads), operator (changes what traffic does) or admin (everything)"},
			{flag: "description", path: "description", usage: "who or what uses it"},
			{flag: "pool", path: "pools", typ: listField, usage: "bind what it changes to backends and routes of this pool; repeat for several, they replace the whole list"},
			{flag: "expires-at", path: "expires_at", usage: "when it ends, such as 2027-01-31T00:00:00Z"},
		},
		place:    placeID,
		describe: textOf(describeToken),
		table:    tableOf(tokenColumns),
	}
}

// tokenCmd is what concerns the tokens of the API.
func (a *app) tokenCmd() *cobra.Command {
	n := tokenNoun()
	cmd := &cobra.Command{
		Use: "token", Aliases: []string{"tokens"}, Short: "Say who may use the API", Args: cobra.ArbitraryArgs, RunE: group,
		Long: `Say who may use the API. As long as there is no token, whoever reaches it on loopback may do everything; the first
token must be an admin's, and from then on every request needs one.

  lbctl token create root --role admin > root.token
  export LBCTL_TOKEN_FILE=root.token
  lbctl token create ci --role operator --pool web --expires-in 2160h
  lbctl token rotate ci`,
	}
	create := n.command("Make a token and print its text, which is shown only now", "[ID]")
	create.Use, create.Aliases = "create [ID]", []string{"add"}
	register(create, "add", n.fields)
	create.Flags().Duration("expires-in", 0, "how long it is valid, such as 720h")
	create.RunE = func(cmd *cobra.Command, args []string) error { return a.createToken(cmd, n, args) }

	list := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List the tokens", Args: noArgs, RunE: func(cmd *cobra.Command, _ []string) error { return a.show(cmd, n, nil) }}
	show := &cobra.Command{Use: "show ID...", Aliases: []string{"get"}, Short: "Show tokens, but not their texts", Args: wantArgs(1, -1, "ID"), ValidArgsFunction: a.completeIDs(n)}
	show.RunE = func(cmd *cobra.Command, refs []string) error { return a.show(cmd, n, refs) }
	set := &cobra.Command{Use: "set ID", Aliases: []string{"update"}, Short: "Change what a token may do", Args: wantArgs(1, 1, "ID"), ValidArgsFunction: a.completeIDs(n)}
	register(set, "set", n.fields)
	set.RunE = func(cmd *cobra.Command, args []string) error { return a.set(cmd, n, args[0]) }
	remove := &cobra.Command{Use: "delete ID...", Aliases: []string{"rm", "revoke"}, Short: "Delete tokens: they are of no use from then on", Args: wantArgs(1, -1, "ID"), ValidArgsFunction: a.completeIDs(n)}
	remove.Flags().BoolP("force", "f", false, "even the last token of an admin")
	remove.RunE = func(cmd *cobra.Command, refs []string) error { return a.remove(cmd, n, refs) }
	rotate := &cobra.Command{Use: "rotate ID", Short: "Give a token a new text and print it; the old one is of no use from then on", Args: wantArgs(1, 1, "ID"), ValidArgsFunction: a.completeIDs(n)}
	rotate.RunE = func(cmd *cobra.Command, args []string) error {
		resp, err := a.do(cmd.Context(), client.Request{Method: http.MethodPost, Path: client.Path(n.path, args[0], "rotate")})
		if err != nil {
			return err
		}
		return a.printText(n, resp)
	}
	mint := &cobra.Command{
		Use: "mint", Short: "Print a token for --api-token-file; no node is asked", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			fmt.Fprintln(a.stdout, auth.Mint("bootstrap"))
			return nil
		},
	}
	cmd.AddCommand(create, list, show, set, remove, rotate, mint)
	return cmd
}

func (a *app) createToken(cmd *cobra.Command, n *noun, args []string) error {
	if len(args) > 1 {
		return usagef("%s takes one ID, got %q too", cmd.CommandPath(), args[1])
	}
	doc, _, err := a.document(cmd, n)
	if err != nil {
		return err
	}
	if len(args) == 1 {
		if err := n.place(doc, args[0]); err != nil {
			return err
		}
	}
	if cmd.Flags().Changed("expires-in") {
		d, err := cmd.Flags().GetDuration("expires-in")
		if err != nil {
			return err
		}
		if d <= 0 {
			return usagef("--expires-in must be positive, got %s", d)
		}
		if !put(doc, []string{"expires_at"}, a.now().Add(d).UTC().Truncate(time.Second).Format(time.RFC3339)) {
			return usagef("--expires-in and expires_at exclude each other")
		}
	}
	resp, err := a.send(cmd.Context(), http.MethodPost, client.Path(n.path), doc)
	if err != nil {
		return err
	}
	return a.printText(n, resp)
}

// printText prints the text of a token alone, so that it can go to a file, and the rest beside it.
func (a *app) printText(n *noun, resp *client.Response) error {
	t, err := client.Decode[api.TokenSecret](resp)
	if err != nil {
		return err
	}
	if a.output != "" {
		return a.emit(n, resp.Body)
	}
	a.notef("token %s, %s%s; its text is shown only now:", t.ID, t.Role, expiry(t.Token))
	fmt.Fprintln(a.stdout, t.Text)
	return nil
}

func expiry(t api.Token) string {
	switch {
	case t.ExpiresAt == nil:
		return ""
	case t.Expired:
		return ", expired at " + t.ExpiresAt.Format(time.RFC3339)
	}
	return ", until " + t.ExpiresAt.Format(time.RFC3339)
}

func expiryText(t api.Token) string {
	switch {
	case t.ExpiresAt == nil:
		return "never"
	case t.Expired:
		return "expired at " + t.ExpiresAt.Format(time.RFC3339)
	}
	return t.ExpiresAt.Format(time.RFC3339)
}

func tokenColumns(*app) []column[api.Token] {
	return []column[api.Token]{
		{head: "ID", cell: func(t api.Token) string { return t.ID }},
		{head: "ROLE", cell: func(t api.Token) string { return t.Role }},
		{head: "POOLS", cell: func(t api.Token) string { return firstOf(strings.Join(t.Pools, ","), "all") }},
		{head: "EXPIRES", cell: expiryText},
		{head: "DESCRIPTION", cell: func(t api.Token) string { return t.Description }},
		{head: "MODIFIED-AT", cell: func(t api.Token) string { return strconv.FormatUint(t.ModifyIndex, 10) }, wide: true},
	}
}

func describeToken(a *app, t api.Token) {
	printFacts(a.stdout, []fact{
		{"Token", t.ID},
		{"Role", t.Role},
		{"Changes", firstOf(strings.Join(t.Pools, ", "), "all pools")},
		{"Expires", expiryText(t)},
		{"Description", t.Description},
		{"Modified at", fmt.Sprint(t.ModifyIndex)},
	})
}
