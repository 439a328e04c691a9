//go:build pulse

package main

import (
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"
)

// A node built with the tag "pulse" watches how late a short ticker fires beside its event loops, as Raft's heartbeats
// depend on such. Each SIGUSR1 prints what was seen since the last one. The comparison in bench uses it.
var _ = startPulse()

const pulse = 5 * time.Millisecond

func startPulse() struct{} {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR1)
	go func() {
		var late []time.Duration
		ticker := time.NewTicker(pulse)
		last := time.Now()
		for {
			select {
			case <-asked:
				printPulse(late)
				late = late[:0]
			case <-ticker.C:
				now := time.Now()
				late = append(late, max(now.Sub(last)-pulse, 0))
				last = now
			}
		}
	}()
	return struct{}{}
}

func printPulse(late []time.Duration) {
	if len(late) == 0 {
		return
	}
	slices.Sort(late)
	at := func(q float64) float64 {
		return float64(late[int(q*float64(len(late)-1))]) / float64(time.Millisecond)
	}
	fmt.Printf("pulse n=%d p50=%.3f p99=%.3f max=%.3f\n", len(late), at(.5), at(.99), at(1))
}
