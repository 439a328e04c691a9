package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
)

// sample is one measurement of one peer.
type sample struct {
	outcome
	CPU float64 // of the proxy, in microseconds a request
	RPS float64
}

// cell names what samples belong together.
type cell struct{ Work, Peer string }

// results is everything a run has found out.
type results struct {
	samples map[cell][]sample
	idle    map[cell]idleSample // by "plain" and "tls"
	rest    map[string]float64  // peer: milliseconds of CPU a second without traffic
	skipped []string
	conns   int // idle connections of the memory test
	connsH2 int // of those over HTTP/2
	pulse   pulseSample
}

// measureAll runs the whole plan.
func (l *lab) measureAll(ctx context.Context) (*results, error) {
	res := &results{samples: map[cell][]sample{}, idle: map[cell]idleSample{}, rest: map[string]float64{}}
	var plain []workload
	var scaled, algorithms []workload
	for _, w := range l.cfg.workloads() {
		switch {
		case w.TLS && !l.withTLS && w.Streams == 0, w.Streams > 0 && !l.withH2:
		case w.Algorithm != "":
			algorithms = append(algorithms, w)
		case w.scaled():
			scaled = append(scaled, w)
		default:
			plain = append(plain, w)
		}
	}
	if len(plain) > 0 {
		if err := l.measurePlain(ctx, plain, res); err != nil {
			return nil, err
		}
	}
	for _, w := range scaled {
		if err := l.measureScaled(ctx, w, res); err != nil {
			return nil, err
		}
	}
	if err := l.measureAlgorithms(ctx, algorithms, res); err != nil {
		return nil, err
	}
	if l.wants("pulse") {
		if err := l.measurePulse(ctx, res); err != nil {
			return nil, err
		}
	}
	if l.wants("idle") {
		if err := l.measureIdle(ctx, res); err != nil {
			return nil, err
		}
	}
	res.skipped = l.skipped
	return res, nil
}

// measurePlain takes turns: in each round, for each workload, every peer is measured once.
func (l *lab) measurePlain(ctx context.Context, work []workload, res *results) error {
	defer l.stopAll()
	l.say("starting the peers")
	if err := l.startAll(ctx, workload{}); err != nil {
		return err
	}
	if err := l.measureRest(ctx, res); err != nil {
		return err
	}
	for round := range l.cfg.Rounds {
		for _, w := range work {
			l.say("round %d of %d: %s", round+1, l.cfg.Rounds, w.Name)
			if err := l.measureUp(ctx, w, round, res); err != nil {
				return err
			}
		}
	}
	return nil
}

// measureScaled measures one size, which needs every peer set up for it.
func (l *lab) measureScaled(ctx context.Context, w workload, res *results) error {
	defer l.stopAll()
	l.say("starting the peers with %s", w.Name)
	if err := l.startAll(ctx, w); err != nil {
		return err
	}
	for round := range w.Rounds {
		l.say("round %d of %d: %s", round+1, w.Rounds, w.Name)
		if err := l.measureUp(ctx, w, round, res); err != nil {
			return err
		}
	}
	return nil
}

// measureAlgorithms measures every algorithm of a node in a small pool and in a large one, by turns.
func (l *lab) measureAlgorithms(ctx context.Context, work []workload, res *results) error {
	i := slices.IndexFunc(l.peers, func(p present) bool { return p.name == ours })
	if len(work) == 0 || i < 0 {
		return nil
	}
	defer l.stopAll()
	l.say("starting %s with a rule for each algorithm", ours)
	bySize := map[int]*running{}
	for _, w := range work {
		if bySize[w.Servers] != nil {
			continue
		}
		r, err := l.startPeer(ctx, l.peers[i], w)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			l.skip("%s (%s): %v", ours, w.Name, err)
			return nil
		}
		bySize[w.Servers] = r
	}
	for round := range work[0].Rounds {
		l.say("round %d of %d: algorithms", round+1, work[0].Rounds)
		for _, w := range work {
			l.up = []*running{bySize[w.Servers]}
			err := l.measureUp(ctx, w, round, res)
			l.up = slices.Collect(maps.Values(bySize)) // for stopAll
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// wants says whether -only leaves something in that is no workload.
func (l *lab) wants(what string) bool { return l.cfg.Only == nil || l.cfg.Only.MatchString(what) }

// measureUp measures each running peer once. A peer that cannot do it is noted, and the run goes on.
func (l *lab) measureUp(ctx context.Context, w workload, round int, res *results) error {
	for i := range l.up {
		r := l.up[(i+round)%len(l.up)] // so that nobody always follows the same one
		if (w.TLS || w.Clear) && r.peer.floor || w.Behind && !r.peer.behind || r.peer.brief && round > 0 {
			continue
		}
		s, err := l.measure(ctx, r, w, round)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			l.skip("%s, %s, round %d: %v", r.peer.name, w.Name, round+1, err)
			continue
		}
		c := cell{w.ID, r.peer.name}
		res.samples[c] = append(res.samples[c], s)
		raw, err := json.Marshal(struct {
			Time  time.Time
			Cell  cell
			Round int
			sample
		}{time.Now(), c, round, s})
		if err == nil {
			err = l.keepRaw(raw)
		}
		if err != nil {
			return fmt.Errorf("keep sample: %w", err)
		}
	}
	return nil
}

// measure takes one sample: the proxy's CPU time before and after, over the answers in between.
func (l *lab) measure(ctx context.Context, r *running, w workload, round int) (sample, error) {
	pids := r.pids()
	var before time.Duration
	read := func() (err error) {
		before, err = r.proc.cpuTime(pids)
		return err
	}
	var o outcome
	var err error
	if w.Streams > 0 {
		if round == 0 { // warm up
			if _, err = l.generateH2(ctx, w, r.site, max(l.cfg.Warm, 100*time.Millisecond)); err != nil {
				return sample{}, err
			}
		}
		if err = read(); err == nil {
			o, err = l.generateH2(ctx, w, r.site, l.cfg.Time)
		}
	} else {
		warm := l.cfg.Warm
		if w.Servers > 100 {
			// Every server once, so that connecting is not what is measured: each time, as unused connections do
			// not live until the next round.
			warm = max(warm, 2*time.Second)
		}
		limit := warm + l.cfg.Time + 20*time.Second
		o, err = l.generate(ctx, loadArgs(w, r.site, warm, l.cfg.Time), limit, read)
	}
	if err != nil {
		return sample{}, err
	}
	after, err := r.proc.cpuTime(pids)
	if err != nil {
		return sample{}, err
	}
	if o.N == 0 || o.Seconds <= 0 {
		return sample{}, fmt.Errorf("no answer (%d errors)", o.Errors)
	}
	return sample{outcome: o, CPU: float64((after - before).Microseconds()) / float64(o.N), RPS: float64(o.N) / o.Seconds}, nil
}

// measureRest sees what each peer spends when nobody asks: timers, health checks, consensus.
func (l *lab) measureRest(ctx context.Context, res *results) error {
	const length = 2 * time.Second
	before := map[string]time.Duration{}
	for _, r := range l.up {
		spent, err := r.proc.cpuTime(r.pids())
		if err != nil {
			return fmt.Errorf("%s: %w", r.peer.name, err)
		}
		before[r.peer.name] = spent
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(length):
	}
	for _, r := range l.up {
		spent, err := r.proc.cpuTime(r.pids())
		if err != nil {
			return fmt.Errorf("%s: %w", r.peer.name, err)
		}
		res.rest[r.peer.name] = (spent - before[r.peer.name]).Seconds() * 1e3 / length.Seconds()
	}
	return nil
}
