package node

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/lbnode/lbnode/httpapi"
)

// guardMetrics exports what keeps operators from changing things: tokens that are refused, and a full disk.
type guardMetrics struct {
	refused        *prometheus.CounterVec // by reason
	free, readOnly *prometheus.Desc
	disk           func() (free int64, full bool)
}

func newGuardMetrics(disk func() (free int64, full bool)) guardMetrics {
	g := guardMetrics{
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lb_api_refused_total", Help: "Requests to the admin API that were not let in, by reason.",
		}, []string{"reason"}),
		free:     prometheus.NewDesc("lb_data_dir_free_bytes", "Bytes that may still be written to the disk of the data directory.", nil, nil),
		readOnly: prometheus.NewDesc("lb_node_read_only", "1 while the disk is full and this node takes no operators' changes as the leader.", nil, nil),
		disk:     disk,
	}
	for _, r := range httpapi.DenialReasons() { // from 0 on, so that the first one is seen as a rise
		g.refused.WithLabelValues(r)
	}
	return g
}

// Describe implements [prometheus.Collector].
func (g guardMetrics) Describe(ch chan<- *prometheus.Desc) {
	g.refused.Describe(ch)
	ch <- g.free
	ch <- g.readOnly
}

// Collect implements [prometheus.Collector].
func (g guardMetrics) Collect(ch chan<- prometheus.Metric) {
	g.refused.Collect(ch)
	free, full := g.disk()
	if free >= 0 { // the system says
		ch <- prometheus.MustNewConstMetric(g.free, prometheus.GaugeValue, float64(free))
	}
	readOnly := 0.0
	if full {
		readOnly = 1
	}
	ch <- prometheus.MustNewConstMetric(g.readOnly, prometheus.GaugeValue, readOnly)
}
