package main

import (
	"fmt"

	"github.com/lbnode/lbnode/state"
)

// workload is one row of the comparison: what is asked of a proxy, and how it is set up for that.
type workload struct {
	ID, Name string
	Path     string // "00000" in it stands for the number of a route
	Conns    int
	Body     int // bytes of a POST, 0 = GET
	Expect   int // bytes of the answer's body
	TLS      bool
	Streams  int  // HTTP/2 streams on each connection, 0 = HTTP/1.1
	Clear    bool // HTTP/2 without TLS, by prior knowledge
	Behind   bool // HTTP/2 without TLS to the server, too, which gathers its answers
	Rate     int  // requests a second, open loop; 0 = as fast as answers come

	Routes  int // size of the routing table, 0 = the three rules
	Servers int // size of the pool, 0 = three
	Rounds  int // 0 = as many as the run has

	Algorithm state.Algorithm // whose route is asked; only nodes have them all
	Keys      int             // different paths, 0 = one
	Sources   bool            // many client addresses
}

// Sizes of what an answer holds, and of the posted body; csrc/origin.c has the same.
const (
	small     = 128
	medium    = 16 << 10
	large     = 1 << 20
	posted    = 4 << 10
	smallPath = "/s/path?q=1"
	h2Path    = "/b/path?q=1" // to the server that speaks HTTP/2
)

// idleH2Conns is how many idle HTTP/2 connections are opened.
func (c Config) idleH2Conns() int { return min(c.idleConns(), 2000) }

// scaled says whether the workload needs a proxy set up differently from the others.
func (w workload) scaled() bool { return w.Routes > 0 || w.Servers > 0 }

// workloads returns what this run measures, in the order of the tables.
func (c Config) workloads() []workload {
	get := func(conns int) workload {
		return workload{ID: fmt.Sprintf("get-%d", conns), Name: fmt.Sprintf("GET 128 B, %s", connections(conns)), Path: smallPath, Conns: conns, Expect: small}
	}
	all := []workload{
		get(1), get(16), get(64), get(256), get(1000),
		{ID: "get16k", Name: "GET 16 KiB, 64 connections", Path: "/m", Conns: 64, Expect: medium},
		{ID: "get1m", Name: "GET 1 MiB, 16 connections", Path: "/l", Conns: 16, Expect: large},
		{ID: "post4k", Name: "POST 4 KiB, 64 connections", Path: smallPath, Conns: 64, Body: posted, Expect: small},
		{ID: "tls", Name: "TLS GET 128 B, 64 connections", Path: smallPath, Conns: 64, Expect: small, TLS: true},
		{ID: "h2-6x10", Name: "HTTP/2 TLS GET 128 B, 6 × 10 streams", Path: smallPath, Conns: 6, Streams: 10, Expect: small, TLS: true},
		{ID: "h2-1x100", Name: "HTTP/2 TLS GET 128 B, 1 × 100 streams", Path: smallPath, Conns: 1, Streams: 100, Expect: small, TLS: true},
		{ID: "h2-64x1", Name: "HTTP/2 TLS GET 128 B, 64 × 1 stream", Path: smallPath, Conns: 64, Streams: 1, Expect: small, TLS: true},
		{ID: "h2-16k", Name: "HTTP/2 TLS GET 16 KiB, 6 × 10 streams", Path: "/m", Conns: 6, Streams: 10, Expect: medium, TLS: true},
		{ID: "h2-post4k", Name: "HTTP/2 TLS POST 4 KiB, 6 × 10 streams", Path: smallPath, Conns: 6, Streams: 10, Body: posted, Expect: small, TLS: true},
		{ID: "h2c-6x10", Name: "HTTP/2 clear GET 128 B, 6 × 10 streams", Path: smallPath, Conns: 6, Streams: 10, Expect: small, Clear: true},
		{ID: "h2-behind", Name: "HTTP/2 TLS, 6 × 10 streams, HTTP/2 clear behind", Path: h2Path, Conns: 6, Streams: 10, Expect: small, TLS: true, Behind: true},
		{ID: "rate4k", Name: "4,000/s", Path: smallPath, Conns: 64, Expect: small, Rate: 4000},
		{ID: "rate20k", Name: "20,000/s", Path: smallPath, Conns: 64, Expect: small, Rate: 20000},
	}
	skip := map[string]bool{}
	routes, servers := []int{10, 50000}, []int{3, 10000}
	if c.Short {
		skip = map[string]bool{"get-16": true}
		routes, servers = []int{10, 1000}, []int{3, 1000}
	}
	for _, n := range routes {
		all = append(all, workload{ID: fmt.Sprintf("routes-%d", n), Name: thousands(n) + " routes", Path: "/s00000/path?q=1", Conns: 64, Expect: small, Routes: n, Rounds: min(3, c.Rounds)})
	}
	for _, n := range servers {
		all = append(all, workload{ID: fmt.Sprintf("servers-%d", n), Name: thousands(n) + " backends", Path: smallPath, Conns: 64, Expect: small, Servers: n, Rounds: min(3, c.Rounds)})
	}
	for _, a := range state.Algorithms() {
		for _, n := range servers {
			all = append(all, algorithmWorkload(a, n, min(3, c.Rounds)))
		}
	}
	var chosen []workload
	for _, w := range all {
		if !skip[w.ID] && (c.Only == nil || c.Only.MatchString(w.ID)) {
			chosen = append(chosen, w)
		}
	}
	return chosen
}

// algorithmWorkload asks a route with an algorithm of its own, in a pool of n servers. Hashing gets something to hash.
func algorithmWorkload(a state.Algorithm, n, rounds int) workload {
	w := workload{
		ID: fmt.Sprintf("%s-%d", a, n), Name: fmt.Sprintf("%s, %s backends", a, thousands(n)), Path: algorithmPath(a) + "/s00000/path?q=1",
		Conns: 64, Expect: small, Servers: n, Rounds: rounds, Algorithm: a,
	}
	switch a {
	case state.ConsistentHash:
		w.Keys = 50_000
	case state.IPHash:
		w.Sources = true
	}
	return w
}

func algorithmPath(a state.Algorithm) string { return "/a/" + string(a) }

// idleConns is how many idle connections the memory test opens, if the limit of open files allows.
func (c Config) idleConns() int {
	if c.Short {
		return 2000
	}
	return 10000
}

func connections(n int) string {
	if n == 1 {
		return "1 connection"
	}
	return thousands(n) + " connections"
}
