package b3api

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/lbnode/lbnode/bbb/load"
	"github.com/lbnode/lbnode/state"
)

// meetingWorld has a backend, a tenant, and a meeting of it.
func meetingWorld(t *testing.T) (w *world, backendID string) {
	t.Helper()
	w = newWorld(t)
	backendID = w.ok("POST", "/backends", `{"bbb":{"host":"https://a.example.org/","secret":"s"}}`)["id"].(string)
	f := w.ok("POST", "/frontends", `{"bbb":{"key":"uni","secret":"s"}}`)["id"].(string)
	_, err := w.Do(t.Context(), state.BBB(state.BBBOp{Bind: &state.BindMeeting{
		Frontend: f, ID: "room", ServerID: "server-room", BackendID: backendID, InternalID: "int-1", CreateTime: 42,
		Params: map[string]string{"meta_a": "1", "moderatorPW": "mp"},
	}}))
	if err != nil {
		t.Fatal(err)
	}
	w.table.Polled(backendID, []load.Running{{ServerID: "server-room", InternalID: "int-1", Name: "Room", Attendees: 3, Running: true}}, 0)
	return w, backendID
}

func TestMeetings(t *testing.T) {
	t.Parallel()
	w, id := meetingWorld(t)
	admin := scoped("ctl", "b3scale:admin")
	w.want(admin, "GET", "/meetings", "", 400, `{"message":"Bad Request"}`)
	w.want(admin, "GET", "/meetings?backend_id="+id, "", 200, `"id":"server-room"`)
	w.want(admin, "GET", "/meetings?backend_host=https://a.example.org", "", 200, `"internal_id":"int-1"`)
	w.want(admin, "GET", "/meetings?backend_id=none", "", 200, "[]")
	m := w.ok("GET", "/meetings/internal:int-1", "")
	if got, want := keys(m), "backend_id created_at frontend_id id internal_id meeting synced_at updated_at"; got != want {
		t.Errorf("keys %s, want %s", got, want)
	}
	info := m["meeting"].(map[string]any)
	if info["ParticipantCount"] != 3.0 || info["MeetingName"] != "Room" || info["ModeratorPW"] != "mp" || info["CreateTime"] != 42.0 || info["Attendees"] != nil || info["Metadata"].(map[string]any)["a"] != "1" {
		t.Errorf("meeting: %v", info)
	}
	if len(info) != 26 {
		t.Errorf("%d keys of a meeting, want 26: %s", len(info), keys(info))
	}
	if m = w.ok("PATCH", "/meetings/server-room", `{"meeting":{"Attendees":[{"FullName":"A"}]}}`); m["meeting"].(map[string]any)["ParticipantCount"] != 1.0 {
		t.Errorf("patched: %v", m)
	}
	node := scoped("agent", "b3scale:node")
	w.want(node, "GET", "/meetings/internal:int-1", "", 403, "no backend")
	w.want(node, "POST", "/backends", `{"bbb":{"host":"https://b.example.org/","secret":"s"}}`, 200, "")
	w.want(node, "DELETE", "/meetings/internal:int-1", "", 404, "Not Found")
	for _, path := range []string{"/meetings/internal:", "/meetings/internal:int", "/meetings/room"} {
		w.want(admin, "GET", path, "", 404, "Not Found")
	}
	w.ok("DELETE", "/meetings/internal:int-1", "")
	if w.View().LenMeetings() != 0 {
		t.Error("the meeting is still there")
	}
}

