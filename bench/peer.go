package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// peer is somebody to compare with.
type peer struct {
	name    string
	binary  string   // on PATH, or a path
	version []string // arguments that print its version
	floor   bool     // reads no HTTP: only what needs no rules and no TLS
	node    bool     // configured over the admin API, once it runs
	brief   bool     // measured once, as it is far from the others
	behind  bool     // can speak HTTP/2 in clear text to servers
	command func(s site) (argv []string, err error)
}

// ours is the peer that the goals are about.
const ours = "lbnode"

// running is a peer that serves a site.
type running struct {
	*child
	peer peer
	site site
}

// peers returns everybody the run can compare.
func peers(cfg Config) []peer {
	node := func(engine string) func(s site) ([]string, error) {
		return func(s site) ([]string, error) {
			return []string{
				cfg.Node, "--name", "bench", "--data-dir", filepath.Join(s.Dir, "data"), "--engine", engine,
				"--proxy-addr", local(s.HTTP), "--proxy-addr", local(s.H2C), "--proxy-tls-addr", local(s.HTTPS), "--tls-cert-file", s.Cert, "--tls-key-file", s.Key,
				"--api-addr", local(s.API), "--cluster-addr", local(s.Node),
			}, nil
		}
	}
	return []peer{
		{name: "haproxy", binary: "haproxy", behind: true, version: []string{"-v"}, command: func(s site) ([]string, error) {
			file, err := s.render("haproxy.cfg")
			return []string{"haproxy", "-db", "-f", file}, errors.Join(err, s.writeMap())
		}},
		{name: "nginx", binary: "nginx", version: []string{"-v"}, command: func(s site) ([]string, error) {
			file, err := s.render("nginx.conf")
			return []string{"nginx", "-p", s.Dir, "-e", filepath.Join(s.Dir, "error.log"), "-c", file}, err
		}},
		{name: "caddy", binary: "caddy", brief: true, version: []string{"version"}, command: func(s site) ([]string, error) {
			file, err := s.render("caddy.json")
			return []string{"caddy", "run", "--config", file}, err
		}},
		{name: ours, binary: cfg.Node, version: []string{"version"}, node: true, behind: true, command: node("auto")},
		{name: "lbnode-portable", binary: cfg.Node, version: []string{"version"}, node: true, behind: true, brief: true, command: node("portable")},
		{name: "relay", binary: filepath.Join(cfg.Dir, "bin", "relay"), floor: true, command: func(s site) ([]string, error) {
			return append([]string{filepath.Join(cfg.Dir, "bin", "relay"), local(s.HTTP)}, s.Servers...), nil
		}},
	}
}

func peerNames(cfg Config) []string {
	var names []string
	for _, p := range peers(cfg) {
		names = append(names, p.name)
	}
	return names
}

func peerNamed(name string, cfg Config) (peer, bool) {
	for _, p := range peers(cfg) {
		if p.name == name {
			return p, true
		}
	}
	return peer{}, false
}

func local(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// find returns what the peer says about its version, or why it cannot take part.
func (p peer) find(ctx context.Context) (string, error) {
	path, err := exec.LookPath(p.binary)
	if err != nil {
		return "", fmt.Errorf("%s is not there: %w", p.name, err)
	}
	if len(p.version) == 0 {
		return "", nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, p.version...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", path, strings.Join(p.version, " "), err)
	}
	return tidyVersion(string(out)), nil
}

// tidyVersion finds the number in the first line of what a program says about its version, or takes its last word if
// it has no number: names, dates and addresses are dropped.
func tidyVersion(says string) string {
	first, _, _ := strings.Cut(strings.TrimSpace(says), "\n")
	words := strings.Fields(first)
	for _, w := range words {
		w = strings.TrimPrefix(w, "nginx/")
		if strings.Contains(w, ".") && strings.IndexAny(strings.TrimPrefix(w, "v"), "0123456789") == 0 {
			return w
		}
	}
	if len(words) == 0 {
		return ""
	}
	return words[len(words)-1]
}

// start brings the peer up and waits until it does what the site asks for.
func (p peer) start(ctx context.Context, s site, cpus []int) (*running, error) {
	if err := os.RemoveAll(s.Dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(s.Dir, 0o755); err != nil {
		return nil, err
	}
	argv, err := p.command(s)
	if err != nil {
		return nil, err
	}
	c, err := spawn(s.Dir, p.name, cpus, argv...)
	if err != nil {
		return nil, err
	}
	r := &running{child: c, peer: p, site: s}
	if p.node {
		err = configureNode(ctx, s, c.running)
	}
	if err == nil {
		err = poll(ctx, 60*time.Second, r.check)
	}
	if err != nil {
		last := c.lastWords()
		c.stop()
		return nil, fmt.Errorf("%s does not serve: %w\n%s", p.name, err, last)
	}
	return r, nil
}

// check sees that the proxy passes a request on, and does the part of the work that shows: X-Forwarded-For.
func (r *running) check(ctx context.Context) error {
	if !r.child.running() {
		return errors.New("it has ended")
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+local(r.site.HTTP)+"/v/path", nil)
	if err != nil {
		return err
	}
	tr := &http.Transport{DisableKeepAlives: true}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	head, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("it answers %s", resp.Status)
	}
	if !r.peer.floor && !strings.Contains(strings.ToLower(string(head)), "\r\nx-forwarded-for: 127.0.0.1\r\n") {
		return fmt.Errorf("X-Forwarded-For is not added:\n%s", head)
	}
	return nil
}
