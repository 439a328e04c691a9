package recording

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/lbnode/lbnode/bbb/sign"
	"github.com/lbnode/lbnode/state"
)

// The names of what servers send, in its checksum.
const (
	UploadCall = "uploadRecording"
	ImportCall = "importRecording"
)

// Bounds of an upload.
const (
	maxFiles     = 50_000
	maxExpires   = 24 * time.Hour // how far in the future the parameter expires may be
	metadataName = "metadata.xml"
)

// errUpload is what is wrong with an upload; its text is for the server that sent it.
type errUpload struct {
	status int
	text   string
}

func (e errUpload) Error() string { return e.text }

func badUpload(format string, args ...any) error {
	return errUpload{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

// upload takes a tar of one format of a recording, as /var/bigbluebutton/published/FORMAT/ID has it, from the server
// that made it: POST with the query recordID, format, expires (seconds since 1970) and a checksum by the server's secret.
func (s *Service) upload(r *http.Request) (state.Recording, error) {
	v := s.cfg.Store.View()
	p, err := s.signed(r, UploadCall)
	if err != nil {
		return state.Recording{}, err
	}
	id, format := p.Get("recordID"), p.Get("format")
	if msg := state.CheckRecordingID(id); msg != "" {
		return state.Recording{}, badUpload("recordID %s", msg)
	}
	if msg := state.CheckFormat(format); msg != "" {
		return state.Recording{}, badUpload("format %s", msg)
	}
	up, err := s.cfg.Files.Begin(r.Context(), id, format)
	if err != nil {
		return state.Recording{}, err
	}
	defer up.Abort()
	got, err := unpack(r.Context(), http.MaxBytesReader(nil, r.Body, s.cfg.MaxUpload), up)
	if err != nil {
		return state.Recording{}, err
	}
	rec, err := Parse(got.metadata)
	if err != nil {
		return rec, badUpload("%s: %s", metadataName, err)
	}
	if rec.ID != id {
		return rec, badUpload("%s is that of %q, not of %q", metadataName, rec.ID, id)
	}
	f, _ := rec.Format(format)
	f.Type, f.URL, f.Files, f.Bytes = format, "", got.files, got.bytes
	if !s.cfg.Files.Shared() {
		f.Node = s.cfg.NodeID
	}
	rec.Formats = []state.RecordingFormat{f}
	if rec, err = s.own(v, rec, p.Get("frontendKey"), p.Get("meetingID")); err != nil {
		return rec, err
	}
	if err := up.Commit(r.Context()); err != nil {
		return rec, err
	}
	return rec, s.put(r.Context(), rec)
}

// signed checks that a server of ours has made a request, and not long ago.
func (s *Service) signed(r *http.Request, call string) (sign.Params, error) {
	var secrets []string
	for b := range s.cfg.Store.View().Backends() {
		secrets = append(secrets, b.BBB.Secrets...)
	}
	p, _, err := sign.Check(sign.Request{Call: call, Query: r.URL.RawQuery}, secrets)
	if err != nil {
		return nil, errUpload{http.StatusUnauthorized, "the checksum is not that of a server of ours"}
	}
	expires, err := strconv.ParseInt(p.Get("expires"), 10, 64)
	now := s.cfg.Now()
	if at := time.Unix(expires, 0); err != nil || now.After(at) || at.After(now.Add(maxExpires)) {
		return nil, errUpload{http.StatusUnauthorized, "expires must be a time within the next 24 hours, in seconds since 1970"}
	}
	return p, nil
}

// receive takes a metadata.xml whose files stay where they are, as its body; the query is that of an upload.
func (s *Service) receive(r *http.Request) (state.Recording, error) {
	p, err := s.signed(r, ImportCall)
	if err != nil {
		return state.Recording{}, err
	}
	doc, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, MaxMetadata))
	if err != nil {
		return state.Recording{}, uploadError(err)
	}
	rec, err := s.ImportXML(r.Context(), doc, ImportOptions{FrontendKey: p.Get("frontendKey"), MeetingID: p.Get("meetingID")})
	if errors.Is(err, ErrMetadata) {
		err = badUpload("%s", err)
	}
	return rec, err
}

// unpacked is what came of an archive.
type unpacked struct {
	files    int
	bytes    int64
	metadata []byte
}

// unpack stores the regular files of an archive. Links, devices and names that lead elsewhere end it.
func unpack(ctx context.Context, r io.Reader, up Upload) (unpacked, error) {
	var got unpacked
	archive := tar.NewReader(r)
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return got, uploadError(err)
		}
		if h.Typeflag == tar.TypeDir {
			continue
		}
		name, err := CheckName(h.Name)
		switch {
		case h.Typeflag != tar.TypeReg:
			return got, badUpload("%.80q is no regular file", h.Name)
		case err != nil:
			return got, badUpload("%s", err)
		case got.files >= maxFiles:
			return got, badUpload("there are more than %d files", maxFiles)
		}
		var body io.Reader = archive
		if name == metadataName {
			if got.metadata, err = io.ReadAll(io.LimitReader(archive, MaxMetadata+1)); err != nil {
				return got, uploadError(err)
			}
			if len(got.metadata) > MaxMetadata {
				return got, badUpload("%s has more than %d bytes", metadataName, MaxMetadata)
			}
			body = bytes.NewReader(got.metadata)
		}
		if err := up.Put(ctx, name, body, h.Size); err != nil {
			return got, uploadError(err)
		}
		got.files++
		got.bytes += h.Size
	}
	if got.metadata == nil {
		return got, badUpload("there is no %s: make the archive with tar -C /var/bigbluebutton/published/FORMAT/ID -c .", metadataName)
	}
	return got, nil
}

// uploadError tells what the sender did wrong from what we could not do.
func uploadError(err error) error {
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return errUpload{http.StatusRequestEntityTooLarge, fmt.Sprintf("the archive has more than %d bytes", large.Limit)}
	case errors.Is(err, tar.ErrHeader), errors.Is(err, io.ErrUnexpectedEOF):
		return badUpload("the archive is no whole tar")
	}
	return err
}
