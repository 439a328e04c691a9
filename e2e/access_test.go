package e2e

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/internal/auth"
	"github.com/lbnode/lbnode/internal/certtest"
)

// guarded is a cluster whose API asks for tokens over TLS.
type guarded struct {
	*cluster
	ca        *certtest.Authority
	caFile    string
	bootstrap string
	certFile  string   // of the API
	tlsAddrs  []string // of the proxies
}

// newGuarded starts three nodes with a cluster key, a token in a file, and TLS in front of the API.
func newGuarded(t *testing.T) *guarded {
	t.Helper()
	dir := t.TempDir()
	g := &guarded{cluster: &cluster{t: t}, ca: certtest.New(t, "api"), bootstrap: auth.Mint("bootstrap")}
	var key string
	g.certFile, key = g.ca.Leaf("127.0.0.1").Files(t, dir)
	g.caFile = filepath.Join(dir, "ca.pem")
	tokenFile := filepath.Join(dir, "api.token")
	writeFile(t, g.caFile, g.ca.PEM())
	writeFile(t, tokenFile, g.bootstrap+"\n")
	cluster := keyFile(t)
	for i := range 3 {
		n := newNode(t, fmt.Sprintf("n%d", i+1))
		addr := freeAddr(t)
		g.tlsAddrs = append(g.tlsAddrs, addr)
		n.flags = []string{
			"--cluster-key-file", cluster, "--api-token-file", tokenFile,
			"--api-tls-cert-file", g.certFile, "--api-tls-key-file", key, "--proxy-tls-addr", addr,
		}
		if i > 0 {
			n.flags = append(n.flags, "--join", g.nodes[0].cluster)
		}
		tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: g.ca.Pool(), MinVersion: tls.VersionTLS12}}
		t.Cleanup(tr.CloseIdleConnections)
		n.scheme, n.client = "https", &http.Client{Transport: withToken{tr, g.bootstrap}, Timeout: 30 * time.Second}
		g.nodes = append(g.nodes, n)
		n.start()
	}
	g.formed(g.nodes...)
	return g
}

// as is lbctl with a token, against one node alone.
func (g *guarded) as(n *node, token string) ctl {
	return ctl{t: g.t, env: []string{"LBCTL_API=https://" + n.api, "LBCTL_CACERT=" + g.caFile, "LBCTL_TOKEN=" + token}}
}

// withToken sends a token with every request.
type withToken struct {
	*http.Transport
	token string
}

func (w withToken) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+w.token)
	return w.Transport.RoundTrip(r)
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Tokens that are made on one node count on every node, each for what its role and pools allow, until it is
// deleted; the history says whose each change was.
func TestAccess_tokens(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	n1, n2, n3 := g.nodes[0], g.nodes[1], g.nodes[2]
	made := func(n *node, by, id string, args ...string) string {
		t.Helper()
		out, _ := g.as(n, by).run(0, append([]string{"token", "create", id}, args...)...)
		text := strings.TrimSpace(out)
		if got, ok := auth.Parse(text); !ok || got != id {
			t.Fatalf("lbctl token create %s printed %q", id, out)
		}
		return text
	}
	root := made(n1, g.bootstrap, "root", "--role", "admin")
	g.applied(n1)
	viewer := made(n2, root, "eyes", "--role", "viewer")
	g.applied(n2)
	web := made(n3, root, "ci", "--role", "operator", "--pool", "web")
	g.applied(n3)
	for _, n := range g.nodes {
		for _, token := range []string{g.bootstrap, root, viewer, web} {
			g.as(n, token).run(0, "cluster", "status")
		}
		for what, token := range map[string]string{"no token": "", "a wrong one": auth.Mint("root"), "an unknown one": auth.Mint("nobody")} {
			if _, why := g.as(n, token).run(5, "cluster", "status"); !strings.Contains(why, "--token-file") {
				t.Errorf("%s with %s says\n%swant what to do", n.name, what, why)
			}
		}
	}
	n1.client.Transport = n1.client.Transport.(withToken).Transport //nolint:forcetypeassert // as newGuarded made it
	n1.must(401, http.MethodGet, "/pools", nil).problem(t)
	n1.must(200, http.MethodGet, "/livez", nil)
	n1.must(403, http.MethodPut, "/pools/p", "{}", "Authorization", "Bearer "+viewer).problem(t)
	n1.client.Transport = withToken{n1.client.Transport.(*http.Transport), g.bootstrap} //nolint:forcetypeassert // as above

	g.as(n1, root).run(0, "add", "pool", "web")
	g.as(n1, root).run(0, "add", "pool", "other")
	g.applied(n1)
	if _, why := g.as(n2, viewer).run(5, "add", "pool", "mine"); !containsAll(why, []string{"operator", "token/eyes", "viewer"}) {
		t.Errorf("a viewer that adds is told\n%s", why)
	}
	g.as(n3, web).run(0, "add", "backend", "127.0.0.1:1", "--id", "b1", "--pool", "web")
	g.applied(n3)
	for line, says := range map[string]string{
		"add backend 127.0.0.1:2 --id b2 --pool other": `only backends and routes of web; backend "b2" is of pool "other"`,
		"set backend b1 --pool other":                  `only backends and routes of web`,
		"delete pool other":                            `only backends and routes of web`,
		"token list":                                   "token/ci has the role operator",
	} {
		if _, why := g.as(n2, web).run(5, strings.Fields(line)...); !strings.Contains(why, says) {
			t.Errorf("lbctl %s by the operator of pool web is answered\n%swant %q", line, why, says)
		}
	}
	if b, err := n2.backend("b1"); err != nil || b.Pool != "web" {
		t.Errorf("b1 is %+v, %v, want it in pool web", b, err)
	}

	g.as(n1, root).run(0, "token", "delete", "ci")
	g.applied(n1)
	for _, n := range g.nodes {
		g.as(n, web).run(5, "show", "backends")
	}
	out, _ := g.as(n3, root).run(0, "history", "-o", "json")
	var changes []api.Change
	if err := json.Unmarshal([]byte(out), &changes); err != nil {
		t.Fatal(err)
	}
	who := map[string]string{}
	for _, ch := range changes {
		who[ch.Summary] = ch.Actor
	}
	for summary, actor := range map[string]string{"created token root": "bootstrap@n1", "created token eyes": "token/root", "created backend b1": "token/ci", "deleted token ci": "token/root"} {
		if who[summary] != actor {
			t.Errorf("%q was by %q, want %q; the history is\n%v", summary, who[summary], actor, who)
		}
	}
	for _, n := range g.nodes {
		for _, text := range []string{root, viewer, web, g.bootstrap} {
			if strings.Contains(n.log(), text) {
				t.Errorf("%s has a token in its log", n.name)
			}
		}
	}
}

