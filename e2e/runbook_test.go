package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// runbook is docs/backup-and-recovery.md, whose commands are typed as they stand.
type runbook struct {
	t    *testing.T
	text string
	dir  string // working directory
}

func openRunbook(t *testing.T) *runbook {
	t.Helper()
	b, err := os.ReadFile("../docs/backup-and-recovery.md")
	if err != nil {
		t.Fatal(err)
	}
	return &runbook{t: t, text: string(b), dir: t.TempDir()}
}

// script is the block of commands with a name. Directory and addresses in it are those of the runbook's example.
func (r *runbook) script(name string) string {
	r.t.Helper()
	block := regexp.MustCompile("(?s)<!-- run: " + name + " -->\\s*```sh\n(.*?)```").FindStringSubmatch(r.text)
	if block == nil {
		r.t.Fatalf("the runbook has no commands %q", name)
	}
	return block[1]
}

// command is a script on the place of a node; seed is the member to join.
func (r *runbook) command(name string, n, seed *node) *exec.Cmd {
	r.t.Helper()
	text := strings.NewReplacer("/var/lib/lbnode", n.dir, "10.0.0.1:7946", seed.cluster).Replace(r.script(name))
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	r.t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, "sh", "-euc", text)
	cmd.Dir = r.dir
	cmd.Env = []string{
		"PATH=" + binDir + string(filepath.ListSeparator) + os.Getenv("PATH"), "LBCTL_API=" + seed.api, "LBNODE_DISK_RESERVE=1MiB",
		"LBNODE_API_ADDR=" + n.api, "LBNODE_PROXY_ADDR=" + n.proxy, "LBNODE_CLUSTER_ADDR=" + n.cluster,
	}
	return cmd
}

// run types a script and returns what it prints.
func (r *runbook) run(name, stdin string, n, seed *node) (string, error) {
	r.t.Helper()
	cmd := r.command(name, n, seed)
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &out
	err := cmd.Run()
	return out.String(), err
}

func (r *runbook) must(name, stdin string, n, seed *node, words ...string) string {
	r.t.Helper()
	out, err := r.run(name, stdin, n, seed)
	if err != nil || !containsAll(out, words) {
		r.t.Fatalf("%s: %v, want %q in\n%s", name, err, words, out)
	}
	return out
}

func TestRunbook_saveAndRestore(t *testing.T) {
	t.Parallel()
	r, c := openRunbook(t), newCluster(t, 1)
	n := c.nodes[0]
	c.serve(1)
	n.must(201, "POST", "/backends", map[string]any{"id": "spare", "address": "127.0.0.1:9", "pool": "spare", "admin_state": "stopped"})
	before := n.config(t, 0)
	r.must("save", "", n, n, "saved before-migration.lbbackup", "sha256", "backend:", "open lab key")
	n.must(200, "PATCH", "/backends/spare", map[string]any{"weight": 7, "admin_state": "ready"})
	n.must(201, "POST", "/backends", map[string]any{"id": "wrong", "address": "127.0.0.1:10", "pool": "wrong"})
	out := r.must("restore", "y\n", n, n, "- backend wrong", "~ backend spare", "restored: 0 created, 1 updated, 2 deleted")
	if b, err := n.backend("spare"); err != nil || b.Weight != 1 || b.AdminState != "stopped" {
		t.Errorf("after the restore: %+v, %v\n%s", b, err, out)
	}
	if n.config(t, 0) == "" || before == "" {
		t.Error("no configuration was read")
	}
}

func TestRunbook_majorityLost(t *testing.T) {
	t.Parallel()
	r, c := openRunbook(t), newCluster(t, 3)
	backends := c.serve(1)
	survivor := c.nodes[0]
	old, err := survivor.status()
	if err != nil {
		t.Fatal(err)
	}
	c.nodes[1].kill()
	c.nodes[2].kill()
	if out, err := r.run("recover-show", "", survivor, survivor); err == nil || !containsAll(out, []string{"another process holds"}) {
		t.Errorf("recover beside a running node: %v\n%s", err, out)
	}
	survivor.term(formTime)
	r.must("recover-show", "", survivor, survivor, "node        n1", old.ID, "last entry  index", "n2", "does not answer", "Nothing was changed")
	r.must("recover", "", survivor, survivor, "recovered: node n1 is the only member", "1 backends", "before-recovery-")
	survivor.start()
	c.nodes = c.nodes[:1]
	c.formed(survivor)
	now, err := survivor.status()
	if err != nil || now.ID == old.ID || now.ID == "" {
		t.Errorf("the cluster id is %q, was %q: %v", now.ID, old.ID, err)
	}
	for _, name := range []string{"n4", "n5"} {
		n := newNode(t, name, "--join", survivor.cluster)
		c.nodes = append(c.nodes, n)
		n.start()
	}
	c.formed(c.nodes...)
	c.reach(backends, c.nodes...)
	c.nodes[2].must(201, "POST", "/backends", map[string]any{"id": "later", "address": "127.0.0.1:9", "pool": "later"})
	c.same()
}

func TestRunbook_damagedNode(t *testing.T) {
	t.Parallel()
	r, c := openRunbook(t), newCluster(t, 3)
	backends := c.serve(1)
	n := c.nodes[2]
	n.kill()
	truncate(t, filepath.Join(n.dir, "raft", "raft.db"))
	n.start()
	if code := n.wait(formTime); code != 1 {
		t.Errorf("a start on a damaged log ended with %d, want 1", code)
	}
	n.logged(formTime, "damaged data directory", "lbnode rejoin --data-dir "+n.dir+" --join")

	cmd := r.command("rejoin", n, c.nodes[0])
	cmd.Args[2] = "exec " + cmd.Args[2] // so that signals get to lbnode
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = &out, &out, childAttr()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	seen := "n3"
	wait := func() error {
		members, err := c.nodes[0].members()
		st, serr := c.nodes[0].status()
		if err != nil || serr != nil {
			return fmt.Errorf("%w, %w", err, serr)
		}
		seen = fmt.Sprint(st.Voters)
		if seen != "[n1 n2 n3-r2]" || members["n3-r2"].Status != "alive" {
			return fmt.Errorf("voters %s, members %+v", seen, members)
		}
		return nil
	}
	eventually(t, 2*formTime, "n3-r2 is in n3's place", wait)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-exited; err != nil || !containsAll(out.String(), []string{"the files of node n3 are in", "joining as n3-r2"}) {
		t.Errorf("rejoin ended with %v and said\n%s", err, out.String())
	}
	n.name = "n3-r2" // as always from now on
	n.start()
	c.formed(c.nodes...)
	c.reach(backends, c.nodes...)
	c.same()
}