func TestCommands(t *testing.T) {
	t.Parallel()
	for _, silent := range []bool{false, true} {
		w, id := meetingWorld(t)
		w.silent = silent
		admin := scoped("ctl", "b3scale:admin")
		w.want(admin, "GET", "/commands", "", 200, "[]")
		w.want(admin, "GET", "/commands/0", "", 404, "Not Found")
		w.want(admin, "POST", "/commands", `{"action":"reboot"}`, 400, `"action":["must be end_all_meetings"]`)
		w.want(admin, "POST", "/commands", `{"action":"end_all_meetings","params":{"BackendID":"none"}}`, 400, `"params.BackendID":[`)
		code, text := w.admin("POST", "/commands", `{"action":"end_all_meetings","params":{"BackendID":"`+id+`"}}`)
		var c map[string]any
		if err := json.Unmarshal([]byte(text), &c); err != nil || code != http.StatusAccepted || c["state"] != "" {
			t.Fatalf("%d %s", code, text)
		}
		if got, want := keys(c), "action created_at deadline id params result seq started_at state stopped_at"; got != want {
			t.Errorf("keys %s, want %s", got, want)
		}
		want := "success"
		if silent {
			want = "error"
		}
		for c["stopped_at"] == nil {
			runtime.Gosched()
			c = w.ok("GET", "/commands/"+c["id"].(string), "")
		}
		if c["state"] != want || w.View().LenMeetings() != 0 {
			t.Errorf("silent %v: %v, %d meetings left", silent, c, w.View().LenMeetings())
		}
		w.s.Close()
		w.want(admin, "POST", "/commands", `{"action":"end_all_meetings","params":{"BackendID":"`+id+`"}}`, 503, "stops")
	}
}

const metadataXML = `<recording><id>rec-1</id><state>published</state><published>true</published><start_time>1000</start_time><end_time>2000</end_time><participants>2</participants>
<meeting id="int-1" externalId="room" name="Room"/><meta><meetingName>Room</meetingName></meta>
<playback><format>video</format><link>https://x/v</link><processing_time>9</processing_time><duration>60000</duration><extensions><preview><images><image width="176" height="136" alt="a">https://x/i.png</image></images></preview></extensions></playback></recording>`

func TestRecordings(t *testing.T) {
	t.Parallel()
	w, _ := meetingWorld(t)
	admin := scoped("ctl", "b3scale:admin")
	w.want(admin, "POST", "/recordings-import", "no xml", 400, "metadata.xml")
	w.want(admin, "POST", "/recordings-import?override_frontend_key=none", metadataXML, 404, "Not Found")
	w.want(admin, "POST", "/recordings-import", strings.Replace(metadataXML, "int-1", "int-2", 1), 400, "override_frontend_key")
	if r := w.ok("POST", "/recordings-import", metadataXML); r["RecordID"] != "rec-1" || r["MeetingID"] != "room" {
		t.Errorf("imported: %v", r)
	}
	w.want(admin, "GET", "/recordings", "", 400, "Bad Request")
	w.want(admin, "GET", "/recordings?frontend_key=uni", "", 200, `"record_id":"rec-1"`)
	w.want(admin, "GET", "/recordings?frontend_id=none&frontend_key=uni", "", 200, "[]")
	w.want(admin, "GET", "/recordings/none", "", 404, "Not Found")
	r := w.ok("GET", "/recordings/rec-1", "")
	if got, want := keys(r), "created_at frontend_id internal_meeting_id meeting_id record_id recording synced_at updated_at"; got != want {
		t.Errorf("keys %s, want %s", got, want)
	}
	data := r["recording"].(map[string]any)
	format := data["Formats"].([]any)[0].(map[string]any)
	if data["EndTime"] != 2000.0 || format["Length"] != 1.0 || len(format["Preview"].(map[string]any)["Images"].(map[string]any)["All"].([]any)) != 1 {
		t.Errorf("recording: %v", data)
	}
	w.want(admin, "POST", "/recordings-visibility", `{"record_id":"none","visibility":"public"}`, 400, `{"message":"Bad Request"}`)
	w.want(admin, "POST", "/recordings-visibility", `{"record_id":"rec-1","visibility":"secret"}`, 400, `"visibility":[`)
	w.want(admin, "POST", "/recordings-visibility", `{"record_id":"rec-1","visibility":"unpublished"}`, 200, `"State":"unpublished"`)
}

