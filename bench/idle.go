package main

import (
	"context"
	"fmt"
	"time"
)

// idleSample is what idle connections cost a proxy.
type idleSample struct {
	PerConn float64 // bytes
	Total   int64   // bytes of the whole proxy, while it holds them
}

// measureIdle opens many connections to each peer, one after the other and freshly started, lets each have one
// answer, and looks at the proxy's memory before and after.
func (l *lab) measureIdle(ctx context.Context, res *results) error {
	res.conns = min(l.cfg.idleConns(), (l.files-1000)/2)
	if res.conns < l.cfg.idleConns() {
		l.skip("idle connections beyond %s: the limit of open files is %s", thousands(res.conns), thousands(l.files))
	}
	kinds := []string{"plain"}
	if l.withTLS {
		kinds = append(kinds, "tls")
	}
	for _, kind := range kinds {
		for _, p := range l.peers {
			if p.floor {
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
	return nil
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
	var after int64
	w.Conns = conns
	args := append(loadArgs(w, r.site, 0, 0), "-i")
	o, err := l.generate(ctx, args, 3*time.Minute, func() error {
		select { // what is only garbage of the handshakes gets a chance to go
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(l.cfg.Time * 2):
		}
		var err error
		after, err = r.proc.memory(pids)
		return err
	})
	if err != nil {
		return idleSample{}, err
	}
	if o.N < conns || o.Errors > 0 {
		return idleSample{}, fmt.Errorf("%s of %s connections are open, %d answers were wrong%s", thousands(o.N), thousands(conns), o.Errors, lastStatus(o.Wrong))
	}
	return idleSample{PerConn: float64(after-before) / float64(conns), Total: after}, nil
}
