package demo

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/client"
)

const (
	nodes       = 3
	upTimeout   = 30 * time.Second // for three nodes to become one cluster
	requestEach = 50 * time.Millisecond
)

// settings are the demo's flags.
type settings struct {
	duration time.Duration // 0 = until Ctrl-C
	plain    bool
}

// Run runs the demo until ctx ends, then stops and removes everything. args are what follows
// `lbnode demo`.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) > 0 && args[0] == "backend" {
		return runBackend(ctx, args[1:])
	}
	var s settings
	fs := flag.NewFlagSet("lbnode demo", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.DurationVar(&s.duration, "for", 0, "stop after this long (0 = at Ctrl-C)")
	fs.BoolVar(&s.plain, "plain", false, "print the table anew each time instead of redrawing it")
	if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "lbnode-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	d := &demo{settings: s, dir: dir, out: stdout, redraw: !s.plain && isTerminal(stdout)}
	return d.run(ctx)
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// demo is one running demonstration.
type demo struct {
	settings
	dir    string
	out    io.Writer
	redraw bool

	backends []sample
	nodes    []member
	client   *client.Client

	mu    sync.Mutex // guards news
	news  []string   // what happened lately, newest last
	drawn int        // lines of the table on the screen
}

// sample is one sample backend.
type sample struct {
	*process
	addr   string
	weight int
}

// member is one node.
type member struct {
	*process
	proxy, api, cluster string
	traffic             *traffic
}

func (d *demo) run(ctx context.Context) error {
	if err := d.plan(); err != nil {
		return err
	}
	// Children live a little longer than ctx, so that they are stopped in order.
	supervised, stop := context.WithCancel(context.Background())
	var children sync.WaitGroup
	defer children.Wait()
	defer stop()
	fmt.Fprintln(d.out, "Starting three nodes and three sample backends …")
	for _, p := range d.processes() {
		if err := p.start(); err != nil {
			return err
		}
		children.Go(func() { p.supervise(supervised, d.say) })
	}
	defer d.client.Close()
	if err := d.setUp(ctx); err != nil {
		return fmt.Errorf("%w\n%s", err, d.lastLogs())
	}
	d.introduce()
	d.watch(ctx)
	fmt.Fprintln(d.out, "\nStopping …")
	return nil
}

// plan chooses addresses and command lines.
func (d *demo) plan() error {
	var failed error
	addr := func(want int) string {
		a, err := freeAddr(want)
		failed = errors.Join(failed, err)
		return a
	}
	for i, weight := range []int{3, 2, 1} {
		name := fmt.Sprintf("users-v%d", i+1)
		b := sample{addr: addr(9001 + i), weight: weight}
		b.process = &process{name: name, log: logFile(d.dir, name), args: []string{"demo", "backend", "--addr", b.addr, "--name", name}}
		d.backends = append(d.backends, b)
	}
	var urls []string
	for i := range nodes {
		name := fmt.Sprintf("node%d", i+1)
		m := member{proxy: addr(8080 + i), api: addr(9080 + i), cluster: addr(7946 + i)}
		args := []string{"--name", name, "--data-dir", d.dir + "/" + name, "--proxy-addr", m.proxy, "--api-addr", m.api, "--cluster-addr", m.cluster}
		if i > 0 {
			args = append(args, "--join", d.nodes[0].cluster)
		}
		m.process = &process{name: name, log: logFile(d.dir, name), args: args}
		m.traffic = &traffic{url: "http://" + m.proxy + "/users"}
		d.nodes = append(d.nodes, m)
		urls = append(urls, "http://"+m.api)
	}
	if failed != nil {
		return failed
	}
	cfg := client.DefaultConfig()
	cfg.URLs, cfg.Timeout = urls, 3*time.Second
	c, err := client.New(cfg)
	d.client = c
	return err
}

func (d *demo) processes() []*process {
	var ps []*process
	for _, b := range d.backends {
		ps = append(ps, b.process)
	}
	for _, n := range d.nodes {
		ps = append(ps, n.process)
	}
	return ps
}

// setUp waits for the cluster and registers what the table shows, as an operator would.
func (d *demo) setUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, upTimeout)
	defer cancel()
	err := poll(ctx, "three voting nodes", func() bool {
		c, err := d.client.Cluster(ctx)
		return err == nil && c.Healthy && len(c.Voters) == nodes
	})
	if err != nil {
		return err
	}
	for _, b := range d.backends {
		in := api.BackendInput{ID: b.name, Address: b.addr, Pool: "users-service", Weight: &b.weight}
		if _, _, err := d.client.Backends().Create(ctx, in, client.Write{}); err != nil {
			return err
		}
	}
	route := api.RouteInput{
		ID: "users", Match: api.MatchInput{Path: "/users", Method: "GET"},
		BackendPool: "users-service", Algorithm: "least_connections",
	}
	if _, _, err := d.client.Routes().Create(ctx, route, client.Write{}); err != nil {
		return err
	}
	return poll(ctx, "healthy backends", func() bool {
		h, err := d.client.Health(ctx)
		for _, b := range d.backends {
			if h[b.name] != api.Healthy {
				return false
			}
		}
		return err == nil
	})
}

func poll(ctx context.Context, what string, done func() bool) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, ctx.Err())
		case <-tick.C:
		}
	}
	return nil
}

// lastLogs is the end of each child's log, for when the start went wrong.
func (d *demo) lastLogs() string {
	const most = 1500
	s := ""
	for _, p := range d.processes() {
		b, _ := os.ReadFile(p.log)
		if len(b) > 0 {
			s += fmt.Sprintf("--- %s\n%s", p.name, b[max(0, len(b)-most):])
		}
	}
	return s
}

func (d *demo) say(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	const keep = 3
	d.news = append(d.news, time.Now().Format("15:04:05 ")+fmt.Sprintf(format, args...))
	if len(d.news) > keep {
		d.news = d.news[len(d.news)-keep:]
	}
}
