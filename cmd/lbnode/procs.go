package main

import (
	"os"
	"runtime"

	"github.com/lbnode/lbnode/internal/config"
)

// spareProcessor gives the process one processor more than the machine has, so that event loops, one for each
// core, leave one for everything else: with as many processors as saturated loops a ticker of 5 ms was 15 ms late
// at the median, and Raft's heartbeats depend on such. An operator who sets GOMAXPROCS is left alone: one
// processor of those goes without a loop then.
func spareProcessor(engine string) {
	if runtime.GOOS == "linux" && engine != config.EnginePortable && os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(min(runtime.GOMAXPROCS(0), runtime.NumCPU()) + 1)
	}
}
