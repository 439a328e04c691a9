package main

import (
	"strings"
	"testing"
)

func TestConfirm(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.stdin = `{"pools":[{"id":"p","algorithm":"random"}]}`
	got := w.must(`lbctl apply -f - --confirm-within 5m`)
	if !strings.Contains(got.stdout, "by change 2\n") || !strings.Contains(got.stdout, "It is undone at 10:05:00 (in 3m30s) unless you type:\n\n  lbctl confirm 2\n") {
		t.Errorf("apply: %s", got.stdout)
	}
	for line, want := range map[string]string{
		`lbctl show pending`:         "INDEX  UNDONE-IN  ACTOR  CHANGE\n2      5m0s       local  apply, to be confirmed by 2026-05-04T10:05:00Z: created pool p\n",
		`lbctl show pending -o name`: "2\n",
	} {
		if got := w.must(line); got.stdout != want {
			t.Errorf("%s:\n%swant\n%s", line, got.stdout, want)
		}
	}
	if got := w.must(`lbctl confirm`); got.stdout != "confirmed: change 2 stays\n" {
		t.Errorf("confirm: %q", got.stdout)
	}
	if got := w.must(`lbctl show pending`); got.stdout != "no change waits for a confirmation\n" {
		t.Errorf("show pending: %q", got.stdout)
	}
	for line, code := range map[string]int{
		`lbctl confirm`: 3, `lbctl confirm 2`: 3, `lbctl confirm x`: 2, `lbctl confirm 1 2`: 2, `lbctl apply -f - --confirm-within 1ms`: 8,
		`lbctl plan -f - --confirm-within 5m`: 2,
	} {
		if got := w.line(line); got.code != code {
			t.Errorf("%s: exit %d, want %d: %s", line, got.code, code, got.stderr)
		}
	}
	w.stdin = `{"pools":[{"id":"q"}]}`
	if got := w.must(`lbctl --api ` + w.srv.URL + ` apply -f - --confirm-within 1h`); !strings.Contains(got.stdout, "  lbctl --api "+w.srv.URL+" confirm ") {
		t.Errorf("apply with --api: %s", got.stdout)
	}
	w.must(`lbctl rollback ` + strings.TrimSpace(w.must(`lbctl show pending -o name`).stdout))
	if _, there := w.store.View().Pool("q"); there || w.must(`lbctl show pending -o name`).stdout != "" {
		t.Error("a rollback has not settled the change")
	}
}

// How new an answer must be is asked with every read.
func TestConsistencyFlag(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must(`lbctl show pools --consistency linearizable`)
	w.must(`lbctl --consistency=leader cluster status`)
	w.must(`lbctl --consistency=stale show pools`)
	got := strings.Join(w.fake.CaughtUp, " ")
	if got != "linearizable leader leader" {
		t.Errorf("asked for %q", got)
	}
	if got := w.line(`lbctl show pools --consistency strong`); got.code != 2 || !strings.Contains(got.stderr, "stale, leader or linearizable") {
		t.Errorf("an unknown level: %+v", got)
	}
}