func TestAgent(t *testing.T) {
	t.Parallel()
	w, id := meetingWorld(t)
	node := scoped("blue-red-fox", "b3scale:node")
	w.want(scoped("ctl", "b3scale:admin"), "GET", "/agent/backend", "", 403, `{"message":"b3scale:node scope required"}`)
	w.want(node, "GET", "/agent/backend", "", 404, "Not Found")
	w.want(node, "POST", "/agent/heartbeat", "", 404, "Not Found")
	w.want(node, "POST", "/agent/rpc", `{"action":"x","payload":""}`, 403, "no backend")

	// A backend that an operator made gets its agent once that shows the secret.
	w.want(node, "POST", "/backends", `{"bbb":{"host":"https://a.example.org/bigbluebutton/api/","secret":"wrong"},"admin_state":"init"}`, 409, id)
	w.want(node, "POST", "/backends", `{"bbb":{"host":"https://a.example.org/bigbluebutton/api/","secret":"s"},"admin_state":"init"}`, 200, `"admin_state":"ready"`)
	w.want(node, "GET", "/agent/backend", "", 200, `"id":"`+id+`"`)
	w.want(node, "PATCH", "/backends/"+id, `{"backend":{"secret":"s2"},"load_factor":2}`, 200, `"load_factor":2`)
	if b, _ := w.View().Backend(id); b.BBB.Secret() != "s2" || b.BBB.AgentRef != "blue-red-fox" {
		t.Errorf("stored: %+v", b.BBB)
	}

	index := w.View().Index
	w.want(node, "POST", "/agent/heartbeat", "", 200, `{"backend_id":"`+id+`","heartbeat":"2026-01-02T03:04:05.000000006Z"}`)
	if b := w.ok("GET", "/backends/"+id, ""); b["agent_heartbeat"] != "2026-01-02T03:04:05.000000006Z" {
		t.Errorf("heartbeat %v", b["agent_heartbeat"])
	}
	rpc := func(action, payload string) string {
		body, _ := json.Marshal(map[string]string{"action": action, "payload": base64.StdEncoding.EncodeToString([]byte(payload))})
		_, text := w.as(node, "POST", "/agent/rpc", string(body))
		return text
	}
	ok := `{"status":"ok","result":null}`
	for _, tc := range []struct {
		action, payload, want string
		attendees             int
		running               bool
	}{
		{"meeting_add_attendee", `{"internal_meeting_id":"int-1","attendee":{"FullName":"A"}}`, ok, 4, true},
		{"meeting_remove_attendee", `{"internal_meeting_id":"int-1","internal_user_id":"u"}`, ok, 3, true},
		{"meeting_add_attendee", `{"internal_meeting_id":"other"}`, ok, 3, true},
		{"meeting_state_reset", `{"internal_meeting_id":"int-1"}`, ok, 0, false},
		{"meeting_set_running", `{"internal_meeting_id":"int-1","running":true}`, ok, 0, true},
		{"reboot", `{"internal_meeting_id":"int-1"}`, `{"status":"error","result":"unknown action \"reboot\""}`, 0, true},
		{"meeting_state_reset", `{}`, `{"status":"error","result":"payload of meeting_state_reset: internal_meeting_id is missing"}`, 0, true},
		{"meeting_state_reset", `x`, `{"status":"error"`, 0, true},
	} {
		if got := rpc(tc.action, tc.payload); !strings.HasPrefix(got, tc.want) {
			t.Errorf("%s %s: %s, want %s", tc.action, tc.payload, got, tc.want)
		}
		if m, _ := w.table.Meeting(id, "server-room"); m.Attendees != tc.attendees || m.Running != tc.running {
			t.Errorf("%s %s: %d attendees, running %v", tc.action, tc.payload, m.Attendees, m.Running)
		}
	}
	w.want(node, "POST", "/agent/rpc", `{"action":"x","payload":{}}`, 400, "field=payload")
	if w.View().Index != index {
		t.Error("what agents say is in the log")
	}
	if w.table.Status(id).Reported.IsZero() || time.Since(w.now) < 0 {
		t.Error("no report")
	}
}

func FuzzEventOf(f *testing.F) {
	f.Add("meeting_add_attendee", []byte(`{"internal_meeting_id":"x"}`))
	f.Fuzz(func(t *testing.T, action string, payload []byte) {
		if e, err := eventOf(action, payload); err == nil && e.InternalID == "" {
			t.Errorf("eventOf(%q, %q) = %+v", action, payload, e)
		}
	})
}
