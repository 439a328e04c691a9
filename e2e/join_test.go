package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lbnode/lbnode/api"
)

// A node may be told to join any member; a follower sends it on to the leader.
func TestJoin_anyMember(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2)
	follower := c.followers()[0]
	third := newNode(t, "n3", "--join", follower.cluster)
	c.nodes = append(c.nodes, third)
	third.start()
	c.formed(c.nodes...)

	var st api.Cluster
	third.read("/cluster", &st)
	if st.FailureTolerance != 1 || st.ID == "" || st.Node != "n3" {
		t.Errorf("GET /cluster on the third node = %+v, want failure tolerance 1, an id, and node n3", st)
	}
	members, err := third.members()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range c.nodes {
		m := members[n.name]
		if m.API != n.api || m.Proxy != n.proxy || m.Address != n.cluster || !m.Voter || m.Version == "" {
			t.Errorf("GET /nodes shows %+v, want API %s, proxy %s, cluster address %s, a voter with a version", m, n.api, n.proxy, n.cluster)
		}
		if m.Self != (n == third) || m.Leader != (n == c.leader()) {
			t.Errorf("GET /nodes on n3 shows %+v, with self or leader wrong", m)
		}
	}
	c.serve(2)
	c.same()
}

func TestJoin_bootstrapExpect(t *testing.T) {
	t.Parallel()
	c := &cluster{t: t}
	var seeds []string
	for i := range 3 {
		n := newNode(t, fmt.Sprintf("n%d", i+1))
		c.nodes = append(c.nodes, n)
		seeds = append(seeds, n.cluster)
	}
	for _, n := range c.nodes {
		n.flags = []string{"--bootstrap-expect", "3", "--join", strings.Join(seeds, ",")}
	}
	c.nodes[0].start()
	c.nodes[1].start()
	eventually(t, formTime, "two of three expected nodes answer, and are not ready", func() error {
		for _, n := range c.nodes[:2] {
			a, err := n.call(http.MethodGet, "/readyz", nil)
			if err != nil {
				return err
			}
			if a.status != http.StatusServiceUnavailable {
				return fmt.Errorf("%s: GET /readyz = %s, want 503", n.name, a)
			}
		}
		return nil
	})
	c.nodes[2].start()
	c.formed(c.nodes...)
	ids := map[string]bool{}
	for _, n := range c.nodes {
		st, err := n.status()
		if err != nil {
			t.Fatal(err)
		}
		ids[st.ID] = true
	}
	if len(ids) != 1 {
		t.Errorf("the nodes formed clusters %v, want one", ids)
	}
	c.serve(1)
	c.same()
}

// A non-voter serves and answers like the others, and its loss or vote changes nothing.
func TestJoin_nonVoter(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	n := newNode(t, "watcher", "--join", c.nodes[0].cluster, "--non-voter")
	n.start()
	eventually(t, formTime, "the non-voter is ready and a member without a vote", func() error {
		if err := n.ready(); err != nil {
			return err
		}
		members, err := c.nodes[0].members()
		if err != nil {
			return err
		}
		if m := members["watcher"]; m.Status != "alive" || m.Voter {
			return fmt.Errorf("GET /nodes shows it as %+v", m)
		}
		return nil
	})
	var st api.Cluster
	n.read("/cluster", &st)
	if len(st.Voters) != 1 || st.Voters[0] != "n1" || st.State == "leader" {
		t.Errorf("GET /cluster on the non-voter = %+v, want n1 as only voter", st)
	}
	backends := c.serve(2)
	c.reach(backends, n)
	n.must(201, http.MethodPost, "/backends", api.BackendInput{ID: "via-watcher", Address: "127.0.0.1:1", Pool: "other"})
	n.must(200, http.MethodGet, "/backends/via-watcher", nil)
	(&cluster{t: t, nodes: []*node{c.nodes[0], n}}).same()

	n.kill()
	c.nodes[0].must(2, http.MethodDelete, "/backends/via-watcher?force=true", nil)
}

