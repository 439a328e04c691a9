package main

import (
	"bytes"
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func testRoot() *cobra.Command {
	var out bytes.Buffer
	return newApp(nil, &out, &out, nil).root()
}

func TestArrange(t *testing.T) {
	t.Parallel()
	root := testRoot()
	for in, want := range map[string]string{
		"":                                       "",
		"show backends --json":                   "show backends --json",
		"show --json backends":                   "show backends --json",
		"--json show backends":                   "show backends --json",
		"delete --force backend X":               "delete backend X --force",
		"delete -f backend X":                    "delete backend X -f",
		"set --weight 3 backend X":               "set backend X --weight 3",
		"set --weight=3 backend X":               "set backend X --weight=3",
		"-o json show -b a,b backends":           "show backends -o json -b a,b",
		"-ojson show backends":                   "show backends -ojson",
		"delete -fo json backend X":              "delete backend X -fo json",
		"disable --wait backend X":               "disable backend X --wait",
		"disable --wait idle backend X":          "disable backend X --wait=idle",
		"disable backend X --wait applied":       "disable backend X --wait=applied",
		"disable backend X --wait=idle":          "disable backend X --wait=idle",
		"add route --priority -5 --pool p":       "add route --priority -5 --pool p",
		"delete backend --force -- -odd --force": "delete backend --force -- -odd --force",
		"set backend -j - X":                     "set backend X -j -",
		"show - --bogus x":                       "show - x --bogus",
		"show backends --pool":                   "show backends --pool",
		"__complete delete --force back":         "__complete delete --force back",
		"__complete --api a show b":              "__complete show --api a b",
		"__complete show -o b":                   "__complete show -o b",
		"__complete":                             "__complete",
	} {
		got := strings.Join(arrange(root, strings.Fields(in)), " ")
		if got != want {
			t.Errorf("arrange(%q) = %q, want %q", in, got, want)
		}
	}
}

// Whether a flag takes a value must not depend on the command, or it could not stand anywhere.
func TestFlags_sameArity(t *testing.T) {
	t.Parallel()
	seen := map[string]*pflag.Flag{}
	eachFlag(testRoot(), func(cmd *cobra.Command, f *pflag.Flag) {
		names := []string{"--" + f.Name}
		if f.Shorthand != "" {
			names = append(names, "-"+f.Shorthand)
		}
		for _, name := range names {
			if other := seen[name]; other != nil && (other.NoOptDefVal == "") != (f.NoOptDefVal == "") {
				t.Errorf("%s %s takes a value in one command and none in another", cmd.CommandPath(), name)
			}
			seen[name] = f
		}
		if f.NoOptDefVal != "" && f.Value.Type() != "bool" && f.Name != flagWait {
			t.Errorf("%s --%s has an optional value", cmd.CommandPath(), f.Name)
		}
	})
	if len(seen) < 40 {
		t.Errorf("%d flags seen, want all of them", len(seen))
	}
}

// Every command says what it is, and its help goes to standard output.
func TestHelp_everywhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Short == "" {
			t.Errorf("%s has no short help", cmd.CommandPath())
		}
		got := w.run(append(strings.Fields(cmd.CommandPath())[1:], "--help")...)
		if got.code != exitDone || got.stderr != "" || !strings.Contains(got.stdout, "Usage:") {
			t.Errorf("%s --help = exit %d, stderr %q", cmd.CommandPath(), got.code, got.stderr)
		}
		for _, c := range cmd.Commands() {
			walk(c)
		}
	}
	walk(testRoot())
}

// Flags before, between and behind, nouns in singular and plural: all the same.
func TestFlags_anywhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.populate()
	url := w.srv.URL
	w.env = nil
	for _, lines := range [][]string{
		{
			"lbctl --api " + url + " show backends -o json",
			"lbctl show --api " + url + " --json backends",
			"lbctl show backend --json --api=" + url,
			"lbctl --json -b " + url + " show backend",
			"lbctl s -ojson backends -b " + url,
		},
		{
			"lbctl --dry --api " + url + " set backend users-v1 --weight 7",
			"lbctl --weight 7 set backend users-v1 --dry --api " + url,
			"lbctl set --weight=7 --dry --api " + url + " backends users-v1",
			`lbctl set backend -j '{"weight":7}' --dry users-v1 --api ` + url,
			"lbctl -b " + url + ` update --opts '{"weight":7}' --dry backend users-v1`,
		},
		{
			"lbctl --api " + url + " delete --force --dry route users",
			"lbctl delete routes users -f --dry --api " + url,
			"lbctl --force del route --dry users --api " + url,
		},
	} {
		want := w.must(lines[0])
		for _, line := range lines[1:] {
			if diff := cmp.Diff(want, w.line(line), cmp.AllowUnexported(outcome{})); diff != "" {
				t.Errorf("%s differs from %s:\n%s", line, lines[0], diff)
			}
		}
	}
}

