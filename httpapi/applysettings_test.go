package httpapi_test

import (
	"strings"
	"testing"
)

// Settings are part of the document; left out they stay, also with prune.
func TestApply_settings(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for _, step := range []struct{ query, doc, want string }{
		{"", `{"settings":{}}`, ``}, // the defaults are there before they are written
		{"?dry_run=true", `{"settings":{"fence_after":"5s"}}`, `created settings/cluster []`},
		{"", `{"settings":{"fence_after":"5s"}}`, `created settings/cluster []`},
		{"?prune=true", `{"settings":{"fence_after":"5s"},"pools":[]}`, ``},
		{"?prune=true", `{"pools":[]}`, ``},
		{"", `{"settings":{"fence_after":"6s"}}`, `updated settings/cluster [/fence_after]`},
	} {
		if got := strings.Join(lines(h.apply(step.query, step.doc).Objects), "\n"); got != step.want {
			t.Errorf("apply%s %s: %q, want %q", step.query, step.doc, got, step.want)
		}
	}
	h.do("POST", "/apply", `{"settings":{"fence_after":"1ms"}}`).problem(400, "invalid")
}
