package state

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	iradix "github.com/hashicorp/go-immutable-radix/v2"
)

// Bounds of the index of recordings.
const (
	maxRecordingXML    = 64 << 10
	maxRecordingBytes  = 160 << 10 // of one
	maxRecordingsBytes = 512 << 20 // of all
	maxRecordings      = 100_000
	maxRecordingID     = 128
	maxFormats         = 16
)

// Recording is what the index knows of one: whose it is, who may see it, and what getRecordings answers. Its files are
// in a store.
type Recording struct {
	ID                string `json:"id"`
	Frontend          string `json:"frontend"`
	MeetingID         string `json:"meeting_id"` // as the tenant calls it
	InternalMeetingID string `json:"internal_meeting_id,omitempty"`
	Name              string `json:"name,omitempty"`

	Published  bool   `json:"published"`
	Visibility string `json:"visibility"` // one of [Visibilities]; in force while it is published

	Start        time.Time         `json:"start"`
	End          time.Time         `json:"end"`
	Participants int               `json:"participants,omitzero"`
	Metadata     map[string]string `json:"metadata,omitempty"` // keys in lower case
	Formats      []RecordingFormat `json:"formats,omitempty"`  // by type

	XML   string    `json:"xml,omitempty"` // the element as it came
	At    time.Time `json:"at"`            // when it was first imported
	Index uint64    `json:"index"`         // of the last change
}

// RecordingFormat is one way to play a recording.
type RecordingFormat struct {
	Type       string  `json:"type"`                // presentation, video, …
	URL        string  `json:"url,omitempty"`       // as it was imported; "" = the files are ours
	Node       string  `json:"node,omitempty"`      // that has the files; "" = a store that all nodes share, or none
	Files      int     `json:"files,omitzero"`      // that we have
	Bytes      int64   `json:"bytes,omitzero"`      // of them
	Length     int     `json:"length,omitzero"`     // minutes, as BigBlueButton counts
	Size       int64   `json:"size,omitzero"`       // bytes, as BigBlueButton says
	Processing int64   `json:"processing,omitzero"` // ms
	Preview    []Image `json:"preview,omitempty"`
}

// Image is a thumbnail.
type Image struct {
	URL    string `json:"url"`
	Alt    string `json:"alt,omitempty"`
	Width  int    `json:"width,omitzero"`
	Height int    `json:"height,omitzero"`
}

// Effective is the visibility that is in force.
func (r *Recording) Effective() string {
	if !r.Published {
		return VisibilityUnpublished
	}
	return r.Visibility
}

// Protected says that only who has a link from us may play it.
func (r *Recording) Protected() bool {
	return r.Visibility == VisibilityProtected || r.Visibility == VisibilityPublicProtected
}

// Format returns the format of a type.
func (r *Recording) Format(kind string) (RecordingFormat, bool) {
	for _, f := range r.Formats {
		if f.Type == kind {
			return f, true
		}
	}
	return RecordingFormat{}, false
}

func (r *Recording) size() int {
	n := len(r.ID) + len(r.Frontend) + len(r.MeetingID) + len(r.InternalMeetingID) + len(r.Name) + len(r.XML)
	for k, v := range r.Metadata {
		n += len(k) + len(v)
	}
	for _, f := range r.Formats {
		n += len(f.Type) + len(f.URL) + len(f.Node)
		for _, i := range f.Preview {
			n += len(i.URL) + len(i.Alt)
		}
	}
	return n
}

// check says what is wrong with a recording, or "".
func (r *Recording) check() string {
	switch {
	case CheckRecordingID(r.ID) != "":
		return "id " + CheckRecordingID(r.ID)
	case CheckID(r.Frontend) != "":
		return "frontend " + CheckID(r.Frontend)
	case checkMeetingID(r.MeetingID) != "":
		return "meeting_id " + checkMeetingID(r.MeetingID)
	case !contains(Visibilities(), r.Visibility):
		return fmt.Sprintf("visibility must be one of %s, got %q", strings.Join(Visibilities(), ", "), r.Visibility)
	case len(r.XML) > maxRecordingXML:
		return fmt.Sprintf("xml must have at most %d bytes, got %d", maxRecordingXML, len(r.XML))
	case len(r.Metadata) > maxParams:
		return fmt.Sprintf("metadata must have at most %d entries, got %d", maxParams, len(r.Metadata))
	case len(r.Formats) > maxFormats:
		return fmt.Sprintf("formats must be at most %d, got %d", maxFormats, len(r.Formats))
	case r.size() > maxRecordingBytes:
		return fmt.Sprintf("size must be at most %d bytes, got %d", maxRecordingBytes, r.size())
	}
	for _, f := range r.Formats {
		if msg := CheckFormat(f.Type); msg != "" {
			return "format " + msg
		}
	}
	return ""
}

