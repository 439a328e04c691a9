package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lbnode/lbnode/api"
)

// lan is a number of hosts in network namespaces. Each has two links: c0 to the others, which can be cut,
// and b0 to the backends and clients. Both end in bridges in a namespace of their own.
type lan struct {
	t      *testing.T
	prefix string
}

// newLAN makes the namespaces, or skips the test where that is not possible.
func newLAN(t *testing.T, hosts int) *lan {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root for network namespaces")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("needs the ip command (iproute2) for network namespaces")
	}
	l := &lan{t: t, prefix: fmt.Sprintf("lbe%d", os.Getpid())}
	if out, err := exec.CommandContext(t.Context(), "ip", "netns", "add", l.sw()).CombinedOutput(); err != nil {
		t.Skipf("cannot make network namespaces here: %v: %s", err, out)
	}
	t.Cleanup(func() {
		for i := range hosts {
			_ = exec.Command("ip", "netns", "del", l.host(i)).Run() // may not exist yet
		}
		_ = exec.Command("ip", "netns", "del", l.sw()).Run()
	})
	l.ip("-n", l.sw(), "link", "set", "lo", "up")
	for _, br := range []string{"brc", "brb"} {
		l.ip("-n", l.sw(), "link", "add", br, "type", "bridge")
		l.ip("-n", l.sw(), "link", "set", br, "up")
	}
	l.ip("-n", l.sw(), "addr", "add", "10.199.2.254/24", "dev", "brb")
	for i := range hosts {
		l.ip("netns", "add", l.host(i))
		l.ip("-n", l.host(i), "link", "set", "lo", "up")
		for kind, net := range map[string]string{"c": "10.199.1.", "b": "10.199.2."} {
			port, dev := fmt.Sprintf("v%s%d", kind, i), kind+"0"
			l.ip("-n", l.sw(), "link", "add", port, "type", "veth", "peer", "name", dev, "netns", l.host(i))
			l.ip("-n", l.sw(), "link", "set", port, "master", "br"+kind, "up")
			l.ip("-n", l.host(i), "addr", "add", fmt.Sprintf("%s%d/24", net, i+1), "dev", dev)
			l.ip("-n", l.host(i), "link", "set", dev, "up")
		}
	}
	return l
}

func (l *lan) sw() string        { return l.prefix + "-sw" }
func (l *lan) host(i int) string { return fmt.Sprintf("%s-%d", l.prefix, i+1) }

