package recording

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/lbnode/lbnode/bbb/sign"
	"github.com/lbnode/lbnode/bbb/xml"
	"github.com/lbnode/lbnode/state"
)

// Bounds of a call.
const (
	maxListed    = 100  // limit of getRecordings
	maxIDs       = 1000 // of one call
	maxCaptions  = 64 << 10
	defaultLimit = -1 // all
)

// refusal is what a call is refused with.
type refusal struct{ key, message string }

func (r refusal) Error() string { return r.message }

func missing(name string) error {
	return refusal{xml.KeyMissingRecordID, "You must specify one or more " + name + "."}
}

// Serve answers a tenant's call whose checksum is right. The parameters are as the tenant sent them.
func (s *Service) Serve(w http.ResponseWriter, r *http.Request, f *state.Frontend, call string, p sign.Params) {
	if call == "getRecordingTextTracks" || call == "putRecordingTextTrack" {
		s.serveTracks(w, r, f, call, p)
		return
	}
	body, err := s.answer(r, f, call, p)
	var no refusal
	var stored *state.Refusal
	switch {
	case errors.As(err, &no):
		body = xml.Failed(no.key, no.message)
	case errors.As(err, &stored):
		body = xml.Failed(xml.KeyValidation, "The change is not possible.")
	case err != nil:
		s.cfg.Log.Warn("a call about recordings could not be answered", "call", call, "frontend", f.ID, "error", err)
		body = xml.Failed(xml.KeyInternal, "The change could not be made; try again.")
	}
	w.Header().Set("Content-Type", xml.ContentType)
	_, _ = w.Write(body)
}

func (s *Service) answer(r *http.Request, f *state.Frontend, call string, p sign.Params) ([]byte, error) {
	if call == "getRecordings" {
		return s.list(r, f, p)
	}
	ids := split(p.Get("recordID"))
	if len(ids) == 0 {
		return nil, missing("recordID")
	}
	v := s.cfg.Store.View()
	for _, id := range ids[:min(len(ids), maxIDs)] { // all or nothing
		if rec, ok := v.Recording(id); !ok || rec.Frontend != f.ID {
			return nil, refusal{xml.KeyNotFound, "We could not find recordings"}
		}
	}
	if len(ids) > maxIDs {
		return nil, refusal{xml.KeyValidation, fmt.Sprintf("At most %d recordings at a time.", maxIDs)}
	}
	switch call {
	case "publishRecordings":
		publish, err := strconv.ParseBool(p.Get("publish"))
		if err != nil {
			return nil, refusal{"missingParamPublish", "You must specify a publish value true or false."}
		}
		_, err = s.do(r.Context(), state.BBBOp{PatchRecordings: &state.PatchRecordings{IDs: ids, Frontend: f.ID, Published: &publish}})
		return xml.Answer(xml.Field{Name: "published", Text: strconv.FormatBool(publish)}), err
	case "updateRecordings":
		return s.update(r, f, ids, p)
	case "deleteRecordings":
		if _, err := s.do(r.Context(), state.BBBOp{DeleteRecordings: &state.DeleteRecordings{IDs: ids, Frontend: f.ID}}); err != nil {
			return nil, err
		}
		s.removeFiles(r, ids)
		return xml.Answer(xml.Field{Name: "deleted", Text: "true"}), nil
	}
	return nil, refusal{xml.KeyUnsupported, "This request is not supported."}
}

// removeFiles removes what this node can see of deleted recordings at once. Sweep finds the rest, on every node.
func (s *Service) removeFiles(r *http.Request, ids []string) {
	for _, id := range ids {
		if err := s.cfg.Files.Remove(r.Context(), id); err != nil {
			s.cfg.Log.Warn("files of a deleted recording stay until they are swept", "recording", id, "error", err)
		}
	}
}

func (s *Service) update(r *http.Request, f *state.Frontend, ids []string, p sign.Params) ([]byte, error) {
	patch := &state.PatchRecordings{IDs: ids, Frontend: f.ID, Metadata: map[string]string{}}
	for _, param := range p {
		if name, ok := strings.CutPrefix(param.Name, "meta_"); ok {
			patch.Metadata[strings.ToLower(name)] = param.Value
		}
	}
	if protect := p.Get("protect"); protect != "" {
		patch.Visibility = state.VisibilityPublished
		if protect == "true" {
			patch.Visibility = state.VisibilityProtected
		}
	}
	if len(patch.Metadata) == 0 && patch.Visibility == "" {
		return nil, refusal{"missingParamMeta", "You must specify at least one meta parameter."}
	}
	_, err := s.do(r.Context(), state.BBBOp{PatchRecordings: patch})
	return xml.Answer(xml.Field{Name: "updated", Text: "true"}), err
}

