package node

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/cluster/transport"
	"github.com/lbnode/lbnode/internal/certtest"
	"github.com/lbnode/lbnode/internal/config"
	"github.com/lbnode/lbnode/internal/seal"
	"github.com/lbnode/lbnode/state"
)

// keyed runs three nodes with a cluster key in a file, and returns what starts one of them again.
func keyed(t *testing.T) (all []*Node, again func(i int)) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "cluster.key")
	if err := os.WriteFile(file, []byte(transport.NewKey().String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var cfgs []config.Config
	var stops []func()
	for i := range 3 {
		cfg := testConfig(t, fmt.Sprintf("n%d", i+1))
		cfg.ClusterKeyFile, cfg.ProxyTLSAddrs = file, []string{"127.0.0.1:0"}
		if i > 0 {
			cfg.Join = []string{all[0].ClusterAddr()}
		}
		n, stop := runNode(t, cfg)
		all, stops, cfgs = append(all, n), append(stops, stop), append(cfgs, cfg)
	}
	formed := func() {
		for _, n := range all {
			eventually(t, "three voters on "+n.ID(), func() bool { return len(n.cluster.Voters()) == 3 && len(n.cluster.Live()) == 3 })
		}
	}
	formed()
	return all, func(i int) {
		stops[i]()
		all[i], stops[i] = runNode(t, cfgs[i])
		formed()
	}
}

// shown is the name on the certificate that a node shows for a name, "" for none.
func shown(n *Node, name string) string {
	addrs := n.engine.TLSAddrs()
	if len(addrs) == 0 {
		return ""
	}
	c, err := tls.Dial("tcp", addrs[0].String(), &tls.Config{InsecureSkipVerify: true, ServerName: name})
	if err != nil {
		return ""
	}
	defer func() { _ = c.Close() }()
	return c.ConnectionState().PeerCertificates[0].Subject.CommonName
}

func keyChangeOf(t *testing.T, n *Node, method, path string, want int) (id, body string) {
	t.Helper()
	s, body := call(t, method, apiOf(n)+path, "")
	if s != want {
		t.Fatalf("%s %s = %d %s, want %d", method, path, s, body, want)
	}
	var out api.KeyChange
	_ = json.Unmarshal([]byte(body), &out)
	return out.ID, body
}

// sealsOf is the ids of the keys that something in the state is sealed with.
func sealsOf(t *testing.T, v *state.View) (ids []string) {
	t.Helper()
	for s := range v.Secrets() {
		id, err := seal.KeyOf(s.Sealed)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// stickyTo asks a node with a cookie, and returns who answered and the cookie that was set, if any.
func stickyTo(t *testing.T, n *Node, cookie string) (body, set string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+n.ProxyAddrs()[0].String()+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if cookie != "" {
		req.Header.Set("Cookie", cookie)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b := make([]byte, 16)
	k, _ := resp.Body.Read(b)
	set, _, _ = strings.Cut(resp.Header.Get("Set-Cookie"), ";")
	return string(b[:k]), set
}

// A rotation of the cluster key leaves nothing behind that only the old key opens. Certificates are served on, before
// and after a restart; sticky sessions go on while both keys are installed; what cannot be used any more is not
// removed by mistake.
func TestRotation_leavesNothingBehind(t *testing.T) {
	t.Parallel()
	all, again := keyed(t)
	asked := all[1]
	ca := certtest.New(t, "ca")
	first, second := ca.Leaf("site.example.org"), ca.Leaf("site.example.org")
	for i, l := range []certtest.Leaf{first, second} { // the first one stays in the history only
		doc, err := json.Marshal(map[string]string{"certificate": l.Cert, "private_key": l.Key})
		if err != nil {
			t.Fatal(err)
		}
		if s, body := call(t, "PUT", apiOf(asked)+"/certificates/site", string(doc)); s != http.StatusCreated-i {
			t.Fatalf("PUT of the certificate = %d %s", s, body)
		}
	}
	for _, id := range []string{"a", "b"} {
		backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, id) }))
		t.Cleanup(backend.Close)
		if s, body := call(t, "PUT", apiOf(asked)+"/backends/"+id, fmt.Sprintf(`{"address":%q}`, backend.Listener.Addr())); s != http.StatusCreated {
			t.Fatalf("PUT of a backend = %d %s", s, body)
		}
	}
	call(t, "PATCH", apiOf(asked)+"/pools/default", `{"sticky":{"cookie":"lb"}}`)
	if s, body := call(t, "PUT", apiOf(asked)+"/routes/r", `{"match":{"path":"/"},"backend_pool":"default"}`); s != http.StatusCreated {
		t.Fatalf("PUT of a route = %d %s", s, body)
	}
	var home, cookie string
	for _, n := range all {
		eventually(t, "traffic through "+n.ID(), func() bool {
			home, cookie = stickyTo(t, n, "")
			return cookie != "" && len(home) == 1
		})
		eventually(t, "the certificate on "+n.ID(), func() bool { return shown(n, "site.example.org") == "site.example.org" })
	}
	before, _ := asked.store.View().Certificate("site")

	oldID := all[0].cluster.KeyRing()[0].Fingerprint()
	newID, _ := keyChangeOf(t, asked, "POST", "/cluster/keys", http.StatusOK)
	if !slices.Equal(sealsOf(t, asked.store.View()), sealsOf(t, all[0].store.View())) {
		t.Error("installing a key has changed what is sealed")
	}
	keyChangeOf(t, asked, "POST", "/cluster/keys/"+newID+"/use", http.StatusOK)
	box, _ := asked.box()
	if ids := sealsOf(t, asked.store.View()); !slices.Equal(ids, []string{box.KeyID()}) {
		t.Errorf("after the answer to use, what is sealed is with %q, want %s alone", ids, box.KeyID())
	}
	after, _ := asked.store.View().Certificate("site")
	if after.Stamp != before.Stamp || after.PrivateKey == before.PrivateKey {
		t.Errorf("the certificate's stamps went from %+v to %+v, or its seal stayed", before.Stamp, after.Stamp)
	}
	for _, n := range all {
		eventually(t, "new cookies on "+n.ID(), func() bool { _, c := stickyTo(t, n, ""); return c != "" && !strings.HasSuffix(c, cookie[3:]) })
		for range 4 { // the old cookie still means the same backend, and a new one comes with the answer
			if body, set := stickyTo(t, n, cookie); body != home || set == "" || set == cookie {
				t.Errorf("%s with the old cookie: %q from %q, want %q and a new cookie", n.ID(), set, body, home)
			}
		}
	}

	keyChangeOf(t, asked, "DELETE", "/cluster/keys/"+oldID, http.StatusOK)
	for i := range all {
		again(i)
		eventually(t, "the certificate on a restarted node", func() bool { return shown(all[i], "site.example.org") == "site.example.org" })
	}
	// What the history has can be used, too.
	v := all[2].store.View()
	if s, body := call(t, "POST", fmt.Sprintf("%s/history/%d/rollback", apiOf(all[2]), after.ModifyIndex), ""); s != http.StatusOK {
		t.Fatalf("rollback = %d %s (view %d)", s, body, v.Index)
	}
	eventually(t, "the certificate of before", func() bool { return shownSerial(t, all[2]) == serialOf(t, first) })
}

