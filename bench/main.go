package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Config is one run of the comparison. See parseFlags for the flags and [Config.Validate] for the bounds.
type Config struct {
	Peers     []string
	Only      *regexp.Regexp // which workloads, by id
	Short     bool           // a quick look: fewer workloads, sizes and rounds
	Rounds    int
	Time      time.Duration // of one measurement
	Warm      time.Duration // before each measurement
	Timeout   time.Duration // of the whole run
	Doc       string        // file whose tables are replaced, "" = none
	Dir       string        // scratch: binaries, configurations, logs, raw samples
	Node      string        // the lbnode binary
	ProxyCPUs []int
	LoadCPUs  []int
	Args      []string // as given, for the record
}

// Validate returns the first setting that cannot work.
func (c Config) Validate() error {
	switch {
	case len(c.Peers) == 0:
		return errors.New("-peers must name at least one peer")
	case c.Rounds < 1 || c.Rounds > 100:
		return fmt.Errorf("-rounds %d must be between 1 and 100", c.Rounds)
	case c.Time < 100*time.Millisecond || c.Time > time.Minute:
		return fmt.Errorf("-time %s must be between 100ms and 1m", c.Time)
	case c.Warm < 0 || c.Warm > time.Minute:
		return fmt.Errorf("-warm %s must be between 0 and 1m", c.Warm)
	}
	for _, name := range c.Peers {
		if _, ok := peerNamed(name, c); !ok {
			return fmt.Errorf("-peers names %q; there are %s", name, strings.Join(peerNames(c), ", "))
		}
	}
	for _, cpu := range c.ProxyCPUs {
		for _, other := range c.LoadCPUs {
			if cpu == other {
				return fmt.Errorf("core %d is in both -proxy-cpus and -load-cpus", cpu)
			}
		}
	}
	return nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parseFlags(args []string, stderr io.Writer) (Config, error) {
	cfg := Config{Args: args}
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.SetOutput(stderr)
	peers := fs.String("peers", strings.Join(peerNames(cfg), ","), "who is compared; ratios are to the first that runs")
	only := fs.String("only", "", "regular expression of workload ids (-list prints them)")
	list := fs.Bool("list", false, "print the workloads and stop")
	proxyCPUs := fs.String("proxy-cpus", "0", "cores of the proxies, which get as many threads")
	loadCPUs := fs.String("load-cpus", "1", "cores of origin and load generator")
	fs.BoolVar(&cfg.Short, "short", false, "a quick look: fewer workloads and sizes, 2 rounds of 0.7 s")
	fs.IntVar(&cfg.Rounds, "rounds", 0, "measurements of each cell (default 4, with -short 2)")
	fs.DurationVar(&cfg.Time, "time", 0, "length of one measurement (default 2s, with -short 700ms)")
	fs.DurationVar(&cfg.Warm, "warm", 0, "load before each measurement (default 500ms, with -short 300ms)")
	fs.DurationVar(&cfg.Timeout, "timeout", 90*time.Minute, "end everything after this long")
	fs.StringVar(&cfg.Doc, "doc", "docs/performance.md", "file that the tables are written to; empty = only print them")
	fs.StringVar(&cfg.Dir, "dir", "bench/run", "scratch directory")
	fs.StringVar(&cfg.Node, "lbnode", "bin/lbnode", "the lbnode binary")
	if err := fs.Parse(args); err != nil {
		return cfg, err
	}
	if fs.NArg() > 0 {
		return cfg, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	cfg.setDefaults()
	var err error
	if cfg.Only, err = regexp.Compile(*only); err != nil {
		return cfg, fmt.Errorf("-only: %w", err)
	}
	if cfg.ProxyCPUs, err = parseCPUs(*proxyCPUs); err != nil {
		return cfg, fmt.Errorf("-proxy-cpus: %w", err)
	}
	if cfg.LoadCPUs, err = parseCPUs(*loadCPUs); err != nil {
		return cfg, fmt.Errorf("-load-cpus: %w", err)
	}
	cfg.Peers = strings.FieldsFunc(*peers, func(r rune) bool { return r == ',' })
	if *list {
		for _, w := range cfg.workloads() {
			fmt.Fprintf(stderr, "%-16s %s\n", w.ID, w.Name)
		}
		return cfg, flag.ErrHelp
	}
	return cfg, cfg.Validate()
}

// setDefaults fills what depends on -short.
func (c *Config) setDefaults() {
	rounds, length, warm := 4, 2*time.Second, 500*time.Millisecond
	if c.Short {
		rounds, length, warm = 2, 700*time.Millisecond, 300*time.Millisecond
	}
	if c.Rounds == 0 {
		c.Rounds = rounds
	}
	if c.Time == 0 {
		c.Time = length
	}
	if c.Warm == 0 {
		c.Warm = warm
	}
}

// parseCPUs reads a comma list of core numbers. Empty = not pinned.
func parseCPUs(s string) ([]int, error) {
	var cpus []int
	for f := range strings.SplitSeq(s, ",") {
		if f == "" {
			continue
		}
		n, err := strconv.Atoi(f)
		if err != nil || n < 0 || n > 1023 {
			return nil, fmt.Errorf("%q is not a core number", f)
		}
		cpus = append(cpus, n)
	}
	return cpus, nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	cfg, err := parseFlags(args, stderr)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, cfg.Timeout, fmt.Errorf("-timeout %s is over", cfg.Timeout))
	defer cancel()
	began := time.Now()
	host := describeMachine() // before the run loads the machine
	l, err := newLab(ctx, cfg, stderr)
	if err != nil {
		return err
	}
	defer l.close()
	res, err := l.measureAll(ctx)
	if err != nil {
		return err
	}
	report := makeReport(cfg, host, l.peers, res, began)
	fmt.Fprint(stdout, report)
	if cfg.Doc == "" {
		return nil
	}
	return replaceReport(cfg.Doc, report)
}
