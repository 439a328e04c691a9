package proxy

import (
	"testing"
	"time"
)

func TestPace_Patience(t *testing.T) {
	t.Parallel()
	const idle = time.Minute
	for _, tt := range []struct {
		name   string
		bytes  int
		waited time.Duration
		idle   time.Duration
		rate   int
		want   time.Duration
	}{
		{"no bound", 0, time.Hour, 0, 0, 0},
		{"idle alone", 0, time.Hour, idle, 0, idle},
		{"beginning", 0, 0, idle, 100, paceGrace},
		{"idle comes first", 100_000, 0, idle, 100, idle},
		{"grace and bytes", 200, 11 * time.Second, idle, 100, time.Second},
		{"half a second", 250, 12 * time.Second, idle, 100, 500 * time.Millisecond},
		{"on the edge", 100, 11 * time.Second, idle, 100, -1},
		{"too slow", 100, 20 * time.Second, idle, 100, -9 * time.Second},
		{"rate alone", 0, 4 * time.Second, 0, 100, 6 * time.Second},
		{"a large body", 1 << 40, 0, 0, 1 << 20, paceGrace + 1<<20*time.Second},
	} {
		var p Pace
		p.Add(tt.bytes/2, tt.waited/2)
		p.Add(tt.bytes-tt.bytes/2, tt.waited-tt.waited/2)
		if got := p.Patience(tt.idle, tt.rate); got != tt.want {
			t.Errorf("%s: Patience() = %s, want %s", tt.name, got, tt.want)
		}
	}
}