func serialOf(t *testing.T, l certtest.Leaf) string {
	t.Helper()
	c, err := tls.X509KeyPair([]byte(l.Cert), []byte(l.Key))
	if err != nil {
		t.Fatal(err)
	}
	return c.Leaf.SerialNumber.String()
}

func shownSerial(t *testing.T, n *Node) string {
	t.Helper()
	c, err := tls.Dial("tcp", n.engine.TLSAddrs()[0].String(), &tls.Config{InsecureSkipVerify: true, ServerName: "site.example.org"})
	if err != nil {
		return err.Error()
	}
	defer func() { _ = c.Close() }()
	return c.ConnectionState().PeerCertificates[0].SerialNumber.String()
}

// A key that still seals something is not removed, unless forced, and the refusal names what it is.
func TestRemoveKey_refusedWhileItSeals(t *testing.T) {
	t.Parallel()
	n, _ := runNode(t, testConfig(t, "n1"))
	eventually(t, "a leader", n.cluster.IsLeader)
	newID, _ := keyChangeOf(t, n, "POST", "/cluster/keys", http.StatusOK)
	eventually(t, "both keys", func() bool { return len(n.cluster.KeyRing()) == 2 })
	// Sealed for another place, so that the leader cannot open it and so not seal it anew.
	key := n.cluster.KeyRing()[1]
	other, err := seal.New(key[:])
	if err != nil {
		t.Fatal(err)
	}
	text, err := other.Seal("elsewhere", []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := json.Marshal(state.CertificateSpec{ID: "odd", Certificate: certtest.New(t, "ca").Leaf("odd").Cert, PrivateKey: text})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.store.Do(t.Context(), state.Command{Type: state.TypeTxn, Ops: []state.Op{{Verb: state.VerbPut, Kind: state.KindCertificate, ID: "odd", Value: doc}}}); err != nil {
		t.Fatal(err)
	}
	_, body := keyChangeOf(t, n, "DELETE", "/cluster/keys/"+url.PathEscape(newID), http.StatusConflict)
	if !strings.Contains(body, "certificate/odd") || !strings.Contains(body, newID) || !strings.Contains(body, api.CodeNotSafe) {
		t.Errorf("the refusal does not name what the key seals: %s", body)
	}
	keyChangeOf(t, n, "DELETE", "/cluster/keys/"+newID+"?force=true", http.StatusOK)
}
