package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// pulseSample is what a saturated node leaves to the rest of its process: how late a ticker of 5 ms fires, in
// milliseconds, and what it allocates.
type pulseSample struct {
	N             int
	P50, P99, Max float64
	Allocs        float64 // objects a request, everything else in the process included
}

// measurePulse saturates a node that has a ticker built in; see cmd/lbnode/pulse.go.
func (l *lab) measurePulse(ctx context.Context, res *results) error {
	defer l.stopAll()
	l.say("a 5 ms ticker beside saturated loops")
	s, err := l.measurePulseOf(ctx)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		l.skip("the ticker: %v", err)
		return nil
	}
	res.pulse = s
	return nil
}

func (l *lab) measurePulseOf(ctx context.Context) (pulseSample, error) {
	bin := l.bin("pulse")
	if out, err := exec.CommandContext(ctx, "go", "build", "-trimpath", "-tags", "pulse", "-o", bin, "./cmd/lbnode").CombinedOutput(); err != nil {
		return pulseSample{}, fmt.Errorf("build: %w\n%s", err, out)
	}
	cfg := l.cfg
	cfg.Node = bin
	p, _ := peerNamed(ours, cfg)
	r, err := l.startPeer(ctx, present{peer: p}, workload{})
	if err != nil {
		return pulseSample{}, err
	}
	w := workload{Path: smallPath, Conns: 64, Expect: small}
	length := 3 * l.cfg.Time
	var before float64
	begin := func() (err error) {
		if before, err = mallocs(ctx, r.site); err != nil {
			return err
		}
		return r.cmd.Process.Signal(syscall.SIGUSR1) // what came before does not count
	}
	o, err := l.generate(ctx, loadArgs(w, r.site, l.cfg.Warm, length), l.cfg.Warm+length+20*time.Second, begin)
	if err != nil {
		return pulseSample{}, err
	}
	if err := r.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		return pulseSample{}, err
	}
	after, err := mallocs(ctx, r.site)
	if err != nil {
		return pulseSample{}, err
	}
	var s pulseSample
	err = poll(ctx, 10*time.Second, func(context.Context) error {
		log, err := os.ReadFile(r.log)
		if err != nil {
			return err
		}
		s, err = parsePulse(string(log))
		return err
	})
	s.Allocs = (after - before) / float64(o.N)
	return s, err
}

// parsePulse reads the second line that the ticker has printed.
func parsePulse(log string) (pulseSample, error) {
	var s pulseSample
	seen := 0
	for line := range strings.Lines(log) {
		if _, err := fmt.Sscanf(line, "pulse n=%d p50=%g p99=%g max=%g", &s.N, &s.P50, &s.P99, &s.Max); err == nil {
			seen++
		}
	}
	if seen < 2 {
		return pulseSample{}, errors.New("the node has not told how late its ticker was")
	}
	return s, nil
}

// mallocs is how many objects a node has allocated since it began.
func mallocs(ctx context.Context, s site) (float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+local(s.API)+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	tr := &http.Transport{DisableKeepAlives: true}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return 0, err
	}
	return metric(string(b), "go_memstats_mallocs_total")
}

// metric finds the value of a metric without labels.
func metric(text, name string) (float64, error) {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(rest), 64)
		}
	}
	return 0, fmt.Errorf("the node has no metric %s", name)
}
