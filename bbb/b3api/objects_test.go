package b3api

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lbnode/lbnode/bbb/load"
	"github.com/lbnode/lbnode/state"
)

func keys(m map[string]any) string { return strings.Join(slices.Sorted(maps.Keys(m)), " ") }

func TestBackends(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.want(scoped("ctl", "b3scale:admin"), "GET", "/backends", "", 200, "[]")
	b := w.ok("POST", "/backends", `{"bbb":{"host":"https://node23.bbb.example.org/bigbluebutton/api/","secret":"s1"},"unknown":1}`)
	id := b["id"].(string)
	if got, want := keys(b), "admin_state agent_heartbeat agent_ref attendees_count bbb created_at id last_error latency load_factor meetings_count node_state settings synced_at updated_at"; got != want {
		t.Errorf("keys\n%s, want\n%s", got, want)
	}
	delete(b, "id")
	if d := cmp.Diff(map[string]any{
		"node_state": "init", "admin_state": "ready", "agent_heartbeat": "2000-01-01T00:00:00Z", "agent_ref": nil, "last_error": nil,
		"latency": 0.0, "meetings_count": 0.0, "attendees_count": 0.0, "load_factor": 1.0, "settings": map[string]any{"tags": nil},
		"bbb":        map[string]any{"host": "https://node23.bbb.example.org/bigbluebutton/api/", "secret": "s1"},
		"created_at": "2026-01-02T03:04:05.000000006Z", "updated_at": "2026-01-02T03:04:05.000000006Z", "synced_at": "0001-01-01T00:00:00Z",
	}, b); d != "" {
		t.Error(d)
	}
	stored, ok := w.View().Backend(id)
	if !ok || stored.Pool != "bbb" {
		t.Fatalf("stored: %+v", stored)
	}
	if p, _ := w.View().Pool("bbb"); p.Health.Type != state.CheckBBB {
		t.Errorf("its pool: %+v", p)
	}

	w.table.Polled(id, []load.Running{{ServerID: "m", Attendees: 7}}, 92*time.Millisecond)
	b = w.ok("GET", "/backends/"+id, "")
	if b["latency"] != 92e6 || b["meetings_count"] != 1.0 || b["attendees_count"] != 7.0 || b["synced_at"] == "0001-01-01T00:00:00Z" {
		t.Errorf("measured: %v", b)
	}

	b = w.ok("PATCH", "/backends/"+id, `{"settings":{"tags":["bbb_26","a"]},"load_factor":2.5,"latency":1,"node_state":"error","id":"x"}`)
	if d := cmp.Diff([]any{"a", "bbb_26"}, b["settings"].(map[string]any)["tags"]); d != "" || b["load_factor"] != 2.5 || b["id"] != id {
		t.Errorf("patched: %v %s", b, d)
	}
	b = w.ok("PATCH", "/backends/"+id, `{"admin_state":"stopped","bbb":{"secret":"s2"}}`)
	if b["admin_state"] != "stopped" || b["load_factor"] != 2.5 || b["bbb"].(map[string]any)["host"] != "https://node23.bbb.example.org/bigbluebutton/api/" {
		t.Errorf("patched: %v", b)
	}
	if stored, _ = w.View().Backend(id); !slices.Equal(stored.BBB.Secrets, []string{"s2"}) || stored.Weight != 1 {
		t.Errorf("secrets %q, weight %d", stored.BBB.Secrets, stored.Weight)
	}
	w.ok("PATCH", "/backends/"+id, `{"settings":{"tags":null}}`)
	whole, _ := json.Marshal(w.ok("GET", "/backends/"+id, ""))
	before, _ := w.View().Backend(id)
	w.ok("PATCH", "/backends/"+id, string(whole))
	if after, _ := w.View().Backend(id); after.ModifyIndex != before.ModifyIndex {
		t.Errorf("sending back what was read is a change: %+v", after)
	}
	if b = w.ok("DELETE", "/backends/"+id, ""); b["admin_state"] != "decommissioned" {
		t.Errorf("deleted: %v", b)
	}
	if stored, ok = w.View().Backend(id); !ok || stored.AdminState != state.AdminDecommissioned {
		t.Errorf("after a delete: %+v", stored)
	}
	if b = w.ok("DELETE", "/backends/"+id+"?force=yes", ""); b["admin_state"] != "destroyed" {
		t.Errorf("deleted by force: %v", b)
	}
	if _, ok = w.View().Backend(id); ok {
		t.Error("it is still there")
	}
}