func split(s string) []string {
	var out []string
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" && !slices.Contains(out, part) {
			out = append(out, part)
		}
	}
	return out
}

// filter is what getRecordings asks for.
type filter struct {
	records, meetings, states []string
	meta                      map[string]string
	offset, limit             int
}

func parseFilter(p sign.Params) (filter, error) {
	f := filter{records: split(p.Get("recordID")), meetings: split(p.Get("meetingID")), states: split(p.Get("state")), meta: map[string]string{}, limit: defaultLimit}
	if len(f.records) > 0 { // it wins
		f.meetings = nil
	}
	if len(f.records)+len(f.meetings) > maxIDs {
		return f, refusal{xml.KeyValidation, fmt.Sprintf("At most %d recordings or meetings at a time.", maxIDs)}
	}
	for _, param := range p {
		if name, ok := strings.CutPrefix(param.Name, "meta_"); ok {
			f.meta[strings.ToLower(name)] = param.Value
		}
	}
	for _, n := range []struct {
		name     string
		min, max int
		to       *int
	}{{"offset", 0, 1 << 30, &f.offset}, {"limit", 1, maxListed, &f.limit}} {
		text, ok := p.Lookup(n.name)
		if !ok || text == "" {
			continue
		}
		v, err := strconv.Atoi(text)
		if err != nil || v < n.min || v > n.max {
			return f, refusal{xml.KeyValidation, fmt.Sprintf("%s must be a number from %d to %d.", n.name, n.min, n.max)}
		}
		*n.to = v
	}
	return f, nil
}

func (f filter) matches(r *state.Recording) bool {
	st := "published"
	if !r.Published {
		st = "unpublished"
	}
	if len(f.states) > 0 && !slices.Contains(f.states, "any") && !slices.Contains(f.states, st) {
		return false
	}
	if len(f.meetings) > 0 && !slices.Contains(f.meetings, r.MeetingID) {
		return false
	}
	if len(f.records) > 0 && !slices.ContainsFunc(f.records, func(id string) bool { return strings.HasPrefix(r.ID, id) }) {
		return false
	}
	for k, v := range f.meta {
		if r.Metadata[k] != v {
			return false
		}
	}
	return true
}

func (s *Service) list(r *http.Request, f *state.Frontend, p sign.Params) ([]byte, error) {
	want, err := parseFilter(p)
	if err != nil {
		return nil, err
	}
	var found []*state.Recording
	for rec := range s.cfg.Store.View().RecordingsOf(f.ID, "") {
		if want.matches(rec) {
			found = append(found, rec)
		}
	}
	slices.SortStableFunc(found, func(a, b *state.Recording) int {
		return cmp.Or(b.Start.Compare(a.Start), strings.Compare(a.ID, b.ID))
	})
	total := len(found)
	found = found[min(want.offset, total):]
	if want.limit > 0 {
		found = found[:min(want.limit, len(found))]
	}
	if len(found) == 0 {
		return xml.Answer(xml.Field{Name: "recordings"}, xml.Field{Name: "messageKey", Text: xml.KeyNoRecordings}, xml.Field{Name: "message", Text: "There are no recordings for the meeting(s)."}), nil
	}
	var all bytes.Buffer
	base := BaseOf(r)
	for _, rec := range found {
		s.element(&all, f, rec, base)
	}
	fields := []xml.Field{{Name: "recordings", Raw: all.Bytes()}}
	if want.limit > 0 || want.offset > 0 {
		fields = append(fields, xml.Field{Name: "pagination", Raw: fmt.Appendf(nil, "<pageable><offset>%d</offset><limit>%d</limit></pageable><totalElements>%d</totalElements>", want.offset, max(want.limit, 0), total)})
	}
	return xml.Answer(fields...), nil
}

