package httpapi_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/state"
)

func (h *harness) apply(query, doc string) api.ApplyResult {
	h.t.Helper()
	var out api.ApplyResult
	h.do(http.MethodPost, "/apply"+query, doc).want(http.StatusOK).into(&out)
	return out
}

func lines(objects []api.ObjectChange) []string {
	out := []string{}
	for _, o := range objects {
		out = append(out, fmt.Sprintf("%s %s/%s %v", o.Effect, o.Kind, o.ID, o.Fields))
	}
	return out
}

const applied = `{
	"pools":[{"id":"p","algorithm":"random"}],
	"backends":[{"id":"a","address":"h:1","pool":"p"},{"id":"b","address":"h:2"}],
	"routes":[{"id":"r","match":{"path":"/r"},"backend_pool":"p"}],
	"frontends":[{"id":"f","key":"k","secret":"hush"}]
}`

func TestApply(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	want := []string{"created backend/a []", "created backend/b []", "created pool/default []", "created pool/p []", "created route/r []", "created frontend/f []"}
	plan := h.apply("?dry_run=true", applied)
	if d := cmp.Diff(want, lines(plan.Objects)); d != "" || !plan.DryRun || plan.Applied || h.store.View().Len(state.KindBackend) != 0 {
		t.Errorf("the plan = %+v: %s", plan, d)
	}
	got := h.apply("", applied)
	if d := cmp.Diff(plan.Objects, got.Objects); d != "" || !got.Applied || got.Index != 2 || h.store.View().Index != 2 {
		t.Errorf("applied otherwise than planned: %+v: %s", got, d)
	}
	if c := h.history("?limit=1")[0]; !strings.HasPrefix(c.Summary, "apply: ") {
		t.Errorf("summary = %s", c.Summary)
	}
	if again := h.apply("?prune=true", applied); again.Applied || len(again.Objects) != 0 || h.store.View().Index != 2 {
		t.Errorf("applied again = %+v", again)
	}
	// A drain and a secret survive a document that does not mention them.
	h.do(http.MethodPost, "/backends/a/disable", "").want(http.StatusOK)
	if again := h.apply("", strings.Replace(applied, `,"secret":"hush"`, "", 1)); again.Applied {
		t.Errorf("applied without secret = %+v", again)
	}
	changed := h.apply("", `{"backends":[{"id":"a","address":"h:1","pool":"p","weight":9}]}`)
	if d := cmp.Diff([]string{"updated backend/a [/weight]"}, lines(changed.Objects)); d != "" {
		t.Error(d)
	}
	// An answer can be applied.
	list := h.do(http.MethodGet, "/backends", "").want(http.StatusOK).body
	if same := h.apply("", `{"backends":`+list+`}`); same.Applied {
		t.Errorf("what was read, applied = %+v", same)
	}
}

func TestApply_prune(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.apply("", applied)
	h.do(http.MethodPut, "/pools/empty", `{}`).want(http.StatusCreated)
	for _, tt := range []struct {
		query, doc string
		want       []string
		kept       []string
	}{
		{"?dry_run&prune", `{}`, []string{}, []string{}},
		{"?dry_run", `{"backends":[],"pools":[],"routes":[],"frontends":[]}`, []string{}, []string{}},
		{"?dry_run&prune", `{"routes":[]}`, []string{"deleted route/r []"}, []string{}},
		{"?dry_run&prune", `{"pools":[],"routes":[],"backends":[{"id":"a","address":"h:1","pool":"p"}]}`, []string{"updated backend/b [/admin_state]", "deleted pool/empty []", "deleted route/r []"}, []string{"pool/default"}},
		{"?prune", `{"backends":[],"pools":[],"routes":[],"frontends":[]}`, []string{"updated backend/a [/admin_state]", "updated backend/b [/admin_state]", "deleted pool/empty []", "deleted route/r []", "deleted frontend/f []"}, []string{"pool/default", "pool/p"}},
	} {
		got := h.apply(tt.query, tt.doc)
		if d := cmp.Diff(tt.want, lines(got.Objects)) + cmp.Diff(tt.kept, got.Kept); d != "" {
			t.Errorf("%s %s: %s", tt.query, tt.doc, d)
		}
	}
	if b := h.backend("a"); b.AdminState != "decommissioned" {
		t.Errorf("backend a is %s", b.AdminState)
	}
	for _, id := range []string{"a", "b"} {
		if err := h.store.SetDrained(id); err != nil {
			t.Fatal(err)
		}
	}
	got := h.apply("?prune", `{"backends":[],"pools":[],"routes":[],"frontends":[]}`)
	if d := cmp.Diff([]string{"deleted pool/default []", "deleted pool/p []"}, lines(got.Objects)); d != "" || len(h.specs()) != 0 {
		t.Errorf("%s; left: %v", d, h.specs())
	}
}

func TestApply_refused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ doc, pointer, text string }{
		{`{"backend":[]}`, "/backend", "did you mean"},
		{`{"backends":[{"id":"a","address":"h:1"},{"id":"b","address":"h:2","weight":5000}]}`, "/backends/1/weight", "between"},
		{`{"backends":[{"address":"h:1"}]}`, "/backends/0/id", "must not be empty"},
		{`{"pools":[{"id":"p"},{"id":"p"}]}`, "/pools/1/id", "twice"},
		{`{"routes":[{"id":"r","backend_pool":"p","prio":1}]}`, "/routes/0/prio", "unknown field"},
		{`{"routes":[7]}`, "/routes/0", "must be"},
		{`{"frontends":[{"id":"f","tags":[]}]}`, "/frontends/0/tags", "unknown field"},
	} {
		h := newHarness(t)
		p := h.do(http.MethodPost, "/apply", tt.doc).problem(http.StatusBadRequest, api.CodeInvalid)
		if !slices.ContainsFunc(p.Errors, func(e api.FieldError) bool { return e.Pointer == tt.pointer && strings.Contains(e.Message, tt.text) }) {
			t.Errorf("%s: errors = %v, want %q at %q", tt.doc, p.Errors, tt.text, tt.pointer)
		}
	}
	h := newHarness(t)
	p := h.do(http.MethodPost, "/apply?dry_run", `{"frontends":[{"id":"f","key":"k"},{"id":"g","key":"k"}]}`).problem(http.StatusConflict, api.CodeInUse)
	if len(p.Errors) != 1 || p.Errors[0].Pointer != "/frontends/1/key" {
		t.Errorf("errors = %v", p.Errors)
	}
}