func TestBackends_refusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.ok("POST", "/backends", `{"bbb":{"host":"https://a.example.org/bigbluebutton/api/","secret":"s"}}`)["id"].(string)
	w.ok("POST", "/backends", `{"bbb":{"host":"https://b.example.org/bigbluebutton/api/","secret":"s"}}`)
	admin := scoped("ctl", "b3scale:admin")
	w.want(admin, "POST", "/backends", `{"bbb":{"host":"https://c.example.org"}}`, 400, `{"error":"validation_error","fields":{"bbb.secret":["this field is required"]},"message":"validation failed with input"}`)
	w.want(admin, "POST", "/backends", `{"bbb":{"host":"ftp://c","secret":"s"}}`, 400, `"bbb.host":[`)
	w.want(admin, "POST", "/backends", `{"bbb":{"host":"https://c","secret":"s"},"admin_state":"error"}`, 400, `"admin_state":[`)
	w.want(admin, "POST", "/backends", `{"bbb":{"host":"https://c","secret":"s"},"load_factor":-1}`, 400, `"load_factor":[`)
	w.want(admin, "POST", "/backends", `{"bbb":{"host":"HTTPS://A.example.org:443","secret":"s"}}`, 409, id)
	w.want(admin, "PATCH", "/backends/"+id, `{"bbb":{"host":"https://b.example.org"}}`, 409, "has this host")
	w.want(admin, "PATCH", "/backends/"+id, `{"admin_state":"error"}`, 400, "validation_error")
	w.want(admin, "PATCH", "/backends/"+id, `{"bbb":`, 400, `{"message":"Syntax error: offset=`)
	w.want(admin, "PATCH", "/backends/"+id, `{"load_factor":"2"}`, 400, "field=load_factor")
	w.want(admin, "PATCH", "/backends/none", `{}`, 404, "Not Found")
	w.want(admin, "PATCH", "/backends/"+id, strings.Repeat(" ", maxBody+1), 413, "more than")
	if n := w.View().Len(state.KindBackend); n != 2 {
		t.Errorf("%d backends, want 2", n)
	}
}

// A host finds its backend however it is written, but never one of two.
func TestBackends_byHost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ok("POST", "/backends", `{"bbb":{"host":"https://B.example.org/bigbluebutton/api/","secret":"s"}}`)
	w.ok("POST", "/backends", `{"bbb":{"host":"http://a.example.org:8090/bigbluebutton/api","secret":"s"}}`)
	w.txn(state.Op{Verb: state.VerbPut, Kind: state.KindBackend, ID: "web", Value: json.RawMessage(`{"address":"web.example.org:80"}`)})
	for query, want := range map[string]string{
		"": "http://a.example.org:8090/bigbluebutton/api https://B.example.org/bigbluebutton/api/",
		"?host=https://B.example.org/bigbluebutton/api/":     "https://B.example.org/bigbluebutton/api/",
		"?host=https://b.example.org":                        "https://B.example.org/bigbluebutton/api/",
		"?host=https://b.example.org/bigbluebutton/":         "https://B.example.org/bigbluebutton/api/",
		"?host=http://a.example.org:8090":                    "http://a.example.org:8090/bigbluebutton/api",
		"?host=http://a.example.org:8090/bigbluebutton/api/": "http://a.example.org:8090/bigbluebutton/api",
		"?host=http://a.example.org":                         "",
		"?host=":                                             "",
		"?host=web.example.org:80":                           "",
		"?host__like=a.example":                              "http://a.example.org:8090/bigbluebutton/api",
		"?host__ilike=b.EXAMPLE":                             "https://B.example.org/bigbluebutton/api/",
	} {
		_, text := w.admin("GET", "/backends"+query, "")
		var list []backend
		if err := json.Unmarshal([]byte(text), &list); err != nil {
			t.Fatal(err)
		}
		var hosts []string
		for _, b := range list {
			hosts = append(hosts, b.BBB.Host)
		}
		if got := strings.Join(hosts, " "); got != want {
			t.Errorf("%q finds %q, want %q", query, got, want)
		}
	}
}

// Two changes at once are both in force.
func TestBackends_race(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.ok("POST", "/backends", `{"bbb":{"host":"https://a.example.org/","secret":"s"}}`)["id"].(string)
	w.raced = 3
	w.ok("PATCH", "/backends/"+id, `{"load_factor":3}`)
	if b, _ := w.View().Backend(id); b.Weight != 11 || b.LoadFactor != 3 {
		t.Errorf("weight %d, load factor %v, want 11 and 3", b.Weight, b.LoadFactor)
	}
}

// An agent makes and sees its own backend, whatever else its token says.
func TestBackends_agent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	other := w.ok("POST", "/backends", `{"bbb":{"host":"https://a.example.org/","secret":"s"}}`)["id"].(string)
	agent := scoped("blue-red-fox", "b3scale:node b3scale:admin")
	w.want(agent, "POST", "/backends", `{"agent_ref":"x","bbb":{"host":"https://b.example.org/","secret":"s"}}`, 200, `"agent_ref":"blue-red-fox"`)
	w.want(agent, "GET", "/backends/"+other, "", 404, "Not Found")
	w.want(agent, "PATCH", "/backends/"+other, "{}", 404, "Not Found")
	w.want(scoped("", "b3scale:node"), "GET", "/backends/"+other, "", 404, "Not Found")
}

