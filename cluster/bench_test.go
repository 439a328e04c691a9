package cluster

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// benchCluster is three voters with production's timing; what only makes tests
// wait is shortened.
func benchCluster(b *testing.B) []*member {
	b.Helper()
	var all []*member
	for _, id := range []string{"a", "b", "c"} {
		cfg := testConfig(b, id)
		for _, m := range all {
			cfg.Join = append(cfg.Join, m.Advertise())
		}
		m := start(b, cfg)
		m.waitJoined()
		all = append(all, m)
	}
	waitVoters(b, all, "a", "b", "c")
	return all
}

// BenchmarkPropose writes one command after the other.
func BenchmarkPropose(b *testing.B) {
	for _, from := range []string{"leader", "follower"} {
		b.Run(from, func(b *testing.B) {
			all := benchCluster(b)
			m := leaderOf(b, all)
			if from == "follower" {
				m = others(all, m)[0]
			}
			b.ReportAllocs()
			for b.Loop() {
				m.propose("x")
			}
		})
	}
}

// BenchmarkReadIndex asks for one linearizable read index after the other.
func BenchmarkReadIndex(b *testing.B) {
	all := benchCluster(b)
	m := others(all, leaderOf(b, all))[0]
	m.propose("x")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.ReadIndex(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFailover kills the leader and measures until a write through one of
// the others is acknowledged.
func BenchmarkFailover(b *testing.B) {
	all := benchCluster(b)
	var gaps []time.Duration
	for b.Loop() {
		leader := leaderOf(b, all)
		rest := others(all, leader)
		i := slices.Index(all, leader)
		begun := time.Now()
		leader.kill()
		rest[len(gaps)%2].proposeUntil(fmt.Sprintf("after kill %d", len(gaps)))
		gaps = append(gaps, time.Since(begun))
		all[i] = leader.again(nil)
		waitVoters(b, all, "a", "b", "c")
		sameState(b, all)
	}
	slices.Sort(gaps)
	b.ReportMetric(float64(gaps[len(gaps)/2].Milliseconds()), "ms-median")
	b.ReportMetric(float64(gaps[len(gaps)-1].Milliseconds()), "ms-max")
}

// BenchmarkQuiet lets three nodes do nothing but lead and follow for a while and
// counts elections, which there should be none of; run it beside a full machine.
func BenchmarkQuiet(b *testing.B) {
	all := benchCluster(b)
	before := all[0].Status().Term
	for b.Loop() {
		t := time.NewTimer(time.Second)
		<-t.C
	}
	eventually(b, "there is a leader", func() bool { return all[0].Status().LeaderID != "" })
	b.ReportMetric(float64(all[0].Status().Term-before), "elections")
}
