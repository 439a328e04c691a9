package main

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lbnode/lbnode/api"
)

func backendNoun() *noun {
	return &noun{
		name: "backend", path: "backends", args: "ADDRESS", input: reflect.TypeFor[api.BackendInput](),
		fields: []field{
			{flag: "id", path: "id", usage: "id; left out, one is made", only: "add"},
			{flag: "address", path: "address", usage: "host:port or http(s)://host[:port][/path]", only: "set"},
			{flag: "pool", path: "pool", usage: "pool (default \"default\")"},
			{flag: "weight", path: "weight", typ: numberField, usage: "share of traffic, 0 to 1000 (default 1)"},
			{flag: "tag", path: "tags", typ: listField, usage: "tag; repeat for several, they replace the whole list"},
			{flag: "admin-state", path: "admin_state", usage: "init, ready, stopped or decommissioned (default ready)"},
			{flag: "load-factor", path: "load_factor", typ: decimalField, usage: "multiplies the load that the backend reports (default 1)"},
			{flag: "max-connections", path: "max_connections", typ: numberField, usage: "requests on it at a time from each node; 0 = as the pool says"},
			{flag: "secret", path: "bbb.secrets", typ: listField, usage: "secret of a BigBlueButton server's API; repeat for several, the first signs, they replace the whole list; never shown"},
			{flag: "agent-ref", path: "bbb.agent_ref", usage: "agent that speaks for a BigBlueButton server"},
			{flag: "max-meetings", path: "bbb.max_meetings", typ: numberField, usage: "meetings on a BigBlueButton server at a time; 0 = no bound"},
			{flag: "max-attendees", path: "bbb.max_attendees", typ: numberField, usage: "attendees on a BigBlueButton server from which on it gets no new meeting; 0 = no bound"},
		},
		filters: []field{
			{flag: "pool", path: "pool", usage: "only those of this pool"},
			{flag: "tag", path: "tag", typ: listField, usage: "only those with this tag; repeat for all of several"},
			{flag: "admin-state", path: "admin_state", usage: "only those with this admin_state"},
			{flag: "node-state", path: "node_state", usage: "only those with this node_state"},
		},
		place: func(doc map[string]any, arg string) error {
			if !put(doc, []string{"address"}, arg) {
				return usagef("the address is given twice: %q and with -j", arg)
			}
			return nil
		},
		list:     textOf(printBlocks),
		describe: textOf(describeBackend),
		table:    tableOf(backendColumns),
	}
}

// printBlocks writes backends as operators of b3scalectl know them.
func printBlocks(a *app, backends []api.Backend) {
	for i, b := range backends {
		if i > 0 {
			fmt.Fprintln(a.stdout)
		}
		printBlock(a, b)
	}
	if len(backends) == 0 {
		a.notef("there are no backends; `lbctl add backend ADDRESS` adds one")
	}
}

func printBlock(a *app, b api.Backend) {
	w := a.stdout
	fmt.Fprintln(w, clean(b.ID))
	fmt.Fprintf(w, "  Host:\t %s\n", clean(b.Address))
	fmt.Fprintf(w, "  Settings:\t %s\n", settings(b))
	fmt.Fprintf(w, "  NodeState:\t %s\t  AdminState:\t %s\n", clean(b.NodeState), clean(b.AdminState))
	fmt.Fprintf(w, "  MC/AC/R:\t %s\n", meetings(b))
	fmt.Fprintf(w, "  LoadFactor:\t %s\n", strconv.FormatFloat(b.LoadFactor, 'f', -1, 64))
	fmt.Fprintf(w, "  Latency:\t %s\n", latency(b.LatencyMS))
	if b.NodeState == "error" {
		fmt.Fprintf(w, "  LastError:\t %s\n", clean(b.VerdictText))
	}
}

// settings are what was set besides the address, as `set backend -j` takes it.
func settings(b api.Backend) string {
	s := struct {
		Tags   []string `json:"tags,omitempty"`
		Pool   string   `json:"pool,omitempty"`
		Weight *int     `json:"weight,omitempty"`
	}{Tags: b.Tags}
	if b.Pool != "default" {
		s.Pool = b.Pool
	}
	if b.Weight != 1 {
		s.Weight = &b.Weight
	}
	out, err := json.Marshal(s)
	if err != nil { // strings and an integer always encode
		return "{}"
	}
	return string(out)
}

