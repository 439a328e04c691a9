package node

import (
	"log/slog"
	"testing"
	"time"

	bbbload "github.com/lbnode/lbnode/bbb/load"
	"github.com/lbnode/lbnode/httpapi"
	"github.com/lbnode/lbnode/proxy"
	"github.com/lbnode/lbnode/stats"
)

// What a server lists, and what its agent says after that, is what the API shows of its meetings.
func TestRuntime_meetings(t *testing.T) {
	t.Parallel()
	cfg := proxy.DefaultConfig()
	requests, err := stats.New(stats.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	n := &Node{}
	n.fence = &fence{n: n}
	cfg.NodeID, cfg.Stats, cfg.Logger = "n1", requests, slog.New(slog.DiscardHandler)
	if n.proxy, err = proxy.New(cfg); err != nil {
		t.Fatal(err)
	}
	defer n.proxy.Close()
	now := time.Now()
	n.bbbLoads = bbbload.NewTable(func() time.Time { return now }, nil)
	l := newLoads(n)
	n.bbbLoads.Polled("a", []bbbload.Running{{ServerID: "m", Attendees: 7}, {ServerID: "b1", Attendees: 3, Breakout: true}}, 0)
	if rt := (apiRuntime{n}).Backend("a"); rt.Meetings != 1 || rt.Attendees != 7 {
		t.Errorf("listed: %d meetings, %d attendees, want 1 and 7", rt.Meetings, rt.Attendees)
	}
	now = now.Add(time.Second)
	l.take("a", httpapi.LoadReport{Load: 9, Counted: true, Meetings: 2, Attendees: 9})
	l.take("a", httpapi.LoadReport{Load: 9})
	if rt := (apiRuntime{n}).Backend("a"); rt.Meetings != 2 || rt.Attendees != 9 {
		t.Errorf("by the agent: %d meetings, %d attendees, want 2 and 9", rt.Meetings, rt.Attendees)
	}
}
