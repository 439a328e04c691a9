// Package telemetry makes a node's logger and its Prometheus registry.
//
// [NewLogger] is the one place that chooses a log format. [NewRegistry] exports the request counters of
// package stats ([Collector]), Go's own and the process's figures, and, through a go-metrics sink, what
// raft, raft-boltdb and memberlist report. Package node calls both. Nothing here is on the request path:
// counters are read when Prometheus asks.
package telemetry

import (
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	metrics "github.com/armon/go-metrics"
	gmprom "github.com/armon/go-metrics/prometheus"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/lbnode/lbnode/stats"
)

// NewLogger returns a logger that writes to w in format "text" or "json", leaving out what is below level.
func NewLogger(w io.Writer, format string, level slog.Level) *slog.Logger {
	opts := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// NewRegistry returns a registry with everything a node exports. version labels lb_build_info.
func NewRegistry(requests *stats.Registry, version string) (*prometheus.Registry, error) {
	reg := prometheus.NewRegistry()
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "lb_build_info", Help: "1, labelled with the version.", ConstLabels: prometheus.Labels{"version": version},
	})
	info.Set(1)
	for _, c := range []prometheus.Collector{
		info, NewCollector(requests), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return reg, nil
}

// libraries guards go-metrics' global, which raft and memberlist report to and which holds one sink for
// the process. In a process with several nodes (tests) the first one's registry gets the figures.
var libraries sync.Once

// ExportLibraries sends what raft, raft-boltdb and memberlist measure to reg, as lb_raft_… and
// lb_memberlist_…. Only the first call of a process has an effect, since those libraries know one sink.
func ExportLibraries(reg prometheus.Registerer) (err error) {
	libraries.Do(func() {
		var sink *gmprom.PrometheusSink
		sink, err = gmprom.NewPrometheusSinkFrom(gmprom.PrometheusOpts{Registerer: reg, Expiration: 10 * time.Minute, Name: "lb_libraries"})
		if err != nil {
			return
		}
		cfg := metrics.DefaultConfig("lb")
		cfg.EnableHostname, cfg.EnableRuntimeMetrics = false, false
		_, err = metrics.NewGlobal(cfg, sink)
	})
	return err
}
