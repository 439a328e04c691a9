package node

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lbnode/lbnode/state"
)

var update = flag.Bool("update", false, "write the golden data directory anew")

// The data directory of this version, with a snapshot, a log after it and the last view. Every later version must
// start on it. It is added to, never changed: what it holds is on the disks of clusters.
const (
	goldenDir  = "testdata/datadir-v1.tar.gz"
	goldenHash = "testdata/datadir-v1.hash" // index and hash of the state
)

func TestGolden_dataDir(t *testing.T) {
	t.Parallel()
	if *update {
		writeGolden(t)
	}
	var index uint64
	var hash string
	text, err := os.ReadFile(goldenHash)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscan(string(text), &index, &hash); err != nil {
		t.Fatal(err)
	}
	for name, drop := range map[string]string{"whole": "", "without the last view": "view.snap", "without the known peers": "peers.json"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := testConfig(t, "")
			unpack(t, goldenDir, cfg.DataDir)
			if drop != "" {
				if err := os.Remove(filepath.Join(cfg.DataDir, drop)); err != nil {
					t.Fatal(err)
				}
			}
			n, _ := runNode(t, cfg)
			eventually(t, "the state of the directory", func() bool { return n.store.View().Index >= index })
			if v := n.store.View(); v.Index != index || state.Hash(v) != hash {
				t.Errorf("state at index %d with hash %s, want %d with %s", v.Index, state.Hash(v), index, hash)
			}
			eventually(t, "a write", func() bool {
				code, _ := call(t, http.MethodPut, apiOf(n)+"/routes/after", `{"match":{"path":"/after"},"backend_pool":"users"}`)
				return code == http.StatusOK || code == http.StatusCreated
			})
		})
	}
}

// writeGolden makes the directory: a node that lives, is recovered, which leaves a snapshot, and lives on.
func writeGolden(t *testing.T) {
	t.Helper()
	cfg := testConfig(t, "golden")
	write := func(path, body string) {
		n, stop := runNode(t, cfg)
		eventually(t, "a write", func() bool {
			code, _ := call(t, http.MethodPut, apiOf(n)+path, body)
			return code == http.StatusOK || code == http.StatusCreated
		})
		eventually(t, "a verdict", func() bool {
			b, ok := n.store.View().Backend("users-v1")
			return !ok || b.Verdict == state.VerdictUp
		})
		stop()
		v := n.store.View()
		if err := os.WriteFile(goldenHash, fmt.Appendf(nil, "%d %s\n", v.Index, state.Hash(v)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("/pools/users", `{"health":{"type":"none"},"algorithm":"least_connections"}`)
	write("/backends/users-v1", `{"address":"127.0.0.1:9","pool":"users","weight":3,"tags":["x"]}`)
	write("/frontends/uni", `{"hosts":["uni.example.org"],"key":"uni","secret":"golden"}`)
	if _, err := Recover(cfg, true, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	write("/routes/users", `{"match":{"path":"/users","method":"GET"},"backend_pool":"users"}`)
	packDir(t, cfg.DataDir, goldenDir)
}

func packDir(t *testing.T, dir, file string) {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	zip := gzip.NewWriter(f)
	out := tar.NewWriter(zip)
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		name := strings.TrimPrefix(path, dir+string(filepath.Separator))
		if err != nil || e.IsDir() {
			if strings.HasPrefix(name, "before-recovery-") {
				return fs.SkipDir
			}
			return err
		}
		if slices.Contains([]string{"lock", "reserve"}, name) {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := out.WriteHeader(&tar.Header{Name: filepath.ToSlash(name), Mode: 0o600, Size: int64(len(b))}); err != nil {
			return err
		}
		_, err = out.Write(b)
		return err
	})
	if err := errors.Join(err, out.Close(), zip.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

func unpack(t *testing.T, file, dir string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zip, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	in := tar.NewReader(zip)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, filepath.FromSlash(h.Name))
		b, err := io.ReadAll(io.LimitReader(in, 16<<20))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