func TestOpts_sources(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must("lbctl add backend a:1 --id b1")
	w.stdin = `{"weight": 12}`
	w.must("lbctl set backend b1 -j -")
	if b, _ := w.store.View().Backend("b1"); b.Weight != 12 {
		t.Errorf("weight = %d, want 12 from standard input", b.Weight)
	}
	w.must("lbctl set backend b1 -j @testdata/weight.json")
	if b, _ := w.store.View().Backend("b1"); b.Weight != 13 {
		t.Errorf("weight = %d, want 13 from the file", b.Weight)
	}
	w.must(`lbctl set backend b1 -j '{"weight":null,"tags":["a"]}' --load-factor 0.5`)
	if b, _ := w.store.View().Backend("b1"); b.Weight != 1 || !slices.Equal(b.Tags, []string{"a"}) || b.LoadFactor != 0.5 {
		t.Errorf("backend = %+v, want the default weight, tag a and load factor 0.5", b.BackendSpec)
	}
	w.must(`lbctl set backend b1 --tag c,b --tag d`)
	if b, _ := w.store.View().Backend("b1"); !slices.Equal(b.Tags, []string{"b", "c", "d"}) {
		t.Errorf("tags = %v, want b, c, d", b.Tags)
	}
}

// Every field's flag arrives where it says.
func TestFields_arrive(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, tt := range []struct{ line, want string }{
		{
			"lbctl add backend http://a:1/x --id i --pool p --weight 0 --tag t --admin-state init --load-factor 2.5 --dry -o name",
			`{"address":"http://a:1/x","admin_state":"init","id":"i","load_factor":2.5,"pool":"p","tags":["t"],"weight":0}`,
		},
		{"lbctl set backend i --address a:2 --dry", ""},
		{
			"lbctl add pool p --algorithm random --hash-source query --hash-name q --protocol h2c --health-type http --health-method HEAD --health-path /p --health-host h --health-statuses 200 --interval 3s --health-timeout 1s --rise 4 --fall 5 --on-empty fail --initial up --tls-skip-verify --tls-server-name n --tls-ca-file testdata/weight.json --dry",
			`{"algorithm":"random","hash":{"name":"q","source":"query"},"health":{"fall":5,"host":"h","interval":"3s","method":"HEAD","path":"/p","rise":4,"statuses":"200","timeout":"1s","type":"http"},"id":"p","initial":"up","on_empty":"fail","protocol":"h2c","tls":{"ca":"{\"weight\": 13}\n","server_name":"n","skip_verify":true}}`,
		},
		{
			"lbctl add route --id r --host h --path /p --path-type exact --method GET --header A=1 --header B --query c=~x=y --pool p --algorithm ip_hash --hash-source path --hash-name n --priority -7 --retries 0 --timeout-connect 1s --timeout-first-byte 2s --timeout-total 3s --dry",
			`{"algorithm":"ip_hash","backend_pool":"p","hash":{"name":"n","source":"path"},"id":"r","match":{"headers":{"A":"1","B":"*"},"host":"h","method":"GET","path":"/p","path_type":"exact","query":{"c":"~x=y"}},"priority":-7,"retries":0,"timeouts":{"connect":"1s","first_byte":"2s","total":"3s"}}`,
		},
		{"lbctl add frontend f --host a --host b --secret s --tag t --dry", `{"hosts":["a","b"],"id":"f","required_tags":["t"],"secret":"s"}`},
		{"lbctl add frontend f --key k --dry", `{"id":"f","key":"k"}`},
		{"lbctl add frontend Some/Key --id f --dry", `{"id":"f","key":"Some/Key"}`},
		{"lbctl add frontend f --dry", `{"id":"f","key":"f"}`},
		{"lbctl add frontend health --dry", `{"key":"health"}`},
	} {
		got := w.line(tt.line)
		if tt.want == "" {
			if got.code != exitNotFound { // set looks the object up first
				t.Errorf("%s = exit %d, want %d", tt.line, got.code, exitNotFound)
			}
			continue
		}
		_, body, _ := strings.Cut(got.stdout, "\n")
		var want bytes.Buffer
		if err := printJSON(&want, []byte(tt.want)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want.String(), body); diff != "" || got.code != 0 {
			t.Errorf("%s = exit %d %s (-want +got):\n%s", tt.line, got.code, got.stderr, diff)
		}
	}
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.populate()
	for _, shell := range []string{"bash", "zsh", "fish"} {
		got := w.line("lbctl completion " + shell)
		if got.code != 0 || len(got.stdout) < 1000 || !strings.Contains(got.stdout, "lbctl") || got.stderr != "" {
			t.Errorf("completion %s = exit %d, %d bytes, stderr %q", shell, got.code, len(got.stdout), got.stderr)
		}
	}
	if got := w.line("lbctl completion csh"); got.code != exitUsage {
		t.Errorf("completion csh = exit %d, want %d", got.code, exitUsage)
	}
	for line, want := range map[string]string{
		"lbctl __complete sh":                                  "show\t",
		"lbctl __complete show po":                             "pool\t",
		"lbctl __complete delete --force backend users-v":      "users-v2\t10.0.1.16:8080",
		"lbctl __complete --json show pool u":                  "users",
		"lbctl __complete set frontend ''":                     "shop",
		"lbctl __complete add backend --wei":                   "--weight",
		"lbctl __complete --api http://127.0.0.1:1 show pool ": "pool\t",
	} {
		if got := w.line(line); got.code != 0 || !strings.Contains(got.stdout, want) {
			t.Errorf("%s = exit %d\n%swant %q", line, got.code, got.stdout, want)
		}
	}
}

