package bbbtest

import (
	"encoding/xml"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// answer does what a call says.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, c Call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f, ok := map[string]func(http.ResponseWriter, *http.Request, Call){
		"create": s.create, "join": s.join, "end": s.end, "isMeetingRunning": s.running, "getMeetingInfo": s.info, "getMeetings": s.list,
		"insertDocument": s.known, "sendChatMessage": s.known,
		"getRecordings": s.getRecordings, "publishRecordings": s.changeRecordings, "deleteRecordings": s.changeRecordings, "updateRecordings": s.changeRecordings,
		"getRecordingTextTracks": s.tracks, "putRecordingTextTrack": s.tracks,
		"hooks/create": s.hooksCreate, "hooks/list": s.hooksList, "hooks/destroy": s.hooksDestroy,
	}[c.Name]; ok {
		f(w, r, c)
		return
	}
	write(w, failed("unsupportedRequest", "This request is not supported."))
}

func (s *Server) create(w http.ResponseWriter, _ *http.Request, c Call) {
	id, name := c.Params["meetingID"], c.Params["name"]
	switch {
	case name == "":
		write(w, failed("missingParamName", "You must specify a name"))
		return
	case len(id) < 2 || len(id) > 256 || strings.Contains(id, ","):
		write(w, failed("validationError", "Meeting ID must be between 2 and 256 characters and contain no commas"))
		return
	}
	m, ok := s.meetings[id]
	key, message := "", ""
	switch {
	case ok && (m.Params["attendeePW"] != c.Params["attendeePW"] || m.Params["moderatorPW"] != c.Params["moderatorPW"]):
		write(w, failed("idNotUnique", "A meeting already exists with that meeting ID.  Please use a different meeting ID."))
		return
	case ok:
		key, message = "duplicateWarning", "This conference was already in existence and may currently be in progress."
	case s.cfg.MaxMeetings > 0 && len(s.meetings) >= s.cfg.MaxMeetings:
		write(w, failed("internalError", "no more meetings"))
		return
	default:
		m = s.newMeeting(id, name, maps.Clone(c.Params))
		m.Body = c.Body
	}
	write(w, "<response>\n  <returncode>SUCCESS</returncode>\n"+el("meetingID", m.ID)+el("internalMeetingID", m.InternalID)+
		el("parentMeetingID", orElse(m.Params["parentMeetingID"], "bbb-none"))+el("attendeePW", m.Params["attendeePW"])+el("moderatorPW", m.Params["moderatorPW"])+
		el("createTime", strconv.FormatInt(m.Created.UnixMilli(), 10))+el("voiceBridge", "71234")+el("dialNumber", "613-555-1234")+
		el("createDate", m.Created.UTC().Format("Mon Jan 02 15:04:05 UTC 2006"))+el("hasUserJoined", strconv.FormatBool(m.HasUserJoined))+
		el("duration", orElse(m.Params["duration"], "0"))+el("hasBeenForciblyEnded", "false")+el("messageKey", key)+el("message", message)+
		"  <notInAnyVersion server='"+s.cfg.Name+"'><![CDATA[kept & <as it is>]]></notInAnyVersion>\n</response>\n")
}

func (s *Server) join(w http.ResponseWriter, r *http.Request, c Call) {
	m, ok := s.meetings[c.Params["meetingID"]]
	switch {
	case r.Method != http.MethodGet:
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	case !ok:
		write(w, failed("notFound", "A meeting with that ID does not exist"))
		return
	case c.Params["fullName"] == "":
		write(w, failed("missingParamFullName", "You must specify a name for the attendee who will be joining the meeting."))
		return
	}
	role := strings.ToUpper(c.Params["role"])
	if role == "" {
		switch c.Params["password"] {
		case m.Params["moderatorPW"]:
			role = "MODERATOR"
		case m.Params["attendeePW"]:
			role = "VIEWER"
		default:
			write(w, failed("invalidPassword", "The password you entered was not valid"))
			return
		}
	}
	a := Attendee{UserID: orElse(c.Params["userID"], fmt.Sprintf("w_%d", len(m.Attendees))), FullName: c.Params["fullName"], Role: role}
	m.Attendees = append(m.Attendees, a)
	m.HasUserJoined = true
	session := "token-" + a.UserID
	http.SetCookie(w, &http.Cookie{Name: "JSESSIONID", Value: session, Path: "/bigbluebutton", HttpOnly: true})
	url := "https://" + s.cfg.Name + "/html5client/?sessionToken=" + session
	if c.Params["redirect"] == "false" {
		write(w, "<response><returncode>SUCCESS</returncode><messageKey>successfullyJoined</messageKey><message>You have joined successfully.</message>"+
			el("meeting_id", m.InternalID)+el("user_id", a.UserID)+el("auth_token", "auth-"+a.UserID)+el("session_token", session)+el("guestStatus", "ALLOW")+el("url", url)+"</response>")
		return
	}
	http.Redirect(w, r, url, http.StatusFound)
}

