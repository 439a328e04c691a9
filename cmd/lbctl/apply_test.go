package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lbnode/lbnode/state"
)

const desired = `# what we want
pools:
  - id: users
    algorithm: least_connections
    health: {path: /healthz, interval: 1s}
backends:
  - {id: a, address: "10.0.0.1:80", pool: users, weight: 2}
routes:
  - id: users
    match: {path: /users, headers: {X-A: "1"}}
    backend_pool: users
`

func TestApply(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	file := filepath.Join(t.TempDir(), "lb.yaml")
	if err := os.WriteFile(file, []byte(desired), 0o600); err != nil {
		t.Fatal(err)
	}
	w.must(`lbctl add backend 10.0.0.2:80 --id old --pool users`)
	const plan = "+ backend a\n    address: \"10.0.0.1:80\"\n"
	for _, line := range []string{`lbctl plan -f ` + file, `lbctl -o table plan --prune --file=` + file} {
		if got := w.must(line); !strings.Contains(got.stdout, plan) || !strings.Contains(got.stdout, "nothing was changed\n") || w.store.View().Len(state.KindBackend) != 1 {
			t.Errorf("%s: %s", line, got.stdout)
		}
	}
	if got := w.must(`lbctl apply -f ` + file); !strings.Contains(got.stdout, "    algorithm: \"round_robin\" -> \"least_connections\"\n") || !strings.Contains(got.stdout, "applied: 2 created, 1 updated, 0 deleted by change 3\n") {
		t.Errorf("apply: %s", got.stdout)
	}
	if got := w.line(`lbctl apply -f ` + file); got.code != 64 || got.stdout != "no changes: everything is already so\n" {
		t.Errorf("apply again: %+v", got)
	}
	w.stdin = desired
	if got := w.must(`lbctl apply --prune -f -`); !strings.Contains(got.stdout, "~ backend old\n    admin_state: \"ready\" -> \"decommissioned\"\n") {
		t.Errorf("apply --prune: %s", got.stdout)
	}
	w.must(`lbctl rollback 4`)
	w.stdin = `{"pools":[{"id":"users","algorithm":"random"}]}`
	if got := w.must(`lbctl apply -f - -o json`); !strings.Contains(got.stdout, `"applied": true`) {
		t.Errorf("apply JSON: %s", got.stdout)
	}
	for line, code := range map[string]int{`lbctl apply`: 2, `lbctl plan`: 2, `lbctl apply -f ` + file + `.none`: 1, `lbctl apply -f - x`: 2} {
		if got := w.line(line); got.code != code {
			t.Errorf("%s: exit %d, want %d: %s", line, got.code, code, got.stderr)
		}
	}
	for in, want := range map[string]string{"a: [": "-: ", "[]": "-: ", "backends: [{id: a, weight: x}]": "/backends/0/weight", "{1: 2}": ""} {
		w.stdin = in
		if got := w.line(`lbctl apply -f -`); got.code != 8 || !strings.Contains(got.stderr, want) {
			t.Errorf("apply of %q: %+v, want exit 8 and %q", in, got, want)
		}
	}
	w.stdin = desired
	if got := w.line(`lbctl apply --dry -f -`); got.code != 0 || !strings.HasPrefix(got.stdout, "POST /apply\n{") {
		t.Errorf("dry: %+v", got)
	}
}
