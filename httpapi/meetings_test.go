package httpapi_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/httpapi"
	"github.com/lbnode/lbnode/httpapi/apitest"
	"github.com/lbnode/lbnode/state"
)

// withMeetings has two tenants with meetings on two servers; both have one that is called room.
func withMeetings(t *testing.T, change ...func(*httpapi.Config)) *harness {
	t.Helper()
	h := newHarness(t, change...)
	for _, put := range [][2]string{
		{"/pools/bbb", `{"health":{"type":"bbb"}}`},
		{"/backends/a", `{"address":"https://a.example.org/bigbluebutton/api","pool":"bbb"}`},
		{"/backends/b", `{"address":"https://b.example.org/bigbluebutton/api","pool":"bbb"}`},
		{"/frontends/uni", `{"key":"uni-key","secret":"s"}`},
		{"/frontends/uni-2", `{"key":"u2","secret":"s"}`},
		{"/frontends/school", `{"key":"school","secret":"s"}`},
	} {
		h.do(http.MethodPut, put[0], put[1]).want(http.StatusCreated)
	}
	for _, m := range []struct{ frontend, id, backend string }{{"uni", "room", "a"}, {"uni", "x/y z", "b"}, {"uni-2", "a", "a"}, {"school", "room", "a"}} {
		cmd := state.BBB(state.BBBOp{Bind: &state.BindMeeting{Frontend: m.frontend, ID: m.id, ServerID: m.frontend + "." + m.id, BackendID: m.backend, Attempt: "x", Recording: m.id == "a"}})
		if m.frontend == "school" {
			cmd.BBB = append(cmd.BBB, state.BBBOp{Confirm: &state.ConfirmMeeting{Frontend: m.frontend, ID: m.id, ServerID: m.frontend + "." + m.id, BackendID: m.backend, InternalID: "abc-1"}})
		}
		if _, err := h.store.Do(t.Context(), cmd); err != nil {
			t.Fatal(err)
		}
	}
	h.fake.Update(func(f *apitest.Fake) {
		f.Listed = map[string]httpapi.MeetingSeen{"a/school.room": {Name: "Maths", Running: true, Attendees: 5, Moderators: 1}}
	})
	return h
}

func TestMeetings_list(t *testing.T) {
	t.Parallel()
	h := withMeetings(t)
	list := func(query string) (out []string) {
		var got []api.Meeting
		h.do(http.MethodGet, "/meetings"+query, "").want(http.StatusOK).into(&got)
		for _, m := range got {
			out = append(out, m.Frontend+":"+m.ID+"@"+m.Backend)
		}
		return out
	}
	for query, want := range map[string][]string{
		"":                  {"school:room@a", "uni:room@a", "uni:x/y z@b", "uni-2:a@a"},
		"?frontend=uni-key": {"uni:room@a", "uni:x/y z@b"},
		"?backend=a":        {"school:room@a", "uni:room@a", "uni-2:a@a"},
		"?frontend=uni&backend=https://b.example.org": {"uni:x/y z@b"},
		"?limit=2":                       {"school:room@a", "uni:room@a"},
		"?after=uni%2Croom":              {"uni:x/y z@b", "uni-2:a@a"},
		"?after=uni%2Cx/y+z&limit=5":     {"uni-2:a@a"},
		"?backend=a&after=school%2Croom": {"uni:room@a", "uni-2:a@a"},
	} {
		if d := cmp.Diff(want, list(query)); d != "" {
			t.Errorf("GET /meetings%s (-want +got):\n%s", query, d)
		}
	}
	h.do(http.MethodGet, "/meetings?backend=", "").problem(http.StatusBadRequest, api.CodeInvalid)
	h.do(http.MethodGet, "/meetings?frontend=none", "").problem(http.StatusBadRequest, api.CodeInvalid)
	h.do(http.MethodGet, "/meetings?frontends=uni", "").problem(http.StatusBadRequest, api.CodeInvalid)
	var one api.Meeting
	h.do(http.MethodGet, "/meetings/abc-1", "").want(http.StatusOK).into(&one)
	want := api.Meeting{ID: "room", Frontend: "school", Name: "Maths", Backend: "a", ServerID: "school.room", InternalID: "abc-1", State: api.MeetingCreated, Created: one.Created, Running: true, Attendees: 5, Moderators: 1}
	if d := cmp.Diff(want, one); d != "" {
		t.Errorf("by the internal id (-want +got):\n%s", d)
	}
	h.do(http.MethodGet, "/meetings/uni-2.a", "").want(http.StatusOK).into(&one)
	if one.ID != "a" || one.State != api.MeetingReserved || !one.Recording {
		t.Errorf("by the server's id: %+v", one)
	}
	h.do(http.MethodGet, "/meetings/x%2Fy%20z", "").want(http.StatusOK).into(&one)
	if one.ID != "x/y z" {
		t.Errorf("by an id that a path cannot hold as it is: %+v", one)
	}
	h.do(http.MethodGet, "/meetings/room", "").problem(http.StatusConflict, api.CodeAmbiguous)
	h.do(http.MethodGet, "/meetings/room?frontend=uni", "").want(http.StatusOK)
	h.do(http.MethodGet, "/meetings/room?frontend=uni-2", "").problem(http.StatusNotFound, api.CodeNotFound)
}

func TestMeetings_end(t *testing.T) {
	t.Parallel()
	h := withMeetings(t)
	ended := func(target string, status int) (out api.MeetingsEnded) {
		h.do(http.MethodDelete, target, "").want(status).into(&out)
		return out
	}
	h.do(http.MethodDelete, "/meetings", "").problem(http.StatusBadRequest, api.CodeInvalid)
	h.do(http.MethodDelete, "/meetings?backend=none", "").problem(http.StatusBadRequest, api.CodeInvalid)
	h.do(http.MethodDelete, "/meetings/room", "").problem(http.StatusConflict, api.CodeAmbiguous)
	h.do(http.MethodDelete, "/meetings/none", "").problem(http.StatusNotFound, api.CodeNotFound)
	if n := h.store.View().LenMeetings(); n != 4 {
		t.Fatalf("%d meetings after what was refused, want 4", n)
	}
	if got := ended("/meetings/room?frontend=uni", http.StatusOK); got.Ended != 1 || got.Later != 0 {
		t.Errorf("one: %+v", got)
	}
	h.fake.Update(func(f *apitest.Fake) { f.Silent = map[string]bool{"b": true} })
	if got := ended("/meetings?frontend=uni", http.StatusAccepted); got.Later != 1 || got.Error == "" {
		t.Errorf("of a silent server: %+v", got)
	}
	if got := ended("/meetings?backend=a", http.StatusOK); got.Ended != 2 || h.store.View().LenMeetings() != 0 {
		t.Errorf("of a backend: %+v, %d left", got, h.store.View().LenMeetings())
	}
	if got := ended("/meetings?backend=a", http.StatusOK); got != (api.MeetingsEnded{}) {
		t.Errorf("once more: %+v", got)
	}
	var changes []api.Change
	h.do(http.MethodGet, "/history?limit=1", "").want(http.StatusOK).into(&changes)
	if len(changes) != 1 || !strings.HasPrefix(changes[0].Actor, "anonymous") || len(changes[0].Objects) != 0 {
		t.Errorf("the history has %+v", changes)
	}
}
