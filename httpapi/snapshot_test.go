package httpapi_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/httpapi"
	"github.com/lbnode/lbnode/httpapi/apitest"
	"github.com/lbnode/lbnode/internal/backup"
)

// These two make a body a backup.
const (
	noType   = header("Content-Type: ")
	ofBackup = header("Content-Type: " + api.ContentBackup)
)

func (r reply) restored(t *testing.T) api.RestoreResult {
	t.Helper()
	var out api.RestoreResult
	if err := json.Unmarshal([]byte(r.body), &out); err != nil || r.status != http.StatusOK {
		t.Fatalf("%s = %d %s, %v", r.name, r.status, r.body, err)
	}
	return out
}

func TestSnapshot_saveChangeRestoreRollback(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.do("POST", "/backends", `{"id":"a","address":"h:1","weight":3}`)
	h.do("PUT", "/frontends/f", `{"key":"f","secret":"hush-hush"}`)
	saved := h.do("GET", "/snapshot", "")
	if saved.status != http.StatusOK || saved.header.Get("Content-Type") != api.ContentBackup || strings.Contains(saved.body, "hush-hush") ||
		!strings.Contains(saved.header.Get("Content-Disposition"), ".lbbackup") {
		t.Fatalf("GET /snapshot = %d %v, with the secret: %v", saved.status, saved.header, strings.Contains(saved.body, "hush-hush"))
	}
	before := h.do("GET", "/backends/a", "").body
	h.do("PATCH", "/backends/a", `{"weight":1}`)
	h.do("PATCH", "/frontends/f", `{"secret":"another"}`)
	h.do("POST", "/backends", `{"id":"b","address":"h:2","pool":"other"}`)

	index := h.store.View().Index
	plan := h.do("PUT", "/snapshot?dry_run", saved.body, noType, ofBackup).restored(t)
	if !plan.DryRun || plan.Applied || len(plan.Objects) != 4 || plan.Backup.ClusterID != "test-cluster" || plan.Backup.Node != "n1" || h.store.View().Index != index {
		t.Errorf("dry run: %+v at index %d, want four objects and nothing changed", plan, h.store.View().Index)
	}
	done := h.do("PUT", "/snapshot", saved.body, noType, ofBackup, "Idempotency-Key: k1").restored(t)
	if !done.Applied || done.Index != index+1 || len(done.Objects) != 4 {
		t.Errorf("restore: %+v, want four objects at %d", done, index+1)
	}
	if strings.Contains(h.do("GET", "/history", "").body, "hush-hush") {
		t.Error("the history shows the secret")
	}
	if f, _ := h.store.View().Frontend("f"); f.Secret != "hush-hush" {
		t.Errorf("the secret became %q", f.Secret)
	}
	if h.do("GET", "/backends/b", "").status != http.StatusNotFound || !strings.Contains(before, `"weight":3`) || !strings.Contains(h.do("GET", "/backends/a", "").body, `"weight":3`) {
		t.Error("the backends are not as they were")
	}
	if again := h.do("PUT", "/snapshot", saved.body, noType, ofBackup, "Idempotency-Key: k1").restored(t); !again.Applied || again.Index != done.Index {
		t.Errorf("the repeated request: %+v, want the first answer", again)
	}
	if none := h.do("PUT", "/snapshot", saved.body, noType, ofBackup).restored(t); none.Applied || len(none.Objects) != 0 {
		t.Errorf("a restore of what is there: %+v", none)
	}
	if back := h.do("POST", "/history/"+itoa(done.Index)+"/rollback", ""); back.status != http.StatusOK {
		t.Fatalf("rollback = %d %s", back.status, back.body)
	}
	if f, _ := h.store.View().Frontend("f"); f.Secret != "another" || h.do("GET", "/backends/b", "").status != http.StatusOK {
		t.Error("the rollback did not bring back what was before the restore")
	}
}

func itoa(n uint64) string { b, _ := json.Marshal(n); return string(b) }

func TestSnapshot_restoreRefuses(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.do("PUT", "/frontends/f", `{"key":"f","secret":"hush-hush"}`)
	saved := h.do("GET", "/snapshot", "").body
	var foreign bytes.Buffer
	box, _ := (&apitest.Backups{Keys: []byte{1}}).Box()
	if err := backup.Write(&foreign, backup.Header{}, h.store.View().Renamed("c2"), box); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		h            *harness
		query, body  string
		status       int
		code, detail string
	}{
		"another cluster": {h, "", foreign.String(), http.StatusConflict, api.CodeOtherCluster, "c2"},
		"damaged":         {h, "", saved[:len(saved)-9], http.StatusBadRequest, api.CodeInvalid, "cut short"},
		"something else":  {h, "", "{}\n", http.StatusBadRequest, api.CodeInvalid, "header"},
		"keep":            {h, "?keep=backend", saved, http.StatusBadRequest, api.CodeInvalid, "query"},
		"another key": {
			newHarness(t, func(c *httpapi.Config) { c.Backups = &apitest.Backups{Keys: []byte{2}} }), "", saved, http.StatusBadRequest, api.CodeInvalid, "--key-file",
		},
	} {
		before := tc.h.store.View().Index
		got := tc.h.do("PUT", "/snapshot"+tc.query, tc.body, noType, ofBackup)
		var p api.Problem
		if err := json.Unmarshal([]byte(got.body), &p); err != nil || got.status != tc.status || p.Code != tc.code || !strings.Contains(p.Detail, tc.detail) {
			t.Errorf("%s: %d %s, want %d %s with %q", name, got.status, got.body, tc.status, tc.code, tc.detail)
		}
		if tc.h.store.View().Index != before {
			t.Errorf("%s: something was changed", name)
		}
	}
	if got := newHarness(t).do("PUT", "/snapshot?other_cluster", foreign.String(), noType, ofBackup).restored(t); !got.Applied {
		t.Errorf("other_cluster: %+v", got)
	}
	rotated := newHarness(t, func(c *httpapi.Config) { c.Backups = &apitest.Backups{Keys: []byte{2, 1}} })
	if got := rotated.do("PUT", "/snapshot", saved, noType, ofBackup).restored(t); !got.Applied {
		t.Errorf("with the old key among the keys: %+v", got)
	}
}

func TestSnapshot_schedule(t *testing.T) {
	t.Parallel()
	got := newHarness(t).do("GET", "/snapshot/schedule", "")
	if got.status != http.StatusOK || !strings.Contains(got.body, `"enabled":false`) || !strings.Contains(got.body, `"last_success":null`) {
		t.Errorf("GET /snapshot/schedule = %d %s", got.status, got.body)
	}
}

// The bounds that the API names are those of the format.
func TestSnapshot_bounds(t *testing.T) {
	t.Parallel()
	if backup.MaxSize != api.MaxBackup || backup.ContentType != api.ContentBackup {
		t.Error("packages backup and api differ")
	}
}
