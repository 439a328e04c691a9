package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lbnode/lbnode/api"
)

// ctl is lbctl with an environment.
type ctl struct {
	t   *testing.T
	env []string
}

// run runs lbctl and wants an exit code. It returns what lbctl printed on standard output, and on standard
// error.
func (c ctl) run(want int, args ...string) (stdout, stderr string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 40*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(binDir, "lbctl"), args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + c.t.TempDir()}, c.env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		c.t.Fatalf("lbctl %q: %v", args, err)
	}
	if got := cmd.ProcessState.ExitCode(); got != want {
		c.t.Errorf("lbctl %q ended with code %d, want %d\n%s%s", args, got, want, out.String(), errs.String())
	}
	if want != 0 && want != 64 && errs.Len() == 0 {
		c.t.Errorf("lbctl %q ended with code %d and said nothing on standard error", args, want)
	}
	return out.String(), errs.String()
}

// The manual's lines as operators type them, against the API of any node.
func TestLbctl_manual(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	const base = "bbb.example.org"
	url := "http://" + c.followers()[0].api
	l := ctl{t: t}
	backend := func(host string) api.Backend {
		t.Helper()
		out, _ := l.run(0, "--api", url, "show", "backend", "https://"+host+"."+base, "-o", "json")
		var b api.Backend
		if err := json.Unmarshal([]byte(out), &b); err != nil {
			t.Fatalf("show backend -o json printed %s: %v", out, err)
		}
		return b
	}
	for _, host := range []string{"node22", "node23", "node24"} {
		l.run(0, "--api", url, "add", "backend", "https://"+host+"."+base+"/bigbluebutton/api/")
	}
	l.run(0, "--api", url, "set", "backend", "-j", `{"tags":["bbb_26"]}`, "https://node23.bbb.example.org")
	if b := backend("node23"); !slices.Equal(b.Tags, []string{"bbb_26"}) {
		t.Errorf("tags of node23 = %v, want bbb_26", b.Tags)
	}
	l.run(0, "--api", url, "set", "frontend", "-j", ` {"tags":["bbb_28"]}`, "https://node22.bbb.example.org/bigbluebutton/api/")
	if b := backend("node22"); !slices.Equal(b.Tags, []string{"bbb_28"}) {
		t.Errorf("tags of node22 = %v, want bbb_28: the manual sets a backend's tags this way", b.Tags)
	}
	out, _ := l.run(0, "--api", url, "show", "backends")
	block := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(backend("node23").ID) + `\n\s+Host:\s+https://node23\.bbb\.example\.org/bigbluebutton/api/\n` +
		`\s+Settings:\s+\{"tags":\["bbb_26"\].*\}\n\s+NodeState:\s+\w+\s+AdminState:\s+ready\n\s+MC/AC/R:\s+0/0/0\.00\n\s+LoadFactor:\s+1\n\s+Latency:\s+\S+\n`)
	if !block.MatchString(out) {
		t.Errorf("show backends printed\n%swant a block like\n%s", out, block)
	}
	l.run(0, "--api", url, "disable", "backend", "https://node23.bbb.example.org")
	if b := backend("node23"); b.AdminState != "stopped" {
		t.Errorf("admin_state of node23 after disable = %s, want stopped", b.AdminState)
	}
	l.run(0, "--api", url, "enable", "backend", "https://node23.bbb.example.org")
	if b := backend("node23"); b.AdminState != "ready" {
		t.Errorf("admin_state of node23 after enable = %s, want ready", b.AdminState)
	}
	l.run(64, "--api", url, "enable", "backend", "https://node23.bbb.example.org")
	l.run(0, "--api", url, "delete", "backend", "https://node23.bbb.example.org")
	eventually(t, formTime, "node23, with nothing running on it, is removed", func() error {
		out, _ := l.run(0, "--api", url, "show", "backends", "-o", "name")
		if n := len(strings.Fields(out)); n != 2 {
			return errors.New("show backends -o name printed " + out)
		}
		return nil
	})
	l.run(0, "delete", "backend", "https://node24.bbb.example.org", "--force", "--api", url) // flags stand anywhere
	l.run(3, "--api", url, "show", "backend", "https://node24.bbb.example.org")
}

func TestLbctl_commandsAndExitCodes(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	dead := freeAddr(t)
	l := ctl{t: t, env: []string{"LBCTL_API=http://" + dead + ",http://" + c.nodes[1].api + "," + c.nodes[2].api}}

	l.run(0, "add", "backend", "127.0.0.1:1", "--id", "b1", "--weight", "3", "--pool", "users-service", "--tag", "a")
	l.run(0, "add", "route", "--path", "/users", "--method", "GET", "--pool", "users-service", "--algorithm", "least_connections")
	for noun, words := range map[string][]string{
		"backends": {"b1", "127.0.0.1:1"}, "routes": {"/users", "users-service"}, "health": {"b1"}, "stats": {"rps"}, "nodes": {"n1", "n2", "n3"}, "frontends": nil,
	} {
		if out, _ := l.run(0, "show", noun); !containsAll(out, words) {
			t.Errorf("show %s printed\n%swant %q", noun, out, words)
		}
	}
	if out, _ := l.run(0, "cluster", "status"); !containsAll(out, []string{c.leader().name}) {
		t.Errorf("cluster status printed\n%swant the leader %s", out, c.leader().name)
	}
	out, _ := l.run(0, "show", "stats", "-o", "json")
	var s api.Stats
	if err := json.Unmarshal([]byte(out), &s); err != nil || len(s.Nodes) != 3 {
		t.Errorf("show stats -o json printed %s, error %v, want the API's body", out, err)
	}

	l.run(2, "frobnicate")
	l.run(2, "add", "backend")
	l.run(3, "show", "backend", "nobody")
	l.run(3, "delete", "backend", "nobody")
	l.run(4, "add", "backend", "127.0.0.1:2", "--id", "b1")
	l.run(8, "add", "backend", "127.0.0.1:2", "--id", "Bad Id!")
	l.run(8, "set", "backend", "-j", `{"weight":-1}`, "b1")
	if _, stderr := l.run(8, "set", "backend", "-j", `{"wieght":1}`, "b1"); !containsAll(stderr, []string{"wieght", "weight"}) {
		t.Errorf("an unknown field is answered with\n%swant it and the right one named", stderr)
	}
	l.run(64, "set", "backend", "-j", `{"weight":3}`, "b1")
	alone := ctl{t: t, env: []string{"LBCTL_API=http://" + dead}}
	if _, stderr := alone.run(1, "show", "backends"); !strings.Contains(stderr, dead) {
		t.Errorf("with no node up lbctl says\n%swant the address", stderr)
	}

	// The first node in the list dies: the next one answers.
	c.nodes[1].kill()
	c.leader()
	l.run(0, "show", "backends")
	l.run(0, "add", "backend", "127.0.0.1:3", "--id", "b3")
	// So does the quorum: reads go on, a write says that there is no leader.
	c.nodes[0].kill()
	refusesWrites(t, c.nodes[2])
	l.run(0, "show", "backends")
	l.run(6, "add", "backend", "127.0.0.1:4", "--id", "b4")
}
