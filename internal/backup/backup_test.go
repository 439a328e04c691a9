package backup

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lbnode/lbnode/internal/seal"
	"github.com/lbnode/lbnode/state"
)

var update = flag.Bool("update", false, "write the golden files anew")

var at = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func box(t testing.TB, keys ...byte) *seal.Box {
	t.Helper()
	var raw [][]byte
	for _, k := range keys {
		raw = append(raw, bytes.Repeat([]byte{k}, seal.KeySize))
	}
	b, err := seal.New(raw...)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const (
	secret    = "a-frontend-secret"
	tokenHash = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	pem       = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
)

// view has every kind of objects, sealed with key 1.
func view(t testing.TB) *state.View {
	t.Helper()
	key, err := box(t, 1).Seal(seal.CertificateKey("site"), []byte(pem))
	if err != nil {
		t.Fatal(err)
	}
	v := state.NewView()
	apply := func(c state.Command) {
		t.Helper()
		c.At = at
		var res state.Result
		if v, res = state.Apply(v, v.Index+1, 1, c); res.Refusal != nil {
			t.Fatal(res.Refusal)
		}
	}
	put := func(k state.Kind, id, value string) state.Op {
		return state.Op{Verb: state.VerbPut, Kind: k, ID: id, Value: json.RawMessage(value)}
	}
	apply(state.Command{Type: state.TypeInit, ClusterID: "7f1d2c54-33a2-4f6f-9a62-0a3f0f3f5a11"})
	apply(state.Command{Type: state.TypeTxn, Ops: []state.Op{
		put(state.KindPool, "users", `{"algorithm":"least_connections"}`),
		put(state.KindBackend, "users-v1", `{"address":"10.0.1.15:8080","pool":"users","admin_state":"stopped","tags":["x"]}`),
		put(state.KindRoute, "users", `{"match":{"path":"/users"},"backend_pool":"users","retries":0}`),
		put(state.KindFrontend, "uni", `{"hosts":["uni.example.org"],"key":"uni","secret":"`+secret+`"}`),
		put(state.KindToken, "root", `{"role":"admin","hash":"`+tokenHash+`"}`),
		put(state.KindCertificate, "site", `{"certificate":"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n","private_key":"`+key+`"}`),
	}})
	return v
}

func made(t testing.TB, v *state.View, b *seal.Box) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := Write(&buf, Header{Lbnode: "v1", Node: "n1", Time: at}, v, b); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func read(t testing.TB, raw []byte) *Backup {
	t.Helper()
	b, err := Read(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBackup_givesTheObjectsBack(t *testing.T) {
	t.Parallel()
	v := view(t)
	raw := made(t, v, box(t, 1))
	for _, s := range []string{secret, tokenHash, "BEGIN PRIVATE"} {
		if bytes.Contains(raw, []byte(s)) {
			t.Errorf("the file shows %q", s)
		}
	}
	b := read(t, raw)
	want := Header{
		Format: format, Version: 1, Lbnode: "v1", ClusterID: v.ClusterID, Index: 2, Term: 1, ConfigGen: 2, Time: at, Node: "n1", SealedWith: box(t, 1).KeyID(),
	}
	if d := cmp.Diff(want, b.Header); d != "" || b.Size != int64(len(raw)) || b.Len() != 6 || b.Counts()[state.KindToken] != 1 {
		t.Errorf("header (-want +got): %s; size %d of %d, %d objects", d, b.Size, len(raw), b.Len())
	}
	specs, err := b.Specs(box(t, 2, 1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := box(t, 2).Open(seal.CertificateKey("site"), specs[5].(*state.CertificateSpec).PrivateKey); err != nil {
		t.Errorf("the private key was not sealed with the new key: %v", err)
	}
	if specs, err = b.Specs(box(t, 1, 2)); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(slices.Collect(v.Specs()), specs); d != "" {
		t.Errorf("objects (-want +got): %s", d)
	}
	if !b.Of(v) || !b.Of(v.Renamed("next")) || b.Of(state.NewView()) {
		t.Error("the backup does not know its cluster")
	}
}

func TestBackup_otherKey(t *testing.T) {
	t.Parallel()
	b := read(t, made(t, view(t), box(t, 1)))
	if _, err := b.Specs(box(t, 2)); !errors.Is(err, ErrKey) || !strings.Contains(err.Error(), box(t, 1).KeyID()) {
		t.Fatalf("Specs without the key = %v, want ErrKey that names it", err)
	}
	var opened bytes.Buffer
	if err := b.WriteOpened(&opened, box(t, 1)); err != nil {
		t.Fatal(err)
	}
	again := read(t, opened.Bytes())
	specs, err := again.Specs(box(t, 2))
	if err != nil || again.SealedWith != "" {
		t.Fatalf("sealed with %q, %v", again.SealedWith, err)
	}
	for _, s := range specs {
		switch s := s.(type) {
		case *state.FrontendSpec:
			if s.Secret != secret {
				t.Errorf("secret %q", s.Secret)
			}
		case *state.TokenSpec:
			if s.Hash != tokenHash {
				t.Errorf("hash %q", s.Hash)
			}
		case *state.CertificateSpec:
			if key, err := box(t, 2).Open(seal.CertificateKey(s.ID), s.PrivateKey); err != nil || string(key) != pem {
				t.Errorf("private key %q, %v", key, err)
			}
		}
	}
}

// Every single changed, missing or additional byte is found.
func TestRead_findsDamage(t *testing.T) {
	t.Parallel()
	good := made(t, view(t), box(t, 1))
	for i := range good {
		if _, err := Read(bytes.NewReader(good[:i])); !errors.Is(err, ErrDamaged) {
			t.Errorf("the first %d of %d bytes: %v", i, len(good), err)
		}
		bad := bytes.Clone(good)
		bad[i] ^= 1
		if _, err := Read(bytes.NewReader(bad)); !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNewer) {
			t.Errorf("byte %d (%q) changed: %v", i, good[i], err)
		} else if !strings.Contains(err.Error(), "line") && errors.Is(err, ErrDamaged) {
			t.Errorf("byte %d changed: %q does not say where", i, err)
		}
	}
	for name, raw := range map[string][]byte{"a line more": append(bytes.Clone(good), '\n'), "twice": append(bytes.Clone(good), good...)} {
		if _, err := Read(bytes.NewReader(raw)); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// resummed is a file with other content and a right sum, as nobody but a newer lbnode or an attacker makes it.
func resummed(t *testing.T, raw []byte, from, to string) []byte {
	t.Helper()
	lines := strings.SplitAfter(strings.Replace(string(raw), from, to, 1), "\n")
	var buf bytes.Buffer
	w := newWriter(&buf)
	for _, l := range lines[:len(lines)-2] {
		w.sum.Write([]byte(l))
		_, _ = w.w.WriteString(l)
	}
	if err := w.line(line{End: &end{Objects: len(lines) - 3, SHA256: fmt.Sprintf("%x", w.sum.Sum(nil))}}); err != nil {
		t.Fatal(err)
	}
	if err := w.w.Flush(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestRead_refuses(t *testing.T) {
	t.Parallel()
	good := made(t, view(t), box(t, 1))
	if _, err := Read(bytes.NewReader(resummed(t, good, "zzz", ""))); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		from, to, text string
		is             error
	}{
		"a newer format":      {`"version":1`, `"version":2`, "up to 1", ErrNewer},
		"an unknown field":    {`"weight"`, `"wait":1,"weight"`, "wait", ErrDamaged},
		"an unknown kind":     {`"kind":"pool"`, `"kind":"cat"`, "cat", ErrDamaged},
		"an invalid object":   {`"weight":1`, `"weight":-1`, "/weight", ErrDamaged},
		"an object twice":     {`"id":"root"`, `"id":"root"}},` + "\n", "", ErrDamaged},
		"a token in the open": {`"hash":"lb1`, `"hash":"xb1`, "not sealed", ErrDamaged},
		"no cluster":          {`"cluster_id":"7f1d2c54-33a2-4f6f-9a62-0a3f0f3f5a11"`, `"cluster_id":""`, "cluster id", ErrDamaged},
	} {
		_, err := Read(bytes.NewReader(resummed(t, good, tc.from, tc.to)))
		if !errors.Is(err, tc.is) || !strings.Contains(fmt.Sprint(err), tc.text) {
			t.Errorf("%s: %v, want %v with %q", name, err, tc.is, tc.text)
		}
	}
	// A secret that was moved to another object does not open there.
	moved := read(t, resummed(t, good, `"id":"uni"`, `"id":"spy"`))
	if _, err := moved.Specs(box(t, 1)); !errors.Is(err, ErrDamaged) {
		t.Errorf("a moved secret: %v, want ErrDamaged", err)
	}
}

func TestWriteFile_wholeOrNotThere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "b.lbbackup")
	good := made(t, view(t), box(t, 1))
	write := func(raw []byte) func(io.Writer) error {
		return func(w io.Writer) error { _, err := w.Write(raw); return err }
	}
	if _, err := WriteFile(path, KeepFile, write(good[:len(good)-9])); !errors.Is(err, ErrDamaged) {
		t.Errorf("half a backup: %v", err)
	}
	if _, err := WriteFile(path, KeepFile, write(good)); err != nil {
		t.Fatal(err)
	}
	if _, err := WriteFile(path, KeepFile, write(good)); !errors.Is(err, ErrExists) {
		t.Errorf("a second one: %v, want ErrExists", err)
	}
	if _, err := WriteFile(path, ReplaceFile, func(io.Writer) error { return io.ErrShortWrite }); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("a failing one: %v", err)
	}
	if b, err := WriteFile(path, ReplaceFile, write(good)); err != nil || b.Len() != 6 {
		t.Errorf("replacing: %v", err)
	}
	if b, err := ReadFile(path); err != nil || b.Len() != 6 {
		t.Errorf("ReadFile: %v", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("%d files are left, %v, want the backup alone", len(entries), err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v, want 0600", st.Mode(), err)
	}
}

// Files of this version must open in every later one.
func TestGolden(t *testing.T) {
	t.Parallel()
	const name = "testdata/v1.lbbackup"
	if *update {
		if err := os.WriteFile(name, made(t, view(t), box(t, 1)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	specs, err := b.Specs(box(t, 1))
	if err != nil {
		t.Fatal(err)
	}
	want := slices.Collect(view(t).Specs())
	for _, list := range [][]state.Spec{want, specs} { // the nonce differs
		for _, s := range list {
			if c, ok := s.(*state.CertificateSpec); ok {
				key, err := box(t, 1).Open(seal.CertificateKey(c.ID), c.PrivateKey)
				if err != nil {
					t.Error(err)
				}
				c.PrivateKey = string(key)
			}
		}
	}
	if d := cmp.Diff(want, specs); d != "" {
		t.Errorf("objects of the golden file (-want +got): %s", d)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(made(f, view(f), box(f, 1)))
	f.Add([]byte(`{"format":"lbnode-backup","version":1}` + "\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, err := Read(bytes.NewReader(raw))
		if err != nil && !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNewer) {
			t.Fatalf("Read = %v", err)
		}
		if err == nil && b.Size != int64(len(raw)) {
			t.Fatalf("Read took %d of %d bytes", b.Size, len(raw))
		}
	})
}

// Secrets of BigBlueButton servers and tenants are sealed one by one, in their order, and so are none.
func TestBackup_sealsListsOfSecrets(t *testing.T) {
	t.Parallel()
	v := view(t)
	long := strings.Repeat("s", 1000) // of which the sealed text is longer than a secret may be
	for _, op := range []state.Op{
		{Kind: state.KindBackend, ID: "bbb", Value: json.RawMessage(`{"address":"10.0.1.16:80","bbb":{"secrets":["canary-1","canary-2"],"agent_ref":"x"}}`)},
		{Kind: state.KindFrontend, ID: "uni", Value: json.RawMessage(`{"secret":"` + long + `","bbb":{"secrets":["canary-3"],"meeting_quota":3}}`)},
		{Kind: state.KindFrontend, ID: "open", Value: json.RawMessage(`{"bbb":{"meeting_quota":3}}`)},
	} {
		op.Verb = state.VerbPut
		var res state.Result
		if v, res = state.Apply(v, v.Index+1, 1, state.Command{Type: state.TypeTxn, At: at, Ops: []state.Op{op}}); res.Refusal != nil {
			t.Fatal(res.Refusal)
		}
	}
	raw := made(t, v, box(t, 1))
	if i := bytes.Index(raw, []byte("canary")); i >= 0 {
		t.Errorf("the file shows %q", raw[i:i+8])
	}
	b := read(t, raw)
	specs, err := b.Specs(box(t, 1))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(slices.Collect(v.Specs()), specs); d != "" {
		t.Errorf("objects (-want +got): %s", d)
	}
	if _, err := b.Specs(box(t, 2)); !errors.Is(err, ErrKey) {
		t.Errorf("Specs without the key = %v, want ErrKey", err)
	}
}
