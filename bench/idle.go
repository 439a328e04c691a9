package main

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// openLimit is how long it may take to open all idle connections and to hold them.
const openLimit = 4 * time.Minute

// idleSample is what idle connections cost a proxy.
type idleSample struct {
	PerConn float64 // bytes
	Total   int64   // bytes of the whole proxy, while it holds them
}

// measureIdle opens many connections to each peer, one after the other and freshly started, lets each have one
// answer, and looks at the proxy's memory before and after.
func (l *lab) measureIdle(ctx context.Context, res *results) error {
	res.conns = min(l.cfg.idleConns(), l.files-1000) / openers * openers
	if res.conns < l.cfg.idleConns() {
		l.skip("idle connections beyond %s: the limit of open files is %s", thousands(res.conns), thousands(l.files))
	}
	kinds := []string{"plain"}
	if l.withTLS {
		kinds = append(kinds, "tls")
	}
	for _, kind := range kinds {
		for _, p := range l.peers {
			if p.floor || p.brief {
				continue // holds two connections for each, and no other state
			}
			l.say("%s idle connections (%s): %s", thousands(res.conns), kind, p.name)
			s, err := l.measureIdleOf(ctx, p, kind == "tls", res.conns)
			l.stopAll()
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err != nil {
				l.skip("%s, idle connections (%s): %v", p.name, kind, err)
				continue
			}
			res.idle[cell{kind, p.name}] = s
		}
	}
	return l.measureIdleH2(ctx, res)
}

func (l *lab) measureIdleOf(ctx context.Context, p present, tls bool, conns int) (idleSample, error) {
	r, err := l.startPeer(ctx, p, workload{})
	if err != nil {
		return idleSample{}, err
	}
	w := workload{Path: smallPath, Conns: 16, Expect: small, TLS: tls}
	// Some traffic first, so that code, pools and buffers that do not grow with connections are there already.
	if _, err := l.generate(ctx, loadArgs(w, r.site, 0, 300*time.Millisecond), 20*time.Second, func() error { return nil }); err != nil {
		return idleSample{}, err
	}
	pids := r.pids()
	before, err := r.proc.memory(pids)
	if err != nil {
		return idleSample{}, err
	}
	w.Conns = conns / openers
	var after int64
	outcomes, err := l.holdOpen(ctx, append(loadArgs(w, r.site, 0, 0), "-i"), func(ctx context.Context) (err error) {
		select { // what is only garbage of the handshakes gets a chance to go
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(l.cfg.Time * 2):
		}
		after, err = r.proc.memory(pids)
		return err
	})
	if err != nil {
		return idleSample{}, err
	}
	for _, o := range outcomes {
		if o.N < w.Conns || o.Errors > 0 {
			return idleSample{}, fmt.Errorf("%s of %s connections are open, %d answers were wrong%s", thousands(o.N), thousands(w.Conns), o.Errors, lastStatus(o.Wrong))
		}
	}
	return idleSample{PerConn: float64(after-before) / float64(w.Conns*openers), Total: after}, nil
}

// openers is how many generators open connections at once: one alone would wait for each handshake.
const openers = 8

// holdOpen runs several generators with the same arguments and calls look while all of them hold their connections.
func (l *lab) holdOpen(ctx context.Context, args []string, look func(context.Context) error) ([]outcome, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	outcomes := make([]outcome, openers)
	held := make(chan struct{}, openers)
	looked := make(chan struct{})
	var generators sync.WaitGroup
	for i := range outcomes {
		generators.Go(func() {
			var err error
			outcomes[i], err = l.generate(ctx, args, openLimit, func() error {
				held <- struct{}{}
				select {
				case <-looked:
					return nil
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			})
			if err != nil {
				cancel(err) // the first one is kept
			}
		})
	}
	for range openers {
		select {
		case <-held:
		case <-ctx.Done():
		}
	}
	if ctx.Err() == nil {
		if err := look(ctx); err != nil {
			cancel(err)
		}
	}
	close(looked)
	generators.Wait()
	return outcomes, context.Cause(ctx)
}