// CheckRecordingID says what is wrong with the id of a recording, or "". It is part of paths and URLs.
func CheckRecordingID(id string) string {
	if id == "" || len(id) > maxRecordingID || !isPathWord(id) {
		return fmt.Sprintf("must be 1 to %d of a-z, A-Z, 0-9, '-', '_' and '.', and begin with a letter or digit", maxRecordingID)
	}
	return ""
}

// CheckFormat says what is wrong with the type of a format, or "". It is part of paths and URLs.
func CheckFormat(kind string) string {
	if kind == "" || len(kind) > maxRef || !isPathWord(kind) {
		return fmt.Sprintf("%q must be 1 to %d of a-z, A-Z, 0-9, '-', '_' and '.', and begin with a letter or digit", kind, maxRef)
	}
	return ""
}

func isPathWord(s string) bool {
	for i, r := range s {
		word := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		if !word && (i == 0 || !strings.ContainsRune("-_.", r)) {
			return false
		}
	}
	return true
}

// PutRecordings imports recordings. One that is known stays its tenant's and as visible as it is, and gets the formats
// that it did not have.
type PutRecordings struct {
	Recordings []Recording `json:"recordings"`
}

// PatchRecordings changes recordings. Those that are not there, or not the tenant's, are left out.
type PatchRecordings struct {
	IDs        []string          `json:"ids"`
	Frontend   string            `json:"frontend,omitempty"` // whose they must be; "" = anybody's
	Published  *bool             `json:"published,omitempty"`
	Visibility string            `json:"visibility,omitempty"` // "" = as it is
	Metadata   map[string]string `json:"metadata,omitempty"`   // merged; an empty value removes
}

// DeleteRecordings forgets recordings, as [PatchRecordings] finds them. Each node then removes their files.
type DeleteRecordings struct {
	IDs      []string `json:"ids"`
	Frontend string   `json:"frontend,omitempty"`
}

// recordingTree is the index, a part of bbbTrees.
type recordingTree struct {
	byID     *iradix.Tree[*Recording]
	byTenant *iradix.Tree[*Recording] // frontend NUL id
	bytes    int
}

func newRecordingTree() recordingTree {
	return recordingTree{byID: iradix.New[*Recording](), byTenant: iradix.New[*Recording]()}
}

func (t *recordingTree) put(r *Recording) {
	t.remove(r.ID)
	t.byID, _, _ = t.byID.Insert([]byte(r.ID), r)
	t.byTenant, _, _ = t.byTenant.Insert([]byte(r.Frontend+"\x00"+r.ID), r)
	t.bytes += r.size()
}

func (t *recordingTree) remove(id string) {
	old, ok := t.byID.Get([]byte(id))
	if !ok {
		return
	}
	t.byID, _, _ = t.byID.Delete([]byte(id))
	t.byTenant, _, _ = t.byTenant.Delete([]byte(old.Frontend + "\x00" + id))
	t.bytes -= old.size()
}

// Recording returns a recording by id.
func (v *View) Recording(id string) (*Recording, bool) { return v.bbb.recordings.byID.Get([]byte(id)) }

// Recordings goes through all recordings by id.
func (v *View) Recordings() iter.Seq[*Recording] { return prefixed(v.bbb.recordings.byID, "") }

// RecordingsOf goes through a tenant's recordings by id, those whose id begins with a prefix.
func (v *View) RecordingsOf(frontend, prefix string) iter.Seq[*Recording] {
	return prefixed(v.bbb.recordings.byTenant, frontend+"\x00"+prefix)
}

// LenRecordings returns how many recordings there are.
func (v *View) LenRecordings() int { return v.bbb.recordings.byID.Len() }