func TestFrontends(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := w.ok("POST", "/frontends", `{"active":false,"bbb":{"key":"uni","secret":"s1"},"account_ref":"acc","settings":{"create_default_params":{"a":"1","b":"2"},"required_tags":["x"]}}`)
	id := f["id"].(string)
	if got, want := keys(f), "account_ref active bbb created_at id settings updated_at"; got != want || f["active"] != true {
		t.Errorf("keys %s, want %s; %v", got, want, f)
	}
	if d := cmp.Diff(map[string]any{
		"required_tags": []any{"x"}, "default_presentation": nil, "attendees_limit": nil, "create_default_params": map[string]any{"a": "1", "b": "2"},
		"create_override_params": map[string]any{}, "join_default_params": map[string]any{}, "join_override_params": map[string]any{}, "recordings": nil,
	}, f["settings"]); d != "" {
		t.Error(d)
	}
	f = w.ok("PATCH", "/frontends/"+id, `{"settings":{"create_default_params":{"a":"","c":"3"},"default_presentation":{"url":"https://x.example/y.pdf"},"attendees_limit":{"limit":9},"recordings":{"visibility_override":"public"},"required_tags":["y"]}}`)
	want := map[string]any{
		"required_tags": []any{"y"}, "default_presentation": map[string]any{"url": "https://x.example/y.pdf", "force": false}, "attendees_limit": map[string]any{"limit": 9.0},
		"create_default_params": map[string]any{"b": "2", "c": "3"}, "create_override_params": map[string]any{}, "join_default_params": map[string]any{},
		"join_override_params": map[string]any{}, "recordings": map[string]any{"visibility_override": "public"},
	}
	if d := cmp.Diff(want, f["settings"]); d != "" {
		t.Error(d)
	}
	f = w.ok("PATCH", "/frontends/"+id, `{"settings":{"default_presentation":{"force":true}}}`)
	want["default_presentation"] = map[string]any{"url": "https://x.example/y.pdf", "force": true}
	if d := cmp.Diff(want, f["settings"]); d != "" {
		t.Error(d)
	}
	f = w.ok("PATCH", "/frontends/"+id, `{"active":false,"settings":{"default_presentation":null,"attendees_limit":null,"recordings":null,"required_tags":null,"create_default_params":null}}`)
	for name, v := range f["settings"].(map[string]any) {
		if m, ok := v.(map[string]any); v != nil && (!ok || len(m) > 0) {
			t.Errorf("%s = %v after it was cleared", name, v)
		}
	}
	if s, _ := w.View().Frontend(id); f["active"] != false || !s.BBB.Disabled || s.Secret != "s1" {
		t.Errorf("stored %+v", s)
	}

	user := scoped("acc", "b3scale")
	w.want(user, "GET", "/frontends", "", 200, id)
	w.want(user, "PATCH", "/frontends/"+id, `{"active":true,"account_ref":"other"}`, 200, `"account_ref":"acc"`)
	w.want(scoped("x", "b3scale"), "GET", "/frontends/"+id, "", 404, "Not Found")
	w.want(scoped("", "b3scale"), "GET", "/frontends", "", 200, "[]")
	admin := scoped("ctl", "b3scale:admin")
	w.want(admin, "GET", "/frontends?key=uni", "", 200, id)
	w.want(admin, "GET", "/frontends?key=un", "", 200, "[]")
	w.want(admin, "GET", "/frontends?key__like=un&account_ref=acc", "", 200, id)
	w.want(admin, "POST", "/frontends", `{"bbb":{"key":"uni","secret":"s"}}`, 409, "same host or key")
	w.want(admin, "POST", "/frontends", `{"bbb":{"key":"x"}}`, 400, `"bbb.secret":["this field is required"]`)
	w.want(admin, "PATCH", "/frontends/"+id, `{"settings":{"recordings":{"visibility_override":"secret"}}}`, 400, "settings.recordings.visibility_override")
	w.want(admin, "PATCH", "/frontends/"+id, `{"settings":{"default_presentation":{"url":"x"}}}`, 400, "settings.default_presentation.url")
	if f = w.ok("DELETE", "/frontends/"+id, ""); f["active"] != false || w.View().Len(state.KindFrontend) != 0 {
		t.Errorf("deleted: %v", f)
	}
}

// What the nodes cannot take is no fault of the client.
func TestFailure(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for err, want := range map[error]int{state.ErrNoLeader: 503, state.ErrOutcomeUnknown: 503, state.ErrStoreFull: 503, &state.Refusal{Code: state.CodeNotFound}: 404, &state.Refusal{Code: state.CodeMismatch}: 409, &state.Refusal{Code: state.CodeForbidden}: 403} {
		if f := w.s.failure(nil, errors.Join(err)); f.status != want {
			t.Errorf("%v: %d, want %d", err, f.status, want)
		}
	}
}

func TestConfig_validate(t *testing.T) {
	t.Parallel()
	if _, err := New(DefaultConfig()); err == nil || !strings.Contains(err.Error(), "NodeID") || !strings.Contains(err.Error(), "Limiter") {
		t.Errorf("New without anything = %v", err)
	}
}
