package telemetry

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// ExportAccessLog exports what an access log counts: lines written, entries dropped because the queue was full, and
// failed writes.
func ExportAccessLog(reg prometheus.Registerer, counters func() (lines, dropped, failed uint64)) error {
	for _, c := range []struct {
		name, help string
		pick       func(lines, dropped, failed uint64) uint64
	}{
		{"lines_total", "Lines written to the access log.", func(n, _, _ uint64) uint64 { return n }},
		{"dropped_total", "Entries of the access log that were dropped, because its writer could not keep up.", func(_, n, _ uint64) uint64 { return n }},
		{"errors_total", "Writes to the access log that failed.", func(_, _, n uint64) uint64 { return n }},
	} {
		f := prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "lb_access_log_" + c.name, Help: c.help}, func() float64 { return float64(c.pick(counters())) })
		if err := reg.Register(f); err != nil {
			return fmt.Errorf("register metrics: %w", err)
		}
	}
	return nil
}
