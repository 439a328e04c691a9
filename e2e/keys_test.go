package e2e

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/internal/certtest"
)

// The cluster key is rotated as the manual says, under traffic and writes, and neither notices. Then the old key
// lets nobody in any more, and a copy of what the nodes keep does.
func TestKeys_rotation(t *testing.T) {
	t.Parallel()
	old := keyFile(t)
	c := &cluster{t: t}
	var tlsAddrs []string
	for i := range 3 {
		tlsAddrs = append(tlsAddrs, freeAddr(t))
		n := newNode(t, fmt.Sprintf("n%d", i+1), "--cluster-key-file", old, "--proxy-tls-addr", tlsAddrs[i])
		if i > 0 {
			n.flags = append(n.flags, "--join", c.nodes[0].cluster)
		}
		c.nodes = append(c.nodes, n)
	}
	for _, n := range c.nodes {
		n.start()
	}
	c.formed(c.nodes...)
	c.serve(3)
	l := ctl{t: t, env: []string{"LBCTL_API=http://" + c.followers()[0].api}}

	traffic := startLoad(t, "/", c.nodes...)
	traffic.more(t, 20, c.nodes...)
	var w writer
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() { w.run(fmt.Sprintf("w%d", i), c.nodes, stop) })
	}
	done := sync.OnceFunc(func() { close(stop); wg.Wait() })
	defer done()
	more := func() {
		t.Helper()
		acked := w.count()
		eventually(t, formTime, "writes go on", func() error {
			if got := w.count(); got < acked+20 {
				return fmt.Errorf("%d acknowledged, want %d", got, acked+20)
			}
			return nil
		})
		traffic.more(t, 20, c.nodes...)
	}
	more()

	ca := certtest.New(t, "ca")
	certFile, certKey := ca.Leaf("site.example.org").Files(t, t.TempDir())
	l.run(0, "add", "certificate", "site", "--cert-file", certFile, "--key-file", certKey)
	before, _ := l.run(0, "cluster", "key", "list", "-o", "name")
	first := strings.TrimSpace(before)
	installed, _ := l.run(0, "cluster", "key", "install", "-o", "name")
	second := strings.TrimSpace(installed)
	more()
	_, why := l.run(4, "cluster", "key", "remove", first)
	if !containsAll(why, []string{first, "in use", "install another"}) {
		t.Errorf("removing the key in use: %s", why)
	}
	l.run(0, "cluster", "key", "use", second)
	more()
	l.run(0, "cluster", "key", "remove", first)
	more()
	done()
	traffic.stop()
	traffic.wantAtMost(t, 0, time.Time{}, c.nodes...)
	t.Logf("%d writes acknowledged over the rotation, %d refused, %d unknown", len(w.acked), len(w.refused), len(w.unknown))
	if len(w.refused)+len(w.unknown) > 0 {
		t.Errorf("refused: %v, unknown: %v, want none", w.refused, w.unknown)
	}
	out, _ := l.run(0, "cluster", "key", "list", "-o", "json")
	var keys api.ClusterKeys
	if err := json.Unmarshal([]byte(out), &keys); err != nil {
		t.Fatal(err)
	}
	if len(keys.Keys) != 1 || keys.Keys[0].ID != second || !slices.Equal(keys.Keys[0].UsedBy, []string{"n1", "n2", "n3"}) {
		t.Errorf("keys = %s, want %s alone, in use everywhere", out, second)
	}

	stranger := newNode(t, "n4", "--cluster-key-file", old, "--join", c.nodes[0].cluster)
	stranger.start()
	stranger.logged(formTime, "another cluster key", "--cluster-key-file", "cluster-keys")
	c.nodes[0].logged(formTime, "refused", "another cluster key", "cluster-keys")
	stranger.kill()
	copied := filepath.Join(t.TempDir(), "copied.key")
	ring, err := os.ReadFile(filepath.Join(c.nodes[1].dir, "cluster-keys"))
	if err == nil {
		err = os.WriteFile(copied, ring, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	stranger.flags[1] = copied
	stranger.start()
	c.nodes = append(c.nodes, stranger)
	c.formed(c.nodes...)

	// Restarted with the old key file, the nodes go by what they keep.
	for _, n := range c.nodes[:3] {
		n.kill()
		n.start()
		n.logged(formTime, "rotated", second)
	}
	// What the old key had sealed is of use without it.
	for _, addr := range tlsAddrs {
		eventually(t, formTime, "the certificate at "+addr, func() error {
			conn, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: ca.Pool(), ServerName: "site.example.org", MinVersion: tls.VersionTLS12})
			if err != nil {
				return err
			}
			return conn.Close()
		})
	}
	c.formed(c.nodes...)
	put(t, c.nodes[2], "after", formTime)
	c.same()
	for _, n := range c.nodes {
		for line := range strings.Lines(string(ring)) {
			if key := strings.TrimSpace(line); key != "" && key[0] != '#' && strings.Contains(n.log(), key) {
				t.Errorf("%s has a key in its log", n.name)
			}
		}
	}
}

// A node that was down during the rotation gets in with the old key for as long as that is accepted.
func TestKeys_awayDuringRotation(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, "--cluster-key-file", keyFile(t))
	away := c.followers()[0]
	rest := c.except(away)
	l := ctl{t: t, env: []string{"LBCTL_API=http://" + rest[0].api}}
	first, _ := l.run(0, "cluster", "key", "list", "-o", "name")
	away.kill()
	eventually(t, formTime, "it is missed", func() error {
		st, err := c.leader().status()
		if err == nil && st.LiveVoters != 2 {
			err = fmt.Errorf("live voters: %d", st.LiveVoters)
		}
		return err
	})
	installed, why := l.run(7, "cluster", "key", "install", "-o", "name")
	if !strings.Contains(why, away.name) {
		t.Errorf("install does not name %s: %s", away.name, why)
	}
	second := strings.TrimSpace(installed)
	if _, why = l.run(4, "cluster", "key", "use", second); !containsAll(why, []string{away.name, "does not answer"}) {
		t.Errorf("use does not name %s: %s", away.name, why)
	}
	l.run(7, "cluster", "key", "use", second, "--force")
	if _, why = l.run(4, "cluster", "key", "remove", strings.TrimSpace(first)); !strings.Contains(why, away.name) {
		t.Errorf("remove does not name %s: %s", away.name, why)
	}
	away.start()
	c.formed(c.nodes...)
	away.logged(formTime, "cluster keys changed", second)
	l.run(0, "cluster", "key", "remove", strings.TrimSpace(first))
	put(t, away, "after", formTime)
	c.same()
}
