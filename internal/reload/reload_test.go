package reload

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestFiles(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f")
	write := func(s string, at time.Time) {
		t.Helper()
		if err := os.WriteFile(path, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	at := time.Unix(1_800_000_000, 0)
	write("one", at)
	got := ""
	f, err := New(func() error {
		b, err := os.ReadFile(path)
		if err == nil && string(b) == "bad" {
			err = errors.New("bad content")
		}
		if err == nil {
			got = string(b)
		}
		return err
	}, path)
	check := func(wantRead bool, wantErr bool, want string) {
		t.Helper()
		read, err := f.Check()
		if read != wantRead || (err != nil) != wantErr || got != want {
			t.Errorf("read %v, error %v, content %q; want %v, %v, %q", read, err, got, wantRead, wantErr, want)
		}
	}
	if err != nil || got != "one" {
		t.Fatalf("New: %v, content %q", err, got)
	}
	check(false, false, "one")
	write("two", at.Add(time.Second))
	check(true, false, "two")
	write("bad", at.Add(2*time.Second))
	check(true, true, "two")
	check(false, false, "two") // it is not tried again until it changes
	if err := f.Reload(); err == nil {
		t.Error("Reload hides that it cannot read")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	check(true, true, "two")
	write("three", at.Add(3*time.Second))
	check(true, false, "three")
}

func TestNew_refusesWhatCannotBeRead(t *testing.T) {
	t.Parallel()
	if _, err := New(func() error { return os.ErrNotExist }, "nowhere"); err == nil {
		t.Error("New hides that it cannot read")
	}
}
