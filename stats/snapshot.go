package stats

import (
	"maps"
	"slices"
	"time"
)

// Snapshot is what one node, or after Merge several, have counted. It is plain data: JSON carries it from
// node to node without loss.
type Snapshot struct {
	Nodes    []string          `json:"nodes"` // whose counters these are, sorted
	Total    Series            `json:"total"`
	Routes   map[string]Series `json:"routes"`   // by route id
	Backends map[string]Series `json:"backends"` // by backend id
}

// Series is the counters of one handle, or the sum of those of several nodes.
type Series struct {
	Classes     [classes]uint64   `json:"classes"`  // requests by status/100; [0] = ended without a status
	Errors      map[string]uint64 `json:"errors"`   // by Kind.String; only what happened
	BytesIn     uint64            `json:"bytes_in"` // from clients
	BytesOut    uint64            `json:"bytes_out"`
	Active      int64             `json:"active"`       // requests in flight
	Conns       int64             `json:"conns"`        // connections open
	ConnsOpened uint64            `json:"conns_opened"` // connections since the start
	RateMilli   uint64            `json:"rate_milli"`   // thousandths of a request per second, over the last 10 s
	Latency     HistSnapshot      `json:"latency"`
}

// Requests is the number of requests that ended.
func (s Series) Requests() uint64 {
	var n uint64
	for _, c := range s.Classes {
		n += c
	}
	return n
}

// RPS is the rate in requests per second over the last 10 seconds.
func (s Series) RPS() float64 { return float64(s.RateMilli) / 1000 }

// Merge adds two series. It is commutative and associative, with the zero value as its identity.
func (s Series) Merge(o Series) Series {
	m := s
	m.Errors = make(map[string]uint64, max(len(s.Errors), len(o.Errors)))
	maps.Copy(m.Errors, s.Errors)
	for k, n := range o.Errors {
		m.Errors[k] += n
	}
	for i := range m.Classes {
		m.Classes[i] += o.Classes[i]
	}
	m.BytesIn += o.BytesIn
	m.BytesOut += o.BytesOut
	m.Active += o.Active
	m.Conns += o.Conns
	m.ConnsOpened += o.ConnsOpened
	m.RateMilli += o.RateMilli
	m.Latency = s.Latency.Merge(o.Latency)
	return m
}

// Merge adds two snapshots and shares no memory with them. It is commutative and associative, with the
// zero value as its identity; it is not idempotent, so a node must be merged in only once.
func (s Snapshot) Merge(o Snapshot) Snapshot {
	nodes := slices.Concat(s.Nodes, o.Nodes)
	slices.Sort(nodes)
	return Snapshot{
		Nodes:    slices.Compact(nodes),
		Total:    s.Total.Merge(o.Total),
		Routes:   mergeMaps(s.Routes, o.Routes),
		Backends: mergeMaps(s.Backends, o.Backends),
	}
}

func mergeMaps(a, b map[string]Series) map[string]Series {
	m := make(map[string]Series, max(len(a), len(b)))
	for k, v := range a {
		m[k] = v.Merge(b[k])
	}
	for k, v := range b {
		if _, done := a[k]; !done {
			m[k] = Series{}.Merge(v)
		}
	}
	return m
}

// Summary is a series as a person reads it. Every field is always present in its JSON form.
type Summary struct {
	Requests          uint64            `json:"requests"`
	RPS               float64           `json:"rps"`
	ActiveRequests    int64             `json:"active_requests"`
	ActiveConnections int64             `json:"active_connections"`
	Connections       uint64            `json:"connections"`
	Responses         map[string]uint64 `json:"responses"` // "1xx" … "5xx", "none"
	Errors            map[string]uint64 `json:"errors"`    // every kind, zeros included
	BytesIn           uint64            `json:"bytes_in"`
	BytesOut          uint64            `json:"bytes_out"`
	MeanLatency       float64           `json:"mean_latency_ms"`
	P50               float64           `json:"p50_latency_ms"`
	P90               float64           `json:"p90_latency_ms"`
	P95               float64           `json:"p95_latency_ms"`
	P99               float64           `json:"p99_latency_ms"`
	P999              float64           `json:"p999_latency_ms"`
}

// Summary takes percentiles and names what the series counts. Percentiles of a cluster are those of its
// merged histogram: merge first.
func (s Series) Summary() Summary {
	out := Summary{
		Requests: s.Requests(), RPS: s.RPS(), ActiveRequests: s.Active, ActiveConnections: s.Conns,
		Connections: s.ConnsOpened, BytesIn: s.BytesIn, BytesOut: s.BytesOut,
		Responses: make(map[string]uint64, classes), Errors: make(map[string]uint64, kindCount),
		MeanLatency: millis(s.Latency.Mean()),
		P50:         millis(s.Latency.Quantile(0.50)),
		P90:         millis(s.Latency.Quantile(0.90)),
		P95:         millis(s.Latency.Quantile(0.95)),
		P99:         millis(s.Latency.Quantile(0.99)),
		P999:        millis(s.Latency.Quantile(0.999)),
	}
	for i, name := range [classes]string{"none", "1xx", "2xx", "3xx", "4xx", "5xx"} {
		out.Responses[name] = s.Classes[i]
	}
	for _, k := range Kinds() {
		out.Errors[k.String()] = 0
	}
	maps.Copy(out.Errors, s.Errors)
	return out
}

// millis gives milliseconds to the microsecond, so that JSON shows no digits that mean nothing.
func millis(d time.Duration) float64 { return float64(d.Round(time.Microsecond).Microseconds()) / 1000 }
