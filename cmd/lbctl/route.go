package main

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/lbnode/lbnode/api"
)

func routeNoun() *noun {
	return &noun{
		name: "route", path: "routes", args: "[ID]", input: reflect.TypeFor[api.RouteInput](),
		fields: []field{
			{flag: "id", path: "id", usage: "id; left out, one is made", only: "add"},
			{flag: "host", path: "match.host", usage: "host name, or *.suffix (default any)"},
			{flag: "path", path: "match.path", usage: "path (default /)"},
			{flag: "path-type", path: "match.path_type", usage: "prefix (by whole segments), exact or regex (default prefix)"},
			{flag: "method", path: "match.method", usage: "method, or several separated by commas (default any)"},
			{flag: "header", path: "match.headers", typ: pairsField, usage: "NAME=VALUE that a request must have; NAME: any value, NAME=~RE: a regular expression"},
			{flag: "query", path: "match.query", typ: pairsField, usage: "as --header, for query parameters"},
			{flag: "pool", path: "backend_pool", usage: "pool that the requests go to"},
			{flag: "algorithm", path: "algorithm", usage: "instead of the pool's"},
			{flag: "hash-source", path: "hash.source", usage: "instead of the pool's"},
			{flag: "hash-name", path: "hash.name", usage: "instead of the pool's"},
			{flag: "priority", path: "priority", typ: numberField, usage: "higher wins, then the more specific route"},
			{flag: "retries", path: "retries", typ: numberField, usage: "further backends tried after what the pool's --retry-on names (default 2)"},
			{flag: "timeout-connect", path: "timeouts.connect", usage: "until the backend is connected (default 2s)"},
			{flag: "timeout-first-byte", path: "timeouts.first_byte", usage: "until the answer begins, 0s = none"},
			{flag: "timeout-total", path: "timeouts.total", usage: "of the whole exchange, 0s = none"},
			{flag: "timeout-idle", path: "timeouts.idle", usage: "without a byte in either direction, 0s = none"},
			{flag: "timeout-upgraded-idle", path: "timeouts.upgraded_idle", usage: "the same for WebSockets and other upgraded connections, 0s = none"},
		},
		filters:  []field{{flag: "pool", path: "pool", usage: "only those that go to this pool"}},
		place:    placeID,
		describe: textOf(describeRoute),
		table:    tableOf(routeColumns),
	}
}

func routeColumns(*app) []column[api.Route] {
	return []column[api.Route]{
		{head: "ID", cell: func(r api.Route) string { return r.ID }},
		{head: "PRIORITY", cell: func(r api.Route) string { return strconv.Itoa(r.Priority) }},
		{head: "METHOD", cell: func(r api.Route) string { return firstOf(r.Match.Method, "*") }},
		{head: "HOST", cell: func(r api.Route) string { return firstOf(r.Match.Host, "*") }},
		{head: "PATH", cell: pathText},
		{head: "POOL", cell: func(r api.Route) string { return r.BackendPool }},
		{head: "ALGORITHM", cell: func(r api.Route) string { return r.Algorithm + hashText(r.Algorithm, r.Hash) }},
		{head: "HEADERS", cell: func(r api.Route) string { return pairsText(r.Match.Headers) }, wide: true},
		{head: "QUERY", cell: func(r api.Route) string { return pairsText(r.Match.Query) }, wide: true},
		{head: "RETRIES", cell: func(r api.Route) string { return strconv.Itoa(r.Retries) }, wide: true},
		{head: "TIMEOUTS", cell: func(r api.Route) string {
			return fmt.Sprintf("%s/%s/%s", r.Timeouts.Connect, r.Timeouts.FirstByte, r.Timeouts.Total)
		}, wide: true},
	}
}

func pathText(r api.Route) string {
	if r.Match.PathType == "prefix" {
		return r.Match.Path
	}
	return r.Match.Path + " (" + r.Match.PathType + ")"
}

func pairsText(m map[string]string) string {
	var out []string
	for _, k := range sortedKeys(m) {
		out = append(out, k+"="+m[k])
	}
	return strings.Join(out, " ")
}

func describeRoute(a *app, r api.Route) {
	none := func(s string) string {
		if s == "0s" {
			return "none"
		}
		return s
	}
	printFacts(a.stdout, []fact{
		{"Route", r.ID},
		{"Priority", strconv.Itoa(r.Priority)},
		{"Method", firstOf(r.Match.Method, "any")},
		{"Host", firstOf(r.Match.Host, "any")},
		{"Path", r.Match.Path + " (" + r.Match.PathType + ")"},
		{"Headers", pairsText(r.Match.Headers)},
		{"Query", pairsText(r.Match.Query)},
		{"Pool", r.BackendPool},
		{"Algorithm", firstOf(r.Algorithm+hashText(r.Algorithm, r.Hash), "as the pool")},
		{"Timeouts", fmt.Sprintf("connect %s, first byte %s, total %s", none(r.Timeouts.Connect), none(r.Timeouts.FirstByte), none(r.Timeouts.Total)) + idleText(r.Timeouts)},
		{"Retries", strconv.Itoa(r.Retries)},
		{"Modified at", strconv.FormatUint(r.ModifyIndex, 10)},
	})
}
