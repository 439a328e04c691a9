package node

import (
	"net/http"
	"testing"

	bbbload "github.com/lbnode/lbnode/bbb/load"
	"github.com/lbnode/lbnode/cluster/transport"
)

// What an agent tells one node, all of them know.
func TestBBBNews(t *testing.T) {
	t.Parallel()
	all := threeNodes(t)
	for path, body := range map[string]string{"/pools/bbb": `{"health":{"type":"bbb"}}`, "/backends/a": `{"address":"127.0.0.1:1","bbb":{"secrets":["s"]}}`} {
		if code, text := call(t, http.MethodPut, apiOf(all[0])+path, body); code != http.StatusCreated {
			t.Fatalf("%s: %d %s", path, code, text)
		}
	}
	for _, n := range all {
		eventually(t, "the backend on "+n.ID(), func() bool { _, ok := n.store.View().Backend("a"); return ok })
		n.bbbLoads.Polled("a", []bbbload.Running{{ServerID: "m", InternalID: "i", Attendees: 1}}, 0)
	}
	all[0].bbbLoads.Report("a", bbbload.Report{})
	all[0].bbbLoads.Event(bbbload.Event{Backend: "a", InternalID: "i", Change: 4})
	for _, n := range all {
		eventually(t, "the news on "+n.ID(), func() bool {
			s := n.bbbLoads.Status("a")
			m, _ := n.bbbLoads.Meeting("a", "m")
			return !s.Reported.IsZero() && m.Attendees == 5
		})
	}
	if _, err := all[0].serveBBBNews(t.Context(), transport.Peer{}, []byte("x")); err == nil {
		t.Error("what is no news was taken")
	}
}
