package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/client"
)

func (a *app) historyCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "history", Short: "Show who changed what, and when", Args: cobra.ArbitraryArgs}
	f := cmd.Flags()
	f.Int("limit", 20, "at most so many changes")
	f.Uint64("before", 0, "only changes before this index")
	f.String("kind", "", "only changes of this kind of object: backend, pool, route, frontend")
	f.String("id", "", "only changes of objects with this id")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return group(cmd, args)
		}
		return a.history(cmd)
	}
	cmd.AddCommand(
		&cobra.Command{
			Use: "show INDEX", Short: "Show one change with what was before and after", Args: wantArgs(1, 1, "INDEX"),
			RunE: func(cmd *cobra.Command, args []string) error { return a.showChange(cmd, args[0]) },
		},
		&cobra.Command{
			Use: "diff FROM [TO]", Short: "Show what changed after index FROM, up to TO or now", Args: wantArgs(1, 2, "FROM"),
			RunE: func(cmd *cobra.Command, args []string) error { return a.diff(cmd, args) },
		},
	)
	return cmd
}

func (a *app) history(cmd *cobra.Command) error {
	q := url.Values{}
	for _, name := range []string{"limit", "before", "kind", "id"} {
		if f := cmd.Flags().Lookup(name); f.Changed || name == "limit" {
			q.Set(name, f.Value.String())
		}
	}
	resp, err := a.get(cmd.Context(), "/history", q)
	if err != nil {
		return err
	}
	a.noteStale(resp)
	if a.output == formatJSON || a.output == formatYAML {
		return a.emitDocument(resp.Body)
	}
	changes, err := client.Decode[[]api.Change](resp)
	if err != nil {
		return err
	}
	if a.output == formatName {
		for _, c := range changes {
			fmt.Fprintln(a.stdout, c.Index)
		}
		return nil
	}
	printTable(a.stdout, []column[api.Change]{
		{head: "INDEX", cell: func(c api.Change) string { return strconv.FormatUint(c.Index, 10) }},
		{head: "WHEN", cell: func(c api.Change) string { return a.ago(c.Time) }},
		{head: "TIME", cell: func(c api.Change) string { return changeTime(c) }, wide: true},
		{head: "ACTOR", cell: func(c api.Change) string { return c.Actor }},
		{head: "REQUEST", cell: func(c api.Change) string { return c.RequestID }, wide: true},
		{head: "CHANGE", cell: func(c api.Change) string { return c.Summary }},
	}, changes, a.output == formatWide)
	return nil
}

func changeTime(c api.Change) string { return c.Time.UTC().Format("2006-01-02 15:04:05Z") }

func (a *app) showChange(cmd *cobra.Command, index string) error {
	if _, err := parseIndex(index); err != nil {
		return err
	}
	resp, err := a.get(cmd.Context(), client.Path("history", index), nil)
	if err != nil {
		return err
	}
	if a.output == formatJSON || a.output == formatYAML {
		return a.emitDocument(resp.Body)
	}
	c, err := client.Decode[api.Change](resp)
	if err != nil {
		return err
	}
	printFacts(a.stdout, []fact{
		{"Index", strconv.FormatUint(c.Index, 10)},
		{"Time", changeTime(c) + " (" + a.ago(c.Time) + ")"},
		{"Actor", c.Actor},
		{"Request", c.RequestID},
		{"Change", c.Summary},
	})
	fmt.Fprintln(a.stdout)
	if c.Truncated {
		a.notef("note: this change was too large to be kept whole")
	}
	return printObjectChanges(a.stdout, c.Objects)
}

func (a *app) diff(cmd *cobra.Command, args []string) error {
	q := url.Values{}
	for i, name := range []string{"from", "to"}[:len(args)] {
		if _, err := parseIndex(args[i]); err != nil {
			return err
		}
		q.Set(name, args[i])
	}
	resp, err := a.get(cmd.Context(), "/history/diff", q)
	if err != nil {
		return err
	}
	a.noteStale(resp)
	if a.output == formatJSON || a.output == formatYAML {
		return a.emitDocument(resp.Body)
	}
	d, err := client.Decode[api.Diff](resp)
	if err != nil {
		return err
	}
	if len(d.Objects) == 0 {
		fmt.Fprintf(a.stdout, "no differences between %d and %d\n", d.From, d.To)
		return nil
	}
	return printObjectChanges(a.stdout, d.Objects)
}

