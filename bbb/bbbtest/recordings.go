package bbbtest

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// PutRecording adds a recording.
func (s *Server) PutRecording(r Recording) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recordings[r.ID] = &r
}

func (s *Server) getRecordings(w http.ResponseWriter, _ *http.Request, c Call) {
	var b strings.Builder
	for _, id := range slices.Sorted(maps.Keys(s.recordings)) {
		r := s.recordings[id]
		if m := c.Params["meetingID"]; m != "" && !slices.Contains(strings.Split(m, ","), r.MeetingID) {
			continue
		}
		b.WriteString("<recording>" + el("recordID", r.ID) + el("meetingID", r.MeetingID) + el("internalMeetingID", r.ID) + el("name", r.Name) + el("published", strconv.FormatBool(r.Published)) +
			el("state", "published") + el("startTime", "1700000000000") + el("endTime", "1700000600000") + "<metadata>" + el("meetingId", r.MeetingID) + "</metadata>" +
			"<playback><format><type>presentation</type><url>https://" + s.cfg.Name + "/playback/presentation/2.3/" + r.ID + "</url><length>10</length></format></playback></recording>")
	}
	if b.Len() == 0 {
		write(w, "<response><returncode>SUCCESS</returncode><recordings/><messageKey>noRecordings</messageKey><message>There are no recordings for the meeting(s).</message></response>")
		return
	}
	write(w, "<response><returncode>SUCCESS</returncode><recordings>"+b.String()+"</recordings></response>")
}

func (s *Server) changeRecordings(w http.ResponseWriter, _ *http.Request, c Call) {
	ids := strings.Split(c.Params["recordID"], ",")
	for _, id := range ids {
		if s.recordings[id] == nil {
			write(w, failed("notFound", "We could not find recordings"))
			return
		}
	}
	for _, id := range ids {
		switch c.Name {
		case "publishRecordings":
			s.recordings[id].Published = c.Params["publish"] == "true"
		case "deleteRecordings":
			delete(s.recordings, id)
		}
	}
	switch c.Name {
	case "publishRecordings":
		write(w, "<response><returncode>SUCCESS</returncode>"+el("published", c.Params["publish"])+"</response>")
	case "deleteRecordings":
		write(w, "<response><returncode>SUCCESS</returncode><deleted>true</deleted></response>")
	default:
		write(w, "<response><returncode>SUCCESS</returncode><updated>true</updated></response>")
	}
}

func (s *Server) tracks(w http.ResponseWriter, _ *http.Request, c Call) {
	w.Header().Set("Content-Type", "application/json;charset=utf-8")
	if s.recordings[c.Params["recordID"]] == nil {
		_, _ = io.WriteString(w, `{"response":{"returncode":"FAILED","messageKey":"noRecordings","message":"No recording found"}}`)
		return
	}
	_, _ = io.WriteString(w, `{"response":{"returncode":"SUCCESS","tracks":[]}}`)
}

func (s *Server) hooksCreate(w http.ResponseWriter, _ *http.Request, c Call) {
	if c.Params["callbackURL"] == "" {
		write(w, failed("missingParamCallbackURL", "You must specify a callbackURL in the parameters."))
		return
	}
	for _, h := range s.hooks {
		if h.url == c.Params["callbackURL"] && h.meetingID == c.Params["meetingID"] {
			write(w, "<response><returncode>SUCCESS</returncode>"+el("hookID", h.id)+"<messageKey>duplicateWarning</messageKey></response>")
			return
		}
	}
	s.nextHook++
	h := hook{strconv.Itoa(s.nextHook), c.Params["callbackURL"], c.Params["meetingID"]}
	s.hooks = append(s.hooks, h)
	write(w, "<response><returncode>SUCCESS</returncode>"+el("hookID", h.id)+"<permanentHook>false</permanentHook><rawData>false</rawData></response>")
}

func (s *Server) hooksList(w http.ResponseWriter, _ *http.Request, c Call) {
	var b strings.Builder
	for _, h := range s.hooks {
		if m := c.Params["meetingID"]; m != "" && h.meetingID != "" && h.meetingID != m {
			continue
		}
		b.WriteString("<hook>" + el("hookID", h.id) + "<callbackURL><![CDATA[" + h.url + "]]></callbackURL>")
		if h.meetingID != "" {
			b.WriteString("<meetingID><![CDATA[" + h.meetingID + "]]></meetingID>")
		}
		b.WriteString("<permanentHook>false</permanentHook><rawData>false</rawData></hook>")
	}
	write(w, "<response><returncode>SUCCESS</returncode><hooks>"+b.String()+"</hooks></response>")
}

func (s *Server) hooksDestroy(w http.ResponseWriter, _ *http.Request, c Call) {
	i := slices.IndexFunc(s.hooks, func(h hook) bool { return h.id == c.Params["hookID"] })
	if i < 0 {
		write(w, failed("destroyMissingHook", fmt.Sprintf("The hook informed was not found: %s", c.Params["hookID"])))
		return
	}
	s.hooks = slices.Delete(s.hooks, i, i+1)
	write(w, "<response><returncode>SUCCESS</returncode><removed>true</removed></response>")
}
