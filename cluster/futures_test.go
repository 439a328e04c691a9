package cluster

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Raft's futures have no deadline: a hung disk would hold whoever waits for one. So
// they are waited for by Node.await only, which gives up with its context.

// futureExceptions are functions that wait for a future themselves.
var futureExceptions = map[string]string{
	"await":        "it is the wait with a deadline",
	"servers":      "GetConfiguration is answered from a copy, without anybody's help",
	"shutdownRaft": "the wait for Shutdown is bounded by within",
}

// exports finds the compiled form of what package cluster imports.
func exports(t *testing.T) func(path string) (io.ReadCloser, error) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-export", "-deps", "-f", "{{.ImportPath}}={{.Export}}", ".").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	files := make(map[string]string)
	for line := range strings.Lines(string(out)) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), "=")
		files[path] = file
	}
	return func(path string) (io.ReadCloser, error) {
		b, err := os.ReadFile(files[path])
		return io.NopCloser(bytes.NewReader(b)), err
	}
}

// bareWaits names the functions in which a method Error that returns an error, as only futures have it, is called
// or taken outside of a function that is handed to await.
func bareWaits(fset *token.FileSet, files []*ast.File, imp types.Importer) (bare []string, err error) {
	info := &types.Info{Selections: make(map[*ast.SelectorExpr]*types.Selection)}
	if _, err := (&types.Config{Importer: imp}).Check("cluster", fset, files, info); err != nil {
		return nil, err
	}
	errorType := types.Universe.Lookup("error").Type()
	isWait := func(e *ast.SelectorExpr) bool {
		s := info.Selections[e]
		if s == nil || e.Sel.Name != "Error" {
			return false
		}
		sig, ok := s.Obj().Type().(*types.Signature)
		return ok && sig.Results().Len() == 1 && types.Identical(sig.Results().At(0).Type(), errorType)
	}
	for _, f := range files {
		for _, d := range f.Decls {
			name := "a variable"
			if fn, ok := d.(*ast.FuncDecl); ok {
				name = fn.Name.Name
			}
			ast.Inspect(d, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.CallExpr:
					if callee, ok := n.Fun.(*ast.SelectorExpr); ok && callee.Sel.Name == "await" {
						return false
					}
				case *ast.SelectorExpr:
					if isWait(n) {
						bare = append(bare, name)
					}
				}
				return true
			})
		}
	}
	return bare, nil
}

func TestFutures_haveOurDeadline(t *testing.T) {
	t.Parallel()
	fset := token.NewFileSet()
	imp := importer.ForCompiler(fset, "gc", exports(t))

	out, err := exec.CommandContext(t.Context(), "go", "list", "-f", `{{join .GoFiles "\n"}}`, ".").Output()
	must(t, err)
	var files []*ast.File
	for name := range strings.Lines(string(out)) {
		f, err := parser.ParseFile(fset, filepath.Clean(strings.TrimSpace(name)), nil, parser.SkipObjectResolution)
		must(t, err)
		files = append(files, f)
	}
	bare, err := bareWaits(fset, files, imp)
	must(t, err)
	for _, name := range bare {
		if futureExceptions[name] == "" {
			t.Errorf("%s waits for a future of Raft's by itself; Node.await has a deadline", name)
		}
	}
	for name := range futureExceptions {
		if !slices.Contains(bare, name) {
			t.Errorf("%s is an exception without need", name)
		}
	}

	for body, want := range map[string]int{
		`return r.Barrier(0).Error()`:                                                                   1,
		`f := r.Apply(nil, 0); return f.Error()`:                                                        1,
		`go r.Snapshot().Error(); return nil`:                                                           1,
		`wait := r.VerifyLeader().Error; return wait()`:                                                 1,
		`return n.await(func(r *raft.Raft) raft.Future { return r.Barrier(0) })`:                        0,
		`err := fmt.Errorf("no future"); _ = err.Error(); return err`:                                   0,
		`return r.AddVoter("", "", 0, 0).Error()`:                                                       1,
		`return fmt.Errorf("a: %w", r.LeadershipTransferToServer("b", "").Error())`:                     1,
		`var fs []raft.Future; for _, f := range fs { _ = f.Error() }; return nil`:                      1,
		`_ = r.Shutdown(); return nil`:                                                                  0,
		`x := struct{ raft.Future }{r.Barrier(0)}; return x.Error()`:                                    1,
		`return n.await(func(r *raft.Raft) raft.Future { f := r.Barrier(0); _ = f.Error(); return f })`: 0,
	} {
		src := fmt.Sprintf("package cluster\nimport (\"fmt\"; \"github.com/hashicorp/raft\")\nvar _ = fmt.Sprint\ntype node struct{}\nfunc (node) await(func(*raft.Raft) raft.Future) error { return nil }\nfunc planted(n node, r *raft.Raft) error { %s }\n", body)
		f, err := parser.ParseFile(fset, "planted.go", src, parser.SkipObjectResolution)
		must(t, err)
		bare, err := bareWaits(fset, []*ast.File{f}, imp)
		if err != nil || len(bare) != want {
			t.Errorf("%s: found %q, %v; want %d", body, bare, err, want)
		}
	}
}
