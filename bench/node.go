package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/lbnode/lbnode/state"
)

const (
	nodeUp    = 30 * time.Second // for a node to lead its cluster of one
	nodeSetUp = 10 * time.Minute // for its largest configuration
	nodeBatch = 1000             // objects of one transaction
)

// admin is the part of the admin API that the comparison needs.
type admin struct {
	base string
	http *http.Client
}

// object is one operation of a transaction.
type object struct {
	Op    string `json:"op"`
	Kind  string `json:"kind"`
	ID    string `json:"id"`
	Value any    `json:"value"`
}

func create(kind, id string, value map[string]any) object {
	return object{Op: "create", Kind: kind, ID: id, Value: value}
}

// configureNode gives a node over its admin API what the other peers have in a file. alive says whether the process
// still runs.
func configureNode(ctx context.Context, s site, alive func() bool) error {
	tr := &http.Transport{}
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
	for batch := range slices.Chunk(nodeObjects(s), nodeBatch) {
		if err := a.do(ctx, http.MethodPost, "/txn", map[string]any{"ops": batch}, nil); err != nil {
			return err
		}
	}
	want := len(s.Servers) + 1
	if s.Behind != "" {
		want++
	}
	return poll(ctx, time.Minute, func(ctx context.Context) error { return a.healthy(ctx, want) })
}

// nodeObjects returns what a site consists of, pools before what names them.
func nodeObjects(s site) []object {
	type fields = map[string]any
	web := fields{"algorithm": "least_connections"}
	if len(s.Servers) > 100 {
		web["health"] = fields{"interval": "60s"} // thousands of probes a second would be another comparison
	}
	all := []object{create("pool", "web", web), create("pool", "one", fields{})}
	for i, addr := range s.Servers {
		all = append(all, create("backend", fmt.Sprintf("s%d", i), fields{"address": addr, "pool": "web"}))
	}
	all = append(all, create("backend", "one", fields{"address": s.Servers[0], "pool": "one"}))
	route := func(id, path, pool string) object {
		return create("route", id, fields{"match": fields{"path": path}, "backend_pool": pool})
	}
	all = append(all, route("default", "/", "web"), route("api", "/api", "one"), route("static", "/static", "one"))
	if s.Behind != "" {
		all = append(all, create("pool", "h2", fields{"protocol": "h2c", "health": fields{"type": "tcp"}}),
			create("backend", "h2", fields{"address": s.Behind, "pool": "h2"}), route("h2", "/b", "h2"))
	}
	if s.Algorithms {
		for _, a := range state.Algorithms() {
			v := fields{"match": fields{"path": algorithmPath(a)}, "backend_pool": "web", "algorithm": a}
			if a == state.ConsistentHash {
				v["hash"] = fields{"source": state.HashPath}
			}
			all = append(all, create("route", "a-"+string(a), v))
		}
	}
	for i, p := range s.Prefixes() {
		all = append(all, route(fmt.Sprintf("r%05d", i), p, "web"))
	}
	return all
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