// keyFile makes a cluster key with `lbnode keygen`.
func keyFile(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), filepath.Join(binDir, "lbnode"), "keygen").Output()
	if err != nil {
		t.Fatalf("lbnode keygen: %v", err)
	}
	path := filepath.Join(t.TempDir(), "cluster.key")
	if err := os.WriteFile(path, out, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestJoin_wrongKey(t *testing.T) {
	t.Parallel()
	right, wrong := keyFile(t), keyFile(t)
	c := newCluster(t, 1, "--cluster-key-file", right)
	stranger := newNode(t, "stranger", "--cluster-key-file", wrong, "--join", c.nodes[0].cluster)
	stranger.start()
	c.nodes[0].logged(formTime, "refused", "another cluster key", "--cluster-key-file")
	stranger.logged(formTime, "cluster key", "--cluster-key-file", c.nodes[0].cluster)

	a, err := stranger.call(http.MethodGet, "/readyz", nil)
	if err != nil || a.status != http.StatusServiceUnavailable {
		t.Errorf("GET /readyz on the node with the wrong key = %s, error %v, want 503", a, err)
	}
	members, err := c.nodes[0].members()
	if err != nil || len(members) != 1 {
		t.Errorf("the cluster has members %v, error %v, want n1 alone", members, err)
	}

	// With the right key the same data dir joins.
	stranger.kill()
	stranger.flags = []string{"--cluster-key-file", right, "--join", c.nodes[0].cluster}
	c.nodes = append(c.nodes, stranger)
	stranger.start()
	c.formed(c.nodes...)
}

// A node of another cluster takes over an address that one of ours had. They do not mix, and both sides say
// why.
func TestJoin_otherCluster(t *testing.T) {
	t.Parallel()
	key := keyFile(t)
	ours := newCluster(t, 3, "--cluster-key-file", key)
	moved := ours.followers()[0]
	rest := ours.except(moved)
	moved.term(20 * time.Second)

	theirs := &cluster{t: t, nodes: []*node{newNode(t, "m1", "--cluster-key-file", key)}}
	m := theirs.nodes[0]
	m.cluster = moved.cluster
	m.start()
	ours.leader().logged(formTime, "another cluster", m.cluster)
	m.logged(formTime, "refused", "another cluster")
	theirs.formed(m) // it is what it was
	if members, err := m.members(); err != nil || len(members) != 1 {
		t.Errorf("m1 has members %v, error %v, want itself alone", members, err)
	}
	put(t, rest[0], "still-ours", 10*time.Second)
	m.must(404, http.MethodGet, "/frontends/still-ours", nil)
	moved.cluster = freeAddr(t)
	moved.start()
	ours.formed(ours.nodes...)
	ours.everywhere("/frontends/still-ours")
}

// A second node of the same name is refused, and says so.
func TestJoin_nameTaken(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	twin := newNode(t, "n1", "--join", c.nodes[0].cluster)
	twin.start()
	twin.logged(formTime, "n1", "--name")
	c.formed(c.nodes[0])
}

// refuses wants the node not to start, to name the words, and to leave its data dir as it was.
func (n *node) refuses(words ...string) {
	n.t.Helper()
	before := dirContent(n.t, n.dir)
	n.start()
	code := n.wait(10 * time.Second)
	if log := n.logSince(); code == 0 || !containsAll(log, words) {
		n.t.Errorf("%s ended with code %d, want an error that has %q:\n%s", n.name, code, words, log)
	}
	after := dirContent(n.t, n.dir)
	for name, content := range before {
		if after[name] != content {
			n.t.Errorf("the refused start changed %s", name)
		}
	}
}

// dirContent reads every file but the lock.
func dirContent(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "lock" {
			return err
		}
		b, err := os.ReadFile(path)
		files[strings.TrimPrefix(path, dir)] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// What cannot be trusted is not started from and not overwritten; the message names the file and the way out.
func TestDataDir_damagedOrForeign(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	origin := c.nodes[0]
	origin.must(201, http.MethodPost, "/backends", api.BackendInput{ID: "kept", Address: "127.0.0.1:1"})
	origin.term(20 * time.Second)
	other := newNode(t, "m1")
	other.start()
	(&cluster{t: t, nodes: []*node{other}}).formed(other)
	other.term(20 * time.Second)

	const db, identity = "raft/raft.db", "identity.json"
	for _, tc := range []struct {
		name  string
		hurt  func(t *testing.T, n *node)
		words []string
	}{
		{"log cut short", func(t *testing.T, n *node) { truncate(t, filepath.Join(n.dir, db)) }, []string{db, "aside"}},
		{"bit flipped in the log", func(t *testing.T, n *node) { flip(t, filepath.Join(n.dir, db), "kept") }, []string{db, "aside"}},
		{"log missing", func(t *testing.T, n *node) { remove(t, filepath.Join(n.dir, db)) }, []string{db, "aside"}},
		{"identity garbled", func(t *testing.T, n *node) { truncate(t, filepath.Join(n.dir, identity)) }, []string{identity, "aside"}},
		{"view damaged", func(t *testing.T, n *node) { flip(t, n.viewFile(), "kept") }, []string{"view.snap", "away"}},
		{"other name", func(t *testing.T, n *node) { n.name = "renamed" }, []string{"n1", "renamed", "--name"}},
		{"log of another node", func(t *testing.T, n *node) {
			copyFile(t, filepath.Join(other.dir, db), filepath.Join(n.dir, db))
		}, []string{db, "cluster"}},
		{"newer format", func(t *testing.T, n *node) { write(t, filepath.Join(n.dir, "FORMAT"), "lbnode-data 999\n") }, []string{"FORMAT", "999"}},
	} {
		t.Run(strings.ReplaceAll(tc.name, " ", "_"), func(t *testing.T) {
			n := newNode(t, "n1")
			if err := os.CopyFS(n.dir, os.DirFS(origin.dir)); err != nil {
				t.Fatal(err)
			}
			tc.hurt(t, n)
			n.refuses(tc.words...)
		})
	}

	// The dirs that nobody hurt still work.
	origin.start()
	c.formed(origin)
	origin.must(200, http.MethodGet, "/backends/kept", nil)
}

// A second process on the same data dir is refused while the first goes on.
func TestDataDir_inUse(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	second := newNode(t, "n1")
	second.dir = c.nodes[0].dir
	second.start()
	code := second.wait(10 * time.Second)
	if log := second.logSince(); code == 0 || !containsAll(log, []string{second.dir, "another process"}) {
		t.Errorf("the second process ended with code %d, want an error that says who holds %s:\n%s", code, second.dir, log)
	}
	c.formed(c.nodes[0])
}

func truncate(t *testing.T, path string) {
	t.Helper()
	st, err := os.Stat(path)
	if err == nil {
		err = os.Truncate(path, st.Size()/2)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// flip changes one bit in every place where the file holds the text.
func flip(t *testing.T, path, text string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), text) {
		t.Fatalf("%s does not hold %q", path, text)
	}
	write(t, path, strings.ReplaceAll(string(b), text, string(text[0]^1)+text[1:]))
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	write(t, to, string(b))
}
