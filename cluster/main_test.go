package cluster

import (
	"flag"
	"strconv"
	"testing"

	"go.uber.org/goleak"
)

// atOnce is how many tests run at once at least: most of their time they wait for timeouts of real length.
const atOnce = 6

// TestMain checks that no test leaves a goroutine behind, but for memberlist's
// loops, which end by themselves some time after they were told to, and what waits
// for a future that Raft dropped: entries that were committed but not yet applied
// when Raft was shut down are never answered (raft v1.7.3, runFSM leaves its queue
// behind; only some futures also wait for the shutdown).
func TestMain(m *testing.M) {
	flag.Parse()
	if n, err := strconv.Atoi(flag.Lookup("test.parallel").Value.String()); err == nil && n < atOnce {
		if err := flag.Set("test.parallel", strconv.Itoa(atOnce)); err != nil {
			panic(err)
		}
	}
	goleak.VerifyTestMain(
		m,
		goleak.IgnoreAnyFunction("github.com/hashicorp/memberlist.(*Memberlist).triggerFunc"),
		goleak.IgnoreAnyFunction("github.com/hashicorp/memberlist.(*Memberlist).pushPullTrigger"),
		goleak.IgnoreTopFunction("github.com/hashicorp/raft.(*deferError).Error"),
	)
}
