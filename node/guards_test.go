package node

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lbnode/lbnode/internal/auth"
)

// gathered lists the gauges of a collector, by name.
func gathered(t *testing.T, c prometheus.Collector) (out []string) {
	t.Helper()
	reg := prometheus.NewRegistry()
	if err := reg.Register(c); err != nil {
		t.Fatal(err)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if m.GetGauge() != nil {
				out = append(out, fmt.Sprintf("%s=%v", f.GetName(), m.GetGauge().GetValue()))
			}
		}
	}
	return out
}

// What is not let in is counted by its reason, and the disk is shown.
func TestMetrics_refusedAndDisk(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t, "n1")
	cfg.APITokenFile, cfg.MetricsOpen = filepath.Join(t.TempDir(), "api.token"), true
	if err := os.WriteFile(cfg.APITokenFile, []byte(auth.Mint("bootstrap")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	n, _ := runNode(t, cfg)
	ask := func(header string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, apiOf(n)+"/pools", nil)
		if err != nil {
			t.Fatal(err)
		}
		if header != "" {
			req.Header.Set("Authorization", header)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
	}
	ask("")
	ask("Bearer nonsense")
	ask("Bearer " + auth.Mint("nobody"))
	_, text := call(t, "GET", apiOf(n)+"/metrics", "")
	for _, want := range []string{
		`lb_api_refused_total{reason="missing"} 1`, `lb_api_refused_total{reason="malformed"} 1`, `lb_api_refused_total{reason="unknown"} 1`,
		`lb_api_refused_total{reason="expired"} 0`, "lb_node_read_only 0", "lb_data_dir_free_bytes ",
	} {
		if !strings.Contains(text, "\n"+want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
}

// A full disk shows as read-only; one that the system says nothing of shows no bytes.
func TestGuardMetrics_full(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		free int64
		full bool
		want []string
	}{
		"full": {5, true, []string{"lb_data_dir_free_bytes=5", "lb_node_read_only=1"}}, "unknown": {-1, false, []string{"lb_node_read_only=0"}},
	} {
		got := gathered(t, newGuardMetrics(func() (int64, bool) { return tc.free, tc.full }))
		if strings.Join(got, " ") != strings.Join(tc.want, " ") {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}
