package proxy_test

import (
	"fmt"
	"testing"

	"github.com/lbnode/lbnode/proxy"
	"github.com/lbnode/lbnode/proxy/internal/viewtest"
	"github.com/lbnode/lbnode/proxy/route"
	"github.com/lbnode/lbnode/proxy/upstream"
	"github.com/lbnode/lbnode/state"
)

// large is a configuration of so many backends in so many pools and so many routes, with all backends up. The first
// pool has half of the backends.
func large(tb testing.TB, backends, pools, routes int) *viewtest.Builder {
	tb.Helper()
	b := viewtest.New(tb)
	docs := make([]string, backends)
	for i := range docs {
		pool := 0
		if i >= backends/2 {
			pool = i % pools
		}
		docs[i] = fmt.Sprintf(`{"id":"b%05d","address":"10.1.%d.%d:80","pool":"p%d"}`, i, i/250, i%250+1, pool)
	}
	b.Put(state.KindBackend, docs...).Verdict(state.VerdictUp)
	docs = make([]string, routes)
	for i := range docs {
		docs[i] = fmt.Sprintf(`{"id":"r%d","backend_pool":"p%d","match":{"path":"/svc%d/api"}}`, i, i%pools, i)
	}
	return b.Put(state.KindRoute, docs...)
}

// BenchmarkUpdate is the time from a view with one change to the snapshot in force, of 10,000 backends and 50,000 routes.
func BenchmarkUpdate(b *testing.B) {
	base := large(b, 10_000, 100, 50_000)
	p := newProxy(b)
	update(b, p, base.View())
	for _, path := range []string{"/svc0/api", "/svc1/api"} {
		var x proxy.Exchange
		if f := p.Route(&x, &route.Request{Method: "GET", Path: path}); f != nil {
			b.Fatal(f)
		}
		if a, f := x.Next(nil); f == nil {
			a.End(upstream.Outcome{})
		}
	}
	one := func(name string, change func(i int)) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				b.StopTimer()
				i++
				change(i)
				b.StartTimer()
				if err := p.Update(base.View()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	one("verdict", func(i int) {
		base.Verdict([]state.Verdict{state.VerdictUp, state.VerdictDown}[i%2], "b00007")
	})
	one("admin state", func(i int) {
		base.Admin([]state.AdminState{state.AdminReady, state.AdminStopped}[i%2], "b00007")
	})
	one("weight in a pool of 5000", func(i int) {
		base.Put(state.KindBackend, fmt.Sprintf(`{"id":"b00007","address":"10.0.0.1:80","pool":"p0","weight":%d}`, 2+i%2))
	})
	one("weight in a pool of 50", func(i int) {
		base.Put(state.KindBackend, fmt.Sprintf(`{"id":"b07001","address":"10.0.0.1:80","pool":"p1","weight":%d}`, 2+i%2))
	})
	one("route", func(i int) {
		base.Put(state.KindRoute, fmt.Sprintf(`{"id":"r7","backend_pool":"p1","match":{"path":"/svc%d/other"}}`, 7+i%2))
	})
	one("all verdicts", func(i int) {
		base.Verdict([]state.Verdict{state.VerdictUp, state.VerdictDown}[i%2])
	})
}
