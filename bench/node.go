package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	nodeUp      = 30 * time.Second // for a node to lead its cluster of one
	nodeSetUp   = 10 * time.Minute // for its largest configuration
	nodeWorkers = 64               // writes under way at once: Raft commits them together
)

// admin is the part of the admin API that the comparison needs.
type admin struct {
	base string
	http *http.Client
}

// object is what one POST creates.
type object struct {
	Path  string
	Value any
}

// configureNode gives a node over its admin API what the other peers have in a file. alive says whether the process
// still runs.
func configureNode(ctx context.Context, s site, alive func() bool) error {
	tr := &http.Transport{MaxIdleConnsPerHost: nodeWorkers}
	defer tr.CloseIdleConnections()
	a := admin{base: "http://" + local(s.API), http: &http.Client{Transport: tr, Timeout: 30 * time.Second}}
	err := poll(ctx, nodeUp, func(ctx context.Context) error {
		if !alive() {
			return errors.New("it has ended")
		}
		return a.do(ctx, http.MethodGet, "/readyz", nil, nil)
	})
	if err != nil {
		return fmt.Errorf("not ready: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, nodeSetUp, fmt.Errorf("its configuration took more than %s", nodeSetUp))
	defer cancel()
	pools, rest := nodeObjects(s)
	if err := a.create(ctx, pools); err != nil {
		return err
	}
	if err := a.create(ctx, rest); err != nil {
		return err
	}
	return poll(ctx, time.Minute, func(ctx context.Context) error { return a.healthy(ctx, len(s.Servers)+1) })
}

// nodeObjects returns the pools of a site, and what needs them.
func nodeObjects(s site) (pools, rest []object) {
	type check map[string]string
	web := map[string]any{"id": "web", "algorithm": "least_connections"}
	if len(s.Servers) > 100 {
		web["health"] = check{"interval": "60s"} // thousands of probes a second would be another comparison
	}
	pools = []object{{"/pools", web}, {"/pools", map[string]any{"id": "one"}}}
	for i, addr := range s.Servers {
		rest = append(rest, object{"/backends", map[string]any{"id": fmt.Sprintf("s%d", i), "address": addr, "pool": "web"}})
	}
	rest = append(rest, object{"/backends", map[string]any{"id": "one", "address": s.Servers[0], "pool": "one"}})
	route := func(id, path, pool string) object {
		return object{"/routes", map[string]any{"id": id, "match": map[string]string{"path": path}, "backend_pool": pool}}
	}
	rest = append(rest, route("default", "/", "web"), route("api", "/api", "one"), route("static", "/static", "one"))
	for i, p := range s.Prefixes() {
		rest = append(rest, route(fmt.Sprintf("r%05d", i), p, "web"))
	}
	return pools, rest
}

// create posts all objects, several at once, and returns the first refusal.
func (a admin) create(ctx context.Context, objects []object) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work := make(chan object)
	var workers sync.WaitGroup
	for range nodeWorkers {
		workers.Go(func() {
			for o := range work {
				if err := a.do(ctx, http.MethodPost, o.Path, o.Value, nil); err != nil {
					cancel(err) // the first one is kept
				}
			}
		})
	}
	for _, o := range objects {
		select {
		case work <- o:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
	}
	close(work)
	workers.Wait()
	return context.Cause(ctx)
}

// healthy returns nil once want backends have a good verdict.
func (a admin) healthy(ctx context.Context, want int) error {
	var health map[string]string
	if err := a.do(ctx, http.MethodGet, "/backends/health", nil, &health); err != nil {
		return err
	}
	n := 0
	for _, h := range health {
		if h == "healthy" {
			n++
		}
	}
	if n < want {
		return fmt.Errorf("%d of %d backends are healthy", n, want)
	}
	return nil
}

func (a admin) do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, a.base+path, body)
	if err != nil {
		return err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, answer[:min(len(answer), 500)])
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer, out)
}