func (l *lan) ip(args ...string) {
	l.t.Helper()
	if out, err := exec.CommandContext(l.t.Context(), "ip", args...).CombinedOutput(); err != nil {
		l.t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// cut takes a host's link to the other nodes off the bridge: packets both ways get lost without a word.
func (l *lan) cut(i int) { l.ip("-n", l.sw(), "link", "set", fmt.Sprintf("vc%d", i), "nomaster") }

func (l *lan) heal(i int) {
	l.ip("-n", l.sw(), "link", "set", fmt.Sprintf("vc%d", i), "master", "brc")
}

// inNetns runs f on a thread that is inside a namespace meanwhile. Sockets that f makes stay there.
//
// The thread must live on: the nodes that it has started would end with it (see childAttr).
func inNetns(name string, f func() error) (err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	own, err := openNetns("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer unix.Close(own)
	other, err := openNetns("/run/netns/" + name)
	if err != nil {
		return err
	}
	defer unix.Close(other)
	if err := unix.Setns(other, unix.CLONE_NEWNET); err != nil {
		return err
	}
	defer func() {
		if back := unix.Setns(own, unix.CLONE_NEWNET); back != nil {
			panic(fmt.Sprintf("a thread cannot return from network namespace %s: %v", name, back))
		}
	}()
	return f()
}

func openNetns(path string) (int, error) {
	return unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
}

// dialFrom dials out of a namespace.
func dialFrom(netns string) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
		err = inNetns(netns, func() (err error) {
			conn, err = (&net.Dialer{Timeout: 3 * time.Second}).DialContext(ctx, network, addr)
			return err
		})
		return conn, err
	}
}

// node is host i with the default ports. Its API listens on the host's own loopback.
func (l *lan) node(i int, flags ...string) *node {
	n := newNode(l.t, fmt.Sprintf("n%d", i+1), flags...)
	n.netns = l.host(i)
	n.api, n.proxy, n.cluster = "127.0.0.1:9080", fmt.Sprintf("10.199.2.%d:8080", i+1), fmt.Sprintf("10.199.1.%d:7946", i+1)
	n.useDialer(dialFrom(n.netns))
	return n
}

// Three hosts with one shared secret; one of them is cut off from the others, not from the backends.
func TestNetns_threeHosts(t *testing.T) {
	l := newLAN(t, 3)

	open := l.node(0)
	open.start()
	if code := open.wait(10 * time.Second); code == 0 || !containsAll(open.log(), []string{"--cluster-addr", "loopback", "lbnode keygen", "--cluster-key-file"}) {
		t.Errorf("without a key on a network the node ended with code %d, want an error with the way out:\n%s", code, open.log())
	}

	c, backends := l.form(3)
	partition(t, c, l)
	c.reach(backends, c.nodes...)
	fencedOff(t, c, l)
	c.reach(backends, c.nodes...)
}

// form starts a cluster on the hosts, with two backends beside the clients.
func (l *lan) form(hosts int) (*cluster, []*backend) {
	t := l.t
	t.Helper()
	key := keyFile(t)
	c := &cluster{t: t}
	for i := range hosts {
		n := l.node(i, "--cluster-key-file", key)
		if i > 0 {
			n.flags = append(n.flags, "--join", c.nodes[0].cluster)
		}
		c.nodes = append(c.nodes, n)
		n.start()
	}
	c.formed(c.nodes...)

	a := c.nodes[0]
	a.must(2, http.MethodPut, "/pools/web", quickPool("web"))
	var backends []*backend
	for i := range 2 {
		addr := fmt.Sprintf("10.199.2.254:%d", 9001+i)
		b := startBackend(t, fmt.Sprintf("b%d", i+1), addr, func(addr string) (ln net.Listener, err error) {
			err = inNetns(l.sw(), func() (err error) { ln, err = net.Listen("tcp", addr); return err })
			return ln, err
		})
		backends = append(backends, b)
		a.must(201, http.MethodPost, "/backends", api.BackendInput{ID: b.id, Address: b.addr, Pool: "web"})
	}
	a.must(201, http.MethodPost, "/routes", api.RouteInput{ID: "all", BackendPool: "web"})
	for _, n := range c.nodes { // clients are beside the backends
		n.plain.Transport.(*http.Transport).DialContext = dialFrom(l.sw())
	}
	c.reach(backends, c.nodes...)
	for _, b := range backends {
		c.health(formTime, b.id, api.Healthy)
	}
	return c, backends
}

// fencedOff cuts the leader off from the others while fence_after is set. It goes on living, and must stop sending
// new requests to the backends that it still reaches; the others know when.
func fencedOff(t *testing.T, c *cluster, l *lan) {
	t.Helper()
	old := c.leader()
	rest := c.except(old)
	rest[0].must(200, http.MethodPatch, "/settings", `{"fence_after":"3s"}`)
	c.everywhereFenced()
	at := slices.Index(c.nodes, old)
	cut := time.Now()
	old.note("cut off")
	l.cut(at)
	put(t, rest[0], "without-"+old.name, 20*time.Second)
	c.drainWith(rest[0], old, cut, 2*time.Second)
	old.fenced(10 * time.Second)
	l.heal(at)
	c.formed(c.nodes...)
	rest[0].must(200, http.MethodPatch, "/settings", `{"fence_after":null}`)
}

// partition cuts the leader off. It must stop taking writes and go on proxying; the others elect a leader.
func partition(t *testing.T, c *cluster, l *lan) {
	t.Helper()
	old := c.leader()
	var at int
	for i, n := range c.nodes {
		if n == old {
			at = i
		}
	}
	rest := c.except(old)
	traffic := startLoad(t, "/", c.nodes...)
	traffic.more(t, 50, c.nodes...)
	old.note("cut off")
	l.cut(at)
	t.Logf("time to write again after a partition: %s", put(t, rest[0], "majority", 15*time.Second))
	refusesWrites(t, old)
	traffic.more(t, 100, c.nodes...)
	for _, n := range c.nodes {
		var h api.Health
		n.read("/backends/health", &h)
		if h["b1"] != api.Healthy || h["b2"] != api.Healthy {
			t.Errorf("%s says %v; a partition between nodes says nothing about backends", n.name, h)
		}
	}
	if a := old.must(404, http.MethodGet, "/frontends/majority", nil); a.header.Get(api.HeaderStale) != "true" {
		t.Errorf("a read on the cut off node has headers %v, want %s", a.header, api.HeaderStale)
	}
	l.heal(at)
	c.formed(c.nodes...)
	c.everywhere("/frontends/majority")
	old.must(404, http.MethodGet, "/frontends/lost", nil)
	put(t, old, "healed", 10*time.Second)
	traffic.stop()
	traffic.wantAtMost(t, 0, time.Time{}, c.nodes...)
	c.same()
}