func TestKeygen(t *testing.T) {
	t.Parallel()
	var out, errs bytes.Buffer
	keys := map[string]bool{}
	for range 3 {
		out.Reset()
		if code := run([]string{"keygen"}, strings.NewReader(""), &out, &errs, nil); code != 0 || errs.Len() > 0 {
			t.Fatalf("keygen = exit %d, stderr %q", code, &errs)
		}
		line, rest, found := strings.Cut(out.String(), "\n")
		raw, err := base64.StdEncoding.Strict().DecodeString(line)
		if err != nil || len(raw) != 32 || !found || rest != "" {
			t.Errorf("keygen = %q, want one line of 32 bytes in base64", out.String())
		}
		keys[line] = true
	}
	if len(keys) != 3 {
		t.Errorf("%d keys of 3 runs, want 3", len(keys))
	}
}

func TestRun_version(t *testing.T) {
	t.Parallel()
	var out, errs bytes.Buffer
	if code := run([]string{"version"}, nil, &out, &errs, []string{"LBCTL_API=http://127.0.0.1:1"}); code != 0 || !strings.HasPrefix(out.String(), "lbctl ") || errs.Len() > 0 {
		t.Errorf("version = exit %d, %q, %q", code, &out, &errs)
	}
}

func TestClean(t *testing.T) {
	t.Parallel()
	if got, want := clean("a\x1b[2J\nb\u0085ü\x7f"), "a [2J b ü "; got != want {
		t.Errorf("clean = %q, want %q", got, want)
	}
}

func FuzzArrange(f *testing.F) {
	f.Add("show --json backends")
	f.Add("disable -- --wait idle -o")
	root := testRoot()
	f.Fuzz(func(t *testing.T, line string) {
		in := strings.Fields(line)
		if len(in) > 0 && strings.HasPrefix(in[0], "__complete") {
			return
		}
		// Nothing is lost and nothing made up, but that --wait and its stage become one.
		sorted := func(args []string) string {
			words := strings.Fields(strings.ReplaceAll(strings.Join(args, " "), "--wait=", "--wait "))
			slices.Sort(words)
			return strings.Join(words, " ")
		}
		if got := arrange(root, slices.Clone(in)); sorted(got) != sorted(in) {
			t.Errorf("arrange(%q) = %q", in, got)
		}
	})
}