func (s *Server) end(w http.ResponseWriter, _ *http.Request, c Call) {
	m, ok := s.meetings[c.Params["meetingID"]]
	if !ok {
		write(w, failed("notFound", "We could not find a meeting with that meeting ID"))
		return
	}
	delete(s.meetings, m.ID)
	s.ended(m)
	write(w, "<response><returncode>SUCCESS</returncode><messageKey>sentEndMeetingRequest</messageKey><message>A request to end the meeting was sent.</message></response>")
}

func (s *Server) running(w http.ResponseWriter, _ *http.Request, c Call) {
	m, ok := s.meetings[c.Params["meetingID"]]
	write(w, "<response><returncode>SUCCESS</returncode>"+el("running", strconv.FormatBool(ok && m.HasUserJoined))+"</response>")
}

func (s *Server) info(w http.ResponseWriter, _ *http.Request, c Call) {
	m, ok := s.meetings[c.Params["meetingID"]]
	if !ok {
		write(w, failed("notFound", "A meeting with that ID does not exist"))
		return
	}
	write(w, "<response>\n<returncode>SUCCESS</returncode>\n"+m.fields()+"<messageKey></messageKey>\n<message></message>\n</response>\n")
}

func (s *Server) list(w http.ResponseWriter, _ *http.Request, _ Call) {
	if len(s.meetings) == 0 {
		write(w, "<response><returncode>SUCCESS</returncode><meetings/><messageKey>noMeetings</messageKey><message>no meetings were found on this server</message></response>")
		return
	}
	var b strings.Builder
	b.WriteString("<response>\n<returncode>SUCCESS</returncode>\n<meetings>\n")
	for _, id := range slices.Sorted(maps.Keys(s.meetings)) {
		b.WriteString("<meeting>\n" + s.meetings[id].fields() + "</meeting>\n")
	}
	b.WriteString("</meetings>\n</response>\n")
	write(w, b.String())
}

// fields are those of get-meetings.ftlx, in its order, and one that no version has.
func (m *Meeting) fields() string {
	moderators := 0
	var who strings.Builder
	for _, a := range m.Attendees {
		if a.Role == "MODERATOR" {
			moderators++
		}
		who.WriteString("<attendee>" + el("userID", a.UserID) + el("fullName", a.FullName) + el("role", a.Role) + el("isPresenter", "false") + el("isListeningOnly", "false") +
			el("hasJoinedVoice", "true") + el("hasVideo", "false") + el("clientType", "HTML5") + "<customdata><x>1</x></customdata></attendee>\n")
	}
	var meta strings.Builder
	for _, k := range slices.Sorted(maps.Keys(m.Params)) {
		if name, ok := strings.CutPrefix(k, "meta_"); ok {
			name = strings.ToLower(name)
			meta.WriteString("<" + name + "><![CDATA[" + m.Params[k] + "]]></" + name + ">\n")
		}
	}
	n := len(m.Attendees)
	text := "<meetingName><![CDATA[" + m.Name + "]]></meetingName>\n" + el("meetingID", m.ID) + el("internalMeetingID", m.InternalID) +
		el("createTime", strconv.FormatInt(m.Created.UnixMilli(), 10)) + el("createDate", m.Created.UTC().Format("Mon Jan 02 15:04:05 UTC 2006")) +
		el("voiceBridge", "71234") + el("dialNumber", "613-555-1234") + el("attendeePW", m.Params["attendeePW"]) + el("moderatorPW", m.Params["moderatorPW"]) +
		el("running", strconv.FormatBool(m.HasUserJoined)) + el("duration", orElse(m.Params["duration"], "0")) + el("hasUserJoined", strconv.FormatBool(m.HasUserJoined)) +
		el("recording", orElse(m.Params["record"], "false")) + el("hasBeenForciblyEnded", "false") + el("startTime", strconv.FormatInt(m.Created.UnixMilli(), 10)) + el("endTime", "0") +
		el("participantCount", strconv.Itoa(n)) + el("listenerCount", "0") + el("voiceParticipantCount", strconv.Itoa(n)) + el("videoCount", "0") + el("maxUsers", orElse(m.Params["maxParticipants"], "0")) +
		el("moderatorCount", strconv.Itoa(moderators)) + "<attendees>\n" + who.String() + "</attendees>\n<metadata>\n" + meta.String() + "</metadata>\n" + el("isBreakout", orElse(m.Params["isBreakout"], "false"))
	if parent := m.Params["parentMeetingID"]; parent != "" {
		text += el("parentMeetingID", parent) + el("sequence", m.Params["sequence"]) + el("freeJoin", orElse(m.Params["freeJoin"], "false"))
	}
	return text + "<notInAnyVersion a=\"1\"/>\n"
}

// known answers calls that only need a meeting.
func (s *Server) known(w http.ResponseWriter, _ *http.Request, c Call) {
	if _, ok := s.meetings[c.Params["meetingID"]]; !ok {
		write(w, failed("notFound", "A meeting with that ID does not exist"))
		return
	}
	write(w, "<response><returncode>SUCCESS</returncode></response>")
}

// el is one element.
func el(name, text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text))
	return "<" + name + ">" + b.String() + "</" + name + ">\n"
}

func orElse(s, d string) string {
	if s == "" {
		return d
	}
	return s
}
