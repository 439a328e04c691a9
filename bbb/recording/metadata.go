package recording

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/lbnode/lbnode/bbb/ids"
	"github.com/lbnode/lbnode/state"
)

// MaxMetadata bounds a metadata.xml, in bytes.
const MaxMetadata = 1 << 20

// maxKept bounds the metadata.xml that is kept in the index.
const maxKept = 64 << 10

// ErrMetadata says that a document is no metadata.xml of BigBlueButton.
var ErrMetadata = errors.New("not a metadata.xml of BigBlueButton")

// metadata is the part of a metadata.xml that the index needs.
type metadata struct {
	XMLName      xml.Name `xml:"recording"`
	ID           string   `xml:"id"`
	State        string   `xml:"state"`
	Published    string   `xml:"published"`
	Start        string   `xml:"start_time"`
	End          string   `xml:"end_time"`
	Participants string   `xml:"participants"`
	Meeting      struct {
		ID       string `xml:"id,attr"`
		External string `xml:"externalId,attr"`
		Name     string `xml:"name,attr"`
	} `xml:"meeting"`
	Meta struct {
		All []struct {
			XMLName xml.Name
			Text    string `xml:",chardata"`
		} `xml:",any"`
	} `xml:"meta"`
	Playback []playback `xml:"playback"`
}

type playback struct {
	Format     string `xml:"format"`
	Link       string `xml:"link"`
	Processing string `xml:"processing_time"`
	Duration   string `xml:"duration"` // ms
	Size       string `xml:"size"`
	Images     []struct {
		URL    string `xml:",chardata"`
		Alt    string `xml:"alt,attr"`
		Width  string `xml:"width,attr"`
		Height string `xml:"height,attr"`
	} `xml:"extensions>preview>images>image"`
}

// maxPreview bounds the thumbnails that are kept of a format.
const maxPreview = 16

// Parse reads a metadata.xml. The recording that it returns has no tenant yet, and the meeting's id is the server's.
func Parse(doc []byte) (state.Recording, error) {
	var r state.Recording
	if len(doc) > MaxMetadata {
		return r, fmt.Errorf("%w: it has more than %d bytes", ErrMetadata, MaxMetadata)
	}
	var m metadata
	d := xml.NewDecoder(bytes.NewReader(doc))
	d.Strict = true
	if err := d.Decode(&m); err != nil {
		return r, fmt.Errorf("%w: %w", ErrMetadata, err)
	}
	r.ID = strings.TrimSpace(m.ID)
	if msg := state.CheckRecordingID(r.ID); msg != "" {
		return r, fmt.Errorf("%w: the id %s", ErrMetadata, msg)
	}
	r.Metadata = map[string]string{}
	for _, e := range m.Meta.All {
		r.Metadata[strings.ToLower(e.XMLName.Local)] = strings.TrimSpace(e.Text)
	}
	r.InternalMeetingID = m.Meeting.ID
	r.MeetingID = firstOf(r.Metadata["meetingid"], m.Meeting.External, m.Meeting.ID, r.ID)
	r.Name = firstOf(r.Metadata["meetingname"], m.Meeting.Name)
	r.Start, r.End = millis(m.Start), millis(m.End)
	r.Participants = int(number(m.Participants))
	r.Visibility = state.VisibilityPublished
	switch {
	case r.Metadata["gl-listed"] == "true" && r.Metadata["protect"] == "true":
		r.Visibility = state.VisibilityPublicProtected
	case r.Metadata["gl-listed"] == "true":
		r.Visibility = state.VisibilityPublic
	case r.Metadata["protect"] == "true":
		r.Visibility = state.VisibilityProtected
	}
	r.Published = m.State != "unpublished" && m.Published != "false"
	for _, p := range m.Playback {
		f, err := p.format()
		if err != nil {
			return r, err
		}
		r.Formats = append(r.Formats, f)
	}
	if len(doc) <= maxKept {
		r.XML = string(doc)
	}
	return r, nil
}

func (p playback) format() (state.RecordingFormat, error) {
	f := state.RecordingFormat{
		Type: strings.TrimSpace(p.Format), URL: strings.TrimSpace(p.Link), Processing: number(p.Processing),
		Length: int(number(p.Duration) / 60_000), Size: number(p.Size),
	}
	if msg := state.CheckFormat(f.Type); msg != "" {
		return f, fmt.Errorf("%w: the format %s", ErrMetadata, msg)
	}
	for _, i := range p.Images[:min(len(p.Images), maxPreview)] {
		f.Preview = append(f.Preview, state.Image{URL: strings.TrimSpace(i.URL), Alt: i.Alt, Width: int(number(i.Width)), Height: int(number(i.Height))})
	}
	return f, nil
}

func firstOf(s ...string) string {
	for _, v := range s {
		if v = strings.TrimSpace(v); v != "" {
			return v
		}
	}
	return ""
}

// number is 0 for what is none, or negative.
func number(s string) int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	if err != nil || n < 0 || n > 1<<50 {
		return 0
	}
	return n
}

func millis(s string) time.Time {
	if n := number(s); n > 0 {
		return time.UnixMilli(n).UTC()
	}
	return time.Time{}
}

// ErrNoTenant says that nothing tells whose a recording is.
var ErrNoTenant = errors.New("nothing says which frontend the recording belongs to")

// Owner says whose a recording is, and what its tenant calls the meeting: as an operator says, or as the meeting's
// rewritten id, the frontend in the metadata, or the reservation in the state do.
func Owner(v *state.View, r state.Recording, key, meetingID string) (frontend, meeting string, _ error) {
	meeting = r.MeetingID
	encodedKey, own, rewritten := ids.Decode(r.MeetingID)
	if rewritten {
		meeting = own
	}
	if meetingID != "" {
		meeting = meetingID
	}
	for _, k := range []string{key, encodedKey, r.Metadata["b3s-frontend"]} {
		if k == "" {
			continue
		}
		if f, ok := byKey(v, k); ok {
			return f.ID, meeting, nil
		}
		if k == key {
			return "", "", fmt.Errorf("%w: there is no frontend with key %q", ErrNoTenant, key)
		}
	}
	if m, ok := v.MeetingByInternal(firstOf(r.InternalMeetingID, r.ID)); ok {
		return m.Frontend, firstOf(meetingID, m.ID), nil
	}
	return "", "", ErrNoTenant
}

func byKey(v *state.View, key string) (*state.Frontend, bool) {
	for f := range v.Frontends() {
		if f.Key == key {
			return f, true
		}
	}
	return v.Frontend(key)
}
