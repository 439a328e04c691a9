package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lbnode/lbnode/state"
)

const b3Backends = `using environment from: /etc/default/b3scale
[
   {"id":"9E0F6C3A-3b57-4a75-9a7c-6a3a3f5f2d10","node_state":"ready","admin_state":"ready","agent_heartbeat":"2026-01-01T00:00:00Z","agent_ref":"node23","last_error":null,"latency":12000000,
    "meetings_count":1,"attendees_count":7,"load_factor":2.5,"bbb":{"host":"https://node23.bbb.example.org/bigbluebutton/api/","secret":"s23"},"settings":{"tags":["bbb_26"]},
    "created_at":"2025-01-01T00:00:00Z","updated_at":"2025-01-01T00:00:00Z","synced_at":"2026-01-01T00:00:00Z"},
   {"id":"9e0f6c3a-3b57-4a75-9a7c-6a3a3f5f2d11","node_state":"error","admin_state":"decommissioned","agent_ref":null,"load_factor":0,"bbb":{"host":"https://node24.bbb.example.org/bigbluebutton/api/","secret":"s24"},"settings":{"tags":null}}
]
`

const b3Frontends = `[{"id":"1c0c4b0e-6a57-4c0c-8e51-4dd2cf0f7a01","active":false,"bbb":{"key":"greenlight","secret":"gl"},"account_ref":"acc",
 "settings":{"required_tags":["bbb_26"],"default_presentation":{"url":"https://x.example.org/a.pdf","force":true},"attendees_limit":{"limit":100},
 "create_default_params":{"welcome":"hi"},"create_override_params":{"record":"false"},"join_default_params":{},"join_override_params":{"guest":"true"},"recordings":{"visibility_override":"protected"}}}]`

func TestImportB3scale(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := t.TempDir()
	backends, frontends := filepath.Join(dir, "backends.json"), filepath.Join(dir, "frontends.json")
	for name, text := range map[string]string{backends: b3Backends, frontends: b3Frontends} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	line := `lbctl import b3scale ` + backends + ` ` + frontends
	plan := w.must(line + ` --dry`)
	if !strings.Contains(plan.stdout, "plan: 4 created, 0 updated, 0 deleted; nothing was changed\n") || w.store.View().Len(state.KindBackend) != 0 {
		t.Errorf("the plan: %s", plan.stdout)
	}
	if strings.Contains(plan.stdout+plan.stderr, "s23") {
		t.Errorf("the plan shows a secret: %s", plan.stdout)
	}
	got := w.must(line)
	if !strings.Contains(got.stdout, "applied: 4 created") || !strings.Contains(got.stderr, `https://node24.bbb.example.org/bigbluebutton/api/ is "decommissioned" in b3scale and gets stopped here`) {
		t.Errorf("import: %s%s", got.stdout, got.stderr)
	}
	v := w.store.View()
	b, _ := v.Backend("9e0f6c3a-3b57-4a75-9a7c-6a3a3f5f2d10")
	if b == nil || b.Address != "https://node23.bbb.example.org/bigbluebutton/api/" || b.Pool != "bbb" || b.LoadFactor != 2.5 || b.AdminState != state.AdminReady || b.BBB.Secret() != "s23" || b.BBB.AgentRef != "node23" || len(b.Tags) != 1 {
		t.Errorf("backend: %+v", b)
	}
	if other, _ := v.Backend("9e0f6c3a-3b57-4a75-9a7c-6a3a3f5f2d11"); other == nil || other.AdminState != state.AdminStopped || other.LoadFactor != 1 {
		t.Errorf("the decommissioned backend: %+v", other)
	}
	if p, _ := v.Pool("bbb"); p == nil || p.Health.Type != state.CheckBBB {
		t.Errorf("pool: %+v", p)
	}
	f, _ := v.Frontend("1c0c4b0e-6a57-4c0c-8e51-4dd2cf0f7a01")
	want := state.FrontendBBB{
		Disabled: true, AccountRef: "acc", DefaultPresentation: &state.Presentation{URL: "https://x.example.org/a.pdf", Force: true}, AttendeesLimit: 100,
		CreateDefault: map[string]string{"welcome": "hi"}, CreateOverride: map[string]string{"record": "false"}, JoinOverride: map[string]string{"guest": "true"},
		RecordingVisibility: state.VisibilityProtected,
	}
	if f == nil || f.Key != "greenlight" || f.Secret != "gl" || len(f.RequiredTags) != 1 || cmp.Diff(want, f.BBB) != "" {
		t.Errorf("frontend: %+v", f)
	}

	if again := w.line(line); again.code != 64 {
		t.Errorf("again: exit %d, want 64: %s", again.code, again.stdout)
	}
	w.must(`lbctl disable backend 9e0f6c3a-3b57-4a75-9a7c-6a3a3f5f2d10`)
	if again := w.line(line); again.code != 64 {
		t.Errorf("again, after it was disabled: exit %d, want 64: %s", again.code, again.stdout)
	}
	for stdin, code := range map[string]int{`[]`: 64, `{}`: 8, `[{"id":"x"}]`: 8, `[{`: 8, `[{"id":"x","bbb":{"host":"h","key":"k"}}]`: 8} {
		w.stdin = stdin
		if got := w.line(`lbctl import b3scale -`); got.code != code {
			t.Errorf("%s: exit %d, want %d: %s", stdin, got.code, code, got.stderr)
		}
	}
	if got := w.line(`lbctl import b3scale`); got.code != 2 {
		t.Errorf("without a file: exit %d", got.code)
	}
}