// element writes one recording as BigBlueButton does.
func (s *Service) element(b *bytes.Buffer, f *state.Frontend, r *state.Recording, base string) {
	text := func(name, value string) { fmt.Fprintf(b, "<%s>%s</%s>", name, xml.Escape(value), name) }
	b.WriteString("<recording>")
	text("recordID", r.ID)
	text("meetingID", r.MeetingID)
	text("internalMeetingID", r.InternalMeetingID)
	text("name", r.Name)
	text("isBreakout", strconv.FormatBool(r.Metadata["isbreakout"] == "true"))
	text("published", strconv.FormatBool(r.Published))
	text("state", map[bool]string{true: "published", false: "unpublished"}[r.Published])
	text("startTime", strconv.FormatInt(r.Start.UnixMilli(), 10))
	text("endTime", strconv.FormatInt(r.End.UnixMilli(), 10))
	text("participants", strconv.Itoa(r.Participants))
	b.WriteString("<metadata>")
	for _, k := range slices.Sorted(maps.Keys(r.Metadata)) {
		if name(k) {
			text(k, r.Metadata[k])
		}
	}
	b.WriteString("</metadata><playback>")
	for _, format := range r.Formats {
		b.WriteString("<format>")
		text("type", format.Type)
		text("url", s.playURL(f, r, format, base))
		text("processingTime", strconv.FormatInt(format.Processing, 10))
		text("length", strconv.Itoa(format.Length))
		text("size", strconv.FormatInt(max(format.Size, format.Bytes), 10))
		if len(format.Preview) > 0 {
			b.WriteString("<preview><images>")
			for _, i := range format.Preview {
				fmt.Fprintf(b, `<image alt="%s" height="%d" width="%d">%s</image>`, xml.Escape(i.Alt), i.Height, i.Width, xml.Escape(i.URL))
			}
			b.WriteString("</images></preview>")
		}
		b.WriteString("</format>")
	}
	b.WriteString("</playback></recording>")
}

// name says whether a key can be the name of an element.
func name(s string) bool {
	for i, r := range s {
		letter := r >= 'a' && r <= 'z' || r == '_'
		if !letter && (i == 0 || (r < '0' || r > '9') && r != '-' && r != '.') {
			return false
		}
	}
	return s != ""
}

// track is one text track of getRecordingTextTracks.
type track struct {
	Href   string `json:"href"`
	Kind   string `json:"kind"`
	Label  string `json:"label"`
	Lang   string `json:"lang"`
	Source string `json:"source"`
}

// serveTracks answers in JSON, as BigBlueButton does. The tracks are those that were uploaded with the recording; they
// are made where a recording is processed, so that none can be added here.
func (s *Service) serveTracks(w http.ResponseWriter, r *http.Request, f *state.Frontend, call string, p sign.Params) {
	out := map[string]any{"returncode": "FAILED", "messageKey": "noRecordings", "message": "No recording found"}
	rec, ok := s.cfg.Store.View().Recording(p.Get("recordID"))
	switch {
	case p.Get("recordID") == "":
		out["messageKey"], out["message"] = "missingParameter", "param recordID is missing"
	case !ok || rec.Frontend != f.ID:
	case call == "putRecordingTextTrack":
		out["messageKey"], out["message"] = "notImplemented", "Text tracks are added on the server that processes the recording."
	default:
		out = map[string]any{"returncode": "SUCCESS", "tracks": s.tracks(r, f, rec)}
	}
	w.Header().Set("Content-Type", "application/json;charset=utf-8")
	_ = json.NewEncoder(w).Encode(map[string]any{"response": out})
}

func (s *Service) tracks(r *http.Request, f *state.Frontend, rec *state.Recording) []track {
	out := []track{}
	for _, format := range rec.Formats {
		file, err := s.open(r.Context(), rec, format.Type, "captions.json")
		if err != nil {
			continue
		}
		b, err := io.ReadAll(io.LimitReader(file, maxCaptions))
		_ = file.Close()
		var captions []struct{ Locale, LocaleName string }
		if err != nil || json.Unmarshal(b, &captions) != nil {
			continue
		}
		for _, c := range captions {
			href := BaseOf(r) + Path + "play/" + rec.ID + "/" + format.Type + "/caption_" + url.PathEscape(c.Locale) + ".vtt"
			out = append(out, track{Href: href, Kind: "captions", Label: c.LocaleName, Lang: c.Locale, Source: "upload"})
		}
	}
	return out
}
