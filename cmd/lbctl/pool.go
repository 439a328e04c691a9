package main

import (
	"fmt"
	"reflect"
	"strconv"

	"github.com/lbnode/lbnode/api"
)

func poolNoun() *noun {
	return &noun{
		name: "pool", path: "pools", args: "ID", input: reflect.TypeFor[api.PoolInput](),
		fields: []field{
			{flag: "algorithm", path: "algorithm", usage: "round_robin, least_connections, random, ip_hash, consistent_hash, least_latency or least_load"},
			{flag: "hash-source", path: "hash.source", usage: "what consistent_hash hashes: client_ip, header, cookie, query or path"},
			{flag: "hash-name", path: "hash.name", usage: "name of the header, cookie or query parameter to hash"},
			{flag: "protocol", path: "protocol", usage: "auto, http1, h2 or h2c"},
			{flag: "health-type", path: "health.type", usage: "http, tcp, grpc, bbb or none"},
			{flag: "health-service", path: "health.service", usage: "grpc: the service that is asked for (default the server as a whole)"},
			{flag: "health-method", path: "health.method", usage: "GET or HEAD"},
			{flag: "health-path", path: "health.path", usage: "path and query that is probed"},
			{flag: "health-host", path: "health.host", usage: "Host header of the probes"},
			{flag: "health-statuses", path: "health.statuses", usage: "what passes, such as 200-399,401 (default any below 500)"},
			{flag: "interval", path: "health.interval", usage: "between two probes, such as 2s"},
			{flag: "health-timeout", path: "health.timeout", usage: "of one probe, such as 1s"},
			{flag: "rise", path: "health.rise", typ: numberField, usage: "passes in a row until a node says up"},
			{flag: "fall", path: "health.fall", typ: numberField, usage: "failures in a row until a node says down"},
			{flag: "on-empty", path: "on_empty", usage: "when no backend is healthy: panic (use all) or fail (503)"},
			{flag: "initial", path: "initial", usage: "before the first verdict: down or up"},
			{flag: "slow-start", path: "slow_start", usage: "time in which a backend that becomes usable grows into its share, such as 30s; 0s = at once"},
			{flag: "max-connections", path: "max_connections", typ: numberField, usage: "requests on each backend at a time from each node; 0 = no bound"},
			{flag: "queue-size", path: "queue.size", typ: numberField, usage: "requests that wait on a node for a backend below max_connections; 0 = 503 at once"},
			{flag: "queue-timeout", path: "queue.timeout", usage: "how long they wait (default 5s)"},
			{flag: "retry-on", path: "retry.on", typ: listField, usage: "connect_failure, reset, timeout, 502, 503, 504 (default connect_failure); may be repeated"},
			{flag: "retry-non-idempotent", path: "retry.non_idempotent", typ: toggleField, usage: "retry POST and the like too after they were sent"},
			{flag: "retry-budget-percent", path: "retry.budget_percent", typ: numberField, usage: "retries of requests that were sent, in percent of the requests (default 20)"},
			{flag: "retry-budget-min", path: "retry.budget_min", typ: numberField, usage: "retries a second that are always allowed (default 10)"},
			{flag: "outlier-errors", path: "outlier.consecutive_errors", typ: numberField, usage: "failures in a row after which a node ejects a backend; 0 = never"},
			{flag: "outlier-base-ejection", path: "outlier.base_ejection", usage: "how long the first time, then twice, three times … (default 30s)"},
			{flag: "outlier-max-ejection", path: "outlier.max_ejection", usage: "how long at most (default 5m)"},
			{flag: "outlier-max-percent", path: "outlier.max_percent", typ: numberField, usage: "of the pool that may be out at a time (default 10; one always may)"},
			{flag: "sticky-cookie", path: "sticky.cookie", usage: "name of the cookie that keeps clients on their backend; \"\" = not sticky"},
			{flag: "sticky-ttl", path: "sticky.ttl", usage: "how long browsers keep it (default until they are closed)"},
			{flag: "sticky-secure", path: "sticky.secure", typ: toggleField, usage: "send it over TLS only"},
			{flag: "sticky-same-site", path: "sticky.same_site", usage: "lax, strict or none (default lax)"},
			{flag: "sticky-path", path: "sticky.path", usage: "path of the cookie (default /)"},
			{flag: "proxy-protocol", path: "proxy_protocol", usage: "tell backends the client's address: none, v1 or v2"},
			{flag: "move-after", path: "bbb.move_after", usage: "how long a BigBlueButton server must have been failing until its meetings can be created elsewhere (default 1m)"},
			{flag: "poll", path: "bbb.poll", usage: "how often BigBlueButton servers are asked for their meetings (default 10s)"},
			{flag: "young-attendees", path: "bbb.young_attendees", typ: numberField, usage: "a young meeting counts as one of at least so many attendees (default 15)"},
			{flag: "young-for", path: "bbb.young_for", usage: "how long a meeting is young (default 15m)"},
			{flag: "tls-skip-verify", path: "tls.skip_verify", typ: toggleField, usage: "do not verify certificates of https backends"},
			{flag: "tls-server-name", path: "tls.server_name", usage: "name in the certificates of https backends"},
			{flag: "tls-ca-file", path: "tls.ca", typ: fileField, usage: "PEM file with the authorities of https backends"},
			{flag: "tls-client-certificate", path: "tls.client_certificate", usage: "id of the certificate that https backends are shown if they ask for one"},
		},
		place:    placeID,
		describe: textOf(describePool),
		table:    tableOf(poolColumns),
	}
}

