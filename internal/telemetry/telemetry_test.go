package telemetry

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	metrics "github.com/armon/go-metrics"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/lbnode/lbnode/stats"
)

func TestNewLogger_formats(t *testing.T) {
	t.Parallel()
	for format, want := range map[string]string{"text": "msg=hello", "json": `"msg":"hello"`} {
		var b bytes.Buffer
		log := NewLogger(&b, format, slog.LevelInfo)
		log.Debug("hidden")
		log.Info("hello")
		if !strings.Contains(b.String(), want) || strings.Contains(b.String(), "hidden") {
			t.Errorf("%s log = %q", format, b.String())
		}
	}
}

func TestRegistry_exportsRequests(t *testing.T) {
	t.Parallel()
	requests, err := stats.New(stats.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range []*stats.Handle{requests.Total(), requests.Route("r1"), requests.Backend("b1")} {
		h.Begin()
		h.Record(stats.Outcome{Status: 200, Duration: 3 * time.Millisecond, BytesOut: 7})
		h.Begin()
		h.Record(stats.Outcome{Status: 502, Kind: stats.ConnectFailed, Duration: time.Millisecond})
	}
	reg, err := NewRegistry(requests, "v1")
	if err != nil {
		t.Fatal(err)
	}
	want := `
# HELP lb_backend_requests_total Requests that ended, by class of the status per backend.
# TYPE lb_backend_requests_total counter
lb_backend_requests_total{backend="b1",class="1xx"} 0
lb_backend_requests_total{backend="b1",class="2xx"} 1
lb_backend_requests_total{backend="b1",class="3xx"} 0
lb_backend_requests_total{backend="b1",class="4xx"} 0
lb_backend_requests_total{backend="b1",class="5xx"} 1
lb_backend_requests_total{backend="b1",class="none"} 0
# HELP lb_proxy_sent_bytes_total Bytes sent to clients per node.
# TYPE lb_proxy_sent_bytes_total counter
lb_proxy_sent_bytes_total 7
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "lb_backend_requests_total", "lb_proxy_sent_bytes_total"); err != nil {
		t.Error(err)
	}
	if n, err := testutil.GatherAndCount(reg, "lb_route_request_duration_seconds", "lb_build_info", "go_goroutines"); err != nil || n != 3 {
		t.Errorf("gathered %d metrics, %v; want 3", n, err)
	}
}

func TestExportLibraries_reachesTheSameRegistry(t *testing.T) {
	requests, err := stats.New(stats.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	reg, err := NewRegistry(requests, "v1")
	if err != nil {
		t.Fatal(err)
	}
	if err := ExportLibraries(reg); err != nil {
		t.Fatal(err)
	}
	metrics.IncrCounter([]string{"raft", "apply"}, 1)
	if n, err := testutil.GatherAndCount(reg, "lb_raft_apply"); err != nil || n != 1 {
		t.Errorf("gathered %d of lb_raft_apply, %v; want 1", n, err)
	}
	if err := ExportLibraries(reg); err != nil {
		t.Errorf("a second call: %v", err)
	}
}
