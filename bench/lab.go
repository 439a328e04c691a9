package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// mostConns is how many client connections the peers are configured for.
const mostConns = 20000

// lab owns the processes of a run and what they share.
type lab struct {
	cfg     Config
	dir     string // absolute
	log     io.Writer
	cert    certificate
	files   int // limit of open files
	withTLS bool
	withH2  bool // h2load is there

	peers   []present
	skipped []string // what is not measured, and why; for the report

	origin     *child
	originPort int // on 127.0.0.1, .2 and .3
	originAll  int // on all of 127.0.0.0/8
	origin2    *child
	origin2At  int // its port
	up         []*running
}

// present is a peer that takes part.
type present struct {
	peer
	says string // its version
}

// newLab builds the tools, looks for the peers and starts the origin.
func newLab(ctx context.Context, cfg Config, log io.Writer) (*lab, error) {
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, err
	}
	l := &lab{cfg: cfg, dir: dir, log: log}
	l.cfg.Dir = dir
	if l.cfg.Node, err = filepath.Abs(cfg.Node); err != nil {
		return nil, err
	}
	if l.files, err = raiseFileLimit(); err != nil {
		return nil, err
	}
	l.say("building the origin, the load generator and the relay")
	if l.withTLS, err = compile(ctx, "bench/csrc", dir); err != nil {
		return nil, err
	}
	if !l.withTLS {
		l.skip("TLS: the load generator needs OpenSSL's headers (libssl-dev)")
	}
	if _, err := exec.LookPath("h2load"); err != nil {
		l.skip("HTTP/2: h2load is not there (nghttp2-client)")
	} else {
		l.withH2 = true
	}
	if l.cert, err = makeCertificate(dir); err != nil {
		return nil, err
	}
	if err := pinSelf(cfg.LoadCPUs); err != nil {
		return nil, err
	}
	for _, name := range cfg.Peers {
		p, _ := peerNamed(name, l.cfg)
		says, err := p.find(ctx)
		if err != nil {
			l.skip("%v", err)
			continue
		}
		l.peers = append(l.peers, present{p, says})
	}
	if len(l.peers) == 0 {
		return nil, errors.New("none of the peers is there")
	}
	return l, l.startOrigin()
}

func (l *lab) startOrigin() error {
	ports, err := freePorts(3)
	if err != nil {
		return err
	}
	l.originPort, l.originAll, l.origin2At = ports[0], ports[1], ports[2]
	l.origin, err = spawn(l.dir, "origin", l.cfg.LoadCPUs, filepath.Join(l.dir, "bin", "origin"),
		fmt.Sprintf("127.0.0.1:%d", l.originPort), fmt.Sprintf("127.0.0.2:%d", l.originPort), fmt.Sprintf("127.0.0.3:%d", l.originPort),
		fmt.Sprintf("*:%d", l.originAll))
	if err != nil {
		return err
	}
	l.origin2, err = spawn(l.dir, "origin2", l.cfg.LoadCPUs, l.bin("origin2"), fmt.Sprint(l.origin2At))
	return err
}

// close ends whatever still runs.
func (l *lab) close() {
	l.stopAll()
	for _, c := range []*child{l.origin, l.origin2} {
		if c != nil {
			c.stop()
		}
	}
}

func (l *lab) stopAll() {
	for _, r := range l.up {
		r.stop()
	}
	l.up = nil
}

func (l *lab) say(format string, args ...any) {
	fmt.Fprintf(l.log, time.Now().Format("15:04:05 ")+format+"\n", args...)
}

func (l *lab) skip(format string, args ...any) {
	reason, _, _ := strings.Cut(fmt.Sprintf(format, args...), "\n") // what follows is for the terminal
	l.skipped = append(l.skipped, reason)
	l.say("skipped: "+format, args...)
}

// startPeer brings one peer up, set up for w.
func (l *lab) startPeer(ctx context.Context, p present, w workload) (*running, error) {
	ports, err := freePorts(5)
	if err != nil {
		return nil, err
	}
	s := site{
		HTTP: ports[0], HTTPS: ports[1], API: ports[2], Node: ports[3], H2C: ports[4],
		Threads: max(1, len(l.cfg.ProxyCPUs)), Conns: min(l.files/5*4, mostConns), Files: l.files,
		Dir: filepath.Join(l.dir, p.name), certificate: l.cert, Routes: w.Routes,
	}
	for i := range 3 {
		s.Servers = append(s.Servers, fmt.Sprintf("127.0.0.%d:%d", i+1, l.originPort))
	}
	if w.scaled() {
		s.Algorithms = w.Algorithm != ""
		s.Dir += "-" + w.ID
	} else {
		s.Behind = local(l.origin2At)
	}
	if w.Servers > 0 {
		s.Servers = manyServers(w.Servers, l.originAll)
	}
	r, err := p.start(ctx, s, l.cfg.ProxyCPUs)
	if err != nil {
		return nil, err
	}
	l.up = append(l.up, r)
	return r, nil
}

// startAll brings every peer up that can do w. One that does not come up is skipped.
func (l *lab) startAll(ctx context.Context, w workload) error {
	for _, p := range l.peers {
		if w.scaled() && (p.floor || p.brief) {
			continue
		}
		if _, err := l.startPeer(ctx, p, w); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			where := ""
			if w.scaled() {
				where = " (" + w.Name + ")"
			}
			l.skip("%s%s: %v", p.name, where, err)
		}
	}
	if len(l.up) == 0 && !w.scaled() {
		return errors.New("no peer is up")
	}
	return nil
}

// bin is the path of a tool that this run has built.
func (l *lab) bin(name string) string { return filepath.Join(l.dir, "bin", name) }

// keepRaw appends one sample to a file of JSON lines, for whoever wants more than medians.
func (l *lab) keepRaw(line []byte) error {
	f, err := os.OpenFile(filepath.Join(l.dir, "samples.jsonl"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.Write(append(line, '\n'))
	return err
}