func (a *applier) putRecordings(op *PutRecordings) (BBBResult, *Refusal) {
	t := &a.t.v.bbb.recordings
	res := BBBResult{Won: true}
	for _, in := range op.Recordings {
		next := in
		next.At, next.Index = a.at, a.index
		old, known := t.byID.Get([]byte(in.ID))
		if known {
			if old.Frontend != in.Frontend {
				return BBBResult{}, &Refusal{Code: CodeExists, Message: fmt.Sprintf("recording %q belongs to another frontend", in.ID)}
			}
			next.At, next.Published, next.Visibility = old.At, old.Published, old.Visibility
			next.Formats = mergeFormats(old.Formats, in.Formats)
			if in.XML == "" {
				next.XML = old.XML
			}
		} else {
			next.Formats = mergeFormats(nil, in.Formats)
		}
		if msg := next.check(); msg != "" {
			return BBBResult{}, &Refusal{Code: CodeInvalid, Message: "the recording's " + msg}
		}
		if a.t.get(KindFrontend, in.Frontend) == nil {
			return BBBResult{}, &Refusal{Code: CodeNotFound, Message: fmt.Sprintf("there is no frontend %q", in.Frontend)}
		}
		if !known && t.byID.Len() >= maxRecordings || t.bytes+next.size() > maxRecordingsBytes {
			return BBBResult{}, &Refusal{Code: CodeQuota, Message: fmt.Sprintf("the index of recordings is full: %d, %d bytes", t.byID.Len(), t.bytes)}
		}
		t.put(&next)
		res.Recordings = append(res.Recordings, next.ID)
	}
	res.Count = len(res.Recordings)
	return res, nil
}

// mergeFormats puts formats in the place of those of the same type. What only the files tell stays if the new one says
// nothing of files.
func mergeFormats(old, in []RecordingFormat) []RecordingFormat {
	byType := map[string]RecordingFormat{}
	for _, f := range old {
		byType[f.Type] = f
	}
	for _, f := range in {
		if was, ok := byType[f.Type]; ok {
			if f.Files == 0 {
				f.Node, f.Files, f.Bytes = was.Node, was.Files, was.Bytes
			}
			if f.URL == "" && f.Length == 0 && f.Preview == nil { // an upload of files only
				f.URL, f.Length, f.Size, f.Processing, f.Preview = was.URL, was.Length, was.Size, was.Processing, was.Preview
			}
		}
		byType[f.Type] = f
	}
	return slices.SortedFunc(maps.Values(byType), func(a, b RecordingFormat) int { return strings.Compare(a.Type, b.Type) })
}

// tenants goes through the recordings of a list that are there and a tenant's.
func (a *applier) tenants(ids []string, frontend string) []*Recording {
	var out []*Recording
	for _, id := range ids {
		if r, ok := a.t.v.Recording(id); ok && (frontend == "" || r.Frontend == frontend) {
			out = append(out, r)
		}
	}
	return out
}

func (a *applier) patchRecordings(op *PatchRecordings) (BBBResult, *Refusal) {
	res := BBBResult{Won: true}
	for _, r := range a.tenants(op.IDs, op.Frontend) {
		next := *r
		if op.Published != nil {
			next.Published = *op.Published
			if next.Published && next.Visibility == VisibilityUnpublished {
				next.Visibility = VisibilityPublished
			}
		}
		if op.Visibility != "" {
			next.Visibility, next.Published = op.Visibility, op.Visibility != VisibilityUnpublished
		}
		if len(op.Metadata) > 0 {
			next.Metadata = maps.Clone(r.Metadata)
			if next.Metadata == nil {
				next.Metadata = map[string]string{}
			}
			for k, v := range op.Metadata {
				if next.Metadata[k] = v; v == "" {
					delete(next.Metadata, k)
				}
			}
		}
		next.Index = a.index
		if msg := next.check(); msg != "" {
			return BBBResult{}, &Refusal{Code: CodeInvalid, Message: "the recording's " + msg}
		}
		a.t.v.bbb.recordings.put(&next)
		res.Recordings = append(res.Recordings, r.ID)
	}
	res.Count = len(res.Recordings)
	return res, nil
}

func (a *applier) deleteRecordings(op *DeleteRecordings) BBBResult {
	res := BBBResult{Won: true}
	for _, r := range a.tenants(op.IDs, op.Frontend) {
		a.t.v.bbb.recordings.remove(r.ID)
		res.Recordings = append(res.Recordings, r.ID)
	}
	res.Count = len(res.Recordings)
	return res
}
