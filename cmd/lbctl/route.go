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
			{flag: "set-request-header", path: "request_headers.set", typ: pairsField, usage: "NAME=VALUE for backends; values may hold {client_ip}, {host}, {path}, {request_id}, {route}, {backend}"},
			{flag: "add-request-header", path: "request_headers.add", typ: pairsField, usage: "as --set-request-header, beside what is there"},
			{flag: "remove-request-header", path: "request_headers.remove", typ: listField, usage: "NAME that backends do not get"},
			{flag: "set-response-header", path: "response_headers.set", typ: pairsField, usage: "NAME=VALUE for clients"},
			{flag: "add-response-header", path: "response_headers.add", typ: pairsField, usage: "as --set-response-header, beside what is there"},
			{flag: "remove-response-header", path: "response_headers.remove", typ: listField, usage: "NAME that clients do not get"},
			{flag: "strip-prefix", path: "rewrite.strip_prefix", usage: "taken off the path, by whole segments"},
			{flag: "replace-prefix", path: "rewrite.replace_prefix", usage: "put in the place of the route's path"},
			{flag: "rewrite-regex", path: "rewrite.regex", usage: "RE2; each match in the path is replaced"},
			{flag: "rewrite-to", path: "rewrite.replacement", usage: "what it is replaced by; ${1} stands for a group"},
			{flag: "rewrite-host", path: "rewrite.host", usage: "Host that backends get: preserve (default), backend, or a host"},
			{flag: "redirect", path: "redirect.status", typ: numberField, usage: "answer with this status (301, 302, 303, 307, 308) instead of a backend; 0 = do not"},
			{flag: "redirect-scheme", path: "redirect.scheme", usage: "http or https (default the request's)"},
			{flag: "redirect-host", path: "redirect.host", usage: "host, with or without port (default the request's)"},
			{flag: "redirect-path", path: "redirect.path", usage: "path, which may hold {path} (default the request's)"},
			{flag: "redirect-strip-query", path: "redirect.strip_query", typ: toggleField, usage: "leave the query out"},
			{flag: "split", path: "split", typ: sharesField, usage: "POOL=WEIGHT, instead of --pool; may be repeated"},
			{flag: "split-by", path: "split_by", usage: "random (default), client_ip, header:NAME or cookie:NAME"},
			{flag: "mirror", path: "mirror.pool", usage: "pool that gets copies of requests"},
			{flag: "mirror-percent", path: "mirror.percent", typ: decimalField, usage: "of the requests (default 100)"},
			{flag: "rate-limit", path: "rate_limit.requests_per_second", typ: decimalField, usage: "requests a second that each node lets through; 0 = all"},
			{flag: "rate-burst", path: "rate_limit.burst", typ: numberField, usage: "requests at once (default as --rate-limit)"},
			{flag: "rate-per", path: "rate_limit.per", usage: "route (default), client_ip or header:NAME"},
			{flag: "rate-status", path: "rate_limit.status", typ: numberField, usage: "of the answer to what is too much (default 429)"},
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
		{head: "POOL", cell: destination},
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
	facts := []fact{
		{"Route", r.ID},
		{"Priority", strconv.Itoa(r.Priority)},
		{"Method", firstOf(r.Match.Method, "any")},
		{"Host", firstOf(r.Match.Host, "any")},
		{"Path", r.Match.Path + " (" + r.Match.PathType + ")"},
		{"Headers", pairsText(r.Match.Headers)},
		{"Query", pairsText(r.Match.Query)},
		{"Pool", destination(r)},
		{"Algorithm", firstOf(r.Algorithm+hashText(r.Algorithm, r.Hash), "as the pool")},
		{"Timeouts", fmt.Sprintf("connect %s, first byte %s, total %s", none(r.Timeouts.Connect), none(r.Timeouts.FirstByte), none(r.Timeouts.Total)) + idleText(r.Timeouts)},
		{"Retries", strconv.Itoa(r.Retries)},
	}
	facts = append(facts, shapeFacts(r)...)
	printFacts(a.stdout, append(facts, fact{"Modified at", strconv.FormatUint(r.ModifyIndex, 10)}))
}
