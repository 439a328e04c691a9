package archtest

import (
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/lbnode/lbnode/"

// anyOurs lets a package import every package of ours.
const anyOurs = "*"

// rule says what a package may import: ours by path below the module, others' by module path prefix. The
// standard library is free. Tests may import what they like.
type rule struct{ ours, others []string }

// rules is the import table of docs/architecture.md. A package that is not listed fails the test.
var rules = map[string]rule{
	"state":                   {others: []string{"github.com/hashicorp/go-immutable-radix/v2"}},
	"api":                     {},
	"stats":                   {},
	"fsm":                     {ours: []string{"state"}, others: []string{"github.com/hashicorp/raft"}},
	"cluster":                 {ours: []string{"cluster/transport", "cluster/gossip"}, others: []string{"github.com/hashicorp/raft", "github.com/hashicorp/raft-boltdb/v2", "github.com/hashicorp/go-hclog", "go.etcd.io/bbolt"}},
	"cluster/transport":       {},
	"cluster/gossip":          {others: []string{"github.com/hashicorp/memberlist"}},
	"health":                  {ours: []string{"state"}},
	"proxy":                   {ours: []string{"state", "stats", "proxy/http1", "proxy/route", "proxy/shape", "proxy/upstream"}},
	"proxy/accesslog":         {ours: []string{"proxy"}},
	"proxy/door":              {},
	"proxy/http1":             {},
	"proxy/http2":             {ours: []string{"proxy/http1"}},
	"proxy/proxyproto":        {},
	"proxy/shape":             {ours: []string{"state", "proxy/http1"}, others: []string{"github.com/cespare/xxhash/v2"}},
	"proxy/upstream":          {ours: []string{"state", "stats", "proxy/http1"}},
	"proxy/balance":           {ours: []string{"state", "proxy/upstream"}, others: []string{"github.com/cespare/xxhash/v2"}},
	"httpapi":                 {ours: []string{"api", "state", "stats", "internal/auth", "tlsstore", "internal/backup", "internal/seal", "internal/strictjson"}, others: []string{"github.com/gorilla/mux", "go.yaml.in/yaml/v3"}},
	"proxy/route":             {ours: []string{"state", "stats", "proxy/upstream", "proxy/balance", "proxy/shape"}, others: []string{"github.com/cespare/xxhash/v2"}},
	"proxy/portable":          {ours: []string{"proxy", "proxy/door", "proxy/http1", "proxy/proxyproto", "stats"}},
	"httpapi/apitest":         {ours: []string{"api", "httpapi", "state", "stats", "internal/seal"}},
	"client":                  {ours: []string{"api"}},
	"node":                    {ours: []string{anyOurs}, others: []string{"github.com/prometheus/client_golang"}},
	"bbb/callback":            {ours: []string{"state", "bbb/ids", "bbb/sign"}},
	"bbb/recording":           {ours: []string{"state", "bbb/ids", "bbb/sign", "bbb/xml"}, others: []string{"github.com/minio/minio-go/v7"}},
	"internal/agent":          {ours: []string{"api", "client"}, others: []string{"github.com/redis/go-redis/v9"}},
	"internal/archtest":       {},
	"internal/auth":           {},
	"internal/backup":         {ours: []string{"state", "internal/seal"}},
	"internal/buildinfo":      {},
	"internal/certtest":       {},
	"internal/config":         {others: []string{"go.yaml.in/yaml/v3"}},
	"internal/demo":           {ours: []string{"api", "client"}, others: []string{"golang.org/x/term"}},
	"internal/seal":           {},
	"internal/linear":         {others: []string{"github.com/anishathalye/porcupine"}},
	"internal/reload":         {},
	"internal/strictjson":     {},
	"tlsstore":                {ours: []string{"state", "internal/seal"}},
	"internal/telemetry":      {ours: []string{"stats"}, others: []string{"github.com/armon/go-metrics", "github.com/prometheus/client_golang"}},
	"cmd/lbagent":             {ours: []string{"internal/agent", "internal/buildinfo", "internal/telemetry"}},
	"cmd/lbnode":              {ours: []string{"cluster", "state", "cluster/transport", "internal/buildinfo", "internal/config", "internal/demo", "internal/telemetry", "node"}},
	"cmd/lbctl":               {ours: []string{"api", "client", "state", "cluster/transport", "internal/auth", "internal/backup", "internal/buildinfo", "internal/seal"}, others: []string{"github.com/spf13/cobra", "github.com/spf13/pflag", "go.yaml.in/yaml/v3", "golang.org/x/term"}},
	"e2e":                     {},
	"proxy/internal/viewtest": {ours: []string{"state"}},
	"proxy/engine":            {ours: []string{"state", "stats", "proxy", "proxy/door", "proxy/http1", "proxy/http2", "proxy/portable", "proxy/proxyproto", "proxy/route", "proxy/upstream"}, others: []string{"golang.org/x/sys"}},
	"proxy/enginetest":        {ours: []string{"state", "stats", "proxy", "proxy/http1", "proxy/proxyproto", "proxy/internal/viewtest", "internal/certtest"}, others: []string{"github.com/google/go-cmp", "golang.org/x/net", "google.golang.org/grpc", "google.golang.org/protobuf"}},
	"bbb/ids":                 {},
	"bbb/place":               {ours: []string{"state"}},
	"bbb/load":                {ours: []string{"state", "bbb/place", "bbb/sign", "bbb/xml"}},
	"bbb/control":             {ours: []string{"state", "bbb/ids", "bbb/load", "bbb/sign", "bbb/xml"}},
	"bbb":                     {ours: []string{"state", "bbb/ids", "bbb/load", "bbb/place", "bbb/server", "bbb/sign", "bbb/xml"}},
	"bbb/b3api":               {ours: []string{"bbb/control", "bbb/load", "bbb/recording", "bbb/server", "internal/auth", "state"}},
	"bbb/bbbtest":             {},
	"bbb/server":              {ours: []string{"bbb/sign", "bbb/xml", "state"}},
	"bbb/sign":                {},
	"bbb/xml":                 {},
	"bench":                   {ours: []string{"state"}, others: []string{"golang.org/x/sys"}},
}

// noConsensus lists what must never reach Raft or gossip, not even through another package.
var noConsensus = []string{"state", "stats", "health", "proxy", "proxy/http1", "proxy/http2", "proxy/upstream", "proxy/balance", "proxy/route", "proxy/portable", "proxy/accesslog", "proxy/engine", "httpapi", "api", "client", "bbb/b3api", "bbb/callback", "bbb/recording"}

type pkg struct {
	ImportPath, Dir, Doc string
	Standard             bool
	GoFiles, Imports     []string
	Deps                 []string
}

func list(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Dir,Doc,Standard,GoFiles,Imports,Deps", module+"...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var pkgs []pkg
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatal(err)
		}
		if len(p.GoFiles) > 0 {
			pkgs = append(pkgs, p)
		}
	}
}