// applied waits until every node has applied what one node has.
func (g *guarded) applied(n *node) {
	g.t.Helper()
	st, err := n.status()
	if err != nil {
		g.t.Fatal(err)
	}
	for _, other := range g.nodes {
		other.must(2, http.MethodGet, fmt.Sprintf("/pools?min_index=%d", st.Index), nil)
	}
}

// A certificate that is added on one node is shown by every node's proxy to those who ask for its name, and
// replaced without a restart. So is the one of the API, from its file.
func TestAccess_certificates(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	root := g.as(g.nodes[0], g.bootstrap)
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "by way of "+r.Host) }))
	backend.Config.ErrorLog = log.New(io.Discard, "", 0)
	defer backend.Close()
	root.run(0, "add", "pool", "web", "--health-type", "none")
	root.run(0, "add", "backend", backend.Listener.Addr().String(), "--id", "b1", "--pool", "web")
	root.run(0, "add", "route", "all", "--path", "/", "--pool", "web")
	sites := certtest.New(t, "sites")
	add := func(verb, id string, names ...string) certtest.Leaf {
		t.Helper()
		leaf := sites.Leaf(names...)
		cert, key := leaf.Files(t, t.TempDir())
		root.run(0, verb, "certificate", id, "--cert-file", cert, "--key-file", key)
		return leaf
	}
	site := add("add", "site", "site.example.org")
	add("add", "more", "*.example.net")
	for i, addr := range g.tlsAddrs {
		g.shows(sites, addr, "site.example.org", site)
		for _, name := range []string{"site.example.org", "shop.example.net"} {
			tr := &http.Transport{
				TLSClientConfig: &tls.Config{RootCAs: sites.Pool(), ServerName: name, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true,
			}
			eventually(t, formTime, g.nodes[i].name+" serves "+name, func() error {
				a, err := exchange(&http.Client{Transport: tr, Timeout: 10 * time.Second}, http.MethodGet, "https://"+addr+"/", nil)
				if err == nil && !strings.HasPrefix(string(a.body), "by way of") {
					err = fmt.Errorf("GET / = %s", a)
				}
				return err
			})
		}
		if c, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: sites.Pool(), ServerName: "stranger.example.com", MinVersion: tls.VersionTLS12}); err == nil {
			_ = c.Close()
			t.Errorf("%s finished a handshake for a name that no certificate has", g.nodes[i].name)
		}
	}
	renewed := add("set", "site", "site.example.org")
	for _, addr := range g.tlsAddrs {
		g.shows(sites, addr, "site.example.org", renewed)
	}
	if out, _ := root.run(0, "show", "certificate", "site", "-o", "json"); strings.Contains(out, "PRIVATE") {
		t.Errorf("the certificate is shown with a private key:\n%s", out)
	}

	again := g.ca.Leaf("127.0.0.1")
	again.Files(t, filepath.Dir(g.certFile))
	for _, n := range g.nodes {
		n.signal(syscall.SIGHUP)
		g.shows(g.ca, n.api, "127.0.0.1", again)
		if err := n.ready(); err != nil {
			t.Error(err)
		}
	}
}

// shows waits until an address shows just this certificate for a name.
func (g *guarded) shows(ca *certtest.Authority, addr, name string, leaf certtest.Leaf) {
	g.t.Helper()
	want := leaf.TLS(g.t)
	eventually(g.t, formTime, addr+" shows the certificate of "+name, func() error {
		d := &tls.Dialer{NetDialer: &net.Dialer{Timeout: 5 * time.Second}, Config: &tls.Config{RootCAs: ca.Pool(), ServerName: name, MinVersion: tls.VersionTLS12}}
		c, err := d.DialContext(g.t.Context(), "tcp", addr)
		if err != nil {
			return err
		}
		defer c.Close()
		got := c.(*tls.Conn).ConnectionState().PeerCertificates[0] //nolint:forcetypeassert // a tls.Dialer makes no others
		if string(got.Raw) != string(want.Certificate[0]) {
			return fmt.Errorf("it shows number %s of %s", got.SerialNumber, got.Subject)
		}
		return nil
	})
}

// A node does not offer an API without tokens to the network, and says what to do instead.
func TestAccess_refusesAnOpenAPI(t *testing.T) {
	t.Parallel()
	n := newNode(t, "n1")
	_, port, err := net.SplitHostPort(n.api)
	if err != nil {
		t.Fatal(err)
	}
	n.api = "0.0.0.0:" + port
	n.start()
	if code := n.wait(formTime); code == 0 {
		t.Errorf("the node ended with code 0")
	}
	if !containsAll(n.log(), []string{"is not a loopback address", "lbctl token mint", "--api-token-file"}) {
		t.Errorf("the node says\n%s", n.log())
	}
}
