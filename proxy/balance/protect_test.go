package balance

import (
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lbnode/lbnode/proxy/internal/viewtest"
	"github.com/lbnode/lbnode/proxy/upstream"
	"github.com/lbnode/lbnode/state"
	"github.com/lbnode/lbnode/stats"
)

// TestConformance_slowStart: one of four backends of equal weight comes up, and grows into a quarter.
func TestConformance_slowStart(t *testing.T) {
	t.Parallel()
	for _, alg := range state.Algorithms() {
		synctest.Test(t, func(t *testing.T) {
			reg, err := stats.New(stats.Config{Now: time.Now, Shards: 1})
			if err != nil {
				t.Fatal(err)
			}
			cfg := upstream.DefaultConfig()
			cfg.Logger, cfg.Stats = slog.New(slog.DiscardHandler), reg
			set, err := upstream.NewSet(cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer set.Close()
			v := viewtest.New(t).Put(state.KindPool, `{"id":"p","slow_start":"100s"}`)
			for i := range 4 {
				v.Put(state.KindBackend, fmt.Sprintf(`{"id":"b%d","address":"h:%d","pool":"p"}`, i, i+1))
			}
			set.Update(v.Verdict(state.VerdictUp).View())
			set.Update(v.Verdict(state.VerdictDown, "b2").View())
			set.Update(v.Verdict(state.VerdictUp, "b2").View())
			var members []Member
			for i := range 4 {
				members = append(members, Member{set.Get(fmt.Sprintf("b%d", i)), 1})
			}
			p := New(alg, members)
			// Twelve requests are always in flight, as the algorithms that look at them need some.
			share := func() float64 {
				const n = 4000
				var running []upstream.Attempt
				hits := 0
				for i := range n {
					u := p.Pick(mix(uint64(i)), upstream.New, nil)
					if u == nil {
						t.Fatalf("%s: nothing picked", alg)
					}
					if u.ID() == "b2" {
						hits++
					}
					a, _ := u.Begin(upstream.New)
					running = append(running, a)
					if len(running) > 12 {
						running[0].End(upstream.Outcome{Status: 200, FirstByte: time.Millisecond})
						running = running[1:]
					}
				}
				for _, a := range running {
					a.End(upstream.Outcome{Status: 200, FirstByte: time.Millisecond})
				}
				return float64(hits) / n
			}
			early := share()
			time.Sleep(50 * time.Second) // of the bubble's time
			middle := share()
			time.Sleep(50 * time.Second)
			full := share()
			t.Logf("%s: %.3f %.3f %.3f", alg, early, middle, full)
			if early > 0.10 || early <= 0 {
				t.Errorf("%s: the share at the beginning is %.3f, want about 0.03", alg, early)
			}
			if middle <= early || middle > 0.22 || middle < 0.06 {
				t.Errorf("%s: the share half way is %.3f, want about 0.15", alg, middle)
			}
			if full < 0.22 || full > 0.28 {
				t.Errorf("%s: the share in the end is %.3f, want 0.25", alg, full)
			}
		})
	}
}

// TestConformance_limit: full backends are not picked, by any algorithm.
func TestConformance_limit(t *testing.T) {
	t.Parallel()
	forAll(t, func(t *testing.T, alg state.Algorithm) {
		reg, err := stats.New(stats.DefaultConfig())
		if err != nil {
			t.Fatal(err)
		}
		cfg := upstream.DefaultConfig()
		cfg.Logger, cfg.Stats = slog.New(slog.DiscardHandler), reg
		set, err := upstream.NewSet(cfg)
		if err != nil {
			t.Fatal(err)
		}
		v := viewtest.New(t).Put(state.KindPool, `{"id":"p","health":{"type":"none"},"max_connections":3}`)
		var members []Member
		for i := range 5 {
			v.Put(state.KindBackend, fmt.Sprintf(`{"id":"b%d","address":"h:%d","pool":"p"}`, i, i+1))
		}
		set.Update(v.View())
		for i := range 5 {
			members = append(members, Member{set.Get(fmt.Sprintf("b%d", i)), 1})
		}
		p := New(alg, members)
		for i := range 15 {
			u := p.Pick(mix(uint64(i)), upstream.New, nil)
			if u == nil {
				t.Fatalf("pick %d found nobody", i)
			}
			if _, ok := u.Begin(upstream.New); !ok {
				t.Fatalf("pick %d is full", i)
			}
		}
		if u := p.Pick(1, upstream.New, nil); u != nil {
			t.Errorf("Pick = %s, although all are full", u.ID())
		}
	})
}

func TestLeastLoad(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1, 1, 1)
	p := New(state.LeastLoad, f.members)
	f.set.SetLoad("b0000", 10)
	f.set.SetLoad("b0001", 20)
	f.set.SetLoad("b0002", 40)
	if u := p.Pick(0, upstream.New, nil); u != f.members[0].Upstream {
		t.Errorf("Pick = %s, want the least loaded", u.ID())
	}
	// A figure that is not renewed must not draw everybody for ever.
	got := map[string]int{}
	for range 70 {
		got[p.Pick(0, upstream.New, nil).ID()]++
	}
	if got["b0000"] < 30 || got["b0001"] < 12 || got["b0002"] < 4 {
		t.Errorf("70 picks at loads 10, 20 and 40 went %v", got)
	}
}
