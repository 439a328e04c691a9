package node

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"testing"

	"github.com/lbnode/lbnode/api"
)

func explainOn(t *testing.T, n *Node, query string) (x api.Explanation) {
	t.Helper()
	s, body := call(t, "GET", apiOf(n)+"/explain?"+query, "")
	if err := json.Unmarshal([]byte(body), &x); s != http.StatusOK || err != nil {
		t.Fatalf("GET /explain?%s on %s = %d %s, %v", query, n.ID(), s, body, err)
	}
	return x
}

// TestExplain_onAllNodes asks each of three nodes, by each of them, where a request would go, and then sends it to
// that node; lets one of them find a backend dead by itself; and stops one.
func TestExplain_onAllNodes(t *testing.T) {
	t.Parallel()
	all, stops := startThree(t)
	backends := map[string]*httptest.Server{}
	for _, id := range []string{"a", "b", "c"} {
		backends[id] = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, id) }))
		defer backends[id].Close()
		if s, body := call(t, "PUT", apiOf(all[0])+"/backends/"+id, fmt.Sprintf(`{"address":%q,"pool":"p"}`, backends[id].Listener.Addr())); s != http.StatusCreated {
			t.Fatalf("PUT = %d %s", s, body)
		}
	}
	for path, body := range map[string]string{
		"/pools/p":      `{"initial":"up","health":{"type":"none"}}`,
		"/routes/users": `{"match":{"path":"/users","method":"GET"},"backend_pool":"p"}`,
		"/routes/write": `{"match":{"path":"/users","method":"POST"},"backend_pool":"p"}`,
	} {
		if s, b := call(t, "PUT", apiOf(all[0])+path, body); s != http.StatusCreated && s != http.StatusOK {
			t.Fatalf("PUT %s = %d %s", path, s, b)
		}
	}
	request := "url=" + url.QueryEscape("http://www.test/users/7?x=1")
	for _, n := range all {
		eventually(t, "the same on all nodes, asked by "+n.ID(), func() bool {
			x := explainOn(t, n, request+"&node=all")
			return x.Agree && len(x.Nodes) == 3 && x.Nodes[2].Pick != "" && x.Nodes[0].Route.ID == "users" && len(x.Nodes[0].Near) == 1 && x.Nodes[0].Near[0].ID == "write"
		})
	}
	for range 10 {
		x := explainOn(t, all[0], request+"&node=all")
		for i, n := range all {
			if local := explainOn(t, n, request).Nodes[0]; local.Node != n.ID() || local.Pick != x.Nodes[i].Pick {
				t.Errorf("%s says %s of itself, and was said to pick %s", n.ID(), local.Pick, x.Nodes[i].Pick)
			}
			if s, body := call(t, "GET", "http://"+n.ProxyAddrs()[0].String()+"/users/7?x=1", ""); s != http.StatusOK || body != x.Nodes[i].Pick {
				t.Errorf("a request to %s got %d %q, explained was %q", n.ID(), s, body, x.Nodes[i].Pick)
			}
		}
	}

	all[1].proxy.Set().SetLocal("b", true, "connection refused")
	x := explainOn(t, all[2], request+"&node=all")
	i := slices.IndexFunc(x.Nodes[1].Pool.Backends, func(b api.ExplainedBackend) bool { return b.ID == "b" })
	if b := x.Nodes[1].Pool.Backends[i]; x.Agree || b.Eligible || len(b.Reasons) != 1 || b.Reasons[0].Source != api.SourceLocal || b.Reasons[0].Since == nil {
		t.Errorf("with a veto on n2: agree %t, %+v", x.Agree, b)
	}
	if b := x.Nodes[0].Pool.Backends[i]; !b.Eligible || len(b.Reasons) != 0 {
		t.Errorf("without a veto on n1: %+v", b)
	}

	if x := explainOn(t, all[0], "url=/none"); x.Nodes[0].Refusal == nil || x.Nodes[0].Refusal.Code != "no_route" || x.Nodes[0].Route != nil {
		t.Errorf("no route: %+v", x.Nodes[0])
	}
	stops[2]()
	eventually(t, "n3 named as missing", func() bool {
		x := explainOn(t, all[0], request+"&node=all")
		return len(x.Nodes) == 2 && slices.Equal(x.Missing, []string{"n3"})
	})
}
