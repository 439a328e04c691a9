package node

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestNode_accessLog serves a request, rotates the log, serves another, and reads both files and the metrics.
func TestNode_accessLog(t *testing.T) {
	t.Parallel()
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") }))
	defer backend.Close()
	cfg := testConfig(t, "one")
	cfg.AccessLog = filepath.Join(t.TempDir(), "access.log")
	n, stop := runNode(t, cfg)
	api := "http://" + n.APIAddr().String()
	eventually(t, "readiness", func() bool { s, _ := call(t, "GET", api+"/readyz", ""); return s == http.StatusOK })
	call(t, "POST", api+"/pools", `{"id":"default","health":{"type":"none"}}`)
	call(t, "POST", api+"/backends", fmt.Sprintf(`{"id":"b","address":%q}`, backend.Listener.Addr()))
	call(t, "POST", api+"/routes", `{"id":"r","match":{"path":"/"},"backend_pool":"default"}`)
	eventually(t, "an answer through the proxy", func() bool {
		s, _ := call(t, "GET", "http://"+n.ProxyAddrs()[0].String()+"/before", "")
		return s == http.StatusOK
	})
	if err := os.Rename(cfg.AccessLog, cfg.AccessLog+".1"); err != nil {
		t.Fatal(err)
	}
	n.Reload()
	call(t, "GET", "http://"+n.ProxyAddrs()[0].String()+"/after", "")
	eventually(t, "the line in the new file", func() bool {
		b, err := os.ReadFile(cfg.AccessLog)
		return err == nil && strings.Contains(string(b), "\n")
	})
	if _, metrics := call(t, "GET", api+"/metrics", ""); !strings.Contains(metrics, "\nlb_access_log_dropped_total 0\n") {
		t.Error("/metrics has no lb_access_log_dropped_total")
	}
	stop()
	old, err := os.ReadFile(cfg.AccessLog + ".1")
	if err != nil || !strings.Contains(string(old), `"path":"/before"`) || strings.Contains(string(old), `"path":"/after"`) {
		t.Errorf("the rotated file holds %s, %v", old, err)
	}
	b, err := os.ReadFile(cfg.AccessLog)
	if err != nil {
		t.Fatal(err)
	}
	var line struct {
		Node, Path, Route, Pool, Backend, Protocol string
		Status, Attempts                           int
		RequestID                                  string `json:"request_id"`
	}
	if err := json.Unmarshal(b, &line); err != nil || line.Node != "one" || line.Path != "/after" || line.Backend != "b" || line.Pool != "default" || line.Status != 200 || line.Attempts != 1 || line.RequestID == "" {
		t.Errorf("the new file holds %s, %v", b, err)
	}
}
