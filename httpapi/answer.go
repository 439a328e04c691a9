package httpapi

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"strconv"
	"time"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/state"
)

// answer is what a handler wants to be answered.
type answer struct {
	status      int         // 0 = 200
	body        any         // nil = none; []byte = as it is
	view        *state.View // what the body was read from; nil = the newest
	contentType string      // "" = JSON
	header      http.Header
	stream      func() // instead of body: writes events for as long as it likes, after the head
}

// writeAnswer is the one place where answers are written. The body is complete before the status is sent.
func (s *Server) writeAnswer(w http.ResponseWriter, r *http.Request, a answer) {
	var body []byte
	if a.body != nil {
		var err error
		if body, err = encode(a.body); err != nil {
			s.writeProblem(w, r, err)
			return
		}
	}
	h := w.Header()
	maps.Copy(h, a.header)
	s.describe(h, a.view)
	if a.status == 0 {
		a.status = http.StatusOK
	}
	if a.stream != nil {
		h.Set("Content-Type", api.ContentEvents)
		w.WriteHeader(a.status)
		a.stream()
		return
	}
	if a.body != nil {
		if a.contentType == "" {
			a.contentType = api.ContentJSON
		}
		h.Set("Content-Type", a.contentType)
		h.Set("Content-Length", strconv.Itoa(len(body)))
	}
	w.WriteHeader(a.status)
	if a.body == nil || r.Method == http.MethodHead {
		return
	}
	if _, err := w.Write(body); err != nil {
		s.cfg.Logger.LogAttrs(r.Context(), slog.LevelDebug, "api client went away", slog.Any("error", err))
	}
}

// describe says what the answer was read from.
func (s *Server) describe(h http.Header, v *state.View) {
	if v == nil {
		v = s.cfg.Store.View()
	}
	h.Set(api.HeaderIndex, strconv.FormatUint(v.Index, 10))
	st := s.cfg.Cluster.Status()
	if st.LeaderID != "" {
		h.Set(api.HeaderLeader, st.LeaderID)
	}
	if st.LastContact >= 0 {
		h.Set(api.HeaderLastContact, st.LastContact.Round(time.Millisecond).String())
	}
	if s.cfg.Store.Stale() {
		h.Set(api.HeaderStale, "true")
	}
}

// encode writes JSON and a line's end, for people with a terminal, and leaves < > & readable in addresses.
func encode(v any) ([]byte, error) {
	if b, ok := v.([]byte); ok {
		return b, nil
	}
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return buf.Bytes(), err
}
