package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/httpapi/apitest"
)

func TestKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	secret := "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE="
	file := filepath.Join(t.TempDir(), "cluster.key")
	if err := os.WriteFile(file, []byte("# comment\n"+secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	two := filepath.Join(t.TempDir(), "two.key")
	if err := os.WriteFile(two, []byte(secret+"\n"+secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		line           string
		code           int
		stdout, stderr string
	}{
		{"lbctl cluster key install --file " + file, exitDone, "key 00c0ffee: installed on n1\n", ""},
		{"lbctl cluster key install --file " + file + " --dry", exitDone, "POST /cluster/keys\n", ""},
		{"lbctl cluster key install --file " + two, exitUsage, "", "2 keys in it, want one"},
		{"lbctl cluster key install --file /nonexistent", exitUsage, "", "--file"},
		{"lbctl cluster keys use 00c0ffee -o name", exitDone, "00c0ffee\n", ""},
		{"lbctl cluster key remove", exitUsage, "", "KEY"},
		{"lbctl cluster key remove 0badc0de", exitNotFound, "", "0badc0de"},
	} {
		got := w.line(tc.line)
		if got.code != tc.code || got.stdout != tc.stdout || !strings.Contains(got.stderr, tc.stderr) || strings.Contains(got.stdout+got.stderr, secret) {
			t.Errorf("%s: exit %d, stdout %q, stderr %q", tc.line, got.code, got.stdout, got.stderr)
		}
	}
	w.fake.Update(func(f *apitest.Fake) {
		f.KeyRing = api.ClusterKeys{Keys: []api.ClusterKey{{ID: "1badcafe"}}, Silent: []string{"n2"}}
	})
	if got := w.line("lbctl cluster key use 1badcafe"); got.code != exitConflict || !strings.Contains(got.stderr, "n2") {
		t.Errorf("with a silent member: exit %d, stderr %q", got.code, got.stderr)
	}
	if got := w.line("lbctl cluster key use 1badcafe --force"); got.code != exitUnknown || !strings.Contains(got.stderr, "not confirmed by n2") {
		t.Errorf("forced with a silent member: exit %d, stderr %q", got.code, got.stderr)
	}
}
