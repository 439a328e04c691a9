package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/client"
)

// fileCommands take -f for --file, which elsewhere means --force; see arrange.
func fileCommands() []string { return []string{"apply", "plan"} }

func (a *app) applyCmd(plan bool) *cobra.Command {
	cmd := &cobra.Command{
		Use: "apply -f FILE", Short: "Make the configuration what a file says, in one change", Args: noArgs,
		Long: `Make the configuration what a file says, in one change: a YAML or JSON document with the lists backends, pools, routes
and frontends, each object with its id, and the cluster's settings. What is already so is not touched. With --prune, objects that a list does not name are
deleted, backends by draining; a list that is left out is not touched. "lbctl plan" shows what would change.

With --confirm-within 5m the cluster undoes the change by itself unless "lbctl confirm" comes in time: for changes that may cut
you off. What somebody else changes meanwhile is left alone then.`,
	}
	if plan {
		cmd.Use, cmd.Short = "plan -f FILE", "Show what apply would change"
		cmd.Long = "Show what `lbctl apply` with the same flags would change. Exit code 64 if that is nothing."
	}
	file := cmd.Flags().String("file", "", "the document, or - for standard input; also -f")
	prune := cmd.Flags().Bool("prune", false, "delete what the lists of the document do not name")
	within := new(time.Duration)
	if !plan {
		cmd.Flags().DurationVar(within, "confirm-within", 0, "undo all of it after this time, unless \"lbctl confirm\" comes before; from 1s to 24h")
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *file == "" {
			return usagef("%s needs -f FILE", cmd.CommandPath())
		}
		q := url.Values{}
		if *prune {
			q.Set("prune", "true")
		}
		if plan {
			q.Set("dry_run", "true")
		}
		if *within != 0 {
			q.Set("confirm_within", within.String())
		}
		return a.applyFile(cmd, *file, q)
	}
	return cmd
}

func (a *app) applyFile(cmd *cobra.Command, file string, q url.Values) error {
	text, err := a.readFile(file)
	if err != nil {
		return err
	}
	body, err := yamlToJSON(text)
	if err != nil {
		return invalidError(fmt.Sprintf("%s: %s", file, err))
	}
	resp, err := a.do(cmd.Context(), client.Request{Method: http.MethodPost, Path: "/apply", Query: q, Body: body})
	if err != nil {
		return err
	}
	return a.saidApply(resp)
}

// saidApply prints the answer of /apply.
func (a *app) saidApply(resp *client.Response) error {
	out, err := client.Decode[api.ApplyResult](resp)
	if err != nil {
		return err
	}
	if a.output == formatJSON || a.output == formatYAML {
		err = a.emitDocument(resp.Body)
	} else {
		err = a.sayApply(out)
	}
	if err == nil && len(out.Objects) == 0 {
		return errUnchanged
	}
	return err
}

// yamlToJSON reads YAML, of which JSON is a part.
func yamlToJSON(text string) ([]byte, error) {
	var doc map[string]any
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		return nil, err
	}
	if doc == nil {
		doc = map[string]any{}
	}
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(doc); err != nil {
		return nil, err
	}
	return bytes.TrimSpace(buf.Bytes()), nil
}

func (a *app) sayApply(out api.ApplyResult) error {
	if err := printObjectChanges(a.stdout, out.Objects); err != nil {
		return err
	}
	for _, ref := range out.Kept {
		fmt.Fprintf(a.stdout, "kept %s: backends that are not listed are in it\n", clean(ref))
	}
	n := map[string]int{}
	for _, o := range out.Objects {
		n[o.Effect]++
	}
	counts := fmt.Sprintf("%d created, %d updated, %d deleted", n[api.EffectCreated], n[api.EffectUpdated], n[api.EffectDeleted])
	switch {
	case len(out.Objects) == 0:
		fmt.Fprintln(a.stdout, "no changes: everything is already so")
	case out.DryRun:
		fmt.Fprintf(a.stdout, "plan: %s; nothing was changed\n", counts)
	default:
		fmt.Fprintf(a.stdout, "applied: %s by change %d\n", counts, out.Index)
		a.sayConfirm(out.Index, out.ConfirmBy)
	}
	return nil
}
