package node

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/lbnode/lbnode/proxy/upstream"
)

// poolMetrics exports what pools and backends are at on this node, beside the counters of package stats. It looks
// when it is asked.
type poolMetrics struct {
	set                                        *upstream.Set
	waiting, queued, refused, timedOut         *prometheus.Desc
	ejectedIn, ejected, limit, share, ejection *prometheus.Desc
}

func newPoolMetrics(set *upstream.Set) *poolMetrics {
	pool := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("lb_pool_"+name, help, []string{"pool"}, nil)
	}
	backend := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("lb_backend_"+name, help, []string{"backend"}, nil)
	}
	return &poolMetrics{
		set:       set,
		waiting:   pool("queue_waiting_requests", "Requests that wait for a backend below max_connections."),
		queued:    pool("queue_entered_total", "Requests that had to wait for a backend below max_connections."),
		refused:   pool("queue_refused_total", "Requests that were refused because the queue was full, or there was none."),
		timedOut:  pool("queue_timeouts_total", "Requests that waited for longer than queue.timeout."),
		ejectedIn: pool("ejected_backends", "Backends that this node has ejected after failures in a row."),
		ejected:   backend("ejected", "1 while this node has the backend ejected."),
		ejection:  backend("ejections_total", "How often this node has ejected the backend."),
		limit:     backend("max_requests", "Requests that this node may have on the backend at a time; 0 = no bound."),
		share:     backend("share_ratio", "Part of its weight that the backend gets; below 1 in slow start."),
	}
}

// Describe implements [prometheus.Collector].
func (m *poolMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.waiting, m.queued, m.refused, m.timedOut, m.ejectedIn, m.ejected, m.limit, m.share, m.ejection} {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (m *poolMetrics) Collect(ch chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, t prometheus.ValueType, v float64, label string) {
		ch <- prometheus.MustNewConstMetric(d, t, v, label)
	}
	for _, p := range m.set.Pools() {
		send(m.waiting, prometheus.GaugeValue, float64(p.Waiting), p.ID)
		send(m.queued, prometheus.CounterValue, float64(p.Queued), p.ID)
		send(m.refused, prometheus.CounterValue, float64(p.Refused), p.ID)
		send(m.timedOut, prometheus.CounterValue, float64(p.TimedOut), p.ID)
		send(m.ejectedIn, prometheus.GaugeValue, float64(p.Ejected), p.ID)
	}
	// A series for each backend of thousands is only worth it where there is something to tell.
	for id, r := range m.set.Protected() {
		ejected := 0.0
		if r.Ejected {
			ejected = 1
		}
		send(m.ejected, prometheus.GaugeValue, ejected, id)
		send(m.ejection, prometheus.CounterValue, float64(r.EjectionsTotal), id)
		send(m.limit, prometheus.GaugeValue, float64(r.Limit), id)
		send(m.share, prometheus.GaugeValue, r.Share, id)
	}
}
