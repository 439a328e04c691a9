package main

import (
	"strings"
	"testing"

	"github.com/lbnode/lbnode/state"
)

func TestHistory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must(`lbctl add backend 10.0.0.1:80 --id a --pool p --request-id r1`)                     // 2
	w.must(`lbctl set backend a --weight 7 --tag x --request-id r2`)                            // 3
	w.must(`lbctl add frontend f --key k --request-id r3`)                                      // 4
	w.must(`lbctl set frontend f -j '{"secret":"hush","required_tags":["x"]}' --request-id r4`) // 5
	for _, tt := range []struct {
		line   string
		code   int
		stdout []string
		stderr string
	}{
		{"lbctl history", 0, []string{"INDEX  WHEN   ", "5      1m30s ago  local  updated frontend f: required_tags, secret", "2      1m30s ago  local  created backend a, created pool p"}, ""},
		{"lbctl history --limit 1 -o wide", 0, []string{"2026-05-04 10:00:00Z", "r4"}, ""},
		{"lbctl history --id a -o name", 0, []string{"3\n2\n"}, ""},
		{"lbctl history --kind backend --before 3 -o json", 0, []string{`"index": 2`, `"after": {`}, ""},
		{"lbctl history show 3", 0, []string{"Request:  r2\n", "~ backend a\n    tags: [] -> [\"x\"]\n    weight: 1 -> 7\n"}, ""},
		{"lbctl history show 5", 0, []string{"    secret: changed\n"}, ""},
		{"lbctl history diff 2", 0, []string{"~ backend a\n", "+ frontend f\n", "    secret_set: true\n"}, ""},
		{"lbctl history diff 1 2", 0, []string{"+ backend a\n", "    address: \"10.0.0.1:80\"\n", "+ pool p\n"}, ""},
		{"lbctl history diff 5", 0, []string{"no differences between 5 and 5\n"}, ""},
		{"lbctl history show 77", 3, nil, "log entry 77"},
		{"lbctl history show x", 2, nil, "an index is a number"},
		{"lbctl history last", 2, nil, "unknown command"},
		{"lbctl history diff 5 2", 8, nil, "from"},
	} {
		got := w.line(tt.line)
		if got.code != tt.code || !strings.Contains(got.stderr, tt.stderr) {
			t.Errorf("%s: exit %d, want %d\n%s%s", tt.line, got.code, tt.code, got.stdout, got.stderr)
		}
		for _, s := range tt.stdout {
			if !strings.Contains(got.stdout, s) {
				t.Errorf("%s: no %q in\n%s", tt.line, s, got.stdout)
			}
		}
		if strings.Contains(got.stdout, "hush") {
			t.Errorf("%s shows a secret:\n%s", tt.line, got.stdout)
		}
	}
}

func TestRollback(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must(`lbctl add pool p`)                     // 2
	w.must(`lbctl set pool p --algorithm random`)  // 3
	w.must(`lbctl set pool p --algorithm ip_hash`) // 4
	w.must(`lbctl add route --id r --pool p`)      // 5
	if got := w.line(`lbctl rollback 3`); got.code != 4 || !strings.Contains(got.stderr, "changed again since") {
		t.Errorf("a rollback of what has changed since: %+v", got)
	}
	if got := w.must(`lbctl rollback 4`); got.stdout != "rolled back change 4 by change 6\n  updated pool p\n" {
		t.Errorf("stdout = %q", got.stdout)
	}
	if p, _ := w.store.View().Pool("p"); p.Algorithm != state.Random {
		t.Errorf("algorithm = %s, want random", p.Algorithm)
	}
	w.must(`lbctl rollback -f 3`)
	if p, _ := w.store.View().Pool("p"); p.Algorithm != state.RoundRobin {
		t.Errorf("algorithm = %s, want round_robin", p.Algorithm)
	}
	w.must(`lbctl rollback 5 -o json`)
	if got := w.line(`lbctl rollback 5 --force`); got.code != 64 || !strings.Contains(got.stdout, "no changes") {
		t.Errorf("a second rollback: %+v", got)
	}
	w.must(`lbctl add backend 10.0.0.1:80 --id a --pool q`)
	if got := w.must(`lbctl rollback 9`); !strings.Contains(got.stdout, "kept pool/q") {
		t.Errorf("stdout = %q", got.stdout)
	}
	if got := w.line(`lbctl rollback --dry 5`); got.code != 0 || got.stdout != "POST /history/5/rollback\n" {
		t.Errorf("dry: %+v", got)
	}
}
