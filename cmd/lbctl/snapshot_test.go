package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lbnode/lbnode/httpapi/apitest"
	"github.com/lbnode/lbnode/internal/backup"
)

func TestSnapshot_saveInspectRestore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	file := filepath.Join(t.TempDir(), "b.lbbackup")
	w.must("lbctl add backend 10.0.0.1:80 --id a --weight 3")
	w.must("lbctl set frontend f -j '{\"key\":\"f\",\"secret\":\"hush-hush\"}'")
	got := w.must("lbctl snapshot save " + file)
	if !strings.Contains(got.stdout, "saved "+file+": index ") || !strings.Contains(got.stdout, "3 objects") || !strings.Contains(got.stdout, "sha256 ") {
		t.Errorf("save prints %q", got.stdout)
	}
	if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	again := w.line("lbctl snapshot save " + file)
	if again.code != exitOther || !strings.Contains(again.stderr, "--force") {
		t.Errorf("a second save: exit %d %q, want a refusal that names --force", again.code, again.stderr)
	}
	w.must("lbctl snapshot save --force " + file)

	got = w.must("lbctl snapshot inspect " + file)
	for _, want := range []string{"Cluster:", "backend:", "frontend:", "open lab key", "(right)"} {
		if !strings.Contains(got.stdout, want) {
			t.Errorf("inspect prints %q, want %q in it", got.stdout, want)
		}
	}
	if strings.Contains(got.stdout, "hush") {
		t.Error("inspect shows a secret")
	}
	if same := w.line("lbctl snapshot restore " + file); same.code != exitUnchanged || !strings.Contains(same.stdout, "no changes") {
		t.Errorf("restore of what is there: exit %d %q %q", same.code, same.stdout, same.stderr)
	}
	w.must("lbctl delete backend --force a")
	w.stdin = "n\n"
	no := w.line("lbctl snapshot restore " + file)
	if no.code != exitOther || !strings.Contains(no.stdout, "+ backend a") || !strings.Contains(no.stderr, "nothing was changed") || w.line("lbctl show backend a").code != exitNotFound {
		t.Errorf("restore without a yes: exit %d %q %q", no.code, no.stdout, no.stderr)
	}
	if dry := w.must("lbctl snapshot restore --dry " + file); !strings.Contains(dry.stdout, "plan: 1 created, 0 updated, 0 deleted; nothing was changed") {
		t.Errorf("restore --dry prints %q", dry.stdout)
	}
	w.stdin = "y\n"
	if yes := w.must("lbctl snapshot restore " + file); !strings.Contains(yes.stdout, "restored: 1 created, 0 updated, 0 deleted by change") {
		t.Errorf("restore prints %q", yes.stdout)
	}
	w.must("lbctl show backend a")
	if js := w.line("lbctl snapshot restore --yes -o json " + file); js.code != exitUnchanged || !strings.Contains(js.stdout, `"applied": false`) {
		t.Errorf("restore -o json: exit %d %q", js.code, js.stdout)
	}
	if h := w.must("lbctl history"); !strings.Contains(h.stdout, "restore of the backup of 2026-05-04T10:00:00Z") {
		t.Errorf("history: %q", h.stdout)
	}
}

func TestSnapshot_damagedFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	file := filepath.Join(t.TempDir(), "b.lbbackup")
	w.must("lbctl add backend 10.0.0.1:80 --id a")
	w.must("lbctl snapshot save " + file)
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, bytes.Replace(raw, []byte("10.0.0.1"), []byte("10.0.0.2"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"lbctl snapshot inspect ", "lbctl snapshot restore --yes "} {
		if got := w.line(line + file); got.code != exitInvalid || !strings.Contains(got.stderr, "line 4") || !strings.Contains(got.stderr, "checksum") {
			t.Errorf("%s: exit %d %q, want 8 and where it is damaged", line, got.code, got.stderr)
		}
	}
}

// A backup of another cluster, sealed with another key.
func TestSnapshot_elsewhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := t.TempDir()
	file, key := filepath.Join(dir, "b.lbbackup"), filepath.Join(dir, "key")
	w.must("lbctl set frontend f -j '{\"key\":\"f\",\"secret\":\"hush-hush\"}'")
	box, _ := (&apitest.Backups{Keys: []byte{7}}).Box()
	var raw bytes.Buffer
	if err := backup.Write(&raw, backup.Header{Node: "n1"}, w.store.View().Renamed("another"), box); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, raw.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	w.must("lbctl set frontend f -j '{\"secret\":\"another\"}'")
	if got := w.line("lbctl snapshot restore --yes " + file); got.code != exitConflict || !strings.Contains(got.stderr, "--other-cluster") {
		t.Errorf("another cluster's: exit %d %q", got.code, got.stderr)
	}
	if got := w.line("lbctl snapshot restore --yes --other-cluster " + file); got.code != exitInvalid || !strings.Contains(got.stderr, "--key-file") {
		t.Errorf("another key: exit %d %q", got.code, got.stderr)
	}
	if err := os.WriteFile(key, []byte("BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.must("lbctl snapshot restore --yes --other-cluster --key-file " + key + " " + file)
	if f, _ := w.store.View().Frontend("f"); f.Secret != "hush-hush" {
		t.Errorf("the secret is %q", f.Secret)
	}
}

func TestSnapshot_askEndsWithTheCommand(t *testing.T) {
	t.Parallel()
	a, _, _ := newWorld(t).app()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.ask(ctx, "sure?"); err == nil {
		t.Error("ask took a cancelled command for a yes")
	}
}
