package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"go.yaml.in/yaml/v3"
)

// The values of -o. "" is the text for people.
const (
	formatTable = "table"
	formatWide  = "wide"
	formatJSON  = "json"
	formatYAML  = "yaml"
	formatName  = "name"
)

// column is one column of a table.
type column[T any] struct {
	head string
	cell func(T) string
	wide bool // only with -o wide
}

// printTable writes items with aligned columns.
func printTable[T any](w io.Writer, cols []column[T], items []T, wide bool) {
	rows := [][]string{{}}
	for _, c := range cols {
		if !c.wide || wide {
			rows[0] = append(rows[0], c.head)
		}
	}
	for _, item := range items {
		var row []string
		for _, c := range cols {
			if !c.wide || wide {
				row = append(row, firstOf(clean(c.cell(item)), "-"))
			}
		}
		rows = append(rows, row)
	}
	printRows(w, rows)
}

// printRows writes rows with aligned columns and nothing behind the last one.
func printRows(w io.Writer, rows [][]string) {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(tw, strings.Join(row, "\t"))
	}
	_ = tw.Flush() // a closed standard output has nobody to be told
}

// fact is one line of a description.
type fact struct{ name, value string }

// printFacts writes "Name:  value" lines, aligned; those without a value are left out.
func printFacts(w io.Writer, facts []fact) {
	var rows [][]string
	for _, f := range facts {
		if f.value != "" {
			rows = append(rows, []string{f.name + ":", clean(f.value)})
		}
	}
	printRows(w, rows)
}

// printJSON writes a body as it came, indented anew.
func printJSON(w io.Writer, body []byte) error {
	var buf bytes.Buffer
	if err := json.Indent(&buf, bytes.TrimSpace(body), "", "  "); err != nil {
		return fmt.Errorf("indent the answer: %w", err)
	}
	fmt.Fprintf(w, "%s\n", buf.Bytes())
	return nil
}

// printYAML writes a JSON body as YAML, its fields in the same order.
func printYAML(w io.Writer, body []byte) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	doc, err := yamlNode(d)
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	e := yaml.NewEncoder(w)
	e.SetIndent(2)
	if err := e.Encode(doc); err != nil {
		return fmt.Errorf("write YAML: %w", err)
	}
	return e.Close()
}

func yamlNode(d *json.Decoder) (*yaml.Node, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch v := token.(type) {
	case json.Delim:
		n := &yaml.Node{Kind: yaml.MappingNode}
		if v == '[' {
			n.Kind = yaml.SequenceNode
		}
		for d.More() { // keys and values of a mapping alternate, as in yaml.Node
			child, err := yamlNode(d)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, child)
		}
		_, err := d.Token()
		return n, err
	case json.Number:
		tag := "!!int"
		if strings.ContainsAny(v.String(), ".eE") {
			tag = "!!float"
		}
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: v.String()}, nil
	default:
		n := &yaml.Node{}
		err := n.Encode(v)
		return n, err
	}
}

// clean keeps what other machines said from steering the terminal or breaking lines.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
}

// ago is a time as its distance from now.
func (a *app) ago(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return short(max(a.now().Sub(t), 0)) + " ago"
}

// short is a duration in its one or two largest units.
func short(d time.Duration) string {
	switch {
	case d < time.Second:
		return "0s"
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd", int(d.Hours())/24)
}

// count is a number with its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