func TestImports_followTheTable(t *testing.T) {
	t.Parallel()
	for _, p := range list(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		r, ok := rules[name]
		if !ok {
			t.Errorf("package %s is not in the import table of internal/archtest and docs/architecture.md", name)
			continue
		}
		for _, imp := range p.Imports {
			if short, ours := strings.CutPrefix(imp, module); ours {
				if !slices.Contains(r.ours, short) && !slices.Contains(r.ours, anyOurs) {
					t.Errorf("%s imports %s, which the table does not allow", name, short)
				}
			} else if first, _, _ := strings.Cut(imp, "/"); strings.Contains(first, ".") {
				if !slices.ContainsFunc(r.others, func(o string) bool { return imp == o || strings.HasPrefix(imp, o+"/") }) {
					t.Errorf("%s imports %s, which the table does not allow", name, imp)
				}
			}
		}
		if p.Doc == "" {
			t.Errorf("package %s has no comment that says what it is, who calls it and what it never does", name)
		}
		if slices.Contains(noConsensus, name) {
			for _, dep := range p.Deps {
				if strings.HasPrefix(dep, "github.com/hashicorp/raft") || strings.HasPrefix(dep, "github.com/hashicorp/memberlist") {
					t.Errorf("%s reaches %s; the data path and the edges know nothing of consensus", name, dep)
				}
			}
		}
	}
}

// No package does work when it is merely imported.
func TestNoInitFunctions(t *testing.T) {
	t.Parallel()
	for _, p := range list(t) {
		for _, file := range p.GoFiles {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, file), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range f.Decls {
				if fn, ok := isFunc(d); ok && fn == "init" {
					t.Errorf("%s/%s has an init function", p.ImportPath, file)
				}
			}
		}
	}
}
