package main

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lbnode/lbnode/state"
)

func testSite(t *testing.T, routes, servers int) site {
	return site{
		HTTP: 8001, HTTPS: 8002, API: 8003, Node: 8004, H2C: 8005, Threads: 1, Conns: 1000, Files: 4000, Dir: t.TempDir(),
		certificate: certificate{Cert: "c.pem", Key: "k.pem", Both: "b.pem"}, Servers: manyServers(servers, 9001), Routes: routes,
	}
}

// Every server and every rule stands in every configuration.
func TestRender(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"haproxy.cfg", "nginx.conf", "caddy.json"} {
		for _, size := range [][2]int{{0, 3}, {10, 300}} {
			s := testSite(t, size[0], size[1])
			file, err := s.render(name)
			if err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			conf := string(b)
			for _, server := range s.Servers {
				if !strings.Contains(conf, server) {
					t.Errorf("%s does not name server %s", name, server)
				}
			}
			if name == "haproxy.cfg" {
				continue // its prefixes are in a map
			}
			for _, p := range append(s.Prefixes(), "/api", "/static") {
				if !strings.Contains(conf, p+"/") {
					t.Errorf("%s does not name path %s", name, p)
				}
			}
			if name == "caddy.json" && !json.Valid(b) {
				t.Errorf("%s with %v routes and servers is not JSON:\n%s", name, size, conf)
			}
		}
	}
}

func TestWriteMap(t *testing.T) {
	t.Parallel()
	s := testSite(t, 2, 3)
	if err := s.writeMap(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(s.Dir + "/routes.map")
	if want := "/s00000/ be\n/s00001/ be\n"; err != nil || string(b) != want {
		t.Errorf("the map is %q, %v, want %q", b, err, want)
	}
}

func TestManyServers(t *testing.T) {
	t.Parallel()
	got := manyServers(10000, 9001)
	seen := map[string]bool{}
	for _, s := range got {
		seen[s] = true
	}
	if len(seen) != 10000 || got[0] != "127.1.0.1:9001" || got[9999] != "127.1.39.250:9001" {
		t.Errorf("manyServers(10000) = %d different, from %s to %s", len(seen), got[0], got[9999])
	}
}

func TestNodeObjects(t *testing.T) {
	t.Parallel()
	s := testSite(t, 2, 3)
	full := s
	full.Behind, full.Algorithms = "127.0.0.1:1", true
	for _, tt := range []struct {
		s    site
		want map[string]int
	}{
		{s, map[string]int{"pool": 2, "backend": 4, "route": 5}},
		{full, map[string]int{"pool": 3, "backend": 5, "route": 6 + len(state.Algorithms())}},
	} {
		count := map[string]int{}
		for _, o := range nodeObjects(tt.s) {
			count[o.Kind]++
		}
		if diff := cmp.Diff(tt.want, count); diff != "" {
			t.Errorf("objects (-want +got):\n%s", diff)
		}
	}
}

// The C programs together: what the generator counts went through the relay to the origin and back.
func TestTools(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("gcc is not there")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	dir := t.TempDir()
	l := &lab{dir: dir, log: t.Output(), cfg: Config{Dir: dir}}
	if _, err := compile(ctx, "csrc", dir); err != nil {
		t.Fatal(err)
	}
	if err := l.startOrigin(); err != nil {
		t.Fatal(err)
	}
	defer l.close()
	p, _ := peerNamed("relay", l.cfg)
	r, err := l.startPeer(ctx, present{peer: p}, workload{})
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []workload{
		{Path: smallPath, Conns: 4, Expect: small},
		{Path: "/m", Conns: 4, Expect: medium},
		{Path: "/l", Conns: 2, Expect: large},
		{Path: smallPath, Conns: 4, Body: posted, Expect: small},
		{Path: smallPath, Conns: 4, Expect: small, Rate: 200},
		{Path: "/s00000/path", Conns: 4, Expect: small, Routes: 50},
		{Path: "/s00000/path", Conns: 4, Expect: small, Keys: 50, Sources: true},
	} {
		ready := false
		args := loadArgs(w, r.site, 50*time.Millisecond, 200*time.Millisecond)
		o, err := l.generate(ctx, args, 20*time.Second, func() error { ready = true; return nil })
		if err != nil || !ready || o.N == 0 || o.Errors != 0 || o.Seconds <= 0 || o.P50 <= 0 {
			t.Errorf("%+v: got %+v, %v, ready %v, want answers without errors", w, o, err, ready)
		}
		if w.Rate > 0 && o.Due != 40 {
			t.Errorf("at %d/s for 200ms %d requests fell due, want 40", w.Rate, o.Due)
		}
	}
	wrong := workload{Path: smallPath, Conns: 1, Expect: medium}
	o, err := l.generate(ctx, loadArgs(wrong, r.site, 0, 100*time.Millisecond), 20*time.Second, func() error { return nil })
	if err != nil || o.Errors != o.N || o.N == 0 {
		t.Errorf("with another length than announced: got %+v, %v, want only errors", o, err)
	}
}
