package archtest

import (
	"go/ast"
	"os/exec"
	"strings"
	"testing"
)

func isFunc(d ast.Decl) (string, bool) {
	f, ok := d.(*ast.FuncDecl)
	if !ok || f.Recv != nil {
		return "", false
	}
	return f.Name.Name, true
}

// pinned are the versions that build together: raft-boltdb/v2 v2.3.1 needs go-metrics/compat, which
// go-metrics v0.7.0 removed (hashicorp/go-metrics#222), and raft, raft-boltdb and memberlist of this set
// report into armon/go-metrics, whose v0.7.0 cannot be built. See docs/dependencies.md.
var pinned = map[string]string{
	"github.com/hashicorp/raft":           "v1.7.3",
	"github.com/hashicorp/raft-boltdb/v2": "v2.3.1",
	"github.com/hashicorp/memberlist":     "v0.6.0",
	"github.com/hashicorp/go-metrics":     "v0.6.1",
	"github.com/armon/go-metrics":         "v0.4.1",
}

func TestModules_stayAtTheSetThatBuildsTogether(t *testing.T) {
	t.Parallel()
	for mod, want := range pinned {
		out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Version}}{{if .Replace}} replaced{{end}}", mod).Output()
		if err != nil {
			t.Fatalf("go list -m %s: %v", mod, err)
		}
		if got := strings.TrimSpace(string(out)); got != want {
			t.Errorf("%s is at %s, want %s; docs/dependencies.md says why and when to move", mod, got, want)
		}
	}
}
