package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lbnode/lbnode/internal/auth"
)

// From an open API to one that asks for tokens, as an operator goes there.
func TestToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	open := w.env
	if got := w.line("lbctl token create ci --role viewer"); got.code != exitInvalid || !strings.Contains(got.stderr, "/role must be admin for the first token") {
		t.Errorf("the first token for a viewer: %+v", got)
	}
	root := w.must("lbctl token create root --role admin")
	text := strings.TrimSpace(root.stdout)
	if id, ok := auth.Parse(text); !ok || id != "root" || !strings.Contains(root.stderr, "token root, admin; its text is shown only now") {
		t.Errorf("created %+v", root)
	}
	if got := w.line("lbctl show pools"); got.code != exitAuth || !strings.Contains(got.stderr, "--token-file or LBCTL_TOKEN") {
		t.Errorf("without the token: %+v", got)
	}
	file := filepath.Join(t.TempDir(), "root.token")
	if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.env = append(w.env, envTokenFile+"="+file)
	made := w.must("lbctl token create ci --role operator --pool web --pool api --expires-in 720h --description deploys")
	if !strings.Contains(made.stderr, "token ci, operator, until ") {
		t.Errorf("created %+v", made)
	}
	if got := w.must("lbctl token list"); !strings.Contains(got.stdout, "ci    operator  api,web") || !strings.Contains(got.stdout, "root  admin     all      never") {
		t.Errorf("listed\n%s", got.stdout)
	}
	if got := w.must("lbctl token show ci"); !strings.Contains(got.stdout, "deploys") || strings.Contains(got.stdout, strings.TrimSpace(made.stdout)) {
		t.Errorf("shown\n%s", got.stdout)
	}
	w.must("lbctl token set ci --role viewer --description reads")
	ci := append(open[:len(open):len(open)], envToken+"="+strings.TrimSpace(made.stdout))
	admin := w.env
	w.env = ci
	w.must("lbctl show pools")
	if got := w.line("lbctl add pool p"); got.code != exitAuth || !strings.Contains(got.stderr, "needs the role operator; token/ci has the role viewer") {
		t.Errorf("a viewer adds: %+v", got)
	}
	w.env = admin
	rotated := w.must("lbctl token rotate ci")
	w.env = ci
	if got := w.line("lbctl show pools"); got.code != exitAuth {
		t.Errorf("with the text from before: %+v", got)
	}
	if got := w.line("lbctl show pools --token " + strings.TrimSpace(rotated.stdout)); got.code != exitDone {
		t.Errorf("with the new text: %+v", got)
	}
	w.env = admin
	if got := w.line("lbctl token delete root"); got.code != exitConflict || !strings.Contains(got.stderr, "last token of an admin") {
		t.Errorf("the last admin is deleted: %+v", got)
	}
	w.must("lbctl token delete ci")
	for _, tt := range []struct {
		line string
		code int
		want string
	}{
		{"lbctl token show ci", exitNotFound, ""},
		{"lbctl show pools --token-file /nowhere", exitUsage, "/nowhere"},
		{"lbctl show pools --token-file " + file + " --token x", exitUsage, "exclude each other"},
		{"lbctl show pools --ca-file " + file, exitUsage, "no certificate in PEM"},
		{"lbctl show pools --client-cert-file " + file, exitUsage, "--client-cert-file"},
		{"lbctl token create x --expires-in -1h", exitUsage, "must be positive"},
	} {
		if got := w.line(tt.line); got.code != tt.code || !strings.Contains(got.stderr, tt.want) {
			t.Errorf("%s: %+v, want exit %d and %q", tt.line, got, tt.code, tt.want)
		}
	}
	if id, ok := auth.Parse(strings.TrimSpace(w.must("lbctl token mint").stdout)); !ok || id != "bootstrap" {
		t.Error("lbctl token mint prints no token")
	}
}
