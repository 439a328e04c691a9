package httpapi_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/lbnode/lbnode/api"
)

func TestSettings(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	var got api.Settings
	r := h.do("GET", "/settings", "").want(http.StatusOK).into(&got)
	if got.ID != "cluster" || got.FenceAfter != "0s" || got.ModifyIndex != 0 || r.header.Get("Etag") != "" {
		t.Errorf("before the first write: %+v with ETag %q", got, r.header.Get("Etag"))
	}
	r = h.do("PATCH", "/settings", `{"fence_after":"5s"}`).want(http.StatusOK).into(&got)
	if got.FenceAfter != "5s" || got.ModifyIndex == 0 || r.header.Get("Etag") == "" || r.header.Get("Location") != "" {
		t.Errorf("after a patch: %+v %v", got, r.header)
	}
	h.do("GET", "/v1/settings", "").want(http.StatusOK).into(&got)
	h.do("PUT", "/settings", `{"id":"cluster","fence_after":"2s","modify_index":7}`).want(http.StatusOK).into(&got)
	if got.FenceAfter != "2s" {
		t.Errorf("after PUT: %+v", got)
	}
	for body, pointer := range map[string]string{
		`{"fence_after":"500ms"}`: "/fence_after", `{"fence_after":"soon"}`: "/fence_after", `{"fence":"5s"}`: "/fence", `{"id":"x"}`: "/id",
	} {
		p := h.do("PUT", "/settings", body).problem(http.StatusBadRequest, api.CodeInvalid)
		if len(p.Errors) != 1 || p.Errors[0].Pointer != pointer {
			t.Errorf("PUT %s: %+v, want an error at %s", body, p.Errors, pointer)
		}
	}
	if p := h.do("PATCH", "/settings", `{"fence_after":"500ms"}`).problem(http.StatusBadRequest, api.CodeInvalid); !strings.Contains(p.Errors[0].Message, "1s") {
		t.Errorf("the message does not say what would be right: %+v", p)
	}
	h.do("DELETE", "/settings", "").problem(http.StatusMethodNotAllowed, api.CodeMethodNotAllowed)
	h.do("POST", "/history/2/rollback", "").problem(http.StatusConflict, api.CodeChanged)
	h.do("POST", "/history/2/rollback?force", "").want(http.StatusOK)
	h.do("GET", "/settings", "").want(http.StatusOK).into(&got)
	if got.FenceAfter != "0s" {
		t.Errorf("after the rollback of the first write: %+v", got)
	}
}

// A deadline given as a duration is stored as a time; what is left out stays as it was.
func TestDisable_drainParameters(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.do("POST", "/backends", `{"id":"b1","address":"a:1"}`).want(http.StatusCreated)
	var b api.Backend
	h.do("POST", "/backends/b1/disable?deadline=10m&on_deadline=close&sticky=release", "").want(http.StatusOK).into(&b)
	at, err := time.Parse(time.RFC3339, b.Drain.Deadline)
	if err != nil || b.AdminSince.Add(10*time.Minute).Sub(at).Abs() > time.Minute || b.Drain.OnDeadline != "close" || b.Drain.Sticky != "release" {
		t.Errorf("drain = %+v, %v, want ten minutes after %s", b.Drain, err, b.AdminSince)
	}
	first := b.Drain
	h.do("POST", "/backends/b1/disable?sticky=keep", "").want(http.StatusOK).into(&b)
	if first.Sticky = "keep"; b.Drain != first {
		t.Errorf("drain = %+v, want %+v", b.Drain, first)
	}
	h.do("PUT", "/backends/b1", `{"address":"a:1","admin_state":"stopped","drain":{"deadline":"","on_deadline":"keep","sticky":"keep"}}`).want(http.StatusOK).into(&b)
	if b.Drain != (api.Drain{OnDeadline: "keep", Sticky: "keep"}) {
		t.Errorf("drain = %+v, want the defaults", b.Drain)
	}
	h.do("POST", "/backends/b1/enable", "").want(http.StatusOK)
	h.do("DELETE", "/backends/b1?deadline=2030-01-02T03:04:05%2B01:00", "").want(http.StatusAccepted).into(&b)
	if b.Drain.Deadline != "2030-01-02T02:04:05Z" || b.AdminState != "decommissioned" {
		t.Errorf("after DELETE: %+v %s", b.Drain, b.AdminState)
	}
	for _, target := range []string{
		"POST /backends/b1/disable?deadline=soon", "POST /backends/b1/disable?deadline=-1s", "POST /backends/b1/disable?deadline=1000h",
		"POST /backends/b1/disable?sticky=x", "POST /backends/b1/disable?on_deadline=x", "POST /backends/b1/enable?sticky=keep",
		"DELETE /backends/b1?force&deadline=1m", "DELETE /pools/default?deadline=1m",
	} {
		method, path, _ := strings.Cut(target, " ")
		h.do(method, path, "").problem(http.StatusBadRequest, api.CodeInvalid)
	}
	h.do("POST", "/backends", `{"id":"b2","address":"a:2"}`).want(http.StatusCreated)
	if p := h.do("POST", "/backends/b2/disable?on_deadline=close", "").problem(http.StatusBadRequest, api.CodeInvalid); p.Errors[0].Pointer != "/drain/deadline" {
		t.Errorf("close without a deadline: %+v", p)
	}
}