func parseIndex(s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		return 0, usagef("an index is a number, as `lbctl history` shows it, got %q", s)
	}
	return n, nil
}

// printObjectChanges writes a line for each object, and below it a line for each field.
func printObjectChanges(w io.Writer, objects []api.ObjectChange) error {
	sign := map[string]string{api.EffectCreated: "+", api.EffectDeleted: "-", api.EffectUpdated: "~"}
	for _, o := range objects {
		fmt.Fprintf(w, "%s %s %s\n", firstOf(sign[o.Effect], "?"), clean(o.Kind), clean(o.ID))
		before, err := members(o.Before)
		if err != nil {
			return err
		}
		after, err := members(o.After)
		if err != nil {
			return err
		}
		switch {
		case before == nil || after == nil:
			whole := before
			if whole == nil {
				whole = after
			}
			for _, name := range sortedKeys(whole) {
				if name != "id" {
					fmt.Fprintf(w, "    %s: %s\n", clean(name), compact(whole[name]))
				}
			}
		default:
			printFields(w, o.Fields, before, after)
		}
	}
	return nil
}

func printFields(w io.Writer, fields []string, before, after map[string]any) {
	for _, pointer := range fields {
		name := strings.ReplaceAll(strings.TrimPrefix(pointer, "/"), "/", ".")
		if pointer == "/secret" {
			fmt.Fprintf(w, "    secret: changed\n")
			continue
		}
		fmt.Fprintf(w, "    %s: %s -> %s\n", clean(name), compact(at(before, pointer)), compact(at(after, pointer)))
	}
}

// members decodes an object; nil for null.
func members(raw json.RawMessage) (map[string]any, error) {
	var m map[string]any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if len(raw) == 0 {
		return nil, nil
	}
	if err := d.Decode(&m); err != nil {
		return nil, fmt.Errorf("decode the answer: %w", err)
	}
	return m, nil
}

// at is the value at a pointer (RFC 6901) into nested objects; nil if there is none.
func at(doc map[string]any, pointer string) any {
	var v any = doc
	for part := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[strings.NewReplacer("~1", "/", "~0", "~").Replace(part)]
	}
	return v
}

// compact is a value as JSON in a line; "(none)" for a missing one.
func compact(v any) string {
	if v == nil {
		return "(none)"
	}
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return "?"
	}
	return clean(strings.TrimSpace(buf.String()))
}

func (a *app) rollbackCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "rollback INDEX", Short: "Undo a change by a new one", Args: wantArgs(1, 1, "INDEX"),
		Long: `Undo a change, by a new one: every object becomes what it was before. Backends that the change created drain first.
Refused if what it changed has been changed again since, unless --force is given. "lbctl history" shows the indexes.`,
	}
	force := cmd.Flags().BoolP("force", "f", false, "also if what it changed has been changed again since")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if _, err := parseIndex(args[0]); err != nil {
			return err
		}
		r := client.Request{Method: http.MethodPost, Path: client.Path("history", args[0], "rollback")}
		if *force {
			r.Query = url.Values{"force": {"true"}}
		}
		resp, err := a.do(cmd.Context(), r)
		if err != nil {
			return err
		}
		out, err := client.Decode[api.RollbackResult](resp)
		if err != nil {
			return err
		}
		if a.output == formatJSON || a.output == formatYAML {
			err = a.emitDocument(resp.Body)
		} else {
			a.sayRollback(args[0], out)
		}
		if err == nil && out.Index == 0 {
			return errUnchanged
		}
		return err
	}
	return cmd
}

func (a *app) sayRollback(index string, out api.RollbackResult) {
	if out.Index == 0 {
		fmt.Fprintf(a.stdout, "no changes: everything is as it was before %s\n", clean(index))
		return
	}
	fmt.Fprintf(a.stdout, "rolled back change %s by change %d\n", clean(index), out.Index)
	for _, o := range out.Ops {
		fmt.Fprintf(a.stdout, "  %s %s %s\n", clean(o.Effect), clean(o.Kind), clean(o.ID))
	}
	for _, ref := range out.Kept {
		fmt.Fprintf(a.stdout, "  kept %s: a backend still drains in it\n", clean(ref))
	}
}
