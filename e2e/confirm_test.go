package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/client"
)

// A change that nobody confirms is undone, once, although the leader that took it is killed before the deadline;
// and one that was confirmed stays.
func TestConfirmWithin_leaderKilled(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	leader := c.leader()
	rest := c.except(leader)
	rest[0].must(201, http.MethodPut, "/pools/p", map[string]any{"algorithm": "random"})
	apply := func(doc string) api.ApplyResult {
		t.Helper()
		var out api.ApplyResult
		a := rest[0].must(200, http.MethodPost, "/apply?confirm_within=20s", json.RawMessage(doc))
		if err := json.Unmarshal(a.body, &out); err != nil || out.ConfirmBy == nil {
			t.Fatalf("apply = %s, want a time to confirm: %v", a.body, err)
		}
		return out
	}
	stays := apply(`{"pools":[{"id":"stays"}]}`)
	goes := apply(`{"pools":[{"id":"p","algorithm":"ip_hash"},{"id":"goes"}]}`)
	rest[1].must(200, http.MethodPost, fmt.Sprintf("/apply/confirm?index=%d", stays.Index), nil)
	leader.kill()
	for _, n := range rest {
		eventually(t, formTime, n.name+" shows that the change was undone", func() error {
			var pending []api.Pending
			n.read("/apply/pending", &pending)
			if len(pending) > 0 {
				return fmt.Errorf("%d changes wait", len(pending))
			}
			return nil
		})
		var p api.Pool
		n.read("/pools/p", &p)
		if p.Algorithm != "random" {
			t.Errorf("%s: the pool has algorithm %s, want random as before the change", n.name, p.Algorithm)
		}
		n.must(404, http.MethodGet, "/pools/goes", nil)
		n.must(200, http.MethodGet, "/pools/stays", nil)
	}
	leader.start()
	c.formed(c.nodes...)
	var history []api.Change
	leader.read("/history?consistency=linearizable", &history)
	reverts := slices.DeleteFunc(history, func(ch api.Change) bool {
		return !strings.HasPrefix(ch.Summary, "revert of ")
	})
	if len(reverts) != 1 || !strings.HasPrefix(reverts[0].Summary, fmt.Sprintf("revert of %d,", goes.Index)) || !strings.HasPrefix(reverts[0].Actor, "lbnode@") {
		t.Errorf("reverts in the history: %+v, want one, of %d", reverts, goes.Index)
	} else if reverts[0].Time.Before(*goes.ConfirmBy) {
		t.Errorf("undone at %s, before %s", reverts[0].Time, goes.ConfirmBy)
	}
	c.same()
}

// A watch whose node is killed under writes goes on with another one: each change comes once, in order.
func TestWatch_nodeKilled(t *testing.T) {
	t.Parallel()
	const writes = 60
	c := newCluster(t, 3)
	told := c.followers()[0]
	rest := c.except(told)
	cfg := client.DefaultConfig()
	cfg.URLs = []string{"http://" + told.api, "http://" + rest[0].api, "http://" + rest[1].api}
	cl, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	from, begun, done := uint64(0), make(chan struct{}), make(chan error, 1)
	var got []uint64
	go func() {
		first := true
		for e, err := range cl.Watch(ctx, client.WatchOptions{From: &from, Types: []string{api.WatchConfig}}) {
			switch {
			case err != nil: // the node is gone
			case e.Name == api.EventStart && first:
				first = false
				close(begun)
			case e.Name == api.EventChange:
				var ch api.Change
				if err := json.Unmarshal(e.Data, &ch); err != nil {
					done <- err
					return
				}
				if got = append(got, ch.Index); strings.HasSuffix(ch.Summary, "pool end") {
					done <- nil
					return
				}
			}
		}
		done <- ctx.Err()
	}()
	select {
	case <-begun:
	case <-ctx.Done():
		t.Fatal("the watch has not begun")
	}
	for i := range writes {
		if i == writes/2 {
			told.kill()
		}
		rest[i%2].must(2, http.MethodPut, fmt.Sprintf("/pools/w%d", i), map[string]any{})
	}
	rest[0].must(2, http.MethodPut, "/pools/end", map[string]any{})
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	var history []api.Change
	rest[0].read("/history?limit=1000", &history)
	var want []uint64
	for _, ch := range slices.Backward(history) {
		want = append(want, ch.Index)
	}
	if !slices.Equal(got, want) {
		t.Errorf("the watch told %d changes, the history has %d:\n%v\n%v", len(got), len(want), got, want)
	}
}
