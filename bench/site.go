package main

import (
	"bufio"
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"text/template"
)

//go:embed conf
var confFiles embed.FS

// site is what a proxy is asked to be: where it listens, by which rules it routes, and to whom.
type site struct {
	HTTP, HTTPS int // ports on 127.0.0.1
	H2C         int // the same, for HTTP/2 in clear text
	API, Node   int // ports of a node's admin API and of its cluster
	Threads     int
	Conns       int // the most client connections it has to hold
	Files       int // limit of open files
	Dir         string
	certificate
	Servers    []string // host:port
	Behind     string   // host:port of a server that speaks HTTP/2 in clear text; "" = there is none
	Algorithms bool     // a rule for each algorithm; only nodes
	Routes     int      // 0 = the three rules, else also so many prefixes
}

// Prefixes are the paths of the routing table's extra rules, without a slash at the end.
func (s site) Prefixes() []string {
	p := make([]string, s.Routes)
	for i := range p {
		p[i] = fmt.Sprintf("/s%05d", i)
	}
	return p
}

// render writes a configuration of conf, filled for the site, into the site's directory.
func (s site) render(name string) (string, error) {
	t, err := template.ParseFS(confFiles, "conf/"+name)
	if err != nil {
		return "", err
	}
	file := filepath.Join(s.Dir, name)
	f, err := os.Create(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	if err := t.Execute(w, s); err != nil {
		return "", fmt.Errorf("fill in %s: %w", name, err)
	}
	return file, w.Flush()
}

// writeMap writes the table of prefixes as HAProxy reads it.
func (s site) writeMap() error {
	f, err := os.Create(filepath.Join(s.Dir, "routes.map"))
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	for _, p := range s.Prefixes() {
		fmt.Fprintf(w, "%s/ be\n", p)
	}
	return w.Flush()
}

// manyServers names n addresses of 127.0.0.0/8, which the origin answers on one port.
func manyServers(n, port int) []string {
	s := make([]string, n)
	for i := range s {
		s[i] = fmt.Sprintf("127.1.%d.%d:%d", i/250, 1+i%250, port)
	}
	return s
}
