package node

import (
	"net/http"
	"testing"
)

// TestForget_keepsWhatIsThere deletes a route and a backend: their counters go, the others stay.
func TestForget_keepsWhatIsThere(t *testing.T) {
	t.Parallel()
	n, _ := runNode(t, testConfig(t, "one"))
	api := "http://" + n.APIAddr().String()
	eventually(t, "readiness", func() bool { s, _ := call(t, "GET", api+"/readyz", ""); return s == http.StatusOK })
	for _, id := range []string{"gone", "kept"} {
		call(t, "PUT", api+"/backends/"+id, `{"address":"127.0.0.1:1"}`)
		call(t, "PUT", api+"/routes/"+id, `{"match":{"path":"/`+id+`"},"backend_pool":"default"}`)
	}
	eventually(t, "counters of both", func() bool {
		s := n.requests.Snapshot("one")
		return len(s.Routes) == 2 && len(s.Backends) == 2
	})
	n.forget(n.store.View())
	call(t, "DELETE", api+"/routes/gone", "")
	call(t, "DELETE", api+"/backends/gone?force=true", "")
	eventually(t, "counters of one", func() bool {
		n.forget(n.store.View())
		s := n.requests.Snapshot("one")
		_, route := s.Routes["kept"]
		_, backend := s.Backends["kept"]
		return len(s.Routes) == 1 && len(s.Backends) == 1 && route && backend
	})
}
