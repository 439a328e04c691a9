package api

// The values of ?scope on GET /stats.
const (
	ScopeCluster = "cluster"
	ScopeNode    = "node"
)

// Stats is what the proxies count. Percentiles of the cluster are taken from merged histograms.
type Stats struct {
	Scope   string   `json:"scope"`   // cluster or node
	Nodes   []string `json:"nodes"`   // whose counters these are
	Missing []string `json:"missing"` // nodes that did not answer
	Summary
	Backends map[string]Summary `json:"backends"` // by backend id
	Routes   map[string]Summary `json:"routes"`   // by route id
}

// Summary is one set of counters.
type Summary struct {
	Requests          uint64            `json:"requests"`
	RPS               float64           `json:"rps"` // over the last 10 seconds
	ActiveRequests    int64             `json:"active_requests"`
	ActiveConnections int64             `json:"active_connections"`
	Connections       uint64            `json:"connections"`
	Responses         map[string]uint64 `json:"responses"` // "1xx" … "5xx", "none"
	Errors            map[string]uint64 `json:"errors"`    // by kind
	BytesIn           uint64            `json:"bytes_in"`
	BytesOut          uint64            `json:"bytes_out"`
	MeanLatencyMS     float64           `json:"mean_latency_ms"`
	P50LatencyMS      float64           `json:"p50_latency_ms"`
	P90LatencyMS      float64           `json:"p90_latency_ms"`
	P95LatencyMS      float64           `json:"p95_latency_ms"`
	P99LatencyMS      float64           `json:"p99_latency_ms"`
	P999LatencyMS     float64           `json:"p999_latency_ms"`
}