// meetings is meeting count, attendee count and attendees per meeting.
func meetings(b api.Backend) string {
	ratio := 0.0
	if b.Meetings > 0 {
		ratio = float64(b.Attendees) / float64(b.Meetings)
	}
	return fmt.Sprintf("%d/%d/%.2f", b.Meetings, b.Attendees, ratio)
}

// latency is a duration in Go's notation, with the digits that the API gave.
func latency(ms float64) string {
	if ms >= 1 && ms < 1000 {
		return strconv.FormatFloat(math.Round(ms*1e7)/1e7, 'f', -1, 64) + "ms"
	}
	return time.Duration(ms * float64(time.Millisecond)).String()
}

func backendColumns(a *app) []column[api.Backend] {
	return []column[api.Backend]{
		{head: "ID", cell: func(b api.Backend) string { return b.ID }},
		{head: "ADDRESS", cell: func(b api.Backend) string { return b.Address }},
		{head: "POOL", cell: func(b api.Backend) string { return b.Pool }},
		{head: "WEIGHT", cell: func(b api.Backend) string { return strconv.Itoa(b.Weight) }},
		{head: "ADMIN", cell: func(b api.Backend) string { return b.AdminState }},
		{head: "STATE", cell: nodeState},
		{head: "ROUTABLE", cell: func(b api.Backend) string { return yesNo(b.Routable) }},
		{head: "IN-FLIGHT", cell: func(b api.Backend) string { return strconv.FormatInt(b.InFlight, 10) }},
		{head: "LATENCY", cell: func(b api.Backend) string { return shortLatency(b.LatencyMS) }},
		{head: "TAGS", cell: func(b api.Backend) string { return strings.Join(b.Tags, ",") }, wide: true},
		{head: "MC/AC/R", cell: meetings, wide: true},
		{head: "LOAD-FACTOR", cell: func(b api.Backend) string { return strconv.FormatFloat(b.LoadFactor, 'f', -1, 64) }, wide: true},
		{head: "SINCE", cell: func(b api.Backend) string { return a.ago(b.StateSince) }, wide: true},
		{head: "VERDICT", cell: verdictText, wide: true},
	}
}

// nodeState tells a drain that is under way from one that is done.
func nodeState(b api.Backend) string {
	if b.Draining {
		return b.NodeState + " (draining)"
	}
	return b.NodeState
}

func shortLatency(ms float64) string {
	if ms <= 0 {
		return "-"
	}
	return strconv.FormatFloat(ms, 'f', 1, 64) + "ms"
}

func verdictText(b api.Backend) string {
	if b.VerdictText == "" {
		return b.Verdict
	}
	return b.Verdict + ": " + b.VerdictText
}

func describeBackend(a *app, b api.Backend) {
	measured := "not measured yet"
	if b.LatencyMS > 0 {
		measured = latency(b.LatencyMS)
	}
	routable := "no new requests"
	if b.Routable {
		routable = "takes new requests"
	}
	facts := []fact{
		{"Backend", b.ID},
		{"Host", b.Address},
		{"State", fmt.Sprintf("%s since %s (wanted: %s): %s", nodeState(b), stamp(b.StateSince), b.AdminState, routable)},
		{"Verdict", verdictText(b)},
		{"In flight", count(int(b.InFlight), "request")},
		{"Latency", measured},
		{"Pool", b.Pool},
		{"Weight", strconv.Itoa(b.Weight)},
		{"Tags", strings.Join(b.Tags, ", ")},
		{"Load factor", strconv.FormatFloat(b.LoadFactor, 'f', -1, 64)},
		{"MC/AC/R", meetings(b)},
		{"Modified at", strconv.FormatUint(b.ModifyIndex, 10)},
	}
	facts = slices.Insert(facts, len(facts)-1, backendBBBFacts(b)...)
	if text := drainText(b); text != "" {
		facts = slices.Insert(facts, 3, fact{"Drain", text})
	}
	printFacts(a.stdout, facts)
	if len(b.Reasons) == 0 {
		return
	}
	fmt.Fprintln(a.stdout, "Why:")
	var rows [][]string
	for _, r := range b.Reasons {
		row := []string{"  " + clean(r.Source), clean(r.Text)}
		if r.Since != nil {
			row = append(row, "since "+stamp(*r.Since))
		}
		rows = append(rows, row)
	}
	printRows(a.stdout, rows)
}

// stamp is a time to the second, in UTC.
func stamp(t time.Time) string {
	if t.IsZero() {
		return "ever"
	}
	return t.UTC().Format(time.RFC3339)
}
