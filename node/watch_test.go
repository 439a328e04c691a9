package node

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/client"
)

func watchClient(t *testing.T, nodes ...*Node) *client.Client {
	t.Helper()
	cfg := client.DefaultConfig()
	for _, n := range nodes {
		cfg.URLs = append(cfg.URLs, apiOf(n))
	}
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// A watch whose node stops goes on with another one, under writes: every change comes once and in order.
func TestWatch_goesOnWithAnotherNode(t *testing.T) {
	t.Parallel()
	const writes = 120
	var nodes []*Node
	var stopLast func()
	for i := range 3 {
		cfg := testConfig(t, fmt.Sprintf("n%d", i+1))
		if i > 0 {
			cfg.Join = []string{nodes[0].ClusterAddr()}
		}
		n, stop := runNode(t, cfg)
		nodes, stopLast = append(nodes, n), stop
	}
	for _, n := range nodes {
		eventually(t, "three voters on "+n.ID(), func() bool { return len(n.cluster.Voters()) == 3 && len(n.cluster.Live()) == 3 })
	}
	last := nodes[2]
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	from := uint64(0)
	var got []uint64
	told := map[string]bool{} // nodes that told something
	started, stopped := make(chan struct{}), make(chan struct{})
	done := make(chan error, 1)
	go func() {
		for e, err := range watchClient(t, last, nodes[0], nodes[1]).Watch(ctx, client.WatchOptions{From: &from, Types: []string{api.WatchConfig}}) {
			if err != nil {
				continue // a node that is gone
			}
			told[e.Node] = true
			switch e.Name {
			case api.EventStart:
				if len(told) == 1 {
					close(started)
				}
			case api.EventChange:
				var ch api.Change
				if err := json.Unmarshal(e.Data, &ch); err != nil || ch.Index != e.Index {
					done <- fmt.Errorf("event %d holds change %d: %w", e.Index, ch.Index, err)
					return
				}
				got = append(got, ch.Index)
				if len(ch.Objects) == 1 && ch.Objects[0].ID == "end" {
					done <- nil
					return
				}
			}
		}
		done <- ctx.Err()
	}()
	<-started
	write := func(n *Node, id string) {
		eventually(t, "a write", func() bool {
			s, _ := call(t, "PUT", apiOf(n)+"/pools/"+id, `{}`)
			return s == http.StatusCreated || s == http.StatusOK
		})
	}
	for i := range writes {
		if i == writes/2 {
			go func() {
				defer close(stopped)
				stopLast()
			}()
		}
		write(nodes[i%2], fmt.Sprint("p", i))
	}
	<-stopped
	write(nodes[0], "end")
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	var want []uint64
	for c := range nodes[0].Store().View().ChangesAfter(0) {
		want = append(want, c.Index)
	}
	if !slices.Equal(got, want) || len(want) != writes+1 {
		t.Errorf("%d changes were seen, %d were made:\n%v\n%v", len(got), len(want), got, want)
	}
	if len(told) < 2 {
		t.Errorf("only %v told anything", told)
	}
}