// placeID takes the argument of add as id.
func placeID(doc map[string]any, arg string) error {
	if !put(doc, []string{"id"}, arg) {
		return usagef("the id is given twice: %q and %v", arg, doc["id"])
	}
	return nil
}

func poolColumns(*app) []column[api.Pool] {
	return []column[api.Pool]{
		{head: "ID", cell: func(p api.Pool) string { return p.ID }},
		{head: "ALGORITHM", cell: func(p api.Pool) string { return p.Algorithm + hashText(p.Algorithm, p.Hash) }},
		{head: "HEALTH", cell: func(p api.Pool) string { return healthText(p.Health) }},
		{head: "INTERVAL", cell: func(p api.Pool) string { return p.Health.Interval }},
		{head: "ON-EMPTY", cell: func(p api.Pool) string { return p.OnEmpty }},
		{head: "TIMEOUT", cell: func(p api.Pool) string { return p.Health.Timeout }, wide: true},
		{head: "RISE/FALL", cell: func(p api.Pool) string { return fmt.Sprintf("%d/%d", p.Health.Rise, p.Health.Fall) }, wide: true},
		{head: "INITIAL", cell: func(p api.Pool) string { return p.Initial }, wide: true},
		{head: "PROTOCOL", cell: func(p api.Pool) string { return p.Protocol }, wide: true},
	}
}

// hashText says what is hashed, where something is.
func hashText(algorithm string, h api.HashKey) string {
	if algorithm != "consistent_hash" || h.Source == "" {
		return ""
	}
	if h.Name == "" {
		return " (" + h.Source + ")"
	}
	return " (" + h.Source + " " + h.Name + ")"
}

func healthText(h api.HealthCheck) string {
	if h.Type == "http" {
		return h.Method + " " + h.Path
	}
	return h.Type
}

func describePool(a *app, p api.Pool) {
	facts := []fact{
		{"Pool", p.ID},
		{"Algorithm", p.Algorithm + hashText(p.Algorithm, p.Hash)},
		{"Protocol", p.Protocol},
		{"Health", healthText(p.Health)},
	}
	if p.Health.Type != "none" {
		facts = append(facts, fact{"Probes", fmt.Sprintf("every %s, timeout %s; %d passes = up, %d failures = down",
			p.Health.Interval, p.Health.Timeout, p.Health.Rise, p.Health.Fall)})
	}
	if p.Health.Type == "http" {
		facts = append(facts, fact{"Passes", firstOf(p.Health.Statuses, "any status below 500")}, fact{"Probed host", p.Health.Host})
	}
	facts = append(facts, poolBBBFacts(p)...)
	facts = append(facts, protectionFacts(p)...)
	verify := "verified"
	if p.TLS.SkipVerify {
		verify = "NOT verified"
	}
	if p.TLS.CA != "" {
		verify += ", own authorities"
	}
	facts = append(facts, fact{"On empty", p.OnEmpty}, fact{"Initial", p.Initial}, fact{"Certificates", verify},
		fact{"Server name", p.TLS.ServerName}, fact{"Client certificate", p.TLS.ClientCertificate}, fact{"Modified at", strconv.FormatUint(p.ModifyIndex, 10)})
	printFacts(a.stdout, facts)
}
