package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lbnode/lbnode/api"
)

// shares reads POOL=WEIGHT pairs in their order.
func shares(cmd *cobra.Command, flag string) (any, error) {
	pairs, err := cmd.Flags().GetStringArray(flag)
	if err != nil {
		return nil, err
	}
	out := []any{}
	for _, p := range pairs {
		if p == "" { // --split "" takes the split away
			continue
		}
		pool, weight, _ := strings.Cut(p, "=")
		n, err := strconv.Atoi(weight)
		if pool == "" || err != nil {
			return nil, usagef("--%s needs POOL=WEIGHT, got %q", flag, p)
		}
		out = append(out, map[string]any{"pool": pool, "weight": n})
	}
	return out, nil
}

// destination says in a few words where a route leads.
func destination(r api.Route) string {
	switch {
	case r.Redirect.Status != 0:
		return strings.TrimSpace("redirect " + strconv.Itoa(r.Redirect.Status) + " " + redirectText(r.Redirect))
	case len(r.Split) > 0:
		parts := make([]string, len(r.Split))
		for i, s := range r.Split {
			parts[i] = fmt.Sprintf("%s=%d", s.Pool, s.Weight)
		}
		return strings.Join(parts, " ")
	}
	return r.BackendPool
}

func redirectText(r api.Redirect) string {
	s := r.Path
	if r.Host != "" || r.Scheme != "" {
		host := r.Host
		if host == "" {
			host = "{host}"
		}
		s = host + s
	}
	if r.Scheme != "" {
		s = r.Scheme + "://" + s
	}
	return s
}

// shapeFacts is what a route does to requests, and nothing of what it does not.
func shapeFacts(r api.Route) []fact {
	var out []fact
	add := func(name, text string) {
		if text != "" {
			out = append(out, fact{name, text})
		}
	}
	add("Request", headerText(r.RequestHeaders))
	add("Response", headerText(r.ResponseHeaders))
	w := r.Rewrite
	switch {
	case w.StripPrefix != "":
		add("Rewrite", "strip "+w.StripPrefix)
	case w.ReplacePrefix != "":
		add("Rewrite", r.Match.Path+" -> "+w.ReplacePrefix)
	case w.Regex != "":
		add("Rewrite", w.Regex+" -> "+w.Replacement)
	}
	if w.Host != "preserve" {
		add("Host sent", w.Host)
	}
	if len(r.Split) > 0 {
		add("Split by", r.SplitBy)
	}
	if r.Mirror.Pool != "" {
		add("Mirror", fmt.Sprintf("%s (%v%%)", r.Mirror.Pool, r.Mirror.Percent))
	}
	if l := r.RateLimit; l.RequestsPerSecond > 0 {
		add("Rate limit", fmt.Sprintf("%v/s per %s, burst %d, then %d", l.RequestsPerSecond, l.Per, l.Burst, l.Status))
	}
	return out
}

func headerText(h api.HeaderOps) string {
	var parts []string
	for _, n := range h.Remove {
		parts = append(parts, "-"+n)
	}
	for _, n := range sortedKeys(h.Set) {
		parts = append(parts, n+"="+h.Set[n])
	}
	for _, n := range sortedKeys(h.Add) {
		parts = append(parts, "+"+n+"="+h.Add[n])
	}
	return strings.Join(parts, " ")
}
