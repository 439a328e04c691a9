package b3api

import (
	"encoding/xml"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/lbnode/lbnode/bbb/recording"
	"github.com/lbnode/lbnode/state"
)

// recordingOf is a recording as b3scale shows it.
type recordingOf struct {
	RecordID          string        `json:"record_id"`
	Recording         recordingData `json:"recording"`
	MeetingID         string        `json:"meeting_id"`
	InternalMeetingID string        `json:"internal_meeting_id"`
	FrontendID        *string       `json:"frontend_id"`
	CreatedAt         time.Time     `json:"created_at"`
	UpdatedAt         time.Time     `json:"updated_at"`
	SyncedAt          time.Time     `json:"synced_at"`
}

// recordingData has b3scale's names of what BigBlueButton says of a recording.
type recordingData struct {
	XMLName           xml.Name
	RecordID          string
	MeetingID         string
	InternalMeetingID string
	Name              string
	IsBreakout        bool
	Published         bool
	State             string
	StartTime         int64 // ms since 1970
	EndTime           int64
	Participants      int
	Metadata          map[string]string
	Formats           []recordingFormat
}

type recordingFormat struct {
	XMLName        xml.Name
	Type           string
	URL            string
	ProcessingTime int64 // ms
	Length         int   // minutes
	Preview        *recordingPreview
}

type recordingPreview struct {
	XMLName xml.Name
	Images  recordingImages
}

type recordingImages struct {
	XMLName xml.Name
	All     []recordingImage
}

type recordingImage struct {
	XMLName xml.Name
	Alt     string
	Height  int
	Width   int
	URL     string
}

func element(name string) xml.Name { return xml.Name{Local: name} }

// shownRecording shows a recording of the index.
func shownRecording(r *state.Recording) recordingOf {
	shown := state.VisibilityPublished
	if !r.Published {
		shown = state.VisibilityUnpublished
	}
	data := recordingData{
		XMLName: element("recording"), RecordID: r.ID, MeetingID: r.MeetingID, InternalMeetingID: r.InternalMeetingID, Name: r.Name,
		IsBreakout: r.Metadata["isbreakout"] == "true", Published: r.Published, State: shown, StartTime: millis(r.Start), EndTime: millis(r.End),
		Participants: r.Participants, Metadata: params(r.Metadata), Formats: []recordingFormat{},
	}
	for _, f := range r.Formats {
		out := recordingFormat{XMLName: element("format"), Type: f.Type, URL: f.URL, ProcessingTime: f.Processing, Length: f.Length}
		if len(f.Preview) > 0 {
			out.Preview = &recordingPreview{XMLName: element("preview"), Images: recordingImages{XMLName: element("images")}}
		}
		for _, i := range f.Preview {
			out.Preview.Images.All = append(out.Preview.Images.All, recordingImage{XMLName: element("image"), Alt: i.Alt, Height: i.Height, Width: i.Width, URL: i.URL})
		}
		data.Formats = append(data.Formats, out)
	}
	return recordingOf{
		RecordID: r.ID, Recording: data, MeetingID: r.MeetingID, InternalMeetingID: r.InternalMeetingID, FrontendID: &r.Frontend,
		CreatedAt: r.At.UTC(), UpdatedAt: r.At.UTC(), SyncedAt: r.At.UTC(),
	}
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func (c *call) listRecordings() (any, error) {
	v, q := c.view(), c.r.URL.Query()
	id, key := q.Get("frontend_id"), q.Get("frontend_key")
	if id == "" && key == "" {
		return nil, errBadRequest
	}
	out := []recordingOf{}
	for _, f := range c.tenants(v) {
		if id != "" && f.ID != id || id == "" && f.Key != key {
			continue
		}
		for r := range v.RecordingsOf(f.ID, "") {
			out = append(out, shownRecording(r))
		}
	}
	return out, nil
}

func (c *call) showRecording() (any, error) {
	if r, ok := c.view().Recording(c.r.PathValue("id")); ok {
		return shownRecording(r), nil
	}
	return nil, errNotFound
}

func (c *call) setVisibility() (any, error) {
	var in struct {
		ID         string `json:"record_id"`
		Visibility string `json:"visibility"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	bad := invalid{}
	bad.required("record_id", in.ID)
	if !slices.Contains(state.Visibilities(), in.Visibility) {
		bad.add("visibility", "must be one of "+strings.Join(state.Visibilities(), ", "))
	}
	if err := bad.err(); err != nil {
		return nil, err
	}
	found, err := c.s.cfg.Recordings.SetVisibility(c.r.Context(), in.ID, in.Visibility)
	if err != nil {
		return nil, err
	}
	r, ok := c.view().Recording(in.ID)
	if !found || !ok {
		return nil, errBadRequest
	}
	return shownRecording(r), nil
}

func (c *call) importRecording() (any, error) {
	doc, err := c.body(recording.MaxMetadata)
	if err != nil {
		return nil, err
	}
	q := c.r.URL.Query()
	key := q.Get("override_frontend_key")
	if key != "" && !slices.ContainsFunc(slices.Collect(c.view().Frontends()), func(f *state.Frontend) bool { return f.Key == key }) {
		return nil, errNotFound
	}
	r, err := c.s.cfg.Recordings.ImportXML(c.r.Context(), doc, recording.ImportOptions{FrontendKey: key, MeetingID: q.Get("override_original_meeting_id")})
	switch {
	case errors.Is(err, recording.ErrMetadata):
		return nil, fail(http.StatusBadRequest, err.Error())
	case errors.Is(err, recording.ErrNoTenant):
		return nil, fail(http.StatusBadRequest, err.Error()+"; give override_frontend_key")
	case err != nil:
		return nil, err
	}
	return shownRecording(&r).Recording, nil
}
