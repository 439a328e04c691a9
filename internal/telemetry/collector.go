package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lbnode/lbnode/stats"
)

// bounds are the upper bounds of the exported latency histogram. The histograms inside are finer; these
// are what is worth a time series each.
var bounds = []time.Duration{
	500 * time.Microsecond, time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond,
	25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second, 30 * time.Second,
}

// Collector exports a [stats.Registry] to Prometheus. It copies the counters when it is asked.
type Collector struct {
	requests *stats.Registry
	scopes   map[stats.Scope]scope
}

// scope is the metrics of one kind of handle; label is what its id is called, "" for the whole node.
type scope struct{ requests, errors, active, conns, in, out, latency *prometheus.Desc }

var classes = [...]string{"none", "1xx", "2xx", "3xx", "4xx", "5xx"}

// NewCollector returns a collector for one node's counters.
func NewCollector(requests *stats.Registry) *Collector {
	return &Collector{requests: requests, scopes: map[stats.Scope]scope{
		stats.Total:   newScope("proxy", "node"),
		stats.Route:   newScope("route", "route", "route"),
		stats.Backend: newScope("backend", "backend", "backend"),
	}}
}

func newScope(area, of string, labels ...string) scope {
	desc := func(name, help string, more ...string) *prometheus.Desc {
		return prometheus.NewDesc("lb_"+area+"_"+name, help+" per "+of+".", append(append([]string{}, labels...), more...), nil)
	}
	return scope{
		requests: desc("requests_total", "Requests that ended, by class of the status", "class"),
		errors:   desc("errors_total", "Requests that ended badly and events on the way, by kind", "kind"),
		active:   desc("active_requests", "Requests in flight"),
		conns:    desc("open_connections", "Connections open"),
		in:       desc("received_bytes_total", "Bytes received from clients"),
		out:      desc("sent_bytes_total", "Bytes sent to clients"),
		latency:  desc("request_duration_seconds", "Time from the request's head to the last byte of the answer"),
	}
}

// Describe implements [prometheus.Collector].
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, s := range c.scopes {
		for _, d := range []*prometheus.Desc{s.requests, s.errors, s.active, s.conns, s.in, s.out, s.latency} {
			ch <- d
		}
	}
}

// Collect implements [prometheus.Collector].
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	for key, series := range c.requests.All() {
		var labels []string
		if key.Scope != stats.Total {
			labels = []string{key.ID}
		}
		c.scopes[key.Scope].collect(ch, series, labels)
	}
}

func (s scope) collect(ch chan<- prometheus.Metric, v stats.Series, labels []string) {
	with := func(more string) []string { return append(append([]string{}, labels...), more) }
	for i, class := range classes {
		ch <- prometheus.MustNewConstMetric(s.requests, prometheus.CounterValue, float64(v.Classes[i]), with(class)...)
	}
	for _, k := range stats.Kinds() {
		ch <- prometheus.MustNewConstMetric(s.errors, prometheus.CounterValue, float64(v.Errors[k.String()]), with(k.String())...)
	}
	ch <- prometheus.MustNewConstMetric(s.active, prometheus.GaugeValue, float64(v.Active), labels...)
	ch <- prometheus.MustNewConstMetric(s.conns, prometheus.GaugeValue, float64(v.Conns), labels...)
	ch <- prometheus.MustNewConstMetric(s.in, prometheus.CounterValue, float64(v.BytesIn), labels...)
	ch <- prometheus.MustNewConstMetric(s.out, prometheus.CounterValue, float64(v.BytesOut), labels...)
	buckets := make(map[float64]uint64, len(bounds))
	for i, n := range v.Latency.Cumulative(bounds) {
		buckets[bounds[i].Seconds()] = n
	}
	ch <- prometheus.MustNewConstHistogram(s.latency, v.Latency.Count(), float64(v.Latency.Sum)/1e9, buckets, labels...)
}
