package main

import (
	"fmt"
	"strings"

	"github.com/lbnode/lbnode/api"
)

// protectionFacts says how a pool picks and protects its backends, as far as it was told to.
func protectionFacts(p api.Pool) []fact {
	var facts []fact
	add := func(name, format string, args ...any) {
		facts = append(facts, fact{name, fmt.Sprintf(format, args...)})
	}
	if p.SlowStart != "0s" && p.SlowStart != "" {
		add("Slow start", "%s", p.SlowStart)
	}
	if p.MaxConnections > 0 {
		add("Max connections", "%d on each backend from each node", p.MaxConnections)
	}
	if p.Queue.Size > 0 {
		add("Queue", "%d requests, %s each", p.Queue.Size, p.Queue.Timeout)
	}
	if on := strings.Join(p.Retry.On, ", "); on != "" && on != "connect_failure" {
		if p.Retry.NonIdempotent {
			on += "; non-idempotent requests too"
		}
		add("Retries after", "%s; budget %d %%, at least %d/s", on, p.Retry.BudgetPercent, p.Retry.BudgetMin)
	}
	if o := p.Outlier; o.ConsecutiveErrors > 0 {
		add("Ejects", "after %d failures in a row, for %s and more, at most %s and %d %% of the pool", o.ConsecutiveErrors, o.BaseEjection, o.MaxEjection, o.MaxPercent)
	}
	if s := p.Sticky; s.Cookie != "" {
		add("Sticky", "cookie %s, ttl %s, path %s, same_site %s, secure %t", s.Cookie, s.TTL, s.Path, s.SameSite, s.Secure)
	}
	if p.ProxyProtocol != "none" && p.ProxyProtocol != "" {
		add("PROXY protocol", "%s", p.ProxyProtocol)
	}
	return facts
}

// idleText names the idle timeouts that are set.
func idleText(t api.Timeouts) string {
	out := ""
	if t.Idle != "0s" && t.Idle != "" {
		out += ", idle " + t.Idle
	}
	if t.UpgradedIdle != "0s" && t.UpgradedIdle != "" {
		out += ", upgraded idle " + t.UpgradedIdle
	}
	return out
}
